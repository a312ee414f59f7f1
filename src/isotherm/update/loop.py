"""The loop: sample, verify, weigh, update, measure, publish."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from isotherm.advantages.history import needs_past, remembered
from isotherm.advantages.responses import advantages
from isotherm.advantages.signal import has_signal, reward, soft_overlong, trained
from isotherm.objective.knobs import TEMPERATURE
from isotherm.objective.method import Measured, Method
from isotherm.objective.penalties import needs_reference
from isotherm.objective.prediction import sloped
from isotherm.objective.thermostat import Thermostat
from isotherm.own import moved
from isotherm.policy.model import Policy
from isotherm.records import Rollout, Tokens
from isotherm.rollout import store
from isotherm.rollout.collect import collect, join
from isotherm.rollout.sampler import Sampling
from isotherm.rollout.source import Source
from isotherm.tokens.draws import keys, uniform
from isotherm.tokens.stream import stream
from isotherm.update import adamw
from isotherm.update.clock import Clock
from isotherm.update.config import Config
from isotherm.update.finite import NonFinite, require_finite
from isotherm.update.hold import measured, out_of_reach
from isotherm.update.inert import EVERY, look
from isotherm.update.measuring import Before, Change, after, before, means
from isotherm.update.metrics import rollout_metrics, update_metrics
from isotherm.update.reference import twin
from isotherm.update.scoring import score_all
from isotherm.update.step import Outcome, Rule, optimizer_step, with_scores


@dataclass
class Trainer:
    """All that changes while a run goes on, and what it works with."""

    config: Config
    method: Method
    policy: Policy
    optimizer: torch.optim.Optimizer
    source: Source
    reference: Policy | None
    state: dict[str, Any]  # step, next_problem, controls, quiet, past: JSON, part of every checkpoint
    rules: bool = False
    thermostat: Thermostat | None = None
    notes: list[str] = field(default_factory=list)  # sentences for the user, which the caller takes

    def step(self, clock: Clock) -> tuple[dict[str, Any], Rollout, list[Change]]:
        """One rollout and its updates; returns the row of metrics, the rollout, and each update as it was measured."""
        step, config = self.state["step"] + 1, self.config
        temperature, due = self.temperature, config.measure_every > 0 and step % config.measure_every == 0
        with clock("sample"):
            rollout, refills = self.sample(step)
        row = {"step": step, **rollout_metrics(rollout), "signal/refills": refills}
        row["update/lr"] = self.set_learning_rate(step)
        outcomes: list[Outcome] = []
        method = self.method
        changes: list[Change] = []
        rule, skipped = self.rule(temperature), 0
        exactly = self.optimizer if config.measure_in == "parameters" else None
        try:
            sampled = {"sampler_log_prob": rollout.logprob, "sampler_entropy": rollout.entropy}
            require_finite(reward=rollout.reward, **sampled, sampler_moments=rollout.s2)
            with clock("score"):
                kept, tokens = self.prepare(rollout, temperature)
                method = self.hold(rollout, tokens, temperature)
            for batch, part in mini_batches(kept, tokens, config.updates, config.seed):
                try:
                    was = self.before(clock, batch, method, rule) if due else None
                    with clock("update"):
                        outcomes.append(optimizer_step(self.policy, self.optimizer, batch, part, method, rule))
                    if was is not None:
                        with clock("measure"):
                            changes.append(after(self.policy, batch, was, outcomes[-1], method, rule, exactly))
                except NonFinite:
                    if config.nonfinite == "stop":
                        raise
                    skipped += 1
        except NonFinite:
            if config.nonfinite == "stop":
                raise
            skipped += 1
        for finite in [o.finite for o in outcomes] or [adamw.sums(self.optimizer)]:
            require_finite(**finite)  # whatever the setting: weights and moments go into the checkpoint
        self.renew_reference(step)
        if outcomes and step % EVERY == 0:
            self.notes += look(config.method, method, outcomes[-1], self.state["quiet"], step)
        row |= {**update_metrics(outcomes, skipped), **means(changes)}
        row |= self.controlled(temperature, row["entropy/exact"])
        self.advance(step, row["entropy/exact"], outcomes)
        return row, rollout, changes

    def before(self, clock: Clock, batch: Rollout, method: Method, rule: Rule) -> Before:
        with clock("measure"):
            return before(self.policy, batch, method, rule)

    def renew_reference(self, step: int) -> None:
        """The policy becomes the reference after every `reference_every` steps (ProRL, arXiv 2505.24864).

        ProRL begins the optimizer's moments anew with it; here they go on.
        """
        every = self.config.reference_every
        if every and step % every == 0:
            self.reference = twin(self.policy)
            self.state["reference_step"] = step

    def sample(self, step: int) -> tuple[Rollout, int]:
        """The step's rollout with its rewards, and how many rounds of refilling it took."""
        if self.config.replay:
            return self.reward(store.load(store.path_of(self.config.replay, step))), 0
        parts = [self.draw(step, self.config.prompts)]
        if self.config.signal != "refill":
            return parts[0], 0
        for round_number in range(1, self.config.refill_rounds + 1):
            missing = self.config.prompts - sum(len(np.unique(p.group[has_signal(p)])) for p in parts)
            if missing <= 0:
                return join(parts), round_number - 1
            parts.append(self.draw(step, missing, round_number))
        return join(parts), self.config.refill_rounds

    def draw(self, step: int, count: int, round_number: int = 0) -> Rollout:
        c = self.config
        problems = self.source.problems(self.state["next_problem"], count)
        self.state["next_problem"] += count
        rule = Sampling(c.max_new, self.temperature, c.top_p, c.top_k)
        seed = int(keys(c.seed, round_number)) if round_number else c.seed
        return self.reward(collect(self.policy, problems, c.group, rule, seed=seed, step=step, rules=self.rules))

    def reward(self, rollout: Rollout) -> Rollout:
        value = reward(rollout)
        if self.config.overlong == "soft":
            value += soft_overlong(rollout.length, self.config.max_new, self.config.overlong_buffer)
        return dataclasses.replace(rollout, reward=value)

    def prepare(self, rollout: Rollout, temperature: float) -> tuple[Rollout, Tokens]:
        """The rows that are trained on, and their tokens as the policy scores them before any update."""
        c = self.config
        past = self.state.get("past", {})
        advantage = advantages(self.method.advantage, rollout, past)
        require_finite(advantage=advantage)
        if needs_past(self.method.advantage):
            self.state["past"] = remembered(past, rollout)
        keep = trained(rollout, c.signal, c.overlong)
        kept = rollout.rows(keep)
        tokens = stream(kept, advantage[torch.from_numpy(keep)], c.seed)
        if not len(tokens) or self.fresh or c.scored_by == "sampler":
            return kept, self.with_reference(kept, tokens, temperature)
        scores = score_all(self.policy, kept, c.micro_batch, temperature)
        require_finite(scored_log_prob=scores.logprob, scored_entropy=scores.entropy)
        return kept, self.with_reference(kept, with_scores(tokens, scores, fresh=True), temperature)

    def with_reference(self, kept: Rollout, tokens: Tokens, temperature: float) -> Tokens:
        if self.reference is None or not len(tokens):
            return tokens
        scores = score_all(self.reference, kept, self.config.micro_batch, temperature)
        return dataclasses.replace(tokens, ref_logprob=scores.logprob)

    @property
    def fresh(self) -> bool:
        """With one update per rollout, the forward pass of the update is the scoring pass."""
        return self.config.updates == 1 and self.config.statistics == "current"

    def knobs(self) -> dict[str, float]:
        """The value of every knob that is moved."""
        moved = {name: state["value"] for name, state in self.state["controls"].items()}
        return moved | (self.state["thermostat"]["values"] if self.thermostat else {})

    @property
    def temperature(self) -> float:
        return self.knobs().get(TEMPERATURE, self.config.temperature)

    def method_now(self) -> Method:
        method = self.method
        for name, value in self.knobs().items():
            method = method.with_knob(name, value)
        return method

    def hold(self, rollout: Rollout, tokens: Tokens, temperature: float) -> Method:
        """The method of this step, after the thermostat, where there is one, has turned its knobs."""
        if self.thermostat:
            method = self.method_now()
            with sloped(method, tokens):
                seen = measured(self.config, method, rollout, tokens, temperature)
                self.state["thermostat"] = self.thermostat.update(self.state["thermostat"], seen)
            if sentence := out_of_reach(self.state["thermostat"]):
                self.notes.append(f"Step {rollout.step}: {sentence}")
        return self.method_now()

    def controlled(self, temperature: float, entropy: float) -> dict[str, float]:
        """The knobs as they were in this step, and how far from the line the entropy was."""
        knobs = self.knobs()
        if TEMPERATURE in knobs:
            knobs[TEMPERATURE] = temperature
        row = {f"knob/{name}": value for name, value in knobs.items()}
        if self.thermostat:
            line = self.state["thermostat"]["line"]
            row |= {"hold/line": line, "hold/error": entropy - line}
        return row

    def advance(self, step: int, entropy: float, outcomes: list[Outcome]) -> None:
        self.state["step"] = step
        measured, states = Measured(step, self.config.steps, entropy), self.state["controls"]
        for control in self.method.controls:
            own = [o.measures[control.knob] for o in outcomes if control.knob in o.measures]
            seen = measured._replace(own=float(np.mean(own)) if own else None)
            states[control.knob] = moved(control.update, states[control.knob], seen)

    def rule(self, temperature: float) -> Rule:
        c = self.config
        return Rule(c.micro_batch, temperature, c.statistics, c.clip_grad, self.fresh, c.scored_by == "trainer")

    def set_learning_rate(self, step: int) -> float:
        lr = learning_rate(self.config, step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr


def learning_rate(config: Config, step: int) -> float:
    """Linear warm-up, then constant, linear to 0, or half a cosine to 0."""
    done = (step - 1) / config.steps
    shape = {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + np.cos(np.pi * done))}[config.schedule]
    return float(config.lr * shape * (min(1.0, step / config.warmup) if config.warmup else 1.0))


def mini_batches(kept: Rollout, tokens: Tokens, updates: int, seed: int) -> Iterator[tuple[Rollout, Tokens]]:
    """The groups in an order drawn for this step, cut into `updates` nearly equal parts."""
    if updates == 1 and len(tokens):
        yield kept, tokens
        return
    groups = torch.from_numpy(np.unique(kept.group))
    order = groups[uniform(keys(seed, kept.step, groups), salt=2).argsort()]
    for part in order.tensor_split(updates):
        if len(part):
            yield kept.rows(np.isin(kept.group, part.numpy())), tokens.where(torch.isin(tokens.group, part))


def wants_reference(method: Method) -> bool:
    return any(map(needs_reference, (*method.on_batch, *(penalty.cost for penalty in method.penalties))))
