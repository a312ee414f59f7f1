"""Problems -> a verified rollout."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from isotherm.policy.model import Policy
from isotherm.records import Problem, Rollout
from isotherm.rollout.sampler import Sampling, sample
from isotherm.tasks.problems import verify
from isotherm.tasks.registry import FAMILIES
from isotherm.tokens.draws import keys


def collect(
    policy: Policy, problems: Sequence[Problem], n: int, rule: Sampling, *, seed: int, step: int, rules: bool = False
) -> Rollout:
    """n responses to each problem and their verdicts. `rules` puts the family's rules before the prompt."""
    prompts = [policy.text.ask(wording(problem, rules)) for problem in problems]
    group, number = np.repeat(np.arange(len(problems)), n), np.tile(np.arange(n), len(problems))
    key = keys(seed, step, torch.from_numpy(group), torch.from_numpy(number))
    drawn = sample(policy, prompts, n, rule, key)
    texts = [
        policy.text.decode(ids[:length]) for ids, length in zip(drawn.ids.tolist(), drawn.length.tolist(), strict=True)
    ]
    verdicts = [verify(problems[g], text) for g, text in zip(group.tolist(), texts, strict=True)]
    return Rollout(
        step=step,
        problems=list(problems),
        prompts=prompts,
        group=group,
        sample=number,
        ids=drawn.ids.numpy(),
        length=drawn.length.numpy(),
        finished=drawn.finished.numpy(),
        logprob=drawn.logprob.numpy(),
        entropy=drawn.entropy.numpy(),
        s2=drawn.s2.numpy(),
        s2l=drawn.s2l.numpy(),
        texts=texts,
        verdicts=verdicts,
        reward=np.zeros(len(texts)),
    )


def wording(problem: Problem, rules: bool) -> str:
    """The prompt, after its family's rules where the model has not been trained on them."""
    family = FAMILIES.get(problem.family)
    return f"{family.rules}\n{problem.prompt}" if rules and family else problem.prompt


def join(parts: Sequence[Rollout]) -> Rollout:
    """One rollout of the groups of several."""
    width = max(part.ids.shape[1] for part in parts)
    shift = np.cumsum([0, *(len(part.problems) for part in parts[:-1])])
    padded = {
        name: np.concatenate([np.pad(getattr(p, name), ((0, 0), (0, width - p.ids.shape[1]))) for p in parts])
        for name in ("ids", "logprob", "entropy", "s2", "s2l")
    }
    flat = {
        name: np.concatenate([getattr(p, name) for p in parts]) for name in ("sample", "length", "finished", "reward")
    }
    return Rollout(
        step=parts[0].step,
        problems=[q for p in parts for q in p.problems],
        prompts=[q for p in parts for q in p.prompts],
        group=np.concatenate([p.group + s for p, s in zip(parts, shift, strict=True)]),
        texts=[t for p in parts for t in p.texts],
        verdicts=[v for p in parts for v in p.verdicts],
        **padded,
        **flat,
    )
