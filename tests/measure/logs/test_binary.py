"""Event files, W&B's records and SQLite: whole, cut, damaged, locked, growing."""

from __future__ import annotations

import contextlib
import gzip
import os
import random
import sqlite3
import struct
import warnings
import zlib
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from isotherm.errors import UserError
from isotherm.measure.logs import read
from isotherm.measure.logs.checksum import crc32c, crc32c_one
from isotherm.measure.logs.protobuf import Damaged, fields, signed, varint
from isotherm.measure.logs.tensorboard import masked
from isotherm.measure.logs.wandb_offline import BLOCK, START

SAMPLES = Path(__file__).parent / "samples"
EVENTS = SAMPLES / "tensorboard" / "events.out.tfevents.1.host.trl"
RUN = SAMPLES / "wandb" / "trl.wandb"


def test_checksums():
    """The check value of CRC-32C, and many lengths at once against one by one."""
    assert crc32c_one(b"123456789") == 0xE3069283
    data = [random.Random(i).randbytes(i % 7 * 5) for i in range(40)]
    assert crc32c(data) == [crc32c_one(d) for d in data]
    assert crc32c([]) == []


def test_protobuf():
    assert varint(b"\xac\x02", 0) == (300, 2)
    assert signed(varint(b"\xff" * 9 + b"\x01", 0)[0]) == -1
    assert list(fields(b"\x08\x96\x01\x12\x02hi\x1d\0\0\0\0")) == [(1, 0, 150), (2, 2, b"hi"), (3, 5, b"\0\0\0\0")]
    for bad in (b"\x80", b"\xff" * 11, b"\x12\x05hi", b"\x0b", b"\x11\0"):
        with pytest.raises(Damaged):
            list(fields(bad))


def frame(event: bytes) -> bytes:
    size = struct.pack("<Q", len(event))
    return size + struct.pack("<I", masked(crc32c_one(size))) + event + struct.pack("<I", masked(crc32c_one(event)))


def scalar(tag: str, step: int, value: float) -> bytes:
    """An Event with one simple_value."""
    name = tag.encode()
    inner = b"\x0a" + bytes([len(name)]) + name + b"\x15" + struct.pack("<f", value)
    summary = b"\x0a" + bytes([len(inner)]) + inner
    return frame(b"\x10" + bytes([step]) + b"\x2a" + bytes([len(summary)]) + summary)


def test_an_event_file_after_a_resume_and_with_values_that_are_not_finite(tmp_path):
    (tmp_path / "events.1").write_bytes(b"".join(scalar("entropy", t, 0.5) for t in range(5)))
    (tmp_path / "events.2").write_bytes(scalar("entropy", 3, 0.25) + scalar("entropy", 4, float("nan")))
    log = read(tmp_path)
    np.testing.assert_array_equal(log.series["entropy/unknown"], [0.5, 0.5, 0.5, 0.25, np.nan])
    assert "The steps go back from 4 to 3, as after a resume; what was written last is kept." in log.notes
    assert "entropy/unknown is NaN or infinite at step 4." in log.notes


def test_event_folders_are_runs(tmp_path):
    for name, value in (("a", 1.0), ("b", 2.0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "events").write_bytes(scalar("entropy", 1, value))
    with pytest.raises(UserError, match="holds 2 runs; name one of them: 'a', 'b'"):
        read(tmp_path)
    assert read(tmp_path, run="b").series["entropy/unknown"].tolist() == [2.0]


def test_a_damaged_event_costs_that_event(tmp_path):
    good, path = [scalar("entropy", t, 0.5) for t in range(4)], tmp_path / "events"
    path.write_bytes(good[0] + good[1][:-5] + b"\xff" + good[1][-4:] + good[2])
    log = read(path)
    assert log.step.tolist() == [0, 2]
    assert "events has 1 records with a wrong checksum, and they are left out." in log.notes
    path.write_bytes(good[0] + frame(b"\x0b") + good[2])
    assert "events has 1 records that are no events, and are left out." in read(path).notes
    path.write_bytes(good[0] + b"\xff" + good[1][1:] + good[2])
    assert f"events is damaged after byte {len(good[0])}; the rest is not read." in read(path).notes
    for cut in range(len(good[0]) + 1, 2 * len(good[0])):
        path.write_bytes((good[0] + good[1])[:cut])
        assert "The last record of events is cut off, and is left out." in read(path).notes


def record(content: bytes) -> bytes:
    """A W&B record in one chunk."""
    return struct.pack("<IHB", zlib.crc32(content, zlib.crc32(b"\1")), len(content), 1) + content


def row(step: int, entropy: str) -> bytes:
    pairs = ((b"\x12\x05_step", str(step)), (b"\x12\x07entropy", entropy))
    items = b"".join(
        b"\x0a" + bytes([len(i)]) + i for k, v in pairs if (i := k + b"\x82\x01" + bytes([len(v)]) + v.encode())
    )
    return record(b"\x12" + bytes([len(items)]) + items)


def test_wandb_records_across_blocks_and_damage(tmp_path):
    path, rows = tmp_path / "run-a.wandb", [row(t, f"0.{t}") for t in range(1, 5)]
    long = b"\x7a" + b"\x80\x80\x08" + b"x" * (1 << 17)  # an unknown field, longer than several blocks
    chunks, content, at = [], START + rows[0], 0
    while at < len(long):
        room = BLOCK - len(content) % BLOCK
        if room < 7:
            content += b"\0" * room
            continue
        part = long[at : at + room - 7]
        kind = bytes([(2 if at == 0 else 3) if at + len(part) < len(long) else 4])
        content += struct.pack("<IHB", zlib.crc32(part, zlib.crc32(kind)), len(part), kind[0]) + part
        at += len(part)
        chunks.append(kind)
    content += rows[1]
    path.write_bytes(content)
    log = read(path)
    assert len(chunks) > 3
    assert log.series["entropy/unknown"].tolist() == [0.1, 0.2]
    assert not [note for note in log.notes if "record" in note]
    path.write_bytes(START + rows[0] + rows[1][:-1] + b"!" + rows[2])
    log = read(path)
    assert log.step.tolist() == [1, 3]
    assert "1 pieces of the file have a wrong checksum, and their records are left out." in log.notes
    path.write_bytes(START + rows[0] + rows[1][:-3])
    log = read(path)
    assert log.step.tolist() == [1]
    assert "The last record is cut off, and is left out." in log.notes


def test_wandb_folder_with_its_link_to_the_latest_run(tmp_path):
    folder = tmp_path / "wandb" / "offline-run-1-abc"
    folder.mkdir(parents=True)
    (folder / "run-abc.wandb").write_bytes(RUN.read_bytes())
    (tmp_path / "wandb" / "latest-run").symlink_to(folder)
    assert read(tmp_path / "wandb").source.tool == "TRL"
    assert read(tmp_path / "wandb" / "latest-run").source.tool == "TRL"
    other = tmp_path / "wandb" / "offline-run-2-def"
    other.mkdir()
    (other / "run-def.wandb").write_bytes(RUN.read_bytes())
    with pytest.raises(UserError, match="holds 2 runs; name one of them: 'abc', 'def'"):
        read(tmp_path / "wandb")
    (other / "run-def.wandb").write_bytes(b":W&B\xe1\xbe\x07" + b"\0" * 50)
    with pytest.raises(UserError, match="of a version that is not known here"):
        read(other)


@pytest.fixture
def database(tmp_path):
    """A trackio database with its schema, and nothing in it but two rows of two runs."""
    path = tmp_path / "project.db"
    path.write_bytes(gzip.decompress((SAMPLES / "trackio" / "huggingface.db.gz").read_bytes()))
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA journal_mode=DELETE")
        file.execute("DELETE FROM metrics")
        for name, value in (("a", "0.5"), ("b", '"NaN"'), ("b", "0.25")):
            add(file, name, f'{{"entropy": {value}}}')
        file.commit()
    return path


def add(file: sqlite3.Connection, run: str, text: str) -> None:
    step = file.execute("SELECT COUNT(*) FROM metrics WHERE run_name = ?", (run,)).fetchone()[0]
    row = (run, "2026", run, step, text)
    file.execute("INSERT INTO metrics (run_id, timestamp, run_name, step, metrics) VALUES (?, ?, ?, ?, ?)", row)


def test_trackio_runs_and_rows_that_are_no_objects(database):
    with pytest.raises(UserError, match="holds 2 runs; name one of them: 'a', 'b'"):
        read(database)
    log = read(database, run="b")
    np.testing.assert_array_equal(log.series["entropy/unknown"], [np.nan, 0.25])
    assert log.step.tolist() == [0, 1]
    with closing(sqlite3.connect(database)) as file:
        add(file, "a", "oops")
        file.commit()
    assert "1 rows are no JSON objects, and are left out." in read(database, run="a").notes


def test_a_locked_database_is_a_sentence(database, monkeypatch):
    monkeypatch.setattr("isotherm.measure.logs.trackio.WAIT", 0.05)
    with closing(sqlite3.connect(database, isolation_level=None)) as file:
        file.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UserError, match="cannot be read: database is locked"):
            read(database, run="a")


def test_a_database_that_is_being_written(database):
    """Rows in the write-ahead log count while the writer lives, and nothing of ours stays behind."""
    with closing(sqlite3.connect(database)) as file:
        file.execute("PRAGMA journal_mode=WAL")
        add(file, "a", '{"entropy": 0.125}')
        file.commit()
        assert read(database, run="a").series["entropy/unknown"].tolist() == [0.5, 0.125]
        (copy := database.parent / "copy").mkdir()
        (copy / "project.db").write_bytes(database.read_bytes())  # without its log
        assert read(copy, run="a").series["entropy/unknown"].tolist() == [0.5]
        assert os.listdir(copy) == ["project.db"]
    before = sorted(os.listdir(database.parent))
    assert read(database, run="a").series["entropy/unknown"].tolist() == [0.5, 0.125]
    assert sorted(os.listdir(database.parent)) == before


def test_other_databases_are_not_taken_for_trackios(tmp_path):
    for statement in ("CREATE TABLE x (y)", "CREATE VIEW metrics AS SELECT 1 AS run_name"):
        path = tmp_path / "other.db"
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as file:
            file.execute(statement)
            file.commit()
        with pytest.raises(UserError, match="No training log was recognised"):
            read(path)


@pytest.mark.parametrize(
    "name",
    ["wandb/trl.wandb", "wandb/plain.wandb", "tensorboard/events.out.tfevents.1.host.trl", "trackio/huggingface.db.gz",
     "trl/checkpoint-6/trainer_state.json", "trl/completions/completions_00003.parquet", "verl/console.log",
     "verl/experiment.jsonl", "prime_rl/token_exports/step_1/rank_0.jsonl", "wandb_export/entropy.csv",
     "csv/named.csv"],
)  # fmt: skip
def test_damage_of_any_kind_ends_in_a_log_or_a_sentence(name, tmp_path):
    content = (SAMPLES / name).read_bytes()
    content = gzip.decompress(content) if name.endswith(".gz") else content
    draw, path = random.Random(name), tmp_path / "log"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(40):
            damaged, at = bytearray(content), draw.randrange(len(content))
            match draw.randrange(4):
                case 0:
                    del damaged[at:]
                case 1:
                    for _ in range(draw.randint(1, 20)):
                        damaged[draw.randrange(len(damaged))] = draw.randrange(256)
                case 2:
                    damaged[at : at + draw.randint(1, 50)] = draw.randbytes(draw.randint(0, 50))
                case 3:
                    del damaged[at : at + draw.randint(1, 3000)]
            path.write_bytes(damaged)
            with contextlib.suppress(UserError):
                log = read(path)
                assert all(values.shape == log.step.shape for values in log.series.values())
                assert not any(np.isinf(values).any() for values in log.series.values())
