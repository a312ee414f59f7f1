"""A prognosis or a diagnosis as text for the terminal, as JSON, and as one HTML page without a network request."""

from __future__ import annotations

import dataclasses
import math
import re
import textwrap
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isotherm.errors import UserError
from isotherm.files import json_bytes
from isotherm.measure.prognosis.prognosis import Prognosis
from isotherm.report import outputs
from isotherm.report.prognosis import figures, future
from isotherm.report.prognosis.numbers import Sections, Setting
from isotherm.report.text import clean, escape

if TYPE_CHECKING:
    from isotherm.measure.prognosis.diagnosis import Diagnosis

WIDTH = 100
LEFT_OUT = ("noise", "series", "values", "course")  # arrays, which the log has already


def sections(found: Prognosis | Diagnosis) -> Sections:
    if isinstance(found, Prognosis):
        return future.sections(found)
    from isotherm.report.prognosis import drove  # the table of methods needs torch, and a forecast does not

    return drove.sections(found)


def text(found: Prognosis | Diagnosis, width: int = WIDTH) -> str:
    """The page for the terminal."""
    lines = []
    for title, said in sections(found):
        lines += ["", title] if lines else [title]
        lines += [line(sentence, width) for sentence in said]
    return "\n".join(lines)


def line(sentence: str, width: int) -> str:
    if isinstance(sentence, Setting):
        return f"      {one_line(sentence)}"
    return textwrap.fill(
        kept_together(one_line(sentence)),
        width,
        initial_indent="  ",
        subsequent_indent="    ",
        break_on_hyphens=False,
        break_long_words=False,
    )


def kept_together(sentence: str) -> str:
    """A number and its per cent in one line."""
    return sentence.replace(" %", "\N{NO-BREAK SPACE}%")


def one_line(sentence: str) -> str:
    return " ".join(clean(sentence).split())


def page(found: Prognosis | Diagnosis) -> str:
    """One HTML page. Everything that the log says of itself is escaped on its way in."""
    kind = "Forecast" if isinstance(found, Prognosis) else "Diagnosis"
    drawings = figures.of_prognosis(found) if isinstance(found, Prognosis) else figures.of_diagnosis(found)
    shown = "".join(
        f'<figure><h3>{escape(d.title)} <span class="unit">{escape(d.unit)}</span></h3>{figures.svg(d, f"f{i}")}'
        f"<figcaption>{escape(d.caption)}</figcaption></figure>"
        for i, d in enumerate(drawings)
    )
    (first, lead), *rest = sections(found)
    style = resources.files("isotherm.report").joinpath("style.css").read_text(encoding="utf-8")
    title = escape(f"{kind}: {'/'.join(found.source.file.resolve().parts[-2:])}")
    body = "".join([
        f"<header><p>Isotherm</p><h1>{title}</h1><p>{escape(found.source.file)}</p></header>",
        f'<section class="prose"><h2>{first}</h2>{paragraphs(lead)}</section>',
        f'<section><h2>Figures</h2><div class="figures">{shown}</div></section>',
        *(f'<section class="prose"><h2>{name}</h2>{paragraphs(said)}</section>' for name, said in rest),
    ])  # fmt: skip
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    scheme = '<meta name="color-scheme" content="light dark">'
    return (
        f'<!doctype html>\n<html lang="en"><head>{meta}{scheme}<title>{title}</title>'
        f"<style>{style}</style></head><body><main>{body}</main></body></html>\n"
    )


def paragraphs(said: list[str]) -> str:
    return "".join(f"<pre>{escape(x)}</pre>" if isinstance(x, Setting) else f"<p>{marked(x)}</p>" for x in said)


def marked(sentence: str) -> str:
    """Escaped, with what stands between backticks as code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(kept_together(sentence)))


def as_json(found: Prognosis | Diagnosis) -> dict[str, Any]:
    """Every number and sentence; arrays of the log are left out, and what is not finite is null."""
    names = [field.name for field in dataclasses.fields(found) if field.name not in LEFT_OUT]
    values = {name: plain(getattr(found, name)) for name in names}
    values["step"] = {"first": float(found.step[0]), "last": float(found.step[-1]), "rows": len(found.step)}
    return {**values, "page": dict(sections(found))}


def plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.name not in LEFT_OUT}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value


def write(found: Prognosis | Diagnosis, json: str, out: str) -> list[Path]:
    """The files that are asked for."""
    paths = [Path(name) for name in (json, out) if name]
    outputs.check(paths, [found.source.file])
    for path in paths:
        if not path.parent.is_dir():
            raise UserError(f"{path} cannot be written: the folder {path.parent} does not exist.")
    if json:
        outputs.write(Path(json), json_bytes(as_json(found)))
    if out:
        outputs.write(Path(out), page(found))
    return paths
