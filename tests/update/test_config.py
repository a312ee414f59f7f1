"""Whatever is wrong with a setting, one sentence names it."""

from __future__ import annotations

import contextlib
import io
import json
import math
import sys
import typing
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isotherm import arguments as settings
from isotherm import cli
from isotherm.errors import UserError
from isotherm.update.config import FIELDS, HINTS, Config, as_dict, override
from isotherm.update.values import LARGEST

RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.py"))
NOTHING = st.sampled_from([None, object(), {}, {"a": 1}, b"1"])
NO_INT = NOTHING | st.sampled_from(
    [True, 1.5, 2.0, math.nan, math.inf, "", "x", "1.5", "nan", [1], 10**400, -(10**400)]
)
NO_FLOAT = NOTHING | st.sampled_from([False, math.nan, math.inf, -math.inf, "", "x", "nan", "inf", "1e999", [1.0]])
NO_TEXT = NOTHING | st.sampled_from([1, 1.5, True, math.nan, ["grpo"]])


def kind_of(name: str) -> Any:
    return HINTS[name]


def beyond(name: str) -> st.SearchStrategy[Any]:
    """Numbers outside the bounds of a setting, as numbers and as text."""
    meta, whole = FIELDS[name].metadata, kind_of(name) is int
    low, high = meta["low"], min(meta["high"], LARGEST) if whole else meta["high"]
    sides = []
    if low > -math.inf:
        sides.append(st.integers(-(2**40), int(low) - 1) if whole else st.floats(-1e30, low, exclude_max=True))
    if high < math.inf:
        sides.append(st.integers(int(high) + 1, 2**40) if whole else st.floats(high, 1e30, exclude_min=True))
    numbers = st.one_of(sides)
    return numbers | numbers.map(str)


def wrong(name: str) -> st.SearchStrategy[Any]:
    kind, choices = kind_of(name), FIELDS[name].metadata["choices"]
    if kind is int:
        return NO_INT | beyond(name)
    if kind is float:
        return NO_FLOAT | beyond(name)
    if typing.get_origin(kind) is tuple:
        return st.sampled_from(
            [None, 4, 1.5, {"a": 1}, ["x"], "x,y", [None], [[1]], [0], [-1], [math.nan], [1.5], "1,4,1", "wandb,wandb"]
        )
    if name == "hold_entropy":  # a number is a line
        return NO_TEXT.filter(lambda value: isinstance(value, bool) or not isinstance(value, (int, float)))
    return NO_TEXT | st.sampled_from(["nonsense", "Float32"] if choices else ["a\0b"])


WRONG = st.sampled_from(sorted(FIELDS)).flatmap(lambda name: st.tuples(st.just(name), wrong(name)))


def sentence(error: pytest.ExceptionInfo[UserError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert text[-1] in ".?"
    return text


@given(WRONG)
def test_a_wrong_value_is_refused_by_name(case):
    name, value = case
    with pytest.raises(UserError) as error:
        Config(**{name: value})
    assert sentence(error).startswith(f"{name} ")


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_refuses_null(name):
    with pytest.raises(UserError, match=f"^{name} takes "):
        override(Config(), {name: None})


def edited(name: str, place: int, edit: str) -> str:
    place %= len(name)
    letters = {"drop": "", "double": 2 * name[place], "swap": "q"}[edit]
    return name[:place] + letters + name[place + 1 :]


@given(st.sampled_from(sorted(FIELDS)), st.integers(0, 20), st.sampled_from(["drop", "double", "swap"]))
def test_a_misspelt_setting_gets_a_suggestion(name, place, edit):
    typo = edited(name, place, edit)
    if typo in FIELDS:
        return
    with pytest.raises(UserError) as error:
        override(Config(), {typo: 1})
    text = sentence(error)
    assert text.startswith(f"There is no setting named {typo!r}.")
    assert "Did you mean" in text if len(name) > 3 else "Did you mean" in text or "Valid are: model," in text


@given(st.text(min_size=1, max_size=30))
def test_any_other_word_is_no_setting(word):
    if word in FIELDS:
        return
    with pytest.raises(UserError, match="There is no setting named"):
        override(Config(), {word: 1})


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"eval_k": (32,)}, ("eval_k", "eval_samples")),
        ({"overlong": "soft", "overlong_buffer": 65}, ("overlong_buffer", "max_new")),
        ({"replay": "runs/a", "signal": "refill"}, ("replay", "signal=refill")),
        ({"prompts": 2**14, "group": 2**7}, ("prompts", "group")),
        ({"updates": 5, "prompts": 2, "group": 2}, ("updates", "group")),
    ],
)
def test_settings_that_contradict_each_other_are_both_named(changes, names):
    with pytest.raises(UserError) as error:
        Config(**changes)
    assert all(name in sentence(error) for name in names)


@pytest.mark.parametrize("name", ["prompts", "group", "max_new", "steps", "warmup", "eval_problems", "eval_samples"])
def test_sizes_beyond_reason_are_refused(name):
    with pytest.raises(UserError, match=f"^{name} is 2e\\+09, but must lie between|^{name} is 2000000000, but must"):
        override(Config(), {name: 2_000_000_000})


def right(name: str) -> st.SearchStrategy[Any]:
    """Values that a setting takes, alone and with every other default."""
    kind, meta = kind_of(name), FIELDS[name].metadata
    fixed = {
        "eval_k": st.lists(st.integers(1, 16), max_size=4, unique=True).map(tuple), "eval_samples": st.integers(16, 99),
        "sinks": st.lists(st.sampled_from(["trackio", "wandb", "tensorboard"]), max_size=3, unique=True).map(tuple),
        "prompts": st.integers(16, 1024), "group": st.integers(1, 1024), "updates": st.integers(1, 16),
        "overlong_buffer": st.integers(1, 16), "max_new": st.integers(16, 999), "replay": st.just(""),
    }  # fmt: skip
    if name in fixed:
        return fixed[name]
    if meta["choices"]:
        return st.sampled_from(meta["choices"])
    if kind is int:
        return st.integers(int(meta["low"]), int(min(meta["high"], LARGEST)))
    if kind is float:
        return st.floats(meta["low"], min(meta["high"], 1e12))
    return st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


CONFIGS = st.fixed_dictionaries({}, optional={name: right(name) for name in FIELDS}).map(lambda v: Config(**v))
PRINTABLE = "".join(map(chr, range(32, 127)))


def printed(*arguments: str) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out), mock.patch("isotherm.api.check"):  # no such files, models, methods
        assert cli.main(["train", *arguments, "--dry-run"]) == 0
    return out.getvalue()


def words(config: Config) -> list[str]:
    """The config as the command line."""
    values = as_dict(config).items()
    return [f"--{n.replace('_', '-')}={','.join(map(str, v)) if isinstance(v, list) else v}" for n, v in values]


@given(CONFIGS)
def test_what_dry_run_prints_is_read_back(tmp_path_factory, config):
    path = tmp_path_factory.getbasetemp() / "config.yaml"
    path.write_text(printed(*words(config)), encoding="utf-8")
    assert override(Config(), settings.read_file(path)) == config
    assert printed("--config", str(path)) == path.read_text(encoding="utf-8")


@given(CONFIGS)
def test_toml_says_the_same(tmp_path_factory, config):
    texts = {n: "".join(c for c in v if c in PRINTABLE) for n, v in as_dict(config).items() if isinstance(v, str)}
    plain: dict[str, Any] = as_dict(config) | texts
    path = tmp_path_factory.getbasetemp() / "config.toml"
    path.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in plain.items()))
    assert override(Config(), settings.read_file(path)) == Config(**plain)


def test_the_command_line_goes_over_the_file_and_the_file_over_the_recipe(tmp_path):
    (tmp_path / "my.py").write_text("from isotherm import Config\ndef f(): return Config(lr=0.1, seed=1, steps=2)")
    (tmp_path / "a.yaml").write_text("seed: 3\nsteps: 4\n")
    config, dry = settings.read_settings(
        [str(tmp_path / "my.py"), "--config", str(tmp_path / "a.yaml"), "--steps", "5"]
    )
    assert (config.lr, config.seed, config.steps, dry) == (0.1, 3, 5, False)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.yaml", "lr: [1, 2\n", "cannot be read"),
        ("a.yaml", "- lr\n", "must hold settings as 'name: value' lines"),
        ("a.yaml", "7\n", "must hold settings"),
        ("a.yaml", "learning_rate: 1\n", "There is no setting named 'learning_rate'"),
        ("a.yaml", "5: 1\n", "There is no setting named '5'"),
        ("a.yaml", "lr: fast\n", "lr takes a number, not 'fast'"),
        ("a.yaml", "lr: .nan\n", "lr takes a finite number"),
        ("a.yaml", "model: null\n", "model takes text, not None"),
        ("a.yaml", "a: !!python/object:os.system {}\n", "cannot be read"),
        ("a.toml", "lr = \n", "cannot be read"),
        ("a.toml", "[update]\nlr = 1\n", "There is no setting named 'update'"),
        ("a.toml", "lr = 1\nlr = 2\n", "cannot be read"),
        ("a.json", "{}", "must end in .yaml, .yml or .toml"),
    ],
)
def test_a_bad_file_is_one_sentence(tmp_path, capsys, name, text, said):
    (tmp_path / name).write_text(text)
    refused(capsys, ["--config", str(tmp_path / name)], said)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"lr: \0"])
def test_a_file_that_is_no_text_is_one_sentence(tmp_path, capsys, content):
    (tmp_path / "a.yaml").write_bytes(content)
    refused(capsys, ["--config", str(tmp_path / "a.yaml")], "cannot be read")


def test_a_missing_file_is_one_sentence(tmp_path, capsys):
    refused(capsys, ["--config", str(tmp_path / "none.yaml")], "does not exist")


def refused(capsys, arguments: list[str], said: str) -> None:
    assert cli.main(["train", *arguments, "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("isotherm: ")
    assert error.count("\n") == 1
    assert said in error


def functions(path: Path) -> list[str]:
    scope: dict[str, Any] = {}
    exec(path.read_text(), scope)
    return [n for n, f in scope.items() if callable(f) and f is not Config and not n.startswith("_")]


@pytest.mark.parametrize("name", [f"{path}:{f}" for path in RECIPES for f in functions(path)])
def test_every_recipe_is_a_config_that_differs_from_the_default_or_is_the_baseline(name):
    config = settings.recipe(name)
    assert isinstance(config, Config)
    assert config != Config() or name.endswith("grpo.py:grpo")


@pytest.mark.parametrize(
    ("body", "function", "said"),
    [
        ("x = 1", "", "has 0 functions"),
        ("def a(): ...\ndef b(): ...", "", "has 2 functions; name one as"),
        ("def a(): ...", ":b", "has no function b; it has: a"),
        ("def a(): ...", "", "returned NoneType, not a Config"),
        ("def a(): return {'lr': 1}", "", "returned dict, not a Config"),
        ("def a(x): ...", "", "fails: TypeError"),
        ("def a(): 1 / 0", "", "fails: ZeroDivisionError"),
        ("from isotherm import Config\ndef a(): return Config(lrr=1)", "", "no setting named 'lrr'"),
        ("from isotherm import Config\ndef a(): return Config(lr=-1)", "", "lr is -1, but must lie between 0 and 1"),
        ("def a(:", "", "fails: SyntaxError"),
        ("import sys\nsys.exit()", "", "fails: SystemExit"),
        ("import sys\ndef a(): sys.exit('enough')", "", "fails: SystemExit: enough"),
        ("import nothing_of_that_name", "", "fails: ModuleNotFoundError"),
        ("raise ValueError('two\\nlines')", "", "fails: ValueError: two lines"),
    ],
)
def test_a_bad_recipe_is_one_sentence(tmp_path, capsys, body, function, said):
    (tmp_path / "mine.py").write_text(body)
    refused(capsys, [f"{tmp_path / 'mine.py'}{function}"], said)


def test_a_recipe_may_have_classes_of_its_own(tmp_path):
    body = """
from __future__ import annotations
from dataclasses import dataclass
from isotherm import Config
@dataclass
class Sizes:
    prompts: int
def mine() -> Config:
    return Config(prompts=Sizes(5).prompts)
"""
    (tmp_path / "json.py").write_text(body)  # the name of a module that is there already
    assert settings.recipe(str(tmp_path / "json.py")).prompts == 5
    assert sys.modules["json"] is json


@pytest.mark.parametrize("name", ["missing.py", "pyproject.toml", "nonsense", "."])
def test_what_is_no_recipe_is_one_sentence(capsys, name):
    refused(capsys, [name], f"The recipe {name} does not exist; give a Python file")
