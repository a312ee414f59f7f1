"""Tables of the page: settings that differ, final metrics, the environment."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from isotherm.measure.catalogue import describe
from isotherm.report.text import escape, number, setting
from isotherm.runs import Run, ends_of

HEADLINE = (
    "entropy/exact", "entropy/sampled", "reward/mean", "pass@1/train", "length/mean", "length/overlong",
    "signal/groups", "update/grad_norm", "update/clip_low", "update/clip_high", "update/kl_old", "mismatch/mean",
)  # fmt: skip
CHIEF = r"knob/.*|eval/(trained|held_out)/(pass@\d+|entropy|self_bleu|distinct_correct|ece_normalised)"
NO_SETTING = ("out",)  # a folder decides nothing


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A tree of mappings as one mapping with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def split_settings(trees: list[dict[str, Any]]) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """The names whose values differ between the trees, and those that all share; a tree may lack a name."""
    flat = [flatten(tree) for tree in trees]
    names = [n for n in dict.fromkeys(name for tree in flat for name in tree) if n not in NO_SETTING]
    values = {name: [tree.get(name, "–") for tree in flat] for name in names}
    differs = {name: v for name, v in values.items() if any(x != v[0] for x in v)}
    return differs, {name: v for name, v in values.items() if name not in differs}


def table(head: Iterable[str], rows: Iterable[Iterable[str]], kind: str = "") -> str:
    """A table of ready HTML cells; the first cell of a row is its heading. Wide tables scroll inside their box."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{name}</th>' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
        for name, *cells in rows
    )
    return f'<div class="wide"><table class="{kind}"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def details(summary: str, body: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def differing(trees: list[dict[str, Any]], heads: list[str], what: str) -> str:
    """What differs between the runs as a table, and what is common folded under it."""
    differs, common = split_settings(trees)
    rows = [[escape(name), *(escape(setting(v)) for v in values)] for name, values in differs.items()]
    shown = table(["", *heads], rows) if rows else ""
    if not rows and len(trees) > 1:
        shown = f"<p>The runs share all {escape(what)}.</p>"
    same = table(["", "value"], [[escape(n), escape(setting(v[0]))] for n, v in common.items()])
    title = f"All {len(common)} {what}" if len(trees) == 1 else f"{len(common)} {what} that the runs share"
    return shown + (details(title, same) if common else "")


def final_metrics(runs: list[Run], heads: list[str]) -> str:
    """The last value of the chief metrics, and of all others folded."""
    names = [n for n in dict.fromkeys(name for run in runs for name in run.metrics) if n != "step"]
    chief = [n for n in names if n in HEADLINE or re.fullmatch(CHIEF, n)]
    rest = [n for n in names if n not in chief]
    folded = details(f"{len(rest)} more metrics", metric_table(runs, heads, rest)) if rest else ""
    return metric_table(runs, heads, chief) + folded


def metric_table(runs: list[Run], heads: list[str], names: list[str]) -> str:
    return table(["", "unit", *heads], [metric_row(runs, name) for name in names], "numbers")


def metric_row(runs: list[Run], name: str) -> list[str]:
    """Name with its definition as a tooltip, unit, and the last finite value of every run."""
    metric = describe(name)
    tip = f' title="{escape(f"{metric.definition} ({metric.reduction})")}"' if metric else ""
    values = [number(ends_of(run, name)[1]) for run in runs]
    return [f"<span{tip}>{escape(name)}</span>", escape(metric.unit) if metric else "", *values]
