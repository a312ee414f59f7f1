import dataclasses
import functools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.streams import batch
from isotherm.advantages import estimators
from isotherm.errors import UserError
from isotherm.objective import normalizers, surrogates
from isotherm.objective.compose import inert, method
from isotherm.objective.factors import bare
from isotherm.objective.interventions.steer import omega
from isotherm.objective.method import Method, decide
from isotherm.objective.published import METHODS


def test_terms_fill_their_slots_and_leave_the_others_at_grpo():
    m = method("rloo + ppo_clip(high=0.3) + sequence_mean + par(pos=0.5, schedule=none) + entropy_bonus(c=1)")
    assert m.advantage is estimators.leave_one_out
    assert m.surrogate.keywords == {"low": 0.2, "high": 0.3, "dual": 0.0}
    assert m.normalizer is normalizers.sequence_mean
    assert [w.keywords for w in m.weights] == [{"pos": 0.5, "neg": 1.0}]
    assert m.penalties[0].coefficient.keywords == {"c": 1.0}
    assert m.controls == ()
    assert m.shape == ()


def test_the_order_of_terms_of_different_slots_means_nothing():
    one, two = method("par + clip_higher + kl_cov"), method("kl_cov + clip_higher + par")
    assert one.surrogate.keywords == two.surrogate.keywords == {"low": 0.2, "high": 0.28, "dual": 0.0}
    assert [bare(p) for p in one.on_batch] == [bare(p) for p in two.on_batch]


def test_a_covariance_method_brings_its_surrogate_only_where_no_other_term_does():
    assert method("kl_cov").surrogate is surrogates.ratio
    assert method("clip_cov").surrogate.keywords == {"low": 1.0, "high": 1.0, "dual": 0.0}
    assert method("reinforce + kl_cov").surrogate is surrogates.reinforce


@pytest.mark.parametrize(
    ("expression", "bounds"),
    [
        ("clip_higher + clip_cov", {"clip_low": 0.2, "clip_high": 0.28}),
        ("clip_cov_digest + ppo_clip(high=0.3)", {"clip_low": 0.2, "clip_high": 0.3}),
        ("clip_higher + clip_cov(clip_high=0.5)", {"clip_low": 0.2, "clip_high": 0.5}),
        ("rand_clip_cov + clip_lower", {"clip_low": 0.28, "clip_high": 0.2}),
        ("clip_cov", {"clip_low": 1.0, "clip_high": 1.0}),
        ("sapo + clip_cov", {"clip_low": 1.0, "clip_high": 1.0}),
        ("ppo_clip(dual=3.0) + steer", {"low": 0.2, "high": 0.2, "dual": 3.0}),
        ("clip_higher + opefo", {"low": 0.2, "high": 0.28, "dual": 0.0}),
        ("clip_higher + entropy_mask(high=0.5)", {"low": 0.2, "high": 0.5, "dual": 0.0}),
        ("clip_higher + steer_released", {"low": 0.2, "high": 0.28, "dual": 0.0}),
    ],
)
def test_a_part_that_looks_at_the_clip_has_the_bounds_of_the_clip_beside_it(expression, bounds):
    (weight,) = method(expression).weights
    assert {name: weight.keywords[name] for name in bounds} == bounds


def test_a_window_of_covariances_is_no_clip_bound():
    (weight,) = method("clip_higher + clip_cov(low=0.5, high=2.0)").weights
    assert (weight.keywords["low"], weight.keywords["high"]) == (0.5, 2.0)


def test_clip_cov_spends_its_draw_on_a_token_that_the_clip_has_left():
    r, old = [1.5, 1.0, 1.0, 1.0], [-1.2, -2.4, -2.4, -2.4]
    columns = {
        "logprob": [o + math.log(x) for o, x in zip(old, r, strict=True)],
        "old_logprob": old,
        "advantage": [2.0, -2.0, -2.0, -2.0],
    }
    columns = {name: torch.tensor(column, dtype=torch.float64) for name, column in columns.items()}
    tokens = dataclasses.replace(batch(0, (4,), (0,)), **columns)
    assert decide(tokens, method("clip_cov")).weight.tolist() == [0, 1, 1, 1]
    assert decide(tokens, method("clip_higher + clip_cov")).weight[0] == 1


def test_opefo_balances_the_entropy_under_any_clip():
    tokens = batch(3)
    m = method("ppo_clip(low=0.1, high=0.05) + opefo")
    change = omega(tokens, estimator="exact", low=0.1, high=0.05, dual=0.0)
    assert float((decide(tokens, m).weight * change).sum()) == pytest.approx(0, abs=1e-12)


def test_the_identity_of_every_slot_is_grpo():
    assert method("grpo").surrogate.keywords == Method().surrogate.keywords
    assert bare(method("grpo").advantage) is Method().advantage
    assert method("grpo").normalizer is Method().normalizer


MISTAKES = {
    "": "cannot be read",
    "grpo +": "cannot be read",
    "kl_cov(k=": "cannot be read",
    "grpo - par": "not a method's name",
    "a.b": "not a method's name",
    "grpo()()": "not a method's name",
    "2": "not a method's name",
    "lambda: 1": "not a method's name",
    "klcov": "Did you mean kl_cov",
    "zzzzz": "Valid are: grpo, ",
    "kl_cov(0.1)": "by name",
    "kl_cov(k=0.1) + kl_cov(k=0.2)": "kl_cov stands twice; give it once",
    "kl_cov(k=1.5)": "k must be 1 or less, not 1.5",
    "clip_cov(ratio=2.0)": "ratio must be 1 or less, not 2",
    "kl_cov(kk=0.1)": "its parameters are: k, beta",
    "kl_cov(**x)": "its parameters are: k, beta",
    "reinforce(low=1)": "its parameters are: none",
    "kl_cov(k=0.1, k=0.2)": "k twice",
    "kl_cov(k=high)": "takes a value like 0.002",
    "kl_cov(k=True)": "takes a value like 0.002",
    "kl_cov(k=1e999)": "takes a value like 0.002",
    "kl_cov(k=[1])": "takes a value like 0.002",
    "kl_cov(k={[1]: 2})": "takes a value like 0.002",
    "kl_cov(k=open('x'))": "takes a value like 0.002",
    f"kl_cov(k={'9' * 400})": "takes a value like 0.002",
    "par(epochs=2.5)": "takes a value like 10",
    "par(schedule=3)": "takes a value like 'guided'",
    "par(schedule=soon)": "guided, stage, epoch, none",
    "par(schedule=epoch, epochs=0)": "epochs",
    "par(schedule=stage, begin=1.0)": "begin",
    "reference_kl(estimator=k4)": "k1, k2, k3",
    "dr_grpo(length=0)": "length must be 1 or more",
    "par(neg=-1.0)": "neg must be 0 or more",
    "grpo + rloo": "grpo and rloo are both group advantages",
    "grpo + grpo": "grpo stands twice; give it once",
    "reinforce + clip_higher": "reinforce and clip_higher are both surrogates",
    "kl_cov + clip_cov": "kl_cov and clip_cov were published with different surrogates",
    "par(pos=0.5)": "pos=0.5 goes with schedule=none only",
    "clip_higher + clip_higher": "clip_higher stands twice; give it once",
    "dr_grpo + sequence_mean": "dr_grpo and sequence_mean are both normalizers",
    "par + par": "par stands twice; give it once",
}


@pytest.mark.parametrize(("expression", "part"), MISTAKES.items())
def test_a_mistake_ends_in_one_sentence(expression, part):
    with pytest.raises(UserError) as caught:
        method(expression)
    sentence = str(caught.value)
    assert part in sentence
    assert sentence.endswith((".", "?"))
    assert "\n" not in sentence


words = st.sampled_from(
    [*METHODS, "k", "beta", "low", "pos", "schedule", "none", "0.1", "1", "-1", "+", "(", ")", "=", ","]
)


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=30), st.lists(words, max_size=12).map(" ".join)))
def test_whatever_one_writes_gives_a_method_or_a_sentence(expression):
    try:
        m = method(expression)
    except UserError:
        return
    assert m.name == expression.strip()
    assert isinstance(m.surrogate, functools.partial) or callable(m.surrogate)


def test_what_changes_nothing_on_policy_says_so():
    (sentence,) = inert("par + kl_cov", updates=1)
    assert sentence.startswith("kl_cov changes nothing with one update per rollout")
    assert inert("par + kl_cov", updates=2) == inert("par", updates=1) == []


@pytest.mark.parametrize(
    "expression",
    [
        "-" * 900 + "grpo",
        "kl_cov(k=" + "-" * 900 + "1)",
        "x" * 10_000,
        "par(" + "y" * 10_000 + "=1)",
        "grpo + " * 5_000,
    ],
    ids=lambda text: text[:12],
)
def test_long_mistakes_are_short_sentences(expression):
    with pytest.raises(UserError) as refused:
        method(expression)
    assert len(str(refused.value)) < 1000
