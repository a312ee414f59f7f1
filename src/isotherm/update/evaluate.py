"""pass@k on held-out problems."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from isotherm.measure.passk import mean_pass_at_k
from isotherm.policy.model import Policy
from isotherm.records import Problem, Rollout, Verdict
from isotherm.rollout.collect import collect
from isotherm.rollout.sampler import Sampling
from isotherm.tasks.files import read_problems
from isotherm.tasks.mix import parse_mix
from isotherm.tasks.problems import problem_set
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
    """pass@k, entropy and length by family, and their means over the trained and over the held-out families."""
    row: dict[str, float] = {}
    family = np.array([p.family for p in rollout.problems])[rollout.group]
    correct = np.array([v is Verdict.CORRECT for v in rollout.verdicts])
    for name in dict.fromkeys(family.tolist()):
        of = family == name
        for size in k:
            row[f"eval/{name}/pass@{size}"] = mean_pass_at_k(by_problem(correct[of], rollout.group[of]), size)
        row[f"eval/{name}/entropy"] = float(rollout.entropy[of].sum() / rollout.length[of].sum())
        row[f"eval/{name}/length"] = float(rollout.length[of].mean())
    for side in ("trained", "held_out"):
        names = [n for n in dict.fromkeys(family.tolist()) if (n in trained) == (side == "trained")]
        for what in [*(f"pass@{size}" for size in k), "entropy"] if names else []:
            row[f"eval/{side}/{what}"] = float(np.mean([row[f"eval/{n}/{what}"] for n in names]))
    return row


def by_problem(correct: np.ndarray, group: np.ndarray) -> np.ndarray:
    """[problems, samples]."""
    return correct.reshape(len(np.unique(group)), -1)


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
