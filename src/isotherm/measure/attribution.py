"""Where the entropy went: the first-order change of an update, split by what can be said of each token.

A split sums values by label, so its parts make up the whole; `whole` adds the same change up along another path.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from isotherm.objective.method import Decision, Method, terms
from isotherm.objective.surrogates import clipped, log_ratio
from isotherm.records import Tokens
from isotherm.tokens import entropy_change

TOP = (0.0002, 0.002, 0.02, 0.2, 0.5, 1.0)  # shares of the tokens (arXiv 2505.22617, table of covariances)
QUADRANTS = ("none", "I", "II", "III", "IV")
SIGNS = ("zero", "positive", "negative")


def split(values: np.ndarray | Tensor, labels: np.ndarray | Sequence) -> dict:
    """The sum of the values that share a label, by label; every value is in exactly one of the sums."""
    names, place = np.unique(np.asarray(labels), return_inverse=True)
    sums = np.bincount(place.reshape(-1), np.asarray(values, np.float64), minlength=len(names))
    return dict(zip(names.tolist(), sums.tolist(), strict=True))


def whole(tokens: Tokens, c: Tensor, *, eta: float = 1.0, temperature: float = 1.0) -> float:
    """sum_t dH_t = -(eta / tau^2) [<c pi, log pi + H> - <c, S2L> - <c, H S2>]: no sum over parts, in float64."""
    t, c = tokens.map(lambda x: x.double()), c.double()
    inner = torch.dot(c * t.logprob.exp(), t.logprob + t.entropy) - torch.dot(c, t.s2l) - torch.dot(c, t.entropy * t.s2)
    return float(inner) * -eta / temperature**2


def in_parameters(pulls: Mapping[str, Tensor], derivatives: Mapping[str, Tensor]) -> Tensor:
    """<-grad loss_t, v> = sum_k pull_kt <grad F_kt, v> of every token, F_k being log pi, H and functionals, in float64.

    Of v = lr grad mean H it is the token's part of the first-order change of the mean entropy of all states, not of
    its own, in a step -lr grad loss; parts of any split sum to lr <-grad loss, grad mean H>.
    """
    return torch.stack([pulls[name].double() * x.double() for name, x in derivatives.items()]).sum(0)


def sign(tokens: Tokens) -> Tensor:
    """The place in SIGNS of the advantage before any shape or weight."""
    return torch.where(tokens.advantage < 0, 2, tokens.advantage.sign().long())


def signs(tokens: Tokens) -> np.ndarray:
    return np.array(SIGNS)[sign(tokens).numpy()]


def quadrants(tokens: Tokens, boundary: str = "exact") -> np.ndarray:
    """I to IV of arXiv 2510.10150, none where A = 0."""
    return np.array(QUADRANTS)[entropy_change.quadrants(tokens, boundary).numpy()]


def clip_regions(tokens: Tokens, *, low: float, high: float) -> np.ndarray:
    """Where the ratio lies: inside, or below or above the clip range; stopped where that takes the gradient away."""
    r = log_ratio(tokens).exp()
    place = 1 * (r < 1 - low) + 2 * (r > 1 + high) + 2 * clipped(tokens, low=low, high=high)
    return np.array(["inside", "below", "above", "below, stopped", "above, stopped"])[place.numpy()]


def positions(position: np.ndarray | Tensor) -> np.ndarray:
    """0, 1, 2-3, 4-7, ...: the place in the response, by powers of two, with leading zeros so that names sort."""
    power = np.frexp(np.asarray(position, np.float64))[1]  # 0 for 0, else floor(log2) + 1
    names = ["00000", "00001", *(f"{2 ** (k - 1):05d}-{2**k - 1:05d}" for k in range(2, int(power.max(initial=0)) + 1))]
    return np.array(names)[power]


def covariance_ranks(cov: np.ndarray) -> np.ndarray:
    """The band of the token's covariance among all: the top 0.02 %, from there to 0.2 %, 2 %, 20 %, 50 %, the rest.

    Bands are cut at ceil(share T), so that the first holds at least one token; ties stand in the order of the stream.
    """
    rank = np.empty(len(cov), np.int64)
    rank[np.argsort(-cov, kind="stable")] = np.arange(len(cov))
    ends = [top_count(share, len(cov)) for share in TOP]
    names = [f"{k}: to {100 * share:g} %" for k, share in enumerate(TOP)]
    return np.array(names)[np.searchsorted(ends, rank, side="right")]


def top_count(share: float, count: int) -> int:
    """ceil(share T), with no more than the rounding of the product forgiven."""
    return math.ceil(share * count - 1e-9)


def covariance_table(cov: np.ndarray) -> dict[float, float]:
    """The mean covariance of the top 0.02 %, 0.2 %, 2 %, 20 %, 50 % and of all tokens (arXiv 2505.22617)."""
    ordered = np.sort(np.asarray(cov, np.float64))[::-1]
    return {share: float(ordered[: top_count(share, len(cov))].mean()) for share in TOP} if len(cov) else {}


def losses(tokens: Tokens, method: Method, decision: Decision) -> Tensor:
    """The loss of each token: -N w f(r, A), and N c cost of every penalty."""
    return torch.stack(terms(tokens, method, decision)).sum(0)


def gradient_norms(tokens: Tokens, c: Tensor, *, temperature: float = 1.0) -> Tensor:
    """|d loss_t / d z| = |c| |e_a - pi| / tau = |c| sqrt(1 - 2 pi + S2) / tau, at the logits of the token's state."""
    square = 1 - 2 * tokens.logprob.exp() + tokens.s2
    return c.abs() * square.clamp_min(0).sqrt() / temperature


def share_of_positive(tokens: Tokens, value: Tensor) -> float:
    """The part of sum |value| that tokens with A > 0 carry; 0 where there is nothing to share."""
    size = value.double().abs()
    total = float(size.sum())
    return float(size[tokens.advantage > 0].sum()) / total if total else 0.0
