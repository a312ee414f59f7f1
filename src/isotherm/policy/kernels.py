"""Three functions of a layer with their gradients by hand: autograd would keep and read far more memory."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


class Normal(torch.autograd.Function):
    """y = x s with s = 1 / sqrt(mean(x^2) + eps), in the precision `kind` of the product that follows."""

    @staticmethod
    def forward(ctx, x, eps, kind):
        scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        ctx.save_for_backward(x, scale)
        return (x * scale).to(kind)

    @staticmethod
    def backward(ctx, *grads):  # pyright: ignore[reportIncompatibleMethodOverride]
        """dx = s g - x s^3 mean(x g)."""
        x, scale = ctx.saved_tensors
        g = grads[0].to(x.dtype)
        along = torch.linalg.vecdot(x, g)[:, None].mul_(scale.pow(3)).div_(-x.shape[-1])
        return (g * scale).addcmul_(x, along), None, None


class Gated(torch.autograd.Function):
    """silu(gate) * up of [gate, up]."""

    @staticmethod
    def forward(ctx, y):
        gate, up = y.chunk(2, -1)
        opened = F.silu(gate)
        ctx.save_for_backward(y, opened)
        return opened * up

    @staticmethod
    def backward(ctx, *grads):  # pyright: ignore[reportIncompatibleMethodOverride]
        """d gate = g up silu'(gate), d up = g silu(gate), side by side without a copy."""
        y, opened = ctx.saved_tensors
        gate, up = y.chunk(2, -1)
        both = torch.empty_like(y)
        d_gate, d_up = both.chunk(2, -1)
        torch.mul(grads[0], opened, out=d_up)
        torch.mul(grads[0], up, out=d_gate)
        torch.ops.aten.silu_backward.grad_input(d_gate, gate, grad_input=d_gate)
        return both


class Attend(torch.autograd.Function):
    """softmax(q k^T + mask) v of rectangles [B, rows, head]; `kind` is the precision of all products but the first."""

    @staticmethod
    def forward(ctx, q, k, v, mask, kind):
        p = torch.baddbmm(mask, q, k.transpose(1, 2)).softmax(-1)
        kept = [x.to(kind) for x in (q, k, v, p)]
        ctx.save_for_backward(*kept)
        ctx.kind = q.dtype
        return torch.bmm(kept[3], kept[2])

    @staticmethod
    def backward(ctx, *grads):  # pyright: ignore[reportIncompatibleMethodOverride]
        """dS = p (dP - sum(p dP)) with dP = g v^T."""
        q, k, v, p = ctx.saved_tensors
        g = grads[0].to(p.dtype)
        ds = torch.ops.aten._softmax_backward_data(torch.bmm(g, v.transpose(1, 2)), p, -1, p.dtype)
        found = torch.bmm(ds, k), torch.bmm(ds.transpose(1, 2), q), torch.bmm(p.transpose(1, 2), g)
        return *(x.to(ctx.kind) for x in found), None, None


def normal(x: Tensor, eps: float, kind: torch.dtype) -> Tensor:
    """x / sqrt(mean(x^2) + eps); the plain call is the faster one where no gradient is wanted."""
    if torch.is_grad_enabled():
        return Normal.apply(x, eps, kind)  # pyright: ignore[reportReturnType]
    return F.rms_norm(x, x.shape[-1:], None, eps).to(kind)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, kind: torch.dtype) -> Tensor:
    """softmax(q k^T + mask) v; without a gradient in plain operations, which forward differentiation passes through."""
    if torch.is_grad_enabled():
        return Attend.apply(q, k, v, mask, kind)  # pyright: ignore[reportReturnType]
    p = torch.baddbmm(mask, q, k.transpose(1, 2)).softmax(-1)
    return torch.bmm(p.to(kind), v.to(kind))


def gated(y: Tensor) -> Tensor:
    if torch.is_grad_enabled():
        return Gated.apply(y)  # pyright: ignore[reportReturnType]
    gate, up = y.chunk(2, -1)
    return F.silu(gate).mul_(up)
