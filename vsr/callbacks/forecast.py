"""What a run will take on a machine without a GPU, measured before it starts."""

import time

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from vsr.data.synthetic import SyntheticVideos
from vsr.modules import VideoMAE
from vsr.modules.optim import total_steps
from vsr.textures.bank import TextureBank

_PIXELS = 2 * 16 * 224**2  # timed at most: two of the paper's clips
_LONG = 3600.0  # s; beyond it a smaller overlay is suggested


class Forecast(Callback):
    """Before pre-training on a CPU: says how long the texture pool and the training would take.

    Both are measured here and now: four textures, one forward and backward pass of a few clips (their gradients
    are thrown away); rendering them is not counted.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure and say."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        on_cpu = trainer.strategy.root_device.type == "cpu"
        if not (on_cpu and isinstance(pl_module, VideoMAE) and isinstance(data, SyntheticVideos)):
            return
        steps = total_steps(trainer) - trainer.global_step
        textures = self._texture_seconds(data) if data.recipe.fill != "color" else 0.0
        training = self._clip_seconds(data, pl_module) * steps * data.global_batch_size / trainer.world_size
        threads = torch.get_num_threads()
        said = f"{_duration(training)} to train {steps:,} steps of {data.global_batch_size} clips"
        if textures:
            said = f"{_duration(textures)} to make {data.recipe.texture_pool:,} textures, {said}"
        rank_zero_info(f"No GPU: on this CPU ({threads} threads) about {said}, measured just now on a few clips.")
        if textures + training > _LONG:
            rank_zero_info("For minutes instead, add --config configs/scale/laptop.yaml.")

    @staticmethod
    def _texture_seconds(data: SyntheticVideos) -> float:
        bank = TextureBank(data.recipe, data.seed)
        some = torch.arange(min(4, data.recipe.texture_pool))
        bank.generate(some[:1])
        start = time.perf_counter()
        bank.generate(some)
        return (time.perf_counter() - start) / len(some) * data.recipe.texture_pool

    @staticmethod
    def _clip_seconds(data: SyntheticVideos, module: VideoMAE) -> float:
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


def _duration(seconds: float) -> str:
    """Seconds in the unit a person would use."""
    for unit, size in (("years", 365 * 86400), ("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.0f} seconds"
