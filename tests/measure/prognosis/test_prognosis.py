"""What a log is said to say: the numbers are those of measure/laws, and refusals are sentences."""

from __future__ import annotations

import dataclasses
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from planted import FLOOR, TAU, A, B, columns, planted, rows_of, written

from isotherm.errors import UserError
from isotherm.measure.alarms import LOOKED_AT
from isotherm.measure.laws.exhaustion import exhaustion
from isotherm.measure.laws.fit import fit
from isotherm.measure.laws.forecast import forecast
from isotherm.measure.logs import read
from isotherm.measure.prognosis.cautions import warnings
from isotherm.measure.prognosis.chosen import Chosen
from isotherm.measure.prognosis.prognosis import prognosis

SAMPLES = Path(__file__).parents[1] / "logs" / "samples"


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    return read(planted(tmp_path_factory.mktemp("log") / "log.jsonl"))


def test_numbers_are_those_of_the_laws(log):
    p = prognosis(log, until=200)
    t, h, r = (np.asarray(columns()[name]) for name in ("step", "actor/entropy", "critic/score/mean"))
    assert p.law.a == fit(h, r).a
    assert p.exhaustion.step == exhaustion(t, h).step
    assert p.forecast.end_to_end == forecast(t, h, r, 200, 1.0, 10).end_to_end
    assert p.hindcast.end_to_end == forecast(t, h, r, None, 0.3, 10).end_to_end
    assert p.hindcast.observed == pytest.approx(r[-10:].mean())


def test_the_planted_law_is_found(log):
    p = prognosis(log, until=400)
    assert p.law.a == pytest.approx(A, abs=2.5 * p.law.standard_errors[0])
    assert p.law.ceiling.low < B - A < p.law.ceiling.high
    assert p.exhaustion.step.value == pytest.approx(1 + TAU * np.log(10), rel=0.15)
    assert p.exhaustion.done.value == pytest.approx(1 - np.exp(-119 / TAU), abs=0.03)
    end = B - A * np.exp(FLOOR)
    assert p.forecast.end_to_end.low < end < p.forecast.end_to_end.high
    assert not p.refusals


def test_start_and_now_are_means_of_the_ends(log):
    p = prognosis(log)
    h = columns()["actor/entropy"]
    assert p.entropy_ends.start == pytest.approx(h[:3].mean())
    assert p.entropy_ends.now == pytest.approx(h[-10:].mean())


def test_the_end_is_the_planned_length_else_twice_what_is_there(log):
    assert prognosis(log).until.step == 239
    planned = dataclasses.replace(log, settings={"steps": 300})
    assert prognosis(planned).until.step == 300
    reached = prognosis(dataclasses.replace(log, settings={"steps": 120}))
    assert reached.until.step is None
    assert reached.forecast is None
    assert "--until" in reached.refusals["forecast"]
    assert prognosis(dataclasses.replace(log, settings={"steps": 120}), until=150).forecast.until == 150
    for odd in (True, "300", float("nan"), -1):
        assert prognosis(dataclasses.replace(log, settings={"steps": odd})).until.step == 239


@pytest.mark.parametrize("until", [120, 7, float("nan"), float("inf")])
def test_an_end_within_the_log_is_a_mistake(log, until):
    with pytest.raises(UserError, match="--until"):
        prognosis(log, until=until)


@pytest.mark.parametrize("share", [0, 1, -1, float("nan")])
def test_a_share_outside_is_a_mistake(log, share):
    with pytest.raises(UserError, match="share"):
        prognosis(log, share=share)


def test_rows_without_a_value_are_left_out(tmp_path):
    rows = rows_of(columns())
    for i, row in enumerate(rows):
        if i % 3 == 0:
            del row["critic/score/mean"]
        if i % 7 == 0:
            del row["actor/entropy"]
    p = prognosis(read(written(tmp_path / "log.jsonl", rows)))
    both = [row for row in rows if "actor/entropy" in row and "critic/score/mean" in row]
    assert len(p.step) == sum("actor/entropy" in row for row in rows)
    assert p.law.n == len(both)
    assert p.law.a == fit([row["actor/entropy"] for row in both], [row["critic/score/mean"] for row in both]).a


@pytest.mark.parametrize(
    "path", ["trl", "verl/console.log", "verl/experiment.jsonl", "csv/named.csv", "wandb/plain.wandb", "prime_rl"]
)
def test_short_logs_are_refused_in_sentences(path):
    p = prognosis(read(SAMPLES / path))
    assert p.law is None
    assert p.exhaustion is None
    assert "at least 12 rows" in p.refusals["law"]
    assert np.isfinite(p.entropy_ends.now)


def test_a_log_without_a_reward_still_says_when_entropy_is_used_up(tmp_path):
    rows = [{k: v for k, v in row.items() if k != "critic/score/mean"} for row in rows_of(columns())]
    p = prognosis(read(written(tmp_path / "log.jsonl", rows)))
    assert p.exhaustion is not None
    assert p.reward is None
    assert p.refusals["law"].startswith("The log holds no reward")


def test_a_log_without_an_entropy_says_what_it_has(tmp_path):
    rows = [{k: v for k, v in row.items() if k != "actor/entropy"} for row in rows_of(columns())]
    with pytest.raises(UserError, match=r"no entropy.*critic/score/mean \(reward/mean\)"):
        prognosis(read(written(tmp_path / "log.jsonl", rows)))


CHANGES = {
    "constant H": ("actor/entropy", lambda x: 0.5, ("exhaustion", "law")),
    "no entropy left": ("actor/entropy", lambda x: 0.0, ("exhaustion", "law")),
    "negative H": ("actor/entropy", lambda x: -x, ("exhaustion", "law")),
    "H of no vocabulary": ("actor/entropy", lambda x: 1e50, ("exhaustion", "law")),
    "R of no run": ("critic/score/mean", lambda x: 1e300, ("law",)),
    "rising H": ("actor/entropy", lambda x: 1.2 - x, ("exhaustion",)),
    "tiny H": ("actor/entropy", lambda x: 1e-9 * x, ("exhaustion", "law")),
}


@pytest.mark.parametrize("what", CHANGES)
def test_hostile_numbers_end_in_sentences(tmp_path, what):
    name, change, refused = CHANGES[what]
    rows = [{**row, name: change(row[name])} for row in rows_of(columns())]
    p = prognosis(read(written(tmp_path / "log.jsonl", rows)))
    for part in refused:
        assert getattr(p, part) is None
        assert p.refusals[part].endswith(".")


def test_cautions_name_their_evidence(log, tmp_path):
    assert [text for text in prognosis(log).cautions if "of the collapses" not in text] == []
    changed = dataclasses.replace(log, settings={"entropy_coef": 0.01, "loss": "kl_cov", "top_entropy": 0.2})
    said = " ".join(prognosis(changed).cautions)
    assert "entropy_coef 0.01" in said
    assert "kl_cov" in said
    assert "top_entropy 0.2" in said
    rows = [{**row, "actor/lr": 1e-6 / (1 + i)} for i, row in enumerate(rows_of(columns()))]
    assert any("learning rate fell" in x for x in prognosis(read(written(tmp_path / "a.jsonl", rows))).cautions)
    rows = [{**row, "actor/entropy": 1.2 - row["actor/entropy"]} for row in rows]
    said = prognosis(read(written(tmp_path / "b.jsonl", rows))).cautions
    assert any("does not leave out 0" in x for x in said)
    assert any("not seen to fall" in x for x in said)


def other_meanings(tmp_path, *names: str):
    rows = [{**row, **dict.fromkeys(names, 0.1 + 1 / row["step"])} for row in rows_of(columns())]
    return read(written(tmp_path / "log.jsonl", rows), columns={n: f"entropy/{n}" for n in names})


def test_entropies_of_other_meanings_are_named_and_not_mixed(tmp_path):
    log = other_meanings(tmp_path, "sampled", "untempered")
    p = prognosis(log)
    assert p.entropy.name == "entropy/exact"
    assert p.entropy.others == ("entropy/untempered", "entropy/sampled")
    np.testing.assert_array_equal(p.entropy.values, columns()["actor/entropy"])
    asked = prognosis(log, entropy="entropy/sampled")
    np.testing.assert_array_equal(asked.entropy.values, 0.1 + 1 / columns()["step"])
    assert any("entropy/sampled" in x for x in asked.cautions)


def test_what_is_no_entropy_is_taken_only_where_asked(tmp_path):
    rows = [{"step": r["step"], "train/approx_entropy": r["actor/entropy"]} for r in rows_of(columns())]
    log = read(written(tmp_path / "log.jsonl", rows))
    with pytest.raises(UserError, match="is no entropy; --entropy entropy/importance_weighted"):
        prognosis(log)
    assert prognosis(log, entropy="entropy/importance_weighted").exhaustion is not None
    with pytest.raises(UserError, match="it has: entropy/importance_weighted"):
        prognosis(log, entropy="entropy/exact")
    with pytest.raises(UserError, match="is no entropy; its names are"):
        prognosis(log, entropy="reward/mean")


def test_a_run_that_goes_on_is_warned_of_its_collapse_and_one_that_is_nearly_over_is_not(log):
    going, over = (prognosis(log, until).cautions for until in (400, 130))
    assert any("of the collapses" in text for text in going)
    assert not any("of the collapses" in text for text in over)


def test_a_warning_takes_what_alarms_look_at_and_no_copy_of_the_log(log):
    rows = 50_000
    t = np.arange(1, rows + 1)
    names = [*LOOKED_AT, *(f"timing/part{i}" for i in range(40))]
    series = {name: np.full(rows, 0.5) for name in names} | {"entropy/exact": np.linspace(1, 0.4, rows)}
    wide = dataclasses.replace(log, step=t, series=series)
    h = Chosen("entropy/exact", "", "", "", series["entropy/exact"])
    tracemalloc.start()
    try:
        found = warnings(wide, t.astype(np.float64), h, None)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found[0].startswith("Entropy collapses in spite of the method: 40 %")
    assert found[1].startswith("No learning")
    assert peak < 12 * 8 * rows
    series["hold/line"] = np.full(rows, 0.9)
    (told, _) = warnings(wide, t.astype(np.float64), h, None)
    assert told.startswith("Entropy collapses in spite of the thermostat: it is 0.4 nats, and the line 0.9")
