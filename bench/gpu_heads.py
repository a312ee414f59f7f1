"""The heads that `gpu.py` compares: hidden states and weights -> log pi of the targets and its gradient."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor

from isotherm.tokens.epilogue import Softmax
from isotherm.tokens.score_gpu import score_on_gpu, statistics, statistics_and_gradients


class Data(NamedTuple):
    hidden: Tensor  # [N, D]
    weight: Tensor  # [V, D]
    target: Tensor  # [N]
    g: Tensor  # [N] d loss / d log pi


class Calls(NamedTuple):
    forward: Callable[[], Tensor | None] | None  # -> log pi, where it is returned; None: there is no forward alone
    both: Callable[[], object]  # forward and backward


@dataclass(frozen=True)
class Candidate:
    name: str
    products: int  # of 2 N D V operations each, forward and backward together
    returns: str
    build: Callable[[Data], Calls]


def make_data(rows: int, width: int, vocabulary: int, device: str, dtype: torch.dtype = torch.bfloat16) -> Data:
    """Random, with logits of standard deviation 3."""
    generator = torch.Generator(device).manual_seed(0)
    hidden = torch.randn(rows, width, generator=generator, device=device)
    weight = torch.randn(vocabulary, width, generator=generator, device=device) * (3 / width**0.5)
    target = torch.randint(vocabulary, (rows,), generator=generator, device=device)
    g = torch.randn(rows, generator=generator, device=device) / rows
    return Data(hidden.to(dtype).requires_grad_(), weight.to(dtype).requires_grad_(), target, g)


def differentiated(d: Data, logprob: Callable[[], Tensor]) -> Calls:
    """The usual two calls around a function that returns log pi."""

    def forward() -> Tensor:
        with torch.no_grad():
            return logprob()

    def both() -> object:
        return torch.autograd.grad(logprob(), (d.hidden, d.weight), d.g)

    return Calls(forward, both)


def recompute(d: Data) -> Calls:
    return differentiated(d, lambda: score_on_gpu(d.hidden, d.weight, None, d.target)[0])


def in_forward(d: Data) -> Calls:
    """The coefficients are known, as after a scoring pass."""
    hidden, weight, zero = d.hidden.detach(), d.weight.detach(), torch.zeros_like(d.g)

    def both() -> object:
        return statistics_and_gradients(hidden, weight, d.target, Softmax(), lambda s, rows: (d.g[rows], zero[rows]))

    return Calls(lambda: statistics(hidden, weight, d.target, Softmax()).logprob, both)


def products_alone(d: Data) -> Calls:
    """The floor: three products, their results rounded to bfloat16, nothing between them."""
    hidden, weight = d.hidden.detach(), d.weight.detach()
    logits = hidden @ weight.T

    def forward() -> None:
        torch.mm(hidden, weight.T, out=logits)

    def both() -> object:
        forward()
        return logits @ weight, logits.T @ hidden

    return Calls(forward, both)


def plain(d: Data) -> Calls:
    def logprob() -> Tensor:
        logp = torch.log_softmax((d.hidden @ d.weight.T).float(), -1)
        return logp.gather(1, d.target[:, None])[:, 0]

    return differentiated(d, logprob)


def liger_cross_entropy(d: Data) -> Calls:
    """One coefficient for all tokens: this head takes no others."""
    from liger_kernel.transformers import LigerFusedLinearCrossEntropyLoss

    head = LigerFusedLinearCrossEntropyLoss(accum_dtype=torch.float32)

    def both() -> object:
        return torch.autograd.grad(head(d.weight, d.hidden, d.target), (d.hidden, d.weight))

    return Calls(None, both)


def liger_grpo(d: Data, responses: int = 8) -> Calls:
    from liger_kernel.chunked_loss import LigerFusedLinearGRPOLoss

    head, rows = LigerFusedLinearGRPOLoss(beta=0.0, use_ref_model=False), min(responses, len(d.hidden))
    ids, advantage = d.target.view(rows, -1), d.g[:rows].float()
    mask = torch.ones_like(ids)

    def both() -> object:
        loss, _ = head(d.hidden.view(rows, -1, d.hidden.shape[1]), d.weight, ids, mask, advantage)
        return torch.autograd.grad(loss, (d.hidden, d.weight))

    return Calls(None, both)


def liger_scaled(d: Data) -> Calls:
    from liger_kernel.ops import LigerFusedLinearScaledCrossEntropyFunction

    call = LigerFusedLinearScaledCrossEntropyFunction.apply
    return differentiated(d, lambda: -call(d.hidden, d.weight, d.target, 1.0, -100, 1, True)[0])


def without_init(package: str, *inner: str) -> None:
    """Lets modules of a package be imported alone: verl's own start wants Ray and much else."""
    found = None if package in sys.modules else importlib.util.find_spec(package)
    if found is not None:
        sys.modules[package] = ModuleType(package)
        sys.modules[package].__path__ = list(found.submodule_search_locations or ())
    elif package not in sys.modules:
        raise ImportError(f"{package} is not installed")
    for name in inner:
        module = ModuleType(f"{package}.{name}")
        module.__path__ = ["/".join([*sys.modules[package].__path__, *name.split(".")])]
        sys.modules.setdefault(f"{package}.{name}", module)


def verl_kernel(d: Data) -> Calls:
    without_init("verl", "utils")
    from verl.utils.kernel.linear_cross_entropy import linear_cross_entropy

    return differentiated(d, lambda: linear_cross_entropy(d.hidden, d.weight, d.target, 1.0, "none")[0])


def verl_torch(d: Data) -> Calls:
    without_init("verl", "utils", "utils.experimental")
    from verl.utils.experimental.torch_functional import FusedLinearForPPO

    head = FusedLinearForPPO()
    return differentiated(d, lambda: head(d.hidden, d.weight, d.target)[0])


CANDIDATES = (
    Candidate("products alone", 3, "nothing", products_alone),
    Candidate("isotherm, recompute", 4, "log pi, H, S2, S2L", recompute),
    Candidate("isotherm, in forward", 3, "log pi, H, S2, S2L", in_forward),
    Candidate("plain PyTorch", 3, "log pi", plain),
    Candidate("liger cross-entropy", 3, "loss", liger_cross_entropy),
    Candidate("liger GRPO", 4, "loss", liger_grpo),
    Candidate("liger scaled", 4, "log pi, H", liger_scaled),
    Candidate("verl kernel", 4, "log pi, H", verl_kernel),
    Candidate("verl PyTorch", 4, "log pi, H", verl_torch),
)
