"""Probes as users run them: fit, test, several processes, overlays."""

import csv
import json
from pathlib import Path

import pytest
import torch
from test_cli import clips, run  # noqa: F401  # clips is a fixture

from vsr.callbacks.run_folder import wilson_interval

PROBE = ["--config", "configs/probe/ucf101.yaml", "--config", "configs/scale/laptop.yaml"]
QUICK = [
    "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--data.size", "16",
    "--data.num_frames", "4", "--data.global_batch_size", "4", "--data.test_segments", "1", "--data.test_crops", "1",
    "--data.num_workers", "0",
]  # fmt: skip
LONG = ["--trainer.max_steps", "4", "--trainer.log_every_n_steps", "1"]
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"),
]


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def data(clips):  # noqa: F811
    return ["--data.videos", str(clips / "videos"), "--data.lists", str(clips / "lists")]


def weights(folder):
    return torch.load(Path("runs") / folder / "ucf101/default/checkpoints/last.ckpt", weights_only=True)["state_dict"]


def test_linear(clips, caplog):  # noqa: F811
    grid = ["--config", "configs/preset/probe-grid.yaml", "--data.held_out", "0.25"]
    with caplog.at_level("INFO"):
        run("fit", *PROBE, *grid, *QUICK, *LONG, *data(clips), "--data.feature_cache", "cache")
    folder = Path("runs/probe/ucf101/default")
    rows = list(csv.DictReader((folder / "heads.csv").open()))
    assert len(rows) == 21
    assert [r["base_lr"] for r in rows[::3]] == ["0.0001", "0.0003", "0.001", "0.003", "0.01", "0.03", "0.1"]
    assert [r["weight_decay"] for r in rows[:3]] == ["0.0", "0.0001", "0.01"]
    assert [r["chosen"] for r in rows].count("1") == 1
    (best,) = (r for r in rows if r["chosen"] == "1")
    assert int(best["videos"]) == 2
    assert max(int(r["right"]) for r in rows) == int(best["right"])
    low, high = wilson_interval(int(best["right"]) / 2, 2)
    assert (float(best["low"]), float(best["high"])) == (pytest.approx(low, abs=1e-6), pytest.approx(high, abs=1e-6))
    assert "Chosen of 21 heads on 2 held-out videos: base_lr" in caplog.text
    assert "Features of 8 clips, each encoded once: float32 192" in caplog.text
    assert (folder / "done").exists()
    assert not list(folder.glob("features*"))
    header = (folder / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"loss", "lr", "clips_per_s"} <= set(header)
    provenance = json.loads((folder / "provenance.json").read_text())
    assert (provenance["videos"], provenance["held_out"], provenance["starts_from"]) == (6, 0.25, None)

    run("test", *PROBE, *QUICK, *data(clips), "--model.checkpoint", folder / "checkpoints" / "last.ckpt")
    results = json.loads(Path("runs/test/ucf101/default/results.json").read_text())
    assert {"test_acc1", "test_acc5", "test_mean_class_acc"} <= results["metrics"].keys()
    assert results["videos"] == 4
    assert len(Path("runs/test/ucf101/default/predictions.csv").read_text().splitlines()) == 5


def test_attentive(clips):  # noqa: F811
    attentive = ["--config", "configs/probe/attentive.yaml"]
    run("fit", *PROBE, *attentive, *QUICK, *LONG, *data(clips))
    assert "model.pool.latent" in weights("attentive")
    last = "runs/attentive/ucf101/default/checkpoints/last.ckpt"
    run("test", *PROBE, *attentive, *QUICK, *data(clips), "--model.checkpoint", last)
    assert json.loads(Path("runs/test/ucf101/default/results.json").read_text())["videos"] == 4


def test_nearest_neighbours(clips, capsys):  # noqa: F811
    knn = ["--config", "configs/probe/knn.yaml", "--model.k", "5"]
    run("test", *PROBE, *knn, *QUICK, *data(clips))
    folder = Path("runs/test/ucf101/default")
    assert json.loads((folder / "results.json").read_text())["videos"] == 4
    assert not list(folder.glob("features*"))
    capsys.readouterr()
    run("fit", *PROBE, *knn, *QUICK, *data(clips), expect=2)
    assert "has nothing to fit: vsr test" in capsys.readouterr().err
    assert not Path("runs/knnprobe").exists()


def test_plan_can_not_time_it(clips, capsys):  # noqa: F811
    run("plan", *PROBE, *QUICK, *data(clips), expect=2)
    assert "vsr plan can't time a probe" in capsys.readouterr().err
