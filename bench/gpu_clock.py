"""Time and memory of calls on a GPU, in turns."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch

Call = Callable[[], object]


def seconds(call: Call, device: str) -> float:
    """Of one call, by the GPU's own clock where there is one."""
    if device == "cpu":
        start = time.perf_counter()
        call()
        return time.perf_counter() - start
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1e3


def scratch(call: Call, device: str) -> int | None:
    """Bytes above what was there before, the gradients included."""
    if device == "cpu":
        call()
        return None
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def interleaved(calls: dict[str, Call], rounds: int, clock: Callable[[Call], float]) -> dict[str, float]:
    """Medians; every round begins with another call."""
    names, found = list(calls), {name: [] for name in calls}
    for number in range(rounds):
        for i in range(len(names)):
            name = names[(number + i) % len(names)]
            found[name].append(clock(calls[name]))
    return {name: median(values) for name, values in found.items()}
