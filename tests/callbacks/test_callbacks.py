"""What watches a run, on real runs of a tiny network."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from PIL import Image

from vsr.callbacks import Forecast, RunFolder, Throughput
from vsr.data.mixture import Share, VideoMixture
from vsr.data.synthetic import SyntheticVideos
from vsr.modules import VideoMAE
from vsr.recipe import Recipe

RECIPE = Recipe("r", num_objects=20, speed=(1.0, 3.0), epoch_size=100)


SHAPE = {"num_frames": 4, "size": 32, "global_batch_size": 4, "max_batch_per_device": 2}


def fit(folder, callbacks, recipe=RECIPE, steps=4, data=None, **model):
    from lightning.pytorch.loggers import CSVLogger

    data = data or SyntheticVideos(recipe, **SHAPE)
    module = VideoMAE("tiny", 32, 4, patch_size=8, global_batch_size=4, **model)
    trainer = Trainer(
        max_steps=steps, default_root_dir=folder, accelerator="cpu", callbacks=callbacks, log_every_n_steps=1,
        logger=CSVLogger(folder, name="", version=""), enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    return trainer


pytestmark = pytest.mark.filterwarnings("ignore")


def test_run_folder_says_where_weights_come_from(tmp_path):
    (tmp_path / "done").touch()
    trainer = fit(tmp_path, [RunFolder()])
    origin = json.loads((tmp_path / "provenance.json").read_text())
    assert origin["recipe"]["name"] == "r"
    assert origin["recipe_hash"] == RECIPE.hash
    assert (origin["natural_videos"], origin["natural_images"]) == ("none", "none")
    assert (tmp_path / "done").exists()
    trainer.save_checkpoint(tmp_path / "c.ckpt")
    stored = torch.load(tmp_path / "c.ckpt", weights_only=True)["provenance"]
    assert json.loads(json.dumps(stored)) == origin


def test_images_count_as_natural(tmp_path):
    (tmp_path / "pool").mkdir()
    Image.effect_noise((9, 9), 60).save(tmp_path / "pool" / "a.png")
    recipe = Recipe(
        "i", fill="texture", texture_source="images", texture_pool=1, texture_folder=str(tmp_path / "pool"),
        epoch_size=100,
    )  # fmt: skip
    trainer = fit(tmp_path, [RunFolder()], recipe, steps=1)
    origin = json.loads((tmp_path / "provenance.json").read_text())
    assert origin["natural_images"] == f"whatever {tmp_path / 'pool'} holds: 1 of its images"
    assert origin["textures"] == [{"source": "images", "count": 1}]  # as planned: none has been read yet
    trainer.save_checkpoint(tmp_path / "c.ckpt")
    stored = torch.load(tmp_path / "c.ckpt", weights_only=True)["provenance"]
    assert stored["textures"][0]["images"]["hash"]
    assert json.loads((tmp_path / "provenance.json").read_text()) == json.loads(json.dumps(stored))


def mixture(folder: Path) -> VideoMixture:
    """Two parts: one without textures, one with a pool of 10^6."""
    (folder / "plain.yaml").write_text("name: plain\nnum_objects: 3\n")
    (folder / "rich.yaml").write_text("name: rich\nnum_objects: 3\nfill: texture\ntexture_pool: 1000000\n")
    shares = [Share(0.75, recipe=str(folder / "plain.yaml")), Share(0.25, recipe=str(folder / "rich.yaml"))]
    return VideoMixture(shares, name="m", **SHAPE)


def test_run_folder_names_the_parts_of_a_mixture(tmp_path):
    with pytest.raises(RuntimeError, match="stop here"):
        fit(tmp_path, [RunFolder(), _Stop()], data=mixture(tmp_path))
    origin = json.loads((tmp_path / "provenance.json").read_text())
    assert (origin["dataset"], origin["natural_videos"], origin["natural_images"]) == ("m", "none", "none")
    assert [(s["weight"], s["recipe"]["name"]) for s in origin["shares"]] == [(0.75, "plain"), (0.25, "rich")]
    assert origin["shares"][1]["textures"] == [{"source": "statistical", "count": 10**6}]


def test_forecast_is_said_before_training_and_changes_nothing(tmp_path, caplog):
    with caplog.at_level("INFO"):
        with_forecast = fit(tmp_path / "a", [Forecast()])
    said = [r.getMessage() for r in caplog.records if "No GPU" in r.getMessage()]
    assert len(said) == 1
    assert "to train 4 steps of 4 clips" in said[0]
    assert not any("laptop" in r.getMessage() for r in caplog.records)
    without = fit(tmp_path / "b", [])
    for one, other in zip(with_forecast.model.parameters(), without.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_long_forecast_names_the_overlay(tmp_path, caplog):
    stop = pytest.raises(RuntimeError, match="stop here")
    with caplog.at_level("INFO"), stop:
        fit(tmp_path, [Forecast(), _Stop()], data=mixture(tmp_path))
    text = " ".join(r.getMessage() for r in caplog.records)
    assert "to make 1,000,000 textures, " in text
    assert "--config configs/scale/laptop.yaml" in text


def test_a_forecast_says_where_textures_may_come_from(tmp_path, caplog):
    pool = Recipe("t", fill="texture", texture_pool=100, epoch_size=10)
    walks = replace(pool, texture_source="stylegan_oriented", texture_size=64, texture_frames=9)
    data = SyntheticVideos(walks, texture_cache=str(tmp_path), **SHAPE)
    stop = pytest.raises(RuntimeError, match="stop here")
    with caplog.at_level("INFO"), stop:
        fit(tmp_path, [Forecast(), _Stop()], data=data)
    assert f"to make 100 textures less those in {tmp_path}, " in caplog.text


class _Stop(Throughput):
    def on_train_start(self, trainer, pl_module):
        raise RuntimeError("stop here")
