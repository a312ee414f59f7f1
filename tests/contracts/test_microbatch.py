"""With a real model: any micro-batch gives the gradient of the whole batch and chooses the same tokens."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from isotherm.objective.compose import method
from isotherm.objective.surrogates import clipped
from isotherm.update.scoring import score_all
from isotherm.update.step import Rule, gradient, with_scores


def load_bench() -> ModuleType:
    path = Path(__file__).parents[2] / "bench" / "microbatch.py"
    spec = importlib.util.spec_from_file_location("bench_microbatch", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


bench = load_bench()
BOUND = {torch.float64: 1e-10, torch.float32: 1e-6}


@pytest.fixture(scope="module", params=list(BOUND), ids=str)
def case(request):
    return bench.make(request.param, problems=3, answers=4, longest=16)


@pytest.mark.parametrize("expression", bench.EXPRESSIONS)
def test_gradients_and_choices_are_those_of_the_whole_batch(case, expression):
    chosen = method(expression)
    tokens = bench.tokens_of(case, chosen)
    whole, decision = bench.exact(case, tokens, chosen, 0)
    assert float(whole.norm()) > 0
    for micro in (1, 2, 4):
        split, split_decision = bench.exact(case, tokens, chosen, micro)
        assert float((split - whole).norm() / whole.norm()) < BOUND[tokens.logprob.dtype]
        assert torch.equal(split_decision.weight == 0, decision.weight == 0)
        pairs = [(split_decision.weight, decision.weight), (split_decision.advantage, decision.advantage)]
        pairs += zip(split_decision.penalties, decision.penalties, strict=True)
        assert all(torch.allclose(a, b, rtol=BOUND[a.dtype] * 10, atol=BOUND[a.dtype] * 10) for a, b in pairs)


@pytest.mark.parametrize("expression", ["clip_cov(ratio=0.05)", "kl_cov(k=0.05)"])
def test_statistics_of_each_micro_batch_alone_would_choose_others(case, expression):
    chosen = method(expression)
    tokens = bench.tokens_of(case, chosen)
    whole, decision = bench.exact(case, tokens, chosen, 0)
    apart, picked = bench.alone(case, tokens, chosen, 2)
    assert 0 < int(bench.selection(decision).sum()) < len(tokens)
    assert bench.overlap(bench.selection(decision), picked) < 0.9
    assert float((apart - whole).norm() / whole.norm()) > 1e-2


@pytest.mark.parametrize("expression", ["gspo(low=0.1, high=0.1)", "erc"])
def test_what_measures_a_change_of_the_policy_looks_at_the_current_one_under_either_statistics(case, expression):
    chosen = method(expression)
    tokens = bench.tokens_of(case, chosen)
    whole, decision = bench.exact(case, tokens, chosen, 0)
    for micro in (0, 2):
        found = gradient(case.policy, case.rollout, tokens, chosen, Rule(micro, 1.0, "scoring", 0.0)).decision
        assert torch.equal(found.weight == 0, decision.weight == 0)
        assert float((bench.taken(case.policy) - whole).norm() / whole.norm()) < BOUND[tokens.logprob.dtype]


def test_the_case_is_a_real_one(case):
    """Groups and responses of unequal length, a policy that has moved, some tokens clipped and some not."""
    tokens = bench.tokens_of(case, method("grpo"))
    now = with_scores(tokens, score_all(case.policy, case.rollout, 0, 1.0), fresh=False)
    stopped = clipped(now, low=0.2, high=0.2)
    assert 0 < int(stopped.sum()) < len(tokens) / 2
    assert float((now.logprob - now.old_logprob).abs().median()) > 1e-3
    assert len(set(case.rollout.length.tolist())) > 3
    assert len({case.rollout.group.tolist().count(g) for g in range(3)}) > 1
