"""A run folder knows the user's own method: it is gone on with under the same text, and under no other."""

from __future__ import annotations

from typing import Any

import pytest

import isotherm
from isotherm.objective.published import METHODS
from models import tiny_model

SETTINGS: dict[str, Any] = {
    "method": "own(k=0.5) + clip_higher", "train": "chain:1", "prompts": 2, "group": 4, "max_new": 8, "signal": "keep",
    "updates": 1, "dtype": "float32", "eval_problems": 0, "quiet": True,
}  # fmt: skip
RECIPE = """
import torch
import isotherm

@isotherm.reads("advantage")
def weight(tokens):
    return torch.full_like(tokens.advantage, {value})

def build(k: float = 1.0):
    return {{"weights": (weight,)}}

isotherm.add_method("own", build)

def config():
    return isotherm.Config()
"""


@pytest.fixture(autouse=True)
def same_table_afterwards():
    before = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(before)


def test_a_run_goes_on_with_the_same_method_only(tmp_path):
    from isotherm.arguments import recipe

    def load(value: float) -> None:
        (tmp_path / "own.py").write_text(RECIPE.format(value=value))
        recipe(f"{tmp_path / 'own.py'}:config")

    settings = SETTINGS | {"model": str(tiny_model(tmp_path / "model")), "out": str(tmp_path / "run"), "steps": 2}
    with pytest.raises(isotherm.UserError, match=r"no method named 'own'.* first, by isotherm\.add_method\."):
        isotherm.train(**settings)
    assert not (tmp_path / "run").exists()
    load(0.5)
    run = isotherm.train(**settings)
    assert "torch.full_like(tokens.advantage, 0.5)" in (run.path / "method.py").read_text()
    assert run.config["method"] == "own(k=0.5) + clip_higher"
    load(0.5)
    assert isotherm.train(**settings).steps == 2
    load(0.25)
    with pytest.raises(isotherm.UserError, match=r"was written otherwise, as .*method\.py shows"):
        isotherm.train(**settings)
    del METHODS["own"]
    with pytest.raises(isotherm.UserError, match="no method named 'own'"):
        isotherm.train(**settings)
    plain = isotherm.train(**settings | {"method": "grpo", "out": str(tmp_path / "plain"), "steps": 1})
    assert not (plain.path / "method.py").exists()
