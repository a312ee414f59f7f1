"""A decoding step of the built-in decoder: with the ordinary cache, and at fixed addresses as a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from gpu_clock import interleaved, seconds
from isotherm.policy.batch import Batch, pad_prompts
from isotherm.policy.decoder import Decoder, Shape
from isotherm.policy.graphs import Graphed

DECODERS = {"0.5B": (896, 24, 14, 2, 64, 4864), "10M": (256, 8, 8, 4, 32, 1024)}  # width, layers, heads, kv, head, mlp
TINY = (16, 2, 2, 2, 8, 24)


def measure_decoding(name: str, rows: int, steps: int, rounds: int, device: str) -> dict[str, Any]:
    """Seconds of one step for all rows, without the head."""
    width, layers, heads, kv, head, mlp = TINY if device == "cpu" else DECODERS[name]
    shape = Shape(128, width, layers, heads, kv, head, mlp, rope_theta=1e6, norm_eps=1e-6, bias=True, tied=True)
    decoder = Decoder(shape, torch.bfloat16).init(0).to(device)
    prompts, lengths = pad_prompts([[5] * 64] * (rows // 8), device)
    empty = torch.zeros(rows, 1, dtype=torch.int64, device=device)
    batch = Batch(prompts, lengths, empty, empty[:, 0])

    def run(model) -> Callable[[], None]:
        def steps_of() -> None:
            for _ in range(steps):
                model.advance(cache, empty[:, 0])

        cache, _ = model.start(batch, steps * (rounds + 1))
        steps_of()
        return steps_of

    with torch.no_grad():
        calls = {"ordinary": run(decoder.frozen()), "graph": run(Graphed(decoder.frozen()))}
        found = interleaved(calls, rounds, lambda call: seconds(call, device) / steps)
    return {"decoder": name, "rows": rows, **found}
