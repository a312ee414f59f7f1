"""A step of AdamW (Loshchilov, Hutter, arXiv 1711.05101, Algorithm 2) along a gradient that is cut to a norm.

`torch.optim.AdamW` keeps the settings and the moments, and takes the step where the compiled functions do not fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from isotherm import native

Optimizer = torch.optim.Optimizer
Finite = dict[str, Tensor | float]  # numbers by the name of what they stand for: finite where all of it is


def fits(*tensors: Tensor) -> bool:
    return all(x.dtype == torch.float32 for x in tensors) and native.fits(*tensors)


def total_norm(gradient: Sequence[Tensor]) -> Tensor:
    """The norm of all of them together."""
    if not fits(*gradient):
        return torch.nn.utils.get_total_norm(gradient)
    table = torch.tensor([(g.data_ptr(), g.numel()) for g in gradient], dtype=torch.int64)
    found = torch.empty((), dtype=torch.float64)
    native.call("sum_of_squares", table, len(gradient), found)
    return found.sqrt_()


def step(optimizer: Optimizer, norm: Tensor, largest: float) -> Finite:
    """Along the gradient, whose norm is `norm`, or `largest` where that is smaller and not 0; it is then forgotten."""
    moved = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    if isinstance(optimizer, torch.optim.AdamW) and fits(*moved, *(p.grad for p in moved)):
        clip = min(1.0, largest / (float(norm) + 1e-6)) if largest else 1.0
        finite = step_compiled(optimizer, clip)
    else:
        if largest:
            torch.nn.utils.clip_grads_with_norm_(moved, largest, norm)
        optimizer.step()
        finite = sums(optimizer)
    optimizer.zero_grad(set_to_none=True)
    return finite


def step_compiled(optimizer: Optimizer, clip: float) -> Finite:
    """The same in one pass over memory (`native/adamw.c`)."""
    bad = 0
    for group in optimizer.param_groups:
        rows = [row(p, p.grad, optimizer.state[p]) for p in group["params"] if p.grad is not None]
        rule = group["lr"], *group["betas"], group["eps"], group["weight_decay"], clip
        table, settings = torch.tensor(rows, dtype=torch.int64), torch.tensor(rule, dtype=torch.float64)
        bad |= native.call("adamw", table, len(rows), settings)
    return {"weights": math.nan if bad & 1 else 0.0, "optimizer_state": math.nan if bad & 2 else 0.0}


def row(p: Tensor, grad: Tensor, state: dict[str, Any]) -> list[int]:
    """`struct parameter`; the state begins as torch's does."""
    if not state:
        state |= {"step": torch.zeros(()), "exp_avg": torch.zeros_like(p), "exp_avg_sq": torch.zeros_like(p)}
    tensors = p, grad, state["exp_avg"], state["exp_avg_sq"], state["step"]
    return [*(x.data_ptr() for x in tensors), p.numel()]


def sums(optimizer: Optimizer) -> Finite:
    """Of the weights, and of the state."""
    weights = [p.detach() for group in optimizer.param_groups for p in group["params"]]
    state = [x for s in optimizer.state.values() for x in s.values()]
    found = {"weights": weights, "optimizer_state": state}
    return {name: torch.stack([x.sum().cpu() for x in xs]).sum() for name, xs in found.items() if xs}
