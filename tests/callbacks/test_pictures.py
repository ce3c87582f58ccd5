"""Pictures of the reconstruction, as files and in TensorBoard."""

from io import BytesIO
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import events, fit

from vsr.callbacks import Pictures

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module", params=["32-true", "bf16-mixed"])
def run(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    fit(folder, [Pictures(every_n_steps=2, clips=2, frames=2)], steps=3, precision=request.param)
    return folder


def test_there_is_one_before_the_first_step_at_every_nth_and_at_the_end(run):
    names = sorted(p.name for p in (run / "pictures").iterdir())
    assert names == [f"step-{n:06d}.{kind}" for n in (0, 2, 3) for kind in ("mp4", "png")]


def test_the_picture_shows_input_mask_and_reconstruction(run):
    picture = np.asarray(Image.open(run / "pictures" / "step-000003.png").convert("RGB"))
    grey = (picture == 128).all(-1).mean()
    side = 96  # of a frame, three times enlarged
    assert grey > 2 * 2 * side**2 * 0.7 / (picture.shape[0] * picture.shape[1])  # 3/4 of the masked pictures


def test_the_video_has_every_frame_of_the_clip(run):
    with av.open(run / "pictures" / "step-000003.mp4") as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == 4
    assert min(np.abs(a.astype(int) - b).mean() for a, b in pairwise(frames)) > 0.1


def test_tensorboard_has_the_picture_and_an_animation_that_repeats(run):
    found = events(run)
    assert found.Tags()["images"] == ["reconstruction", "reconstruction_video"]
    for tag, frames in (("reconstruction", 1), ("reconstruction_video", 4)):
        shown = found.Images(tag)
        assert [image.step for image in shown] == [0, 2, 3]
        picture = Image.open(BytesIO(shown[-1].encoded_image_string))
        assert getattr(picture, "n_frames", 1) == frames
        assert picture.size == (shown[-1].width, shown[-1].height)
    assert picture.info["loop"] == 0


def test_a_resumed_run_shows_the_same_clips(tmp_path):
    first = Pictures(every_n_steps=2)
    fit(tmp_path / "a", [first], steps=2).save_checkpoint(tmp_path / "c.ckpt")
    again = Pictures(every_n_steps=2)
    fit(tmp_path / "b", [again], steps=4, ckpt=tmp_path / "c.ckpt")
    assert again._batch["index"].tolist() == first._batch["index"].tolist() == [0, 1]


def test_another_logger_gets_them_by_the_names_lightning_has(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="wandb is an optional extra")
    from lightning.pytorch.loggers import WandbLogger

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    try:
        fit(tmp_path, [Pictures(clips=1, frames=2)], steps=1, logger=WandbLogger(save_dir=tmp_path, project="vsr"))
    finally:
        wandb.finish()
    kept = {p.suffix for p in (tmp_path / "wandb").rglob("media/**/*") if p.is_file()}
    assert kept == {".png", ".mp4"}


def test_clips_of_a_resumed_run_do_not_hold_its_checkpoint(tmp_path):
    """On the disk, where a file that is mapped stays after its name is gone."""
    first, again = Pictures(), Pictures()
    first._batch = {key: torch.arange(6) for key in ("video", "index", "epoch")}
    torch.save(first.state_dict(), tmp_path / "last.ckpt")
    again.load_state_dict(torch.load(tmp_path / "last.ckpt", mmap=True))
    if Path("/proc/self/maps").exists():
        assert str(tmp_path / "last.ckpt") not in Path("/proc/self/maps").read_text()
    assert again._batch["index"].tolist() == list(range(6))
