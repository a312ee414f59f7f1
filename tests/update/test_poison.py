"""NaN and infinity are caught in the step in which they appear, are named, and never reach a checkpoint."""

from __future__ import annotations

import dataclasses
import json
import math
import random
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from isotherm import api
from isotherm.cli import main
from isotherm.rollout import sampler
from isotherm.update import checkpoint, loop, scoring, train
from models import tiny_model

SETTINGS: dict[str, Any] = {
    "method": "reinforce_pp", "train": "chain:1", "held_out": "", "prompts": 4, "group": 4, "max_new": 16,
    "signal": "keep", "overlong": "soft", "overlong_buffer": 14, "steps": 5, "updates": 2, "lr": 0.01,
    "dtype": "float32", "eval_problems": 0, "save_every": 1, "keep": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> dict[str, Any]:
    return SETTINGS | {"model": str(tiny_model(tmp_path_factory.mktemp("model")))}


@pytest.fixture(scope="module")
def reference(settings, tmp_path_factory) -> Path:
    return api.train(**settings, out=str(tmp_path_factory.mktemp("reference") / "run"), quiet=True).path


class Poison:
    """One call of a function during the step `at` gives `value` instead of a number."""

    def __init__(self, patch: pytest.MonkeyPatch, at: int, value: float) -> None:
        self.patch, self.at, self.value, self.step = patch, at, value, 0
        self.left = 1
        draw = loop.Trainer.draw

        def counted(trainer: loop.Trainer, *args):
            self.step = trainer.state["step"] + 1
            return draw(trainer, *args)

        patch.setattr(loop.Trainer, "draw", counted)

    @property
    def due(self) -> bool:
        if self.step == self.at and self.left:
            self.left -= 1
            return True
        return False

    def wrap(self, place: Any, name: str, spoil: Callable[[Any], Any]) -> None:
        clean = getattr(place, name)
        self.patch.setattr(place, name, lambda *a, **k: spoil(clean(*a, **k)) if self.due else clean(*a, **k))

    def first(self, x):
        """A copy whose first number is the poison."""
        x = x.copy() if isinstance(x, np.ndarray) else x.clone()
        x.reshape(-1)[0] = self.value
        return x


def reward(p: Poison) -> None:
    p.wrap(loop, "reward", p.first)


def advantage(p: Poison) -> None:
    replace_method(p, lambda m: {"advantage": lambda *a: p.first(m.advantage(*a)) if p.due else m.advantage(*a)})


def shape(p: Poison) -> None:
    replace_method(p, lambda _: {"shape": (lambda tokens, a: p.first(a) if p.due else a,)})


def surrogate(p: Poison) -> None:
    replace_method(p, lambda m: {"surrogate": lambda t, a: m.surrogate(t, a) * (p.value if p.due else 1.0)})


def replace_method(p: Poison, change: Callable[[Any], dict[str, Any]]) -> None:
    clean = train.method

    def changed(expression: str):
        found = clean(expression)
        return dataclasses.replace(found, **change(found))

    p.patch.setattr(train, "method", changed)


def sampled(p: Poison) -> None:
    for logits in ("product", "log_softmax"):  # of the compiled and of the plain sampler
        p.wrap(sampler, logits, lambda x: torch.full_like(x, p.value))


def scored(p: Poison) -> None:
    p.wrap(scoring, "score", lambda s: s._replace(logprob=p.first(s.logprob)))


def gradient(p: Poison) -> None:
    clean = train.load_policy

    def hooked(*args):
        policy = clean(*args)
        policy.parameters()["norm"].register_hook(lambda g: p.first(g) if p.due else g)
        return policy

    p.patch.setattr(train, "load_policy", hooked)


def weights(p: Poison) -> None:
    p.wrap(loop, "learning_rate", lambda _: 1e39)


PLACES = {
    reward: "reward", advantage: "advantage", shape: "loss", surrogate: "loss", sampled: "sampler log prob",
    scored: "scored log prob", gradient: "gradient",
    weights: "log prob",  # the first of two updates spoils the weights, the second one finds that
}  # fmt: skip
CASES = [(place, value) for place in PLACES for value in (math.nan, math.inf) if (place, value) != (weights, math.nan)]


def command(settings: dict[str, Any], out: Path, **changes: Any) -> int:
    return main(["train", *(f"--{k}={v}" for k, v in (settings | {"out": out} | changes).items())])


def like(other: Path, out: Path) -> Path:
    """A new run folder that keeps another run's choice of precision, which was measured."""
    out.mkdir(parents=True)
    (out / "environment.json").write_bytes((other / "environment.json").read_bytes())
    return out


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def require_clean(folder: Path, before: int) -> None:
    """Every checkpoint is whole, of an earlier step, and holds numbers only."""
    for path in (folder / "checkpoints").iterdir():
        checkpoint.verify(path)
        assert checkpoint.load_state(path)["trainer"]["step"] < before
        for name in ("model.safetensors", "state.safetensors"):
            assert all(bool(torch.isfinite(x).all()) for x in load_file(path / name).values()), path / name


def same(folder: Path, reference: Path, *more: str) -> bool:
    names = [f"checkpoints/step-000005/{n}" for n in ("model.safetensors", "state.safetensors")]
    return all((folder / n).read_bytes() == (reference / n).read_bytes() for n in (*names, *more))


@pytest.mark.parametrize(("place", "value"), CASES, ids=lambda x: getattr(x, "__name__", str(x)))
def test_it_stops_in_that_step_and_says_where(settings, reference, tmp_path, capsys, place, value):
    step, out = random.Random(f"{place.__name__} {value}").randint(2, 5), like(reference, tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        place(Poison(patch, step, value))
        assert command(settings, out) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"isotherm: Step {step} stopped, because the {PLACES[place]} is not finite;"), error
    assert error.count("\n") == 1
    require_clean(out, before=step)
    assert [row["step"] for row in rows(out)] == list(range(1, step))
    assert command(settings, out) == 0
    clip_is_known = place is not surrogate  # of a surrogate of one's own, the metrics cannot tell what it clips
    assert same(out, reference, *(["metrics.jsonl"] if clip_is_known else []))


@pytest.mark.parametrize("place", [p for p in PLACES if p is not weights], ids=lambda p: p.__name__)
def test_it_can_be_passed_over(settings, reference, tmp_path, place):
    out = like(reference, tmp_path / "run")
    with pytest.MonkeyPatch.context() as patch:
        place(Poison(patch, 3, math.nan))
        assert command(settings, out, nonfinite="skip") == 0
    assert [row["update/skipped"] for row in rows(out)] == [0, 0, 1, 0, 0]
    per_step = 1 if place in (shape, surrogate, gradient) else 0  # of two updates, the other one goes on
    assert [row["update/count"] for row in rows(out)] == [2, 2, per_step, 2, 2]
    require_clean(out, before=6)


def test_weights_that_are_no_numbers_are_never_passed_over(settings, tmp_path, capsys):
    with pytest.MonkeyPatch.context() as patch:
        weights(Poison(patch, 2, math.inf))
        assert command(settings, tmp_path / "run", nonfinite="skip") == 2
    assert "Step 2 stopped, because the weights is not finite" in capsys.readouterr().err
    require_clean(tmp_path / "run", before=2)


@pytest.mark.parametrize("nonfinite", ["stop", "skip"])
def test_a_model_that_holds_a_nan_is_never_saved(settings, tmp_path, capsys, nonfinite):
    model = tiny_model(tmp_path)
    raw = load_file(model / "model.safetensors")
    raw["model.layers.1.mlp.up_proj.weight"][3, 4] = math.nan
    save_file(raw, model / "model.safetensors", metadata={"format": "pt"})
    assert command(settings, tmp_path / "run", model=model, nonfinite=nonfinite) == 2
    assert "Step 1 stopped, because the" in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_weights_that_grow_without_bound_are_caught(settings, tmp_path, capsys):
    """lr 1 with weight decay 10 multiplies the weights by -9 in each update."""
    changes = {"lr": 1, "weight_decay": 10, "clip_grad": 0, "steps": 60, "save_every": 4}
    assert command(settings, tmp_path / "run", **changes) == 2
    assert " stopped, because the " in capsys.readouterr().err
    assert 4 <= rows(tmp_path / "run")[-1]["step"] < 59
    require_clean(tmp_path / "run", before=60)


@pytest.fixture
def small_disk(tmp_path):
    """A function that makes `tmp_path/disk` a file system of so many kilobytes, or changes its size."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def resize(kilobytes: int) -> Path:
        mounted = ["-o", f"remount,size={kilobytes}k"] if disk.is_mount() else ["-o", f"size={kilobytes}k"]
        done = subprocess.run(["mount", "-t", "tmpfs", *mounted, "tmpfs", disk], capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"a small file system cannot be mounted here: {done.stderr.decode().strip()}")
        return disk

    yield resize
    if disk.is_mount():
        subprocess.run(["umount", disk], check=True)


@pytest.mark.parametrize("kilobytes", [8, 40, 150, 290, 430, 560])
def test_a_full_disk(settings, reference, small_disk, capsys, kilobytes):
    out = like(reference, small_disk(kilobytes) / "run")
    assert command(settings, out) == 2
    require_full(capsys.readouterr().err, out)
    if (out / "checkpoints").exists():
        require_clean(out, before=6)
        assert all(p.name.startswith("step-") for p in (out / "checkpoints").iterdir())
    small_disk(20_000)
    assert command(settings, out) == 0
    assert same(out, reference, "metrics.jsonl")


def require_full(error: str, out: Path) -> None:
    assert error.startswith("isotherm: The disk (or the quota) of "), error
    assert "Free some space and give the same command again" in error
    assert ("the last checkpoint stands" in error) == any((out / "checkpoints").glob("step-*"))
    assert error.count("\n") == 1


def test_a_file_that_must_not_grow_further(settings, reference, tmp_path, capsys):
    """The limit of the operating system on a file's size says the same as a full disk, and needs no privilege."""
    out, limits = like(reference, tmp_path / "run"), resource.getrlimit(resource.RLIMIT_FSIZE)
    assert command(settings | {"steps": 2}, out) == 0
    (out / "config.json").unlink()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, limits[1]))
        code = command(settings, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 2
    require_full(capsys.readouterr().err, out)
    require_clean(out, before=3)
    assert command(settings, out) == 0
    assert same(out, reference, "metrics.jsonl")
