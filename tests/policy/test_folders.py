"""A malformed model folder ends in one sentence that names what is wrong, before any weights are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from isotherm.errors import UserError
from isotherm.policy.model import check_model, load_policy
from isotherm.policy.text import load_text
from models import tiny_model


def edit(name: str, **changes: object) -> Callable[[Path], None]:
    """Replaces entries of a JSON file; None takes them out."""

    def change(folder: Path) -> None:
        old = json.loads((folder / name).read_text())
        new = {k: v for k, v in (old | changes).items() if not (k in changes and v is None)}
        (folder / name).write_text(json.dumps(new))

    return change


def remove(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return change


def text(name: str, content: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / name).write_text(content)

    return change


def no_end(folder: Path) -> None:
    edit("config.json", eos_token_id=None)(folder)
    edit("generation_config.json", eos_token_id=None)(folder)


BROKEN = {
    "no config": (remove("config.json"), "no config.json"),
    "config no JSON": (text("config.json", "{"), "not valid JSON"),
    "config no object": (text("config.json", "[1]"), "must hold a JSON object"),
    "no model type": (edit("config.json", model_type=None), "model_type"),
    "no sizes": (edit("config.json", num_attention_heads=None), "num_attention_heads"),
    "size is text": (edit("config.json", hidden_size="wide"), "hidden_size"),
    "no weights": (remove("model.safetensors"), "no .safetensors weights"),
    "no tokenizer": (remove("tokenizer.json"), "no tokenizer.json"),
    "broken tokenizer": (text("tokenizer.json", "{}"), "not a tokenizer"),
    "generation config no JSON": (text("generation_config.json", "{"), "generation_config.json is not valid JSON"),
    "no end": (no_end, "eos_token_id"),
    "end is text": (edit("config.json", eos_token_id="</s>"), "eos_token_id"),
    "small vocabulary": (edit("config.json", vocab_size=50), "vocab_size"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_named(name: str, tmp_path: Path) -> None:
    spoil, word = BROKEN[name]
    folder = tiny_model(tmp_path)
    spoil(folder)
    with pytest.raises(UserError) as raised:
        check_model(str(folder))
    message = str(raised.value)
    assert word in message
    assert str(folder) in message
    assert "\n" not in message


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        check_model(str(tmp_path / "nowhere"))


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="never loaded"):
        load_policy(str(folder))


def test_weights_that_do_not_fit_the_config(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path)
    edit("config.json", intermediate_size=25)(folder)
    with pytest.raises(UserError, match=r"gate_proj.*asks for \[50, 16\]"):
        load_policy(str(folder))


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path)
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.down_proj.weight"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(UserError, match=r"no tensor model\.layers\.1\.mlp\.down_proj\.weight"):
        load_policy(str(folder))


def test_truncated_weights_are_named(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"model\.safetensors cannot be read"):
        load_policy(str(folder))


def test_every_end_counts_and_nothing_behind_it(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path)
    edit("generation_config.json", eos_token_id=[5, 1])(folder)
    read = load_text(folder, json.loads((folder / "config.json").read_text()))
    assert read.ends == (5, 1)
    a, b = read.encode("ab")
    assert read.decode([a, b, 5, a]) == read.decode([a, b, 1, 1]) == "ab"
