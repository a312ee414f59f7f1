"""Problems -> a verified rollout, and several rollouts -> one."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from isotherm.policy.model import Policy
from isotherm.records import Problem, Rollout, Verdict
from isotherm.rollout.collect import collect, join, wording
from isotherm.rollout.sampler import Sampling
from isotherm.tasks.problems import problem, verify
from isotherm.tasks.registry import FAMILIES
from models import tiny_policy

RULE = Sampling(6)
ASKED = [problem("countdown", 1, 0, 0), problem("chain", 1, 0, 0), problem("subset", 1, 0, 0)]


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    return tiny_policy(tmp_path)


@pytest.fixture
def rollout(policy: Policy) -> Rollout:
    return collect(policy, ASKED, 4, RULE, seed=0, step=3)


def test_rows_belong_to_their_problems(policy: Policy, rollout: Rollout) -> None:
    assert rollout.step == 3
    assert rollout.group.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert rollout.sample.tolist() == [0, 1, 2, 3] * 3
    assert [policy.text.decode(p) for p in rollout.prompts] == [p.prompt for p in ASKED]
    for ids, length, group, text, verdict in zip(
        rollout.ids, rollout.length, rollout.group, rollout.texts, rollout.verdicts, strict=True
    ):
        assert text == policy.text.decode(ids[:length].tolist())
        assert verdict is verify(ASKED[group], text)
    assert not rollout.reward.any()


def test_draws_depend_on_seed_step_problem_and_sample(policy: Policy, rollout: Rollout) -> None:
    again = collect(policy, ASKED, 4, RULE, seed=0, step=3)
    assert np.array_equal(again.ids, rollout.ids)
    for seed, step in ((1, 3), (0, 4)):
        assert not np.array_equal(collect(policy, ASKED, 4, RULE, seed=seed, step=step).ids, rollout.ids)
    fewer = collect(policy, ASKED[:2], 4, RULE, seed=0, step=3)
    assert fewer.texts == rollout.texts[:8]


def test_a_verifier_sees_the_right_answer(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first response is replaced by a correct one, whose verdict must follow."""
    asked = Problem(family="file", level=0, key="k", prompt="2+2=", data={"answer": "4"})
    texts = iter(["4", "5", "", "4"])
    monkeypatch.setattr(type(policy.text), "decode", lambda *_: next(texts))
    found = collect(policy, [asked], 4, RULE, seed=0, step=0)
    assert found.verdicts == [Verdict.CORRECT, Verdict.WRONG, Verdict.UNPARSED, Verdict.CORRECT]


def test_rules_stand_before_the_prompt_of_a_family_only() -> None:
    own = Problem(family="file", level=0, key="k", prompt="2+2=", data={"answer": "4"})
    assert wording(ASKED[0], rules=True) == f"{FAMILIES['countdown'].rules}\n{ASKED[0].prompt}"
    assert wording(ASKED[0], rules=False) == ASKED[0].prompt
    assert wording(own, rules=True) == "2+2="


def test_joined_rollouts_keep_every_row(policy: Policy, rollout: Rollout) -> None:
    """Groups get numbers of their own and narrower rectangles are padded."""
    longer = collect(policy, ASKED[:1], 2, Sampling(9), seed=9, step=3)
    both = join([rollout, dataclasses.replace(longer, reward=np.ones(2))])
    assert both.group.tolist() == [*rollout.group.tolist(), 3, 3]
    assert len(both.problems) == len(both.prompts) == 4
    assert both.problems[3] == ASKED[0]
    assert both.texts == rollout.texts + longer.texts
    assert both.ids.shape == both.logprob.shape == both.entropy.shape == (14, max(6, longer.ids.shape[1]))
    for name in ("ids", "logprob", "entropy"):
        part = getattr(rollout, name)
        assert np.array_equal(getattr(both, name)[:12, : part.shape[1]], part)
        assert not getattr(both, name)[:12, part.shape[1] :].any()
    assert both.reward.tolist() == [0.0] * 12 + [1.0] * 2
