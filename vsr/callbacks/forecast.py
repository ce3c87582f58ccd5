"""What a run will take on a machine without a GPU, measured before it starts."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from vsr.data.synthetic import RenderedVideos
from vsr.modules import VideoMAE
from vsr.modules.optim import total_steps
from vsr.plan import duration, seconds_per_clip, texture_pool

_LONG = 3600.0  # s; beyond it a smaller overlay is suggested


class Forecast(Callback):
    """Before pre-training on a CPU: says how long the texture pool and the training would take.

    Both are measured here and now: four textures of each pool, one forward and backward pass of a few clips (their
    gradients are thrown away); rendering and decoding clips is not counted. ``vsr plan`` measures more.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure and say."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        on_cpu = trainer.strategy.root_device.type == "cpu"
        if not (on_cpu and isinstance(pl_module, VideoMAE) and isinstance(data, RenderedVideos)):
            return
        steps = total_steps(trainer) - trainer.global_step
        clips = steps * data.global_batch_size
        pools = [texture_pool(recipe, weight * clips, data.seed) for recipe, weight in data.recipes if recipe.textured]
        textures = sum(pool.count * pool.seconds for pool in pools)
        training = seconds_per_clip(trainer, pl_module, data) * clips / trainer.world_size
        count = torch.get_num_threads()
        threads = f"{count} thread{'s' * (count > 1)}"
        said = f"{duration(training)} to train {steps:,} steps of {data.global_batch_size} clips"
        if textures:
            cached = f" less those in {data.texture_cache}" if data.texture_cache else ""
            said = f"{duration(textures)} to make {sum(pool.count for pool in pools):,} textures{cached}, {said}"
        rank_zero_info(f"No GPU: on this CPU ({threads}) about {said}, measured just now on a few clips.")
        if textures + training > _LONG:
            rank_zero_info("For minutes instead, add --config configs/scale/laptop.yaml; vsr plan says more.")
