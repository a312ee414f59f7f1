"""Isotherm: train reasoning models by reinforcement learning, and decide what happens to their entropy.

>>> import isotherm
>>> run = isotherm.train(method="kl_cov", steps=50, out="runs/kl")  # doctest: +SKIP
>>> run.metrics["entropy/exact"]  # doctest: +SKIP
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isotherm.api import diagnose, forecast, train
    from isotherm.errors import UserError
    from isotherm.objective.added import add_method
    from isotherm.objective.factors import reads
    from isotherm.runs import Run, load_run
    from isotherm.update.config import Config

__version__ = "0.1.0"
__all__ = ["Config", "Run", "UserError", "add_method", "diagnose", "forecast", "load_run", "reads", "train"]

# Idle OpenMP threads that spin stop everybody else when cores are oversubscribed. Read once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

PLACES = {
    "train": "isotherm.api",
    "forecast": "isotherm.api",
    "diagnose": "isotherm.api",
    "Config": "isotherm.update.config",
    "Run": "isotherm.runs",
    "load_run": "isotherm.runs",
    "UserError": "isotherm.errors",
    "add_method": "isotherm.objective.added",
    "reads": "isotherm.objective.factors",
}


def __getattr__(name: str) -> Any:
    """Each name is imported when it is first used: torch takes seconds."""
    if name not in PLACES:
        raise AttributeError(f"module 'isotherm' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(PLACES[name]), name)
