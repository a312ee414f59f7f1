import dataclasses
import math

import pytest
import torch

from contracts.streams import batch
from isotherm.objective.compose import method
from isotherm.objective.interventions.shapes import a3po, reference_ratio, repo, sampled_entropy, soft_return
from isotherm.objective.method import Measured
from isotherm.objective.penalties import divergence, needs_reference


def stream(lengths=(6,), **columns):
    values = {name: torch.tensor(x, dtype=torch.float64) for name, x in columns.items()}
    return dataclasses.replace(batch(0, lengths, range(len(lengths))), **values)


def test_a3po_scales_rare_right_and_sure_wrong_tokens():
    tokens = stream(logprob=[-1.0, -4.0, -2.0, -9.0, -3.0, -0.5], advantage=[2.0, 2.0, 2.0, 0.0, -1.0, -1.0])
    assert a3po(tokens, tokens.advantage, scale=3.0, share=0.5).tolist() == [2, 6, 2, 0, -1, -3]


def test_the_scale_of_a3po_decays_to_1():
    (control,) = method("a3po(scale=3.0)").controls
    assert control.start == 3
    values = [control.update({"value": 0.0}, Measured(step, 4, 0.5))["value"] for step in (0, 1, 2, 3)]
    assert values == pytest.approx([3, 7 / 3, 5 / 3, 1])
    assert not method("a3po(schedule=none)").controls
    assert method("a3po").with_knob("a3po.scale", 1.5).shape[0].keywords["scale"] == 1.5


def test_repo_lowers_the_advantage_of_likely_tokens():
    tokens = stream((3,), logprob=[-1.0, -2.0, -6.0], advantage=[1.0, 1.0, -1.0])
    assert repo(tokens, tokens.advantage, beta=0.5).tolist() == pytest.approx([0, 0.5, 0.5])


def softmax_gradients(weight):
    """E_pi[weight(a) grad log pi(a)] in the logits of a softmax of three words, and the softmax."""
    z = torch.tensor([0.3, -1.0, 0.8], dtype=torch.float64, requires_grad=True)
    logp = z.log_softmax(-1)
    (g,) = torch.autograd.grad((logp.detach().exp() * weight(logp.detach()) * logp).sum(), z)
    return g, z


def test_the_sampled_entropy_has_the_gradient_of_the_entropy_on_average():
    tokens = stream((2,), logprob=[-1.0, -2.0], advantage=[1.0, 0.0])
    assert sampled_entropy(tokens, tokens.advantage, c=0.5).tolist() == pytest.approx([1.5, 1.0])
    sampled, z = softmax_gradients(lambda logp: -logp)
    logp = z.log_softmax(-1)
    torch.testing.assert_close(sampled, torch.autograd.grad(-(logp.exp() * logp).sum(), z)[0])


def test_the_reference_ratio_has_the_gradient_of_minus_the_kl_on_average():
    tokens = stream((2,), logprob=[-1.0, -2.0], ref_logprob=[-2.0, -1.0], advantage=[1.0, 0.0])
    expected = [1 + 0.5 * math.exp(-1), 0.5 * math.e]
    assert reference_ratio(tokens, tokens.advantage, beta=0.5).tolist() == pytest.approx(expected)
    reference = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    sampled, z = softmax_gradients(lambda logp: reference / logp.exp())
    logp = z.log_softmax(-1)
    kl = (reference * (reference.log() - logp)).sum()
    torch.testing.assert_close(sampled, torch.autograd.grad(-kl, z)[0])


def test_a_shape_can_ask_for_the_reference():
    (shape,) = method("reference_ratio").shape
    assert needs_reference(shape)
    assert needs_reference(divergence)
    assert not needs_reference(repo)
    with pytest.raises(ValueError, match="reference"):
        reference_ratio(dataclasses.replace(batch(), ref_logprob=None), batch().advantage, beta=1.0)


def test_the_soft_return_sums_what_follows_in_the_response():
    tokens = stream((3, 2), logprob=[-1.0, -2.0, -4.0, -8.0, -16.0], advantage=[1.0, 1.0, 1.0, 0.0, 0.0])
    expected = [1 + 0.5 * 6, 1 + 0.5 * 4, 1, 0.5 * 16, 0]
    assert soft_return(tokens, tokens.advantage, c=0.5).tolist() == pytest.approx(expected)
