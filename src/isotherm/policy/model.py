"""The policy: a model, its tokenizer, and the four things the pipeline asks of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from isotherm.policy.batch import Batch, Head
from isotherm.policy.chat import load_chat
from isotherm.policy.decoder import Decoder
from isotherm.policy.folder import check_weights, load_decoder, plain_shape, read_config, write_decoder
from isotherm.policy.graphs import graphed
from isotherm.policy.text import Text, load_text

BUILTIN = Path(__file__).parent / "builtin"
KNOWS_RULES = "isotherm_knows_rules"  # in config.json of models that were trained on the families


class Cache(Protocol):
    """`keep` is called when fewer than the share `sparse` of the rows go on, for a multiple of `step` rows."""

    sparse: float
    step: int

    def keep(self, rows: Tensor) -> None: ...


class Model(Protocol):
    """What `Decoder` and `HuggingFace` both do."""

    @property
    def head(self) -> Head: ...
    def hidden(self, batch: Batch) -> Tensor: ...
    def start(self, batch: Batch, room: int) -> tuple[Cache, Tensor]: ...
    def advance(self, cache, ids: Tensor) -> Tensor: ...
    def frozen(self) -> Model: ...


@dataclass(frozen=True)
class Policy:
    """A trainable model with float32 weights, its tokenizer, and the folder it came from."""

    module: nn.Module
    text: Text
    source: Path
    device: torch.device
    knows_rules: bool = False  # of the families: its prompts need no explanation

    @property
    def model(self) -> Model:
        return self.module  # pyright: ignore[reportReturnType]

    def frozen(self) -> Model:
        with torch.no_grad():
            twin = self.model.frozen()
            return graphed(self.module, twin) if isinstance(twin, Decoder) and self.device.type == "cuda" else twin

    def parameters(self) -> dict[str, nn.Parameter]:
        """Trainable parameters by name, in a fixed order."""
        return {name: p for name, p in sorted(self.module.named_parameters()) if p.requires_grad}

    def write(self, target: Path) -> None:
        """A Hugging Face folder with the current weights."""
        if isinstance(self.module, Decoder):
            write_decoder(self.module, self.source, target)
        else:
            self.module.write(self.source, target)  # pyright: ignore[reportCallIssue]


def model_folder(name: str) -> Path:
    return BUILTIN if name == "builtin" else Path(name)


def check_model(name: str, chat: str = "auto") -> None:
    """Raises a sentence for everything that can be seen to be wrong without loading weights."""
    folder = model_folder(name)
    config = read_config(folder)
    load_text(folder, config)
    load_chat(folder, chat)
    check_weights(folder, plain_shape(config))


def load_policy(name: str, compute: torch.dtype = torch.float32, device: str = "cpu", chat: str = "auto") -> Policy:
    """The built-in model, or any Hugging Face causal language model in a local folder."""
    folder = model_folder(name)
    config = read_config(folder)
    shape = plain_shape(config)
    if shape is not None:
        module: nn.Module = load_decoder(folder, shape, compute)
    else:
        from isotherm.policy.huggingface import load_huggingface

        module = load_huggingface(folder, compute)
    text = dataclasses.replace(load_text(folder, config), chat=load_chat(folder, chat))
    return Policy(module.to(device), text, folder, torch.device(device), config.get(KNOWS_RULES) is True)
