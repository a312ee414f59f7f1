"""From a Config to a finished run folder: set up or resume, go through the steps, evaluate, publish."""

from __future__ import annotations

import dataclasses
import functools
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from isotherm.errors import OwnError, UserError
from isotherm.files import full_disk, write_whole
from isotherm.objective.compose import inert, method
from isotherm.objective.method import Method
from isotherm.objective.weights import truncated_importance
from isotherm.policy.model import Policy, load_policy, model_folder
from isotherm.rollout import store
from isotherm.rollout.sampler import Sampling
from isotherm.rollout.source import open_source
from isotherm.tasks.files import FAMILY as FILE
from isotherm.tasks.mix import parse_mix
from isotherm.update import checkpoint, measuring, precision
from isotherm.update.clock import Clock
from isotherm.update.config import Config
from isotherm.update.evaluate import eval_metrics, evaluate, test_sets, trim
from isotherm.update.finite import NonFinite
from isotherm.update.folder import RunFolder
from isotherm.update.hold import thermostat
from isotherm.update.loop import Trainer, wants_reference
from isotherm.update.reference import as_tensors, from_tensors

SHARE = 0.05  # of the time that automatic checkpoints may cost
TOGETHER = 1.0  # seconds

Say = Callable[[str], None]
Watch = Callable[[int, dict[str, Any], dict[str, Any]], None]


class Stopped(Exception):
    """The run was asked to stop, and can go on from its checkpoint."""


def run(config: Config, folder: RunFolder, settings: precision.Precision, say: Say, watch: Watch) -> None:
    """Trains to the last step in a folder that is held already."""
    settings.use()
    for sentence in inert(config.method, config.updates):
        say(sentence)
    trainer, size = build(config, folder, settings, say)
    folder.rewind(size, trainer.state["step"] if size else -1)
    if trainer.state["step"] >= config.steps:
        checkpoint.tidy(folder.path, config.steps, config.keep)
        return say(f"The run in {folder.path} is finished already, with {config.steps} steps.")
    if not size:
        first_evaluation(trainer, folder, watch)
    with stop_on_signal() as stopped:
        steps(trainer, folder, say, watch, stopped)
    return None


def steps(trainer: Trainer, folder: RunFolder, say: Say, watch: Watch, stopped: list[int]) -> None:
    config, pace = trainer.config, Pace(trainer.config.save_every)
    while trainer.state["step"] < config.steps:
        clock = Clock()
        step = trainer.state["step"] + 1
        try:
            row, rollout, changes = trainer.step(clock)
        except NonFinite as error:
            raise UserError(not_finite(error, trainer, folder)) from None
        except OwnError as error:
            raise UserError(own_fault(error, step, folder)) from error
        last = step == config.steps
        if config.store_every and (step % config.store_every == 0 or last):
            with clock("store"):
                store.save(store.path_of(folder.path, step), rollout)
        if changes:
            with clock("store"):
                measuring.save(measuring.path_of(folder.path, step), step, changes)
        if last or (config.eval_every and step % config.eval_every == 0):
            with clock("eval"):
                row |= evaluated(trainer, folder, step)
        folder.log(row)
        stop = bool(stopped)  # asked once: a signal after this is for the next step, which is then saved
        if last or stop or pace.due(step):
            with clock("save"):
                publish(trainer, folder)
            pace.saved(clock.parts["save"])
        timing = {"step": step, "tokens": int(row["tokens/sampled"]), **clock.row()}
        timing["tokens_per_second"] = timing["tokens"] / timing["seconds"]
        folder.log_timing(timing)
        watch(step, row, timing)
        while trainer.notes:
            say(trainer.notes.pop(0))
        if stop and not last:
            raise Stopped(f"The run in {folder.path} was asked to stop and did so after step {step}, which is saved.")


class Pace:
    """When to save: every so many steps, or (0) as often as keeps the cost of saving below `SHARE`."""

    def __init__(self, every: int) -> None:
        self.every, self.cost, self.at = every, 0.5, time.monotonic()

    def due(self, step: int) -> bool:
        return step % self.every == 0 if self.every else time.monotonic() - self.at > self.cost / SHARE

    def saved(self, cost: float) -> None:
        self.cost, self.at = cost, time.monotonic()


def build(config: Config, folder: RunFolder, settings: precision.Precision, say: Say) -> tuple[Trainer, int]:
    """A trainer at its start or at its newest good checkpoint, and the size that metrics.jsonl had then."""
    chosen, notes = objective(config), []
    found = checkpoint.latest(folder.path, notes)
    for note in notes:
        say(note)
    name = str(found.path) if found else config.model
    policy = load_policy(name, settings.compute, config.device, config.chat)
    # Its config and tokenizer go into every checkpoint, and the one that was loaded here will be pruned.
    policy = dataclasses.replace(policy, source=model_folder(config.model))
    optimizer = torch.optim.AdamW(
        policy.parameters().values(), lr=config.lr, betas=(config.beta1, config.beta2), eps=config.epsilon,
        weight_decay=config.weight_decay, fused=True,
    )  # fmt: skip
    if policy.text.chat and not found:
        say("Prompts are put into the model's chat template; --chat no leaves it out.")
    reference = None
    if wants_reference(chosen):
        reference = load_policy(config.reference or config.model, settings.compute, config.device, chat="no")
    chosen, held = thermostat(config, chosen)
    state: dict[str, Any] = {"step": 0, "next_problem": 0, "controls": {c.knob: c.init() for c in chosen.controls}}
    state |= {"thermostat": held.init() if held else {}, "quiet": {}}
    size = 0
    if found:
        saved = checkpoint.load_state(found.path)
        state, size = saved["trainer"], saved["metrics_bytes"]
        tensors = checkpoint.load_tensors(found.path)
        restore(optimizer, policy.parameters(), tensors)
        if "reference_step" in state:
            reference = from_tensors(policy, tensors)
        say(f"Going on from step {found.step} in {folder.path}.")
    source = open_source(config.train, config.data, config.seed)
    rules = with_rules(config.rules, policy)
    return Trainer(config, chosen, policy, optimizer, source, reference, state, rules, held), size


def objective(config: Config) -> Method:
    """The method, and the correction for the sampler's mismatch where it is asked for."""
    chosen = method(config.method)
    if not config.mismatch_cap:
        return chosen
    correction = functools.partial(truncated_importance, cap=config.mismatch_cap)
    return dataclasses.replace(chosen, weights=(*chosen.weights, correction))


def with_rules(choice: str, policy: Policy) -> bool:
    return choice == "yes" or (choice == "auto" and not policy.knows_rules)


def publish(trainer: Trainer, folder: RunFolder) -> None:
    """One checkpoint, with everything that the next step depends on."""
    state = {"trainer": trainer.state, "metrics_bytes": folder.mark()}
    tensors = optimizer_tensors(trainer.optimizer, trainer.policy.parameters())
    if trainer.reference is not None and "reference_step" in trainer.state:  # else it is in a folder of its own
        tensors |= as_tensors(trainer.reference)
    checkpoint.save(folder.path, trainer.state["step"], trainer.policy.write, tensors, state, trainer.config.keep)


def optimizer_tensors(optimizer: torch.optim.Optimizer, parameters: dict[str, torch.nn.Parameter]) -> dict[str, Tensor]:
    return {
        f"{key}.{name}": value for name, p in parameters.items() for key, value in optimizer.state.get(p, {}).items()
    }


def restore(
    optimizer: torch.optim.Optimizer, parameters: dict[str, torch.nn.Parameter], tensors: dict[str, Tensor]
) -> None:
    for name, p in parameters.items():
        keys = [k for k in ("step", "exp_avg", "exp_avg_sq") if f"{k}.{name}" in tensors]
        if keys:
            optimizer.state[p] = {k: tensors[f"{k}.{name}"].to(p.device) for k in keys}


def first_evaluation(trainer: Trainer, folder: RunFolder, watch: Watch) -> None:
    """Step 0: the model before any update."""
    clock = Clock()
    with clock("eval"):
        row = {"step": 0, **evaluated(trainer, folder, 0)}
    if len(row) > 1:
        folder.log(row)
        folder.log_timing({"step": 0, **clock.row()})
        watch(0, row, clock.row())


def evaluated(trainer: Trainer, folder: RunFolder, step: int) -> dict[str, float]:
    """The metrics of an evaluation, whose responses are stored beside the rollouts."""
    config, problems = trainer.config, test_sets(trainer.config)
    if not problems:
        return {}
    rule = Sampling(config.max_new, config.eval_temperature)
    found = evaluate(
        trainer.policy, problems, config.eval_samples, rule, seed=config.seed, step=step, rules=trainer.rules
    )
    kept = found if config.store_every else trim(found)
    store.save(folder.rollouts / f"eval-{step:06d}.parquet", kept)
    trained = {FILE} if config.data else {name for name, _ in parse_mix(config.train)}
    return eval_metrics(found, trained, config.eval_k)


def not_finite(error: NonFinite, trainer: Trainer, folder: RunFolder) -> str:
    step = trainer.state["step"] + 1
    return (
        f"Step {step} stopped, because the {error.what} is not finite; nothing of it was saved, and the last "
        f"checkpoint in {folder.checkpoints} is good. Lower lr, or let such updates be passed over with "
        "--nonfinite skip."
    )


def own_fault(error: OwnError, step: int, folder: RunFolder) -> str:
    """What the user's own code did, in which step, and where its traceback is."""
    sentence = f"Step {step} stopped. {error} Nothing of the step was saved, and all before it stands"
    if error.__cause__ is None:
        return f"{sentence}."
    with full_disk(folder.path):
        write_whole(folder.traceback, "".join(traceback.format_exception(error.__cause__)))
    return f"{sentence}. The whole traceback is in {folder.traceback}."


@contextmanager
def stop_on_signal() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM finish the step first, and end it at once when they come again.

    Within `TOGETHER` seconds they are one: a shell's Ctrl-C and the demo's SIGTERM, or the two of `timeout`.
    Outside the main thread signals are left alone.
    """
    received: list[int] = []
    first = 0.0

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal first
        first = first if received else time.monotonic()
        received.append(number)
        if time.monotonic() - first > TOGETHER:
            signal.default_int_handler(number, frame)

    try:
        before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread
        before = {}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
