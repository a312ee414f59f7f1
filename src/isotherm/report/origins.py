"""Where the measured change of entropy came from: its splits, and the covariance of the tokens by top share."""

from __future__ import annotations

from isotherm.errors import UserError
from isotherm.report.tables import details, table
from isotherm.report.text import escape, number, percent
from isotherm.runs import Run

SPLITS = {
    "sign": "sign of the advantage",
    "quadrant": "quadrant (arXiv 2510.10150, exact boundary)",
    "covariance": "share of the tokens, by covariance from the top",
}
COLUMNS = ("share of tokens", "predicted change", "measured change", "share of |loss|", "share of gradient norms")
NOTE = (
    "From the updates that were measured token by token, the mean over them. Changes in nats per token; the prediction "
    "is the exact first order at each token's own logits, up to a scale."
)
TOPS = "covariance of log pi and A, tokens by rank (arXiv 2505.22617)"


def origins(runs: list[Run], heads: list[str]) -> str:
    """The tables of every run with measured updates, or nothing; where they are damaged, a sentence."""
    measured = [(run, head) for run, head in zip(runs, heads, strict=True) if run.measured_steps]
    shown = "".join(block(run, head) for run, head in measured)
    return f"<p>{NOTE}</p>{shown}" if shown else ""


def block(run: Run, head: str) -> str:
    try:
        splits = "".join(details(f"By {text}", parts(run, by)) for by, text in SPLITS.items())
        return f"<p>{head}</p>{tops(run)}{splits}"
    except UserError as error:
        return f"<p>{head} {escape(str(error))}</p>"


def tops(run: Run) -> str:
    """A row of the mean covariance of each top share."""
    from isotherm.report.dynamics import covariance_table  # with torch, which a page without it need not wait for

    found = covariance_table(run)
    shares = [f"top {100 * share:g} %" if share < 1 else "all" for share in found]
    return table([TOPS, *shares], [["mean covariance", *map(number, found.values())]])


def parts(run: Run, by: str) -> str:
    """A row for every label."""
    rows = [
        [escape(row[by]), percent(row["tokens"]), number(row["predicted"]), number(row["measured"]),
         percent(row["loss"]), percent(row["gradient"])]
        for row in run.attribution(by).to_pylist()
    ]  # fmt: skip
    return table(["", *COLUMNS], rows)
