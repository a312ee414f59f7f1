"""A causal language model of a few thousand parameters in float64, and a batch of responses for it."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

from agree_batches import Batch, stream
from isotherm.objective.method import Method, decide, loss
from isotherm.tokens.score import score
from isotherm.tokens.stream import flatten

VOCABULARY, PROMPT = 48, 3


def small_model() -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64, tie_word_embeddings=True, use_cache=False,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, attn_implementation="eager",
    )  # fmt: skip
    model = Qwen2ForCausalLM(config).double()
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(25)  # else every distribution is nearly uniform
    return model


@dataclasses.dataclass(frozen=True)
class Written:
    """Prompts [R, 3] and responses [R, T], padded on the right with 0."""

    prompts: Tensor
    responses: Tensor
    mask: Tensor

    @property
    def ids(self) -> Tensor:
        return torch.cat((self.prompts, self.responses), 1)

    @property
    def seen(self) -> Tensor:
        return torch.cat((torch.ones_like(self.prompts), self.mask.long()), 1)


def written(batch: Batch) -> Written:
    g = torch.Generator().manual_seed(batch.seed)
    prompts = torch.randint(3, VOCABULARY, (len(batch.length), PROMPT), generator=g)
    responses = torch.randint(3, VOCABULARY, tuple(batch.logprob.shape), generator=g)
    return Written(prompts, responses * batch.mask, batch.mask)


def scores(model: Qwen2ForCausalLM, text: Written) -> tuple[Tensor, Tensor]:
    """log pi and H of each response token by Isotherm's own scoring, [tokens]."""
    states = model.base_model(input_ids=text.ids, attention_mask=text.seen, use_cache=False).last_hidden_state
    states = states[:, PROMPT - 1 : -1][text.mask]
    found = score(states, model.get_output_embeddings().weight, text.responses[text.mask])
    return found.logprob, found.entropy


@torch.no_grad()
def rescored(batch: Batch, model: Qwen2ForCausalLM) -> Batch:
    """The same drift, from what the model says of the responses."""
    logprob, entropy = scores(model, written(batch))
    now = torch.zeros_like(batch.logprob)
    now[batch.mask] = logprob
    moved = now - batch.logprob
    kept = torch.zeros_like(now)
    kept[batch.mask] = entropy
    return dataclasses.replace(
        batch, logprob=now, old=batch.old + moved, reference=batch.reference + moved, entropy=kept
    )


def flat_gradient(model: Qwen2ForCausalLM, total: Tensor) -> Tensor:
    parts = torch.autograd.grad(total, list(model.parameters()), allow_unused=True, materialize_grads=True)
    return torch.cat([p.flatten() for p in parts])


def our_gradient(model: Qwen2ForCausalLM, batch: Batch, method: Method) -> Tensor:
    logprob, entropy = scores(model, written(batch))
    assert len(logprob) == len(flatten(batch.old, batch.length))
    tokens = stream(batch, logprob, entropy)
    return flat_gradient(model, loss(tokens, method, decide(tokens, method)))
