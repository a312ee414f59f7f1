import dataclasses

import pytest
import torch

from contracts.streams import batch
from isotherm.objective.interventions.gtpo import grpo_s, gtpo


def stream():
    """One group: right responses of 2 and 1 tokens, a wrong one of 2; and a response without signal."""
    entropy = torch.tensor([1.0, 2.0, 3.0, 0.5, 0.25, 9.0], dtype=torch.float64)
    advantage = torch.tensor([1.0, 1.0, 1.0, -2.0, -2.0, 0.0], dtype=torch.float64)
    return dataclasses.replace(batch(0, (2, 1, 2, 1), (5, 5, 5, 8)), entropy=entropy, advantage=advantage)


def normal(values):
    v = torch.tensor(values, dtype=torch.float64)
    return (v - v.mean()) / (v.std() + 1e-6)


def test_gtpo_shares_the_bonus_among_the_live_responses_of_a_sign():
    # position 0: right entropies 1 and 3, d / sum = 2 / 4; position 1: only 2; wrong tokens have no peer at theirs
    values = [0.8 + 0.4 * 0.5, 0.8 + 0.4, 0.8 + 0.4 * 1.5, -1.2, -1.2]
    tokens = stream()
    shaped = gtpo(tokens, tokens.advantage, base=0.8, bonus=0.4)
    torch.testing.assert_close(shaped[:5], normal(values))
    assert shaped[5] == 0


def test_wrong_tokens_are_shared_by_the_inverse_of_their_entropy():
    tokens = stream()
    tokens = dataclasses.replace(tokens, advantage=-tokens.advantage)
    # position 0: 1 and 1 / 3 have mean 2 / 3: 1.5 and 0.5
    values = [-0.8 - 0.4 * 1.5, -1.2, -0.8 - 0.4 * 0.5, 1.2, 1.2]
    torch.testing.assert_close(gtpo(tokens, tokens.advantage, base=0.8, bonus=0.4)[:5], normal(values))


def test_grpo_s_does_so_with_mean_entropies_of_responses():
    # right: mean entropies 1.5 and 3, 2 / 4.5 of each
    a, b, c = normal([0.8 + 0.4 * 1.5 * 2 / 4.5, 0.8 + 0.4 * 3 * 2 / 4.5, -1.2]).tolist()
    tokens = stream()
    shaped = grpo_s(tokens, tokens.advantage, base=0.8, bonus=0.4)
    assert shaped.tolist() == pytest.approx([a, a, b, c, c, 0])


@pytest.mark.parametrize("part", [gtpo, grpo_s])
def test_what_another_shape_added_stays(part):
    tokens = stream()
    plain = part(tokens, tokens.advantage, base=0.8, bonus=0.4)
    torch.testing.assert_close(part(tokens, tokens.advantage + 3, base=0.8, bonus=0.4), plain + 3)
