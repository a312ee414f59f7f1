import dataclasses
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from isotherm.errors import UserError
from isotherm.records import Problem, Rollout, Verdict
from isotherm.rollout import store

TEXTS = ["", "3 + 4 = 7\n", "ñ 漢字 👩‍👩‍👧 \u202e", "a\0b\r\n\ufffd\ufeff", 'quote " , \\', "\U0010ffff" * 3]


def rollout(groups: int = 3, samples: int = 2, seed: int = 0) -> Rollout:
    random = np.random.default_rng(seed)
    rows = groups * samples
    length = random.integers(1, 9, rows)
    width = int(length.max(initial=0))
    inside = np.arange(width) < length[:, None]

    def numbers() -> np.ndarray:
        return np.where(inside, random.normal(size=(rows, width)), 0).astype(np.float32)

    problems = [
        Problem("countdown", g, f"k{g}", TEXTS[g % len(TEXTS)], {"target": g, "numbers": [1, 2.5, "é", None]})
        for g in range(groups)
    ]
    return Rollout(
        step=7,
        problems=problems,
        prompts=[list(range(g)) for g in range(groups)],
        group=np.repeat(np.arange(groups), samples),
        sample=np.tile(np.arange(samples), groups),
        ids=np.where(inside, random.integers(0, 151_936, (rows, width)), 0),
        length=length,
        finished=random.random(rows) < 0.5,
        logprob=numbers(),
        entropy=numbers(),
        s2=numbers(),
        s2l=numbers(),
        texts=[TEXTS[b % len(TEXTS)] for b in range(rows)],
        verdicts=[list(Verdict)[b % 4] for b in range(rows)],
        reward=random.normal(size=rows),
    )


def assert_same(a: Rollout, b: Rollout) -> None:
    for name, x in vars(a).items():
        y = getattr(b, name)
        if isinstance(x, np.ndarray):
            assert (x.dtype, x.shape, x.tobytes()) == (y.dtype, y.shape, y.tobytes()), name
            assert y.flags.writeable
        else:
            assert x == y, name


@pytest.mark.parametrize(("groups", "samples"), [(3, 2), (1, 1), (9, 4), (0, 2)])
def test_load_is_the_inverse_of_save(tmp_path, groups, samples):
    path = store.path_of(tmp_path, 7)
    stored = rollout(groups, samples)
    store.save(path, stored)
    assert_same(stored, store.load(path))
    assert [p.name for p in path.parent.iterdir()] == ["step-000007.parquet"]


def test_every_bit_of_a_float_survives(tmp_path):
    stored = rollout(1, 6)
    odd = np.array([-0.0, 0.0, np.nan, np.inf, -np.inf, 1e-45], np.float32)
    odd_nan = np.array([0x7FC00001], np.uint32).view(np.float32)
    for array in (stored.logprob, stored.entropy):
        array[:, 0] = odd
        array[2, 0] = odd_nan[0]
    stored.reward[:] = odd
    store.save(tmp_path / "a.parquet", stored)
    assert_same(stored, store.load(tmp_path / "a.parquet"))


def test_padding_beyond_the_longest_is_left_out(tmp_path):
    stored = rollout()
    wide = {name: np.pad(getattr(stored, name), ((0, 0), (0, 5))) for name in ("ids", "logprob", "entropy")}
    store.save(tmp_path / "a.parquet", dataclasses.replace(stored, **wide))
    assert_same(stored, store.load(tmp_path / "a.parquet"))


def test_an_empty_response_and_a_problem_without_responses(tmp_path):
    stored = rollout()
    stored.length[0] = 0
    stored.ids[0] = stored.logprob[0] = stored.entropy[0] = 0
    fewer = stored.rows(stored.group != 1)
    store.save(tmp_path / "a.parquet", fewer)
    loaded = store.load(tmp_path / "a.parquet")
    assert [p.key for p in loaded.problems] == ["k0", "k2"]
    assert loaded.prompts == [[], [0, 1]]
    assert loaded.group.tolist() == [0, 0, 1, 1]
    assert loaded.length.tolist() == fewer.length.tolist()
    assert loaded.texts == fewer.texts


def test_the_same_rollout_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        store.save(tmp_path / name, rollout())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_plain_pyarrow_reads_it(tmp_path):
    path, stored = tmp_path / "a.parquet", rollout()
    store.save(path, stored)
    table = pq.read_table(path)
    row = table.to_pylist()[3]
    assert table.num_rows == 6
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"
    assert row["step"] == 7
    assert row["problem"] == '{"target": 1, "numbers": [1, 2.5, "\\u00e9", null]}'
    assert row["ids"] == stored.ids[3, : stored.length[3]].tolist()
    assert row["response"] == stored.texts[3]
    assert row["verdict"] == "error"
    assert row["reward"] == stored.reward[3]


def test_a_folder_named_like_a_partition_adds_no_column(tmp_path):
    path = store.path_of(tmp_path / "lr=0.1", 7)
    store.save(path, rollout())
    assert_same(rollout(), store.load(path))


@pytest.mark.parametrize("damage", [lambda raw: b"", lambda raw: raw[:-9], lambda raw: raw[:300] + b"?" + raw[301:]])
def test_a_damaged_file_is_a_sentence(tmp_path, damage):
    path = tmp_path / "a.parquet"
    store.save(path, rollout())
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"a\.parquet cannot be read: "):
        store.load(path)


def test_a_missing_or_foreign_file_is_a_sentence(tmp_path):
    path = tmp_path / "a.parquet"
    with pytest.raises(UserError, match="cannot be read: "):
        store.load(path)
    store.save(path, rollout())
    pq.write_table(pq.read_table(path).drop_columns(["reward"]), path)
    with pytest.raises(UserError, match=r"a\.parquet is no stored rollout; its columns must be step, family, "):
        store.load(path)


def test_inconsistent_rows_are_a_sentence(tmp_path):
    path = tmp_path / "a.parquet"
    store.save(path, rollout())
    table = pq.read_table(path)
    verdicts = table.column("verdict").to_pylist()
    verdicts[0] = "maybe"
    index = table.column_names.index("verdict")
    pq.write_table(table.set_column(index, "verdict", [verdicts]), path)
    with pytest.raises(UserError, match="inconsistent: 'maybe' is not a valid Verdict"):
        store.load(path)


def test_importing_the_store_does_not_import_pyarrow():
    code = "import sys, isotherm.rollout.store; sys.exit('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
