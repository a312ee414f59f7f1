import pytest
import torch

from contracts.streams import LENGTHS, batch, permuted
from isotherm.objective.normalizers import constant_length, sequence_mean, token_mean
from isotherm.tokens.stream import per_response


def test_token_mean_sums_to_1_and_counts_tokens_alike():
    n = token_mean(batch())
    assert float(n.sum()) == pytest.approx(1)
    assert n.unique().numel() == 1


def test_sequence_mean_sums_to_1_and_counts_responses_alike():
    tokens = batch()
    n = sequence_mean(tokens)
    share = torch.zeros(len(LENGTHS), dtype=torch.float64).index_add_(0, tokens.sequence, n)
    torch.testing.assert_close(share, torch.full_like(share, 1 / len(LENGTHS)))
    values = tokens.entropy
    mean = per_response(values, tokens.sequence, len(LENGTHS)).mean()
    torch.testing.assert_close((n * values).sum(), mean)


def test_sequence_mean_needs_no_contiguous_numbers():
    moved, index = permuted(batch(), [5, 1, 0, *range(11, 5, -1), 2, 3, 4])
    torch.testing.assert_close(sequence_mean(moved), sequence_mean(batch())[index])
    gaps = type(moved)(**{**vars(moved), "sequence": moved.sequence * 10 + 3})
    assert torch.equal(sequence_mean(gaps), sequence_mean(moved))


def test_constant_length_divides_the_sum_of_every_response_by_the_same_number():
    tokens = batch()
    n = constant_length(tokens, length=40)
    assert n.unique().tolist() == [1 / (len(LENGTHS) * 40)]
    assert float(n.sum()) == pytest.approx(sum(LENGTHS) / len(LENGTHS) / 40)


@pytest.mark.parametrize("normalizer", [token_mean, sequence_mean])
def test_equal_lengths_make_the_means_equal(normalizer):
    tokens = batch(0, (4, 4, 4), (0, 0, 1))
    torch.testing.assert_close(normalizer(tokens), constant_length(tokens, length=4))
