"""arXiv 2511.05993: entropy goes with the diversity of responses, and with the gap between right and wrong ones.

The paper moves the entropy by training; here the temperature of one model moves it, which takes seconds.
"""

from __future__ import annotations

import numpy as np
import pytest

from isotherm.measure.evaluation import Evaluation
from isotherm.policy.model import load_policy
from isotherm.rollout.collect import collect
from isotherm.rollout.sampler import Sampling
from isotherm.tasks.problems import forms, problem_set

TEMPERATURES = (0.3, 0.6, 0.9, 1.2, 1.5)


@pytest.fixture(scope="module", params=["countdown", "route"])
def tempered(request) -> dict[str, np.ndarray]:
    """The measures of the built-in model by temperature, on 24 problems with 16 responses each."""
    policy, problems = load_policy("builtin"), problem_set(request.param, 2, 0, 24, "test")
    rows = []
    for temperature in TEMPERATURES:
        rollout = collect(policy, problems, 16, Sampling(48, temperature), seed=0, step=0)
        entropy = float(rollout.entropy.sum() / rollout.length.sum())
        rows.append({"entropy": entropy, **Evaluation(rollout, forms(rollout)).measures()})
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def correlation(tempered: dict[str, np.ndarray], name: str) -> float:
    return float(np.corrcoef(tempered["entropy"], tempered[name])[0, 1])


def test_entropy_goes_with_diversity(tempered):
    """The paper reports correlations of .87 to .88 with n-gram diversity and Self-BLEU."""
    assert (np.diff(tempered["entropy"]) > 0).all()
    assert correlation(tempered, "ngram_diversity") > 0.87
    assert correlation(tempered, "self_bleu") < -0.87
    assert correlation(tempered, "duplicates") < -0.87


def test_the_gap_between_right_and_wrong_narrows_with_the_entropy(tempered):
    assert (np.diff(tempered["logprob_gap"]) > 0).all()
    assert correlation(tempered, "logprob_gap") > 0.87
