"""What tests share: real data where it is, one torch thread for small tensors, and a stand-in for a missing GPU."""

import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # each process has a core; torch reads it when imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "2")

import pytest
import torch

ROOT = Path(__file__).parents[1]
CUDA = torch.cuda.is_available()
if "VSR_COMPILED_KERNELS" in os.environ:  # for a GPU that isn't here, and run on tensors of the CPU
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import ptx

    ptx.use()
elif not CUDA:  # Triton's interpreter then runs the CUDA renderer on tensors of the CPU; kernels read it when imported
    os.environ["TRITON_INTERPRET"] = "1"
import lightning  # noqa: E402, F401  It logs to the standard error of this moment, which must not be that of a test

if importlib.util.find_spec("triton") is None:  # it comes with torch for CUDA
    collect_ignore = ["raster/test_cuda.py", "raster/test_compiled.py"]
elif tuple(map(int, importlib.metadata.version("triton").split(".")[:2])) < (3, 8):
    from triton.runtime import interpreter

    def _patch(tensor, scope, patch=interpreter._patch_lang_tensor):
        """As in Triton 3.8: the interpreter of 3.6 (torch 2.11) makes numbers of arrays in a way NumPy 2.5 refuses."""
        patch(tensor, scope)
        tensor.__index__ = lambda self: int(self.handle.data.squeeze())

    interpreter._patch_lang_tensor = _patch


@pytest.fixture(scope="session")
def cuda() -> torch.device:
    """Where kernels run here: a GPU, or in Triton's interpreter or compiled on the CPU."""
    return torch.device("cuda", 0) if CUDA else torch.device("cpu")


@pytest.fixture
def gpu() -> torch.device:
    """A GPU; tests of what only a GPU can show are skipped without one."""
    if not CUDA:
        pytest.skip("no CUDA device here")
    return torch.device("cuda", 0)


@pytest.fixture
def real_data() -> Path:
    """The folder of real clips; tests that need it are skipped where it is not."""
    folder = Path(os.environ.get("VSR_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real clips here: set VSR_TEST_DATA to their folder")
    return folder


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Small tensors gain nothing from threads, and on a busy machine wait for them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
