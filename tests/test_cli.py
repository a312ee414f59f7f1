"""Every mistake ends in one sentence on stderr and exit code 2, before a model is loaded."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from isotherm import cli
from isotherm.errors import UserError
from isotherm.policy import model as policy_model
from models import tiny_model

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def no_model(monkeypatch, tmp_path):
    """No model may be loaded in here, and relative paths are those of an empty folder."""

    def never(*_, **__):
        raise AssertionError("a model was loaded before the mistake was found")

    from isotherm import show
    from isotherm.update import train

    for place in (train, show, policy_model):
        monkeypatch.setattr(place, "load_policy", never)
    monkeypatch.chdir(tmp_path)


def refused(capsys, *arguments: object) -> str:
    """The sentence of a mistake."""
    assert cli.main([str(a) for a in arguments]) == 2
    out, error = capsys.readouterr()
    assert error.startswith("isotherm: ")
    assert error.count("\n") == 1
    assert error.rstrip()[-1] in ".?)"
    assert "Traceback" not in out + error
    return error.strip()


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, timeout=60, check=False
    )


@pytest.mark.parametrize("words", [["--help"], [], ["train", "--help"], ["train", "--lr", "x"], ["metrics"], ["nope"]])
def test_answers_without_torch_are_instant(words):
    """Under a second on an idle machine; the test leaves room for a busy one."""
    started = time.monotonic()
    done = python("-X", "importtime", "-m", "isotherm", *words)
    seconds = time.monotonic() - started
    print(f"isotherm {' '.join(words)}: {seconds:.2f} s")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "isotherm.cli" in imported
    assert not imported & {"torch", "transformers", "pyarrow", "matplotlib", "numpy.random"}
    assert seconds < 3


def test_help_names_every_command_and_every_setting(capsys):
    from isotherm.update.config import FIELDS

    with pytest.raises(SystemExit) as exit:
        cli.main(["train", "--help"])
    assert exit.value.code == 0
    shown = capsys.readouterr().out
    assert all(f"--{name.replace('_', '-')} " in shown for name in FIELDS)
    assert cli.main([]) == 0
    shown = capsys.readouterr().out
    assert all(
        f"    {name} " in shown for name in ("demo", "train", "sample", "report", "metrics", "methods", "pretrain")
    )


@pytest.mark.parametrize("command", ["train", "demo"])
def test_help_names_what_is_no_setting(capsys, command):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    shown = capsys.readouterr().out
    assert all(word in shown for word in ("[RECIPE]", "--config FILE", "--dry-run", "0 is off, for eval_data too"))


@pytest.mark.parametrize("command", ["sample", "pretrain"])
def test_help_names_every_default(capsys, command):
    with pytest.raises(SystemExit):
        cli.main([command, "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    options = shown.partition("options:")[2].split(" --")[2:]
    assert options
    assert all("[" in text or "0 means" in text for text in options), options


@pytest.mark.parametrize("group", ["reinforce_pp", "reinforce", "dcpo_smooth"])
def test_groups_of_one_are_for_methods_that_do_not_compare_within(group, tmp_path):
    settings = ["--group", "1", "--signal", "keep", "--updates", "1", "--method", group, "--dry-run"]
    assert cli.main(["train", *settings]) == 0


def test_a_missing_tracker_is_said_before_the_folder_is_made(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("isotherm.report.sinks.importlib.util.find_spec", lambda _: None)
    for extra in ([], ["--dry-run"]):
        assert "wandb is not installed" in refused(capsys, "train", "--sinks", "wandb", "--out", "run", *extra)
    assert not list(tmp_path.iterdir())


def test_a_prompt_beyond_the_context_is_named(capsys, tmp_path):
    row = json.dumps({"prompt": "x" * 3000, "answer": 4})
    (tmp_path / "data.jsonl").write_text('{"prompt": "1+1=", "answer": 2}\n' + row)
    for name in ("--data", "--eval-data"):
        said = refused(capsys, "train", name, "data.jsonl", "--model", tiny_model(tmp_path))
        assert "The prompt of problem 2 in data.jsonl has 3000 tokens, but the context of the model" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("trian", "invalid choice: 'trian'"),
        ("--trian", "unrecognized arguments: --trian"),
        ("train runs", "The recipe runs does not exist"),
        ("train --steps", "--steps needs a value."),
        ("train --step 3", "There is no setting named 'step'. Did you mean steps?"),
        ("train --steps 3 4", "'4' is no setting; settings are written --name value."),
        ("train -s 3", "'-s' is no setting"),
        ("train --steps -3", "steps is -3, but must"),
        ("train --steps=1.5", "steps takes a whole number, not '1.5'"),
        ("train --lr nan", "lr takes a finite number"),
        ("train --dtype float8", "dtype cannot be 'float8'"),
        ("train --config", "--config needs a value."),
        ("train --config none.yaml", "The config file none.yaml does not exist."),
        ("train none.py", "The recipe none.py does not exist"),
        ("train --method grpoo", "There is no method named 'grpoo'. Did you mean grpo?"),
        ("train --method grpo(lo=1)", "grpo has no parameter 'lo'"),
        ("train --method grpo+", "cannot be read"),
        ("train --method __import__('os')", "__import__"),
        ("train --train countdwn:2", "did you mean countdown?"),
        ("train --train countdown:9", "Family countdown has no level '9'"),
        ("train --held-out nothing", "There is no family of problems 'nothing'"),
        ("train --model nowhere", "The model folder nowhere does not exist"),
        ("train --model tiny --reference nowhere --method reference_kl", "The model folder nowhere does not exist"),
        ("train --data none.jsonl", "none.jsonl cannot be read (No such file or directory)"),
        ("train --data .", "cannot be read"),
        ("train --model tiny --replay nowhere", "replay is nowhere, which is no run folder"),
        ("train --eval-data none.jsonl --eval-problems 0", "none.jsonl cannot be read (No such file or directory)"),
        ("train --lr 1e-5 --steps 3 --lr=1e-4", "--lr is given twice; once is enough."),
        ("train --max-new 8 --max_new 9", "--max-new is given twice"),
        ("train --train chain:1,chain:1", "names chain:1 twice"),
        ("train --held-out fill,fill:2", "names fill:2 twice"),
        ("train --sinks wandb,wandb", "sinks names wandb twice"),
        ("train --eval-k 4,4,1", "eval_k names 4 twice"),
        ("train --group 1", "rewards never differ within a group and signal=drop finds nothing to train on"),
        ("train --group 1 --signal keep", "the method 'grpo' compares the responses of a group, so every advantage"),
        ("train --group 1 --signal keep --method opo", "the method 'opo' compares the responses of a group"),
        ("train --group 2 --prompts 2 --updates 5", "updates is 5, but a step has only 4 responses"),
        ("train --prompts 100000000", "prompts is 100000000, but must lie between 1 and 65536"),
        ("train --method nope --dry-run", "There is no method named 'nope'"),
        ("train --data none.jsonl --dry-run", "none.jsonl cannot be read"),
        ("train --train countdwn:2 --dry-run", "did you mean countdown?"),
        ("demo --method nope --dry-run", "There is no method named 'nope'"),
        ("train --train countdown:1 --eval-problems 99999", "ask for no more"),
        ("demo --nope 1", "There is no setting named 'nope'"),
        ("demo --steps none", "steps takes a whole number"),
        ("sample nowhere", "The model folder nowhere does not exist"),
        ("sample --count x", "'x' is no whole number"),
        ("sample --count -1", "'-1' is no whole number"),
        ("sample --count 0", "'0' is no whole number"),
        ("sample --samples 1e3", "'1e3' is no whole number"),
        ("sample --max-new 99999999999", "is no whole number"),
        ("sample --seed -1", "'-1' is no whole number"),
        ("sample --temperature hot", "invalid float value: 'hot'"),
        ("sample --temperature nan", "temperature between 0.001 and 100"),
        ("sample --temperature 0", "temperature between 0.001 and 100"),
        ("sample --temperature inf", "temperature between 0.001 and 100"),
        ("sample --seed 1 --count 2 --seed 2", "--seed is given twice"),
        ("sample --count 100001", "'100001' is no whole number from 1 to 100000"),
        ("sample --count=--1", "'--1' is no whole number"),
        ("sample --problems sudoku", "There is no family of problems 'sudoku'"),
        ("sample --problems countdown:x", "Family countdown has no level 'x'"),
        ("sample builtin more", "unrecognized arguments: more"),
        ("report", "the following arguments are required: runs"),
        ("report nowhere", "The run folder nowhere does not exist."),
        ("report .", "is no run folder"),
        ("methods nope", "There is no method named 'nope'"),
        ("metrics --all", "unrecognized arguments: --all"),
        ("pretrain", "the following arguments are required: out"),
        ("pretrain m --steps -1", "'-1' is no whole number"),
        ("pretrain m --steps many", "'many' is no whole number"),
        ("pretrain .", "exists and is not empty"),
    ],
)
def test_a_mistake_is_one_sentence(capsys, tmp_path, words, said):
    tiny_model(tmp_path)
    assert said.lower() in refused(capsys, *words.split()).lower()
    assert not (tmp_path / "runs" / "grpo-seed0" / "config.json").exists()


def test_a_mistake_with_traceback_raises():
    with pytest.raises(UserError):
        cli.main(["train", "--nope", "1", "--traceback"])


def edit(folder: Path, name: str, **changes: object) -> None:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def without(folder: Path, name: str) -> None:
    (folder / name).unlink()


def cut(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"model.norm.weight": [1.0]}))


def reshaped(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.self_attn.k_proj.weight"] = weights["model.layers.0.self_attn.k_proj.weight"][
        :, :-1
    ].clone()
    save_file(weights, folder / "model.safetensors")


def lacking(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors")


def endless(folder: Path) -> None:
    edit(folder, "config.json", eos_token_id=None)
    edit(folder, "generation_config.json", eos_token_id=None)


MALFORMED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda f: without(f, "config.json"), "has no config.json"),
    "config is no JSON": (lambda f: (f / "config.json").write_text("{"), "config.json"),
    "config is a list": (lambda f: (f / "config.json").write_text("[]"), "config.json"),
    "config is no text": (lambda f: (f / "config.json").write_bytes(b"\xff\xfe{"), "config.json"),
    "no model_type": (lambda f: edit(f, "config.json", model_type=None), "names no model_type"),
    "no size": (lambda f: edit(f, "config.json", hidden_size=None), "hidden_size"),
    "size is text": (lambda f: edit(f, "config.json", num_attention_heads="two"), "num_attention_heads"),
    "size is 0": (lambda f: edit(f, "config.json", num_attention_heads=0, head_dim=None), "config.json"),
    "size is negative": (lambda f: edit(f, "config.json", intermediate_size=-24), "config.json"),
    "odd rope": (lambda f: edit(f, "config.json", rope_parameters=3), "config.json"),
    "no weights": (lambda f: without(f, "model.safetensors"), "pickled weights are never loaded"),
    "pickled weights": (pickled, "pickled weights are never loaded"),
    "half of the weights": (lambda f: cut(f, 12_000), "model.safetensors cannot be read"),
    "a byte of weights missing": (lambda f: cut(f, -1), "model.safetensors cannot be read"),
    "empty weights": (lambda f: cut(f, 0), "model.safetensors cannot be read"),
    "weights are text": (lambda f: (f / "model.safetensors").write_text("no tensors" * 9), "cannot be read"),
    "wrong shape": (reshaped, "k_proj.weight in"),
    "other sizes": (lambda f: edit(f, "config.json", intermediate_size=25), "gate_proj.weight in"),
    "too few tensors": (lacking, "have no tensor model.layers.1.mlp.up_proj.weight"),
    "too few layers": (lambda f: edit(f, "config.json", num_hidden_layers=3), "have no tensor model.layers.2"),
    "no tokenizer": (lambda f: without(f, "tokenizer.json"), "has no tokenizer.json"),
    "broken tokenizer": (lambda f: (f / "tokenizer.json").write_text("{}"), "tokenizer.json is not a tokenizer"),
    "no end": (endless, "names an eos_token_id"),
    "end is text": (lambda f: edit(f, "generation_config.json", eos_token_id="<eos>"), "eos_token_id"),
    "broken generation": (lambda f: (f / "generation_config.json").write_text("{"), "generation_config.json"),
    "more tokens than rows": (lambda f: edit(f, "config.json", vocab_size=50), "vocab_size"),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
@pytest.mark.parametrize("command", ["train --model", "sample"])
def test_a_malformed_model_folder_is_one_sentence(capsys, tmp_path, case, command):
    folder = tiny_model(tmp_path)
    spoil, said = MALFORMED[case]
    spoil(folder)
    error = refused(capsys, *command.split(), folder)
    assert said in error
    assert str(folder) in error or "The model's config.json" in error
    assert not (tmp_path / "runs" / "grpo-seed0" / "config.json").exists()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"prompt": "a"}', "row 2, field answer is missing"),
        ('{"answer": 1}', "row 2, field prompt is missing"),
        ('{"prompt": "a", "answer": null}', "row 2, field answer is null"),
        ('{"prompt": 1, "answer": 1}', "row 2, field prompt is a number"),
        ('{"prompt": "", "answer": 1}', "row 2, field prompt is empty"),
        ('{"prompt": "a", "answer": NaN}', "row 2, field answer is infinite, not a number"),
        ('["a", 1]', "row 2 is a list"),
        ('{"prompt": "a", ', "row 2 is not JSON"),
        ('{"prompt": "1+1=", "answer": 3}', "row 2, field answer contradicts row 1"),
        ("\xff", "is not text in UTF-8"),
    ],
)
def test_a_bad_row_is_named(capsys, tmp_path, row, said):
    good = '{"prompt": "1+1=", "answer": 2}\n'
    (tmp_path / "data.jsonl").write_bytes((good + row + "\n").encode("latin-1"))
    assert said in refused(capsys, "train", "--data", "data.jsonl", "--model", tiny_model(tmp_path))


def test_an_empty_data_file_is_one_sentence(capsys, tmp_path):
    (tmp_path / "data.jsonl").touch()
    assert "holds no problem" in refused(capsys, "train", "--data", "data.jsonl")


def test_a_run_folder_that_cannot_be_made_is_one_sentence(capsys, tmp_path):
    (tmp_path / "file").touch()
    said = refused(capsys, "train", "--model", tiny_model(tmp_path), "--out", "file/run")
    assert "The run folder file/run cannot be made" in said


@pytest.mark.parametrize("content", ["{", "[]", "3"])
def test_a_damaged_run_folder_is_one_sentence(capsys, tmp_path, content):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(content)
    assert "config.json" in refused(capsys, "train", "--model", tiny_model(tmp_path), "--out", "run")
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 1}\n')
    assert "config.json is damaged" in refused(capsys, "report", "run")


@pytest.mark.parametrize("content", ["{\n", "3\n", '{"loss": 1}\n', '{"step": 1, "loss": "x"}\n'])
def test_damaged_metrics_are_one_sentence(capsys, tmp_path, content):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    (tmp_path / "run" / "metrics.jsonl").write_text(content)
    assert "Line 1 of run/metrics.jsonl is damaged" in refused(capsys, "report", "run")


def test_a_closed_pipe_is_no_error():
    shell = f"{sys.executable} -m isotherm metrics | true; exit ${{PIPESTATUS[0]}}"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0
    assert done.stderr == ""


SMALL = "--steps 2 --prompts 2 --group 2 --max-new 8 --eval-problems 0 --dtype float32 --kernels plain --out run"


def shell(line: str, **extra: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"} | extra
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=environment, check=False)


@pytest.mark.parametrize("where", ["| true", "> /dev/full", ">&-"])
def test_training_goes_on_when_nobody_reads_what_it_says(tmp_path, where):
    model = tiny_model(tmp_path)
    done = shell(f"{sys.executable} -m isotherm train {SMALL} --model {model} {where}; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "run" / "checkpoints" / "step-000002").is_dir()
    assert (tmp_path / "run" / "report.html").is_file()


def test_an_ascii_terminal_is_no_error(tmp_path):
    (tmp_path / "größer").mkdir()
    line = f"{sys.executable} -m isotherm train {SMALL} --model {tiny_model(tmp_path)} --out größer/run"
    done = shell(line.replace("--out run ", ""), PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "gr??er/run" in done.stdout or "gr????er/run" in done.stdout


def test_a_mistake_in_a_real_process_is_one_sentence(tmp_path):
    done = python("-m", "isotherm", "train", "--model", str(tmp_path / "nowhere"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("isotherm: The model folder ")
