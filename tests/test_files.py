import errno
import os
import resource
import signal
from pathlib import Path

import pytest

from isotherm import files
from isotherm.errors import UserError

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def content(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_write_whole_replaces_and_leaves_nothing_else(tmp_path):
    files.write_whole(tmp_path / "a", b"old")
    files.write_whole(tmp_path / "a", "ñ€w")
    assert content(tmp_path) == {"a": "ñ€w".encode()}


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_failing_call_keeps_the_old_file(tmp_path, monkeypatch, call):
    files.write_whole(tmp_path / "a", b"old")

    def fail(*_):
        raise FULL

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left"):
        files.write_whole(tmp_path / "a", b"new")
    assert content(tmp_path) == {"a": b"old"}


def test_a_disk_that_takes_only_a_part_is_asked_again(tmp_path, monkeypatch):
    whole = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: whole(fd, data[:3]))
    files.write_whole(tmp_path / "a", b"0123456789")
    files.append_whole(tmp_path / "a", b"abcdefgh")
    assert content(tmp_path) == {"a": b"0123456789abcdefgh"}


def test_append_takes_half_a_line_back(tmp_path):
    files.append_whole(tmp_path / "a", b"first\n")
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            files.append_whole(tmp_path / "a", b"0123456789\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert content(tmp_path) == {"a": b"first\n"}


def test_publish_directory_moves_all_of_it(tmp_path):
    (tmp_path / "p" / "sub").mkdir(parents=True)
    (tmp_path / "p" / "sub" / "f").write_bytes(b"x")
    files.publish_directory(tmp_path / "p", tmp_path / "final")
    assert not (tmp_path / "p").exists()
    assert (tmp_path / "final" / "sub" / "f").read_bytes() == b"x"


def test_publish_directory_syncs_every_file_and_folder_before_the_rename(tmp_path, monkeypatch):
    (tmp_path / "p" / "sub").mkdir(parents=True)
    (tmp_path / "p" / "sub" / "f").write_bytes(b"x")
    calls, rename = [], os.rename
    monkeypatch.setattr(files, "sync", lambda path: calls.append(path.relative_to(tmp_path).as_posix()))
    monkeypatch.setattr(os, "rename", lambda a, b: (calls.append("rename"), rename(a, b)))
    files.publish_directory(tmp_path / "p", tmp_path / "final")
    assert calls == ["p/sub/f", "p/sub", "p", "rename", "."]


def test_publish_directory_removes_what_it_cannot_publish(tmp_path):
    for name in ("p", "final"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_bytes(name.encode())
    with pytest.raises(OSError, match="not empty"):
        files.publish_directory(tmp_path / "p", tmp_path / "final")
    assert not (tmp_path / "p").exists()
    assert (tmp_path / "final" / "f").read_bytes() == b"final"


@pytest.mark.parametrize("error", [FULL, RuntimeError("I/O error: No space left on device (os error 28)")])
def test_a_full_disk_is_a_sentence_that_names_the_folder(tmp_path, error):
    with pytest.raises(UserError, match=rf"of {tmp_path} is full.*again\. \(") as caught, files.full_disk(tmp_path):
        raise error
    assert "checkpoint" not in str(caught.value)
    (tmp_path / "checkpoints" / "step-000001").mkdir(parents=True)
    for place in (tmp_path, tmp_path / "rollouts"):
        with pytest.raises(UserError, match=r"the last checkpoint stands.*go on from it"), files.full_disk(place):
            raise error


@pytest.mark.parametrize("error", [OSError(errno.EIO, "broken"), ValueError("28"), UserError("(os error 28)")])
def test_other_errors_pass_unchanged(error):
    with pytest.raises(type(error)) as caught, files.full_disk("runs/a"):
        raise error
    assert caught.value is error


def test_json_bytes_do_not_depend_on_the_order_and_refuse_nan():
    assert files.json_bytes({"b": 1, "a": [0.1]}) == files.json_bytes({"a": [0.1], "b": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        files.json_bytes({"a": float("nan")})
