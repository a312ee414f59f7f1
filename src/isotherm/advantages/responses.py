"""What an estimator may ask of the responses beside reward and group: it names them as keyword parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from torch import Tensor

from isotherm.advantages.history import Past, needs_past, recalled
from isotherm.own import one_each, owned
from isotherm.records import Rollout


def estimate(estimator: Callable[..., Tensor], reward: Tensor, group: Tensor, **columns: Tensor) -> Tensor:
    """One advantage per response, from the reward, the group, and those of the columns that the estimator names."""
    asked = inspect.signature(estimator).parameters
    with owned(estimator):
        found = estimator(reward, group, **{name: column for name, column in columns.items() if name in asked})
    return one_each(estimator, found, len(reward), "response")


def advantages(estimator: Callable[..., Tensor], rollout: Rollout, past: Past | None = None) -> Tensor:
    """The same of a rollout.

    length: response tokens; likelihood: mean log-prob of a response under its sampler; past: of `history.py`.
    """
    length = torch.from_numpy(rollout.length)
    logprob = torch.from_numpy(rollout.logprob).double()
    real = torch.arange(logprob.shape[1]) < length[:, None]
    likelihood = torch.where(real, logprob, 0.0).sum(1) / length.clamp_min(1)
    reward, group = torch.from_numpy(rollout.reward), torch.from_numpy(rollout.group)
    columns = {"past": recalled(past or {}, rollout)} if needs_past(estimator) else {}
    return estimate(estimator, reward, group, length=length, likelihood=likelihood, **columns)
