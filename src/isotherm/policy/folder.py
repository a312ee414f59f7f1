"""Hugging Face model folders: which decoder they describe, reading their weights, writing them back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from isotherm.errors import UserError
from isotherm.files import read_json
from isotherm.policy.decoder import Decoder, Shape

if TYPE_CHECKING:
    import torch
    from torch import Tensor

CARRIED = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
    "special_tokens_map.json", "chat_template.jinja",
)  # fmt: skip

PLAIN = ("llama", "qwen2")
SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")


def read_config(folder: Path) -> dict:
    """config.json of a model folder, or one sentence that says what is wrong with the folder."""
    if not folder.is_dir():
        raise UserError(
            f"The model folder {folder} does not exist; give the path of a Hugging Face model, or 'builtin'."
        )
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"The model folder {folder} has no config.json, so it is not a Hugging Face model.")
    config = read_json(path)
    if not isinstance(config.get("model_type"), str):
        raise UserError(f"{path} names no model_type, so the model cannot be built.")
    wrong = [name for name in SIZES if type(config.get(name)) is not int or config[name] < 1]
    if wrong and config["model_type"] in PLAIN:
        raise UserError(f"{path} must give {wrong[0]} as a whole number of at least 1.")
    if not any(folder.glob("*.safetensors")):
        raise UserError(f"The model folder {folder} has no .safetensors weights; pickled weights are never loaded.")
    return config


def plain_shape(config: dict) -> Shape | None:
    """The shape of a model that `Decoder` computes exactly, or None for every other architecture."""
    try:
        return shape_of(config)
    except KeyError as error:
        raise UserError(f"The model's config.json lacks {error}.") from None
    except (TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise UserError(f"The model's config.json has a value of the wrong kind ({error}).") from None


def shape_of(config: dict) -> Shape | None:
    rope = config.get("rope_parameters") or {}
    scaled = config.get("rope_scaling") or rope.get("rope_type", "default") != "default"
    odd = scaled or config.get("hidden_act") != "silu" or config.get("use_sliding_window") or config.get("mlp_bias")
    if config["model_type"] not in PLAIN or odd:
        return None
    heads, width = config["num_attention_heads"], config["hidden_size"]
    qwen = config["model_type"] == "qwen2"
    return Shape(
        vocab=config["vocab_size"],
        width=width,
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_width=config.get("head_dim") or width // heads,
        mlp=config["intermediate_size"],
        rope_theta=float(rope.get("rope_theta", config.get("rope_theta", 10_000.0))),
        norm_eps=config.get("rms_norm_eps", 1e-6),
        bias=qwen or bool(config.get("attention_bias")),
        tied=bool(config.get("tie_word_embeddings")),
        attention_bias=not qwen and bool(config.get("attention_bias")),
    )


def names(shape: Shape) -> dict[str, tuple[str, ...]]:
    """Each parameter of `Decoder` and the Hugging Face tensors that it stacks."""
    table: dict[str, tuple[str, ...]] = {"embed": ("model.embed_tokens.weight",), "norm": ("model.norm.weight",)}
    if not shape.tied:
        table["lm_head"] = ("lm_head.weight",)
    for i in range(shape.layers):
        own, theirs = f"layers.{i}.", f"model.layers.{i}."
        attention = tuple(f"{theirs}self_attn.{x}_proj." for x in "qkv")
        table[own + "norm1"] = (theirs + "input_layernorm.weight",)
        table[own + "norm2"] = (theirs + "post_attention_layernorm.weight",)
        table[own + "qkv"] = tuple(x + "weight" for x in attention)
        table[own + "out"] = (theirs + "self_attn.o_proj.weight",)
        table[own + "gate_up"] = (theirs + "mlp.gate_proj.weight", theirs + "mlp.up_proj.weight")
        table[own + "down"] = (theirs + "mlp.down_proj.weight",)
        if shape.bias:
            table[own + "qkv_bias"] = tuple(x + "bias" for x in attention)
        if shape.attention_bias:
            table[own + "out_bias"] = (theirs + "self_attn.o_proj.bias",)
    return table


def sizes(shape: Shape, name: str) -> list[int]:
    """Rows of each stacked tensor."""
    if ".qkv" in name:
        return [shape.heads * shape.head_width, *[shape.kv_heads * shape.head_width] * 2]
    return [shape.mlp, shape.mlp]


def shapes(shape: Shape) -> dict[str, list[int]]:
    """Of every Hugging Face tensor that a decoder of this shape is made of."""
    import torch

    with torch.device("meta"):
        whole = {name: list(p.shape) for name, p in Decoder(shape).named_parameters()}
    rows = {own: sizes(shape, own) if len(theirs) > 1 else whole[own][:1] for own, theirs in names(shape).items()}
    return {
        name: [n, *whole[own][1:]]
        for own, theirs in names(shape).items()
        for name, n in zip(theirs, rows[own], strict=True)
    }


def read_weights(folder: Path) -> dict[str, Tensor]:
    """All tensors of a folder's safetensors files."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    weights: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            weights |= load_file(path)
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path} cannot be read: {error}.") from None
    return weights


def check_weights(folder: Path, shape: Shape | None) -> None:
    """Whether the weights are whole and as config.json says, from the heads of their files."""
    from safetensors import SafetensorError, safe_open

    found: dict[str, list[int]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt") as file:
                found |= {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path} cannot be read: {error}.") from None
    for name, wanted in shapes(shape).items() if shape else ():
        if name not in found:
            raise UserError(f"The weights in {folder} have no tensor {name}, which its config.json asks for.")
        if found[name] != wanted:
            raise UserError(f"{name} in {folder} is {found[name]}, but config.json asks for {wanted}.")


def load_decoder(folder: Path, shape: Shape, compute: torch.dtype) -> Decoder:
    """The decoder of a folder, its weights in float32."""
    import torch

    weights, decoder = read_weights(folder), Decoder(shape, compute)
    parameters = dict(decoder.named_parameters())
    for own, theirs in names(shape).items():
        missing = [name for name in theirs if name not in weights]
        if missing:
            raise UserError(f"The weights in {folder} have no tensor {missing[0]}, which its config.json asks for.")
        value = torch.cat([weights[name] for name in theirs])
        if value.shape != parameters[own].shape:
            raise UserError(
                f"{theirs[0]} in {folder} makes {list(value.shape)}, but config.json asks for "
                f"{list(parameters[own].shape)}."
            )
        parameters[own].data.copy_(value)
    return decoder


def weights_of(decoder: Decoder) -> dict[str, Tensor]:
    """The decoder's weights under their Hugging Face names."""
    weights: dict[str, Tensor] = {}
    parameters = dict(decoder.named_parameters())
    for own, theirs in names(decoder.shape).items():
        value = parameters[own].detach().cpu()
        parts = value.split(sizes(decoder.shape, own)) if len(theirs) > 1 else [value]
        weights |= {name: part.contiguous() for name, part in zip(theirs, parts, strict=True)}
    return weights


def write_decoder(decoder: Decoder, source: Path, target: Path) -> None:
    """A folder that any Hugging Face tool loads: the source's config and tokenizer with these weights, in float32."""
    from safetensors.torch import save_file

    carry(source, target)
    save_file(weights_of(decoder), target / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((target / "config.json").read_text(encoding="utf-8")) | {"dtype": "float32"}
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def carry(source: Path, target: Path) -> None:
    for name in CARRIED:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
