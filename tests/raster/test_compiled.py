"""The CUDA renderer as it is compiled for an H200: its PTX runs on the CPU, instruction by instruction.

``test_cuda``, ``test_place`` and ``test_properties`` ask the same of Triton's interpreter, which runs the source. Here
they ask it of the machine code's last form before the assembler: with multiply-adds fused, arguments specialised, and
every access checked to lie within a tensor.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parent
BENCHMARKS = FOLDER.parents[1] / "benchmarks"
pytestmark = [
    pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler here"),
    pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="benchmarks are in the repository, not in the package"),
]


def run(*command: str | Path) -> str:
    environ = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET" and not k.startswith("PYTEST_XDIST")}
    environ |= {"VSR_COMPILED_KERNELS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(BENCHMARKS)}
    done = subprocess.run([sys.executable, *command], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "chosen", "least"),
    [("test_cuda", "not OnAGpu and not h200", 72), ("test_place", "cuda", 30), ("test_properties", "cuda", 1)],
)
def test_what_the_interpreter_does_compiled_kernels_do(name, chosen, least):
    path = FOLDER / f"{name}.py"
    said = run("-m", "pytest", path, "-n", "0", "-q", "-k", chosen)
    assert int(re.search(r"(\d+) passed", said)[1]) >= least


def test_the_checks_can_fail():
    """A kernel that writes past its tensor, one that reads off its alignment, one with too many threads."""
    said = run(Path(__file__).with_name("wrong_kernels.py"))
    assert re.search(r"past: past: outside of every tensor \(thread 4, address 0x\w+\): .*st\.global", said)
    assert re.search(r"off: off: misaligned address \(thread 0, address 0x\w+\): .*ld\.global", said)
    assert re.search(r"wide: wide has blocks of 128 threads: launch it with num_warps=1", said)


def test_a_multiply_add_is_fused_only_where_it_may_be():
    """Else draws would have other bits on a GPU: this tells the two apart, as the interpreter can't."""
    said = run(Path(__file__).with_name("wrong_kernels.py"))
    a, c = 1 + 2**-12, -1 - 2**-11
    assert float(torch.tensor(a) * torch.tensor(a) + c) == 0  # float32
    assert f"fused: {a * a + c}" in said
    assert "apart: 0.0" in said
