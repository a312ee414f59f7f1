"""From Python: a call gives a run, and a run is an object whose metrics are arrays."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import isotherm
from isotherm.measure.catalogue import describe
from models import tiny_model

SETTINGS: dict[str, Any] = {
    "method": "reinforce_pp", "train": "chain:1", "held_out": "fill:1", "prompts": 4, "group": 4, "max_new": 16,
    "signal": "keep", "overlong": "soft", "overlong_buffer": 14, "steps": 3, "updates": 2, "lr": 0.01,
    "dtype": "float32", "eval_every": 2, "eval_problems": 2, "eval_samples": 2, "eval_k": (1, 2),
}  # fmt: skip


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> isotherm.Config:
    return isotherm.Config(**SETTINGS, model=str(tiny_model(tmp_path_factory.mktemp("model"))))


@pytest.fixture(scope="module")
def run(config, tmp_path_factory) -> isotherm.Run:
    return isotherm.train(config, out=str(tmp_path_factory.mktemp("runs") / "run"), quiet=True)


def test_metrics_are_arrays_by_step(run):
    assert run.metrics["step"].tolist() == [0, 1, 2, 3]
    entropy = run.metrics["entropy/exact"]
    assert entropy.dtype == np.float64
    assert np.isnan(entropy[0])
    assert (entropy[1:] > 0).all()
    assert np.isfinite(run.metrics["eval/trained/pass@2"][[0, 2, 3]]).all()
    assert np.isnan(run.metrics["eval/trained/pass@2"][1])
    assert run.metrics["update/grad_norm"][1:].max() > 0
    assert (run.timings["seconds"] > 0).all()


def test_the_folder_can_be_loaded_again(run, config):
    again = isotherm.load_run(run.path)
    assert isinstance(again, isotherm.Run)
    assert again.metrics.keys() == run.metrics.keys()
    assert all(np.array_equal(again.metrics[n], run.metrics[n], equal_nan=True) for n in run.metrics)
    assert again.config["lr"] == config.lr
    assert again.steps == 3
    assert again.checkpoint is not None
    assert again.rollouts(1).num_rows == 16
    assert again.eval_steps == [0, 2, 3]
    assert (run.path / "report.html").stat().st_size > 10_000


def test_stored_evaluations_have_the_measures_that_were_logged(run):
    logged = {name: values for name, values in run.metrics.items() if name.startswith("eval/")}
    for row, step in ((0, 0), (2, 2), (3, 3)):
        of = run.evaluation(step).for_family("chain")
        for name, value in of.measures().items():
            assert logged.get(f"eval/trained/{name}", np.full(4, np.nan))[row] == pytest.approx(value, nan_ok=True)
    assert {f"eval/{side}/self_bleu" for side in ("trained", "held_out")} <= set(logged)
    assert all(describe(name) for name in run.metrics)


def test_without_stored_rollouts_the_beginning_of_evaluations_is_kept(config, tmp_path):
    changes = {"steps": 1, "store_every": 0, "eval_samples": 6, "eval_k": (1,), "out": str(tmp_path / "run")}
    run = isotherm.train(config, quiet=True, **changes)
    assert run.eval_rollouts(1).num_rows == 2 * 2 * 4
    assert not list(run.path.glob("rollouts/step-*"))


def test_the_checkpoint_is_a_model(run, tmp_path):
    transformers = pytest.importorskip("transformers")
    network = transformers.AutoModelForCausalLM.from_pretrained(run.checkpoint)
    assert sum(p.numel() for p in network.parameters()) > 1000
    changes = {"steps": 1, "model": str(run.checkpoint), "out": str(tmp_path / "run")}
    again = isotherm.train(isotherm.Config(**SETTINGS | changes), quiet=True)
    assert again.steps == 1


def test_keywords_go_over_the_config(config, tmp_path, capsys):
    run = isotherm.train(config, seed=5, steps=1, eval_problems=0, out=str(tmp_path / "run"), quiet=True)
    assert (run.config["seed"], run.config["steps"], run.config["lr"]) == (5, 1, config.lr)
    assert run.metrics["step"].tolist() == [1]


@pytest.mark.parametrize("changes", [{"lrr": 1}, {"lr": "fast"}, {"method": "grpoo"}, {"model": "nowhere"}])
def test_a_mistake_is_a_user_error_and_leaves_nothing(config, tmp_path, changes):
    with pytest.raises(isotherm.UserError):
        isotherm.train(config, **{"out": str(tmp_path / "run"), **changes})
    assert list(tmp_path.iterdir()) == []


def test_quiet_is_quiet_and_loud_is_not(config, tmp_path, capfd):
    isotherm.train(config, steps=2, eval_problems=0, out=str(tmp_path / "a"), quiet=True)
    assert capfd.readouterr() == ("", "")
    isotherm.train(config, steps=2, eval_problems=0, out=str(tmp_path / "b"))
    assert "step 2/2" in capfd.readouterr().out


def test_a_run_in_a_thread_is_the_same(config, run, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "environment.json").write_bytes((run.path / "environment.json").read_bytes())
    found: list[isotherm.Run | BaseException] = []

    def work() -> None:
        try:
            found.append(isotherm.train(config, out=str(tmp_path / "run"), quiet=True))
        except BaseException as error:
            found.append(error)

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert isinstance(found[0], isotherm.Run), found
    assert signal.getsignal(signal.SIGINT) is before
    assert weights(found[0]) == weights(run)


def weights(run: isotherm.Run) -> bytes:
    assert run.checkpoint is not None
    return (run.checkpoint / "model.safetensors").read_bytes()


@pytest.mark.parametrize("fails", [False, True])
def test_what_the_caller_had_set_is_set_again(config, tmp_path, fails):
    before = torch.get_num_threads(), torch.get_float32_matmul_precision(), torch.get_default_dtype()
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    state = torch.get_rng_state()
    draws = str(np.random.get_state())
    try:
        torch.set_num_threads(2)
        torch.set_float32_matmul_precision("high")
        if fails:
            (tmp_path / "run").mkdir()
            (tmp_path / "run" / "metrics.jsonl").mkdir()
            with pytest.raises(IsADirectoryError):
                isotherm.train(config, out=str(tmp_path / "run"), quiet=True)
        else:
            isotherm.train(config, out=str(tmp_path / "run"), quiet=True)
        assert torch.get_num_threads() == 2
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_num_threads(before[0])
        torch.set_float32_matmul_precision(before[1])
    assert torch.get_default_dtype() == before[2]
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert torch.equal(torch.get_rng_state(), state)
    assert str(np.random.get_state()) == draws


def test_the_result_does_not_depend_on_the_callers_settings(config, run, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "environment.json").write_bytes((run.path / "environment.json").read_bytes())
    threads = torch.get_num_threads()
    torch.manual_seed(7)
    try:
        torch.set_num_threads(2)
        again = isotherm.train(config, out=str(tmp_path / "run"), quiet=True)
    finally:
        torch.set_num_threads(threads)
    assert weights(again) == weights(run)


def test_every_public_name_is_there():
    names = ["Config", "Run", "UserError", "add_method", "diagnose", "forecast", "load_run", "reads", "train"]
    assert sorted(isotherm.__all__) == names
    assert all(hasattr(isotherm, name) for name in isotherm.__all__)
    with pytest.raises(AttributeError):
        isotherm.nothing  # noqa: B018


def test_loading_what_is_no_run_is_a_user_error(tmp_path):
    with pytest.raises(isotherm.UserError, match="does not exist"):
        isotherm.load_run(tmp_path / "nowhere")
    with pytest.raises(isotherm.UserError, match="is no run folder"):
        isotherm.load_run(Path(tmp_path))


def test_mistakes_are_sentences(tmp_path):
    with pytest.raises(isotherm.UserError, match=r"train takes a Config, not 'recipes/grpo\.py'"):
        isotherm.train("recipes/grpo.py")  # pyright: ignore[reportArgumentType]
    with pytest.raises(isotherm.UserError, match=r"no setting named 'methd'\. Did you mean method"):
        isotherm.Config(methd="grpo")  # pyright: ignore[reportCallIssue]
    log = tmp_path / "log.csv"
    log.write_text("step,entropy,reward\n" + "".join(f"{t},{0.5 - t / 100},{t / 100}\n" for t in range(40)))
    mistakes: tuple[tuple[dict[str, Any], str], ...] = (
        ({"until": "x"}, "--until must be a step after the last of the log, 39, but it is 'x'"),
        ({"until": 10**400}, "--until must be a step after the last of the log"),
        ({"share": "x"}, "must lie between 0 and 1, but it is 'x'"),
        ({"columns": ["entropy"]}, "columns takes a dictionary such as"),
        ({"columns": {"entropy": 1}}, "cannot mean 1"),
    )
    for wrong, said in mistakes:
        with pytest.raises(isotherm.UserError, match=said):
            isotherm.forecast(log, **wrong)
