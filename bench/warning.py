"""The early warning from the committed bank, without training: fit on even seeds, rates on odd ones, ROC curves.

python bench/warning.py                 writes results/warning.json and docs/warning.svg; prints the constants of the
                                        package (FITS in measure/warning.py) and the table of docs/warning.md
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bank import BANK, Saved, load
from isotherm.files import write_whole
from isotherm.measure import roc, warning
from isotherm.measure.accuracy import interval, mean_over
from isotherm.measure.alarms import collapse_in_spite, explosion, no_learning
from isotherm.measure.warning import COLLAPSED, Fit, collapsed, logit
from isotherm.measure.watched import Watched, watched

ROOT = Path(__file__).parents[1]
SHARES = (0.1, 0.2, 0.3)
OWN = 1000  # seeds from here on are of one run each
FALSE_POSITIVES = 0.1  # at most, on the even seeds
RIDGE = 1.0  # of the standardised weights
# Of 25 sets the best on the even seeds of the first 150 runs; MORE is, WATCHED of those that need the entropy alone.
WATCHED = ("fall", "pace")
MORE = (*WATCHED, "unparsed")
ALARMS = {"explosion": explosion, "collapse in spite": collapse_in_spite, "no learning": no_learning}


def fallen(run: Watched) -> float:
    """log(H at the start / H now): the baseline, what a look at the current entropy tells."""
    return float(np.log(run.start / run.now))


FEATURES = {**warning.FEATURES, "fallen": fallen, "unparsed": lambda run: run.mean("verdict/unparsed")}


@dataclass
class Half:
    """Runs of the bank, cut where the warning is due."""

    runs: list[Saved]
    cut: list[Watched]
    label: np.ndarray
    already: np.ndarray  # below half when the warning is due

    def where(self, keep: np.ndarray) -> Half:
        rows = np.flatnonzero(keep)
        return Half([self.runs[i] for i in rows], [self.cut[i] for i in rows], self.label[keep], self.already[keep])

    def of(self, name: str) -> np.ndarray:
        return np.array([run.settings[name] for run in self.runs])

    def features(self, names: tuple[str, ...]) -> np.ndarray:
        return np.array([[FEATURES[name](run) for name in names] for run in self.cut])


def whole(run: Saved) -> bool:
    """Whether the run went to its last step; one that stopped has no end to label."""
    return len(run.metrics["step"]) == run.settings["steps"]


def halves(runs: list[Saved], share: float) -> tuple[Half, Half]:
    """Even seeds, odd seeds."""
    runs = [run for run in runs if whole(run)]
    all_rows = [watched(run.metrics) for run in runs]
    cut = [rows.first(warning.rows_at(share, len(rows.entropy))) for rows in all_rows]
    label = np.array([collapsed(rows.entropy) for rows in all_rows])
    both = Half(runs, cut, label, np.array([rows.now < COLLAPSED * rows.start for rows in cut]))
    even = both.of("seed") % 2 == 0
    return both.where(even), both.where(~even)


def logistic(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means, scales and weights (bias first) of a logistic regression with a ridge, by Newton's steps."""
    mean, scale = x.mean(0), x.std(0)
    z = np.column_stack([np.ones(len(x)), (x - mean) / scale])
    weights, ridge = np.zeros(z.shape[1]), RIDGE * np.eye(z.shape[1])
    ridge[0, 0] = 0
    for _ in range(30):
        p = 1 / (1 + np.exp(-z @ weights))
        weights += np.linalg.solve((z.T * (p * (1 - p))) @ z + ridge, z.T @ (y - p) - ridge @ weights)
    return mean, scale, weights


def fitted(half: Half, share: float, names: tuple[str, ...]) -> Fit:
    """Weights and threshold from one half; the rates are still to be measured."""
    left = half.where(~half.already)
    x = left.features(names)
    mean, scale, weights = logistic(x, left.label.astype(float))
    parts = [tuple(round(float(v), 4) for v in part) for part in (mean, scale, weights[1:])]
    fit = Fit(share, names, *parts, bias=round(float(weights[0]), 4), threshold=0.0, rates=(np.nan, np.nan))
    threshold = roc.threshold_at(logit(fit, x), left.label, FALSE_POSITIVES)
    return Fit(**{**asdict(fit), "threshold": round(threshold, 4)})


def rate(alarm: np.ndarray) -> dict[str, Any]:
    low, high = interval(mean_over(alarm.astype(float))) if len(alarm) > 1 else (0.0, 1.0)
    return {"rate": float(alarm.mean()) if len(alarm) else None, "low": low, "high": high, "runs": len(alarm)}


def area(score: np.ndarray, label: np.ndarray) -> dict[str, Any]:
    """The area with its interval; None where all runs are of one kind."""
    positives, value = int(label.sum()), roc.area(score, label)
    if not 0 < positives < len(label):
        return {"value": None, "low": None, "high": None}
    low, high = roc.area_interval(value, positives, len(label) - positives)
    return {"value": value, "low": low, "high": high}


def measured(fit: Fit, even: Half, odd: Half) -> dict[str, Any]:
    """Rates of odd seeds at thresholds that the even seeds chose, of the warning and of the entropy now."""
    score, (plain, baseline) = (
        logit(fit, odd.features(fit.features)),
        (h.features(("fallen",))[:, 0] for h in (even, odd)),
    )
    at, label = roc.threshold_at(plain, even.label, FALSE_POSITIVES), odd.label
    alarm, simple = score >= fit.threshold, baseline >= at
    return {
        "runs": len(label),
        "collapsed": int(label.sum()),
        "area": area(score, label),
        "area of the baseline": area(baseline, label),
        "difference": dict(zip(("low", "high"), roc.difference_interval(score, baseline, label), strict=True)),
        "false positives": rate(alarm[~label]),
        "detected": rate(alarm[label]),
        "precision": rate(label[alarm]),
        "false positives of the baseline": rate(simple[~label]),
        "detected by the baseline": rate(simple[label]),
        "baseline's threshold, share left": float(np.exp(-at)),
        "curve": points(score, label),
        "curve of the baseline": points(baseline, label),
    }


def evaluate(runs: list[Saved], share: float, names: tuple[str, ...]) -> tuple[Fit, dict[str, Any]]:
    """The fit of a share to even seeds, and what it is worth on odd ones: those of one run each, then all."""
    even, odd = halves(runs, share)
    fit = fitted(even, share, names)
    own = odd.where(odd.of("seed") >= OWN)
    left_even, left = even.where(~even.already), own.where(~own.already)
    result = {"share": share, "already below half": int(own.already.sum())} | measured(fit, left_even, left)
    result["with those already below half"] = measured(fit, even, own)
    result["all odd seeds"] = measured(fit, left_even, odd.where(~odd.already))
    result |= variants(fit, left_even, left)
    rates = (round(result["false positives"]["rate"], 3), round(result["detected"]["rate"], 3))
    return Fit(**{**asdict(fit), "rates": rates}), result


def variants(fit: Fit, even: Half, odd: Half) -> dict[str, Any]:
    """The area by task, for methods and tasks that a fit never saw, with one more feature, and for other labels."""
    score, label, more = logit(fit, odd.features(fit.features)), odd.label, fitted(even, fit.share, MORE)
    end = np.array([warning.at_the_end(run.metrics["entropy/exact"]) for run in odd.runs])
    end /= np.array([run.start for run in odd.cut])
    strange = without(even, odd, fit, "train")
    return {
        "area by task": {task: area(score[m], label[m]) for task, m in masks(odd, "train")},
        "area for methods never fitted": area(without(even, odd, fit, "method"), label),
        "area for tasks never fitted": {task: area(strange[m], label[m]) for task, m in masks(odd, "train")},
        "area with unparsed responses": area(logit(more, odd.features(MORE)), label),
        "area by what is called collapsed": {
            f"below {x}": area(score, end < x) | {"collapsed": int((end < x).sum())} for x in (0.4, 0.5, 0.6, 0.7)
        },
    }


def masks(half: Half, name: str) -> list[tuple[str, np.ndarray]]:
    return [(str(value), half.of(name) == value) for value in dict.fromkeys(half.of(name))]


def without(even: Half, odd: Half, fit: Fit, by: str) -> np.ndarray:
    """Scores of odd seeds by fits to the even ones that never saw the run's method, or task."""
    score = np.empty(len(odd.runs))
    for value, mask in masks(odd, by):
        other = fitted(even.where(even.of(by) != value), fit.share, fit.features)
        score[mask] = logit(other, odd.where(mask).features(fit.features))
    return score


def points(score: np.ndarray, label: np.ndarray) -> dict[str, list[float]]:
    false, found, _ = roc.curve(score, label)
    return {"false positives": false.round(4).tolist(), "detected": found.round(4).tolist()}


def fired(runs: list[Saved]) -> dict[str, Any]:
    """How often each alarm fires at the end of a run, by method, and over what became of the entropy."""
    found: dict[str, Any] = {}
    rows = [(run, watched(run.metrics)) for run in runs if whole(run)]
    for name, alarm in ALARMS.items():
        on = [bool(alarm(cut)) for _, cut in rows]
        by = Counter(run.settings["method"] for (run, _), yes in zip(rows, on, strict=True) if yes)
        early = sum(bool(alarm(cut.first(warning.rows_at(0.5, len(cut.entropy))))) for _, cut in rows)
        found[name] = {"runs": sum(on), "of": len(on), "after half of the run": early, "by method": dict(by)}
    return found


def draw(results: list[dict[str, Any]], out: Path) -> None:
    """ROC curves of the odd seeds, a panel for each share."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "warning"})
    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    for axes, r in zip(figure.subplots(1, len(results), sharey=True), results, strict=True):
        for key, kind, style in (("", "warning", "C0-"), (" of the baseline", "entropy now", "C1--")):
            a, c = r["area" + key], r["curve" + key]
            told = f"{kind}: {a['value']:.2f} ({a['low']:.2f} to {a['high']:.2f})"
            axes.step(c["false positives"], c["detected"], style, where="post", label=told)
        axes.plot(r["false positives"]["rate"], r["detected"]["rate"], "C0o", label="the threshold")
        axes.plot([0, 1], [0, 1], color="0.8", zorder=0)
        axes.set(title=f"first {100 * r['share']:.0f} % of the run", xlabel="false-positive rate", aspect="equal")
        axes.legend(loc="lower right", fontsize=7, title="area, 95 %", title_fontsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("detection rate")
    figure.savefig(out, metadata={"Date": None} if out.suffix == ".svg" else None)


ROWS = {
    "runs, of them collapsed": lambda r: f"{r['runs']}, {r['collapsed']}",
    "already below half by then": lambda r: f"{r['already below half']}",
    "area under the curve": lambda r: among(r["area"]),
    "the same, of the entropy now": lambda r: among(r["area of the baseline"]),
    "difference of the areas": lambda r: f"{r['difference']['low']:+.2f} to {r['difference']['high']:+.2f}",
    "false positives at the threshold": lambda r: among(r["false positives"], "rate"),
    "collapses found": lambda r: among(r["detected"], "rate"),
    "collapses among the alarms": lambda r: among(r["precision"], "rate"),
    "false positives of the entropy now": lambda r: among(r["false positives of the baseline"], "rate"),
    "collapses found by it": lambda r: among(r["detected by the baseline"], "rate"),
    "area for methods never fitted": lambda r: among(r["area for methods never fitted"]),
    "area with unparsed responses as well": lambda r: among(r["area with unparsed responses"]),
}


def among(x: dict[str, Any], name: str = "value") -> str:
    return "-" if x[name] is None else f"{x[name]:.2f} ({x['low']:.2f} to {x['high']:.2f})"


def table(results: list[dict[str, Any]]) -> str:
    """The table of docs/warning.md."""
    head = "| | " + " | ".join(f"first {100 * r['share']:.0f} %" for r in results) + " |"
    rows = [f"| {name} | " + " | ".join(cell(r) for r in results) + " |" for name, cell in ROWS.items()]
    return "\n".join([head, "|---" * (len(results) + 1) + "|", *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bank", type=Path, default=BANK)
    parser.add_argument("--out", type=Path, default=BANK.parent.parent / "warning.json")
    parser.add_argument("--figure", type=Path, default=ROOT / "docs" / "warning.svg")
    options = parser.parse_args()
    runs = load(options.bank)
    found = [evaluate(runs, share, WATCHED) for share in SHARES]
    results = [result for _, result in found]
    record = {
        "runs": len(runs),
        "stopped": [{**r.settings, "why": r.made["stopped"]} for r in runs if not whole(r)],
        "commits": dict(Counter(r.made["commit"] for r in runs)),
        "shares": results,
        "alarms": fired(runs),
    }
    write_whole(options.out, json.dumps(record, indent=1) + "\n")
    draw(results, options.figure)
    print("\n".join(f"    {fit}," for fit, _ in found))
    print(table(results))


if __name__ == "__main__":
    main()
