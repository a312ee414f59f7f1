import math

import pytest
import torch

from isotherm.advantages.estimators import deviation, gpg, grpo, quantile_baseline


def reward(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_the_quantile_is_a_gate_by_the_success_rate():
    """At k = .4, a group of 5 with p = .6 <= 1 - k has Q = 0, with p = .8 it has Q = 1."""
    group = torch.tensor([3, 8, 3, 8, 3, 8, 3, 8, 3, 8])
    r = reward(1, 1, 0, 0, 1, 1, 0, 1, 1, 1)  # group 3: 1 0 1 0 1, group 8: 1 0 1 1 1
    a = quantile_baseline(r, group, k=0.4)
    hard, easy = math.sqrt(0.24 * 5 / 4), math.sqrt(0.16 * 5 / 4)
    assert a[group == 3].tolist() == pytest.approx([1 / hard, 0, 1 / hard, 0, 1 / hard], rel=1e-5)
    assert a[group == 8].tolist() == pytest.approx([0, -1 / easy, 0, 0, 0], rel=1e-5)


@pytest.mark.parametrize(("k", "q"), [(0.1, 1), (0.25, 1), (0.3, 2), (0.5, 2), (0.75, 4), (0.9, 7)])
def test_the_quantile_is_the_least_value_with_a_share_of_k_below_or_at_it(k, q):
    r, group = reward(7, 1, 4, 2), torch.zeros(4, dtype=torch.int64)
    a = quantile_baseline(r, group, k=k) * (deviation(r, group) + 1e-6)
    assert a.tolist() == pytest.approx([7 - q, 1 - q, 4 - q, 2 - q])


def test_gpg_makes_up_for_groups_without_signal():
    group = torch.tensor([0, 0, 1, 1, 2, 2])
    r = reward(1, 0, 1, 1, 0.1, 0.1)
    assert gpg(r, group, norm="none").tolist() == pytest.approx([1.5, -1.5, 0, 0, 0, 0])  # alpha = 6 / 2
    assert gpg(r, group, alpha="none").tolist() == pytest.approx([0.5, -0.5, 0, 0, 0, 0])
    torch.testing.assert_close(gpg(r, group, norm="std")[:2], 3 * grpo(r, group)[:2])
    assert gpg(reward(1, 1), torch.tensor([0, 0]), norm="none").tolist() == [0, 0]


def test_no_responses_no_advantages():
    none, group = reward(), torch.zeros(0, dtype=torch.int64)
    assert quantile_baseline(none, group, k=0.4).shape == gpg(none, group, norm="none").shape == (0,)
