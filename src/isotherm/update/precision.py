"""How this machine multiplies matrices best: measured at the start of a run, then kept for as long as the run lives."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F

from isotherm import native
from isotherm.errors import UserError

ROWS, REPEATS, EXACT, WORTH = 2048, 9, 1e-5, 1.05


class Precision(NamedTuple):
    """`matmul` is torch's float32 matmul precision; `reason` is printed at the start."""

    dtype: str
    matmul: str
    threads: int
    reason: str
    kernels: str = "plain"

    @property
    def compute(self) -> torch.dtype:
        return getattr(torch, self.dtype)

    def use(self) -> None:
        torch.set_num_threads(self.threads)
        torch.set_float32_matmul_precision(self.matmul)
        native.keep_memory()
        native.use(self.kernels == "compiled")
        if self.kernels == "compiled" and not native.on():
            raise UserError(f"This run uses compiled functions, but {native.reason()}; start one with kernels=plain.")


@contextmanager
def kept() -> Iterator[None]:
    """A caller's own threads, precision and functions are theirs again afterwards."""
    threads, matmul = torch.get_num_threads(), torch.get_float32_matmul_precision()
    try:
        with native.using(native.wanted()):
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(matmul)


def free_threads() -> int:
    """Cores that nobody else is using now, at least one: more threads than that are slower than one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return max(1, min(8, cores - round(busy)))


def choose(dtype: str, threads: int, width: int, device: str, kernels: str = "auto") -> Precision:
    """The fastest precision whose float32 is float32, or the one that was asked for."""
    threads = threads or free_threads()
    torch.set_num_threads(threads)
    if device != "cpu":
        asked = "bfloat16" if dtype == "auto" else dtype
        return Precision(asked, "highest", threads, f"{asked} on {device}")
    functions, origin = choose_kernels(kernels)
    width = max(128, min(width, 1024))
    seconds, error = measure(width)
    faster = error < EXACT and seconds["medium"] < 0.9 * seconds["highest"]
    gain = min(seconds["highest"], seconds["medium"] if faster else seconds["highest"]) / seconds["bfloat16"]
    times = ", ".join(f"{name} {1e3 * s:.2f} ms" for name, s in seconds.items())
    why = "as asked" if dtype != "auto" else f"bfloat16 products are {gain:.2f} times as fast as float32 ones here"
    if dtype == "auto":
        dtype = "bfloat16" if gain > WORTH else "float32"
    matmul = "medium" if faster and dtype == "float32" else "highest"
    detail = f"{times} for {ROWS} x {width} x {3 * width}; error of medium {error:.0e}"
    return Precision(dtype, matmul, threads, f"{dtype}: {why} ({detail}); {functions} functions: {origin}", functions)


def choose_kernels(wanted: str) -> tuple[str, str]:
    """'compiled' or 'plain', and why."""
    if wanted == "plain":
        return "plain", "as asked"
    with native.using(True):
        if native.on():
            return "compiled", native.reason()
    if wanted == "compiled":
        raise UserError(f"kernels is compiled, but {native.reason()}; choose auto or plain.")
    return "plain", native.reason()


def measure(width: int) -> tuple[dict[str, float], float]:
    """Least seconds of a layer's product in each precision, interleaved, and the relative error of 'medium'."""
    own = torch.Generator().manual_seed(0)  # the caller's generator is not touched
    x, w = torch.randn(ROWS, width, generator=own), torch.randn(3 * width, width, generator=own)
    before = torch.get_float32_matmul_precision()
    found: dict[str, list[float]] = {"highest": [], "medium": [], "bfloat16": []}
    truth = x.double() @ w.double().T
    error = 0.0
    try:
        for _ in range(REPEATS):
            for name, times in found.items():
                torch.set_float32_matmul_precision("highest" if name == "bfloat16" else name)
                started = time.perf_counter()
                y = F.linear(x.bfloat16(), w.bfloat16()).float() if name == "bfloat16" else F.linear(x, w)
                times.append(time.perf_counter() - started)
                if name == "medium":
                    error = float((y - truth).abs().max() / truth.abs().max())
    finally:
        torch.set_float32_matmul_precision(before)
    return {name: min(times) for name, times in found.items()}, error
