import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isotherm.tokens.select import smallest

row = st.tuples(st.integers(-3, 3), st.integers(-(2**62), 2**62))  # value, key


@given(st.lists(row, min_size=1, max_size=40, unique_by=lambda x: x[1]), st.data())
def test_smallest_is_a_sort_by_value_and_then_by_key(rows, data):
    values, key = np.array(rows).T
    count = data.draw(st.integers(0, len(rows)))
    expected = np.zeros(len(rows), bool)
    expected[np.lexsort((key, values))[:count]] = True
    found = smallest(torch.from_numpy(values.astype(float)), torch.from_numpy(key.copy()), count)
    assert np.array_equal(found.numpy(), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_infinite_values_are_chosen_last(dtype):
    values = torch.tensor([torch.inf, 1.0, torch.inf, -torch.inf], dtype=dtype)
    key = torch.tensor([4, 3, 2, 1])
    assert smallest(values, key, 3).tolist() == [False, True, True, True]


def test_none_of_none():
    assert smallest(torch.zeros(0), torch.zeros(0, dtype=torch.int64), 0).tolist() == []
