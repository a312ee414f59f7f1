"""For every method: is the gradient the same at any micro-batch, and does the method choose the same tokens?

`exact` is what Isotherm does: decide on the whole mini-batch, then sum over micro-batches. `alone` takes the statistics
(who is chosen, which weights) from each micro-batch by itself and everything else, the normalizer too, from the whole.

    python bench/microbatch.py [--seed 0]
    python bench/microbatch.py --overlap     # on a batch of the built-in model, at 1, 4, 16, 64 responses
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from isotherm.advantages.responses import advantages
from isotherm.advantages.signal import has_signal, reward
from isotherm.files import json_bytes, write_whole
from isotherm.objective.compose import method
from isotherm.objective.method import Decision, Method
from isotherm.objective.published import METHODS
from isotherm.policy.decoder import Decoder, Shape
from isotherm.policy.model import Policy, load_policy
from isotherm.policy.text import Text, character_tokenizer
from isotherm.records import Rollout, Tokens
from isotherm.rollout.collect import collect
from isotherm.rollout.sampler import Sampling
from isotherm.tasks.problems import problem
from isotherm.tokens.stream import stream
from isotherm.update.scoring import score_all
from isotherm.update.step import Rule, gradient, with_scores

MICRO = (1, 2, 4, 0)
EXPRESSIONS = (
    *METHODS,
    "clip_cov(ratio=0.05)",
    "kl_cov(k=0.05)",
    "clip_higher + par + kl_cov",
    "siren(anchor=0.5) + aent",
)


class Case(NamedTuple):
    """A policy that has moved since it scored the rollout, and what every method starts from."""

    policy: Policy
    rollout: Rollout
    scored: Policy
    reference: Policy


class Result(NamedTuple):
    expression: str
    micro: int
    exact: float  # |g - g(all)| / |g(all)|
    exact_overlap: float  # shared / united chosen tokens
    alone: float
    alone_overlap: float


def tiny_policy(seed: int) -> Policy:
    """Untrained, with logits spread enough that log-probs differ."""
    shape = Shape(99, 16, 2, 2, 2, 8, 24, rope_theta=1e4, norm_eps=1e-6, bias=False, tied=True)
    decoder = Decoder(shape).init(seed)
    with torch.no_grad():
        decoder.embed.mul_(10)
    return Policy(decoder, Text(character_tokenizer(), (1,)), Path(), torch.device("cpu"))


def moved(policy: Policy, seed: int, by: float) -> Policy:
    """The policy with noise on every weight, in proportion to the weight's own spread."""
    generator, module = torch.Generator().manual_seed(seed), copy.deepcopy(policy.module)
    with torch.no_grad():
        for _, p in sorted(module.named_parameters()):
            p.add_(by * p.std() * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return dataclasses.replace(policy, module=module)


def cast(policy: Policy, dtype: torch.dtype) -> Policy:
    return dataclasses.replace(policy, module=copy.deepcopy(policy.module).to(dtype))


def mixed_rollout(policy: Policy, seed: int, problems: int, answers: int, longest: int) -> Rollout:
    """Groups of unequal size, responses of unequal length, rewards set by hand so that every group has signal."""
    asked = [problem("chain", 1, seed, i, "train") for i in range(problems)]
    drawn = collect(policy, asked, answers, Sampling(longest), seed=seed, step=1)
    random = np.random.default_rng(seed)
    length = np.minimum(drawn.length, random.integers(1, longest + 1, len(drawn.length)))
    reward = random.uniform(size=len(length)).round(1)
    keep = random.uniform(size=len(length)) < 0.85
    return dataclasses.replace(drawn, length=length, reward=reward).rows(keep)


def make(dtype: torch.dtype, seed: int = 0, problems: int = 4, answers: int = 6, longest: int = 24) -> Case:
    start = tiny_policy(seed)
    rollout = mixed_rollout(start, seed, problems, answers, longest)
    policies = (cast(p, dtype) for p in (moved(start, seed + 1, 0.1), start, moved(start, seed + 2, 0.1)))
    now, scored, reference = policies
    return Case(now, rollout, scored, reference)


def tokens_of(case: Case, chosen: Method) -> Tokens:
    """The batch as the scoring pass left it."""
    scores = score_all(case.scored, case.rollout, 0, 1.0)
    tokens = with_scores(stream(case.rollout, advantages(chosen.advantage, case.rollout), 0), scores, fresh=True)
    tokens = dataclasses.replace(tokens, ref_logprob=score_all(case.reference, case.rollout, 0, 1.0).logprob)
    kind = scores.logprob.dtype
    return tokens.map(lambda x: x.to(kind) if x.is_floating_point() else x)


def taken(policy: Policy) -> Tensor:
    """The gathered gradient as one float64 vector; the policy is left without."""
    parameters = policy.parameters().values()
    flat = torch.cat([torch.zeros(p.numel()) if p.grad is None else p.grad.flatten() for p in parameters]).double()
    for p in parameters:
        p.grad = None
    return flat


def exact(case: Case, tokens: Tokens, chosen: Method, micro: int) -> tuple[Tensor, Decision]:
    rule = Rule(micro, 1.0, "current", 0.0)
    decision = gradient(case.policy, case.rollout, tokens, chosen, rule).decision
    return taken(case.policy), decision


def alone(case: Case, tokens: Tokens, chosen: Method, micro: int) -> tuple[Tensor, Tensor]:
    """The gradient with each micro-batch's own statistics, and the tokens chosen so: statistics=micro."""
    rule = Rule(micro, 1.0, "micro", 0.0)
    decision = gradient(case.policy, case.rollout, tokens, chosen, rule).decision
    return taken(case.policy), selection(decision)


def selection(decision: Decision) -> Tensor:
    """The tokens that a method treats in another way than its surrogate does."""
    chosen = decision.weight != 1
    for coefficient in decision.penalties:
        chosen = chosen | (coefficient != 0)
    return chosen


def overlap(a: Tensor, b: Tensor) -> float:
    """Shared over united; 1 where nothing is chosen."""
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0


def compare(case: Case, expression: str) -> Iterator[Result]:
    chosen = method(expression)
    tokens = tokens_of(case, chosen)
    whole, decision = exact(case, tokens, chosen, 0)
    picked = selection(decision)
    for micro in MICRO:
        split, split_decision = exact(case, tokens, chosen, micro)
        apart, apart_picked = alone(case, tokens, chosen, micro)
        shared = overlap(picked, selection(split_decision)), overlap(picked, apart_picked)
        differences = [float((g - whole).norm() / whole.norm()) for g in (split, apart)]
        yield Result(expression, micro, differences[0], shared[0], differences[1], shared[1])


def builtin(seed: int, problems: int = 32, answers: int = 8) -> Case:
    """A rollout of the built-in model on its first problems, and the model moved a little since."""
    start = load_policy("builtin")
    asked = [problem("countdown", 2, seed, i, "train") for i in range(problems)]
    drawn = collect(start, asked, answers, Sampling(48), seed=seed, step=1)
    drawn = dataclasses.replace(drawn, reward=reward(drawn))
    kept = drawn.rows(has_signal(drawn))
    return Case(moved(start, seed + 1, 0.003), kept, start, start)


SELECT = ("clip_cov", "clip_cov(ratio=0.01)", "kl_cov", "kl_cov(k=0.02)", "forking_tokens", "cw_grpo", "steer")
SEEDS = 5


def overlaps() -> dict[str, dict[int, float]]:
    """Of the tokens that a method chooses on the whole batch, and on each micro-batch alone: shared over united."""
    cases, found = [builtin(seed) for seed in range(SEEDS)], {}
    print(f"mean of {SEEDS} batches of {sum(len(c.rollout.length) for c in cases) // SEEDS} responses; * a correlation")
    for expression in SELECT:
        chosen, shared, counts = method(expression), {}, []
        for case in cases:
            tokens = tokens_of(case, chosen)
            _, decision = exact(case, tokens, chosen, 0)
            counts.append(int(selection(decision).sum()))
            for micro in (1, 4, 16, 64):
                rule = Rule(micro, 1.0, "micro", 0.0)
                other = gradient(case.policy, case.rollout, tokens, chosen, rule).decision
                shared.setdefault(micro, []).append(agreement(decision, other))
        found[expression] = {micro: float(np.mean(values)) for micro, values in shared.items()}
        sizes = "  ".join(f"{micro}: {x:.2f}" for micro, x in found[expression].items())
        print(
            f"{expression:<22} {np.mean(counts):>6.0f} tokens {'*' if weighs(decision) else ' '}  {sizes}", flush=True
        )
    return found


def weighs(decision: Decision) -> bool:
    """Whether the method weighs nearly every token, rather than choosing some."""
    return float(selection(decision).double().mean()) > 0.5


def agreement(a: Decision, b: Decision) -> float:
    """Overlap of what is chosen; of weights on nearly every token their correlation, 0 where either is one number."""
    if not weighs(a):
        return overlap(selection(a), selection(b))
    pair = torch.stack([a.weight, b.weight])
    return float(torch.corrcoef(pair)[0, 1]) if bool((pair.std(1) > 0).all()) else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description="The micro-batch table.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--overlap", action="store_true", help="selections of the built-in model's batch instead")
    asked = parser.parse_args()
    seed = asked.seed
    torch.set_num_threads(1)
    if asked.overlap:
        write_whole("bench/results/overlap.json", json_bytes({"seeds": SEEDS, "overlap": overlaps()}))
        return
    for dtype in (torch.float64, torch.float32):
        case = make(dtype, seed)
        print(f"\n{dtype}, {len(case.rollout.length)} responses, {case.rollout.length.sum()} tokens, seed {seed}")
        print(f"{'':<28} {'':>6}   {'--- exact ---':^18}   {'--- alone ---':^18}")
        print(f"{'method':<28} {'micro':>6}   {'difference':>10} {'overlap':>7}   {'difference':>10} {'overlap':>7}")
        for expression in EXPRESSIONS:
            for r in compare(case, expression):
                row = f"{r.exact:>10.1e} {r.exact_overlap:>7.3f}   {r.alone:>10.1e} {r.alone_overlap:>7.3f}"
                print(f"{r.expression:<28} {r.micro or 'all':>6}   {row}", flush=True)


if __name__ == "__main__":
    main()
