"""Real run folders, once for all tests, and copies to be varied."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_runs import make_runs


@pytest.fixture(scope="session")
def real_runs(tmp_path_factory) -> Path:
    """Those of :func:`tiny_runs.make_runs`."""
    return make_runs(tmp_path_factory.mktemp("made"))


@pytest.fixture
def runs(real_runs, tmp_path) -> Path:
    """A copy of them, without checkpoints."""
    heavy = shutil.ignore_patterns("checkpoints", "*tfevents*")
    return Path(shutil.copytree(real_runs, tmp_path / "runs", ignore=heavy))


@pytest.fixture
def further(runs) -> Callable[..., Path]:
    """Adds a test like ``test/ucf101/default`` under another name, with other results, seed or network."""

    def add(name: str, accuracy: float, seed: int = 0, size: str | None = None, **values: object) -> Path:
        folder = Path(shutil.copytree(runs / "test/ucf101/default", runs / "test/ucf101" / name))
        results = json.loads((folder / "results.json").read_text())
        results["metrics"]["test_acc1"] = accuracy
        results["starts_from"]["provenance"]["data_seed"] = seed
        (folder / "results.json").write_text(json.dumps(results | values))
        if size is not None:
            config = (folder / "config.yaml").read_text()
            (folder / "config.yaml").write_text(config.replace("size: tiny", f"size: {size}"))
        return folder

    return add
