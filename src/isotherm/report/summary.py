"""What happened, in sentences: entropy and accuracy before and after, and which run kept more."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from isotherm.measure.curves import tracking
from isotherm.objective.knobs import KNOBS, at_bound
from isotherm.report.tables import split_settings
from isotherm.report.text import labels, number, percent, points
from isotherm.runs import Run, ends_of

TEN = 10  # steps over which the entropy is compared with the line
SCOPES = {"trained": "the trained families", "held_out": "the held-out families"}


@dataclass(frozen=True)
class Arm:
    """The runs of one method: one per seed."""

    label: str
    runs: list[Run]

    def mean(self, value: Callable[[Run], float]) -> float:
        return float(np.mean([value(run) for run in self.runs]))


def window(run: Run) -> int:
    """How many last steps a final value of training is averaged over: a tenth of them, at most 10."""
    return max(1, min(10, len(run.metrics["step"]) // 10))


def entropy_ends(run: Run) -> tuple[float, float]:
    """Entropy at the first step, when the policy is still the starting model, and at the end."""
    return ends_of(run, "entropy/exact", window(run))


def eval_ks(run: Run, scope: str = "trained") -> list[int]:
    """The k of pass@k that the run evaluated: the smallest and the largest."""
    found = (re.fullmatch(rf"eval/{scope}/pass@(\d+)", name) for name in run.metrics)
    ks = sorted(int(match[1]) for match in found if match)
    return sorted({ks[0], ks[-1]}) if ks else []


def sentences(runs: list[Run]) -> list[str]:
    """The plain-language summary: a sentence or more per run, then the comparison."""
    each = [describe_run(run, label) for run, label in zip(runs, labels(runs), strict=True)]
    return each + (compare(runs) if len(runs) > 1 else [])


def describe_run(run: Run, label: str) -> str:
    first, last = entropy_ends(run)
    parts = [
        f"{label}: over {run.steps:,} steps the entropy went from {number(first)} to {number(last)} nats per token; "
        f"{percent(last / first) if first else '–'} of it is left."
    ]
    parts += [held(run)] if "hold/line" in run.metrics else []
    parts += [accuracy(run, scope) for scope in SCOPES if eval_ks(run, scope)]
    return " ".join(parts)


def held(run: Run) -> str:
    """How well the thermostat did after the first tenth of the run, and how long its knobs were free to move."""
    entropy, line = (
        run.metrics[name][np.isfinite(run.metrics["hold/line"])] for name in ("entropy/exact", "hold/line")
    )
    far = tracking(entropy, line, min(TEN, len(line)))[len(line) // 10 :]
    moved = {name.removeprefix("knob/"): x[np.isfinite(x)] for name, x in run.metrics.items() if name[5:] in KNOBS}
    free = [f"{name} was inside its bounds in {percent(inside(name, x))} of the steps" for name, x in moved.items()]
    return (
        f"The mean of {min(TEN, len(line))} steps was {percent(far.mean())} off the line on average and "
        f"{percent(far.max())} at most; {', '.join(free)}."
    )


def inside(name: str, values: np.ndarray) -> float:
    return float(np.mean([not at_bound(KNOBS[name], x) for x in values]))


def accuracy(run: Run, scope: str) -> str:
    ends = [(k, ends_of(run, f"eval/{scope}/pass@{k}")) for k in eval_ks(run, scope)]
    moved = " and ".join(f"pass@{k} went from {percent(a)} to {percent(b)}" for k, (a, b) in ends)
    return f"On {SCOPES[scope]}, {moved}."


def arms(runs: list[Run]) -> list[Arm]:
    """Runs that differ in nothing but their seed make one arm."""
    differs, _ = split_settings([run.config for run in runs])
    rows = zip(*(values for name, values in differs.items() if name != "seed"), strict=True)
    keys = [str(row) for row in rows] or [""] * len(runs)
    groups = [[run for run, k in zip(runs, keys, strict=True) if k == key] for key in dict.fromkeys(keys)]
    names = labels([group[0] for group in groups])
    return [Arm(name, group) for name, group in zip(names, groups, strict=True)]


def spread(runs: list[Run]) -> str:
    """Where runs that differ only in their seed ended."""
    ends = [("entropy", number, [entropy_ends(run)[1] for run in runs])]
    for k in eval_ks(runs[0]):
        values = [ends_of(run, f"eval/trained/pass@{k}")[1] for run in runs]
        ends.append((f"pass@{k} on {SCOPES['trained']}", percent, values))
    ranges = [f"{name} from {show(min(v))} to {show(max(v))}" for name, show, v in ends]
    return f"These {len(runs)} runs differ only in their seed. They ended with {'; '.join(ranges)}."


def compare(runs: list[Run]) -> list[str]:
    """Which arm kept more entropy and how accurate it ended, the most against the least."""
    if len(arms(runs)) == 1:
        return [spread(runs)]
    ranked = sorted(arms(runs), key=lambda arm: np.nan_to_num(arm.mean(lambda r: entropy_ends(r)[1]), nan=-1.0))
    low, high = ranked[0], ranked[-1]
    least, most = (arm.mean(lambda r: entropy_ends(r)[1]) for arm in (low, high))
    if not np.isfinite([least, most]).all():
        return ["Not every run has an entropy, so they are not compared."]
    ratio = f", {most / least:.2f} times as much" if least > 0 else ""
    kept = (
        f"{high.label} ended with more entropy than {low.label}: "
        f"{number(most)} against {number(least)} nats per token{ratio}."
    )
    if most == least:
        kept = f"{high.label} and {low.label} ended with the same entropy: {number(most)} nats per token."
    accurate = [text for scope in SCOPES if (text := differ(low, high, scope))]
    return [" ".join([kept, *accurate]), caution(runs, ranked)]


def differ(low: Arm, high: Arm, scope: str) -> str:
    """How much more accurate `high` ended than `low`."""
    parts = []
    for k in eval_ks(high.runs[0], scope):
        a, b = (arm.mean(lambda r, k=k: ends_of(r, f"eval/{scope}/pass@{k}")[1]) for arm in (low, high))
        if np.isfinite(b - a):
            moved = f"{points(b - a)} {'higher' if b > a else 'lower'}" if a != b else "the same"
            parts.append(f"pass@{k} is {moved} ({percent(b)} against {percent(a)})")
    return f"On {SCOPES[scope]}, its final {' and its '.join(parts)}." if parts else ""


def caution(runs: list[Run], ranked: list[Arm]) -> str:
    """How far the comparison carries: the number of seeds, and what else differs between the runs."""
    seeds = min(len({run.config.get("seed") for run in arm.runs}) for arm in ranked)
    text = f"Values are means over at least {seeds} seeds per method; see the single runs for their spread."
    if seeds == 1:
        text = "This is n = 1 seed: it shows what happened here, and a difference of this size may be chance."
    others = [name for name in split_settings([r.config for r in runs])[0] if name not in ("method", "seed")]
    return text + (f" The runs also differ in {', '.join(others)}." if others else "")
