"""The change of a state's entropy when its logits move or one sampled token is pushed, and the four quadrants.

Throughout, c = -d loss / d log pi of the token (I_clip r A for PPO) and eta is the step on the logits. The covariance
of a batch, the fifth estimator, is in `objective/interventions/entropy_mechanism.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from isotherm.records import Tokens


def of_logits(logp: Tensor, dz: Tensor, *, temperature: float = 1.0) -> Tensor:
    """dH ~ -Cov_{a~pi}(log pi(a), dz(a)) / tau of a step dz on the logits [..., V] (arXiv 2505.22617, lemma)."""
    p, centred = logp.exp(), dz - (logp.exp() * dz).sum(-1, keepdim=True)
    return -(p * logp * centred).sum(-1) / temperature


def of_policy_gradient(logp: Tensor, advantage: Tensor, *, eta: float = 1.0) -> Tensor:
    """dH ~ -eta Cov_{a~pi}(log pi, pi A), A [..., V] of every action (2505.22617, theorem 1).

    A is centred under pi here: the paper's A is an advantage already, and without that the error is first order.
    """
    p = logp.exp()
    return of_logits(logp, eta * p * (advantage - (p * advantage).sum(-1, keepdim=True)))


def of_natural_gradient(logp: Tensor, advantage: Tensor, *, eta: float = 1.0) -> Tensor:
    """dH ~ -eta Cov_{a~pi}(log pi, A) (2505.22617, theorem 2)."""
    return of_logits(logp, eta * advantage)


def published(tokens: Tokens, c: Tensor, *, eta: float = 1.0) -> Tensor:
    """dH ~ -eta c pi (1 - pi) (log pi + H), with c = I_clip r A (STEER, arXiv 2510.10150, eq. of Omega)."""
    pi = tokens.logprob.exp()
    return -eta * c * pi * (1 - pi) * (tokens.logprob + tokens.entropy)


def released(tokens: Tokens, c: Tensor, *, eta: float = 1.0) -> Tensor:
    """dH ~ -eta c (1 - pi) (log pi + H): the code of arXiv 2510.10150, whose c = r A has no clip indicator."""
    return -eta * c * (1 - tokens.logprob.exp()) * (tokens.logprob + tokens.entropy)


def printed(tokens: Tokens, c: Tensor, *, eta: float = 1.0) -> Tensor:
    """dH ~ -eta c (1 - pi)^2 (log pi + H), the sampled token in place of the mean (arXiv 2510.10150, eq. 14)."""
    return -eta * c * (1 - tokens.logprob.exp()) ** 2 * (tokens.logprob + tokens.entropy)


def exact(tokens: Tokens, c: Tensor, *, eta: float = 1.0, temperature: float = 1.0) -> Tensor:
    """dH = -(eta c / tau^2) [pi (log pi + H) - S2L - H S2] + O(eta^2): the first order of a softmax, in no paper.

    The push is z <- z + eta c (e_a - pi) / tau. Where tokens share parameters it is a prediction up to one scale.
    """
    return -(eta / temperature**2) * c * excess(tokens)


def excess(tokens: Tokens) -> Tensor:
    """pi (log pi + H) - E_v~pi[pi_v (log pi_v + H)], the mean being S2L + H S2."""
    logprob, h = tokens.logprob, tokens.entropy
    return logprob.exp() * (logprob + h) - tokens.s2l - h * tokens.s2


def own_push(tokens: Tokens, c: Tensor, s2ll: Tensor, *, eta: float = 1.0, temperature: float = 1.0) -> Tensor:
    """dH = (eta c / tau^2) sum_v pi_v^2 (log pi_v + H)^2 of a push c = -d loss / d H on the entropy itself.

    The push is z <- z + eta c dH/dz, and dH/dz_v = -pi_v (log pi_v + H) / tau; S2LL is sum_v (pi_v log pi_v)^2.
    """
    h = tokens.entropy
    return (eta / temperature**2) * c * (s2ll + 2 * h * tokens.s2l + h * h * tokens.s2)


def squared_surprisal(logp: Tensor) -> Tensor:
    """S2LL = sum_v (pi_v log pi_v)^2 of rows of log pi, with 0 log 0 = 0."""
    return (logp.exp() * logp.clamp_min(torch.finfo(logp.dtype).min)).square().sum(-1)


def sharpening(tokens: Tokens, boundary: str = "exact") -> Tensor:
    """True where more of the token lowers H. published: pi > exp(-H); exact: pi (log pi + H) > S2L + H S2."""
    sides = {"published": lambda: tokens.logprob + tokens.entropy, "exact": lambda: excess(tokens)}
    if boundary not in sides:
        raise ValueError(f"the boundary cannot be {boundary!r}; valid are {', '.join(sides)}")
    return sides[boundary]() > 0


def quadrants(tokens: Tokens, boundary: str = "exact") -> Tensor:
    """1: A > 0, high pi, H falls. 2: A > 0, low pi, H rises. 3: A < 0, low pi, H falls. 4: A < 0, high pi, H rises.

    0 where A = 0. The four are of arXiv 2510.10150; `boundary` says which pi are high.
    """
    high = sharpening(tokens, boundary)
    positive, negative = torch.where(high, 1, 2), torch.where(high, 4, 3)
    found = torch.where(tokens.advantage > 0, positive, negative)
    return torch.where(tokens.advantage == 0, 0, found)


def of_entropy_slope(tokens: Tokens, e: Tensor, *, eta: float = 1.0, temperature: float = 1.0) -> Tensor:
    """dH = (eta e / tau^2) pi (log pi + H)^2, with e = -d loss / d H of the token: one sample of the first order.

    The push is z <- z + eta e dH/dz with dH/dz_v = -pi_v (log pi_v + H) / tau, so that dH is eta e / tau^2 times
    sum_v pi_v^2 (log pi_v + H)^2, the mean under pi of what stands here.
    """
    return eta / temperature**2 * e * tokens.logprob.exp() * (tokens.logprob + tokens.entropy) ** 2
