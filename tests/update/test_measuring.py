"""Measuring an update: against the policy itself, and without a trace in what is trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from isotherm import api
from isotherm.errors import UserError
from isotherm.measure.attribution import SIGNS
from isotherm.policy.text import character_tokenizer
from isotherm.runs import Run, load_run
from isotherm.update import measuring, precision, setup
from isotherm.update.clock import Clock
from isotherm.update.config import Config
from isotherm.update.folder import RunFolder
from isotherm.update.loop import mini_batches
from isotherm.update.scoring import score_all
from isotherm.update.step import optimizer_step
from isotherm.update.train import build
from models import tiny_model

SETTINGS: dict[str, Any] = {
    "train": "chain:1,subset:1", "held_out": "", "prompts": 4, "group": 4, "max_new": 12, "signal": "keep",
    "overlong": "soft", "overlong_buffer": 10, "steps": 5, "updates": 2, "lr": 0.003, "dtype": "float32",
    "eval_problems": 0, "measure_every": 2,
}  # fmt: skip
METHODS = ["grpo", "clip_higher + kl_cov(k=0.1) + entropy_bonus(c=0.02)", "clip_cov(ratio=0.1) + reference_kl(c=0.1)"]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return str(tiny_model(tmp_path_factory.mktemp("model")))


def trained(model: str, out, **changes) -> Run:
    return api.train(quiet=True, **{**SETTINGS, "model": model, "out": str(out), **changes})


@pytest.fixture(scope="module")
def run(model, tmp_path_factory) -> Run:
    return trained(model, tmp_path_factory.mktemp("run") / "run", method=METHODS[1])


@pytest.mark.parametrize("changes", [{}, {"micro_batch": 3}, {"updates": 1}, {"dtype": "bfloat16"}], ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_measuring_does_not_change_what_is_trained(model, tmp_path, method, changes):
    settings = changes | {"method": method}
    measured = {"measure_every": 1, "measure_in": "parameters"}
    runs = [trained(model, tmp_path / str(n), **settings | m) for n, m in enumerate(({"measure_every": 0}, measured))]
    weights = [[(r.checkpoint / f).read_bytes() for f in ("model.safetensors", "state.safetensors")] for r in runs]
    assert weights[0] == weights[1]
    signs = [f"dynamics/{step}_step/{name}" for step in ("plain", "adam") for name in SIGNS]
    own = {"dynamics/measured", "dynamics/along_step", "dynamics/entropy_penalty", "method/change_exact", *signs}
    assert runs[1].metrics.keys() - runs[0].metrics.keys() == own | {"dynamics/adam_step/momentum"}
    for name, values in runs[0].metrics.items():
        np.testing.assert_array_equal(values, runs[1].metrics[name])
    assert [r.measured_steps for r in runs] == [[], [1, 2, 3, 4, 5]]


def update_by_hand(model, tmp_path, lr, method=METHODS[1]):
    """One optimizer step of a run's second rollout: the change as measured, and entropies scored apart."""
    config = Config(**SETTINGS | {"model": model, "out": str(tmp_path / "run"), "method": method})
    with RunFolder(config.out) as folder, precision.kept():
        settings = setup.precision_of(config, folder)
        settings.use()
        trainer, _ = build(config, folder, settings, print)
        trainer.step(Clock())
        policy, optimizer, method = trainer.policy, trainer.optimizer, trainer.method
        temperature = trainer.temperature
        rule = trainer.rule(temperature)
        batch, tokens = next(mini_batches(*trainer.prepare(trainer.sample(2)[0], temperature), 1, 0))
        optimizer.param_groups[0]["lr"] = lr
        was = measuring.before(policy, batch, method, rule)
        apart = [score_all(policy, batch, 0, 1.0).entropy]
        outcome = optimizer_step(policy, optimizer, batch, tokens, method, rule)
        change = measuring.after(policy, batch, was, outcome, method, rule)
        apart.append(score_all(policy, batch, 0, 1.0).entropy)
    return change, (apart[1] - apart[0]).double()


def test_the_change_is_that_of_the_scores(model, tmp_path):
    change, apart = update_by_hand(model, tmp_path, lr=1e-3)
    assert float(apart.abs().mean()) > 1e-3
    torch.testing.assert_close(torch.from_numpy(change.columns["measured"]).double(), apart, rtol=0, atol=5e-6)
    assert change.row["dynamics/measured"] == pytest.approx(float(apart.mean()), abs=1e-6)


def test_along_the_step_is_the_change_of_a_small_step(model, tmp_path):
    """The error falls with the square of the step, as far down as float32 can tell."""
    errors = []
    for lr in (1e-2, 1e-3):
        change, apart = update_by_hand(model, tmp_path / str(lr), lr)
        errors.append(abs(change.row["dynamics/along_step"] - float(apart.mean())))
        assert abs(change.row["dynamics/along_step"]) > 10 * errors[-1] or lr == 1e-2
    assert errors[1] < errors[0] / 30


def test_the_columns_of_a_step(run):
    assert run.measured_steps == [2, 4]
    table, rollouts = run.measured(4).to_pydict(), run.rollouts(4)
    assert table.keys() == {
        "step", "update", "sequence", "group", "position", "id", "token", "family", "quadrant", "quadrant_published",
        "clip", "logprob", "entropy", "s2", "s2l", "advantage", "ratio", "weight", "c", "covariance", "loss",
        "gradient", "measured", "along_step", "predicted_covariance", "predicted_published", "predicted_released",
        "predicted_printed", "predicted_exact", "predicted_penalty",
    }  # fmt: skip
    at = list(run.metrics["step"]).index(4)
    assert len(table["id"]) == run.metrics["tokens/trained"][at] == sum(map(len, rollouts["ids"].to_pylist()))
    update, measured = np.array(table["update"]), np.array(table["measured"])
    means = [measured[update == u].mean() for u in (0, 1)]
    assert run.metrics["dynamics/measured"][at] == pytest.approx(np.mean(means), rel=1e-5)
    exact = np.array(table["predicted_exact"])
    means = [exact[update == u].mean() for u in (0, 1)]
    assert run.metrics["dynamics/predicted/exact"][at] == pytest.approx(np.mean(means), rel=1e-3, abs=1e-9)
    assert run.metrics["dynamics/entropy_penalty"][at] > 0
    by_prompt = dict(zip(rollouts["group"].to_pylist(), rollouts["family"].to_pylist(), strict=True))
    assert [by_prompt[g] for g in table["group"]] == table["family"]
    assert sorted(table["id"]) == sorted(i for ids in rollouts["ids"].to_pylist() for i in ids)
    names = character_tokenizer()
    assert [names.id_to_token(i) for i in table["id"]] == table["token"]


def test_a_file_that_cannot_be_read_is_said_in_a_sentence(run, tmp_path):
    (tmp_path / "dynamics").mkdir()
    raw = (run.path / "dynamics" / "step-000002.parquet").read_bytes()
    (tmp_path / "dynamics" / "step-000002.parquet").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(UserError, match="cannot be read"):
        Run(tmp_path).measured(2)
    with pytest.raises(UserError, match=r"no measured updates of step 3; it holds 1, from 2 to 2\."):
        Run(tmp_path).measured(3)


def test_a_run_that_measures_nothing_has_no_such_folder(model, tmp_path):
    run = trained(model, tmp_path / "run", measure_every=0, steps=2)
    assert not (run.path / "dynamics").exists()
    assert load_run(run.path).measured_steps == []
