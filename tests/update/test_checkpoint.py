import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import pytest
import safetensors.torch
import torch

from isotherm.errors import UserError
from isotherm.update import checkpoint

POLICY = ["config.json", "model.safetensors"]
ALL = sorted([*POLICY, "manifest.json", "state.json", "state.safetensors"])


def save(folder: Path, step: int, keep: int = 0, size: int = 20) -> Path:
    def policy_files(path: Path) -> None:
        (path / "config.json").write_text('{"vocab_size": 64}')
        safetensors.torch.save_file({"w": torch.full((size,), float(step))}, path / "model.safetensors")

    return checkpoint.save(folder, step, policy_files, {"m": torch.full((3,), step / 7)}, {"step": step}, keep)


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in (folder / "checkpoints").iterdir())


def good(folder: Path) -> int:
    """The step of the newest good checkpoint, whose every tensor and number is that step's."""
    found = checkpoint.latest(folder)
    assert found is not None
    assert checkpoint.load_state(found.path) == {"step": found.step}
    assert torch.equal(checkpoint.load_tensors(found.path)["m"], torch.full((3,), found.step / 7))
    weights = safetensors.torch.load_file(found.path / "model.safetensors")["w"]
    assert torch.equal(weights, torch.full_like(weights, found.step))
    return found.step


@pytest.fixture
def two(tmp_path):
    save(tmp_path, 30)
    save(tmp_path, 40)
    return tmp_path


def expect_fallback(folder: Path, reason: str = "") -> None:
    notes: list[str] = []
    assert checkpoint.latest(folder, notes).step == 30
    assert len(notes) == 1
    assert notes[0].startswith("checkpoint step-000040 is damaged (")
    assert notes[0].endswith("); going back to step-000030")
    assert reason in notes[0]


def raw(x: torch.Tensor) -> list[int]:
    return x.contiguous().view(-1).view(torch.uint8).tolist()


def test_what_is_saved_is_loaded(tmp_path):
    tensors = {
        "a": torch.randn(5, 3, dtype=torch.float64).T,
        "b": torch.tensor([float("-0.0"), 1e-45]),
        "c": torch.randn(4).bfloat16(),
        "d": torch.tensor(7),
        "e": torch.zeros(0, 2),
        "rng": torch.get_rng_state(),
    }
    state = {"rng": 2**127 + 1, "x": 0.1, "text": "ñ\ud800", "list": [None, True]}
    path = checkpoint.save(tmp_path, 5, lambda _: None, tensors, state, 0)
    loaded = checkpoint.load_tensors(path)
    assert checkpoint.load_state(path) == state
    assert loaded.keys() == tensors.keys()
    for name, x in tensors.items():
        assert loaded[name].dtype == x.dtype
        assert loaded[name].shape == x.shape
        assert raw(loaded[name]) == raw(x)
        assert x.numel() == 0 or loaded[name].data_ptr() % 16 == 0


def test_the_same_step_gives_the_same_bytes(tmp_path):
    first, second = save(tmp_path / "a", 1), save(tmp_path / "b", 1)
    assert {f: (first / f).read_bytes() for f in ALL} == {f: (second / f).read_bytes() for f in ALL}


def test_the_manifest_lists_every_other_file(tmp_path):
    path = save(tmp_path, 40)
    said = json.loads((path / "manifest.json").read_text())
    assert said["step"] == 40
    assert sorted([*said["files"], "manifest.json"]) == ALL == sorted(p.name for p in path.iterdir())
    raw = (path / "model.safetensors").read_bytes()
    assert said["files"]["model.safetensors"] == {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}


def test_no_folder_no_checkpoint(tmp_path):
    notes: list[str] = []
    assert checkpoint.latest(tmp_path, notes) is None
    assert notes == []


def test_every_flipped_bit_is_found(two):
    random.seed(0)
    path = two / "checkpoints" / "step-000040"
    sizes = {f: (path / f).stat().st_size for f in ALL}
    for trial in range(200):
        name = ALL[trial % len(ALL)]
        raw = bytearray((path / name).read_bytes())
        raw[random.randrange(sizes[name])] ^= 1 << random.randrange(8)
        before = (path / name).read_bytes()
        (path / name).write_bytes(raw)
        expect_fallback(two, name)
        (path / name).write_bytes(before)
    assert good(two) == 40


def test_every_truncation_is_found(two):
    random.seed(1)
    path = two / "checkpoints" / "step-000040"
    for trial in range(50):
        file = path / ALL[trial % len(ALL)]
        before = file.read_bytes()
        file.write_bytes(before[: random.randrange(len(before))])
        expect_fallback(two, file.name)
        file.write_bytes(before)
    assert good(two) == 40


@pytest.mark.parametrize("name", ALL)
def test_a_missing_file_is_found(two, name):
    (two / "checkpoints" / "step-000040" / name).unlink()
    expect_fallback(two, f"{name} is missing")


@pytest.mark.parametrize("name", [f for f in ALL if f != "config.json"])  # config.json is the same in both
def test_a_file_of_another_step_is_found(two, name):
    shutil.copy(two / "checkpoints" / "step-000030" / name, two / "checkpoints" / "step-000040" / name)
    expect_fallback(two, name)


def test_a_checkpoint_under_another_name_is_found(two):
    shutil.rmtree(two / "checkpoints" / "step-000040")
    shutil.copytree(two / "checkpoints" / "step-000030", two / "checkpoints" / "step-000040")
    expect_fallback(two, "manifest.json")


def test_links_are_refused(two, tmp_path):
    file = two / "checkpoints" / "step-000040" / "model.safetensors"
    shutil.move(file, tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    expect_fallback(two, "model.safetensors is not a plain file")


def test_a_linked_checkpoint_is_refused(two):
    shutil.move(two / "checkpoints" / "step-000040", two / "step-000040")
    (two / "checkpoints" / "step-000040").symlink_to(two / "step-000040")
    expect_fallback(two, "not a plain folder")


ENTRY = {"bytes": 1, "sha256": hashlib.sha256(b"x").hexdigest()}
FORGED = [
    {"../secret": ENTRY}, {"/etc/hostname": ENTRY}, {"..": ENTRY}, {".hidden": ENTRY}, {"a\n": ENTRY}, {"": ENTRY},
    [], None, 3, {"config.json": 3}, {"config.json": {"bytes": 1}}, {"config.json": ENTRY | {"bytes": "1"}},
]  # fmt: skip


@pytest.mark.parametrize("files", FORGED)
def test_a_manifest_with_a_right_sum_but_wrong_content_is_damaged(two, files):
    (two / "checkpoints" / "secret").write_bytes(b"x")
    (two / "checkpoints" / "step-000040" / "manifest.json").write_bytes(checkpoint.manifest(40, files))
    expect_fallback(two)


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b"{}", b'{"step": 40', b"\xff", b"[" * 100_000, b'{"step": NaN}'])
def test_a_manifest_that_is_no_manifest_is_damaged(two, raw):
    (two / "checkpoints" / "step-000040" / "manifest.json").write_bytes(raw)
    expect_fallback(two, "manifest.json")


def test_all_damaged_is_none_with_a_sentence_each(two):
    for step in ("step-000030", "step-000040"):
        (two / "checkpoints" / step / "state.json").unlink()
    notes: list[str] = []
    assert checkpoint.latest(two, notes) is None
    assert [n.split(" is damaged")[0] for n in notes] == ["checkpoint step-000040", "checkpoint step-000030"]
    assert all(n.endswith("no older one is whole") for n in notes)


def test_the_caller_can_ask_for_an_older_one(two):
    assert checkpoint.latest(two, before=40) == checkpoint.Checkpoint(two / "checkpoints" / "step-000030", 30)
    assert checkpoint.latest(two, before=30) is None


@pytest.mark.parametrize(("keep", "left"), [(0, [1, 2, 3, 4]), (1, [4]), (2, [3, 4]), (9, [1, 2, 3, 4])])
def test_the_newest_are_kept(tmp_path, keep, left):
    for step in (1, 2, 3, 4):
        save(tmp_path, step, keep)
    assert names(tmp_path) == [f"step-{s:06d}" for s in left]


def test_a_broken_one_does_not_count_among_the_kept(tmp_path):
    for step in (1, 2):
        save(tmp_path, step)
    (tmp_path / "checkpoints" / "step-000002" / "model.safetensors").unlink()
    save(tmp_path, 3, keep=2)
    assert names(tmp_path) == ["step-000001", "step-000003"]


def test_the_one_just_written_is_never_pruned(tmp_path):
    for step in (8, 9):
        save(tmp_path, step)
    assert save(tmp_path, 5, keep=1).is_dir()
    assert good(tmp_path) == 9


def test_order_is_by_number_beyond_six_digits(tmp_path):
    for step in (999_999, 1_000_000):
        save(tmp_path, step)
    assert good(tmp_path) == 1_000_000


def test_a_whole_one_is_left_and_a_damaged_one_is_replaced(tmp_path):
    path = save(tmp_path, 7)
    inode = path.stat().st_ino
    assert save(tmp_path, 7) == path
    assert path.stat().st_ino == inode
    (path / "state.json").write_text("{}")
    save(tmp_path, 7)
    assert good(tmp_path) == 7
    assert names(tmp_path) == ["step-000007"]


@pytest.mark.parametrize("bad", [".hidden", "a b", "folder"])
def test_a_policy_that_writes_anything_but_plain_files_is_refused(tmp_path, bad):
    def policy_files(path: Path) -> None:
        (path / bad).mkdir() if bad == "folder" else (path / bad).write_text("x")

    with pytest.raises(Exception, match=r"names like|not a plain file"):
        checkpoint.save(tmp_path, 1, policy_files, {}, {}, 0)
    assert names(tmp_path) == []


def test_nan_in_the_state_never_reaches_a_checkpoint(two):
    with pytest.raises(ValueError, match="JSON compliant"):
        checkpoint.save(two, 50, lambda _: None, {}, {"loss": float("nan")}, 0)
    assert names(two) == ["step-000030", "step-000040"]


def in_child(work) -> int:
    """The pid of a forked child that does `work` and never returns into pytest."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return pid


def publish_forever(folder: Path, first: int, ready: int) -> None:
    os.write(ready, b"x")
    for step in range(first, first + 10_000):
        save(folder, step, keep=2)


def test_killed_at_random_moments_the_newest_is_always_good(tmp_path):
    random.seed(2)
    save(tmp_path, 1)
    interrupted = 0
    for _ in range(30):
        begun, ready = os.pipe()
        step = good(tmp_path)
        pid = in_child(lambda step=step, ready=ready: publish_forever(tmp_path, step + 1, ready))
        os.read(begun, 1)
        time.sleep(random.uniform(0, 0.03))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(begun), os.close(ready)
        assert good(tmp_path) >= step
        interrupted += any(n.startswith(".partial-") for n in names(tmp_path))
    assert interrupted >= 10  # the kills did fall into publishing
    last = good(tmp_path) + 1
    save(tmp_path, last, keep=2)
    assert names(tmp_path) == [f"step-{last - 1:06d}", f"step-{last:06d}"]


def die_at(event: int) -> None:
    """Kills this process at the given file operation: open, mkdir, rename, remove."""
    seen = 0

    def hook(name: str, _) -> None:
        nonlocal seen
        if name in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"):
            seen += 1
            if seen == event:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


@pytest.mark.parametrize("damaged", [False, True], ids=["new step", "over a damaged one"])
def test_killed_at_every_file_operation_nothing_good_is_lost(tmp_path, monkeypatch, damaged):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a kill loses nothing that was written, synced or not
    outcomes, start = set(), tmp_path / "start"
    for step in (1, 2, 3) if damaged else (1, 2):
        save(start, step)
    if damaged:
        (start / "checkpoints" / "step-000003" / "state.json").write_text("{}")
    for event in range(1, 200):
        folder = tmp_path / str(event)
        shutil.copytree(start, folder)
        pid = in_child(lambda folder=folder, event=event: (die_at(event), save(folder, 3, keep=2)))
        status = os.waitpid(pid, 0)[1]
        assert status in (0, signal.SIGKILL)
        outcomes.add(good(folder))
        halves = [p.name for _, p in checkpoint.steps(folder / "checkpoints") if not checkpoint.is_whole(p)]
        assert halves in ([], ["step-000003"] if damaged else [])
        save(folder, 3, keep=2)
        assert names(folder) == ["step-000002", "step-000003"]
        assert good(folder) == 3
        shutil.rmtree(folder)
        if status == 0:
            break
    assert status == 0
    assert event > 20
    assert outcomes == {2, 3}


@pytest.fixture
def small_disk(tmp_path):
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", place], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("size", [40_000, 1_000_000])
def test_a_full_disk_leaves_the_last_checkpoint_whole(small_disk, size):
    save(small_disk, 1, size=20_000)
    with pytest.raises(UserError, match=f"{small_disk} is full.*the last checkpoint stands"):
        save(small_disk, 2, size=size)
    assert names(small_disk) == ["step-000001"]
    assert good(small_disk) == 1
    save(small_disk, 3, size=20_000)
    assert good(small_disk) == 3


@pytest.mark.parametrize("call", range(1, 10))
def test_a_disk_that_fills_up_at_any_write_or_sync_leaves_the_last_checkpoint_whole(two, monkeypatch, call):
    left = [call]

    def failing(function):
        def run(*args):
            left[0] -= 1
            if left[0] == 0:
                raise OSError(28, "No space left on device")
            return function(*args)

        return run

    monkeypatch.setattr(os, "write", failing(os.write))
    monkeypatch.setattr(os, "fsync", failing(os.fsync))
    with pytest.raises(UserError, match="is full"):
        save(two, 50)
    monkeypatch.undo()
    assert left == [0]
    assert names(two) == ["step-000030", "step-000040"]
    assert good(two) == 40


def test_nothing_here_can_read_a_pickle():
    source = Path(checkpoint.__file__).read_text()
    assert "pickle" not in source
    assert "torch.load" not in source.replace("safetensors.load", "")
