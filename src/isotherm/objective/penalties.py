"""Costs added to the loss, and the coefficients that say where."""

from __future__ import annotations

import torch
from torch import Tensor

from isotherm.objective.factors import Part, bare, reads
from isotherm.objective.surrogates import log_ratio
from isotherm.records import Tokens


def entropy_bonus(tokens: Tokens, *, c: float) -> Tensor:
    """The coefficient c of -H on every token."""
    return torch.full_like(tokens.advantage, c)


def reference_kl(tokens: Tokens, *, c: float) -> Tensor:
    """The coefficient c of KL(pi | pi_ref) on every token."""
    return torch.full_like(tokens.advantage, c)


@reads("entropy")
def negative_entropy(tokens: Tokens) -> Tensor:
    """-H, with its gradient through the exact entropy (A3C, arXiv 1602.01783, sec. 4)."""
    return -tokens.entropy


@reads("probability")
def divergence(tokens: Tokens, *, estimator: str = "k3", most: float = 0.0, weight: str = "none") -> Tensor:
    """KL(pi | pi_ref) from one sample, with x = log pi_ref - log pi (Schulman 2020).

    k1 = -x, k2 = x^2 / 2, k3 = e^x - 1 - x (k3 in GRPO, arXiv 2402.03300, eq. 4); x is held within +-20, and the cost,
    flat beyond, within +-most; most = 0 is no bound. weight = ratio gives r times the cost, whose gradient with k3 is
    -x at r = 1, and without bias off the old policy (DeepSeek-V3.2, arXiv 2512.02556).
    """
    if tokens.ref_logprob is None:
        raise ValueError("a reference KL needs the reference's log-probabilities")
    x = (tokens.ref_logprob - tokens.logprob).clamp(-20, 20)
    costs = {"k1": lambda: -x, "k2": lambda: x * x / 2, "k3": lambda: torch.expm1(x) - x}
    cost = costs[estimator]()
    cost = cost.clamp(-most, most) if most else cost
    return cost * log_ratio(tokens).exp() if weight == "ratio" else cost


divergence.reads_reference = True  # pyright: ignore[reportFunctionMemberAccess]


def needs_reference(part: Part) -> bool:
    """Whether a part reads the frozen reference."""
    return getattr(bare(part), "reads_reference", False)
