"""A model's own chat template: how an instructed model expects a question to be put."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from isotherm.errors import UserError
from isotherm.files import read_json

TRIAL = "1 + 1"


def has_template(folder: Path) -> bool:
    """In a file of its own, or in tokenizer_config.json as it used to be."""
    own, config = folder / "chat_template.jinja", folder / "tokenizer_config.json"
    return own.is_file() or (config.is_file() and bool(read_json(config).get("chat_template")))


def load_chat(folder: Path, choice: str = "auto") -> Callable[[str], str] | None:
    """A question -> the text up to where the answer begins; None where the prompt is to stay as it is.

    transformers renders templates in a sandbox; each is tried once here, so that a broken one ends before training.
    """
    there = has_template(folder) if choice != "no" else False
    if not there:
        if choice == "yes":
            raise UserError(f"chat is yes, but the model folder {folder} has no chat template; choose auto or no.")
        return None
    from transformers import AutoTokenizer

    def ask(question: str) -> str:
        message = {"role": "user", "content": question}
        return str(tokenizer.apply_chat_template([message], tokenize=False, add_generation_prompt=True))

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        asked = ask(TRIAL)
    except Exception as error:  # jinja2, transformers and templates themselves raise what they like
        detail = " ".join(str(error).split())[:300]
        raise UserError(f"The chat template in {folder} does not work: {detail}; chat = no leaves it out.") from None
    if TRIAL not in asked:
        raise UserError(f"The chat template in {folder} leaves the question out; chat = no leaves the template out.")
    return ask
