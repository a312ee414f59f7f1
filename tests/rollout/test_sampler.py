"""Draws follow the policy, belong to their key and not to their batch, and stop at the end of the text."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from isotherm.policy.decoder import Decoder
from isotherm.policy.model import Policy
from isotherm.policy.text import Text
from isotherm.rollout import sampler
from isotherm.rollout.sampler import Sampled, Sampling, sample, truncate
from isotherm.tokens.draws import keys
from isotherm.tokens.score import score
from isotherm.update.scoring import score_rows
from models import full, rectangle, tiny_policy

pytestmark = pytest.mark.usefixtures("functions")

PROMPT = [10, 20, 30]
PROMPTS = [PROMPT, [40], [50, 60, 70, 80, 90]]


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    return tiny_policy(tmp_path)


def ending(policy: Policy, *ends: int) -> Policy:
    """The same policy, whose responses end at these tokens."""
    return dataclasses.replace(policy, text=Text(policy.text.tokenizer, ends))


def drawn(policy: Policy, rule: Sampling, n: int = 1, prompts=(PROMPT,), seed: int = 0) -> Sampled:
    return sample(policy, list(prompts), n, rule, keys(seed, torch.arange(len(prompts) * n)))


def first_distribution(policy: Policy, temperature: float = 1.0) -> Tensor:
    """The probabilities of the first token after PROMPT, by the scoring pass."""
    from isotherm.policy.batch import pad_prompts

    ids, lengths = pad_prompts([PROMPT])
    with torch.no_grad():
        hidden = rectangle(policy, full(ids, lengths, torch.zeros(1, 1, dtype=torch.int64)))[0]
        words = torch.arange(policy.model.head.weight.shape[0])
        return score(hidden.expand(len(words), -1), policy.model.head.weight, words, temperature).logprob.exp()


def chi_square(ids: Tensor, p: Tensor) -> tuple[float, float]:
    """The statistic over tokens expected at least 5 times, the others in one class, and its 99.9 % point."""
    expected = (p.double() * len(ids)).numpy()
    counts = np.bincount(ids.numpy(), minlength=len(p)).astype(float)
    rare = expected < 5
    e, c = np.append(expected[~rare], expected[rare].sum()), np.append(counts[~rare], counts[rare].sum())
    e, c = e[e > 0], c[e > 0]
    return float(((c - e) ** 2 / e).sum()), float(chi2.ppf(0.999, len(e) - 1))


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.7])
def test_first_tokens_follow_the_distribution(policy: Policy, temperature: float) -> None:
    p = first_distribution(policy, temperature)
    ids = drawn(policy, Sampling(1, temperature), n=8000).ids[:, 0]
    statistic, limit = chi_square(ids, p)
    assert statistic < limit
    other, limit = chi_square(ids, first_distribution(policy, temperature + 0.5))
    assert other > limit  # the test can tell another temperature


def test_draws_belong_to_their_key_and_not_to_their_batch(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone, in another order, in pieces: the same tokens; log-probs equal up to rounding."""
    rule, n = Sampling(12), 4
    key = keys(3, torch.arange(len(PROMPTS) * n))
    together = sample(policy, PROMPTS, n, rule, key)
    monkeypatch.setattr(sampler, "ROWS", 4)
    pieces = sample(policy, PROMPTS, n, rule, key)
    order = [2, 0, 1]
    rows = torch.cat([torch.arange(i * n, (i + 1) * n) for i in order])
    shuffled = sample(policy, [PROMPTS[i] for i in order], n, rule, key[rows])
    assert_same(pieces, together, slice(None))
    assert_same(shuffled, together, rows)
    for r in range(len(key)):
        assert_same(sample(policy, [PROMPTS[r // n]], 1, rule, key[r : r + 1]), together, slice(r, r + 1))


def assert_same(found: Sampled, wanted: Sampled, rows) -> None:
    width = found.ids.shape[1]
    assert torch.equal(found.length, wanted.length[rows])
    assert torch.equal(found.ids, wanted.ids[rows, :width])
    torch.testing.assert_close(found.logprob, wanted.logprob[rows, :width], atol=1e-5, rtol=0)
    torch.testing.assert_close(found.entropy, wanted.entropy[rows, :width], atol=1e-5, rtol=0)


def test_samples_of_a_group_and_seeds_differ(policy: Policy) -> None:
    rows = {tuple(row) for row in drawn(policy, Sampling(12), n=16).ids.tolist()}
    assert len(rows) == 16
    assert not torch.equal(drawn(policy, Sampling(12), seed=1).ids, drawn(policy, Sampling(12), seed=2).ids)


def test_it_stops_exactly_at_the_end(policy: Policy) -> None:
    """With every third token an end, most responses stop early, each at its first end."""
    policy = ending(policy, *range(0, 99, 3))
    out = drawn(policy, Sampling(9), n=32, prompts=PROMPTS)
    ends = torch.isin(out.ids, torch.tensor(policy.text.ends))
    for ids, length, finished, hit, logprob, entropy in zip(
        out.ids, out.length.tolist(), out.finished.tolist(), ends, out.logprob, out.entropy, strict=True
    ):
        assert not hit[: length - 1].any()
        assert bool(hit[length - 1]) == finished
        assert finished or length == 9
        assert not ids[length:].any()
        assert not logprob[length:].any()
        assert not entropy[length:].any()
        assert (logprob[:length] < 0).all()
    assert 0 < out.finished.sum() < len(out.finished)


def test_nothing_ends_beyond_the_limit(policy: Policy) -> None:
    out = drawn(ending(policy, 98), Sampling(5), n=4)
    assert out.ids.shape == (4, 5)
    assert (out.length[~out.finished] == 5).all()


def test_it_stops_early_when_all_have_finished(policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    """No forward pass after the last end, and finished responses leave the batch."""
    sizes: list[int] = []
    advance = Decoder.advance

    def counted(self, cache, ids: Tensor) -> Tensor:
        sizes.append(len(ids))
        return advance(self, cache, ids)

    monkeypatch.setattr(Decoder, "advance", counted)
    out = drawn(ending(policy, *range(0, 99, 3)), Sampling(200), n=128, prompts=PROMPTS)
    longest = int(out.length.max())
    assert out.finished.all()
    assert out.ids.shape[1] == longest < 200
    assert len(sizes) == longest - 1
    assert sizes[-1] <= sizes[0] / 4
    drawn(ending(policy, *range(99)), Sampling(200), n=4)
    assert len(sizes) == longest - 1  # the first token ended them all


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_recorded_numbers_are_the_scorers(policy: Policy, temperature: float) -> None:
    """log-probs to 1e-5 and entropies over the whole vocabulary, also for responses that left the batch last."""
    from isotherm.records import Rollout, Verdict

    n = 4
    policy = ending(policy, *range(0, 99, 9))
    out = drawn(policy, Sampling(12, temperature), n=n, prompts=PROMPTS)
    rows = len(out.ids)
    rollout = Rollout(
        step=1, problems=[], prompts=PROMPTS, group=np.repeat(np.arange(len(PROMPTS)), n),
        sample=np.tile(np.arange(n), len(PROMPTS)), ids=out.ids.numpy(), length=out.length.numpy(),
        finished=out.finished.numpy(), logprob=out.logprob.numpy(), entropy=out.entropy.numpy(),
        s2=out.s2.numpy(), s2l=out.s2l.numpy(), texts=[""] * rows, verdicts=[Verdict.WRONG] * rows,
        reward=np.zeros(rows),
    )  # fmt: skip
    with torch.no_grad():
        scores = score_rows(policy, rollout, slice(None), temperature)
    there = torch.arange(out.ids.shape[1]) < out.length[:, None]
    torch.testing.assert_close(out.logprob[there], scores.logprob, atol=1e-5, rtol=0)
    for name in ("entropy", "s2", "s2l"):
        torch.testing.assert_close(getattr(out, name)[there], getattr(scores, name), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("top_k", "top_p"), [(1, 1.0), (5, 1.0), (0, 0.3), (0, 1e-6), (20, 0.5)])
def test_truncated_draws_stay_in_the_set(policy: Policy, top_k: int, top_p: float) -> None:
    """Chi-square against the renormalised distribution; recorded log-probs are of what was drawn from."""
    p = first_distribution(policy)
    rule = Sampling(1, top_k=top_k, top_p=top_p)
    order = p.argsort(descending=True)
    inside = order[: top_k or None]
    mass = p[inside].cumsum(0) / p[inside].sum()
    inside = inside[: int((mass < top_p).sum()) + 1]
    q = torch.zeros_like(p).scatter(0, inside, p[inside])
    q = q / q.sum()
    out = drawn(policy, rule, n=4000)
    assert set(out.ids[:, 0].tolist()) <= set(inside.tolist())
    if len(inside) > 1:
        statistic, limit = chi_square(out.ids[:, 0], q)
        assert statistic < limit
    torch.testing.assert_close(out.logprob[:, 0], q[out.ids[:, 0]].log(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(out.entropy[:, 0], -(p * p.log()).sum().expand(4000), atol=1e-5, rtol=0)


def test_truncation_by_hand() -> None:
    p = torch.tensor([[0.5, 0.3, 0.15, 0.05]])
    assert torch.equal(truncate(p, Sampling(1)), p)
    assert truncate(p, Sampling(1, top_k=2)).tolist() == [[0.5, pytest.approx(0.3), 0, 0]]
    assert (truncate(p, Sampling(1, top_p=0.6)) > 0).tolist() == [[True, True, False, False]]
    assert (truncate(p, Sampling(1, top_p=0.4)) > 0).tolist() == [[True, False, False, False]]
    assert (truncate(p, Sampling(1, top_k=99)) > 0).all()


@pytest.mark.parametrize("u", [0.0, 1 - 2**-53])
def test_a_token_without_probability_is_never_drawn(u: float) -> None:
    """At both ends of the draw's range, with zeros at both ends of the vocabulary."""
    from isotherm.policy.batch import Head

    weight = torch.tensor([[-1e4], [0.0], [1.0], [-1e4]])
    drawing = sampler.Drawing(torch.tensor([[u]], dtype=torch.float64), 4, (2,))
    ids, ended = sampler.draw(torch.ones(1, 1), Head(weight), Sampling(1), drawing, 0, torch.zeros(1).long())
    assert int(ids) in (1, 2)
    assert ended == int(drawing.finished) == int(ids == 2)
    assert drawing.length.tolist() == [1]
    assert torch.isfinite(drawing.statistics).all()


def test_a_whole_number_is_a_temperature_too(policy):
    for whole, other in zip(drawn(policy, Sampling(6, 2), 4), drawn(policy, Sampling(6, 2.0), 4), strict=True):
        assert torch.equal(whole, other)
