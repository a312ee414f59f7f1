"""Optional trackers that get the rows of metrics as well: trackio, wandb, tensorboard."""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from isotherm.errors import UserError


class Sink(Protocol):
    """Where rows of metrics go."""

    def log(self, step: int, row: Mapping[str, Any]) -> None: ...

    def close(self) -> None: ...


class Trackio:
    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        trackio = importlib.import_module("trackio")
        self.run = trackio.init(project="isotherm", name=folder.name, config=config, resume="allow", embed=False)

    def log(self, step: int, row: Mapping[str, Any]) -> None:
        self.run.log(dict(row), step=step)

    def close(self) -> None:
        self.run.finish()


class Wandb:
    """Weights & Biases; offline, into the run folder, unless the user has logged in or chosen a mode."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        wandb = importlib.import_module("wandb")
        mode = os.environ.get("WANDB_MODE") or ("online" if wandb.login(prompt=False) else "offline")
        self.run = wandb.init(project="isotherm", name=folder.name, dir=str(folder), config=config, mode=mode)

    def log(self, step: int, row: Mapping[str, Any]) -> None:
        self.run.log(dict(row), step=step)

    def close(self) -> None:
        self.run.finish()


class Tensorboard:
    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(folder / "tensorboard"))
        self.writer.add_text("config", "\n".join(f"    {name}: {value}" for name, value in config.items()))

    def log(self, step: int, row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        self.writer.close()


SINKS = {"trackio": Trackio, "wandb": Wandb, "tensorboard": Tensorboard}


class Guard:
    """A sink that cannot stop training: its first failure is printed, and it is left out from then on."""

    def __init__(self, name: str, sink: Sink) -> None:
        self.name = name
        self.sink: Sink | None = sink

    def log(self, step: int, row: Mapping[str, Any]) -> None:
        """Pass on the finite values of a row; the step goes beside them, as trackers reserve its name."""
        finite = {k: value for k, value in row.items() if k != "step" and value is not None and math.isfinite(value)}
        self.guarded("log", step, finite)

    def close(self) -> None:
        self.guarded("close")
        self.sink = None

    def guarded(self, action: str, *arguments: Any) -> None:
        if self.sink is None:
            return
        try:
            getattr(self.sink, action)(*arguments)
        except Exception as error:  # a tracker may raise anything, and training must go on
            self.sink = None
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            print(f"The tracker {self.name} failed and is left out from here on ({reason}).", flush=True)


def open_sinks(names: Sequence[str], run_folder: str | Path, config: Mapping[str, Any]) -> list[Guard]:
    """Open the named trackers. A name or a package that is missing is said before any is opened."""
    for name in names:
        require(name)
    return [Guard(name, SINKS[name](Path(run_folder), dict(config))) for name in names]


def require(name: str) -> None:
    if name not in SINKS:
        raise UserError(f"There is no tracker named {name!r}. Valid are: {', '.join(SINKS)}.")
    if importlib.util.find_spec(name) is None:
        raise UserError(f"The tracker {name} is not installed; install it with: pip install 'isotherm[{name}]'.")
