"""What tokens of either sign do to the entropy of their own mini-batch and of other ones, to the first order.

A gradient that is judged by the states it was taken on knows them. Here the mean entropy is that of the same mini-batch
and then that of all others: for a step -lr g, and for -lr g over Adam's root of the mean square as the run left it.

    python bench/other_states.py --seeds 2
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

import isotherm
from dynamics import interval
from isotherm.advantages.responses import advantages
from isotherm.advantages.signal import has_signal, reward
from isotherm.files import write_whole
from isotherm.measure.attribution import SIGNS, in_parameters, sign
from isotherm.measure.dynamics import sums
from isotherm.objective.compose import method
from isotherm.objective.method import decide
from isotherm.objective.prediction import pulls
from isotherm.policy.model import Policy, load_policy
from isotherm.records import Rollout, Tokens
from isotherm.rollout.collect import collect
from isotherm.rollout.sampler import Sampling
from isotherm.rollout.source import open_source
from isotherm.tokens.stream import stream
from isotherm.update.checkpoint import load_tensors
from isotherm.update.config import Config
from isotherm.update.environment import describe
from isotherm.update.parameter_space import Place, derivatives, gradients
from isotherm.update.scoring import score_all
from isotherm.update.step import Rule, with_scores

GRPO, RULE, CONFIG = method("grpo"), Rule(0, 1.0, "current", 0.0), Config()


def sampled(policy: Policy, batches: int, seed: int) -> list[tuple[Rollout, Tokens]]:
    """Batches of problems that no step of the run was set, as a first update would see them."""
    source, found = open_source(CONFIG.train, "", CONFIG.seed), []
    count = CONFIG.prompts // CONFIG.updates
    for number in range(batches):
        problems = source.problems(10**6 + number * count, count)
        drawn = collect(policy, problems, CONFIG.group, Sampling(CONFIG.max_new), seed=seed, step=number, rules=False)
        drawn = dataclasses.replace(drawn, reward=reward(drawn))
        drawn = drawn.rows(has_signal(drawn))
        tokens = stream(drawn, advantages(GRPO.advantage, drawn), seed)
        found.append((drawn, with_scores(tokens, score_all(policy, drawn, 0, 1.0), fresh=True)))
    return found


def of_entropy(place: Place, count: int) -> list[Tensor]:
    """The gradient of the mean entropy over a batch."""
    (found,) = gradients(place, [{"logprob": torch.zeros(count), "entropy": torch.full((count,), 1 / count)}])
    return found


def one(run: isotherm.Run, batches: int, seed: int) -> dict[str, list[float]]:
    """By sign and scale, the change of the mean entropy of the own mini-batch and of the others."""
    policy = load_policy(str(run.checkpoint))
    data, weights = sampled(policy, batches, seed), [p.detach() for p in policy.parameters().values()]
    places = [Place(policy, weights, drawn, {}, RULE) for drawn, _ in data]
    slopes = [of_entropy(place, len(tokens)) for place, (_, tokens) in zip(places, data, strict=True)]
    roots = root_of_squares(run, policy)
    found: dict[str, list[float]] = {}
    for number, (place, (_, tokens)) in enumerate(zip(places, data, strict=True)):
        pulled = pulls(tokens, GRPO, decide(tokens, GRPO))
        rest = [s for k, s in enumerate(slopes) if k != number]
        for where, v in (("own", slopes[number]), ("others", mean(rest))):
            scaled = {"plain": v, "adam": [x / root for x, root in zip(v, roots, strict=True)]}
            for scale, direction in scaled.items():
                part = CONFIG.lr * in_parameters(pulled, derivatives(place, direction))
                for name, x in sums(f"{scale}, {where}", part, sign(tokens), SIGNS).items():
                    found.setdefault(name, []).append(x)
    return found


def root_of_squares(run: isotherm.Run, policy: Policy) -> list[Tensor]:
    """sqrt(v^) + eps of AdamW at the last checkpoint."""
    assert run.checkpoint is not None
    state = load_tensors(run.checkpoint)
    corrected = (
        state[f"exp_avg_sq.{n}"] / (1 - CONFIG.beta2 ** float(state[f"step.{n}"])) for n in policy.parameters()
    )
    return [x.sqrt() + CONFIG.epsilon for x in corrected]


def mean(vectors: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    return [torch.stack(parts).mean(0) for parts in zip(*vectors, strict=True)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, nargs="+", default=[5, 125])
    parser.add_argument("--batches", type=int, default=32)
    parser.add_argument("--runs", type=Path, default=Path("runs/other-states"))
    parser.add_argument("--out", type=Path, default=Path("bench/results/other_states.json"))
    options = parser.parse_args()
    found = {}
    for steps in options.steps:
        for seed in range(options.seeds):
            out = str(options.runs / f"{steps}-seed{seed}")
            run = isotherm.train(seed=seed, steps=steps, eval_problems=0, dtype="float32", out=out, quiet=True)
            found[f"grpo, {steps} steps, seed {seed}"] = one(run, options.batches, seed)
    for name, parts in found.items():
        print(f"{name}: plain in 1e-6 nats, adam in 0.001 nats")
        for label in (label for label in parts if not label.endswith("zero")):
            scale = 1e6 if label.startswith("plain") else 1e3
            print(f"  {label:<24}{interval([scale * x for x in parts[label]])}")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(options.out, json.dumps({"parts": found, "environment": describe()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
