"""How good are the law's forecasts on real runs? Every run of the bank, forecast from its first part.

    python bench/hindcast.py [--share 0.3]

From the first rows of a run: the mean reward of its last six rows with the later H given, with H forecast too, and as
it last was (persistence); error, width and coverage of the 90 % intervals. Refusals of the law are counted by reason.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from bank import load
from isotherm.errors import UserError
from isotherm.files import json_bytes, write_whole
from isotherm.measure.laws.forecast import Forecast, forecast

LAST = 6  # rows, the tenth of a run that the reward is a mean over
KINDS = ("given_entropy", "end_to_end", "persistence")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=0.3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "hindcast.json")
    a = parser.parse_args()
    found, refused = [], Counter()
    for run in load():
        t, h, r = (np.asarray(run.metrics[name], float) for name in ("step", "entropy/exact", "reward/mean"))
        rows = np.isfinite(h) & np.isfinite(r)
        try:
            found.append(forecast(t[rows], h[rows], r[rows], None, a.share, LAST))
        except UserError as error:
            refused[" ".join(str(error).split()[:14])] += 1
    print(
        f"{len(found)} runs forecast from their first {a.share:.0%}, {sum(refused.values())} refused: {dict(refused)}"
    )
    kinds = {kind: row(found, kind) for kind in KINDS}
    for kind, x in kinds.items():
        low, high = x["interval"]
        print(f"{kind:14} rms error {x['rmse']:.4f}  bias {x['bias']:+.4f}  width {x['width']:.3f}  covered "
              f"{x['covered']:.1%} [{low:.1%}, {high:.1%}]")  # fmt: skip
    write_whole(a.out, json_bytes({"share": a.share, "runs": len(found), "refused": dict(refused), "kinds": kinds}))


def row(found: list[Forecast], kind: str) -> dict:
    estimates = [(getattr(f, kind), f.observed) for f in found]
    inside = [e.low <= x <= e.high for e, x in estimates]
    errors = np.array([e.value - x for e, x in estimates])
    return {
        "rmse": float(np.sqrt((errors**2).mean())), "bias": float(errors.mean()),
        "width": float(np.median([e.high - e.low for e, _ in estimates])),
        "covered": float(np.mean(inside)),
        "interval": list(binomtest(sum(inside), len(inside)).proportion_ci(method="wilson")),
    }  # fmt: skip


if __name__ == "__main__":
    main()
