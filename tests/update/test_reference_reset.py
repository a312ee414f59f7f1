"""The reference is replaced by the policy every so many steps, and survives a kill bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from isotherm import api
from isotherm.errors import UserError
from isotherm.update import checkpoint, loop
from models import tiny_model

SETTINGS: dict[str, Any] = {
    "method": "reinforce_pp + reference_kl(c=0.5)", "train": "chain:1,subset:1", "held_out": "", "prompts": 4,
    "group": 4, "max_new": 12, "signal": "keep", "overlong": "soft", "overlong_buffer": 10, "steps": 8, "updates": 2,
    "lr": 0.02, "dtype": "float32", "eval_every": 0, "eval_problems": 0, "save_every": 1, "keep": 0,
    "reference_every": 3, "quiet": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> dict[str, Any]:
    return SETTINGS | {"model": str(tiny_model(tmp_path_factory.mktemp("model")))}


@pytest.fixture(scope="module")
def whole(settings, tmp_path_factory) -> Path:
    return api.train(**settings, out=str(tmp_path_factory.mktemp("whole") / "run")).path


def tensors(folder: Path, step: int) -> dict[str, torch.Tensor]:
    return checkpoint.load_tensors(folder / "checkpoints" / f"step-{step:06d}")


def weights(folder: Path, step: int) -> dict[str, torch.Tensor]:
    from isotherm.policy.model import load_policy

    return dict(load_policy(str(folder / "checkpoints" / f"step-{step:06d}")).parameters())


def test_the_reference_is_the_policy_of_the_last_reset(whole):
    assert not any(name.startswith("reference.") for name in tensors(whole, 2))
    for step, reset in ((3, 3), (5, 3), (6, 6), (8, 6)):
        found, expected = tensors(whole, step), weights(whole, reset)
        assert all(torch.equal(found[f"reference.{name}"], p) for name, p in expected.items())
        assert checkpoint.load_state(whole / "checkpoints" / f"step-{step:06d}")["trainer"]["reference_step"] == reset
    assert any(not torch.equal(p, weights(whole, 3)[name]) for name, p in weights(whole, 6).items())


def test_right_after_a_reset_there_is_no_distance(settings, tmp_path, monkeypatch):
    """Of the responses that are trained on: log pi of reference and policy before the first update of the step."""
    seen = []
    prepare = loop.Trainer.prepare
    monkeypatch.setattr(loop.Trainer, "prepare", lambda *given: seen.append(prepare(*given)) or seen[-1])
    api.train(**settings, out=str(tmp_path / "run"))
    distance = [float((t.ref_logprob - t.old_logprob).abs().max()) for _, t in seen]
    assert [i for i, d in enumerate(distance) if d == 0 and i != 1] == [0, 3, 6]  # the first step may have no signal


@pytest.mark.parametrize("after", [4, 6])
def test_a_kill_leaves_no_trace(settings, whole, tmp_path, after):
    """SIGKILL while a step is going on; the next call goes on with the reference of the last reset."""
    out = tmp_path / "run"
    out.mkdir()
    (out / "environment.json").write_bytes((whole / "environment.json").read_bytes())
    code = (
        "import os, sys; from isotherm import api; from isotherm.update.loop import Trainer\n"
        "prepare = Trainer.prepare\n"
        "def die(self, *rest):\n"
        f"    if self.state['step'] == {after}: os.kill(os.getpid(), {int(signal.SIGKILL)})\n"
        "    return prepare(self, *rest)\n"
        "Trainer.prepare = die\n"
        f"api.train(**{settings!r}, out={str(out)!r})\n"
    )
    source = str(Path(__file__).parents[2] / "src")
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": source}, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (out / "checkpoints" / f"step-{after + 1:06d}").exists()
    api.train(**settings, out=str(out))
    names = [f"checkpoints/step-000008/{f}" for f in ("model.safetensors", "state.safetensors", "state.json")]
    assert all((out / n).read_bytes() == (whole / n).read_bytes() for n in (*names, "metrics.jsonl"))


def test_it_matters(settings, whole, tmp_path):
    other = api.train(**settings | {"reference_every": 0}, out=str(tmp_path / "run")).path
    same = [torch.equal(p, weights(whole, 8)[name]) for name, p in weights(other, 8).items()]
    assert not all(same)


def test_a_method_without_a_reference_is_refused(settings, tmp_path):
    with pytest.raises(UserError, match="the method 'grpo' has none"):
        api.train(**settings | {"method": "grpo"}, out=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()
