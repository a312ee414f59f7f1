"""`isotherm pretrain` says before the training what would be wrong after it, and leaves nothing half made."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from safetensors import torch as safetensors

from isotherm.errors import UserError
from isotherm.policy import pretrain
from isotherm.policy.pretrain import make


def test_a_folder_that_cannot_be_written_to_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain, "pretrain", lambda *_: pytest.fail("it was trained first"))
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"The folder {tmp_path}/file/model cannot be written to: Not a directory"):
        make(tmp_path / "file" / "model")

    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(pretrain, "write_whole", refused)
    with pytest.raises(UserError, match="cannot be written to: Permission denied"):
        make(tmp_path / "model")


def test_a_full_disk_leaves_the_folder_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: object, path: Path, **__: object) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(safetensors, "save_file", full)
    with pytest.raises(UserError, match=f"The disk .* of {tmp_path}/model is full") as caught:
        make(tmp_path / "model", steps=1)
    assert "checkpoint" not in str(caught.value)
    assert not list((tmp_path / "model").iterdir())


def test_the_callers_precision_and_threads_are_theirs_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = torch.get_num_threads(), torch.get_float32_matmul_precision()
    seen: list[str] = []
    monkeypatch.setattr(pretrain, "pretrain", lambda *_: seen.append(torch.get_float32_matmul_precision()))
    make(tmp_path / "model")
    assert (torch.get_num_threads(), torch.get_float32_matmul_precision()) == before
    assert seen == ["medium"]
