"""Checkpoints: whole or not at all, the one before kept, only where an optimiser step ends."""

import pickle
import subprocess
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from vsr.callbacks import Checkpoints, Draws, RunFolder
from vsr.callbacks.checkpoints import WholeCheckpoints, read_checkpoint
from vsr.data.synthetic import SyntheticVideos
from vsr.errors import InputError
from vsr.modules import VideoMAE
from vsr.recipe import Recipe

RECIPE = Recipe("r", num_objects=5, epoch_size=12)
pytestmark = pytest.mark.filterwarnings("ignore")


class Saved(Callback):
    """Which steps were saved, and whether gradients were half accumulated then."""

    def __init__(self):
        self.steps, self.micro, self.epochs, self.drawn = [], [], [], {}

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.batch_idx = batch_idx

    def on_before_backward(self, trainer, pl_module, loss):
        self.drawn[trainer.global_step, self.batch_idx % 2] = torch.rand(()).item()  # as drop path would

    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        self.steps.append(checkpoint["global_step"])
        self.epochs.append(trainer.fit_loop.epoch_progress.current.processed)
        self.micro.append((self.batch_idx + 1) % trainer.accumulate_grad_batches)


def fit(folder, every, steps, ckpt_path=None):
    saved = Saved()
    trainer = Trainer(
        max_steps=steps, default_root_dir=folder, accelerator="cpu", logger=False, enable_progress_bar=False,
        callbacks=[RunFolder(), Draws(), saved, Checkpoints(every)], plugins=[WholeCheckpoints()],
        enable_model_summary=False, use_distributed_sampler=False,
    )  # fmt: skip
    data = SyntheticVideos(RECIPE, num_frames=2, size=16, global_batch_size=4, max_batch_per_device=2)
    trainer.fit(VideoMAE("tiny", 16, 2, patch_size=8, global_batch_size=4), datamodule=data, ckpt_path=ckpt_path)
    return saved


def test_saved_are_every_nth_step_and_the_last(tmp_path):
    saved = fit(tmp_path, 3, 8)  # 3 and 6 are the ends of epochs
    assert (saved.steps, set(saved.micro)) == ([3, 6, 8], {0})
    assert saved.epochs[:2] == [1, 2]  # when an epoch has been validated
    assert len(set(saved.drawn.values())) == 16
    resumed = fit(tmp_path / "other", 3, 8, tmp_path / "checkpoints" / "previous.ckpt")
    assert resumed.drawn == {place: value for place, value in saved.drawn.items() if place[0] >= 6}
    kept = tmp_path / "checkpoints"
    steps = {p.name: torch.load(p, weights_only=True)["global_step"] for p in kept.iterdir()}
    assert steps == {"last.ckpt": 8, "previous.ckpt": 6}
    (kept / "last.ckpt.part").write_bytes(b"of a killed process")
    saved = fit(tmp_path, 4, 9, kept / "last.ckpt")
    assert (saved.steps, set(saved.micro)) == ([9], {0})  # not 8 again, with its first micro-batch
    assert {p.name for p in kept.iterdir()} == {"last.ckpt", "previous.ckpt"}
    with pytest.raises(InputError, match="every_n_steps 0"):
        Checkpoints(0)


def save(folder, step, size=1000):
    WholeCheckpoints().save_checkpoint({"global_step": step, "x": torch.zeros(size)}, folder / "last.ckpt")


def step_of(path):
    return torch.load(path, weights_only=True)["global_step"]


def test_the_one_before_is_kept_unless_it_is_damaged(tmp_path):
    last, previous = tmp_path / "last.ckpt", tmp_path / "previous.ckpt"
    for step in (1, 2, 3):
        save(tmp_path, step)
    assert (step_of(last), step_of(previous)) == (3, 2)
    previous.unlink()
    previous.hardlink_to(last)  # as a process leaves it that is killed between the two
    save(tmp_path, 4)
    assert (step_of(last), step_of(previous)) == (4, 3)
    last.write_bytes(last.read_bytes()[:500])
    save(tmp_path, 5)
    assert (step_of(last), step_of(previous)) == (5, 3)
    assert {p.name for p in tmp_path.iterdir()} == {"last.ckpt", "previous.ckpt"}


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("file systems can't be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_leaves_the_old_one_whole(small_disk):
    save(small_disk, 1)
    with pytest.raises(InputError) as refused:
        save(small_disk, 2, size=10**6)
    assert str(refused.value).startswith(f"can't write {small_disk / 'last.ckpt'}: No space left on device; ")
    assert "a checkpoint takes 4 MB, up to three are kept at once, and 3 MB are free" in str(refused.value)
    assert step_of(small_disk / "last.ckpt") == 1
    assert [p.name for p in small_disk.iterdir()] == ["last.ckpt"]


def test_errors_that_are_not_the_disks_are_left_as_they_are(tmp_path):
    with pytest.raises((AttributeError, pickle.PicklingError)):  # the latter from Python 3.14 on
        WholeCheckpoints().save_checkpoint({"x": lambda: None}, tmp_path / "last.ckpt")  # can't be pickled
    assert not list(tmp_path.iterdir())


def test_reading_runs_nothing_and_refuses_what_is_no_checkpoint(tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    torch.save({"state_dict": Evil()}, tmp_path / "evil.ckpt")
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    for name in ("evil.ckpt", "text.ckpt"):
        with pytest.raises(InputError, match=f"{name}: it is damaged"):
            read_checkpoint(tmp_path / name)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(InputError, match="no such checkpoint"):
        read_checkpoint(tmp_path / "none.ckpt")
