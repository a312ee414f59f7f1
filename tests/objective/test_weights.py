import dataclasses

import torch

from contracts.streams import batch
from isotherm.objective.weights import truncated_importance


def test_truncated_importance():
    tokens = batch()
    gap = torch.linspace(-1, 1, len(tokens), dtype=torch.float64)
    tokens = dataclasses.replace(tokens, sampler_logprob=tokens.old_logprob - gap)
    torch.testing.assert_close(truncated_importance(tokens, cap=1.5), gap.exp().minimum(torch.tensor(1.5)))
    same = dataclasses.replace(tokens, sampler_logprob=tokens.old_logprob)
    assert (truncated_importance(same, cap=2.0) == 1).all()
