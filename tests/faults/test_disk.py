"""Disks that fill up or turn read-only: one line says which file and what to do, and what was saved stays."""

import csv
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from PIL import Image

from vsr.cli import main

COMMAND = [
    "fit", "--config", "configs/pretrain/static_circles.yaml", "--config", "configs/scale/laptop.yaml",
    "--trainer.accelerator", "cpu", "--trainer.max_steps", "6", "--trainer.enable_progress_bar", "false",
    "--trainer.enable_model_summary", "false", "--trainer.log_every_n_steps", "1", "--data.size", "16",
    "--data.num_frames", "4", "--data.global_batch_size", "4", "--checkpoints.every_n_steps", "2",
]  # fmt: skip
RECIPE = "{name: tiny, size: 32, duration: [8, 10], num_objects: 5, shapes: mixed, speed: [1, 3], num_videos: 100}"
pytestmark = pytest.mark.filterwarnings("ignore")


def fill(folder: Path) -> None:
    """Take all the room there is, to the last byte."""
    with (folder / "filler").open("wb", buffering=0) as file:
        for piece in (2**20, 4096, 1):
            try:
                while True:
                    file.write(bytes(piece))
            except OSError:
                pass


class Trouble(Callback):
    """Fills a disk, or makes it read-only, at a step; saves metrics at each.

    Args:
        disk: where it is mounted.
        how: ``full`` or ``read-only``.
        step: when.
    """

    def __init__(self, disk: str, how: str, step: int = 3) -> None:
        self.disk, self.how, self.step = Path(disk), how, step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        for logger in trainer.loggers:
            logger.save()
        if trainer.global_step == self.step:
            if self.how == "full":
                fill(self.disk)
            else:
                for logger in trainer.loggers:  # files that are open to be written would keep it from being remounted
                    logger.finalize("failed")
                subprocess.run(["mount", "-o", "remount,ro", self.disk], check=True)


@pytest.fixture
def disk(tmp_path, request):
    """A file system of so many MB; 150 unless the test says."""
    folder = tmp_path / "disk"
    folder.mkdir()
    size = f"size={getattr(request, 'param', 150)}m"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("file systems can't be mounted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def refused(capsys, *words):
    """The lines that a command says last, when it ends with status 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(list(map(str, words)))
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    found = lines[next(n for n, line in enumerate(lines) if "vsr: error:" in line) :]
    return [found[0][found[0].index("vsr: error:") :], *found[1:]]


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_run_that_can_not_write_any_more(disk, how, capsys, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    said = refused(
        capsys, *COMMAND, "--trainer.default_root_dir", disk, "--trainer.callbacks+=test_disk.Trouble",
        "--trainer.callbacks.disk", disk, "--trainer.callbacks.how", how,
    )  # fmt: skip
    run = disk / "pretrain" / "static_circles" / "default"
    last = run / "checkpoints" / "last.ckpt"
    reason = {"full": "No space left on device", "read-only": "Read-only file system"}[how]
    assert "can't write " in said[0]
    assert reason in said[0]
    assert said[1].endswith(
        f"Saved is step 2, in {last}: go on with the same command and --ckpt_path last."
    ), said  # fmt: skip
    assert torch.load(last, weights_only=True)["global_step"] == 2
    assert not (run / "done").exists()
    with (run / "metrics.csv").open() as file:  # what was logged before is there
        assert [row["step"] for row in csv.DictReader(file)][:2] == ["0", "1"]
    (disk / "filler").unlink() if how == "full" else subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    main([*COMMAND, "--trainer.default_root_dir", str(disk), "--ckpt_path", "last"])
    assert torch.load(last, weights_only=True)["global_step"] == 6
    assert (run / "done").exists()


def test_another_column_costs_no_line(disk):
    from vsr.callbacks.metrics import Metrics

    logger = Metrics(disk, name="", version="")
    logger.log_metrics({"loss": 1.0}, 0)
    logger.save()
    before = (disk / "metrics.csv").read_bytes()
    fill(disk)
    logger.log_metrics({"loss": 2.0, "val_acc1": 0.5}, 1)
    with pytest.raises(OSError, match="No space left"):
        logger.save()
    assert (disk / "metrics.csv").read_bytes() == before
    (disk / "filler").unlink()
    logger.log_metrics({"loss": 3.0}, 2)
    logger.save()
    rows = list(csv.DictReader((disk / "metrics.csv").read_text().splitlines()))
    assert [(row["step"], row["loss"], row["val_acc1"]) for row in rows] == [
        ("0", "1.0", ""), ("1", "2.0", "0.5"), ("2", "3.0", ""),
    ]  # fmt: skip


@pytest.mark.parametrize("disk", [1], indirect=True)
def test_an_export_goes_on_when_there_is_room(disk, tmp_path, capsys):
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    words = ["render", tmp_path / "tiny.yaml", "--count", 60, "--size", 32, "--out", disk / "videos"]
    fill(disk)
    os.truncate(disk / "filler", 2**20 - 200_000)
    said = refused(capsys, *words)
    assert len(said) == 1
    assert "No space left on device" in said[0]
    assert "what is done stays, and the same command goes on" in said[0]
    made = {p.name: p.stat().st_mtime_ns for p in (disk / "videos").glob("0*.mp4")}
    assert 0 < len(made) < 60
    (disk / "filler").unlink()
    main(list(map(str, words)))
    assert len(list((disk / "videos").glob("0*.mp4"))) == 60
    for name, time in made.items():  # whole: not made again
        assert (disk / "videos" / name).stat().st_mtime_ns == time


@pytest.fixture
def things(tmp_path, monkeypatch):
    """A recipe, a video folder, a checkpoint."""
    from test_cli import write_clip

    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(RECIPE)
    Path("large.yaml").write_text(RECIPE.replace("32", "64"))
    for n in range(4):
        write_clip(Path(f"videos/{('train', 'val')[n // 2]}/c{n % 2}/{n}.avi"), n)
    return tmp_path


def test_every_verb_says_so_where_nothing_can_be_written(disk, things, capsys, monkeypatch):
    main(list(map(str, [*COMMAND, "--trainer.max_steps", 1])))
    checkpoint = "runs/pretrain/static_circles/default/checkpoints/last.ckpt"
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    commands = [
        ["render", "tiny.yaml", "--out", disk / "a.mp4"],
        ["render", "tiny.yaml", "--out", disk / "a.png"],
        ["render", "tiny.yaml", "--count", 2, "--size", 32, "--out", disk / "videos"],
        ["textures", "oriented", "--count", 2, "--size", 8, "--out", disk / "textures"],
        ["convert", checkpoint, disk / "mae", "--verify", "false"],
        ["convert", checkpoint, disk / "mae.pth", "--to", "videomae", "--verify", "false"],
        ["check-data", "configs/finetune/folders.yaml", "--videos", "videos", "--out", disk / "manifest.csv"],
        ["corrupt", "videos/train", disk / "set", "--perturbations", "shot_noise", "--severities", "1"],
        ["visualize", checkpoint, "--videos", "videos/val/c0", "--what", "reconstructions", "--shown", 1, "--out",
         disk / "seen"],
        ["analyze", "large.yaml", "--videos", 2, "--frames", 2, "--out", disk / "numbers"],
        [*COMMAND, "--trainer.default_root_dir", disk],
    ]  # fmt: skip
    for words in commands:
        said = refused(capsys, *words)
        assert len(said) == 1, said
        assert "can't write" in said[0] or "can't be written" in said[0], said
        assert "Read-only file system" in said[0], said
    assert not list(disk.iterdir())


def test_textures_that_can_not_be_kept_are_made_all_the_same(disk, tmp_path, caplog):
    """A cache is a convenience: a full disk is said, and no run stops for it."""
    from dataclasses import replace

    from vsr.recipe import load_recipe
    from vsr.textures.bank import TextureBank

    fill(disk)
    recipe = replace(load_recipe("acc_stylegan"), texture_pool=4, texture_size=8)
    bank = TextureBank(recipe, 0, cache=disk / "cache") if os.access(disk, os.W_OK) else None
    assert bank is not None
    bank.fill()
    assert "can't be kept" in caplog.text
    alone = TextureBank(recipe, 0)
    alone.fill()
    assert torch.equal(bank.generate(torch.arange(4)), alone.generate(torch.arange(4)))
    assert not list((disk / "cache").rglob("*.npy*"))


def test_a_picture_is_whole_or_not_there(disk):
    from vsr.errors import InputError
    from vsr.export import write_video

    frames = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    write_video(frames, disk / "a.png")
    before = (disk / "a.png").read_bytes()
    fill(disk)
    for name in ("a.png", "b.gif", "c.mp4"):
        with pytest.raises((InputError, OSError), match=r"No space left|can't write"):
            write_video(frames, disk / name)
    assert (disk / "a.png").read_bytes() == before
    assert {p.name for p in disk.iterdir()} == {"a.png", "filler"}
    assert Image.open(disk / "a.png").size[0] > 64
