"""What the commands do, as calls."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isotherm.errors import UserError
from isotherm.files import full_disk
from isotherm.report.live import Live
from isotherm.report.sinks import open_sinks, require
from isotherm.runs import Run, load_run
from isotherm.update.config import Config, as_dict, override

if TYPE_CHECKING:
    from isotherm.measure.prognosis.diagnosis import Diagnosis
    from isotherm.measure.prognosis.prognosis import Prognosis


def train(config: Config | None = None, *, quiet: bool = False, **overrides: Any) -> Run:
    """Trains, or goes on where the same call was interrupted, and returns the finished run.

    Settings are those of `Config`; keyword arguments replace those of `config`.
    """
    from isotherm.update import precision, setup
    from isotherm.update import train as trainer
    from isotherm.update.folder import RunFolder

    if not isinstance(config, Config | None):
        raise UserError(f"train takes a Config, not {config!r}; a recipe is called first, as in train(grpo()).")
    config = override(config or Config(), overrides)
    folder = RunFolder(folder_of(config))
    check(config)
    with ExitStack() as stack:
        stack.enter_context(full_disk(folder.path))
        stack.enter_context(folder)
        stack.enter_context(precision.kept())
        setup.claim(config, folder)
        sinks = open_sinks(config.sinks, folder.path, as_dict(config))
        for sink in sinks:
            stack.callback(sink.close)
        settings = setup.precision_of(config, folder)
        say = (lambda _: None) if quiet else (lambda text: print(text, flush=True))
        say(f"{folder.path}: {config.method}, seed {config.seed}, {settings.threads} thread(s), {settings.reason}")
        live = None if quiet else stack.enter_context(Live(config.steps, config.method))

        def watch(step: int, row: dict[str, Any], timing: dict[str, Any]) -> None:
            for sink in sinks:
                sink.log(step, row)
            if live is not None:
                live.update(step, row, timing)

        trainer.run(config, folder, settings, say, watch)
        run = load_run(folder.path)
        run.report()
    return run


def check(config: Config) -> None:
    """Raises the sentence of every mistake that can be seen without loading a model."""
    from isotherm.update.setup import prepare

    for name in config.sinks:
        require(name)
    prepare(config)


def folder_of(config: Config) -> Path:
    """The run's folder: `out`, or one named after the method and the seed."""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", config.method).strip("-")
    return Path(config.out or f"runs/{name}-seed{config.seed}")


def forecast(
    path: str | Path,
    *,
    until: float | None = None,
    share: float = 0.3,
    run: str = "",
    entropy: str = "",
    reward: str = "",
    columns: Mapping[str, str] | None = None,
) -> Prognosis:
    """Where the run of anybody's log stands on the law, what is left of it, and where it ends.

    `until` is the step to forecast to, `share` the first part of the log that its own end is forecast from as a check,
    `run` one of several in the log, `entropy` and `reward` series by our names, `columns` what unknown columns mean.
    """
    from isotherm.measure.logs import read
    from isotherm.measure.prognosis.prognosis import prognosis

    return prognosis(read(path, run, columns), until, share, entropy, reward)


def diagnose(
    path: str | Path, *, run: str = "", entropy: str = "", columns: Mapping[str, str] | None = None
) -> Diagnosis:
    """What went along with the fall of entropy in anybody's log, and which settings or methods would move it."""
    from isotherm.measure.logs import read
    from isotherm.measure.prognosis.diagnosis import diagnosis
    from isotherm.report.prognosis.measured import measured

    return measured(diagnosis(read(path, run, columns), entropy))
