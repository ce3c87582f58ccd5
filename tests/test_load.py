"""The short form of benchmarks/load.py: nothing grows and nothing is left behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LOAD = Path(__file__).parents[1] / "benchmarks" / "load.py"


@pytest.mark.slow
def test_a_run_does_not_grow_and_data_modules_leave_nothing(tmp_path):
    env = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    words = [sys.executable, "-W", "ignore", str(LOAD), "--steps", "500", "--starts", "5", "--out", "load.md"]
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    text = (tmp_path / "load.md").read_text()
    assert "started 5 times, stopped amid an epoch: 0 processes left behind" in text
    assert text.rstrip().endswith("Flat: at most 50 MiB, no file and no process more.")
    assert len([line for line in text.splitlines() if line.startswith("| ") and line[2].isdigit()]) >= 15
