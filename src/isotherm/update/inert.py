"""A word, once, when a term of the method has done nothing for a while."""

from __future__ import annotations

from isotherm.objective.idle import is_idle, terms_of, why
from isotherm.objective.method import Method
from isotherm.update.step import Outcome

EVERY = 5  # steps between looks
LONG = 25  # steps without any effect, after which the run says so


def look(expression: str, method: Method, outcome: Outcome, quiet: dict[str, int], step: int) -> list[str]:
    """Counts in `quiet` for how many steps each term has done nothing, and says so when that becomes LONG."""
    sentences = []
    for term in terms_of(expression, method):
        idle = is_idle(outcome.tokens, method, outcome.decision, term.without)
        quiet[term.name] = quiet.get(term.name, 0) + EVERY if idle else 0
        if quiet[term.name] == LONG:
            reason = why(outcome.tokens, term)
            sentences.append(f"Step {step}: {term.name} has changed nothing for {LONG} steps: {reason}.")
    return sentences
