"""Token statistics with their gradient: time over that of the bare products, memory and error, beside plain PyTorch.

    python bench/score.py [--quick] [--out bench/results/score.json]

`plain` is log-softmax on all logits with autograd. `recompute` is `score`, `in forward` is `score_with_loss`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from isotherm import native
from isotherm.files import write_whole
from isotherm.tokens.local import score_with_loss
from isotherm.tokens.products import short_products
from isotherm.tokens.score import score
from isotherm.update.environment import describe

ROWS, WIDTH = 2048, 896
VOCABULARIES = (32_000, 151_936)
KINDS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Case:
    """Parameters are float32, as in training; `kind` is that of the products."""

    def __init__(self, vocabulary: int, kind: torch.dtype, rows: int = ROWS) -> None:
        generator = torch.Generator().manual_seed(0)
        self.kind, self.compute = kind, None if kind == torch.float32 else kind
        self.hidden = torch.randn(rows, WIDTH, generator=generator).to(kind).float().requires_grad_()
        weight = torch.empty(vocabulary, WIDTH).normal_(0, 2 / WIDTH**0.5, generator=generator)
        self.weight = weight.to(kind).float().requires_grad_()
        self.target = torch.randint(vocabulary, (rows,), generator=generator)
        self.slope = torch.randn(rows, generator=generator)

    def plain_statistics(self, hidden: Tensor, weight: Tensor) -> tuple[Tensor, ...]:
        logp = (hidden.to(self.kind) @ weight.to(self.kind).T).float().log_softmax(-1)
        with torch.no_grad():
            p = logp.exp()
            pl = p * logp
            rest = -pl.sum(-1), (p * p).sum(-1), p.mul_(pl).sum(-1)
        return logp.gather(1, self.target[:, None])[:, 0], *rest

    def plain(self) -> None:
        (self.slope * self.plain_statistics(self.hidden, self.weight)[0]).sum().backward()
        self.clear()

    def recompute(self) -> None:
        scores = score(self.hidden, self.weight, self.target, compute=self.compute)
        (self.slope * scores.logprob).sum().backward()
        self.clear()

    def in_forward(self) -> None:
        args = self.hidden, self.weight, self.target
        score_with_loss(*args, lambda rows, s: (self.slope[rows] * s.logprob).sum(), compute=self.compute)[0].backward()
        self.clear()

    def nothing(self) -> None:
        """What the gradients themselves take."""
        self.hidden.grad, self.weight.grad = torch.ones_like(self.hidden), torch.ones_like(self.weight)
        self.clear()

    def clear(self) -> None:
        self.hidden.grad = self.weight.grad = None

    @torch.no_grad()
    def statistics(self) -> None:
        score(self.hidden, self.weight, self.target, compute=self.compute)

    @torch.no_grad()
    def plain_forward(self) -> None:
        self.plain_statistics(self.hidden, self.weight)


class Floor:
    """The bare products between buffers that are there already, in the same kind; the faster way for each."""

    def __init__(self, case: Case) -> None:
        self.h, self.w = case.hidden.detach().to(case.kind), case.weight.detach().to(case.kind)
        self.z = torch.randn(len(self.h), len(self.w)).to(case.kind)
        self.dh, self.dw = torch.empty_like(self.h), torch.empty_like(self.w)
        self.dw_turned = torch.empty(self.w.shape[::-1], dtype=case.kind)

    def one(self) -> None:
        torch.mm(self.h, self.w.T, out=self.z)

    def hidden(self) -> None:
        torch.mm(self.z, self.w, out=self.dh)

    def weight(self) -> None:
        torch.mm(self.z.T, self.h, out=self.dw)

    def weight_turned(self) -> None:
        torch.mm(self.h.T, self.z, out=self.dw_turned)


def seconds(call: Callable[[], None]) -> float:
    begun = time.process_time()
    call()
    return time.process_time() - begun


def times(case: Case, rounds: int) -> dict[str, list[float]]:
    """CPU seconds of every variant, each once per round; the first round, which warms up, does not count.

    Freed memory stays in the process, as in training.
    """
    native.keep_memory()
    floor = Floor(case)
    calls = {
        "product z": floor.one, "product dh": floor.hidden, "product dw": floor.weight,
        "product dw turned": floor.weight_turned, "statistics": case.statistics, "plain forward": case.plain_forward,
        "in forward": case.in_forward, "recompute": case.recompute, "plain": case.plain,
    }  # fmt: skip
    found: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            taken = seconds(call)
            if turn:
                found[name].append(taken)
    return found


def ratios(found: dict[str, list[float]]) -> dict[str, float]:
    middle = {name: statistics.median(values) for name, values in found.items()}
    three = middle["product z"] + middle["product dh"] + min(middle["product dw"], middle["product dw turned"])
    row = {f"{name} / floor": middle[name] / three for name in ("in forward", "recompute", "plain")}
    row |= {f"{name} / one product": middle[name] / middle["product z"] for name in ("statistics", "plain forward")}
    return {"floor s": three, **row}


def peak() -> int:
    """Largest resident size since `clear_refs`, in kB."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def scratch(vocabulary: int, kind: str, variant: str) -> float:
    """MB at the peak beyond inputs and gradients, in a process of its own."""
    command = [sys.executable, __file__, "--memory", str(vocabulary), kind]
    used = [
        float(subprocess.run([*command, name], capture_output=True, text=True, check=True).stdout)
        for name in (variant, "nothing")
    ]
    return used[0] - used[1]


def memory(vocabulary: int, kind: str, variant: str) -> None:
    """The growth of the peak in MB; a small case first loads whatever code is loaded late."""
    getattr(Case(512, KINDS[kind], 64), variant)()
    case = Case(vocabulary, KINDS[kind])
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    getattr(case, variant)()
    print((peak() - before) / 1024)


def hidden_error(vocabulary: int, rows: int = 256) -> dict[str, float]:
    """Of bfloat16 products, before dh is cast: max |dh - dh64| / max |dh64|, and the same in the mean square."""
    found = {}
    for name in ("recompute", "in forward"):
        case = Case(vocabulary, torch.bfloat16, rows)
        exact = [x.detach().double().requires_grad_() for x in (case.hidden, case.weight)]
        logp = (exact[0] @ exact[1].T).log_softmax(-1).gather(1, case.target[:, None])[:, 0]
        (truth,) = torch.autograd.grad((case.slope * logp).sum(), exact[:1])
        case.clear = lambda: None
        case.recompute() if name == "recompute" else case.in_forward()
        assert case.hidden.grad is not None
        wrong = case.hidden.grad.double() - truth
        found[name] = float(wrong.abs().max() / truth.abs().max())
        found[f"{name}, mean square"] = float(wrong.norm() / truth.norm())
    return found


def measure(vocabulary: int, kind: str, rounds: int) -> dict[str, object]:
    case = Case(vocabulary, KINDS[kind])
    found = times(case, rounds)
    row = ratios(found)
    print(f"\n{vocabulary} words, {kind} products, load {os.getloadavg()[0]:.1f}")
    print("  " + ", ".join(f"{name} {value:.3g}" for name, value in row.items()), flush=True)
    mb = {v: scratch(vocabulary, kind, v) for v in ("plain", "recompute", "in_forward")}
    less = {v: mb["plain"] / max(mb[v], 1.0) for v in ("recompute", "in_forward")}
    print("  scratch MB " + ", ".join(f"{name} {value:.0f}" for name, value in mb.items()), end="; ")
    print("less than plain by " + ", ".join(f"{name} {value:.0f}" for name, value in less.items()), flush=True)
    kept = {"seconds": found, "ratios": row, "scratch_mb": mb, "less": less}
    return {"vocabulary": vocabulary, "kind": kind, **kept, "environment": describe()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="32,000 words and one round only")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--memory", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory:
        vocabulary, kind, variant = options.memory
        return memory(int(vocabulary), kind, variant)
    how = {2: "tiles", 1: "vectors", 0: "widened to float32"}[short_products()]
    print(f"{ROWS} tokens, width {WIDTH}, 1 thread; {native.reason()}; bfloat16 products: {how}")
    rounds = 1 if options.quick else options.rounds
    rows = [measure(v, k, rounds) for v in VOCABULARIES[: 1 if options.quick else 2] for k in options.kinds]
    error = hidden_error(8000)
    print("\nerror of dh, bfloat16 products: " + ", ".join(f"{name} {value:.1e}" for name, value in error.items()))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        result = {"rows": ROWS, "width": WIDTH, "cases": rows, "error": error}
        write_whole(options.out, json.dumps(result, indent=1) + "\n")
    return None


if __name__ == "__main__":
    main()
