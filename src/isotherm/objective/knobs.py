"""The hyper-parameters that raise or lower entropy: their direction, and the range in which a control may move them."""

from __future__ import annotations

import math
from typing import NamedTuple


class Knob(NamedTuple):
    """`part.parameter` of a method. direction: the sign of dH / d(knob), 0 where it is not known.

    Its scale is linear well below the knee and logarithmic well above. `pushed`: its effect is that on the states it
    pushes, so that the first order of a softmax tells it; what works through the parameters that states share has to be
    learnt in the run.
    """

    name: str
    direction: int
    least: float
    most: float
    knee: float = math.inf
    pushed: bool = False

    def place(self, value: float) -> float:
        """Where on the scale a value stands, from 0 at `least` to 1 at `most`.

        >>> KNOBS["par.neg"].place(3.0)
        0.5
        """
        return (self.bent(value) - self.bent(self.least)) / (self.bent(self.most) - self.bent(self.least))

    def value(self, place: float) -> float:
        """The value at a place; places beyond 0 and 1 are the bounds.

        >>> KNOBS["par.neg"].value(1.5)
        15.0
        """
        if not 0 < place < 1:
            return self.least if place <= 0 else self.most
        bent = self.bent(self.least) + place * (self.bent(self.most) - self.bent(self.least))
        return bent if math.isinf(self.knee) else self.knee * math.expm1(bent)

    def bent(self, value: float) -> float:
        return value if math.isinf(self.knee) else math.log1p(value / self.knee)


TEMPERATURE = "sampling.temperature"  # belongs to the rollout, whatever the method

KNOBS = {
    knob.name: knob
    for knob in (
        Knob(TEMPERATURE, +1, 0.5, 2.5, pushed=True),
        Knob("ppo_clip.high", +1, 0.02, 1.0),
        Knob("entropy_bonus.c", +1, -0.1, 0.3, pushed=True),
        Knob("adaptive_entropy.c", +1, 0.0, 0.1, pushed=True),
        Knob("reference_kl.c", +1, 0.0, 1.0),
        Knob("par.pos", -1, 0.0, 1.0, 0.05),
        Knob("par.neg", +1, 0.0, 15.0, 1.0),
        Knob("par_exponential.k", +1, 0.0, 5.0),
        Knob("kl_cov.beta", +1, 0.0, 10.0),
        Knob("rand_kl_cov.beta", +1, 0.0, 10.0),
        Knob("steer.floor", -1, 0.0, 1.0),
        Knob("entropy_advantage.alpha", +1, 0.0, 2.0),
        Knob("repo.beta", +1, 0.0, 1.0, pushed=True),
        Knob("sampled_entropy.c", +1, -0.1, 0.3, pushed=True),
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


def at_bound(knob: Knob, value: float) -> bool:
    return math.isclose(value, knob.least, abs_tol=1e-9) or math.isclose(value, knob.most)
