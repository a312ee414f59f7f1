import errno
import fcntl
import math
import os
import signal

import numpy as np
import pytest
import torch

from isotherm.errors import UserError
from isotherm.update import folder as folder_module
from isotherm.update.folder import RunFolder, read_rows


def test_rows_are_read_back_exactly(tmp_path):
    row = {"step": 1, "x": 0.1 + 0.2, "tiny": 5e-324, "list": [1, None, True], "text": "ñ\n\u2028"}
    with RunFolder(tmp_path / "runs" / "a") as run:
        run.log(row)
        run.log({"step": 2})
        assert read_rows(run.metrics) == [row, {"step": 2}]
        assert run.metrics.read_bytes().endswith(b'{"step": 2}\n')


def test_bytes_do_not_depend_on_the_order_or_kind_of_numbers(tmp_path):
    run = RunFolder(tmp_path)
    run.log({"b": 0.5, "a": 3, "c": [0.25]})
    run.log({"a": np.int64(3), "c": (np.float32(0.25),), "b": torch.tensor(0.5)})
    first, second = run.metrics.read_bytes().splitlines()
    assert first == second == b'{"a": 3, "b": 0.5, "c": [0.25]}'


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan"), torch.tensor(math.inf)])
def test_what_is_not_finite_becomes_null(tmp_path, value):
    run = RunFolder(tmp_path)
    run.log({"x": value, "y": {"z": [value]}})
    assert read_rows(run.metrics) == [{"x": None, "y": {"z": [None]}}]


def test_timings_go_to_a_file_of_their_own(tmp_path):
    run = RunFolder(tmp_path)
    run.log_timing({"step": 1, "seconds": 0.5})
    assert not run.metrics.exists()
    assert read_rows(run.timings) == [{"step": 1, "seconds": 0.5}]


def test_rewind_gives_the_bytes_of_the_mark(tmp_path):
    run = RunFolder(tmp_path)
    run.log_timing({"start": "cold"})
    for step in (1, 2):
        run.log({"step": step})
        run.log_timing({"step": step})
    size, before = run.mark(), run.metrics.read_bytes()
    assert size == len(before)
    run.log({"step": 3})
    run.log_timing({"step": 3})
    with run.metrics.open("ab") as metrics, run.timings.open("ab") as timings:
        metrics.write(b'{"ste')
        timings.write(b'{"step": 4, "sec')
    run.rewind(size, 2)
    assert run.metrics.read_bytes() == before
    assert read_rows(run.timings) == [{"start": "cold"}, {"step": 1}, {"step": 2}]
    assert run.mark() == size


def test_rewind_to_nothing(tmp_path):
    run = RunFolder(tmp_path)
    run.rewind(0, -1)
    run.log({"step": 0})
    run.log_timing({"step": 0})
    run.rewind(0, -1)
    assert run.metrics.read_bytes() == run.timings.read_bytes() == b""


@pytest.mark.parametrize("damage", [lambda raw: raw[:-4], lambda raw: b"", lambda raw: raw[:-1] + b" " + raw[-1:]])
def test_rewind_refuses_metrics_that_lost_rows(tmp_path, damage):
    run = RunFolder(tmp_path)
    run.log({"step": 1})
    size = run.mark()
    run.metrics.write_bytes(damage(run.metrics.read_bytes()))
    before = run.metrics.read_bytes()
    with pytest.raises(UserError, match=r"metrics\.jsonl has .* since step 1, when it had 12 whole"):
        run.rewind(size, 1)
    assert run.metrics.read_bytes() == before


def test_mark_and_rewind_put_both_files_on_the_disk(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(folder_module, "sync", lambda path: synced.append(path.name))
    run = RunFolder(tmp_path)
    run.mark()
    assert synced == ["metrics.jsonl", "timings.jsonl", tmp_path.name]


def test_a_torn_last_line_is_left_out(tmp_path):
    path, whole = tmp_path / "m.jsonl", b'{"a": 1}\n{"a": 22}\n'
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        assert read_rows(path) == [{"a": 1}, {"a": 22}][: whole[:cut].count(b"}")]


@pytest.mark.parametrize("bad", [b'{"a": 1', b"", b"[1]", b"\xff", b"\0\0"])
def test_a_bad_line_elsewhere_names_file_and_line(tmp_path, bad):
    path = tmp_path / "m.jsonl"
    for tail in (b'{"a": 3}\n', b""):
        path.write_bytes(b'{"a": 1}\n' + bad + b"\n" + tail)
        with pytest.raises(UserError, match=r"m\.jsonl, line 2 "):
            read_rows(path)


def test_a_missing_file_is_a_sentence(tmp_path):
    with pytest.raises(UserError, match=r"m\.jsonl cannot be read: No such file"):
        read_rows(tmp_path / "m.jsonl")


def test_a_full_disk_takes_no_half_rows(tmp_path, monkeypatch):
    run, whole = RunFolder(tmp_path), os.write
    run.log({"step": 1})

    def half(fd, data):
        if len(data) < 10:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(fd, data[:6])

    monkeypatch.setattr(os, "write", half)
    with pytest.raises(UserError, match="is full"):
        run.log({"step": 2})
    monkeypatch.undo()
    run.log({"step": 3})
    assert read_rows(run.metrics) == [{"step": 1}, {"step": 3}]


def holder(path) -> int:
    """The pid of a child that holds the folder until it is killed."""
    begun, ready = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with RunFolder(path):
                os.write(ready, b"x")
                signal.pause()
        finally:
            os._exit(1)
    os.read(begun, 1)
    os.close(begun), os.close(ready)
    return pid


def test_a_second_process_is_refused_and_takes_over_after_a_kill(tmp_path):
    pid = holder(tmp_path)
    with pytest.raises(UserError, match=f"{tmp_path} is in use by process {pid};"), RunFolder(tmp_path):
        pass
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert (tmp_path / "lock").read_text() == f"{pid}\n"
    with RunFolder(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_the_same_process_is_refused_too_until_the_block_ends(tmp_path):
    with RunFolder(tmp_path), pytest.raises(UserError, match=f"process {os.getpid()};"), RunFolder(tmp_path):
        pass
    with RunFolder(tmp_path) as run:
        assert run.lock is not None
    assert run.lock is None


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with pytest.raises(UserError, match=r"cannot be locked, .*No locks available.*local disk"), RunFolder(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match=f"The run folder {path} cannot be made: "), RunFolder(path):
            pass


def test_paths(tmp_path):
    run = RunFolder(str(tmp_path))
    here = [run.config, run.environment, run.metrics, run.timings, run.rollouts, run.checkpoints, run.report]
    assert [p.name for p in here] == [
        "config.json", "environment.json", "metrics.jsonl", "timings.jsonl", "rollouts", "checkpoints", "report.html",
    ]  # fmt: skip
