"""The table of names: no entropy of one meaning under the name of another."""

from __future__ import annotations

import numpy as np
import pytest

from isotherm.errors import UserError
from isotherm.measure.catalogue import describe
from isotherm.measure.logs import read
from isotherm.measure.logs.names import NAMES, SIGNS, UNKNOWN, found, tool_of

# a row of each tool's log, and what its entropy is
ROWS = {
    "TRL": ("step,entropy,frac_reward_zero_std", "entropy/exact"),
    "verl": ("step,actor/entropy_loss,actor/pg_loss", "entropy/exact"),
    "prime-rl": ("step,entropy/all/mean,optim/lr", "entropy/exact"),
    "slime": ("step,train/entropy_loss,rollout/raw_reward", "entropy/exact"),
    "SkyRL": ("step,policy/policy_entropy,reward/avg_raw_reward", "entropy/exact"),
    "ROLL": ("step,critic/entropy/mean,actor/pg_loss", "entropy/untempered"),
    "OpenRLHF": ("step,train/entropy_loss,train/actor_lr", "entropy/unknown"),
    "NeMo-RL": ("step,train/approx_entropy,train/reward", "entropy/importance_weighted"),
    "tinker-cookbook": ("step,optim/entropy,env/all/reward/total", "entropy/sampled"),
    "": ("step,entropy,reward", "entropy/unknown"),
    "isotherm": ("step,entropy/sampled,pass@1/train", "entropy/sampled"),
}


@pytest.mark.parametrize("tool", ROWS)
def test_each_tools_entropy_has_its_own_meaning(tool, tmp_path):
    names, meaning = ROWS[tool]
    path = tmp_path / "log.csv"
    path.write_text(names + "\n1,0.5,0.25\n2,0.4,0.25\n")
    log = read(path)
    assert log.source.tool == tool
    assert [name for name in log.series if name.startswith("entropy")] == [meaning]
    assert log.series[meaning].tolist() == [0.5, 0.4]
    assert log.origin[meaning].key == names.split(",")[1]


def test_log_probabilities_become_the_sampled_entropy(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("rollout/step,rollout/log_probs,rollout/raw_reward\n1,-0.5,0\n")
    assert read(path).series["entropy/sampled"].tolist() == [0.5]


def test_old_verl_gives_the_learning_rate_in_ten_thousandths(tmp_path):
    path = tmp_path / "log.txt"
    path.write_text("".join(f"step:{t} - actor/entropy_loss:0.43 - actor/lr(1e-4):0.0{t + 1}0\n" for t in (0, 1)))
    np.testing.assert_allclose(read(path).series["update/lr"], [1e-6, 2e-6])


def test_two_names_of_one_meaning_are_not_mixed(tmp_path):
    """The scoring pass's entropy in two steps, the loss's in all three: the third stays without a value."""
    path = tmp_path / "log.csv"
    path.write_text("step,actor/entropy_loss,actor/entropy,actor/pg_loss\n1,0.9,0.5,0\n2,0.8,0.4,0\n3,0.7,,0\n")
    log = read(path)
    np.testing.assert_array_equal(log.series["entropy/exact"], [0.5, 0.4, np.nan])
    assert log.origin["entropy/exact"].key == "actor/entropy"
    assert "actor/entropy_loss would be entropy/exact too; it is left out, and actor/entropy is kept." in log.notes


def test_every_row_names_a_metric_of_the_catalogue():
    missing = [row for row in NAMES if describe(row.name.format("math", "8")) is None]
    assert not missing


def test_every_tool_has_a_sign_and_rows():
    assert {row.tool for row in NAMES} - {UNKNOWN} == {tool for tool, _ in SIGNS} - {"isotherm"}
    assert tool_of(["entropy", "reward"]) == UNKNOWN


@pytest.mark.parametrize(
    "name", ["cross_entropy", "entropy_coef", "target_entropy", "entropy_target", "time/entropy_s"]
)
def test_what_only_sounds_like_entropy_is_not_read(name, tmp_path):
    assert not list(found([name], UNKNOWN))
    path = tmp_path / "log.csv"
    path.write_text(f"step,{name},x\n1,0.5,1\n")
    with pytest.raises(UserError, match="holds no series that is known here"):
        read(path)
