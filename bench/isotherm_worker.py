"""Isotherm's Trainer, one step at a time, on the model and the prompts that TRL gets."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import torch

import isotherm
from isotherm.objective.compose import method
from isotherm.policy.model import load_policy
from isotherm.records import Problem, Rollout
from isotherm.rollout.source import Source
from isotherm.update import precision
from isotherm.update.clock import Clock
from isotherm.update.config import Config
from isotherm.update.loop import Trainer
from stepping import Link, Meter, reward_of


class MeterClock(Clock):
    """The trainer's clock, with CPU seconds beside the wall's."""

    def __init__(self) -> None:
        super().__init__()
        self.meter = Meter()

    def __call__(self, part: str):
        return self.meter(part)


class Hashed(Trainer):
    """Rewards that give a share of the groups signal."""

    signal: float = 1.0

    def reward(self, rollout: Rollout) -> Rollout:
        prompts = [rollout.problems[g].prompt for g in rollout.group]
        rewards = [reward_of(*pair, self.signal) for pair in zip(prompts, rollout.texts, strict=True)]
        return dataclasses.replace(rollout, reward=np.array(rewards))


def build(a: argparse.Namespace) -> tuple[Trainer, precision.Precision]:
    """The trainer as `isotherm train` builds it, in the asked precision of products."""
    config = Config(
        model=str(a.model), dtype=a.dtype, prompts=a.prompts, group=a.group, max_new=a.new, updates=1, signal="keep",
        lr=a.lr, steps=10**6,
    )  # fmt: skip
    chosen = precision.choose(a.dtype, 1, a.width, "cpu", a.kernels)
    chosen.use()
    policy = load_policy(config.model, chosen.compute)
    optimizer = torch.optim.AdamW(
        policy.parameters().values(), lr=config.lr, betas=(config.beta1, config.beta2), eps=config.epsilon,
        weight_decay=config.weight_decay, fused=True,
    )  # fmt: skip
    lines = (a.model / "prompts.txt").read_text().splitlines()
    rows = [Problem(family="file", level=0, key=line, prompt=line, data={"answer": "0"}) for line in lines]
    state = {"step": 0, "next_problem": 0, "controls": {}, "thermostat": {}, "quiet": {}}
    trainer = Hashed(config, method(config.method), policy, optimizer, Source((), 0, rows), None, state)
    trainer.signal = a.signal
    return trainer, chosen


def main() -> None:
    link = Link()
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"))
    parser.add_argument("--kernels", choices=("compiled", "plain"))
    parser.add_argument("--signal", type=float)
    parser.add_argument("--lr", type=float)
    for name in ("prompts", "group", "new", "width"):
        parser.add_argument(f"--{name}", type=int)
    a = parser.parse_args()
    torch.manual_seed(0)
    trainer, chosen = build(a)
    count = sum(p.numel() for p in trainer.policy.parameters().values())
    versions = {"torch": torch.__version__, "isotherm": isotherm.__version__}
    link.tell(parameters=count, matmul=chosen.matmul, versions=versions)
    while True:
        link.wait()
        clock = MeterClock()
        with clock.meter("step"):
            _, rollout, _ = trainer.step(clock)
        link.tell(parts=clock.meter.step_parts(), lengths=sorted(set(rollout.length.tolist())))


if __name__ == "__main__":
    main()
