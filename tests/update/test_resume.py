"""An interrupted run ends byte for byte like one that nobody disturbed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from isotherm import api
from isotherm.cli import main
from isotherm.errors import UserError
from isotherm.update import checkpoint, train
from isotherm.update.folder import RunFolder
from isotherm.update.train import Pace, Stopped, stop_on_signal
from models import tiny_model

ROOT = Path(__file__).parents[2]
SETTINGS: dict[str, Any] = {
    "method": "reinforce_pp + par(schedule=guided)", "train": "chain:1,subset:1", "held_out": "", "prompts": 4,
    "group": 4, "max_new": 16, "signal": "keep", "overlong": "soft", "overlong_buffer": 14, "steps": 9, "updates": 2,
    "lr": 0.01, "dtype": "float32", "eval_every": 4, "eval_problems": 2, "eval_samples": 2, "eval_k": (1, 2),
    "save_every": 3, "keep": 0,
}  # fmt: skip
LAST = "checkpoints/step-000009"


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> dict[str, Any]:
    return SETTINGS | {"model": str(tiny_model(tmp_path_factory.mktemp("model")))}


@pytest.fixture(scope="module")
def reference(settings, tmp_path_factory) -> Path:
    """A run that nobody disturbed, and that does learn."""
    run = api.train(**settings, out=str(tmp_path_factory.mktemp("reference") / "run"), quiet=True)
    assert (run.metrics["update/grad_norm"] > 0).sum() > 5
    return run.path


def contents(folder: Path) -> dict[str, bytes]:
    """All that must not depend on when and where a run was made."""
    own = {"config.json", "environment.json", "timings.jsonl", "report.html", "lock"}
    files = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return {name: raw for name, raw in files.items() if name not in own}


def like(other: Path, out: Path) -> str:
    """A new run folder that keeps another run's choice of precision, which was measured."""
    out.mkdir(parents=True)
    (out / "environment.json").write_bytes((other / "environment.json").read_bytes())
    return str(out)


class StopAt:
    """A sink that sends Ctrl-C when it is told of a step: the run stops after the one that follows."""

    def __init__(self, step: int) -> None:
        self.step = step

    def log(self, step: int, row: dict[str, Any]) -> None:
        if step == self.step:
            signal.raise_signal(signal.SIGINT)

    def close(self) -> None: ...


def stop(monkeypatch: pytest.MonkeyPatch, step: int, settings: dict[str, Any]) -> None:
    monkeypatch.setattr(api, "open_sinks", lambda *_: [StopAt(step)])
    with pytest.raises(Stopped, match=f"after step {step + 1}, which is saved"):
        api.train(**settings, quiet=True)
    monkeypatch.setattr(api, "open_sinks", lambda *_: [])


def test_rewards_of_earlier_visits_outlive_a_stop(settings, tmp_path, monkeypatch):
    settings = settings | {"method": "dcpo_smooth", "data": str(tmp_path / "three.jsonl"), "steps": 4, "eval_every": 0}
    lines = [json.dumps({"prompt": f"{i} + 1 =", "answer": str(i + 1)}) for i in range(3)]
    (tmp_path / "three.jsonl").write_text("\n".join(lines))
    whole = api.train(**settings, out=str(tmp_path / "whole"), quiet=True).path
    settings["out"] = like(whole, tmp_path / "run")
    stop(monkeypatch, 1, settings)
    api.train(**settings, quiet=True)
    states = [(path / "checkpoints/step-000004/state.json").read_bytes() for path in (whole, tmp_path / "run")]
    assert states[0] == states[1]
    assert sum(visits for visits, _, _ in json.loads(states[0])["trainer"]["past"].values()) == 16


def test_ten_kills_leave_no_trace():
    """`python bench/kill.py --kills 200` is the long form."""
    command = [sys.executable, ROOT / "bench" / "kill.py", "--kills", "10", "--commands", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    kills, recovered, lost = map(int, re.search(r"all +(\d+) +(\d+) +(\d+)", done.stdout).groups())  # type: ignore[union-attr]
    assert kills >= 10
    assert recovered == kills
    assert lost <= 3


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}


def test_ctrl_c_and_sigterm_finish_the_step_and_save(settings, tmp_path):
    settings = settings | {"steps": 40, "save_every": 100, "eval_every": 0, "out": str(tmp_path / "run")}
    whole = api.train(**settings | {"out": str(tmp_path / "whole")}, quiet=True).path
    like(whole, tmp_path / "run")
    for number, asked in ((signal.SIGINT, 2), (signal.SIGTERM, 12)):
        code, output = stopped_by(number, asked, settings)
        assert code == 130, output
        assert f"saved in {settings['out']}; the same command goes on from there." in output
        assert "Traceback" not in output
        found = checkpoint.latest(Path(settings["out"]))
        assert found is not None
        assert asked <= found.step < 40
        assert rows(Path(settings["out"]))[-1] == found.step
    api.train(**settings, quiet=True)
    names = ["metrics.jsonl", *(f"checkpoints/step-000040/{f}" for f in ("model.safetensors", "state.safetensors"))]
    assert [(tmp_path / "run" / n).read_bytes() for n in names] == [(whole / n).read_bytes() for n in names]
    assert rows(tmp_path / "run") == list(range(41))


def stopped_by(number: int, step: int, settings: dict[str, Any]) -> tuple[int, str]:
    """The exit code and the output of the command, sent a signal once `step` is logged."""
    words = [f"--{k}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for k, v in settings.items()]
    call = [sys.executable, "-m", "isotherm", "train", *words]
    with subprocess.Popen(
        call, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
    ) as process:
        while process.poll() is None and max(rows(Path(settings["out"])), default=-1) < step:
            time.sleep(0.005)
        process.send_signal(number)
        output, _ = process.communicate(timeout=240)
    return process.returncode, output


def rows(folder: Path) -> list[int]:
    path = folder / "metrics.jsonl"
    return [json.loads(line)["step"] for line in path.read_text().split("\n")[:-1]] if path.exists() else []


def test_a_second_signal_ends_the_step_at_once(monkeypatch):
    with stop_on_signal() as received:
        for number in (signal.SIGINT, signal.SIGTERM):  # together, as from the demo or from `timeout`
            signal.raise_signal(number)
        assert received == [signal.SIGINT, signal.SIGTERM]
        monkeypatch.setattr(train, "TOGETHER", 0.0)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_run_stopped_again_and_again_outlives_the_checkpoints_it_began_from(
    settings, reference, tmp_path, monkeypatch
):
    settings = settings | {"save_every": 1, "keep": 1, "out": like(reference, tmp_path / "run")}
    for step in (1, 4, 6):
        stop(monkeypatch, step, settings)
    api.train(**settings, quiet=True)
    found, wanted = contents(tmp_path / "run"), contents(reference)
    assert found == {n: raw for n, raw in wanted.items() if not n.startswith("checkpoints/") or n.startswith(LAST)}


VARIANTS = [
    {"method": "grpo", "signal": "refill", "refill_rounds": 2},
    {"method": "kl_cov(k=0.1) + reference_kl(c=0.1)", "updates": 3},
    {"method": "clip_cov(ratio=0.1)", "schedule": "linear", "warmup": 3, "micro_batch": 3},
    {"updates": 1, "mismatch_cap": 2.0, "overlong": "mask", "method": "reinforce_pp"},
    {"dtype": "bfloat16", "weight_decay": 0.1, "clip_grad": 0.0, "store_every": 0},
    {"method": "clip_higher + siren(c=0.1) + aent(c=0.01) + lp_reg(share=0.5)", "micro_batch": 3},
    {"method": "reference_kl(c=0.1)", "reference_every": 2},
    {"data": "data.jsonl", "eval_problems": 0, "top_p": 0.9},
    {"measure_every": 2, "measure_in": "parameters", "method": "kl_cov(k=0.1) + entropy_bonus(c=0.1)"},
]


@pytest.mark.parametrize("changes", VARIANTS, ids=lambda c: ",".join(c))
def test_whatever_the_method(settings, tmp_path, monkeypatch, changes):
    monkeypatch.chdir(tmp_path)
    problems = [json.dumps({"prompt": f"{n}+1=", "answer": n + 1}) for n in range(7)]
    Path("data.jsonl").write_text("\n".join(problems))
    settings = settings | {"steps": 5, "save_every": 2} | changes
    whole = api.train(**settings, out="whole", quiet=True).path
    settings["out"] = like(whole, Path("run"))
    stop(monkeypatch, 2, settings)
    api.train(**settings, quiet=True)
    found, wanted = contents(Path("run")), contents(whole)
    extra = {name for name in found.keys() - wanted.keys() if "/step-000003/" in name}  # saved because it was stopped
    assert {name: raw for name, raw in found.items() if name not in extra} == wanted


def damage_flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def damage_cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [damage_flip, damage_cut, Path.unlink])
@pytest.mark.parametrize("name", ["model.safetensors", "state.safetensors", "state.json", "manifest.json"])
def test_a_damaged_checkpoint_is_passed_over(settings, reference, tmp_path, capsys, damage, name):
    out = tmp_path / "run"
    subprocess.run(["cp", "-r", reference, out], check=True)
    damage(out / LAST / name)
    api.train(**settings, out=str(out))
    said = capsys.readouterr().out
    assert "checkpoint step-000009 is damaged (" in said
    assert "; going back to step-000006" in said
    assert "Going on from step 6" in said
    assert contents(out) == contents(reference)


def command(settings: dict[str, Any], out: Path, **changes: Any) -> int:
    values = settings | {"out": out} | changes
    return main(
        ["train", *(f"--{k}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for k, v in values.items())]
    )


def test_a_second_run_in_the_same_folder_is_refused(settings, reference, capsys):
    with RunFolder(reference):
        assert command(settings, reference) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"The run folder {reference} is in use by process {os.getpid()};" in error


def test_the_lock_of_a_dead_process_is_taken_over(settings, reference):
    (reference / "lock").write_text("999999\n")
    assert command(settings, reference) == 0


@pytest.mark.parametrize(("name", "value"), [("lr", 0.5), ("seed", 3), ("steps", 12), ("method", "grpo")])
def test_other_settings_are_refused_by_name(settings, reference, capsys, name, value):
    before = contents(reference)
    assert command(settings, reference, **{name: value}) == 2
    error = capsys.readouterr().err
    assert f"holds a run with {name} = {SETTINGS.get(name, 0)!r}, not {value!r}" in error
    assert error.count("\n") == 1
    assert contents(reference) == before


def test_a_setting_younger_than_the_run_was_at_its_default(settings, reference, tmp_path, capsys):
    out = tmp_path / "run"
    subprocess.run(["cp", "-r", reference, out], check=True)
    written = json.loads((out / "config.json").read_text())
    assert written.pop("chat") == "auto"
    (out / "config.json").write_text(json.dumps(written))
    assert command(settings, out) == 0
    assert command(settings, out, chat="no") == 2
    assert "holds a run with chat = 'auto', not 'no'" in capsys.readouterr().err


def test_what_does_not_change_the_result_may_change(settings, reference):
    assert command(settings, reference, keep=5, save_every=1) == 0


def test_a_finished_run_is_left_as_it_is(settings, reference, capsys):
    def everything() -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in reference.rglob("*") if p.is_file() and p.name != "lock"}

    before = everything()
    assert command(settings, reference) == 0
    assert f"The run in {reference} is finished already, with 9 steps." in capsys.readouterr().out
    assert everything() == before


def test_rows_cut_from_the_metrics_are_noticed(settings, reference, tmp_path):
    out = tmp_path / "run"
    subprocess.run(["cp", "-r", reference, out], check=True)
    (out / "metrics.jsonl").write_bytes((out / "metrics.jsonl").read_bytes()[:-10])
    with pytest.raises(UserError, match=r"metrics.jsonl has .* bytes and was changed since step 9"):
        api.train(**settings, out=str(out), quiet=True)


def test_replayed_rollouts_give_the_same_weights(settings, reference, tmp_path):
    out = like(reference, tmp_path / "run")
    api.train(**settings, out=out, replay=str(reference), quiet=True)
    for name in ("model.safetensors", "state.safetensors"):
        assert (tmp_path / "run" / LAST / name).read_bytes() == (reference / LAST / name).read_bytes()
    assert contents(tmp_path / "run")["metrics.jsonl"] == contents(reference)["metrics.jsonl"]


def test_a_replay_needs_every_step(settings, reference, tmp_path, capsys):
    assert command(settings, tmp_path / "run", replay=reference, steps=11) == 2
    assert "has none of step 10" in capsys.readouterr().err
    assert not (tmp_path / "run").exists() or not (tmp_path / "run" / "config.json").exists()


def test_save_every_0_keeps_the_cost_below_a_twentieth():
    pace = Pace(0)
    pace.saved(0.5)
    pace.at -= 9
    assert not pace.due(1)
    pace.at -= 2
    assert pace.due(1)
    pace.saved(0.01)
    pace.at -= 0.3
    assert pace.due(2)
    assert [step for step in range(1, 8) if Pace(3).due(step)] == [3, 6]


def test_save_every_0_gives_the_same_weights(settings, reference, tmp_path):
    out = like(reference, tmp_path / "run")
    api.train(**settings | {"save_every": 0}, out=out, quiet=True)
    found = contents(tmp_path / "run")
    assert {n: raw for n, raw in found.items() if n.startswith(LAST)} == {
        n: raw for n, raw in contents(reference).items() if n.startswith(LAST)
    }


def test_what_a_kill_after_the_last_publishing_left_is_swept_up(settings, reference, tmp_path):
    out = tmp_path / "run"
    subprocess.run(["cp", "-r", reference, out], check=True)
    (out / "checkpoints" / "step-000003").rename(out / "checkpoints" / ".partial-old-step-000003")
    assert command(settings, out, keep=1) == 0
    assert [p.name for p in (out / "checkpoints").iterdir()] == ["step-000009"]
