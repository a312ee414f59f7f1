"""Which figures a page shows, and which metrics each of them draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isotherm.measure.catalogue import describe
from isotherm.report.profiles import LEAST, Line, lines
from isotherm.report.summary import eval_ks
from isotherm.runs import Run


@dataclass(frozen=True)
class Panel:
    """One small figure: its metrics against the step, or against `against`. Only the first line is solid."""

    title: str
    unit: str
    metrics: tuple[str, ...]
    note: str = ""
    against: str = "step"
    log: bool = False
    from_zero: bool = False
    lines: tuple[list[Line], ...] = ()  # instead of metrics: the curves of each run
    across: str = "step"  # what the horizontal axis shows
    diagonal: bool = False
    total: bool = False  # the sum of the values up to each step

    def caption(self) -> str:
        """The definition of what is drawn, from the catalogue."""
        metric = describe(self.metrics[0]) if self.metrics else None
        return " ".join(filter(None, [metric.definition if metric else "", self.note]))


def panels(runs: list[Run]) -> list[Panel]:
    """The figures for which at least one of the runs has values."""
    drawn = [panel for panel in every_panel(runs) if any(has(run, panel) for run in runs)]
    return [*drawn, *(panel for panel in of_evaluations(runs) if any(panel.lines))]


def has(run: Run, panel: Panel) -> bool:
    return any(np.isfinite(run.metrics[name]).any() for name in panel.metrics if name in run.metrics)


def every_panel(runs: list[Run]) -> list[Panel]:
    ks = sorted({k for run in runs for k in eval_ks(run)})
    knobs = dict.fromkeys(name for run in runs for name in run.metrics if name.startswith("knob/"))
    held = any("hold/line" in run.metrics for run in runs)
    aim = ("hold/line",) if held else ()
    return [
        Panel(
            "Entropy", "nats per token", ("entropy/exact", *aim), "Dashed: the line." if held else "", from_zero=True
        ),
        Panel("Reward", "mean per response", ("reward/mean",)),
        Panel("pass@1 in training", "share", ("pass@1/train",), from_zero=True),
        *(evaluation(k) for k in ks),
        law(runs),
        where_it_went(),
        where_adam_took_it(),
        Panel("Response length", "tokens", ("length/mean",)),
        Panel("Gradient norm", "before clipping", ("update/grad_norm",), from_zero=True),
        Panel("Sampler mismatch", "nats, logarithmic", ("mismatch/mean",), log=True),
        *(Panel(f"Control {name.removeprefix('knob/')}", "value", (name,)) for name in knobs),
    ]


def evaluation(k: int) -> Panel:
    note = "Solid: the trained families. Dashed: the held-out families."
    names = (f"eval/trained/pass@{k}", f"eval/held_out/pass@{k}")
    return Panel(f"pass@{k} in evaluation", "share", names, note, from_zero=True)


def of_evaluations(runs: list[Run]) -> list[Panel]:
    """What is drawn of the stored evaluations, all families together."""
    reliability, along = zip(*map(lines, runs), strict=True)
    ends = "Dashed: before training. Solid: after it. All families of the evaluation."
    certain = (
        "Share of correct responses against the probability of the response normalised by length, the geometric mean "
        f"over its tokens; in tenths with {LEAST} responses or more. On the dotted line it is well calibrated."
    )
    return [
        Panel("Reliability", "share correct", (), f"{certain} {ends}", from_zero=True, lines=reliability,
              across="confidence", diagonal=True),
        Panel("Entropy along the response", "nats per token", (), f"Exact entropy by tenths of the responses. {ends}",
              from_zero=True, lines=along, across="per cent of the response"),
    ]  # fmt: skip


def where_it_went() -> Panel:
    """The predicted change since the start, from tokens of either sign: the factor that is not known is one per run."""
    names = ("dynamics/sign/positive", "dynamics/sign/negative")
    note = (
        "Solid: from tokens with A > 0. Dashed: from those with A < 0. Summed over the steps, up to one factor per run."
    )
    return Panel("Where the entropy went", "nats", names, note, total=True)


def where_adam_took_it() -> Panel:
    """The same in the space of the parameters, of the measured steps."""
    names = ("dynamics/adam_step/positive", "dynamics/adam_step/negative")
    note = "Solid: from tokens with A > 0. Dashed: from those with A < 0. Summed over the measured steps."
    return Panel("Where Adam took the entropy", "nats", names, note, total=True)


def law(runs: list[Run]) -> Panel:
    """The path of the run in the plane of the law R = -a e^H + b, drawn where it has the entropy of the law."""
    name = "entropy/exact_per_response"
    against = name if any(name in run.metrics for run in runs) else "entropy/exact"
    note = "Against the entropy (nats per token, across); the run moves from the ring to the dot."
    across = "entropy, nats per token"
    return Panel("pass@1 against entropy", "share", ("pass@1/train",), note, against=against, across=across)
