"""Numbers and text as they are shown on the page and in the terminal."""

from __future__ import annotations

import html
import math
import re

from isotherm.runs import Run

# Controls other than tab and newline, lone surrogates, and the marks that reorder text: none may reach the page raw.
UNSHOWABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe\uffff]")


def clean(text: str) -> str:
    """Text with controls made visible (U+0000 as ␀) and what cannot be shown as U+FFFD."""
    return UNSHOWABLE.sub(lambda m: chr(0x2400 + ord(m[0])) if m[0] < "\x20" else "\N{REPLACEMENT CHARACTER}", text)


def escape(text: object) -> str:
    """Text from anywhere, safe inside HTML elements and quoted attributes."""
    return html.escape(clean(str(text)), quote=True)


def number(x: float) -> str:
    """Three significant digits; a dash for what is not finite."""
    if not math.isfinite(x):
        return "–"
    if x == int(x) and abs(x) < 1e15:
        return f"{int(x):,}"
    if abs(x) >= 1000:
        return f"{x:,.0f}"
    return f"{x:.3g}" if abs(x) >= 1e-3 else f"{x:.1e}"


def percent(x: float) -> str:
    return f"{100 * x:.1f}\N{NO-BREAK SPACE}%" if math.isfinite(x) else "–"


def points(x: float) -> str:
    """The size of a difference between two shares."""
    return f"{100 * abs(x):.1f} points"


def setting(value: object) -> str:
    """A setting or a fact of the environment, as a user would write it."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(setting, value)) or "none"
    return "empty" if value == "" else str(value)


def labels(runs: list[Run]) -> list[str]:
    """The shortest names that tell the runs apart: the method, with its seed, or the folder."""
    short = [str(run.config.get("method", run.path.name)) for run in runs]
    seeded = [f"{name}, seed {run.config.get('seed', 0)}" for name, run in zip(short, runs, strict=True)]
    for names in (short, seeded, [run.path.name for run in runs]):
        if len(set(names)) == len(runs):
            return names
    return [str(run.path) for run in runs]
