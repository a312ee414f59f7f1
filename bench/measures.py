"""What the measures of an evaluation cost: seconds of each on one default evaluation, and their share of a default run.

    python bench/measures.py [--rounds 5] [--problems 32] [--samples 16] [--run]

`--run` also trains the default run to its end in a folder that is removed afterwards; it takes half a minute.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

import isotherm
from isotherm.measure.accuracy import interval
from isotherm.measure.evaluation import Evaluation
from isotherm.policy.model import load_policy
from isotherm.records import Rollout
from isotherm.rollout.sampler import Sampling
from isotherm.tasks.problems import forms
from isotherm.update.config import Config
from isotherm.update.evaluate import eval_metrics, evaluate, test_sets


def median_seconds(work: Callable[[], object], rounds: int) -> float:
    """Median of the process's CPU seconds."""
    found = []
    for _ in range(rounds + 1):  # the first warms up
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return statistics.median(found[1:])


def parts(rollout: Rollout, config: Config) -> dict[str, Callable[[], object]]:
    """Each kind of measure over all families, as an evaluation computes it, and the whole row."""
    normal = forms(rollout)
    evaluation = Evaluation(rollout, normal)
    each = [evaluation.for_family(name) for name in evaluation.families]
    return {
        "normal forms": lambda: forms(rollout),
        "n-grams and Self-BLEU": lambda: [of.of_ngrams() for of in each],
        "majority, solutions, duplicates": lambda: [of.of_answers() for of in each],
        "pass@k and interval": lambda: [interval(of.pass_at_k(k)) for of in each for k in config.eval_k],
        "ECE by vote": lambda: [of.reliability("vote") for of in each],
        "the whole row": lambda: eval_metrics(rollout, {"countdown"}, config.eval_k),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--problems", type=int, default=32)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--run", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = Config(eval_problems=options.problems, eval_samples=options.samples, eval_k=(1, options.samples))
    policy, rule = load_policy("builtin"), Sampling(config.max_new, 1.0)
    rollout = evaluate(policy, test_sets(config), options.samples, rule, seed=0, step=0, rules=False)
    print(
        f"{len(rollout.texts)} responses, {int(rollout.length.sum())} tokens; CPU seconds, median of {options.rounds}"
    )
    seconds = {name: median_seconds(work, options.rounds) for name, work in parts(rollout, config).items()}
    for name, value in seconds.items():
        print(f"  {name:32} {1000 * value:7.1f} ms")
    if options.run:
        with tempfile.TemporaryDirectory() as folder:
            start = time.process_time()
            run = isotherm.train(out=str(Path(folder) / "run"), quiet=True)
            whole, count = time.process_time() - start, len(run.eval_steps)
        share = count * seconds["the whole row"] / whole
        print(f"a default run: {whole:.1f} CPU seconds with {count} evaluations, {100 * share:.2f} % in their measures")


if __name__ == "__main__":
    main()
