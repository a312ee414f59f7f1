"""All measures of one small evaluation, worked out by hand, and from the stored file."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from isotherm.errors import UserError
from isotherm.measure.accuracy import interval, mean_of
from isotherm.measure.catalogue import describe
from isotherm.measure.evaluation import SAMPLES, Evaluation
from isotherm.records import Problem, Rollout, Verdict
from isotherm.rollout import store
from isotherm.rollout.collect import join
from isotherm.runs import load_run
from isotherm.tasks.problems import forms, verify
from isotherm.update.evaluate import eval_metrics

SUM = Problem("subset", 2, "a", "sum 6 from 1 2 3 6:", {"target": 6, "numbers": [1, 2, 3, 6]})
WAY = Problem("route", 1, "b", "route A to C by AB BC:", {"start": "A", "goal": "C", "edges": ["AB", "BC"]})
TEXTS = ["1+2+3", "3+2+1", "6", "1+2", "ABC", "ABC", "ABD", "?"]
CHANCE = [0.9, 0.8, 0.5, 0.5, 0.9, 0.9, 0.6, 0.3]  # of every token


def rollout(texts=TEXTS, samples: int = 4, problems=(SUM, WAY)) -> Rollout:
    """Responses of one token per character and an end token; the entropy of token t is t tenths of a nat."""
    length = np.array([len(text) + 1 for text in texts])
    inside = np.arange(length.max()) < length[:, None]
    ids = np.array([[ord(c) for c in text] + [1] + [0] * (length.max() - len(text) - 1) for text in texts])
    tenths = np.where(inside, np.arange(length.max()) / 10, 0).astype(np.float32)
    group, chance = np.arange(len(texts)) // samples, np.resize(CHANCE, len(texts))
    return Rollout(
        step=2, problems=list(problems), prompts=[[5]] * len(problems), group=group,
        sample=np.arange(len(texts)) % samples, ids=ids, length=length, finished=np.ones(len(texts), bool),
        logprob=np.where(inside, np.log(chance)[:, None], 0).astype(np.float32), entropy=tenths + inside * 0.5,
        s2=tenths, s2l=tenths, texts=list(texts), reward=np.zeros(len(texts)),
        verdicts=[verify(problems[g], text) for g, text in zip(group, texts, strict=True)],
    )  # fmt: skip


def evaluation() -> Evaluation:
    return Evaluation(rollout(), forms(rollout()))


def test_measures_by_hand():
    whole = evaluation()
    assert whole.families == ["subset", "route"]
    first, second = (whole.for_family(name).measures() for name in whole.families)
    assert first["majority"] == 1  # 1+2+3 twice, right
    assert second["majority"] == 1
    assert (first["distinct_correct"], second["distinct_correct"]) == (2, 1)
    assert (first["duplicates"], second["duplicates"]) == (1 / 4, 1 / 3)
    assert first["logprob_gap"] == pytest.approx(np.log([0.9, 0.8, 0.5]).mean() - np.log(0.5), rel=1e-6)
    assert second["logprob_gap"] == pytest.approx(np.log(0.9) - np.log([0.6, 0.3]).mean(), rel=1e-6)
    assert first["entropy_prompt"] == 0.5
    assert first["brier_normalised"] == pytest.approx((0.01 + 0.04 + 0.25 + 0.25) / 4)
    assert first["brier_vote"] == pytest.approx((0.25 + 0.25 + 0.5625 + 0.0625) / 4)
    assert second["brier_vote"] == pytest.approx((0.25 + 0.25 + 0.0625 + 0) / 4)
    assert first["ece_normalised"] == pytest.approx((0.1 + 0.2 + 0) / 4)  # bins .9, .8 and twice .5
    assert second["ece_vote"] == pytest.approx((2 * 0.5 + 0.25 + 0) / 4)


def test_ngrams_are_without_the_end_token():
    of = evaluation().for_family("route").measures()
    # ABC ABC ABD ?: A B C D ? of 10, AB BC BD of 6, ABC ABD of 3
    assert of["ngram_diversity"] == pytest.approx((5 / 10 + 3 / 6 + 2 / 3) / 3)
    # of the third: AB and A, B found, nothing of three
    assert of["self_bleu"] == pytest.approx((1 + 1 + 0 + 0) / 4)


def test_ngrams_are_those_of_the_first_samples():
    alike, other = rollout(["1+2+3"] * SAMPLES, SAMPLES), rollout(["2+3+1"], 1)
    both = join([alike, other])
    one = dataclasses.replace(both, group=np.zeros_like(both.group), sample=np.arange(len(both.texts)))
    assert Evaluation(one, forms(one)).measures()["self_bleu"] == 1
    fewer = one.rows(one.sample >= 1)
    fewer = dataclasses.replace(fewer, sample=fewer.sample - 1)
    assert Evaluation(fewer, forms(fewer)).measures()["self_bleu"] < 1


def test_accuracy_reliability_and_profile():
    whole = evaluation()
    mean = whole.pass_at_k(2)
    assert mean.value == pytest.approx((1 + (1 - 1 / 6)) / 2)
    assert mean.count == 2
    assert whole.avg_at_k(4) == (3 / 4 + 2 / 4) / 2
    curve = whole.reliability("sequence")
    assert curve.count.sum() == 8
    assert whole.confidence("sequence")[0] == pytest.approx(0.9**6, rel=1e-6)
    assert whole.entropy_by_position().mean == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert whole.entropy_by_position().count.tolist() == [8, 8, 6, 6, 2, 2]
    assert whole.entropy_by_part(1).mean == pytest.approx(rollout().entropy.sum() / rollout().length.sum())
    with pytest.raises(UserError, match="sequence, normalised, vote"):
        whole.reliability("hope")


def test_a_failed_verifier_is_left_out_of_calibration():
    failed = rollout()
    failed.verdicts[3] = Verdict.ERROR
    of = Evaluation(failed, forms(failed)).for_family("subset")
    assert of.reliability().count.sum() == 3
    assert np.isnan(of.measures()["logprob_gap"])
    assert of.measures()["brier_normalised"] == pytest.approx((0.01 + 0.04 + 0.25) / 3)


def test_the_row_of_an_evaluation_has_means_over_families_and_only_known_names():
    row = eval_metrics(rollout(), {"subset"}, (1, 2))
    families = {name: evaluation().for_family(name) for name in ("subset", "route")}
    assert row["eval/trained/self_bleu"] == families["subset"].measures()["self_bleu"]
    assert row["eval/held_out/self_bleu"] == families["route"].measures()["self_bleu"]
    both = eval_metrics(rollout(), {"subset", "route"}, (1, 2))
    assert "eval/held_out/majority" not in both
    for what in ("distinct_correct", "ece_vote", "logprob_gap", "entropy"):
        sides = [row[f"eval/{side}/{what}"] for side in ("trained", "held_out")]
        assert both[f"eval/trained/{what}"] == pytest.approx(np.mean(sides))
    assert both["eval/trained/pass@2"] == pytest.approx((1 + 5 / 6) / 2)
    assert "eval/trained/pass@2_low" not in both  # one problem per family says nothing about the spread
    assert all(describe(name) for name in row)
    assert all(isinstance(value, float) and np.isfinite(value) for value in row.values())


def test_the_interval_of_a_side_is_that_of_its_families():
    split = rollout(TEXTS, 2, [SUM, SUM, WAY, WAY])
    whole = Evaluation(split, forms(split))
    row = eval_metrics(split, {"subset", "route"}, (1,))
    low, high = interval(mean_of([whole.for_family(name).pass_at_k(1) for name in ("subset", "route")]))
    assert (row["eval/trained/pass@1_low"], row["eval/trained/pass@1_high"]) == (low, high)
    assert low < row["eval/trained/pass@1"] < high


@pytest.fixture
def run(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    rows = [{"step": 0, "x": 1.0}, {"step": 2, "x": 3.0}]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    store.save(tmp_path / "rollouts" / "eval-000002.parquet", rollout())
    return load_run(tmp_path)


def test_a_run_hands_out_its_evaluation(run):
    found = run.evaluation()
    assert found.measures() == evaluation().measures()
    assert np.array_equal(run.evaluation(2).reliability("vote").count, evaluation().reliability("vote").count)
    assert (run.area("x"), run.steps_to("x", 2)) == (4, 2)
    with pytest.raises(UserError, match=r"no stored eval rollouts of step 1; it holds 1, from 2 to 2"):
        run.evaluation(1)
    with pytest.raises(UserError, match=r"no metric 'y'"):
        run.area("y")


def test_nothing_to_measure_is_a_sentence(run):
    path = run.path / "rollouts" / "eval-000002.parquet"
    store.save(path, rollout().rows(np.zeros(8, bool)))
    with pytest.raises(UserError, match="nothing to measure"):
        run.evaluation()
    silent = dataclasses.replace(rollout(), length=np.array([0] + [2] * 7))
    store.save(path, silent)
    with pytest.raises(UserError, match="nothing to measure"):
        run.evaluation()


def test_problems_of_another_program_are_a_sentence(run):
    strange = rollout()
    strange.problems[0] = Problem("riddle", 1, "", "?", {})
    store.save(run.path / "rollouts" / "eval-000002.parquet", strange)
    with pytest.raises(UserError, match="are not those that Isotherm poses"):
        run.evaluation()


def test_a_family_or_a_notion_that_is_not_there_is_a_sentence():
    with pytest.raises(UserError, match="no family 'nope'; it has: subset, route"):
        evaluation().for_family("nope")
    with pytest.raises(UserError, match="no notion of confidence 'nope': choose among sequence, normalised, vote"):
        evaluation().reliability("nope")
