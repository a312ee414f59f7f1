"""Small figures as inline SVG that takes its colours from the page, light or dark."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from isotherm.report.panels import Panel
from isotherm.report.profiles import Line
from isotherm.runs import Run

MOST_POINTS = 500
COLOURS = 8  # --run0 to --run7 in style.css
INK, FAINT = "#010101", "#020202"  # stand for var(--ink) and var(--line) until matplotlib is done
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "font.size": 8, "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK,
    "ytick.color": INK, "axes.edgecolor": FAINT, "grid.color": FAINT, "axes.spines.top": False,
    "axes.spines.right": False, "axes.spines.left": False, "axes.grid": True, "axes.grid.axis": "y",
    "xtick.major.size": 3, "ytick.major.size": 0, "grid.linewidth": 0.6, "axes.axisbelow": True,
    "lines.solid_capstyle": "round", "path.simplify_threshold": 0.2, "axes.formatter.limits": (-3, 5),
}  # fmt: skip


def colour(run: int) -> str:
    """The stand-in for var(--runN): the same run has the same colour everywhere."""
    return f"#0300{run % COLOURS:02x}"


def draw(panel: Panel, runs: list[Run], name: str) -> str:
    """The panel as an SVG element; `name` keeps its ids apart from those of other figures of the page."""

    def curves(axes) -> None:
        plot = plot_against if panel.against != "step" else plot_steps
        for i, run in enumerate(runs):
            if panel.lines:
                plot_lines(axes, panel.lines[i], colour(i))
            else:
                plot(axes, panel, run, colour(i), thinner(len(runs)))
        finish(axes, panel)

    return element(curves, name, f"{panel.title}, {panel.unit}")


def element(plot: Callable[[Any], None], name: str, label: str) -> str:
    """What `plot` draws on its axes as an SVG element."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(3.7, 2.3))
        axes = figure.subplots()
        figure.subplots_adjust(0.125, 0.165, 0.96, 0.965)
        plot(axes)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True)
    return inline(out.getvalue(), name, html.escape(label, quote=True))


def thinner(runs: int) -> int:
    """Points per line: fewer where many runs share the page, so that it stays light."""
    return min(MOST_POINTS, 2000 // runs)


def finite(run: Run, x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
    a, b = run.metrics.get(x), run.metrics.get(y)
    if a is None or b is None:
        return np.empty(0), np.empty(0)
    keep = np.isfinite(a) & np.isfinite(b)
    return a[keep].astype(np.float64), b[keep]


def plot_steps(axes, panel: Panel, run: Run, tint: str, most: int) -> None:
    """Every value drawn faintly and their running mean on top; few values as dots joined by lines."""
    for name, line in zip(panel.metrics, ("-", (0, (4, 2.5))), strict=False):
        x, y = finite(run, "step", name)
        y = np.cumsum(y) if panel.total else y
        if panel.log:
            x, y = x[y > 0], y[y > 0]
        few = len(y) <= 40
        if not few:
            axes.plot(*decimate(x, y, most), color=tint, linewidth=0.7, alpha=0.3)
            x, y = x, running_mean(y, span(len(y)))
        x, y = thin(x, y, min(most, 250))
        axes.plot(x, y, color=tint, linewidth=1.6, linestyle=line, marker="o" if few else "", markersize=2.6)


def plot_against(axes, panel: Panel, run: Run, tint: str, most: int) -> None:
    """The raw values as faint dots, and the path of their running means from a ring to a dot."""
    x, y = finite(run, panel.against, panel.metrics[0])
    if not len(x):
        return
    axes.plot(*thin(x, y, most), ".", color=tint, markersize=3, alpha=0.3, markeredgewidth=0)
    n = span(len(x))
    x, y = thin(running_mean(x, n), running_mean(y, n), min(most, 250))
    axes.plot(x, y, color=tint, linewidth=1.6)
    axes.plot(x[:1], y[:1], "o", color=tint, markersize=5.5, markerfacecolor="none", markeredgewidth=1.4)
    axes.plot(x[-1:], y[-1:], "o", color=tint, markersize=6)


def plot_lines(axes, lines: list[Line], tint: str) -> None:
    """Curves of an evaluation: dashed before training, solid after it."""
    for line in lines:
        style = (0, (4, 2.5)) if line.before else "-"
        axes.plot(line.x, line.y, color=tint, linewidth=1.6, linestyle=style, marker="o", markersize=2.6)


def span(count: int) -> int:
    """How many neighbouring values a running mean takes: a twentieth of them."""
    return max(1, count // 20)


def running_mean(y: np.ndarray, span: int) -> np.ndarray:
    """Mean over at most `span` values around each; towards an end the window shrinks, to an eighth of the span."""
    total = np.concatenate([[0.0], np.cumsum(y)])
    at, half = np.arange(len(y)), span // 2
    left, right = np.minimum(at, half), np.minimum(at[::-1], half)
    left, right = np.minimum(left, right + half // 4), np.minimum(right, left + half // 4)
    return (total[at + right + 1] - total[at - left]) / (left + right + 1)


def thin(x: np.ndarray, y: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """At most `most` evenly spaced values, both ends among them."""
    index = np.unique(np.linspace(0, len(x) - 1, min(most, len(x))).astype(int))
    return x[index], y[index]


def decimate(x: np.ndarray, y: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """At most `most` values: the smallest and the largest of each stretch, so that no spike is lost."""
    if len(y) <= most:
        return x, y
    stretches = np.array_split(np.arange(len(y)), most // 2)
    index = np.unique([s[at] for s in stretches for at in (y[s].argmin(), y[s].argmax())])
    return x[index], y[index]


def finish(axes, panel: Panel) -> None:
    """Scale and marks. The title stands on the page, not in the figure."""
    axes.margins(x=0.02, y=0.08)
    axes.set_xlabel(panel.across, labelpad=2)
    if panel.diagonal:
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
    if panel.log and len(axes.lines):
        from matplotlib.ticker import LogLocator, NullLocator

        axes.set_yscale("log")
        decades = np.ptp(np.log10(axes.get_ylim()))
        subs = (1,) if decades > 2 else (1, 2, 5) if decades > 0.9 else (1, 1.5, 2, 3, 4, 6, 8)
        axes.yaxis.set_major_locator(LogLocator(subs=subs))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(lambda y, _: f"{y:.1e}".replace(".0", ""))
    if panel.from_zero:
        axes.set_ylim(bottom=0)


def inline(svg: str, name: str, label: str) -> str:
    """The bare <svg> element: no metadata, no addresses, own ids, colours as variables, short numbers."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    head = f'<svg class="plot" role="img" aria-label="{label}" viewBox="0 0 266.4 165.6">'
    svg = re.sub(r"<svg[^>]*>", head, svg, count=1).replace("xlink:href", "href")
    svg = re.sub(r'id="|href="#|url\(#', lambda m: f"{m[0]}{name}-", svg)
    svg = svg.replace(INK, "var(--ink)").replace(FAINT, "var(--line)")
    svg = re.sub(r"#0300(\w\w)", lambda m: f"var(--run{int(m[1], 16)})", svg)
    svg = re.sub(r"font: [^;\"]*;?", "", svg)
    svg = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d\d)\d+", r"\1", tag[0]), svg)
    return re.sub(r"\n\s*", "\n", svg)
