"""A run's step under the microscope: every value against the functions that the method is made of."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from specimens import add_measured, make_rollout, make_run

from isotherm.advantages.responses import advantages
from isotherm.errors import UserError
from isotherm.objective.compose import method
from isotherm.objective.interventions.entropy_mechanism import covariance
from isotherm.objective.method import decide
from isotherm.objective.prediction import changes
from isotherm.objective.published import METHODS
from isotherm.report.inspected import of_run, stretches
from isotherm.tokens.entropy_change import quadrants
from isotherm.tokens.stream import stream

SIGNAL = np.array([True, True, True, True, False, False])  # of make_rollout
TOKENS = np.repeat(SIGNAL, make_rollout().length)


def values(specimen) -> dict[str, np.ndarray]:
    return {quantity.name: quantity.values for quantity in specimen.quantities}


def test_a_step_of_a_run(tmp_path):
    specimen = of_run(make_run(tmp_path), 3)
    rollout, chosen = make_rollout(), method("par + kl_cov(k=0.2)").with_knob("par.neg", 3.0)  # as metrics.jsonl says
    advantage = advantages(chosen.advantage, rollout)
    tokens = stream(rollout.rows(SIGNAL), advantage[:4], 0)
    decision, found = decide(tokens, chosen), values(specimen)
    real = np.arange(5) < rollout.length[:, None]
    np.testing.assert_array_equal(found["entropy"], rollout.entropy[real])
    np.testing.assert_array_equal(found["surprisal"], -rollout.logprob[real])
    np.testing.assert_array_equal(found["advantage"], np.repeat(advantage.float().numpy(), rollout.length))
    expected = {
        "covariance": covariance(tokens),
        "predicted": changes(tokens, chosen) * len(tokens),
        "weight": decision.weight,
        "coefficient:kl_cov": decision.penalties[0],
    }
    for name, x in expected.items():
        np.testing.assert_array_equal(found[name][TOKENS], x)
        assert np.isnan(found[name][~TOKENS]).all(), "the last group has no signal, so it is not trained on"
    assert decision.weight.unique().numel() > 1
    assert decision.penalties[0].unique().numel() > 1
    everything = stream(rollout, advantage, 0)
    np.testing.assert_array_equal(specimen.quadrant, quadrants(everything))
    assert specimen.verdicts == ["correct", "wrong", "unparsed", "correct", "wrong", "wrong"]
    assert specimen.families == ["countdown", "chain", "chain"]
    assert specimen.words[int(rollout.ids[0, 0])] == chr(32 + int(rollout.ids[0, 0]) - 4)


def test_a_batch_is_that_of_training(tmp_path):
    """With as many updates as groups, the covariance is about the means of each group."""
    specimen = of_run(make_run(tmp_path, method="grpo", updates=2), 3)
    rollout = make_rollout()
    tokens = stream(rollout.rows(SIGNAL), advantages(method("grpo").advantage, rollout)[:4], 0)
    both = torch.cat([covariance(tokens.where(tokens.group == g)) for g in (0, 1)])
    np.testing.assert_array_equal(values(specimen)["covariance"][TOKENS], both)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_of_the_table(tmp_path, name):
    found = values(of_run(make_run(tmp_path, method=name), 3))
    assert ("weight" in found) != (name == "reference_ratio")
    assert all(np.isfinite(x[TOKENS]).all() for x in found.values())


def test_a_shape_shows(tmp_path):
    specimen = of_run(make_run(tmp_path, method="repo", signal="keep"), 3)
    found = values(specimen)
    assert not np.isnan(found["weight"]).any()
    assert not np.allclose(found["shaped"], found["advantage"])


def test_measured_changes_are_matched_by_response_and_position(tmp_path):
    folder, rollout = make_run(tmp_path), make_rollout()
    change = add_measured(folder, rollout, SIGNAL)
    found = values(of_run(folder, 3))["measured"]
    np.testing.assert_array_equal(found[TOKENS], change)
    assert np.isnan(found[~TOKENS]).all()


@pytest.mark.parametrize(
    "wrong",
    [{"id": np.zeros(14, int)}, {"sequence": np.full(14, -1)}, {"sequence": np.full(14, 9)},
     {"position": np.full(14, 99)}, {"position": np.zeros(14)}, {"measured": np.array(["x"] * 14)}],
    ids=["id", "negative", "sequence", "position", "fractions", "text"],
)  # fmt: skip
def test_measured_changes_of_something_else_are_left_out_and_said(tmp_path, wrong):
    folder = make_run(tmp_path)
    add_measured(folder, make_rollout(), SIGNAL, **wrong)
    specimen = of_run(folder, 3)
    assert "measured" not in values(specimen)
    assert any(note.startswith("The measured changes in step-000003.parquet are left out") for note in specimen.notes)


def test_a_damaged_file_of_measured_changes_is_said(tmp_path):
    folder = make_run(tmp_path)
    (folder / "dynamics").mkdir()
    (folder / "dynamics" / "step-000003.parquet").write_bytes(b"PAR1 no")
    assert any("are left out" in note for note in of_run(folder, 3).notes)


def test_an_unknown_method_leaves_what_was_recorded(tmp_path):
    specimen = of_run(make_run(tmp_path, method="of_my_own"), 3)
    assert list(values(specimen)) == ["entropy", "surprisal"]
    assert specimen.quadrant is None
    assert any("of_my_own" in note for note in specimen.notes)


@pytest.mark.parametrize("expression", ["grpo + reference_kl(c=0.1)", "reference_ratio"])
def test_what_needs_the_reference_is_left_out_and_said(tmp_path, expression):
    specimen = of_run(make_run(tmp_path, method=expression), 3)
    assert any("reference" in note for note in specimen.notes)
    found = values(specimen)
    assert np.isfinite(found["advantage"]).all()
    assert ("predicted" in found) == ("kl" in expression)


def test_the_last_step_is_the_default_and_others_are_listed(tmp_path):
    folder = make_run(tmp_path, steps=(1, 2, 3, 7))
    assert of_run(folder, None).title.endswith("step 7")
    with pytest.raises(UserError, match=r"no stored rollout of step 5; it has 1 to 3, 7\.$"):
        of_run(folder, 5)
    for path in (folder / "rollouts").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="no stored rollouts; train with --store-every 1"):
        of_run(folder, None)


def test_many_stretches_are_shortened():
    assert stretches([4]) == "4"
    assert stretches(list(range(0, 100, 2))).endswith("36, ... 98")


def test_a_run_without_its_tokenizer_shows_numbers(tmp_path):
    folder = make_run(tmp_path)
    config = json.loads((folder / "config.json").read_text()) | {"model": str(tmp_path / "gone")}
    (folder / "config.json").write_text(json.dumps(config))
    specimen = of_run(folder, 3)
    assert specimen.words == {}
    assert any("shown as numbers" in note for note in specimen.notes)
    assert of_run(folder, 3, "builtin").words
    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        of_run(folder, 3, str(tmp_path / "other"))
