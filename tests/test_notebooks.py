"""The notebooks run, and are committed with small pictures."""

import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TINY = {
    "01_progression": {"SIZE": 32, "POOL": 2},
    "02_own_dataset": {"SIZE": 32, "POOL": 2, "VIDEOS": 2},
    "03_features": {"STEPS": 2, "CLIPS": 32},
}


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(path, as_version=4)
    (given,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    for name, value in TINY[path.stem].items():
        given.source, found = re.subn(rf"^{name} = \S+", f"{name} = {value}", given.source, flags=re.M)
        assert found == 1
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert sum("image/jpeg" in out.get("data", {}) for cell in notebook.cells for out in cell.get("outputs", ())) >= 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_its_pictures_are_committed_and_small(path):
    assert path.stat().st_size < 600_000
    text = path.read_text(encoding="utf-8")
    assert '"output_type": "error"' not in text
    assert "/site-packages/" not in text  # a warning with a place on somebody's machine
    outputs = [out for cell in nbformat.read(path, as_version=4).cells for out in cell.get("outputs", ())]
    assert sum("image/jpeg" in out.get("data", {}) for out in outputs) >= 2


def test_all_are_covered():
    assert [path.stem for path in NOTEBOOKS] == sorted(TINY)
