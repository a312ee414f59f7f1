"""The nouns that travel down the pipeline: Problem, Verdict, Rollout, Tokens."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # torch takes seconds to import, and tasks need none of it
    from torch import Tensor


class Verdict(enum.Enum):
    """What a verifier found. ERROR means that the verifier itself failed, never that the answer is wrong."""

    CORRECT = "correct"
    WRONG = "wrong"
    UNPARSED = "unparsed"
    ERROR = "error"


@dataclass(frozen=True)
class Problem:
    """One question. `key` names its mathematical content, so two wordings of one problem share a key."""

    family: str
    level: int
    key: str
    prompt: str
    data: dict[str, Any]  # JSON values only: what the family's verifier needs


@dataclass(frozen=True)
class Rollout:
    """The groups of responses of one step. Row b answers problem `group[b]`; rows of a group are contiguous."""

    step: int
    problems: list[Problem]  # [G]
    prompts: list[list[int]]  # [G] token ids
    group: np.ndarray  # [B] int64, index into problems
    sample: np.ndarray  # [B] int64, number of the sample within its group
    ids: np.ndarray  # [B, T] int64, right-padded with 0; the end-of-text token is part of the response
    length: np.ndarray  # [B] int64
    finished: np.ndarray  # [B] bool, False where the response ran into the length limit
    logprob: np.ndarray  # [B, T] float32, of the sampler, at the sampling temperature
    entropy: np.ndarray  # [B, T] float32, exact, of the sampler, at the sampling temperature
    s2: np.ndarray  # [B, T] float32, sum_v pi_v^2 of the sampler
    s2l: np.ndarray  # [B, T] float32, sum_v pi_v^2 log pi_v of the sampler
    texts: list[str]  # [B]
    verdicts: list[Verdict]  # [B]
    reward: np.ndarray  # [B] float64

    def rows(self, keep: np.ndarray) -> Rollout:
        """The same rollout with only the rows where `keep` is true; problems keep their numbers."""
        index = np.flatnonzero(keep)
        arrays = {
            f.name: getattr(self, f.name)[index]
            for f in dataclasses.fields(self)
            if isinstance(getattr(self, f.name), np.ndarray)
        }
        texts, verdicts = [self.texts[i] for i in index], [self.verdicts[i] for i in index]
        return dataclasses.replace(self, texts=texts, verdicts=verdicts, **arrays)


@dataclass(frozen=True)
class Tokens:
    """The flat stream of response tokens of one batch: no prompt, no padding. Every tensor has shape [tokens].

    Log-probabilities and entropies are in nats, at the sampling temperature. Three log-probabilities are kept
    apart: of the current policy, of the policy that scored the batch (`old`), and of the sampler.
    """

    logprob: Tensor  # log pi, differentiable inside the loss
    entropy: Tensor  # exact H over the whole vocabulary, differentiable inside the loss
    s2: Tensor  # sum_v pi_v^2
    s2l: Tensor  # sum_v pi_v^2 log pi_v
    old_logprob: Tensor  # log pi_old
    sampler_logprob: Tensor
    advantage: Tensor  # of the response, before any shape or weight
    sequence: Tensor  # int64, number of the response within the optimizer batch
    group: Tensor  # int64, number of the problem
    position: Tensor  # int64, 0 for the first response token
    key: Tensor  # int64, hash of (seed, step, problem, sample, position): settles ties and draws
    ref_logprob: Tensor | None = None  # of the frozen reference, where a penalty asks for it
    old_entropy: Tensor | None = None  # exact H of the policy that scored the batch
    extra: dict[str, Tensor] = field(default_factory=dict)  # functionals of pi that a part asked for, differentiable

    def __len__(self) -> int:
        return self.logprob.shape[0]

    def where(self, keep: Tensor | slice) -> Tokens:
        """The tokens of a slice, or where the boolean `keep` is true."""
        return self.map(lambda x: x[keep])

    def detach(self) -> Tokens:
        return self.map(lambda x: x.detach())

    def map(self, f: Callable[..., Tensor], *others: Tokens) -> Tokens:
        """f of each column, or of this one's and the others' of that name."""
        mapped: dict[str, Any] = {}
        for name in (f_.name for f_ in dataclasses.fields(self)):
            column, *rest = (getattr(tokens, name) for tokens in (self, *others))
            if isinstance(column, dict):
                mapped[name] = {key: f(x, *(extra[key] for extra in rest)) for key, x in column.items()}
            else:
                mapped[name] = None if column is None else f(column, *rest)
        return Tokens(**mapped)
