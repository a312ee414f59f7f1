"""Problems by number: what a run trains on depends on the position alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from isotherm.errors import UserError
from isotherm.rollout.source import open_source
from isotherm.tasks.problems import split_of


def file_of(folder: Path, rows: int) -> str:
    path = folder / "problems.jsonl"
    path.write_text("".join(f'{{"prompt": "{i}+0=", "answer": "{i}"}}\n' for i in range(rows)))
    return str(path)


def test_a_mix_takes_turns() -> None:
    source = open_source("countdown:2,chain:1,chain:3", "", 0)
    asked = source.problems(0, 9)
    assert [(p.family, p.level) for p in asked] == [("countdown", 2), ("chain", 1), ("chain", 3)] * 3
    assert len({(p.family, p.level, p.key) for p in asked}) == 9
    assert {split_of(p.family, p.key) for p in asked} == {"train"}


@pytest.mark.parametrize("file", [False, True])
def test_the_position_is_all_there_is_to_remember(file: bool, tmp_path: Path) -> None:
    data = file_of(tmp_path, 7) if file else ""
    one, another = (open_source("countdown:2,chain:2", data, 5) for _ in range(2))
    whole = one.problems(0, 20)
    assert another.problems(13, 7) == whole[13:]
    assert [p for i in range(0, 20, 4) for p in another.problems(i, 4)] == whole


def test_the_seed_decides() -> None:
    assert open_source("countdown:2", "", 0).problems(0, 5) != open_source("countdown:2", "", 1).problems(0, 5)


def test_a_file_is_read_in_shuffled_epochs(tmp_path: Path) -> None:
    """Each epoch has every row once, in an order of its own."""
    source = open_source("countdown:2", file_of(tmp_path, 20), 0)
    epochs = [[p.prompt for p in source.problems(20 * e, 20)] for e in range(3)]
    assert all(len(set(epoch)) == 20 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert epochs[0] != [f"{i}+0=" for i in range(20)]


def test_a_file_takes_the_place_of_the_families(tmp_path: Path) -> None:
    assert {p.family for p in open_source("countdown:2", file_of(tmp_path, 3), 0).problems(0, 6)} == {"file"}


@pytest.mark.parametrize(
    ("mix", "word"), [("countdwn:2", "countdown"), ("countdown:99", "countdown"), ("", "countdown")]
)
def test_a_wrong_mix_is_a_sentence(mix: str, word: str) -> None:
    with pytest.raises(UserError, match=word):
        open_source(mix, "", 0)
