"""Will this run's entropy collapse? Watched from its first part, with rates measured on the run bank."""

from __future__ import annotations

import numpy as np

START = 3  # rows: their mean is the entropy at the start; one row alone has a noise of several per cent
END = 0.1  # share of the rows, the last ones, whose mean is the entropy at the end
COLLAPSED = 0.5  # of the entropy at the start


def collapsed(entropy: np.ndarray) -> bool:
    """The label of a whole run: mean H of its last tenth < 0.5 x mean H of its first 3 rows. Fixed before any run."""
    return bool(at_the_end(entropy) < COLLAPSED * entropy[:START].mean())


def at_the_end(values: np.ndarray) -> float:
    """Mean of the last tenth of the rows, at least one."""
    return float(values[-max(1, round(END * len(values))) :].mean())
