"""Selections aligned: verl's draw of Clip-Cov is given Isotherm's order, verl's choice of KL-Cov is compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from verl.trainer.ppo import core_algos

from agree_batches import Batch, Check, Errors, stream
from isotherm.objective.compose import method
from isotherm.objective.interventions import entropy_mechanism
from isotherm.objective.method import decide
from isotherm.objective.surrogates import clipped
from isotherm.tokens.draws import uniform
from isotherm.tokens.stream import flatten


class Aligned:
    """Clip-Cov draws by `torch.randperm` among its candidates, KL-Cov takes `torch.topk`; both are watched here.

    The draw is given Isotherm's order of the candidates, which must be as many as verl found. What KL-Cov took must be
    the tokens that Isotherm takes.
    """

    def __init__(self, batch: Batch, expression: str) -> None:
        self.expression, self.wrong = expression, 0
        self.tokens = stream(batch, *(flatten(x, batch.length) for x in (batch.logprob, batch.entropy)))
        self.decision = decide(self.tokens, method(expression))
        self.topk = torch.topk
        self.candidates = 0

    def randperm(self, n: int) -> Tensor:
        part = method(self.expression).weights[0]
        given: dict[str, Any] = part.keywords
        cov = entropy_mechanism.covariance(self.tokens)
        window = (cov > given["low"]) & (cov < given["high"])
        window &= ~clipped(self.tokens, low=given["clip_low"], high=given["clip_high"])
        self.candidates = int(window.sum())
        self.wrong += self.candidates != n
        return uniform(self.tokens.key, salt=1)[window].argsort() if self.candidates == n else torch.arange(n)

    def taken(self, values: Tensor, count: int, **options: Any) -> Any:
        found = self.topk(values, count, **options)
        chosen = self.decision.penalties[0].nonzero().squeeze(1)
        self.candidates = count
        self.wrong += set(found.indices.tolist()) != set(chosen.tolist())
        return found

    def watch(self) -> Any:
        return mock.patch.multiple(core_algos.torch, randperm=self.randperm, topk=self.taken)


def aligned(check: Check, batch: Batch, expression: str, errors: Errors, run: Callable[[], Any]) -> Any:
    if not check.name.endswith("_cov"):
        return run()
    seen = Aligned(batch, expression)
    with seen.watch():
        result = run()
    for note, found in {"selected": int(bool(seen.candidates)), "other selections": seen.wrong}.items():
        errors.notes[note] = errors.notes.get(note, 0) + found
    return result
