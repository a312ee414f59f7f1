"""An update in the space of the parameters: each token's part in the change of entropy, and what the method changes.

Once all is decided the loss is a sum over tokens, and minus the gradient of a token's part is sum_k pull_kt grad F_kt,
where F is log pi, H and functionals. One forward pass with dual numbers along v gives <grad F_kt, v> of all tokens at
once; backward passes would take one for each part of each split.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.attention import SDPBackend, sdpa_kernel

from isotherm import native
from isotherm.measure.attribution import in_parameters
from isotherm.objective.idle import plain_push
from isotherm.objective.method import Decision, Method
from isotherm.objective.prediction import pulls
from isotherm.policy.model import Policy
from isotherm.records import Rollout, Tokens
from isotherm.tokens.score import Functional, Scores, plain_score, score
from isotherm.update.scoring import pieces, score_rows
from isotherm.update.step import Outcome, Rule

Vectors = Sequence[Tensor]  # one for each parameter, in the order of `Policy.parameters`
Columns = dict[str, Tensor]  # by the names logprob, entropy and those of the functionals


class Place(NamedTuple):
    """A policy, the weights that it is looked at with, and the responses that it is asked about."""

    policy: Policy
    weights: Vectors
    batch: Rollout
    functionals: dict[str, Functional]
    rule: Rule

    def scored(self, weights: Vectors, by: Callable[..., Scores]) -> Iterator[tuple[slice, Columns]]:
        """Of the tokens of every micro-batch. The policy's own weights are back in place after each."""
        named = {f"module.{name}": w for name, w in zip(self.policy.parameters(), weights, strict=True)}
        for rows, cut in pieces(self.batch, self.rule.micro_batch):
            given = self.policy, self.batch, rows, self.rule.temperature, self.functionals or None, by
            call = Call(self.policy.module, lambda given=given: score_rows(*given))
            found = torch.func.functional_call(call, named, ())
            yield cut, {"logprob": found.logprob, "entropy": found.entropy, **found.extra}


class Call(nn.Module):
    """A call as a module, which is what functional_call takes."""

    def __init__(self, module: nn.Module, call: Callable[[], Scores]) -> None:
        super().__init__()
        self.module, self.call = module, call

    def forward(self) -> Scores:
        return self.call()


def derivatives(place: Place, direction: Vectors) -> Columns:
    """<grad F, v> of every token, in float32 products whatever the run multiplies in.

    Dual numbers go through plain operations: compiled functions and fused attention would lose them.
    """
    module: Any = copy.copy(place.policy.module)
    module.compute, found = torch.float32, []
    plain = place._replace(policy=dataclasses.replace(place.policy, module=module))
    with torch.no_grad(), native.using(False), sdpa_kernel(SDPBackend.MATH), forward_ad.dual_level():
        duals = [forward_ad.make_dual(w, v) for w, v in zip(place.weights, direction, strict=True)]
        for _, scores in plain.scored(duals, plain_score):
            found.append({name: tangent(x) for name, x in scores.items()})
    return {name: torch.cat([part[name] for part in found]) for name in found[0]}


def tangent(x: Tensor) -> Tensor:
    dual = forward_ad.unpack_dual(x)
    return torch.zeros_like(dual.primal) if dual.tangent is None else dual.tangent


@torch.enable_grad()
def gradients(place: Place, pulled: Sequence[Mapping[str, Tensor]]) -> list[list[Tensor]]:
    """sum_t sum_k pull_kt grad F_kt for each of the pulls, from one forward pass."""
    leaves = [w.detach().requires_grad_() for w in place.weights]
    totals = [[torch.zeros_like(w) for w in leaves] for _ in pulled]
    for cut, scores in place.scored(leaves, score):
        for total, pull in zip(totals, pulled, strict=True):
            along = [pull[name][cut].to(x.dtype) for name, x in scores.items()]
            found = torch.autograd.grad(list(scores.values()), leaves, along, retain_graph=True, allow_unused=True)
            for part, g in zip(total, found, strict=True):
                if g is not None:
                    part += g
    return totals


def exact_change(place: Place, tokens: Tokens, method: Method, decision: Decision) -> float:
    """|g - g'| / |g'| of the gradient of the loss and of GRPO's surrogate: what `relative` is at the logits."""
    pulled, plain = pulls(tokens, method, decision), plain_push(tokens, decision).logprob
    other = {name: torch.zeros_like(x) for name, x in pulled.items()} | {"logprob": plain}
    difference = pulled | {"logprob": pulled["logprob"] - plain}
    changed, whole = map(norm, gradients(place, [difference, other]))
    return changed / whole if whole else float(changed > 0)


def norm(vectors: Vectors) -> float:
    return sum(float(x.double().square().sum()) for x in vectors) ** 0.5


def of_adam(optimizer: torch.optim.Optimizer, parameters: Vectors, entropy: Vectors, clipped: float) -> list[Tensor]:
    """v with <-g, v> = <grad mean H, the part of Adam's step that is due to g>; to be asked after the step.

    Adam's step is -lr m^ / (sqrt(v^) + eps), and m^ has the newest gradient times (1 - beta1) / (1 - beta1^n).
    """
    group, found = optimizer.param_groups[0], []
    (beta1, beta2), eps = group["betas"], group["eps"]
    for p, slope in zip(parameters, entropy, strict=True):
        state = optimizer.state.get(p, {})  # nothing where the parameter has had no gradient
        count = float(state["step"]) if state else 1.0
        root = (state["exp_avg_sq"] / (1 - beta2**count)).sqrt() + eps if state else torch.inf
        found.append(slope / root * (group["lr"] * clipped * (1 - beta1) / (1 - beta1**count)))
    return found


def parts(
    place: Place, entropy: Vectors, tokens: Tokens, method: Method, outcome: Outcome, optimizer: torch.optim.Optimizer
) -> Columns:
    """Each token's part in the change of the mean entropy, times the number of tokens: of a step -lr g, and of Adam's.

    The place and the gradient of the mean entropy are those before the step, the optimizer is as it was after it.
    """
    pulled, most = pulls(tokens, method, outcome.decision), place.rule.clip_grad
    clipped = min(1.0, most / (outcome.grad_norm + 1e-6)) if most else 1.0
    steps = {
        "plain_step": [outcome.lr * slope for slope in entropy],
        "adam_step": of_adam(optimizer, list(place.policy.parameters().values()), entropy, clipped),
    }
    return {name: len(tokens) * in_parameters(pulled, derivatives(place, v)) for name, v in steps.items()}
