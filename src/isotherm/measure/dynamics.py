"""What an update does to the entropy of the states it is made of: what each estimator predicts of it.

The mean entropy of T states has T terms, and the loss is a sum with the normalizer in c. A token predicts its state's
change with eta = lr T, so that the mean over the tokens is the update's, whatever the size of the batch. The step on
the logits is not known where tokens share parameters: predictions are up to one scale per run (`measure/agreement.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from isotherm.measure.attribution import QUADRANTS, SIGNS, gradient_norms, losses, share_of_positive, sign
from isotherm.objective.idle import plain_push, relative
from isotherm.objective.interventions.entropy_mechanism import covariance
from isotherm.objective.method import Decision, Method
from isotherm.objective.prediction import push
from isotherm.objective.surrogates import log_ratio
from isotherm.records import Tokens
from isotherm.tokens.entropy_change import exact, printed, published, quadrants, released

ESTIMATORS = ("covariance", "published", "released", "printed", "exact")


def predictions(tokens: Tokens, c: Tensor, *, lr: float, temperature: float) -> dict[str, Tensor]:
    """dH of every state by each of the five; `released` takes r A for c, and the covariance takes no c at all."""
    eta = lr * len(tokens)
    return {
        "covariance": -lr * covariance(tokens),
        "published": published(tokens, c, eta=eta),
        "released": released(tokens, log_ratio(tokens).exp() * tokens.advantage, eta=lr),
        "printed": printed(tokens, c, eta=eta),
        "exact": exact(tokens, c, eta=eta, temperature=temperature),
    }


def along_step(gradient: Sequence[Tensor], before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    """<grad_theta mean H, theta_new - theta_old>, in float64."""
    parts = zip(gradient, before, after, strict=True)
    return sum(float((g.double() * (new.double() - old.double())).sum()) for g, old, new in parts)


@torch.no_grad()
def observed(tokens: Tokens, method: Method, decision: Decision, *, lr: float, temperature: float) -> dict[str, float]:
    """The part of the row of metrics that is made of numbers at hand, by their names."""
    pushed = push(tokens, method, decision)
    c = pushed.logprob
    predicted = predictions(tokens, c, lr=lr, temperature=temperature)
    row = {f"predicted/{name}": float(x.double().mean()) for name, x in predicted.items()}
    change = predicted["exact"] / max(1, len(tokens))
    row |= sums("sign", change, sign(tokens), SIGNS)
    row |= sums("quadrant", change, quadrants(tokens), QUADRANTS)
    row["positive_loss"] = share_of_positive(tokens, losses(tokens, method, decision))
    row["positive_gradient"] = share_of_positive(tokens, gradient_norms(tokens, c, temperature=temperature))
    of_method = {"method/change": relative(tokens, pushed, plain_push(tokens, decision))}
    return {f"dynamics/{name}": value for name, value in row.items()} | of_method


def sums(kind: str, change: Tensor, place: Tensor, names: tuple[str, ...]) -> dict[str, float]:
    """The change summed by the token's place among the names."""
    found = torch.bincount(place, change.double(), minlength=len(names)).tolist()
    return {f"{kind}/{name}": x for name, x in zip(names, found, strict=True)}
