"""Beyond the 80/20 Rule (arXiv 2506.01939): only the tokens of high entropy, where a response forks, are trained on."""

from __future__ import annotations

import math

from torch import Tensor

from isotherm.objective.factors import reads
from isotherm.records import Tokens
from isotherm.tokens.select import smallest


@reads("entropy")
def forking_tokens(tokens: Tokens, *, rho: float = 0.2) -> Tensor:
    """Weight 1 on the max(1, floor(rho T)) tokens of largest H in the batch, 0 elsewhere (arXiv 2506.01939, sec. 5).

    The paper's threshold is the same quantile, and ties at it are settled by key here.
    """
    count = min(max(1, math.floor(rho * len(tokens))), len(tokens))
    return smallest(-tokens.entropy, tokens.key, count).to(tokens.advantage.dtype)
