"""Dumps of prime-rl and slime: every number where it belongs, and a sentence for whatever is not a dump."""

from __future__ import annotations

import fractions
import json
import math
import os
import pickle

import numpy as np
import pytest
import torch
from specimens import export, make_exports, make_torch_dump, train_data

from isotherm.errors import UserError
from isotherm.report.dumps import is_dump, of_dump


def values(specimen) -> dict[str, np.ndarray]:
    return {quantity.name: quantity.values for quantity in specimen.quantities}


def test_token_exports_of_prime_rl(tmp_path):
    specimen = of_dump(make_exports(tmp_path), None)
    assert specimen.title.endswith("prime-rl, step 2")
    assert specimen.prompts == ["1 2", "3"]
    assert specimen.group.tolist() == [0, 0, 1], "two ranks, one prompt, one group"
    assert specimen.sample.tolist() == [0, 1, 0]
    assert specimen.ids.tolist() == [9, 8, 7, 9, 5, 4, 4]
    assert specimen.reward.tolist() == [1, 0, 0]
    assert specimen.families == ["gsm8k", "gsm8k"]
    found, first = values(specimen), export([1, 2], [9, 8, 7], 1.0)
    np.testing.assert_allclose(found["surprisal"][:3], -np.array(first["trainer_logprobs"][2:]))
    np.testing.assert_allclose(found["entropy"][:3], first["entropy"][2:])
    assert found["advantage"].tolist() == [1, 1, 1, -1, -1, -1, -1]
    assert found["weight"].tolist() == [1, 1, 0, 1, 0, 1, 0], "1 less is_masked"


def test_what_is_derived_is_worked_out_by_hand(tmp_path):
    path = tmp_path / "rank_0.jsonl"
    numbers = {"trainer_logprobs": [0.0, -0.5, -2.0], "entropy": [9.0, 1.0, 0.5], "advantages": [9.0, 2.0, -2.0]}
    path.write_text(json.dumps(export([1], [9, 8], 1.0, **numbers)))
    specimen = of_dump(path, None)
    found, pi = values(specimen), (math.exp(-0.5), math.exp(-2.0))
    np.testing.assert_allclose(found["covariance"], [0.75 * 2, -0.75 * -2])
    wanted = [-2 * pi[0] * (1 - pi[0]) * (-0.5 + 1.0), 2 * pi[1] * (1 - pi[1]) * (-2.0 + 0.5)]
    np.testing.assert_allclose(found["published"], wanted)
    assert specimen.quadrant.tolist() == [1, 3]
    assert "predicted" not in found, "the exact order needs S2 and S2L, which no dump has"


def test_tokens_that_the_loss_skips_have_no_numbers(tmp_path):
    path = tmp_path / "rank_0.jsonl"
    path.write_text(json.dumps(export([1], [9, 8, 7], 1.0, loss_mask=[False, True, False, True])))
    found = values(of_dump(path, None))
    assert {tuple(np.isfinite(x)) for x in found.values()} == {(True, False, True)}


def test_what_a_dump_lacks_is_not_offered(tmp_path):
    path, n = tmp_path / "rank_0.jsonl", 3
    lacking = {"entropy": [None] * n, "is_masked": [None] * n, "rewards": [None] * n}
    path.write_text(json.dumps(export([1], [9, 8], 1.0, **lacking)))
    specimen = of_dump(path, None)
    assert set(values(specimen)) == {"surprisal", "advantage", "covariance"}
    assert specimen.quadrant is None
    assert np.isnan(specimen.reward).all()
    assert any("no entropy" in note for note in specimen.notes)


def test_one_step_one_folder_one_file(tmp_path):
    out = make_exports(tmp_path)
    for path in (out, out / "token_exports"):
        assert of_dump(path, 1).ids.tolist() == [9]
    assert of_dump(out / "token_exports" / "step_1", None).ids.tolist() == [9]
    assert len(of_dump(out / "token_exports" / "step_2" / "rank_1.jsonl", None).length) == 1
    with pytest.raises(UserError, match=r"no stored rollout of step 3; it has 1 to 2\.$"):
        of_dump(out, 3)


def test_debug_train_data_of_slime(tmp_path):
    path = make_torch_dump(tmp_path / "p_4.pt")
    for source in (path, tmp_path):
        specimen = of_dump(source, 4)
        found = values(specimen)
        assert specimen.prompts == ["1 2", "3"]
        assert specimen.ids.tolist() == [9, 8, 7, 4, 4]
        assert specimen.reward.tolist() == [1, 0], "raw_reward, for rewards are normalised"
        np.testing.assert_allclose(found["surprisal"], [0.5, np.nan, 0.1, 2.0, 0.2], rtol=1e-6)
        np.testing.assert_allclose(found["entropy"], [0.7, np.nan, 0.2, 1.5, 0.3], rtol=1e-6)
        np.testing.assert_allclose(found["advantage"], [0.5, np.nan, 0.5, -0.5, -0.5])
        assert "weight" not in found


def test_slime_without_entropy(tmp_path):
    specimen = of_dump(make_torch_dump(tmp_path / "p_4.pt", entropy=None), None)
    assert set(values(specimen)) == {"surprisal", "advantage", "covariance"}


class Harm:
    def __reduce__(self):
        return os.mkdir, ("harm",)


@pytest.mark.parametrize("how", ["pickle", "torch", "text", "empty"])
def test_a_pickle_is_never_run(tmp_path, monkeypatch, how):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "p_4.pt"
    if how == "torch":
        torch.save({"rollout_data": {"tokens": [Harm()]}}, path)
    else:
        path.write_bytes({"pickle": pickle.dumps(Harm()), "text": b"hello", "empty": b""}[how])
    with pytest.raises(UserError, match=r"cannot be read as plain tensors.*torch\.save"):
        of_dump(path, None)
    assert not (tmp_path / "harm").exists()


def test_the_conversion_that_the_sentence_names(tmp_path):
    path = make_torch_dump(tmp_path / "p_4.pt", metadata=[fractions.Fraction(1, 2)])
    with pytest.raises(UserError, match="keep only what is needed") as told:
        of_dump(path, None)
    lines = str(told.value).split("keep only what is needed: ")[1].rstrip(".").replace("FILE", repr(str(path)))
    exec(lines, {"torch": torch})
    converted, direct = of_dump(path, None), of_dump(make_torch_dump(tmp_path / "p_5.pt"), None)
    assert converted.reward.tolist() == direct.reward.tolist()
    assert converted.ids.tolist() == direct.ids.tolist()
    for one, other in zip(converted.quantities, direct.quantities, strict=True):
        np.testing.assert_array_equal(one.values, other.values)


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "null", "{}", '{"schema_version": 2}', "[" * 100_000, "\xff",
     json.dumps(export([1], [9], 1.0, token_ids=[1, "9"])), json.dumps(export([1], [9], 1.0, token_ids=[1, -9])),
     json.dumps(export([1], [9], 1.0, entropy=[0.1])), json.dumps(export([1], [9], 1.0, loss_mask=[True])),
     json.dumps(export([1], [9], 1.0, advantages=["x", {}])), json.dumps(export([1], [9], 1.0, entropy=[1, 10**400])),
     json.dumps(export([1], [9], 1.0, loss_mask=7)), json.dumps(export([1], [9], 1.0, rewards=3))],
)  # fmt: skip
def test_lines_that_are_no_exports(tmp_path, line):
    path = tmp_path / "rank_0.jsonl"
    path.write_text(json.dumps(export([1], [9], 1.0)) + "\n" + line + "\n", encoding="latin-1")
    with pytest.raises(UserError, match=r"^Line 2 of .* is no token export: "):
        of_dump(path, None)


@pytest.mark.parametrize(
    "content",
    [[], {}, {"rollout_data": None}, {"rollout_data": {"tokens": [torch.tensor([1])]}}, torch.zeros(3),
     {"rollout_data": train_data(response_lengths=[9, 2])}, {"rollout_data": train_data(response_lengths=[-1, 2])},
     {"rollout_data": train_data(log_probs=[torch.zeros(1)] * 2)}, {"rollout_data": train_data(entropy=[])},
     {"rollout_data": train_data(tokens=[torch.zeros(5), torch.zeros(3)])},
     {"rollout_data": train_data(advantages=[torch.zeros(3, 2), torch.zeros(2)])}],
)  # fmt: skip
def test_torch_files_that_are_no_train_data(tmp_path, content):
    torch.save(content, tmp_path / "p_4.pt")
    with pytest.raises(UserError, match="is no debug train data of slime"):
        of_dump(tmp_path / "p_4.pt", None)


def test_a_dump_without_a_token(tmp_path):
    (tmp_path / "rank_0.jsonl").write_text("")
    with pytest.raises(UserError, match="no response token"):
        of_dump(tmp_path / "rank_0.jsonl", None)
    assert not is_dump(tmp_path / "other")
