"""One self-contained HTML page for a run or a comparison: no script, no font, no network."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np

from isotherm.errors import UserError
from isotherm.report import examples, figures, origins, outputs, summary, tables
from isotherm.report.panels import Panel, panels
from isotherm.report.text import escape, labels, number, percent
from isotherm.runs import Run, ends_of


def write_report(runs: list[Run], out: Path) -> Path:
    """Write the page of these runs, whole or not at all, and say where it lies."""
    if not runs:
        raise UserError("A report needs at least one run folder.")
    out = Path(out)
    outputs.check([out], [])
    outputs.make_folder(out)
    return outputs.write(out, page(runs))


def page(runs: list[Run]) -> str:
    """The whole page. Everything that a model or a user wrote is escaped on its way in."""
    names = labels(runs)
    heads = [head(name, i) for i, name in enumerate(names)]
    title = " and ".join(names) if len(names) < 3 else f"{len(names)} runs compared"
    style = resources.files("isotherm.report").joinpath("style.css").read_text(encoding="utf-8")
    body = "".join([
        f"<header><p>Isotherm</p><h1>{escape(title)}</h1><p>{escape(subtitle(runs))}</p></header>",
        f'<section class="cards">{"".join(map(card, runs, heads, range(len(runs))))}</section>',
        f'<section class="prose">{"".join(f"<p>{escape(s)}</p>" for s in summary.sentences(runs))}</section>',
        f'<div class="legend">{"".join(heads)}</div>',
        section("Curves", curves(runs)),
        section("Settings", tables.differing([r.config for r in runs], heads, "settings")),
        section("Final values", f"<p>{LAST}</p>" + tables.final_metrics(runs, heads)),
        section("Where the change of entropy came from", origins.origins(runs, heads)),
        section("Responses before and after", answers(runs, heads)),
        section("Environment", tables.differing([r.environment for r in runs], heads, "facts")),
    ])  # fmt: skip
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    scheme = '<meta name="color-scheme" content="light dark">'
    return (
        f'<!doctype html>\n<html lang="en"><head>{meta}{scheme}<title>Isotherm: {escape(title)}</title>'
        f"<style>{style}</style></head><body><main>{body}</main></body></html>\n"
    )


LAST = "The last value of each metric. Hover over a name for its definition."


def section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>" if body else ""


def head(name: str, run: int) -> str:
    """The name of a run with its colour beside it."""
    return f'<span class="run" style="--tint: var(--run{run % figures.COLOURS})">{escape(name)}</span>'


def subtitle(runs: list[Run]) -> str:
    """What the runs have in common."""
    _, common = tables.split_settings([run.config for run in runs])
    words = {"seed": "seed {}", "steps": "{} steps", "prompts": "{} prompts", "group": "{} responses each",
             "updates": "{} updates per rollout", "train": "trained on {}"}  # fmt: skip
    return " · ".join(text.format(common[name][0]) for name, text in words.items() if name in common)


def card(run: Run, name: str, index: int) -> str:
    """The chief numbers of a run: what share of its entropy is left, and its accuracy before and after."""
    first, last = summary.entropy_ends(run)
    left = f"{100 * last / first:.0f} %" if first > 0 and np.isfinite(last) else "–"
    rows = [f"<dt>entropy, nats per token</dt><dd>{number(first)} → {number(last)}</dd>"]
    for scope, words in (("trained", "trained families"), ("held_out", "held-out families")):
        for k in summary.eval_ks(run, scope):
            before, after = ends_of(run, f"eval/{scope}/pass@{k}")
            rows.append(f"<dt>pass@{k}, {words}</dt><dd>{percent(before)} → {percent(after)}</dd>")
    big = f"<p><strong>{left}</strong> of the entropy is left</p>"
    tint = f"--tint: var(--run{index % figures.COLOURS})"
    return f'<div class="card" style="{tint}">{name}{big}<dl>{"".join(rows)}</dl></div>'


def curves(runs: list[Run]) -> str:
    """All figures, with what was done to the values said above them."""
    shown = "".join(figure(panel, runs, f"f{i}") for i, panel in enumerate(panels(runs)))
    return f'<p>{escape(drawn(runs))}</p><div class="figures">{shown}</div>'


def drawn(runs: list[Run]) -> str:
    """How the values of the longest run are drawn."""
    rows, most = max(len(run.metrics["step"]) for run in runs), figures.thinner(len(runs))
    if rows <= 40:
        return "Every value is drawn."
    text = f"Faint: the values. Strong: their running mean over {figures.span(rows):,} steps."
    if rows > most:
        text += f" Of {rows:,} steps at most {most} values are drawn, the smallest and the largest of each stretch."
    return text


def figure(panel: Panel, runs: list[Run], name: str) -> str:
    title = f'<h3>{escape(panel.title)} <span class="unit">{escape(panel.unit)}</span></h3>'
    svg = figures.draw(panel, runs, name)
    return f"<figure>{title}{svg}<figcaption>{escape(panel.caption())}</figcaption></figure>"


def answers(runs: list[Run], heads: list[str]) -> str:
    shown = examples.examples(runs, heads)
    note = f"The first problem of each family and its first {examples.RESPONSES} responses, not selected by outcome."
    return f"<p>{note}</p>{shown}" if shown else ""
