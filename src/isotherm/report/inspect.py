"""The microscope: one self-contained page with the responses of a step, token by token."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path

import numpy as np

from isotherm.errors import UserError
from isotherm.report import movers, outputs
from isotherm.report.dumps import files_of, is_dump, of_dump
from isotherm.report.inspected import of_run
from isotherm.report.pack import packed, script_data
from isotherm.report.specimen import Specimen
from isotherm.report.text import escape

MOST = 1_000_000  # tokens on a page


def inspect(source: str | Path, step: int | None = None, out: str | Path = "", model: str = "") -> Path:
    """Writes the page of a step of a run folder or of a dump, and says where it lies."""
    source = Path(source)
    if not source.exists():
        raise UserError(f"{source} does not exist; give a run folder, or a token dump of prime-rl or slime.")
    if (source / "config.json").is_file() or not is_dump(source):
        specimen = of_run(source, step, model)
        default = source / "microscope.html"
    else:
        specimen = of_dump(source, step, model)
        default = Path("microscope.html")
    path = Path(out) if out else default
    outputs.check([path], [source, *files_of(source), *(Path(model).glob("*") if model else ())])
    outputs.make_folder(path)
    return outputs.write(path, page(shortened(specimen)))


def shortened(specimen: Specimen) -> Specimen:
    """The first responses that fit on a page, at least one; what is left out is said."""
    fitting = max(1, int(np.searchsorted(np.cumsum(specimen.length), MOST, side="right")))
    if fitting >= len(specimen.length):
        return specimen
    specimen.notes.append(f"Of {len(specimen.length):,} responses these are the first {fitting:,}.")
    return specimen.first(fitting)


def page(specimen: Specimen) -> str:
    """The whole page. What a model wrote is data and never markup; only the page's own script may run."""
    style, script = part("style.css") + part("inspect.css"), part("inspect.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    title = escape(specimen.title)
    notes = "".join(f"<p>{escape(note)}</p>" for note in [*specimen.notes, PRECISION])
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<title>Isotherm microscope: {title}</title><style>{style}</style></head><body><main>
<header><p>Isotherm microscope</p><h1>{title}</h1></header>
<noscript><p><strong>The responses are drawn by a script, which this browser does not run; what moved the most stands
below without it.</strong></p></noscript>
<div id="controls" hidden></div><div id="split"><div id="responses"></div>
<aside>{movers.tables(specimen)}<details><summary>About these numbers</summary>{notes}</details></aside></div></main>
<div id="tip" role="tooltip" hidden></div>
<script type="application/json" id="specimen">{script_data(packed(specimen))}</script>
<script>{script}</script></body></html>
"""


PRECISION = (
    "Values are kept to three digits. Colours end at the 99th percentile of the values that are not 0; beyond it all "
    "are alike. Responses, groups, samples and positions are counted from 0."
)


def part(name: str) -> str:
    return resources.files("isotherm.report").joinpath(name).read_text(encoding="utf-8")
