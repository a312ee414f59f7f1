"""The bank of runs: cheap runs of the built-in model, made once and committed, so that figures need no training.

python bench/bank.py                    make the runs that are missing; interrupt it, and give it again to go on
python bench/bank.py --list             say what there is
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from isotherm.errors import UserError
from isotherm.files import write_whole
from isotherm.update.environment import describe

BANK = Path(__file__).parent / "results" / "bank" / "runs.parquet"
METHODS = (
    "grpo",
    "positive_only",
    "kl_cov(k=0.2,beta=3)",
    "w_reinforce",
    "clip_higher",
    "par",
    "entropy_bonus(c=0.2)",
    "steer",
    "clip_cov(ratio=0.05,low=0.2,high=5)",
    "repo(beta=0.1)",
    "entropy_bonus(c=0.05)",
)
FIXED = {"steps": 64, "prompts": 16, "group": 8, "held_out": "", "dtype": "bfloat16"}
QUIET = {"eval_problems": 0, "store_every": 0, "save_every": 1000, "threads": 1}
COLUMNS = (
    "step", "entropy/exact", "reward/mean", "length/mean", "length/overlong", "signal/groups", "verdict/unparsed",
    "update/grad_norm", "update/clip_low", "update/clip_high", "update/kl_old", "update/ratio_max",
    "method/touched", "method/covariance",
)  # fmt: skip


def grid() -> list[dict[str, Any]]:
    """Every run of the bank, in the order in which they are made: both seeds of a setting stand together.

    Runs of one seed and task are set the same problems in every step, so that methods can be compared on them, but they
    are no independent draws: after the first 162, every run has a seed of its own.
    """
    settings = [
        {"method": m, "lr": lr, "updates": u, "train": task, "signal": signal(m), **FIXED}
        for lr, task, u, m in itertools.product((1e-4, 5e-5, 2e-4), ("countdown:2", "countdown:1"), (8, 2), METHODS)
    ]
    first = [s | {"seed": seed} for s in settings[:81] for seed in ((0, 1) if s["train"] == "countdown:2" else (2, 3))]
    order = np.random.default_rng(0).permutation(len(settings))
    return first + [settings[i] | {"seed": 1000 + 2 * int(i) + odd} for i in order for odd in (0, 1)]


def signal(method: str) -> str:
    """W-REINFORCE learns from groups whose rewards are all equal; the others do not."""
    return "keep" if method.startswith("w_reinforce") else "drop"


@dataclass
class Saved:
    """A run of the bank: its settings, what made it, and its metrics."""

    settings: dict[str, Any]
    made: dict[str, Any]
    metrics: dict[str, np.ndarray] = field(repr=False)


def make(settings: dict[str, Any], code: dict[str, Any], columns: Sequence[str] = COLUMNS) -> Saved:
    """Trains in a folder that is deleted afterwards; a run that stops early keeps its rows and the reason."""
    import isotherm

    folder, begun, stopped = Path(tempfile.mkdtemp(prefix="bank-")), time.process_time(), None
    try:
        try:
            run = isotherm.train(quiet=True, out=str(folder / "run"), **QUIET | settings)
        except UserError as error:
            run, stopped = isotherm.load_run(folder / "run"), str(error)
        steps = len(run.metrics["step"])
        metrics = {c: run.metrics.get(c, np.full(steps, np.nan)).astype(np.float32) for c in columns}
        seconds = round(time.process_time() - begun, 1)
        return Saved(settings, {"cpu seconds": seconds, "stopped": stopped, **code}, metrics)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def load(path: Path = BANK) -> list[Saved]:
    """The runs of the bank; none where there is no file."""
    if not path.is_file():
        return []
    try:
        table = pq.read_table(path)
        heads = json.loads((table.schema.metadata or {})[b"runs"])
        number, columns = table["run"].to_numpy(), {c: table[c].to_numpy() for c in table.column_names if c != "run"}
    except (pa.ArrowException, ValueError, KeyError, OSError) as error:
        raise UserError(f"{path} is damaged, and is no bank of runs: {' '.join(str(error).split())[:200]}.") from None
    return [
        Saved(head["settings"], head["made"], {c: x[number == i] for c, x in columns.items()})
        for i, head in enumerate(heads)
    ]


def save(runs: list[Saved], path: Path = BANK) -> None:
    """One file, written whole: columns of all runs below one another, their settings in the head."""
    columns = {c: pa.array(np.concatenate([r.metrics[c] for r in runs])) for c in runs[0].metrics}
    number = np.concatenate([np.full(len(r.metrics["step"]), i, np.int16) for i, r in enumerate(runs)])
    heads = json.dumps([{"settings": r.settings, "made": r.made} for r in runs])
    table = pa.table({"run": pa.array(number), **columns}).replace_schema_metadata({"runs": heads})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", compression_level=19)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, sink.getvalue().to_pybytes())


def missing(runs: list[Saved], wanted: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The settings that there is no run of."""
    there = {identity(r.settings) for r in runs}
    return [s for s in wanted if identity(s) not in there]


def identity(settings: dict[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)


def follow(parent: int) -> None:
    """Ends this process soon after its parent, however that ended: the pool alone would wait for ever."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def made(todo: list[dict[str, Any]], jobs: int) -> Iterator[Saved]:
    """Runs as they end, at most `jobs` at a time, each in a process that is kept."""
    waiting, code = iter(todo), describe()
    with ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=follow, initargs=(os.getpid(),)
    ) as pool:
        going: set[Future[Saved]] = {pool.submit(make, s, code) for s in itertools.islice(waiting, jobs)}
        while going:
            done, going = wait(going, return_when=FIRST_COMPLETED)
            going |= {pool.submit(make, s, code) for s in itertools.islice(waiting, len(done))}
            for future in done:
                yield future.result()


def fill(jobs: int, limit: int | None) -> None:
    """Makes what is missing, and writes the bank after every run."""
    runs = load()
    todo = missing(runs, grid())[:limit]
    begun = time.monotonic()
    print(f"{BANK}: {len(runs)} runs there, {len(todo)} to make", flush=True)
    for count, run in enumerate(made(todo, jobs), 1):
        runs.append(run)
        save(runs)
        left = (time.monotonic() - begun) / count * (len(todo) - count) / 60
        print(f"{len(runs)}/{len(grid())}  {told(run)}  {left:.0f} min left", flush=True)


def told(run: Saved) -> str:
    h, s = run.metrics["entropy/exact"], run.settings
    name = f"{s['method']}, {s['train']}, lr {s['lr']:g}, {s['updates']} updates, seed {s['seed']}"
    return f"{name}: H {h[0]:.3f} to {h[-6:].mean():.3f}, {run.made['cpu seconds']} s {run.made['stopped'] or ''}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--limit", type=int, help="make at most so many")
    parser.add_argument("--list", action="store_true", help="say what there is, and make nothing")
    options = parser.parse_args()
    if options.list:
        runs = load()
        print("\n".join(told(r) for r in runs) + f"\n{len(runs)} of {len(grid())} runs")
    else:
        fill(options.jobs, options.limit)


if __name__ == "__main__":
    main()
