"""What a run will take on a machine without a GPU, measured before it starts."""

import math
import time
from dataclasses import replace

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from vsr.data.synthetic import RenderedVideos
from vsr.modules import VideoMAE
from vsr.modules.optim import total_steps
from vsr.recipe import Recipe
from vsr.textures.bank import TextureBank

_PIXELS = 2 * 16 * 224**2  # timed at most: two of the paper's clips
_FRAMES = 4  # of a dynamic texture
_LONG = 3600.0  # s; beyond it a smaller overlay is suggested


class Forecast(Callback):
    """Before pre-training on a CPU: says how long the texture pool and the training would take.

    Both are measured here and now: four textures of each pool, one forward and backward pass of a few clips (their
    gradients are thrown away); rendering and decoding clips is not counted.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure and say."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        on_cpu = trainer.strategy.root_device.type == "cpu"
        if not (on_cpu and isinstance(pl_module, VideoMAE) and isinstance(data, RenderedVideos)):
            return
        steps = total_steps(trainer) - trainer.global_step
        clips = steps * data.global_batch_size
        pools = [(recipe, _count(recipe, weight * clips)) for recipe, weight in data.recipes if recipe.textured]
        textures = sum(self._texture_seconds(recipe, data.seed) * count for recipe, count in pools)
        training = self._clip_seconds(data, pl_module) * clips / trainer.world_size
        threads = torch.get_num_threads()
        said = f"{_duration(training)} to train {steps:,} steps of {data.global_batch_size} clips"
        if textures:
            cached = f" less those in {data.texture_cache}" if data.texture_cache else ""
            said = f"{_duration(textures)} to make {sum(count for _, count in pools):,} textures{cached}, {said}"
        rank_zero_info(f"No GPU: on this CPU ({threads} threads) about {said}, measured just now on a few clips.")
        if textures + training > _LONG:
            rank_zero_info("For minutes instead, add --config configs/scale/laptop.yaml.")

    @staticmethod
    def _texture_seconds(recipe: Recipe, seed: int) -> float:
        """Of one texture; dynamic ones are timed for a few frames, since all take as long."""
        frames = min(_FRAMES, recipe.texture_frames)
        bank = TextureBank(replace(recipe, texture_frames=frames), seed)
        some = torch.arange(min(4, recipe.texture_pool))
        bank.generate(some[:1])
        start = time.perf_counter()
        bank.generate(some)
        return (time.perf_counter() - start) / len(some) * recipe.texture_frames / frames

    @staticmethod
    def _clip_seconds(data: RenderedVideos, module: VideoMAE) -> float:
        pixels = data.num_frames * data.size**2
        count = max(1, min(data.plan.device_size, _PIXELS // pixels))
        index, epoch = torch.arange(count), torch.zeros(count, dtype=torch.int64)
        shape = (count, 3, data.num_frames, data.size, data.size)
        video = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        times = []
        for _ in range(2):  # the first pass warms caches up
            start = time.perf_counter()
            idx_keep, idx_mask = module.mask(index, epoch)
            module.loss(module.model(video, idx_keep, idx_mask), video, idx_mask).backward()
            times.append((time.perf_counter() - start) / count)
        module.zero_grad(set_to_none=True)
        return min(times)


def _count(recipe: Recipe, videos: float) -> int:
    """The textures that so many videos take: the pool, or window after window of it."""
    window = recipe.texture_window or recipe.texture_pool
    return window if window == recipe.texture_pool else window * math.ceil(videos / recipe.epoch_size)


def _duration(seconds: float) -> str:
    """Seconds in the unit a person would use."""
    for unit, size in (("years", 365 * 86400), ("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.0f} seconds"
