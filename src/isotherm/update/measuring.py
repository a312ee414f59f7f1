"""What an update did to the entropy of its own states: measured, along the step that was taken, and token by token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from isotherm.measure.attribution import SIGNS, clip_regions, gradient_norms, losses, quadrants, sign
from isotherm.measure.dynamics import along_step, predictions, sums
from isotherm.objective.factors import factors_of
from isotherm.objective.interventions.entropy_mechanism import covariance
from isotherm.objective.method import Method
from isotherm.objective.prediction import push
from isotherm.objective.surrogates import log_ratio
from isotherm.objective.telemetry import clip_bounds
from isotherm.policy.model import Policy
from isotherm.records import Rollout, Tokens
from isotherm.rollout.store import write_table
from isotherm.tokens.entropy_change import own_push, squared_surprisal
from isotherm.tokens.score import Scores
from isotherm.tokens.stream import flatten, spread
from isotherm.update.parameter_space import Place, exact_change, parts
from isotherm.update.scoring import pieces, score_rows
from isotherm.update.step import Outcome, Rule, with_scores

WORDS = ["family", "token", "quadrant", "quadrant_published", "clip"]  # columns stored with a dictionary


class Before(NamedTuple):
    """Of every token, whether the loss needs it or not."""

    scores: Scores
    gradient: list[Tensor]  # of the mean entropy, by parameter
    weights: list[Tensor]


class Change(NamedTuple):
    """Of one update."""

    row: dict[str, float]  # by the names of the metrics
    columns: dict[str, Any]  # a row per token


def before(policy: Policy, batch: Rollout, method: Method, rule: Rule) -> Before:
    """Scores, and the gradient of their mean entropy, where the update begins. Nothing that trains is touched."""
    parameters, seen = list(policy.parameters().values()), []
    gradient = [torch.zeros_like(p) for p in parameters]
    for scores in scored(policy, batch, method, rule):
        mean = scores.entropy.sum() / int(batch.length.sum())
        for total, g in zip(gradient, torch.autograd.grad(mean, parameters, allow_unused=True), strict=True):
            if g is not None:
                total += g
        seen.append(scores)
    return Before(joined(seen), gradient, [p.detach().clone() for p in parameters])


def scored(policy: Policy, batch: Rollout, method: Method, rule: Rule) -> Iterator[Scores]:
    """Before and after in the same way, so that rounding is no part of the difference.

    S2LL is asked for where a penalty pushes on the entropy itself: the compiled head does not have it.
    """
    asked = any("entropy" in factors_of(penalty.cost) for penalty in method.penalties)
    wanted = method.functionals | ({"s2ll": squared_surprisal} if asked else {})
    for rows, _ in pieces(batch, rule.micro_batch):
        yield score_rows(policy, batch, rows, rule.temperature, wanted or None)


def joined(parts: Sequence[Scores]) -> Scores:
    logprob, entropy, s2, s2l = (torch.cat(c).detach() for c in zip(*(part[:4] for part in parts), strict=True))
    extra = {name: torch.cat([part.extra[name] for part in parts]).detach() for name in parts[0].extra}
    return Scores(logprob, entropy, s2, s2l, extra)


@torch.no_grad()
def after(
    policy: Policy,
    batch: Rollout,
    was: Before,
    outcome: Outcome,
    method: Method,
    rule: Rule,
    optimizer: torch.optim.Optimizer | None = None,
) -> Change:
    """The change of entropy on the same states, and what was predicted of it; given the optimizer, also exactly."""
    tokens = with_scores(outcome.tokens, was.scores, fresh=False)
    measured = joined(list(scored(policy, batch, method, rule))).entropy - was.scores.entropy
    numbers = per_token(tokens, was.scores.extra.get("s2ll"), outcome, method, rule) | {"measured": measured}
    along = along_step(was.gradient, was.weights, [p.detach() for p in policy.parameters().values()])
    mean = {name: float(numbers[name].double().mean()) for name in ("measured", "predicted_penalty")}
    row = {
        "dynamics/measured": mean["measured"],
        "dynamics/along_step": along,
        "dynamics/entropy_penalty": mean["predicted_penalty"],
    }
    if optimizer is not None:
        place = Place(policy, was.weights, batch, method.functionals, rule)
        numbers |= parts(place, was.gradient, tokens, method, outcome, optimizer)
        row |= by_sign(tokens, numbers, along)
        row["method/change_exact"] = exact_change(place, tokens, method, outcome.decision)
    columns = words(policy, batch, tokens, method) | {name: x.float().numpy() for name, x in numbers.items()}
    return Change(row, columns | {"along_step": np.full(len(tokens), along)})


def per_token(tokens: Tokens, s2ll: Tensor | None, outcome: Outcome, method: Method, rule: Rule) -> dict[str, Tensor]:
    """The numbers of each token under the policy before the update."""
    c, on_entropy = push(tokens, method, outcome.decision)
    scale = {"eta": outcome.lr * len(tokens), "temperature": rule.temperature}
    predicted = predictions(tokens, c, lr=outcome.lr, temperature=rule.temperature)
    predicted["penalty"] = torch.zeros_like(c) if s2ll is None else own_push(tokens, on_entropy, s2ll, **scale)
    return {
        **{name: getattr(tokens, name) for name in ("logprob", "entropy", "s2", "s2l", "advantage")},
        "ratio": log_ratio(tokens).exp(),
        "weight": outcome.decision.weight,
        "c": c,
        "covariance": covariance(tokens),
        "loss": losses(tokens, method, outcome.decision),
        "gradient": gradient_norms(tokens, c, temperature=rule.temperature),
        **{f"predicted_{name}": x for name, x in predicted.items()},
    }


def by_sign(tokens: Tokens, numbers: dict[str, Tensor], along: float) -> dict[str, float]:
    """The parts of both steps by the sign of A; what Adam's has besides is from earlier gradients and from decay."""
    place, row = sign(tokens), {}
    for name in ("plain_step", "adam_step"):
        found = sums(name, numbers[name] / len(tokens), place, SIGNS)
        row |= {f"dynamics/{key}": x for key, x in found.items()}
    row["dynamics/adam_step/momentum"] = along - sum(row[f"dynamics/adam_step/{name}"] for name in SIGNS)
    return row


def words(policy: Policy, batch: Rollout, tokens: Tokens, method: Method) -> dict[str, Any]:
    """Which token it is, and its place in every split that numbers alone do not give."""
    low, high = clip_bounds(method)
    ids = flatten(batch.ids, batch.length).numpy()
    family = np.array([p.family for p in batch.problems])[spread(batch.group, batch.length).numpy()]
    return {
        **{name: getattr(tokens, name).numpy() for name in ("sequence", "group", "position")},
        "id": ids,
        "token": [policy.text.tokenizer.id_to_token(int(i)) or "" for i in ids],
        "family": family,
        "quadrant": quadrants(tokens),
        "quadrant_published": quadrants(tokens, "published"),
        "clip": clip_regions(tokens, low=low, high=high),
    }


def means(found: Sequence[Change]) -> dict[str, float]:
    """The part of the row of metrics that a measured step has: means over its updates."""
    names = found[0].row if found else ()
    return {name: float(np.mean([change.row[name] for change in found])) for name in names}


def path_of(folder: str | Path, step: int) -> Path:
    """Where the measurements of `step` lie in the run folder."""
    return Path(folder) / "dynamics" / f"step-{step:06d}.parquet"


def save(path: Path, step: int, found: Sequence[Change]) -> None:
    """Writes all tokens of all updates of a step, whole or not at all; the same numbers give the same bytes."""
    import pyarrow as pa

    tables = []
    for number, change in enumerate(found):
        count = len(change.columns["id"])
        tables.append(pa.table({"step": np.full(count, step), "update": np.full(count, number), **change.columns}))
    write_table(path, pa.concat_tables(tables), WORDS)
