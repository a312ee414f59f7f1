import dataclasses
import math

import pytest
import torch

from contracts.streams import batch
from isotherm.errors import UserError
from isotherm.objective.compose import method
from isotherm.objective.interventions.steer import ESTIMATORS, omega, push, steer
from isotherm.objective.method import decide

PI = [0.5, 0.25, 0.25, 0.5]
H = [2 * math.log(2), math.log(2), 3 * math.log(2), math.log(2)]
R = [1.0, 1.0, 1.5, 0.5]
A = [1.0, -2.0, 1.0, 0.0]
LOG2 = math.log(2)


def tokens(r=R, a=A):
    logprob = torch.tensor(PI, dtype=torch.float64).log()
    return dataclasses.replace(
        batch(0, (4,), (0,)),
        logprob=logprob,
        old_logprob=logprob - torch.tensor(r, dtype=torch.float64).log(),
        entropy=torch.tensor(H, dtype=torch.float64),
        advantage=torch.tensor(a, dtype=torch.float64),
        s2=torch.full((4,), 0.3, dtype=torch.float64),
        s2l=torch.full((4,), -0.2, dtype=torch.float64),
    )


CLIP = {"low": 0.2, "high": 0.28, "dual": 10.0}


def test_omega_by_hand():
    """log pi + H is log 2, -log 2, log 2 and 0; the third token is clipped, which the released code does not see."""
    found = omega(tokens(), estimator="published", **CLIP)
    assert found.tolist() == pytest.approx([-0.25 * LOG2, -2 * 0.1875 * LOG2, 0, 0])
    found = omega(tokens(), estimator="released", **CLIP)
    assert found.tolist() == pytest.approx([-0.5 * LOG2, -2 * 0.75 * LOG2, -1.5 * 0.75 * LOG2, 0])
    found = omega(tokens(), estimator="printed", **CLIP)
    assert found.tolist() == pytest.approx([-0.25 * LOG2, -2 * 0.5625 * LOG2, 0, 0])
    found = omega(tokens(), estimator="exact", **CLIP)
    inner = [0.5 * LOG2 + 0.2 - 0.6 * LOG2, -0.25 * LOG2 + 0.2 - 0.3 * LOG2]
    assert found.tolist() == pytest.approx([-inner[0], 2 * inner[1], 0, 0])


def test_the_push_is_the_slope_of_the_surrogate():
    """d f / d log pi = I_clip r A, dual clip and all."""
    these = tokens(r=[1.1, 12.0, 1.5, 0.5], a=[1.0, -2.0, 1.0, -1.0])
    leaf = these.logprob.clone().requires_grad_()
    f = method("ppo_clip(high=0.28, dual=10.0)").surrogate(dataclasses.replace(these, logprob=leaf), these.advantage)
    (slope,) = torch.autograd.grad(f.sum(), leaf)
    torch.testing.assert_close(push(these, **CLIP), slope)
    assert slope.tolist() == pytest.approx([1.1, 0, 0, 0])


def test_weights_by_hand():
    """Published |Omega| / max is 2/3, 1, 0, 0."""
    assert steer(tokens()).tolist() == pytest.approx([0.7 ** (2 / 3), 0.7, 1, 1])
    assert steer(tokens(), form="linear", floor=0.8).tolist() == pytest.approx([1.2 - 0.4 * 2 / 3, 0.8, 1.2, 1.2])
    assert steer(tokens(), form="binary", floor=0.0, share=0.5).tolist() == [0, 0, 1, 1]
    assert steer(tokens(), form="binary", floor=0.4, share=0.2).tolist() == [1, 1, 1, 1]


def test_the_released_weight_takes_the_largest_change_for_no_less_than_0_02():
    large = steer(tokens(), form="released", estimator="released", floor=0.8)
    assert large.tolist() == pytest.approx([0.8 ** (1 / 3), 0.8, 0.8**0.75, 1])
    small = steer(tokens(a=[0.01, 0.0, 0.0, 0.0]), form="released", estimator="released", floor=0.8)
    assert small.tolist() == pytest.approx([0.8 ** (0.5 * LOG2 * 0.01 / 0.02), 1, 1, 1])


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("form", ["exponential", "released", "linear"])
def test_the_larger_the_change_the_lower_the_weight(form, estimator):
    these = batch(1)
    size = omega(these, estimator=estimator, **CLIP).abs()
    weight = steer(these, form=form, estimator=estimator, floor=0.75)
    assert (weight[size.argsort()].diff() <= 0).all()
    assert float(weight.min()) == pytest.approx(0.75)


@pytest.mark.parametrize("form", ["exponential", "released", "linear", "binary"])
def test_without_a_change_anywhere_nothing_is_lowered(form):
    these = dataclasses.replace(batch(1), advantage=torch.zeros(125, dtype=torch.float64))
    weight = steer(these, form=form, share=0.0)
    assert torch.equal(weight, torch.ones_like(weight))


def test_rows_as_published():
    chosen = method("steer")
    assert chosen.surrogate.keywords == {"low": 0.2, "high": 0.28, "dual": 10.0}
    assert chosen.weights[0].keywords["floor"] == 0.7
    wide = method("steer(low=0.99, high=5.0)")
    assert wide.surrogate.keywords["high"] == wide.weights[0].keywords["high"] == 5.0
    released = decide(batch(1), method("steer_released")).weight
    assert float(released.min()) == pytest.approx(0.8)
    linear = decide(batch(1), method("steer_linear")).weight
    assert (float(linear.min()), float(linear.max())) == pytest.approx((0.8, 1.2))


@pytest.mark.parametrize("wrong", ["steer(form=square)", "steer(estimator=covariance)", "steer(floor=1.5)"])
def test_a_setting_that_does_not_exist_is_one_sentence(wrong):
    with pytest.raises(UserError, match=r"^In steer, .*(valid are|must be)"):
        method(wrong)
