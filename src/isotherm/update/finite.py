"""NaN and infinity are caught where they appear."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


class NonFinite(Exception):
    """A NaN or an infinity, by the name of the quantity in which it was found."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


def require_finite(**quantities: Tensor | np.ndarray | float) -> None:
    """Raises NonFinite for the first quantity that holds one."""
    for name, value in quantities.items():
        if not bool(torch.isfinite(torch.as_tensor(value)).all()):
            raise NonFinite(name.replace("_", " "))
