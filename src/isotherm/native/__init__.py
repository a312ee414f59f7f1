"""A few functions in C, compiled when they are first wanted; without a compiler everything runs in plain PyTorch.

Each has a plain twin beside the caller, and the tests hold the two together. Nothing here decides what is computed.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

HERE = Path(__file__).parent
FLAGS = [
    "-O3", "-march=native", "-mprefer-vector-width=512", "-std=gnu11", "-fPIC", "-fopenmp",
    "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fno-semantic-interposition",
    "-Wall", "-Werror=implicit-function-declaration",
]  # fmt: skip
SECONDS = 120.0  # for the compiler
LARGE = 7 << 28  # bytes of address space; what is never written to takes no memory
OFF = "ISOTHERM_NATIVE"  # this environment variable at 0 keeps the plain functions

state = {"wanted": os.environ.get(OFF, "1") != "0"}


class Build:
    """The compiled functions, or the sentence that says why there are none."""

    def __init__(self, functions: ctypes.CDLL | None, reason: str) -> None:
        self.functions, self.reason = functions, reason


def on() -> bool:
    """Whether the compiled functions are in use; compiles them at the first call."""
    return state["wanted"] and build().functions is not None


def wanted() -> bool:
    return state["wanted"]


def use(wanted: bool) -> None:
    """Takes the compiled functions into use where they exist, or puts them out of use."""
    state["wanted"] = wanted and os.environ.get(OFF, "1") != "0"


@contextmanager
def using(wanted: bool) -> Iterator[None]:
    before = state["wanted"]
    use(wanted)
    try:
        yield
    finally:
        state["wanted"] = before


def reason() -> str:
    """One clause for the start of a run."""
    return f"{OFF}=0 asks for plain PyTorch" if os.environ.get(OFF, "1") == "0" else build().reason


def fits(*tensors: Tensor | None) -> bool:
    """Whether a compiled function can take these: dense, on the CPU, and it is in use."""
    return on() and all(t is None or (t.device.type == "cpu" and t.is_contiguous()) for t in tensors)


def call(name: str, *arguments: Tensor | float | None) -> int:
    """Calls a C function: a tensor goes as its address, None as NULL, int as int64_t, float as float.

    What a function of type void returns has no meaning.
    """
    return function(name)(*map(passed, arguments))


def run(name: str, *arguments: Tensor | float | None) -> None:
    """`call` of a function that returns 1 where memory ran out, else 0."""
    if call(name, *arguments):
        raise MemoryError(f"There is no memory for {name}.")


@functools.cache
def function(name: str):
    library = build().functions
    assert library is not None, build().reason
    found = library[name]
    found.restype = ctypes.c_int64
    return found


def passed(x: Tensor | float | None) -> ctypes.c_int64 | ctypes.c_float:
    if isinstance(x, float):
        return ctypes.c_float(x)
    return ctypes.c_int64(x.data_ptr() if isinstance(x, Tensor) else x or 0)


@functools.cache
def build() -> Build:
    """Compiles the C files of this folder into the user's cache, unless that has been done on this machine."""
    compiler = next((c for c in (os.environ.get("CC"), "cc", "gcc", "clang") if c and shutil.which(c)), None)
    if platform.system() != "Linux":
        return Build(None, f"the compiled functions are for Linux, and this is {platform.system()}")
    if compiler is None:
        return Build(None, "there is no C compiler here")
    for folder in (cache(), Path(tempfile.gettempdir()) / f"isotherm-{os.getuid()}"):
        try:
            target = folder / f"native-{fingerprint(compiler)}.so"
            claim(folder)
            with alone(folder):
                if not target.exists():
                    compile_to(compiler, target)
            return Build(ctypes.CDLL(str(target)), f"compiled by {compiler}")
        except (OSError, subprocess.SubprocessError) as error:
            failure = error
    detail = getattr(failure, "stderr", None) or failure
    return Build(None, f"{compiler} failed: {' '.join(str(detail).split())[:300]}")


def claim(folder: Path) -> None:
    """Makes the folder; refuses one in which others could have put something to be loaded."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = folder.stat()
    if found.st_uid != os.getuid() or found.st_mode & 0o002:
        raise PermissionError(f"{folder} can be written to by others")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One process at a time: the second of two that begin together finds the first one's work."""
    import fcntl  # not on every system; `build` has asked

    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "isotherm"


def sources(kind: str = ".c") -> list[Path]:
    return sorted(p for p in HERE.iterdir() if p.suffix == kind)


def fingerprint(compiler: str) -> str:
    """Of all that decides the machine code: sources, flags, compiler, processor."""
    version = command([compiler, "--version"])
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    processor = [line for line in lines if line.startswith(("model", "flags", "Features"))][:4]
    parts = [
        *(line.encode() for line in (version, *processor, *FLAGS)),
        *(p.read_bytes() for p in (*sources(".h"), *sources())),
    ]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def compile_to(compiler: str, target: Path) -> None:
    """Under another name first: a file of this name is whole."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder, ThreadPoolExecutor() as pool:
        made = list(pool.map(functools.partial(compile_one, compiler, Path(folder)), sources()))
        out = Path(folder) / "native.so"
        command([compiler, "-shared", "-fopenmp", *map(str, made), "-lm", "-o", str(out)])
        out.replace(target)


def compile_one(compiler: str, folder: Path, source: Path) -> Path:
    out = folder / f"{source.stem}.o"
    command([compiler, *FLAGS, "-c", str(source), "-o", str(out)])
    return out


def command(words: list[str]) -> str:
    return subprocess.run(
        words, capture_output=True, encoding="utf-8", errors="replace", check=True, timeout=SECONDS
    ).stdout


def keep_memory() -> bool:
    """Keeps freed memory in the process: a step's large temporaries would otherwise go back to the system, to be mapped
    and cleared again, page by page, in the next one. False where the C library is not glibc."""
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    kept = [mallopt(*pair) for pair in ((mmap_max, 0), (trim_threshold, 2**31 - 1), (top_pad, LARGE))]
    large_pages()
    return all((*kept, mallopt(top_pad, 64 << 20)))


def large_pages() -> None:
    """The heap grows by `LARGE`, and its new part asks for pages of 2 MB, to be found with fewer look-ups."""
    library, huge = ctypes.CDLL(None), 14
    library.sbrk.restype = library.malloc.restype = ctypes.c_void_p
    start = library.sbrk(None)
    library.free(ctypes.c_void_p(library.malloc(64 << 20)))
    start += -start % 4096
    library.madvise(ctypes.c_void_p(start), ctypes.c_size_t(library.sbrk(None) - start), huge)


assert torch.version is not None  # torch first: its OpenMP runtime is then the one that the compiled functions share
