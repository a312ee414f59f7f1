import numpy as np
import torch
from scipy import stats

from isotherm.tokens.draws import keys, mix, uniform

GOLDEN_KEYS = [5949146514832038612, 786409966420409576, 1210014397417849613]
GOLDEN_0 = ["0x1.ea4966fa76a6ep-1", "0x1.e830f93fbfc6cp-1", "0x1.4b8650fffd432p-1"]
GOLDEN_1 = ["0x1.95ce9dd3f04a4p-2", "0x1.1d363f15e40a0p-3", "0x1.98b802471aa8ep-1"]
MASK = (1 << 64) - 1


def splitmix(x: int) -> int:
    """The splitmix64 finaliser in Python's integers."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def key_of(*parts: int) -> int:
    state = 0
    for part in parts:
        state = splitmix((state + 0x9E3779B97F4A7C15 + part) & MASK)
    return state


CORNERS = [0, 1, -1, 2**63 - 1, -(2**63), 12345678901234567]


def test_mix_is_splitmix64():
    found = mix(torch.tensor(CORNERS)).tolist()
    assert [x & MASK for x in found] == [splitmix(x & MASK) for x in CORNERS]
    assert splitmix(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF  # the generator's first output from seed 0


def test_keys_and_uniform_against_whole_numbers():
    for parts in [(0,), (5, 0), (0, 5), (1, 2, 3, 4, 5), (2**62, -1, 7)]:
        assert int(keys(*parts)) & MASK == key_of(*parts)
        for salt in (0, 1, 9):
            expected = (splitmix(key_of(*parts) ^ (salt << 40)) >> 11) * 2.0**-53
            assert float(uniform(keys(*parts), salt)) == expected


def test_golden_values():
    k = keys(0, 7, torch.arange(3), 2)
    assert k.tolist() == GOLDEN_KEYS
    assert [u.hex() for u in uniform(k).tolist()] == GOLDEN_0
    assert [u.hex() for u in uniform(k, salt=1).tolist()] == GOLDEN_1


def test_the_draws_are_uniform():
    for step in range(4):
        u = uniform(keys(3, step, torch.arange(20_000)))
        assert u.dtype == torch.float64
        assert float(u.min()) >= 0
        assert float(u.max()) < 1
        assert stats.kstest(u.numpy(), "uniform").pvalue > 0.01


def test_neighbours_and_salts_are_independent():
    key = keys(3, torch.arange(20_000))
    columns = [uniform(key), uniform(key, salt=1), uniform(key, salt=2), uniform(keys(4, torch.arange(20_000)))]
    columns.append(columns[0].roll(1))
    table = np.stack([c.numpy() for c in columns])
    correlation = np.corrcoef(table) - np.eye(len(table))
    assert np.abs(correlation).max() < 4 / np.sqrt(20_000)
    for a, b in [(0, 1), (1, 2), (0, 4)]:
        cells = np.histogram2d(table[a], table[b], bins=8, range=[[0, 1], [0, 1]])[0]
        assert stats.chisquare(cells.ravel()).pvalue > 0.01


def test_a_draw_belongs_to_its_key_and_not_to_its_place():
    key, order = keys(1, torch.arange(100)), torch.arange(100).flip(0)
    assert torch.equal(uniform(key[order]), uniform(key)[order])
    assert key.unique().numel() == 100
    assert int(keys(1, 2)) != int(keys(2, 1))
