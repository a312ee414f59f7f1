"""One optimizer step on one mini-batch, the same whatever the micro-batch."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import torch
from torch import Tensor

from isotherm.objective.method import Decision, Method, decide, loss
from isotherm.objective.telemetry import Telemetry, telemetry
from isotherm.policy.model import Policy
from isotherm.records import Rollout, Tokens
from isotherm.tokens.score import Scores
from isotherm.update.finite import NonFinite, require_finite
from isotherm.update.scoring import pieces, score_all, score_rows


class Rule(NamedTuple):
    """The settings of a step. `fresh`: the policy has not moved since it sampled, so its scores now are pi_old."""

    micro_batch: int
    temperature: float
    statistics: str
    clip_grad: float
    fresh: bool = False


class Outcome(NamedTuple):
    loss: float
    grad_norm: float
    telemetry: Telemetry
    mismatch: Tensor  # |log pi_sampler - log pi_old| per token


def with_scores(tokens: Tokens, scores: Scores, fresh: bool) -> Tokens:
    """The same tokens under the current policy."""
    now = dataclasses.replace(tokens, logprob=scores.logprob, entropy=scores.entropy, s2=scores.s2, s2l=scores.s2l)
    return dataclasses.replace(now, old_logprob=scores.logprob.detach()) if fresh else now


def gradient(
    policy: Policy, batch: Rollout, tokens: Tokens, method: Method, rule: Rule
) -> tuple[Tensor, Tokens, Decision]:
    """Accumulates d loss / d parameters; returns the loss, the tokens under the current policy, and the decision."""
    decision = decide_ahead(policy, batch, tokens, method, rule)
    total, seen = torch.zeros(()), []
    for rows, cut in pieces(batch, rule.micro_batch):
        scores = score_rows(policy, batch, rows, rule.temperature)
        current = with_scores(tokens.map(lambda x, c=cut: x[c]), scores, rule.fresh)
        require_finite(log_prob=current.logprob.detach())
        decision = decision or decide(current, method)
        part = loss(current, method, decision.where(cut))
        part.backward()
        total, seen = total + part.detach(), [*seen, current.detach()]
    assert decision is not None
    return total, concatenate(seen), decision


def decide_ahead(policy: Policy, batch: Rollout, tokens: Tokens, method: Method, rule: Rule) -> Decision | None:
    """The decision over the whole mini-batch; None where its only forward pass will do for both."""
    whole = rule.micro_batch == 0 or rule.micro_batch >= len(batch.length)
    if whole and rule.statistics == "current":
        return None
    if method.needs_current and rule.statistics == "current":
        scores = score_all(policy, batch, rule.micro_batch, rule.temperature)
        tokens = with_scores(tokens, scores, rule.fresh)
    return decide(tokens, method)


def concatenate(parts: list[Tokens]) -> Tokens:
    fields = [f.name for f in dataclasses.fields(Tokens)]
    columns = {name: [getattr(part, name) for part in parts] for name in fields}
    joined: dict[str, Any] = {name: None if v[0] is None else torch.cat(v) for name, v in columns.items()}
    return Tokens(**joined)


def optimizer_step(
    policy: Policy, optimizer: torch.optim.Optimizer, batch: Rollout, tokens: Tokens, method: Method, rule: Rule
) -> Outcome:
    """Gradient, clip, AdamW. Raises NonFinite, and leaves the weights alone, if anything is not a number."""
    parameters = list(policy.parameters().values())
    try:
        total, current, decision = gradient(policy, batch, tokens, method, rule)
        require_finite(loss=total)
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        require_finite(gradient=norm)
    except NonFinite:
        optimizer.zero_grad(set_to_none=True)
        raise
    if rule.clip_grad:
        torch.nn.utils.clip_grads_with_norm_(parameters, rule.clip_grad, norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    mismatch = (current.sampler_logprob - current.old_logprob).abs()
    return Outcome(float(total), float(norm), telemetry(current, method, decision), mismatch)
