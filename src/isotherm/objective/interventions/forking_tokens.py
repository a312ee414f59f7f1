"""Beyond the 80/20 Rule (arXiv 2506.01939): only the tokens of high entropy, where a response forks, are trained on."""

from __future__ import annotations

import math

import torch
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


@reads("entropy")
def above_quantile(tokens: Tokens, *, rho: float = 0.2) -> Tensor:
    """Weight 1 where H is not below its (1 - rho)-quantile, interpolated between tokens, with all ties; 0 elsewhere.

    H is rounded to float32, as in the implementations that choose so.
    """
    if not len(tokens):
        return torch.ones_like(tokens.advantage)
    entropy = tokens.entropy.float()
    return (entropy >= entropy.quantile(1 - rho)).to(tokens.advantage.dtype)
