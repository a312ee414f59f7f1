"""Which entropy and which reward of a log are used: one series each, never two meanings in one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isotherm.errors import UserError
from isotherm.measure.catalogue import describe
from isotherm.measure.logs.record import Log

# In the order of preference; entropy/importance_weighted is no entropy, and is used only where it is asked for.
ENTROPIES = (
    "entropy/exact_per_response", "entropy/exact", "entropy/untempered", "entropy/sampled", "entropy/unknown",
)  # fmt: skip
EXACT = ENTROPIES[:2]
WEIGHTED = "entropy/importance_weighted"
WHY = ("not read", "no numbers", "NaN or infinite", "is beyond")  # in notes that say why a series is not there
REWARDS = ("pass@1/train", "reward/mean")


@dataclass(frozen=True)
class Chosen:
    """A series of the log: our name, the log's, what both mean, and which others there are that are not mixed in."""

    name: str
    key: str
    note: str  # what the log's tool means by it
    definition: str  # what the name means here
    values: np.ndarray
    others: tuple[str, ...] = ()


def chosen(log: Log, asked: str, names: tuple[str, ...]) -> Chosen | None:
    """The series that is asked for, or else the first of the names that has a value; None where there is none."""
    there = [name for name in log.series if np.isfinite(log.series[name]).any()]
    if asked and asked not in there:
        which = ", ".join([name for name in there if name in names] or there[:12])
        raise UserError(f"{log.source.file} has no {asked!r}; it has: {which}.")
    name = asked or next((name for name in names if name in there), "")
    if not name:
        return None
    metric, origin = describe(name), log.origin[name]
    others = tuple(other for other in names if other in there and other != name)
    return Chosen(name, origin.key, origin.note, metric.definition if metric else "", log.series[name], others)


def entropy_of(log: Log, asked: str = "") -> Chosen | None:
    """The entropy of a log; `asked` is one of our names."""
    if asked and not asked.startswith("entropy/"):
        valid = ", ".join((*ENTROPIES, WEIGHTED))
        raise UserError(f"{asked!r} is no entropy; its names are {valid}.")
    return chosen(log, asked, (*ENTROPIES, WEIGHTED) if asked else ENTROPIES)


def reward_of(log: Log, asked: str = "") -> Chosen | None:
    """The reward of a log: the share that is correct where it is logged, else the mean reward."""
    return chosen(log, asked, REWARDS)


def lacks_entropy(log: Log) -> str:
    """What a log without an entropy lacks, and what it has."""
    there = [name for name in log.origin if np.isfinite(log.series[name]).any()]
    series = ", ".join(f"{log.origin[name].key} ({name})" for name in there[:12]) or "no numbers at all"
    more = ", ..." if len(there) > 12 else ""
    hint = ""
    if WEIGHTED in there:
        hint = f"Its {log.origin[WEIGHTED].key} is no entropy; --entropy {WEIGHTED} takes it nevertheless. "
    unread = " ".join(note for note in log.notes if any(why in note for why in WHY))
    return (
        f"{log.source.file} holds no entropy, so nothing can be said about it. {hint}Found were: "
        f"{series}{more}. {unread} "
        "Log the entropy of the policy, or say which column it is: --column NAME=entropy/exact."
    ).replace("  ", " ")
