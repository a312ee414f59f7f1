"""All measures of one evaluation: accuracy, diversity, calibration, entropy along the response."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from isotherm.errors import UserError
from isotherm.measure import calibration, diversity, positions
from isotherm.measure.accuracy import Mean, avg_at_k, majority, mean_over
from isotherm.measure.passk import pass_at_k
from isotherm.records import Rollout, Verdict

SAMPLES = 16  # responses per problem that n-grams are compared over: both measures depend on their number


@dataclass(frozen=True)
class Evaluation:
    """The responses of one evaluation with their normal forms. `for_family` has the same of one family."""

    rollout: Rollout
    forms: list[str | None]  # [B] equal for two responses that mean the same, None without an answer

    @property
    def families(self) -> list[str]:
        """The families that have responses, in their order."""
        return list(dict.fromkeys(self.rollout.problems[g].family for g in self.rollout.group))

    def for_family(self, name: str) -> Evaluation:
        if name not in self.families:
            raise UserError(f"This evaluation has no family {name!r}; it has: {', '.join(self.families)}.")
        return self.rows(np.array([p.family == name for p in self.rollout.problems], dtype=bool)[self.rollout.group])

    def rows(self, keep: np.ndarray) -> Evaluation:
        return Evaluation(self.rollout.rows(keep), [self.forms[i] for i in np.flatnonzero(keep)])

    @cached_property
    def correct(self) -> np.ndarray:
        """[B] bool"""
        return np.array([v is Verdict.CORRECT for v in self.rollout.verdicts], dtype=bool)

    @cached_property
    def by_problem(self) -> list[np.ndarray]:
        """The rows of each problem."""
        return diversity.rows_of(self.rollout.group)

    def pass_at_k(self, k: int) -> Mean:
        """Unbiased pass@k, with the variance that `accuracy.interval` needs."""
        n, c = ([f(rows) for rows in self.by_problem] for f in (len, lambda rows: int(self.correct[rows].sum())))
        return mean_over(pass_at_k(n, c, k))

    def avg_at_k(self, k: int) -> float:
        """Share of correct responses among the first k to each problem."""
        return avg_at_k([self.correct[rows] for rows in self.by_problem], k)

    def confidence(self, notion: str = "normalised") -> np.ndarray:
        """[B] by a notion: `sequence` probability, the same `normalised` by length, or `vote` share."""
        r = self.rollout
        notions = {
            "sequence": lambda: calibration.sequence_probability(r.logprob),
            "normalised": lambda: calibration.token_probability(r.logprob, r.length),
            "vote": lambda: calibration.vote_share(self.forms, r.group),
        }
        if notion not in notions:
            raise UserError(f"There is no notion of confidence {notion!r}: choose among {', '.join(notions)}.")
        return notions[notion]()

    @cached_property
    def judged(self) -> np.ndarray:
        """[B] false where the verifier itself failed, which says nothing about the response."""
        return np.array([v is not Verdict.ERROR for v in self.rollout.verdicts], dtype=bool)

    def reliability(self, notion: str = "normalised", bins: int = calibration.BINS) -> calibration.Reliability:
        """The reliability curve of a notion of confidence, as arrays."""
        return calibration.reliability(self.confidence(notion)[self.judged], self.correct[self.judged], bins)

    def entropy_by_position(self) -> positions.Profile:
        """Mean entropy of token 0, 1, .. of the responses that have it."""
        return positions.by_position(self.entropies, self.rollout.length)

    def entropy_by_part(self, parts: int = 10) -> positions.Profile:
        """Mean entropy in each tenth of the responses."""
        return positions.by_part(self.entropies, self.rollout.length, parts)

    @property
    def entropies(self) -> np.ndarray:
        """[tokens] response by response."""
        width = self.rollout.entropy.shape[1]
        return self.rollout.entropy[np.arange(width) < self.rollout.length[:, None]]

    def measures(self) -> dict[str, float]:
        """The measures that are numbers, by their names in `isotherm metrics`; NaN where there is nothing to see."""
        score = calibration.mean_logprob(self.rollout.logprob, self.rollout.length)
        row = {
            **self.of_answers(),
            **self.of_ngrams(),
            "logprob_gap": calibration.logprob_gap(score[self.judged], self.correct[self.judged]),
            "entropy_prompt": positions.prompt_entropy(self.rollout.entropy, self.rollout.group),
        }
        for notion in ("normalised", "vote"):
            row[f"ece_{notion}"] = calibration.ece(self.reliability(notion))
            row[f"brier_{notion}"] = calibration.brier(self.confidence(notion)[self.judged], self.correct[self.judged])
        return row

    def of_answers(self) -> dict[str, float]:
        """Majority vote, distinct solutions and duplicates by normal form."""
        problems = [([self.forms[i] for i in rows], self.correct[rows].tolist()) for rows in self.by_problem]
        again, answers = np.sum([diversity.duplicates(forms) for forms, _ in problems], axis=0)
        return {
            "majority": mean([majority(forms, right) for forms, right in problems]),
            "distinct_correct": mean([diversity.distinct_correct(forms, right) for forms, right in problems]),
            "duplicates": float(again / answers) if answers else np.nan,
        }

    def of_ngrams(self) -> dict[str, float]:
        """n-gram diversity and Self-BLEU of the first `SAMPLES` responses to each problem, without end-of-text."""
        r = self.rollout.rows(self.rollout.sample < SAMPLES)
        length = r.length - r.finished
        parts = [
            (r.ids[rows, : length[rows].max()], length[rows], r.group[rows])
            for rows in diversity.blocks(length, r.group)
        ]
        return {
            "ngram_diversity": mean(np.concatenate([diversity.ngram_diversity(*part) for part in parts])),
            "self_bleu": mean(np.concatenate([diversity.self_bleu(*part) for part in parts])),
        }


def mean(values: np.ndarray | Sequence[float]) -> float:
    """Mean over what is known."""
    return float(diversity.mean_of_known(np.asarray(values, dtype=np.float64)))
