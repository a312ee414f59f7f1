"""Text to token ids and back; the character tokenizer of the built-in model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from isotherm.errors import UserError
from isotherm.files import read_json

if TYPE_CHECKING:
    import tokenizers

PAD, EOS, UNKNOWN = "<pad>", "<eos>", "<unk>"
CHARACTERS = "\n" + "".join(chr(i) for i in range(32, 127))


@dataclass(frozen=True)
class Text:
    """A tokenizer, the tokens that end a response, and the chat template where one is put around prompts."""

    tokenizer: tokenizers.Tokenizer
    ends: tuple[int, ...]
    chat: Callable[[str], str] | None = None

    def ask(self, prompt: str) -> list[int]:
        """A prompt as the model is to see it; a template brings its own special tokens."""
        if self.chat is None:
            return self.encode(prompt)
        return self.tokenizer.encode(self.chat(prompt), add_special_tokens=False).ids

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text).ids

    def decode(self, ids: list[int]) -> str:
        """The text of a response, up to and without its end."""
        stop = next((i for i, token in enumerate(ids) if token in self.ends), len(ids))
        return self.tokenizer.decode(ids[:stop])


def character_tokenizer() -> tokenizers.Tokenizer:
    """One token per printable ASCII character."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    words = {token: i for i, token in enumerate([PAD, EOS, UNKNOWN, *CHARACTERS])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")  # pyright: ignore
    tokenizer.decoder = decoders.Fuse()  # pyright: ignore
    tokenizer.add_special_tokens([PAD, EOS, UNKNOWN])
    return tokenizer


def load_tokenizer(folder: Path) -> tokenizers.Tokenizer:
    """The tokenizer.json of a model folder."""
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise UserError(
            f"The model folder {folder} has no tokenizer.json; save its tokenizer in the fast format first."
        )
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises a bare Exception
        raise UserError(f"{path} is not a tokenizer: {error}.") from None


def load_text(folder: Path, config: dict) -> Text:
    """The tokenizer of a model folder and the end tokens of its config and generation config."""
    tokenizer, path = load_tokenizer(folder), folder / "tokenizer.json"
    words, room = tokenizer.get_vocab_size(with_added_tokens=False), config.get("vocab_size")
    if isinstance(room, int) and words > room:
        raise UserError(f"{path} has {words} tokens, but config.json allows for vocab_size = {room} only.")
    return Text(tokenizer, end_tokens(folder, config))


def end_tokens(folder: Path, config: dict) -> tuple[int, ...]:
    """eos_token_id of generation_config.json and of config.json, which may each be a number or a list."""
    found: list[int] = []
    generation = folder / "generation_config.json"
    for source in (read_json(generation) if generation.is_file() else {}, config):
        ids = source.get("eos_token_id")
        found += ids if isinstance(ids, list) else [] if ids is None else [ids]
    if any(type(i) is not int for i in found):
        raise UserError(f"eos_token_id in the model folder {folder} must be a whole number or a list of them.")
    if not found:
        raise UserError(f"Neither config.json nor generation_config.json in {folder} names an eos_token_id.")
    return tuple(dict.fromkeys(found))
