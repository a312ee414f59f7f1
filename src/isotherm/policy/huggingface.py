"""Any Hugging Face causal language model behind the signature of `Decoder`; slower, since it repeats the prompt."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from isotherm.errors import UserError
from isotherm.policy.batch import Batch, Head
from isotherm.policy.folder import carry


class Generated:
    """transformers' own key-value cache, with the mask and the positions of what is in it."""

    sparse, step = 0.5, 1

    def __init__(self, kept: Any, mask: Tensor, position: Tensor) -> None:
        self.kept, self.mask, self.position = kept, mask, position

    def keep(self, rows: Tensor) -> None:
        self.kept.batch_select_indices(rows)
        self.mask, self.position = self.mask[rows], self.position[rows]


class HuggingFace(nn.Module):
    """`compute` is the precision of autocast; the weights stay in float32."""

    def __init__(self, network: Any, compute: torch.dtype) -> None:
        super().__init__()
        self.network, self.compute = network, compute

    @property
    def head(self) -> Head:
        output = self.network.get_output_embeddings()
        cap = getattr(self.network.config, "final_logit_softcapping", None)
        return Head(output.weight, getattr(output, "bias", None), cap)

    def run(self, **inputs: Any) -> Any:
        kind = inputs["input_ids"].device.type
        with torch.autocast(kind, self.compute, enabled=self.compute != torch.float32):
            return self.network.base_model(**inputs)

    def hidden(self, batch: Batch) -> Tensor:
        prompts, lengths = batch.prompts.repeat_interleave(batch.n, 0), batch.prompt_lengths.repeat_interleave(batch.n)
        width, room = prompts.shape[1], batch.responses.shape[1]
        ids = torch.cat((prompts, batch.responses[:, :-1]), 1)
        column = torch.arange(ids.shape[1], device=ids.device)
        mask = (column >= (width - lengths)[:, None]).long()
        position = (column - (width - lengths)[:, None]).clamp(min=0)
        states = self.run(input_ids=ids, attention_mask=mask, position_ids=position, use_cache=False).last_hidden_state
        real = torch.arange(room, device=ids.device) < batch.lengths[:, None]
        return states[:, -room:][real].float()

    def start(self, batch: Batch, room: int) -> tuple[Generated, Tensor]:
        """Runs each prompt once, then repeats its cache for its responses."""
        mask, position = (~batch.hidden_columns()).long(), batch.prompt_positions()
        out = self.run(input_ids=batch.prompts, attention_mask=mask, position_ids=position, use_cache=True)
        out.past_key_values.batch_repeat_interleave(batch.n)
        mask, after = mask.repeat_interleave(batch.n, 0), batch.prompt_lengths.repeat_interleave(batch.n)
        states = out.last_hidden_state[:, -1].float().repeat_interleave(batch.n, 0)
        return Generated(out.past_key_values, mask, after), states

    def advance(self, cache: Generated, ids: Tensor) -> Tensor:
        cache.mask = torch.cat((cache.mask, torch.ones_like(cache.mask[:, :1])), 1)
        out = self.run(
            input_ids=ids[:, None],
            attention_mask=cache.mask,
            position_ids=cache.position[:, None],
            past_key_values=cache.kept,
            use_cache=True,
        )
        cache.kept, cache.position = out.past_key_values, cache.position + 1
        return out.last_hidden_state[:, -1].float()

    def frozen(self) -> HuggingFace:
        return copy.copy(self)

    def write(self, source: Path, target: Path) -> None:
        self.network.save_pretrained(target)
        config = (target / "config.json").read_bytes()
        carry(source, target)
        (target / "config.json").write_bytes(config)


def load_huggingface(folder: Path, compute: torch.dtype) -> HuggingFace:
    """Weights in float32; code that comes with a model is never run."""
    from transformers import AutoModelForCausalLM

    try:
        network = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, trust_remote_code=False, local_files_only=True, use_safetensors=True
        )
    except Exception as error:  # the library raises many classes for a bad folder
        raise UserError(f"The model in {folder} cannot be loaded: {' '.join(str(error).split())[:300]}.") from None
    network.eval()
    return HuggingFace(network, compute)
