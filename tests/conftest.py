"""What all tests share: real data where it is, and one torch thread per test process."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("NUMBA_NUM_THREADS", "2")
ROOT = Path(__file__).parents[1]


@pytest.fixture
def real_data() -> Path:
    """The folder of real clips; tests that need it are skipped where it is not."""
    folder = Path(os.environ.get("VSR_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real clips here: set VSR_TEST_DATA to their folder")
    return folder
