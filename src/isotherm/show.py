"""`isotherm sample`: what a model answers, to read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from isotherm.errors import UserError
from isotherm.measure.passk import mean_pass_at_k
from isotherm.policy.model import check_model, load_policy
from isotherm.records import Rollout, Verdict
from isotherm.rollout.collect import collect
from isotherm.rollout.sampler import Sampling
from isotherm.tasks.mix import parse_mix
from isotherm.tasks.problems import problem_set

MARKS = {Verdict.CORRECT: "+", Verdict.WRONG: "-", Verdict.UNPARSED: "?", Verdict.ERROR: "!"}


def newest_model(name: str) -> str:
    """A run folder stands for its newest good checkpoint."""
    if (Path(name) / "checkpoints").is_dir():
        from isotherm.update.checkpoint import latest

        found = latest(Path(name))
        if found is None:
            raise UserError(f"The run folder {name} has no whole checkpoint yet.")
        return str(found.path)
    return name


def show_samples(model: str, mix: str, count: int, samples: int, temperature: float, max_new: int, seed: int) -> None:
    """Prints test problems with their answers, each answer once with its verdict and how often it came."""
    if min(count, samples, max_new) < 1 or not 1e-3 <= temperature <= 100:
        raise UserError("count, samples and max-new must be at least 1, and temperature between 0.001 and 100.")
    pairs, name = parse_mix(mix), newest_model(model)
    check_model(name)
    policy = load_policy(name)
    for family, level in pairs:
        problems = problem_set(family, level, seed, count, "test")
        rule = Sampling(max_new, temperature)
        rollout = collect(policy, problems, samples, rule, seed=seed, step=0, rules=not policy.knows_rules)
        print_family(f"{family}:{level}", rollout, samples)


def print_family(title: str, rollout: Rollout, samples: int) -> None:
    correct = np.array([v is Verdict.CORRECT for v in rollout.verdicts]).reshape(-1, samples)
    entropy = rollout.entropy.sum() / rollout.length.sum()
    best = mean_pass_at_k(correct, samples)
    print(f"{title}  pass@1 {correct.mean():.2f}  pass@{samples} {best:.2f}  entropy {entropy:.2f} nats")
    for g, problem in enumerate(rollout.problems):
        print(f"  {problem.prompt!r}")
        rows = np.flatnonzero(rollout.group == g)
        for (text, verdict), times in Counter((rollout.texts[i], rollout.verdicts[i]) for i in rows).most_common():
            print(f"    {MARKS[verdict]} {text!r}{f'  x{times}' if times > 1 else ''}  {verdict.value}")
