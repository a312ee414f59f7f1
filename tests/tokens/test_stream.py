import numpy as np
import torch

from isotherm.records import Problem, Rollout, Verdict
from isotherm.tokens.draws import keys
from isotherm.tokens.stream import flatten, per_response, real, spread, stream

LENGTH = np.array([3, 1, 0, 2])
RECTANGLE = np.arange(12).reshape(4, 3)


def test_real():
    assert real(torch.tensor([2, 0]), 3).tolist() == [[True, True, False], [False, False, False]]


def test_flatten_drops_the_padding_and_keeps_the_order():
    assert flatten(RECTANGLE, LENGTH).tolist() == [0, 1, 2, 3, 9, 10]
    assert flatten(torch.from_numpy(RECTANGLE), torch.from_numpy(LENGTH)).tolist() == [0, 1, 2, 3, 9, 10]


def test_spread_repeats_by_length():
    assert spread(np.array([5.0, 6.0, 7.0, 8.0]), LENGTH).tolist() == [5, 5, 5, 6, 8, 8]


def test_per_response_is_the_mean_and_0_where_nothing_is():
    sequence = spread(np.arange(4), LENGTH)
    values = torch.tensor([1.0, 2.0, 6.0, 4.0, 5.0, 7.0])
    assert per_response(values, sequence, 4).tolist() == [3, 4, 0, 6]
    shuffled = torch.tensor([5, 0, 3, 2, 4, 1])
    assert per_response(values[shuffled], sequence[shuffled], 4).tolist() == [3, 4, 0, 6]


def rollout(rows: int = 4) -> Rollout:
    number = np.arange(rows)
    return Rollout(
        step=5,
        problems=[Problem("chain", 1, str(i), "", {}) for i in range(2)],
        prompts=[[1], [2]],
        group=np.array([0, 0, 1, 1])[:rows],
        sample=number % 2,
        ids=RECTANGLE[:rows],
        length=LENGTH[:rows],
        finished=np.ones(rows, bool),
        logprob=-(RECTANGLE[:rows] / 10).astype(np.float32),
        entropy=RECTANGLE[:rows].astype(np.float32),
        s2=(RECTANGLE[:rows] / 2).astype(np.float32),
        s2l=(RECTANGLE[:rows] / 3).astype(np.float32),
        texts=[""] * rows,
        verdicts=[Verdict.WRONG] * rows,
        reward=np.zeros(rows),
    )


def test_a_stream_names_every_token_by_what_it_is():
    tokens = stream(rollout(), torch.tensor([0.5, -0.5, 9.0, 2.0], dtype=torch.float64), seed=3)
    assert tokens.sequence.tolist() == [0, 0, 0, 1, 3, 3]
    assert tokens.group.tolist() == [0, 0, 0, 0, 1, 1]
    assert tokens.position.tolist() == [0, 1, 2, 0, 0, 1]
    assert tokens.advantage.tolist() == [0.5, 0.5, 0.5, -0.5, 2.0, 2.0]
    assert tokens.entropy.tolist() == [0, 1, 2, 3, 9, 10]
    assert torch.equal(tokens.old_logprob, tokens.sampler_logprob)
    named = [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 0), (1, 1, 0), (1, 1, 1)]
    assert tokens.key.tolist() == [int(keys(3, 5, *name)) for name in named]


def test_the_key_of_a_token_survives_the_loss_of_other_rows():
    whole = stream(rollout(), torch.zeros(4), seed=3)
    kept = stream(rollout().rows(np.array([False, True, False, True])), torch.zeros(2), seed=3)
    assert kept.key.tolist() == whole.key[torch.isin(whole.sequence, torch.tensor([1, 3]))].tolist()


def test_an_empty_rollout_is_an_empty_stream():
    tokens = stream(rollout(0), torch.zeros(0), seed=0)
    assert len(tokens) == 0
    assert tokens.key.dtype == tokens.sequence.dtype == torch.int64
