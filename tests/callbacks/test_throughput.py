"""How fast a run is: what is logged, and when."""

import csv
import time
from types import SimpleNamespace

import pytest
from small_runs import fit

from vsr.callbacks import Throughput
from vsr.data.synthetic import SyntheticVideos

pytestmark = pytest.mark.filterwarnings("ignore")


def logged(folder, name):
    with (folder / "metrics.csv").open() as file:
        return [(int(row["step"]), float(row[name])) for row in csv.DictReader(file) if row.get(name)]


def test_clips_are_counted_at_optimiser_steps_over_epochs(tmp_path, monkeypatch):
    clock = iter(range(10**6))
    ticking = SimpleNamespace(perf_counter=lambda: float(next(clock)))
    monkeypatch.setattr("vsr.callbacks.throughput.time", ticking)
    fit(tmp_path, [Throughput()], steps=8, log_every_n_steps=2, profiler="simple")  # a profiler: no clock for data
    assert {rate for _, rate in logged(tmp_path, "clips_per_s")} == {8.0}  # 2 steps of 4 clips in a tick
    assert [step for step, _ in logged(tmp_path, "clips_per_s")] == [1, 3, 5, 7]
    assert not logged(tmp_path, "data_share")


def test_the_data_share_is_that_of_making_batches(tmp_path, monkeypatch):
    made = SyntheticVideos.on_after_batch_transfer

    def slow(self, *args):
        time.sleep(0.5)
        return made(self, *args)

    fit(tmp_path / "fast", [Throughput()], steps=3)
    monkeypatch.setattr(SyntheticVideos, "on_after_batch_transfer", slow)
    fit(tmp_path / "slow", [Throughput()], steps=3)
    fast, slowed = (logged(tmp_path / name, "data_share")[-1][1] for name in ("fast", "slow"))
    assert 0 < fast < slowed < 1


def test_memory_is_that_of_the_process(tmp_path):
    fit(tmp_path, [Throughput()], steps=1)
    assert 0.1 < logged(tmp_path, "memory_gib")[0][1] < 100


def test_utilisation_is_logged_in_runs_long_enough_to_measure_the_device(tmp_path, monkeypatch):
    monkeypatch.setattr("vsr.callbacks.throughput._LONG", 2)
    fit(tmp_path / "long", [Throughput()], steps=2)
    fit(tmp_path / "short", [Throughput()], steps=1)
    assert 0 < logged(tmp_path / "long", "utilisation")[-1][1] < 1
    assert not logged(tmp_path / "short", "utilisation")
