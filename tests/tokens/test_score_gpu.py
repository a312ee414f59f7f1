"""Without a GPU the kernels run by Triton's interpreter and are compiled for a Hopper; with one they run on it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

triton = pytest.importorskip("triton", reason="Triton is not installed: pip install 'isotherm[gpu]'")

ROOT = Path(__file__).parents[2]
INTERPRET = "TRITON_INTERPRET"  # read when Triton is first imported, hence the processes of their own


def test_the_cases_on_the_gpu_or_by_the_interpreter():
    there = os.environ | ({} if torch.cuda.is_available() else {INTERPRET: "1"})
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/tokens/kernel_cases.py"]
    done = subprocess.run(command, cwd=ROOT, env=there, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


POINTERS = {"state": "*fp32", "top": "*fp32", "log_sum": "*fp32", "entropy": "*fp32", "g1": "*fp32", "g2": "*fp32"}
TYPES = {"target": "*i64", "bias": "*fp32", "out": "*bf16", "cap": "fp32", "inverse": "fp32", **POINTERS}


@pytest.mark.skipif(os.environ.get(INTERPRET) == "1", reason="The interpreter is on: nothing is compiled.")
@pytest.mark.parametrize("name", ["add_tile_kernel", "gradient_kernel"])
@pytest.mark.parametrize("logits", ["*fp32", "*bf16"])
@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION")
def test_compiles_for_a_hopper_without_one(monkeypatch, tmp_path, name, logits, everything):
    """Down to machine code; loads of four numbers at once, and one exponential per logit."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from isotherm.tokens import epilogue

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(epilogue, name)
    fixed: dict = {"BIASED": everything, "CAPPED": everything, "BLOCK": epilogue.BLOCK}
    fixed |= {} if everything else {"bias": None}
    types = {"logits": logits, **TYPES} | dict.fromkeys(fixed, "constexpr")
    place = {argument: (i,) for i, argument in enumerate(kernel.arg_names)}
    aligned = {place[x]: [["tt.divisibility", 16]] for x in ("logits", "columns", "out") if x in place}
    source = ASTSource(
        fn=kernel,
        signature={argument: types.get(argument, "i32") for argument in kernel.arg_names},
        constexprs={place[argument]: value for argument, value in fixed.items()},
        attrs=aligned,
    )
    assembly = triton.compile(source, GPUTarget("cuda", 90, 32), options={"num_warps": epilogue.WARPS}).asm
    assert len(assembly["cubin"]) > 1000
    if not everything:
        assert "ld.global.v4" in assembly["ptx"]
        each = epilogue.BLOCK // (32 * epilogue.WARPS)
        assert assembly["ptx"].count("ex2.approx") <= each + 1
