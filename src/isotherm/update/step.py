"""One optimizer step on one mini-batch, the same whatever the micro-batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from isotherm.measure.dynamics import observed
from isotherm.objective.method import Decision, Method, decide, loss
from isotherm.objective.prediction import sloped
from isotherm.objective.telemetry import Telemetry, telemetry
from isotherm.own import decided, measure
from isotherm.policy.model import Policy
from isotherm.records import Rollout, Tokens
from isotherm.tokens.local import Local
from isotherm.tokens.score import Scores
from isotherm.tokens.stream import spread
from isotherm.update import adamw
from isotherm.update.finite import NonFinite, require_finite
from isotherm.update.live import cheapest, live_responses, put
from isotherm.update.scoring import loss_of_rows, pieces, score_all, score_rows


class Rule(NamedTuple):
    """The settings of a step. `fresh`: the policy has not moved since it sampled, so its scores now are pi_old.
    `rescored`: pi_old is the trainer's, else the sampler's own."""

    micro_batch: int
    temperature: float
    statistics: str
    clip_grad: float
    fresh: bool = False
    rescored: bool = True


class Outcome(NamedTuple):
    loss: float
    grad_norm: float
    telemetry: Telemetry
    mismatch: Tensor  # |log pi_sampler - log pi_old| per token where pi_old is known
    tokens: Tokens  # that the loss is a sum over, under the policy before the step
    decision: Decision
    lr: float
    dynamics: dict[str, float]  # what the step was to do to the entropy
    measures: dict[str, float]  # by knob, what each control that has a measure found
    finite: adamw.Finite


def with_scores(tokens: Tokens, scores: Scores, fresh: bool) -> Tokens:
    """The same tokens under the current policy."""
    now = dataclasses.replace(tokens, **scores._asdict())
    old = {"old_logprob": scores.logprob.detach(), "old_entropy": scores.entropy.detach()}
    return dataclasses.replace(now, **old) if fresh else now


class Gradient(NamedTuple):
    """What accumulating d loss / d parameters leaves beside it."""

    loss: Tensor
    tokens: Tokens  # under the current policy; of tokens that were not scored, as they came
    decision: Decision
    scored: Tensor  # bool per token


def gradient(policy: Policy, batch: Rollout, tokens: Tokens, method: Method, rule: Rule) -> Gradient:
    """Accumulates d loss / d parameters over micro-batches, of the live responses alone where it is known which."""
    if rule.statistics == "micro" and 0 < rule.micro_batch < len(batch.length):
        return apart(policy, batch, tokens, method, rule)
    seen = under_current(policy, batch, tokens, method, rule)
    if seen is None:
        return together(policy, batch, tokens, method, rule)
    decision = decide(seen, method)
    live = cheapest(batch, live_responses(method, decision, batch.length))
    chosen = spread(live, batch.length)
    some = (batch.rows(live), seen.where(chosen), decision.where(chosen)) if not live.all() else (batch, seen, decision)
    total, current = ahead(policy, *some, method, rule)
    return Gradient(total, put(seen.detach(), chosen, current), decision, chosen | (seen is not tokens))


def under_current(policy: Policy, batch: Rollout, tokens: Tokens, method: Method, rule: Rule) -> Tokens | None:
    """The tokens to decide on over the whole mini-batch; None where its only forward pass will do for both."""
    if not (method.needs_current and (rule.statistics != "scoring" or method.always_current)):
        return tokens
    if rule.micro_batch == 0 or rule.micro_batch >= len(batch.length):
        return None
    return with_scores(
        tokens, score_all(policy, batch, rule.micro_batch, rule.temperature, method.functionals), rule.fresh
    )


def together(policy: Policy, batch: Rollout, tokens: Tokens, method: Method, rule: Rule) -> Gradient:
    """One forward pass for the decision and for the loss."""
    scores = score_rows(policy, batch, slice(None), rule.temperature, method.functionals)
    current = with_scores(tokens, scores, rule.fresh)
    require_finite(log_prob=current.logprob.detach())
    decision = decide(current, method)
    total = loss(current, method, decision)
    total.backward()
    return Gradient(total.detach(), current.detach(), decision, torch.ones(len(tokens), dtype=torch.bool))


def apart(policy: Policy, batch: Rollout, tokens: Tokens, method: Method, rule: Rule) -> Gradient:
    """Statistics of every micro-batch by itself, as other frameworks take them; only counts are those of the batch."""
    normalizer, total, seen, decisions = decided(method.normalizer, tokens), torch.zeros(()), [], []
    for rows, cut in pieces(batch, rule.micro_batch):
        scores = score_rows(policy, batch, rows, rule.temperature, method.functionals)
        current = with_scores(tokens.where(cut), scores, rule.fresh)
        require_finite(log_prob=current.logprob.detach())
        decision = decide(current, method)._replace(normalizer=normalizer[cut])
        part = loss(current, method, decision)
        part.backward()
        total = total + part.detach()
        seen.append(current.detach())
        decisions.append(decision)
    scored = torch.ones(len(tokens), dtype=torch.bool)
    return Gradient(total, joined(seen), Decision.joined(decisions), scored)


def joined(parts: Sequence[Tokens]) -> Tokens:
    return parts[0].map(lambda *columns: torch.cat(columns), *parts[1:])


def ahead(
    policy: Policy, batch: Rollout, tokens: Tokens, decision: Decision, method: Method, rule: Rule
) -> tuple[Tensor, Tokens]:
    """The loss, with the gradient of its head made in the forward pass, and the tokens under the current policy."""
    total, seen = torch.zeros(()), [tokens.where(slice(0, 0))]

    def local(cut: slice, scores: Scores) -> Tensor:
        current = with_scores(tokens.where(cut), scores, rule.fresh)
        require_finite(log_prob=current.logprob.detach())
        seen.append(current.detach())
        return loss(current, method, decision.where(cut))

    for rows, cut in pieces(batch, rule.micro_batch):
        near = shifted(local, cut.start)
        part = loss_of_rows(policy, batch, rows, rule.temperature, near, method.functionals)
        part.backward()
        total = total + part.detach()
    if len(seen) == 1:
        for p in policy.parameters().values():
            p.grad = torch.zeros_like(p)
    return total, joined(seen)


def shifted(local: Local, by: int) -> Local:
    """The same on slices that count from `by`."""
    return lambda cut, scores: local(slice(cut.start + by, cut.stop + by), scores)


def optimizer_step(
    policy: Policy, optimizer: torch.optim.Optimizer, batch: Rollout, tokens: Tokens, method: Method, rule: Rule
) -> Outcome:
    """Gradient, clip, AdamW. Raises NonFinite, and leaves the weights alone, if anything is not a number."""
    try:
        with sloped(method, tokens):
            total, current, decision, scored = gradient(policy, batch, tokens, method, rule)
        require_finite(loss=total)
        norm = adamw.total_norm([p.grad for p in policy.parameters().values() if p.grad is not None])
        require_finite(gradient=norm)
    except NonFinite:
        optimizer.zero_grad(set_to_none=True)
        raise
    finite = adamw.step(optimizer, norm, rule.clip_grad)
    known = scored if rule.fresh else torch.full_like(scored, rule.rescored)  # else known where pi is; or the same
    mismatch = (current.sampler_logprob - current.old_logprob)[known].abs()
    lr = optimizer.param_groups[0]["lr"]
    dynamics = observed(current, method, decision, lr=lr, temperature=rule.temperature)
    measures = {c.knob: measure(c.measure, current) for c in method.controls if c.measure and len(current)}
    told = telemetry(current, method, decision)
    return Outcome(float(total), float(norm), told, mismatch, current, decision, lr, dynamics, measures, finite)
