"""Parts that look at the clip follow its bounds where a control, the thermostat or a caller moves them."""

import dataclasses
import math
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from contracts.streams import batch
from isotherm.objective.added import add_method
from isotherm.objective.compose import method
from isotherm.objective.method import Control, Method, decide
from isotherm.objective.published import METHODS
from isotherm.records import Tokens
from isotherm.update.config import Config
from isotherm.update.hold import measured, thermostat

# Two tokens of one state with pi = .6 and .4, both the likelier: r = 1.5 with A = 2, which the clip stops below .5,
# and r = 1 with A = -3, so that r A is 3 and -3 and the two cancel where neither is stopped.
P, Q = math.log(0.6), math.log(0.4)
H = -0.6 * P - 0.4 * Q
EXCESS = 0.24 * (P + H) - 0.16 * (Q + H)  # -dH / (r A)


def two_tokens() -> Tokens:
    columns = {
        "logprob": [P, P],
        "entropy": [H, H],
        "s2": [0.52, 0.52],
        "s2l": [0.36 * P + 0.16 * Q] * 2,
        "old_logprob": [P - math.log(1.5), P],
        "advantage": [2.0, -3.0],
    }
    wide = {name: torch.tensor(column, dtype=torch.float64) for name, column in columns.items()}
    return dataclasses.replace(batch(0, (2,), (0,)), **wide)


def weights(chosen: Method) -> list[float]:
    return decide(two_tokens(), chosen).weight.tolist()


MASK = "entropy_mask(share=0.5)"


def mask(bound: str) -> str:
    return MASK.replace(")", f", {bound})")


@pytest.mark.parametrize(
    ("term", "narrow", "wide"),
    [
        ("steer(floor=0.7)", [1.0, 0.7], [0.7, 0.7]),  # the change of the one, then of both, is the largest
        ("opefo", [1.0, 0.0], [1.0, 1.0]),  # nothing lowers H beside what raises it, then they balance
        (MASK, [1.0, 1.0], [0.0, 1.0]),  # only the first lowers H, once it is free
        (mask("high=0.4"), [1.0, 1.0], [1.0, 1.0]),  # a bound of its own stays
        (mask("high=0.2"), [1.0, 1.0], [1.0, 1.0]),  # also where it is that of the clip at the start
        (mask("low=0.1"), [1.0, 1.0], [0.0, 1.0]),  # the other bound is still taken
        ("clip_cov(ratio=0.5, low=0.1)", [1.0, 1.0], [1.0, 1.0]),  # no covariance: the log-probs are one
    ],
)
def test_the_weights_under_a_bound_that_moves(term, narrow, wide):
    chosen = method(f"ppo_clip + {term}")
    assert weights(chosen) == pytest.approx(narrow)
    assert weights(chosen.with_knob("ppo_clip.high", 0.6)) == pytest.approx(wide)
    assert weights(chosen.with_knob("ppo_clip.high", 0.6).with_knob("ppo_clip.high", 0.4)) == pytest.approx(narrow)
    assert weights(pickle.loads(pickle.dumps(chosen)).with_knob("ppo_clip.high", 0.6)) == pytest.approx(wide)


def test_clip_cov_spends_its_draw_on_a_token_that_a_wider_bound_frees():
    old = [-1.2, -2.4, -2.4, -2.4]
    columns = {
        "logprob": [old[0] + math.log(1.5), *old[1:]],
        "old_logprob": old,
        "advantage": [2.0, -2.0, -2.0, -2.0],
    }
    wide = {name: torch.tensor(column, dtype=torch.float64) for name, column in columns.items()}
    tokens = dataclasses.replace(batch(0, (4,), (0,)), **wide)
    chosen = method("clip_higher + clip_cov")
    assert decide(tokens, chosen).weight[0] == 1
    assert decide(tokens, chosen.with_knob("ppo_clip.high", 0.6)).weight.tolist() == [0, 1, 1, 1]


def test_of_two_parts_of_one_function_only_that_without_a_bound_of_its_own_follows():
    chosen = method("ppo_clip + clip_cov(clip_high=0.2) + clip_cov_digest").with_knob("ppo_clip.high", 0.6)
    assert [part.keywords["clip_high"] for part in chosen.weights] == [0.2, 0.6]


def test_a_control_that_moves_the_clip_moves_what_is_predicted_with_it():
    chosen = method(f"adapo(target=0.3, highest=0.6) + {MASK}")
    (control,) = chosen.controls
    assert weights(chosen) == [1.0, 1.0]
    assert weights(chosen.with_knob(control.knob, 0.6)) == [0.0, 1.0]


def test_a_clip_that_a_row_brings_moves_its_own_weights_too():
    def mover():
        return {"controls": (Control("ppo_clip.high", 0.3, lambda state, _: state),)}

    add_method("mover", mover)
    try:
        chosen = method(f"{mask('high=0.3')} + mover")
    finally:
        METHODS.pop("mover")
    assert weights(chosen) == [1.0, 1.0]
    assert weights(chosen.with_knob("ppo_clip.high", 0.6)) == [0.0, 1.0]


def test_the_thermostat_foresees_what_its_knob_does_to_the_weights():
    config = Config(method=f"ppo_clip + {MASK}", hold_entropy="0.3", hold_by="ppo_clip.high", steps=9)
    chosen, held = thermostat(config, method(config.method))
    assert held is not None
    column = np.array([[H]], np.float32)
    rollout = SimpleNamespace(step=1, group=np.array([0]), entropy=column, length=np.array([1]))
    seen = measured(config, chosen, rollout, two_tokens(), 1.0)  # pyright: ignore[reportArgumentType]
    # Each token has N = 1/2. The second raises H by 3 EXCESS; the first, once free, would lower it by as much, but it
    # is masked then.
    assert seen.change({"ppo_clip.high": 0.3}) == pytest.approx(1.5 * EXCESS)
    assert seen.change({"ppo_clip.high": 0.6}) == pytest.approx(1.5 * EXCESS)
    own = method(f"ppo_clip + {mask('high=0.2')}")
    seen = measured(config, own, rollout, two_tokens(), 1.0)  # pyright: ignore[reportArgumentType]
    assert seen.change({"ppo_clip.high": 0.6}) == pytest.approx(0, abs=1e-12)
