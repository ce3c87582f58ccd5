"""Promise 1, through real trainers: which clips are trained on, in which order, over layouts and resumptions."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from PIL import Image
from torch.utils.data import DataLoader

import vsr
from vsr.data.synthetic import SyntheticVideos
from vsr.errors import InputError
from vsr.recipe import Recipe, load_recipe

RECIPE = Recipe("r", num_objects=3, speed=(1.0, 2.0), num_videos=20, epoch_size=20)


class Recorder(LightningModule):
    """Trains nothing; writes down what it was shown."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen = []

    def training_step(self, batch, batch_idx):
        means = batch["video"].float().mean((1, 2, 3, 4))
        self.seen += zip(batch["index"].tolist(), batch["epoch"].tolist(), means.tolist(), strict=True)
        return self.weight.sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(folder, steps, most=8, ckpt=None, **options):
    data = SyntheticVideos(RECIPE, num_frames=2, size=8, global_batch_size=8, max_batch_per_device=most, **options)
    module = Recorder()
    trainer = Trainer(
        max_steps=steps, default_root_dir=folder, logger=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, accelerator="cpu", enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(module, datamodule=data, ckpt_path=ckpt)
    return trainer, module.seen


@pytest.mark.filterwarnings("ignore")
def test_the_same_clips_in_the_same_order(tmp_path):
    _, whole = fit(tmp_path, 6)
    assert len(whole) == 48
    assert [e for _, e, _ in whole] == [0] * 20 + [1] * 20 + [2] * 8
    assert sorted(i for i, _, _ in whole[:20]) == list(range(20))

    _, accumulated = fit(tmp_path, 6, most=2)
    assert accumulated == whole

    first, before = fit(tmp_path, 3)  # in the middle of the second trainer epoch (2 steps each)
    first.save_checkpoint(tmp_path / "half.ckpt")
    _, after = fit(tmp_path, 6, ckpt=tmp_path / "half.ckpt")
    assert before + after == whole

    second, before = fit(tmp_path, 3, most=2)
    second.save_checkpoint(tmp_path / "half.ckpt")
    _, after = fit(tmp_path, 6, most=4, ckpt=tmp_path / "half.ckpt")  # cut otherwise: 4 micro-batches a step, then 2
    assert before + after == whole

    index, epoch, mean = whole[30]
    shown = vsr.render_clips(RECIPE, index=[index], epoch=epoch, num_frames=2, size=8)
    assert shown.float().mean().item() == pytest.approx(mean)


@pytest.mark.slow
def test_two_processes_share_every_step(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(
        f"""
import sys, json, warnings
warnings.filterwarnings("ignore")
sys.path.insert(0, {str(__import__("pathlib").Path(__file__).parent)!r})
from test_synthetic import RECIPE, Recorder, SyntheticVideos, Trainer
module = Recorder()
data = SyntheticVideos(RECIPE, num_frames=2, size=8, global_batch_size=8, max_batch_per_device=2)
trainer = Trainer(max_steps=4, logger=False, enable_progress_bar=False, enable_model_summary=False,
    enable_checkpointing=False, use_distributed_sampler=False, accelerator="cpu", devices=2, strategy="ddp",
    default_root_dir={str(tmp_path)!r})
trainer.fit(module, datamodule=data)
json.dump(module.seen, open({str(tmp_path)!r} + f"/rank{{trainer.global_rank}}.json", "w"))
"""
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    import json

    ranks = [json.loads((tmp_path / f"rank{r}.json").read_text()) for r in range(2)]
    _, alone = fit(tmp_path, 4)
    for step in range(4):
        both = [tuple(x) for rank in ranks for x in rank[step * 4 : step * 4 + 4]]
        assert sorted(both) == sorted(alone[step * 8 : step * 8 + 8])


def test_batches_follow_the_contract():
    data = SyntheticVideos(replace(RECIPE, num_videos=None), num_frames=2, size=16, global_batch_size=4)
    now, following = next(iter(data.train_dataloader()))
    assert [t.tolist() for t in now] == [[0, 1, 2, 3], [0, 0, 0, 0]]
    assert [t.tolist() for t in following] == [[4, 5, 6, 7], [0, 0, 0, 0]]
    batch = data.on_after_batch_transfer((now, following), 0)
    assert batch["video"].shape == (4, 3, 2, 16, 16)
    assert batch["video"].dtype == torch.uint8


def test_max_textures_only_lowers():
    recipe = load_recipe("acc_textures")
    assert SyntheticVideos(recipe, max_textures=7).recipe.texture_pool == 7
    assert SyntheticVideos(recipe, max_textures=10**7).recipe.texture_pool == 300_000
    assert SyntheticVideos(load_recipe("acc_shapes"), max_textures=7).recipe == load_recipe("acc_shapes")


def test_textures_of_a_recipe_can_be_smaller_or_from_elsewhere(tmp_path):
    walks = replace(RECIPE, fill="texture", texture_source="stylegan_oriented", texture_frames=200, texture_pool=6)
    smaller = SyntheticVideos(walks, texture_frames=2, texture_size=64, max_textures=8, global_batch_size=4).recipe
    assert (smaller.texture_frames, smaller.texture_size, smaller.texture_pool) == (2, 64, 4)

    Image.effect_noise((9, 9), 60).save(tmp_path / "a.png")
    options = {"texture_folder": str(tmp_path), "max_textures": 1, "global_batch_size": 4}
    images = SyntheticVideos(replace(RECIPE, fill="texture", texture_source="images"), **options).recipe
    assert (images.texture_folder, images.texture_pool) == (str(tmp_path), 1)
    assert SyntheticVideos(RECIPE, **options).recipe == RECIPE  # shows no images


def test_made_textures_are_kept_in_the_cache_for_the_next_run(tmp_path):
    recipe = replace(RECIPE, fill="texture", texture_pool=2, texture_size=64)
    options = {"num_frames": 2, "size": 8, "global_batch_size": 4, "texture_cache": str(tmp_path / "cache")}

    def clip():
        return SyntheticVideos(recipe, **options).render([0], 0, "cpu")

    made = clip()
    blocks = list((tmp_path / "cache").rglob("*.npy"))
    assert blocks
    for block in blocks:
        np.save(block, np.zeros_like(np.load(block)))
    assert made.any()
    assert not clip().any()  # what the cache holds is what is shown


def test_a_window_of_textures_follows_the_videos():
    recipe = replace(
        RECIPE, fill="texture", num_videos=None, texture_pool=8, texture_window=2, texture_size=64, epoch_size=4,
        num_objects=8,
    )  # fmt: skip
    data = SyntheticVideos(recipe, num_frames=2, size=8, global_batch_size=4)
    for index, window in ((0, [0, 1]), (5, [2, 3]), (14, [6, 7])):
        assert data.render([index], 0, "cpu").any()
        resident = (data.render.bank.row >= 0).nonzero().flatten().tolist()
        assert set(window) <= set(resident)
        assert len(resident) <= 4  # this window, and what there is of the next


def test_what_cannot_train_is_refused_before_it_starts():
    with pytest.raises(InputError, match=r"global_batch_size 21 is more than the 20 videos of an epoch: use 20"):
        SyntheticVideos(RECIPE, global_batch_size=21)
    with pytest.raises(InputError, match=r"spans 136 frames"):
        SyntheticVideos(RECIPE, stride=9, global_batch_size=4)
    with pytest.raises(InputError, match=r"give texture_folder"):
        SyntheticVideos(load_recipe("acc_images"))
    with pytest.raises(InputError, match=r"max_batch_per_device 0"):
        SyntheticVideos(RECIPE, global_batch_size=4, max_batch_per_device=0)


def test_workers_change_nothing():
    data = SyntheticVideos(RECIPE, num_frames=2, size=8, global_batch_size=8, max_batch_per_device=4)
    loader = data.train_dataloader()
    workers = DataLoader(loader.dataset, batch_size=None, sampler=loader.sampler, num_workers=2)
    for alone, apart in zip(loader, workers, strict=True):
        for one, other in zip(alone, apart, strict=True):
            assert all(map(torch.equal, one, other))
    assert len(workers) == 4
    assert str(data).startswith("{Train dataloader")  # Lightning asks the loader when it prints the module


def test_a_gpu_that_is_not_there_is_refused():
    count = torch.cuda.device_count()
    message = r"this machine has no CUDA device: use one of them, or 'cpu'" if not count else r"use one of them"
    with pytest.raises(InputError, match=rf"device 'cuda:{count}' is not here, .*{message}"):
        vsr.render_clips(RECIPE, num_frames=2, size=8, device=f"cuda:{count}")
