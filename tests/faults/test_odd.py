"""A clock that goes backwards, videos that vanish, weights that are no numbers any more."""

import csv
import itertools
import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from test_cli import TINY, write_clip

from vsr.cli import main

PRETRAIN = ["fit", "--config", "configs/pretrain/static_circles.yaml", *TINY, "--checkpoints.every_n_steps", "2"]
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(Path(__file__).parent)


def run(*words):
    main([str(word) for word in words])


def refused(capsys, *words):
    """The lines that a command says last, when it ends with status 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        run(*words)
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    return lines[next(n for n, line in enumerate(lines) if "vsr: error:" in line) :]


def test_the_clock_goes_backwards(monkeypatch):
    """An hour at each reading: speed, order and files are those of any run; a run that goes on finds its own."""
    now = time.time()
    backwards = (now - 3600 * k for k in itertools.count())
    monkeypatch.setattr(time, "time", lambda: next(backwards))
    monkeypatch.setattr(time, "time_ns", lambda: int(next(backwards) * 1e9))
    folder = Path("runs/pretrain/static_circles/default")
    run(*PRETRAIN, "--trainer.max_steps", 4)
    run(*PRETRAIN, "--trainer.max_steps", 6, "--ckpt_path", "last")
    assert now - next(backwards) > 3600 * 4  # it was looked at
    for name, steps in (("metrics-1.csv", range(4)), ("metrics.csv", range(4, 6))):
        rows = list(csv.DictReader((folder / name).read_text().splitlines()))
        rates = [(int(row["step"]), float(row["clips_per_s"])) for row in rows if row["clips_per_s"]]
        assert [step for step, _ in rates] == list(steps)
        assert all(rate > 0 for _, rate in rates)
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 6
    assert json.loads((folder / "provenance.json").read_text())["total_steps"] == 6


class Vanish(Callback):
    """Removes files before a step.

    Args:
        pattern: which.
        step: when.
    """

    def __init__(self, pattern: str, step: int = 2) -> None:
        self.pattern, self.step = pattern, step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            for file in Path().glob(self.pattern):
                file.unlink()


def vanishing(pattern):
    return ["--trainer.callbacks+=test_odd.Vanish", "--trainer.callbacks.pattern", pattern]


@pytest.fixture
def _videos():
    for n in range(10):
        write_clip(Path(f"videos/{('train', 'val')[n // 8]}/c{n % 2}/{n}.avi"), n)


FINETUNE = [
    "fit", "--config", "configs/finetune/folders.yaml", *TINY, "--data.videos", "videos", "--data.stride", "1",
    "--data.num_workers", "0", "--trainer.max_steps", "8", "--checkpoints.every_n_steps", "2",
]  # fmt: skip
LAST = Path("runs/finetune/folders/default/checkpoints/last.ckpt")


@pytest.mark.usefixtures("_videos")
def test_a_video_vanishes_amid_an_epoch(caplog, capsys):
    """Said and counted where that is allowed; else the run ends in one line, and goes on when the video is back."""
    shutil.copytree("videos", "kept")
    said = refused(capsys, *FINETUNE, *vanishing("videos/train/c0/2.avi"))
    assert "videos/train/c0/2.avi" in said[0]
    assert "more than max_bad_share 0.01" in said[0]
    assert f"in {LAST}: go on with the same command and --ckpt_path last." in said[1]
    step = torch.load(LAST, weights_only=True)["global_step"]
    assert 2 <= step < 8
    shutil.copytree("kept", "videos", dirs_exist_ok=True)
    run(*FINETUNE, "--ckpt_path", "last")
    assert torch.load(LAST, weights_only=True)["global_step"] == 8
    caplog.clear()
    run(*FINETUNE, "--run", "tolerant", "--data.max_bad_share", 0.2, *vanishing("videos/train/c0/2.avi"))
    assert caplog.text.count("videos/train/c0/2.avi") == 1
    assert torch.load(LAST.parents[2] / "tolerant" / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 8


@pytest.mark.usefixtures("_videos")
def test_a_video_to_validate_on_vanishes(capsys):
    said = refused(capsys, *FINETUNE, "--trainer.check_val_every_n_epoch", 1, *vanishing("videos/val/c0/8.avi"))
    assert "videos/val/c0/8.avi" in said[0]
    assert len(said) == 2
    assert torch.load(LAST, weights_only=True)["global_step"] >= 2


class Spoil(Callback):
    """Puts a NaN into the weights or the pixels at a step.

    Args:
        where: ``weights`` or ``pixels``.
    """

    def __init__(self, where: str) -> None:
        self.where = where

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 3 and self.where == "weights":
            with torch.no_grad():
                next(pl_module.parameters())[0] = float("nan")
        if trainer.global_step == 3 and self.where == "pixels":
            batch["video"] = batch["video"].float()
            batch["video"][0, 0, 0] = float("nan")


def test_weights_that_are_not_finite_take_no_checkpoints_place(capsys, caplog):
    spoilt = ["--trainer.callbacks+=test_odd.Spoil", "--trainer.callbacks.where", "weights"]
    said = refused(capsys, *PRETRAIN, "--trainer.max_steps", 8, *spoilt)
    last = Path("runs/pretrain/static_circles/default/checkpoints/last.ckpt")
    assert "the weights are not finite at step 4, so they were not saved" in said[0]
    assert f"Saved is step 2, in {last}: go on with the same command and --ckpt_path last." in said[1]
    assert "step 3 skipped, its loss is not finite: static_circles index" in caplog.text
    content = torch.load(last, weights_only=True)
    assert content["global_step"] == 2
    assert all(tensor.isfinite().all() for tensor in content["state_dict"].values())
    run(*PRETRAIN, "--trainer.max_steps", 8, "--ckpt_path", "last")
    assert torch.load(last, weights_only=True)["global_step"] == 8


def test_a_clip_that_is_not_finite_costs_one_step(caplog):
    run(
        *PRETRAIN,
        "--trainer.max_steps",
        6,
        "--trainer.callbacks+=test_odd.Spoil",
        "--trainer.callbacks.where",
        "pixels",
    )
    assert caplog.text.count("skipped, its loss is not finite") == 1
    state = torch.load("runs/pretrain/static_circles/default/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    assert all(tensor.isfinite().all() for tensor in state.values())
