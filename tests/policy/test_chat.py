"""The chat template of a model folder: put around prompts, tried before anything is trained, left out on demand."""

import json
import re
import shutil

import pytest

import isotherm
from isotherm.errors import UserError
from isotherm.policy.chat import load_chat
from isotherm.policy.model import BUILTIN, check_model, load_policy
from isotherm.rollout import store

TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}<me>{% endif %}"
)


@pytest.fixture
def folder(tmp_path):
    target = tmp_path / "model"
    shutil.copytree(BUILTIN, target)
    (target / "chat_template.jinja").write_text(TEMPLATE)
    return target


def test_a_prompt_is_put_into_the_template(folder):
    text = load_policy(str(folder)).text
    assert text.decode(text.ask("make 3")) == "<user>make 3\n<me>"


def test_the_template_of_tokenizer_config_is_found(folder):
    (folder / "chat_template.jinja").unlink()
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": TEMPLATE}))
    text = load_policy(str(folder)).text
    assert text.decode(text.ask("a")) == "<user>a\n<me>"


def test_it_is_left_out_on_demand_and_where_there_is_none(folder):
    plain = load_policy(str(folder), chat="no").text
    assert plain.ask("make 3") == plain.encode("make 3")
    assert load_policy("builtin").text.chat is None


def test_yes_needs_a_template():
    with pytest.raises(UserError, match="no chat template"):
        check_model("builtin", "yes")


@pytest.mark.parametrize(
    "template",
    [
        "{% for %}",
        "{{ raise_exception('never') }}",
        "{{ messages[7]['content'] }}",
        "hello",
        "{{ ''.__class__.mro() }}",
        "",
    ],
)
def test_a_broken_template_ends_in_a_sentence(folder, template):
    (folder / "chat_template.jinja").write_text(template)
    with pytest.raises(UserError, match="chat = no leaves"):
        check_model(str(folder))
    assert load_chat(folder, "no") is None


def test_a_run_trains_on_templated_prompts_and_keeps_the_template(folder, tmp_path):
    run = isotherm.train(
        model=str(folder), steps=1, prompts=2, group=2, max_new=4, eval_problems=0, held_out="", quiet=True,
        out=str(tmp_path / "run"), dtype="float32", store_every=1,
    )  # fmt: skip
    rollout = store.load(store.path_of(run.path, 1))
    seen = load_policy("builtin").text.decode(rollout.prompts[0])
    assert re.fullmatch("<user>.+\n<me>", seen)
    assert (next((tmp_path / "run" / "checkpoints").glob("step-*")) / "chat_template.jinja").read_text() == TEMPLATE
