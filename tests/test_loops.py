"""Numba's threads beside torch's."""

import os
import subprocess
import sys

CODE = """
import torch, vsr

vsr.render_clips(vsr.load_recipe("static_circles"), num_frames=1, size=16)
print(torch.get_num_threads())
"""


def test_rendering_leaves_torch_its_threads():
    """Starting two threads for Numba, OpenMP is given that number, and torch would split its sums in two."""
    env = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2"}
    said = subprocess.run([sys.executable, "-c", CODE], env=env, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["1"]
