"""What bench/agree.py does without the other packages: its batches, its conversion, its small model, its verdict."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from isotherm.objective.compose import method
from isotherm.tokens.stream import flatten

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture
def batches(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import agree_batches  # pyright: ignore[reportMissingImports]

    return agree_batches


@pytest.fixture
def models(batches):
    import agree_model  # pyright: ignore[reportMissingImports]

    return agree_model


@pytest.fixture
def command(batches):
    import agree  # pyright: ignore[reportMissingImports]

    return agree


def test_batches_have_padding_zeros_bounds_and_every_size_of_drift(batches):
    drawn = [batches.draw(seed) for seed in range(60)]
    x = torch.cat([flatten(b.logprob - b.old, b.length) for b in drawn])
    for bound in batches.BOUNDS:
        assert int(((x - bound).abs() < 1e-12).sum()) > 5
    assert int((x == 0).sum()) > 100
    assert int(((x.abs() > 0) & (x.abs() < 1e-3)).sum()) > 100
    assert int((x.abs() > 2).sum()) > 20
    assert 0.1 < float(torch.cat([b.advantage for b in drawn]).eq(0).double().mean()) < 0.3
    assert sum(int((~b.mask).sum()) for b in drawn) > 500
    assert sum(b.tokens for b in drawn) == len(x)
    far = torch.cat([(b.logprob - b.old)[b.mask] for b in (batches.draw(seed, far=True) for seed in range(20))])
    assert {-25.0, 25.0} <= {round(v, 9) for v in far.tolist()}


def test_a_stream_has_the_rectangle_row_after_row(batches):
    batch = batches.draw(4)
    tokens = batches.stream(batch, batch.logprob[batch.mask], batch.entropy[batch.mask])
    at = 0
    for row, length in enumerate(batch.length.tolist()):
        for position in range(length):
            assert (tokens.sequence[at], tokens.group[at], tokens.position[at]) == (row, batch.group[row], position)
            assert tokens.old_logprob[at] == batch.old[row, position]
            assert tokens.advantage[at] == batch.advantage[row]
            at += 1
    assert at == len(tokens) == batch.tokens


def test_the_value_of_a_stopped_loss_follows_from_our_slopes(batches):
    """sg(min(r, 3)) A log pi over the tokens, and min(s A, clip(s) A) over the responses."""
    batch = batches.draw(4)
    mine = batches.ours(batch, method("cispo(high=2) + entropy_bonus(c=0.1)"))
    r = (batch.logprob - batch.old).exp().clamp_max(3)
    stopped = -(r * batch.advantage[:, None] * batch.logprob + 0.1 * batch.entropy)
    assert batches.value(batch, mine, "slopes") == pytest.approx(float(stopped[batch.mask].mean()))
    s = (((batch.logprob - batch.old) * batch.mask).sum(1) / batch.length).exp()
    for low, high in ((1.0, 1e9), (0.02, 0.05)):
        whole, clipped = batches.ours(batch, method(f"gspo(low={low}, high={high})")), s.clamp(1 - low, 1 + high)
        wanted = -torch.minimum(s * batch.advantage, clipped * batch.advantage).mean()
        assert batches.value(batch, whole, "sum") == pytest.approx(float(wanted), rel=1e-12)
        assert bool(whole.flat) == (low < 1)


def test_another_method_is_seen_to_differ(batches):
    same, other = batches.Errors(), batches.Errors()
    for seed in range(6):
        batch = batches.draw(seed)
        first, second = (batches.ours(batch, method(name)) for name in ("ppo_clip", "ppo_clip(high=0.25)"))
        same.add(batch, first, first, "plain")
        other.add(batch, first, second, "plain")
    assert (same.worst, same.active) == (0, 6)
    assert other.logprob > 1e-2
    assert other.loss > 1e-4
    assert batches.relative(1.0, 0.0) == math.inf


def test_the_small_model_is_scored_as_by_its_whole_logits(batches, models):
    model, batch = models.small_model(), batches.draw(2)
    text = models.written(batch)
    logits = model(input_ids=text.ids, attention_mask=text.seen).logits[:, models.PROMPT - 1 : -1]
    logp = logits.log_softmax(-1)
    chosen = logp.gather(-1, text.responses[..., None]).squeeze(-1)[batch.mask]
    logprob, entropy = models.scores(model, text)
    torch.testing.assert_close(logprob, chosen)
    torch.testing.assert_close(entropy, -(logp.exp() * logp).sum(-1)[batch.mask])
    again = models.rescored(batch, model)
    torch.testing.assert_close(again.logprob - again.old, batch.logprob - batch.old)
    assert torch.equal(again.logprob[batch.mask], logprob.detach())
    assert sum(p.numel() for p in model.parameters()) < 10_000


def test_what_lies_beyond_a_bound_is_named(batches, command):
    row = dataclasses.asdict(batches.Errors(batches=1, loss=1e-7, logprob=2e-6, parameters=9e-6))
    assert command.broken(row) == ["logprob"]
    assert command.broken(row | {"logprob": math.nan}) == ["logprob"]
    assert command.broken(row | {"logprob": 0.0, "notes": {"other selections": 1}}) == ["selection"]
    assert command.broken(row | {"logprob": 0.0}) == []
