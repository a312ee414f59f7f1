"""Evaluation on held-out problems, and what is measured of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isotherm.measure.accuracy import Mean, interval, mean_of
from isotherm.measure.diversity import mean_of_known
from isotherm.measure.evaluation import Evaluation
from isotherm.policy.model import Policy
from isotherm.records import Problem, Rollout
from isotherm.rollout.collect import collect
from isotherm.rollout.sampler import Sampling
from isotherm.tasks.files import read_problems
from isotherm.tasks.mix import parse_mix
from isotherm.tasks.problems import forms, problem_set
from isotherm.update.config import Config

SALT = 7_919  # evaluation draws never coincide with training draws


def test_problems(mix: str, size: int, seed: int) -> list[Problem]:
    """The first `size` test problems of each family of a mix."""
    return (
        [p for family, level in parse_mix(mix) for p in problem_set(family, level, seed, size, "test")] if mix else []
    )


def evaluate(
    policy: Policy, problems: Sequence[Problem], n: int, rule: Sampling, *, seed: int, step: int, rules: bool
) -> Rollout:
    """The same draws at every step, so that two evaluations differ by the policy alone."""
    drawn = collect(policy, problems, n, rule, seed=seed + SALT, step=0, rules=rules)
    return Rollout(**{**vars(drawn), "step": step})


def eval_metrics(rollout: Rollout, trained: set[str], k: Sequence[int]) -> dict[str, float]:
    """pass@k, entropy and length by family, and all measures as means over the trained and the held-out families."""
    evaluation = Evaluation(rollout, forms(rollout))
    row: dict[str, float] = {}
    means: dict[str, dict[int, Mean]] = {}
    measures: dict[str, dict[str, float]] = {}
    for name in evaluation.families:
        of = evaluation.for_family(name)
        means[name] = {size: of.pass_at_k(size) for size in k}
        measures[name] = {"entropy": float(of.rollout.entropy.sum() / of.rollout.length.sum())}
        row |= {f"eval/{name}/pass@{size}": mean.value for size, mean in means[name].items()}
        row |= {f"eval/{name}/entropy": measures[name]["entropy"], f"eval/{name}/length": of.rollout.length.mean()}
        measures[name] |= of.measures()
    for side in ("trained", "held_out"):
        names = [n for n in evaluation.families if (n in trained) == (side == "trained")]
        if names:
            row |= {f"eval/{side}/{what}": x for what, x in over_families(means, measures, names, k).items()}
    return {name: float(value) for name, value in row.items() if np.isfinite(value)}


def over_families(
    means: dict[str, dict[int, Mean]], measures: dict[str, dict[str, float]], names: list[str], k: Sequence[int]
) -> dict[str, float]:
    """Means over families of the same weight; one in which a measure has nothing to measure is left out of it."""
    row: dict[str, float] = {}
    for size in k:
        whole = mean_of([means[name][size] for name in names])
        low, high = interval(whole)
        row |= {f"pass@{size}": whole.value, f"pass@{size}_low": low, f"pass@{size}_high": high}
    for what in measures[names[0]]:
        row[what] = float(mean_of_known(np.array([measures[name][what] for name in names])))
    return row


def test_sets(config: Config) -> list[Problem]:
    """The held-out problems of the user's file, of the trained families and of the others."""
    if not config.eval_problems:
        return []
    mixes = ("" if config.data else config.train, config.held_out)
    generated = [p for mix in mixes for p in test_problems(mix, config.eval_problems, config.seed)]
    own = read_problems(config.eval_data)[: config.eval_problems] if config.eval_data else []
    return [*own, *generated]


def trim(rollout: Rollout, samples: int = 4, problems: int = 8) -> Rollout:
    """The first responses to the first problems of each family: enough to read."""
    rank: dict[str, int] = {}
    place = []
    for p in rollout.problems:
        place.append(rank.get(p.family, 0))
        rank[p.family] = place[-1] + 1
    return rollout.rows((rollout.sample < samples) & (np.array(place)[rollout.group] < problems))
