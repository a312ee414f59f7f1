"""The hyper-parameters that raise or lower entropy: their direction, and the range in which a control may move them."""

from __future__ import annotations

import math
from typing import NamedTuple


class Knob(NamedTuple):
    """`part.parameter` of a method. direction: the sign of dH / d(knob), 0 where it is not known."""

    name: str
    direction: int
    least: float
    most: float


TEMPERATURE = "sampling.temperature"  # belongs to the rollout, whatever the method

KNOBS = {
    knob.name: knob
    for knob in (
        Knob(TEMPERATURE, +1, 0.5, 2.0),
        Knob("ppo_clip.high", +1, 0.02, 1.0),
        Knob("entropy_bonus.c", +1, 0.0, 0.1),
        Knob("adaptive_entropy.c", +1, 0.0, 0.1),
        Knob("reference_kl.c", +1, 0.0, 1.0),
        Knob("par.pos", -1, 0.0, 1.0),
        Knob("par.neg", +1, 0.0, 3.0),
        Knob("par_exponential.k", +1, 0.0, 5.0),
        Knob("kl_cov.beta", +1, 0.0, 10.0),
        Knob("rand_kl_cov.beta", +1, 0.0, 10.0),
        Knob("steer.floor", -1, 0.05, 1.0),
        Knob("entropy_advantage.alpha", +1, 0.0, 2.0),
        Knob("repo.beta", +1, 0.0, 1.0),
        Knob("sampled_entropy.c", +1, 0.0, 0.5),
        Knob("soft_return.c", +1, 0.0, 0.2),
        Knob("reference_ratio.beta", +1, 0.0, 0.5),
        Knob("gtpo.bonus", +1, 0.0, 2.0),
        Knob("grpo_s.bonus", +1, 0.0, 2.0),
        Knob("a3po.scale", +1, 1.0, 5.0),
        Knob("stare.up", +1, 1.0, 2.0),
        Knob("cispo.high", +1, 0.0, 10.0),
        Knob("sequence_ratio.high", +1, 1e-5, 0.5),
        Knob("sapo.neg", 0, 0.2, 5.0),
        Knob("ce_gppo.high", +1, 0.02, 1.0),
        Knob("dcpo.high", +1, 0.02, 1.0),
        Knob("rescue.noise", 0, 0.0, 1.0),
        Knob("erc.high", +1, 0.0, 1.0),
        Knob("clip_b.mu", 0, 0.5, 10.0),
        Knob("clip_v.mu", 0, 0.5, 20.0),
        Knob("mask_falling.floor", -1, 0.0, 1.0),
        Knob("entropy_clip.fork_high", +1, 0.02, 2.0),
        Knob("balanced_clip.rho", +1, 0.0, 1.0),
        Knob("flexible_clip.mode", +1, -1.0, 1.0),
        Knob("siren.anchor", +1, 0.0, 5.0),
        Knob("aent.c", +1, 0.0, 0.1),
        Knob("lp_reg.beta", +1, 0.0, 10.0),
    )
}


def inside(knob: Knob, value: float) -> float:
    """The value, or the bound that it passes.

    >>> inside(KNOBS["par.pos"], 1.5)
    1.0
    """
    return min(knob.most, max(knob.least, value))


def at_bound(knob: Knob, value: float) -> bool:
    return math.isclose(value, knob.least, abs_tol=1e-9) or math.isclose(value, knob.most)
