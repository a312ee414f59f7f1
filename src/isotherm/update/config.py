"""The settings of a run: one frozen dataclass, checked alike from the command line, files and Python."""

from __future__ import annotations

import dataclasses
import functools
import math
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from isotherm.errors import UserError
from isotherm.objective.lines import as_text
from isotherm.update.values import coerced, suggestion


def setting(
    default: Any, section: str, help: str, *, choices: tuple = (), low: float = -math.inf, high: float = math.inf
):
    """A field of Config with what its user needs to know; numbers must lie in [low, high]."""
    return field(
        default=default, metadata={"section": section, "help": help, "choices": choices, "low": low, "high": high}
    )


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that decides what a run computes.

    Two runs of one Config and one precision (environment.json) on one machine are bit-identical.
    """

    # model
    model: str = setting("builtin", "model", "'builtin', or the folder of a Hugging Face causal language model")
    dtype: str = setting(
        "auto",
        "model",
        "precision of matrix products; auto measures which is faster here",
        choices=("auto", "float32", "bfloat16"),
    )
    kernels: str = setting(
        "auto",
        "model",
        "the model's inner loops: compiled (needs a C compiler), plain PyTorch, or compiled where that can be had",
        choices=("auto", "compiled", "plain"),
    )
    device: str = setting("cpu", "model", "where to train", choices=("cpu", "cuda"))
    threads: int = setting(1, "model", "CPU threads of this run", low=1, high=1024)

    # problems
    train: str = setting("countdown:2", "problems", "families to train on, each with a level")
    held_out: str = setting("fill:2,ladder:2,route:3", "problems", "families that are only evaluated; empty for none")
    data: str = setting("", "problems", "a JSON-lines file of prompts and answers to train on instead of the families")
    rules: str = setting(
        "auto",
        "problems",
        "put the family's rules before each prompt; auto does so unless the model was made by `isotherm pretrain`",
        choices=("auto", "yes", "no"),
    )
    chat: str = setting(
        "auto",
        "problems",
        "put the model's chat template around each prompt; auto does so where the model folder has one",
        choices=("auto", "yes", "no"),
    )

    # rollout
    prompts: int = setting(32, "rollout", "problems per step", low=1, high=2**16)
    group: int = setting(8, "rollout", "responses per problem", low=1, high=2**16)
    max_new: int = setting(48, "rollout", "longest response, in tokens", low=1, high=2**20)
    temperature: float = setting(1.0, "rollout", "sampling temperature", low=1e-3, high=100)
    top_p: float = setting(
        1.0, "rollout", "sample from the smallest set of tokens with this probability; 1 is off", low=1e-6, high=1
    )
    top_k: int = setting(0, "rollout", "sample from the k likeliest tokens; 0 is off", low=0)
    signal: str = setting(
        "drop",
        "rollout",
        "groups whose rewards are all equal: drop them, keep them, or refill by sampling other problems",
        choices=("drop", "keep", "refill"),
    )
    refill_rounds: int = setting(
        3, "rollout", "most extra rounds of sampling per step under signal=refill", low=1, high=100
    )
    overlong: str = setting(
        "keep",
        "rollout",
        "responses that hit max_new: keep as wrong, mask out of the loss, or punish softly near the limit",
        choices=("keep", "mask", "soft"),
    )
    overlong_buffer: int = setting(
        16, "rollout", "tokens before max_new in which the soft punishment grows from 0 to 1", low=1
    )
    mismatch_cap: float = setting(
        0.0, "rollout", "truncated importance sampling between sampler and scorer, the largest weight; 0 is off", low=0
    )
    replay: str = setting("", "rollout", "a run folder whose stored rollouts are used instead of sampling")

    # objective
    method: str = setting(
        "grpo",
        "objective",
        "the objective, e.g. 'grpo' or 'clip_higher + par(schedule=guided)'; `isotherm methods` lists them",
    )
    hold_entropy: str = setting(
        "",
        "objective",
        "hold the entropy on a line, in nats: 0.3, 'linear(start, 0.2)', 'cosine(0.5, 0.2)' or 'points(0.5, 0.3, 0.3)'",
    )
    hold_by: str = setting(
        "",
        "objective",
        "the knob that holds it, or several in order: temperature, or e.g. par.neg; empty: the method's",
    )
    statistics: str = setting(
        "current",
        "objective",
        "means, quantiles and selections are taken over the batch under the current policy (exact), under the one that "
        "scored it (free), or over each micro-batch alone (as other frameworks do, to reproduce them)",
        choices=("current", "scoring", "micro"),
    )
    scored_by: str = setting(
        "trainer",
        "objective",
        "whose numbers are pi_old before several updates: the trainer's, from a pass more, or the sampler's own",
        choices=("trainer", "sampler"),
    )
    reference: str = setting(
        "", "objective", "model folder of the frozen reference for reference KL; empty means the starting model"
    )
    reference_every: int = setting(
        0, "objective", "steps after which the policy becomes the reference, again and again (ProRL); 0 is never", low=0
    )

    # update
    steps: int = setting(125, "update", "rollouts to train on", low=1, high=10**8)
    updates: int = setting(4, "update", "optimizer steps per rollout (mini-batches)", low=1)
    micro_batch: int = setting(
        0, "update", "responses per forward and backward pass; 0 takes the whole mini-batch at once", low=0
    )
    lr: float = setting(1.5e-4, "update", "learning rate of AdamW", low=0, high=1)
    schedule: str = setting(
        "constant", "update", "learning rate over the run", choices=("constant", "linear", "cosine")
    )
    warmup: int = setting(0, "update", "steps of linear warm-up", low=0, high=10**8)
    beta1: float = setting(0.9, "update", "AdamW's first decay", low=0, high=0.99999)
    beta2: float = setting(0.99, "update", "AdamW's second decay", low=0, high=0.99999)
    epsilon: float = setting(1e-8, "update", "AdamW's epsilon", low=0, high=1)
    weight_decay: float = setting(0.0, "update", "AdamW's weight decay", low=0, high=10)
    clip_grad: float = setting(1.0, "update", "largest gradient norm; 0 is off", low=0)
    nonfinite: str = setting(
        "stop",
        "update",
        "NaN or infinity in reward, advantage, log-prob, loss or gradient: stop, or skip that update",
        choices=("stop", "skip"),
    )

    # evaluation
    eval_every: int = setting(
        65, "evaluation", "steps between evaluations on held-out problems; 0 evaluates only before and after", low=0
    )
    eval_problems: int = setting(
        32, "evaluation", "problems per family; 0 is off, for eval_data too", low=0, high=10**5
    )
    eval_samples: int = setting(16, "evaluation", "responses per problem", low=1, high=2**16)
    eval_k: tuple[int, ...] = setting((1, 4, 16), "evaluation", "the k of pass@k; each at most eval_samples", low=1)
    eval_data: str = setting("", "evaluation", "a JSON-lines file of prompts and answers to evaluate on as well")
    eval_temperature: float = setting(1.0, "evaluation", "sampling temperature of evaluations", low=1e-3, high=100)

    # run
    seed: int = setting(0, "run", "of everything that is drawn", low=0, high=2**31 - 1)
    out: str = setting("", "run", "the run's folder; empty means runs/<method>-seed<seed>")
    save_every: int = setting(
        0, "run", "steps between checkpoints; 0 means as often as costs less than 5 % of the time", low=0
    )
    keep: int = setting(2, "run", "checkpoints to keep; 0 keeps all", low=0)
    store_every: int = setting(
        1, "run", "steps between stored rollouts; 0 stores none, and of evaluations only the first responses", low=0
    )
    measure_every: int = setting(
        40, "run", "steps between measurements of what each update did to the entropy, token by token; 0 is off", low=0
    )
    measure_in: str = setting(
        "logits",
        "run",
        "where each token's part in a measured update is computed: at the logits of its own state, or in the space of "
        "the parameters as well, and with it exactly how much the method changes the gradient, at a few times the cost",
        choices=("logits", "parameters"),
    )
    sinks: tuple[str, ...] = setting(
        (), "run", "also log to these trackers", choices=("trackio", "wandb", "tensorboard")
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "hold_entropy", as_text(self.hold_entropy, coerce("steps", self.steps)))
        for f in dataclasses.fields(self):
            object.__setattr__(self, f.name, coerce(f.name, getattr(self, f.name)))
        check_together(self)


RESPONSES = 2**20  # of a rollout
HINTS = typing.get_type_hints(Config)
FIELDS = {f.name: f for f in dataclasses.fields(Config)}


def check_together(config: Config) -> None:
    """What no single field can tell."""
    if max(config.eval_k, default=1) > config.eval_samples:
        raise UserError(
            f"eval_k has {max(config.eval_k)}, but pass@k needs k at most eval_samples, which is {config.eval_samples}."
        )
    if config.prompts * config.group > RESPONSES:
        raise UserError(
            f"prompts is {config.prompts} and group {config.group}, but a step takes at most {RESPONSES} responses."
        )
    if not config.replay and config.updates > config.prompts * config.group:
        raise UserError(
            f"updates is {config.updates}, but a step has only {config.prompts * config.group} responses (prompts x "
            "group) to share among them."
        )
    if config.overlong == "soft" and config.overlong_buffer > config.max_new:
        raise UserError(
            f"overlong_buffer is {config.overlong_buffer}, but must be at most max_new, which is {config.max_new}."
        )
    if config.replay and config.signal == "refill":
        raise UserError(
            "replay uses stored rollouts, so signal=refill cannot sample more; choose signal=drop or signal=keep."
        )


def require_known(name: str) -> None:
    if name not in FIELDS:
        raise UserError(f"There is no setting named {name!r}.{suggestion(name, FIELDS)}")


def refusing_unknown(init: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(init)
    def checked(self: Config, **values: Any) -> None:
        for name in values:
            require_known(name)
        init(self, **values)

    return checked


Config.__init__ = refusing_unknown(Config.__init__)


def coerce(name: str, value: Any) -> Any:
    """The value as the setting's type, or one sentence that says what it takes."""
    require_known(name)
    return coerced(name, HINTS[name], value, FIELDS[name].metadata)


def override(config: Config, values: dict[str, Any]) -> Config:
    """The config with some settings replaced; unknown names are refused with a suggestion."""
    for name in values:
        require_known(name)
    return dataclasses.replace(config, **values)


def as_dict(config: Config) -> dict[str, Any]:
    """JSON-ready settings in the order of their declaration."""
    return {name: plain(getattr(config, name)) for name in FIELDS}


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else str(value) if isinstance(value, str) else value
