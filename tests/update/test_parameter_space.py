"""Parts and sizes in the space of the parameters, against plain backward passes, differences and a table of bigrams."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import nn

import isotherm
from contracts.test_microbatch import load_bench
from isotherm.errors import UserError
from isotherm.measure.attribution import losses
from isotherm.objective.compose import method
from isotherm.objective.idle import PLAIN
from isotherm.objective.prediction import push
from isotherm.policy.batch import Batch, Head
from isotherm.policy.model import load_policy
from isotherm.tokens.entropy_change import exact
from isotherm.update import measuring
from isotherm.update.parameter_space import Place, derivatives, exact_change, parts
from isotherm.update.scoring import score_all, score_rows
from isotherm.update.step import Rule, gradient, optimizer_step, with_scores
from policy.test_huggingface import write

bench = load_bench()
RULE = Rule(0, 0.9, "current", 0.0)
EXPRESSIONS = (
    "grpo", "clip_higher + par(pos=0.4, schedule=none) + kl_cov(k=0.1)", "gspo", "entropy_bonus(c=0.1)",
    "aent(c=0.1, most=0.2) + reference_kl(c=0.1)", "steer", "forking_tokens(rho=0.5)",
)  # fmt: skip


@pytest.fixture(scope="module")
def case():
    return bench.make(torch.float64, problems=3, answers=4, longest=12)


class Updated:
    """The second of two updates by AdamW, and what it began with."""

    def __init__(self, case, expression: str, rule: Rule = RULE, module: nn.Module | None = None) -> None:
        self.method, self.batch, self.rule = method(expression), case.rollout, rule
        self.policy = dataclasses.replace(case.policy, module=module or copy.deepcopy(case.policy.module))
        self.given = bench.tokens_of(case, self.method)
        parameters = list(self.policy.parameters().values())
        self.optimizer = torch.optim.AdamW(parameters, lr=1e-3, betas=(0.8, 0.9), weight_decay=0.1, fused=True)
        self.step()
        self.start = dataclasses.replace(self.policy, module=copy.deepcopy(self.policy.module))
        self.moments = [self.optimizer.state[p]["exp_avg"].clone() for p in parameters]
        self.was = measuring.before(self.policy, self.batch, self.method, rule)
        self.outcome = self.step()
        self.tokens = with_scores(self.outcome.tokens, self.was.scores, fresh=False)
        self.place = Place(self.policy, self.was.weights, self.batch, self.method.functionals, rule)

    def step(self):
        return optimizer_step(self.policy, self.optimizer, self.batch, self.given, self.method, self.rule)

    def parts(self):
        found = parts(self.place, self.was.gradient, self.tokens, self.method, self.outcome, self.optimizer)
        return {name: x / len(self.tokens) for name, x in found.items()}

    def along_entropy(self, vector: torch.Tensor) -> float:
        """<grad mean H, vector> at the start, by a plain backward pass."""
        score_rows(self.start, self.batch, slice(None), self.rule.temperature).entropy.mean().backward()
        return float(bench.taken(self.start) @ vector)


@pytest.mark.parametrize("micro", [0, 5])
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_parts_sum_to_the_inner_product_of_two_plain_gradients(case, expression, micro):
    update = Updated(case, expression, RULE._replace(micro_batch=micro))
    gradient(update.start, update.batch, update.given, update.method, update.rule)
    whole = -1e-3 * update.along_entropy(bench.taken(update.start))
    found = update.parts()["plain_step"]
    assert abs(float(found.sum()) - whole) < 1e-9 * float(found.abs().sum())
    assert abs(whole) > 1e-4 * float(found.abs().sum())


@pytest.mark.parametrize("expression", EXPRESSIONS[1:5])
def test_the_part_of_one_token_is_that_of_its_own_backward_pass(case, expression):
    update = Updated(case, expression)
    found = update.parts()["plain_step"]
    for token in (0, 7, len(found) - 1):
        options = RULE.temperature, update.method.functionals
        current = with_scores(update.tokens, score_rows(update.start, update.batch, slice(None), *options), fresh=False)
        losses(current, update.method, update.outcome.decision)[token].backward()
        own = -1e-3 * update.along_entropy(bench.taken(update.start))
        assert float(found[token]) == pytest.approx(own, rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("clip", [0.0, 0.01])
def test_what_adam_took_is_the_parts_and_momentum_and_decay(case, clip):
    """Momentum and decay from AdamW's equations; all three sum to the inner product with the step that was taken."""
    update = Updated(case, EXPRESSIONS[1], RULE._replace(clip_grad=clip))
    change = measuring.after(
        update.policy, update.batch, update.was, update.outcome, update.method, update.rule, update.optimizer
    )
    assert clip == 0 or update.outcome.grad_norm > 2 * clip
    momentum = 0.0
    for slope, old, weight, p in zip(
        update.was.gradient, update.moments, update.was.weights, update.policy.parameters().values(), strict=True
    ):
        root = (update.optimizer.state[p]["exp_avg_sq"] / (1 - 0.9**2)).sqrt() + 1e-8
        step = 0.8 * old / (1 - 0.8**2) / root + 0.1 * weight
        momentum -= 1e-3 * float((slope * step).sum())
    found, along = float(update.parts()["adam_step"].sum()), change.row["dynamics/along_step"]
    assert found + momentum == pytest.approx(along, rel=1e-9)
    assert abs(found) > 0.02 * abs(along)
    assert change.row["dynamics/adam_step/momentum"] == pytest.approx(momentum, rel=1e-6)
    stored = torch.from_numpy(change.columns["adam_step"]).double()
    by_sign = {name: stored[update.tokens.advantage * s > 0] for name, s in (("positive", 1), ("negative", -1))}
    for name, values in by_sign.items():
        assert change.row[f"dynamics/adam_step/{name}"] == pytest.approx(float(values.sum()) / len(stored), rel=1e-5)


class Bigrams(nn.Module):
    """Logits of the next token from a table row of its own for each last token."""

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.table = nn.Parameter(table)

    @property
    def head(self) -> Head:
        return Head(self.table)

    def states(self, batch: Batch) -> torch.Tensor:
        last = torch.cat((batch.prompts[:, -1:].repeat_interleave(batch.n, 0), batch.responses[:, :-1]), 1)
        return last[torch.arange(last.shape[1]) < batch.lengths[:, None]]

    def hidden(self, batch: Batch) -> torch.Tensor:
        self.seen = self.states(batch)
        return nn.functional.one_hot(self.seen, len(self.table)).to(self.table.dtype)


def test_where_states_share_nothing_but_themselves_it_is_the_equation_at_the_logits(case):
    """A token moves its own state, which n of the T tokens are in: dH of the mean is n / T times that of the state."""
    generator = torch.Generator().manual_seed(3)
    module = Bigrams(torch.randn(99, 99, generator=generator, dtype=torch.float64))
    update = Updated(case, "ppo_clip(low=0.2, high=0.3)", module=module)
    c = push(update.tokens, update.method, update.outcome.decision).logprob
    shared = (module.seen[:, None] == module.seen).sum(1)
    assert int(shared.max()) > 1
    wanted = exact(update.tokens, c, temperature=0.9) * 1e-3 * shared / len(c)
    torch.testing.assert_close(update.parts()["plain_step"], wanted, rtol=1e-10, atol=1e-16)


def slopes(place: Place, direction, eps: float) -> dict[str, torch.Tensor]:
    """Central differences of the policy's own scores."""
    ends = []
    for step in (eps, -eps):
        other = dataclasses.replace(place.policy, module=copy.deepcopy(place.policy.module))
        with torch.no_grad():
            for p, v in zip(other.parameters().values(), direction, strict=True):
                p.add_(step * v)
        scores = score_all(other, place.batch, 0, place.rule.temperature, place.functionals)
        ends.append({"logprob": scores.logprob, "entropy": scores.entropy, **scores.extra})
    return {name: (ends[0][name] - ends[1][name]) / (2 * eps) for name in ends[0]}


def place_of(policy, batch, functionals: dict[str, Any]) -> tuple[Place, list[torch.Tensor]]:
    """The policy at its own weights, and a direction."""
    generator = torch.Generator().manual_seed(5)
    weights = [p.detach() for p in policy.parameters().values()]
    direction = [0.1 * torch.randn(w.shape, generator=generator, dtype=w.dtype) for w in weights]
    return Place(policy, weights, batch, functionals, RULE._replace(micro_batch=5)), direction


def test_derivatives_are_those_of_differences(case):
    place, direction = place_of(case.policy, case.rollout, method("aent + lp_reg").functionals)
    found, wanted = derivatives(place, direction), slopes(place, direction, 1e-5)
    assert found.keys() == wanted.keys()
    assert len(found) == 5
    for name, x in found.items():
        torch.testing.assert_close(x, wanted[name], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("kind", "eps"), [("gpt2", 1e-3), ("gemma2", 2e-5)])
def test_derivatives_of_other_architectures(case, kind, eps, tmp_path):
    """The states that they hand out are float32, and so are the differences; the second bends sharply."""
    place, direction = place_of(load_policy(str(write(kind, tmp_path))), case.rollout, {})
    found, wanted = derivatives(place, direction), slopes(place, direction, eps)
    for name, x in found.items():
        assert float((x - wanted[name]).norm()) < 5e-3 * float(x.norm())


def test_products_of_bfloat16_do_not_round_the_derivatives(case):
    policy = bench.cast(case.policy, torch.float32)
    wide, direction = place_of(policy, case.rollout, {})
    found = derivatives(wide, direction)
    policy.module.compute = torch.bfloat16
    again = derivatives(wide, direction)
    assert policy.module.compute == torch.bfloat16
    assert all(torch.equal(found[name], again[name]) for name in found)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_the_size_of_the_change_is_that_of_two_plain_gradients(case, expression):
    update = Updated(case, expression)
    bare = dataclasses.replace(
        update.method, shape=(), weights=(), penalties=(), surrogate=PLAIN.surrogate, controls=()
    )
    both = []
    for chosen in (update.method, bare):
        gradient(update.start, update.batch, update.given, chosen, update.rule)
        both.append(bench.taken(update.start))
    wanted = float((both[0] - both[1]).norm() / both[1].norm())
    found = exact_change(update.place, update.tokens, update.method, update.outcome.decision)
    assert found == pytest.approx(wanted, rel=1e-9, abs=1e-12)
    assert (found < 1e-12) == (expression == "grpo")


def test_without_any_signal_the_change_is_none_or_all(case):
    update = Updated(case, "entropy_bonus(c=0.1)")
    silent = dataclasses.replace(update.tokens, advantage=torch.zeros_like(update.tokens.advantage))
    decision = update.outcome.decision._replace(advantage=silent.advantage)
    assert exact_change(update.place, silent, update.method, decision) == 1
    off = decision._replace(penalties=tuple(torch.zeros_like(c) for c in decision.penalties))
    assert exact_change(update.place, silent, update.method, off) == 0


def test_nothing_of_the_policy_or_the_optimizer_is_touched(case):
    update = Updated(case, EXPRESSIONS[1])
    parameters = update.policy.parameters()
    kept = {name: p.detach().clone() for name, p in parameters.items()}
    states = len(update.optimizer.state)
    update.parts()
    exact_change(update.place, update.tokens, update.method, update.outcome.decision)
    assert all(a is b for a, b in zip(parameters.values(), update.policy.parameters().values(), strict=True))
    assert all(torch.equal(p, kept[name]) and p.grad is None for name, p in parameters.items())
    assert len(update.optimizer.state) == states


def test_it_is_refused_where_nothing_is_ever_measured(tmp_path):
    with pytest.raises(UserError, match="measure_every = 0 never does"):
        isotherm.train(measure_in="parameters", measure_every=0, out=str(tmp_path / "run"), quiet=True)
