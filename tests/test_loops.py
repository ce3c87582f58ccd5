"""Numba's threads beside torch's, and its cache."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
RENDER = """
import torch, vsr

vsr.render_clips(vsr.load_recipe("static_circles"), num_frames=1, size=16)
print(torch.get_num_threads())
"""
CALLED = """
from vsr.loops import compiled

@compiled
def number():
    return {}
"""
CALLER = """
from vsr.called_cpu import number
from vsr.loops import compiled

@compiled
def twice():
    return 2 * number()
"""
CALL = """
from vsr.caller_cpu import twice

print(twice(), sum(twice.stats.cache_hits.values()))
"""


def said(code: str, folder: Path = ROOT, **environment: str) -> list[str]:
    """What a process prints that finds vsr in a folder."""
    env = os.environ | environment | {"PYTHONPATH": str(folder)}
    words = [sys.executable, "-c", code]
    return subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=True).stdout.split()


def test_rendering_leaves_torch_its_threads():
    """Starting two threads for Numba, OpenMP is given that number, and torch would split its sums in two."""
    assert said(RENDER, OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="2") == ["1"]


def test_a_change_in_another_file_is_compiled(tmp_path):
    """Numba alone would go on with what it has kept of a loop whose own file is the same."""
    shutil.copytree(ROOT / "vsr", tmp_path / "vsr", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "vsr" / "caller_cpu.py").write_text(CALLER)
    (tmp_path / "vsr" / "called_cpu.py").write_text(CALLED.format(1))
    assert said(CALL, tmp_path) == ["2", "0"]
    assert said(CALL, tmp_path) == ["2", "1"]
    (tmp_path / "vsr" / "called_cpu.py").write_text(CALLED.format(5))
    assert said(CALL, tmp_path) == ["10", "0"]
