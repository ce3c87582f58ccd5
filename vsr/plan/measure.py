"""The stopwatch: micro-steps and textures, timed on the device they are for."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from vsr.data.synthetic import RenderedVideos
from vsr.modules import VideoMAE
from vsr.recipe import Recipe
from vsr.textures.bank import TextureBank

FRAMES = 4
"""Of a dynamic texture, that are made in the place of all."""

TEXTURES = 4
"""Of a pool, that are made in the place of all."""

_PIXELS = 2 * 16 * 224**2  # timed at most before a run on the CPU: two of the paper's clips
_MOST = 10  # repeats of a piece of work at most


@dataclass(frozen=True)
class Pool:
    """The textures that a run takes from one recipe.

    Attributes:
        count: how many are made.
        seconds: to make one, measured.
        nbytes: of those that are resident at a time.
    """

    count: int
    seconds: float
    nbytes: int


class Watch:
    """How long things take on a device, and how much time is left.

    Args:
        device: is waited for before the clock is read.
        seconds: that there are from now on.
        now: the clock.
    """

    def __init__(
        self, device: torch.device, seconds: float = math.inf, now: Callable[[], float] = time.perf_counter
    ) -> None:
        self.device, self.now = device, now
        self.end = now() + seconds

    @property
    def left(self) -> float:
        """Seconds left, never less than 0."""
        return max(0.0, self.end - self.now())

    def time(self, work: Callable[[], object], repeats: int = 1) -> float:
        """Mean seconds of a piece of work."""
        start = self._read()
        for _ in range(repeats):
            work()
        return (self._read() - start) / repeats

    def repeats(self, cost: float, share: float) -> int:
        """How often work of ``cost`` seconds fits in a share of what is left: 1 .. 10."""
        return max(1, min(_MOST, int(share * self.left / max(cost, 1e-6))))

    def _read(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return self.now()


def micro_step(trainer: Trainer, module: LightningModule, batch: Mapping[str, Tensor]) -> None:
    """A module's own training step and its backward pass; gradients are added, weights stay, nothing is logged.

    Args:
        trainer: of a fit that has begun.
        module: being fitted.
        batch: what the data module makes, on the device; see :class:`vsr.data.Batch`.
    """

    def loss() -> Tensor:
        value: Tensor = module.training_step(batch)  # type: ignore[assignment]  # ours return it as it is
        return value

    module.log = _log_nothing  # type: ignore[method-assign]  # its own may be called in the training loop only
    try:
        _forward_backward(trainer, loss)
    finally:
        del module.log


def seconds_per_clip(trainer: Trainer, module: VideoMAE, data: RenderedVideos) -> float:
    """Of forward and backward of pre-training, the better of two passes of a few clips.

    The clips are noise, which takes as long, and nothing that a run counts or logs hears of them: a run that has begun
    may call this.
    """
    clips = max(1, min(data.plan.device_size, _PIXELS // (data.num_frames * data.size**2)))
    index, epoch = torch.arange(clips), torch.zeros(clips, dtype=torch.int64)
    shape = (clips, 3, data.num_frames, data.size, data.size)
    video = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def loss() -> Tensor:
        idx_keep, idx_mask = module.mask(index, epoch)
        return module.loss(module.model(video, idx_keep, idx_mask), video, idx_mask)

    watch = Watch(torch.device("cpu"))
    seconds = min(watch.time(lambda: _forward_backward(trainer, loss)) for _ in range(2))
    module.zero_grad(set_to_none=True)
    return seconds / clips


def _forward_backward(trainer: Trainer, loss: Callable[[], Tensor]) -> None:
    """In the trainer's precision."""
    with trainer.precision_plugin.train_step_context():
        value = loss()
    trainer.strategy.backward(value, None)


def _log_nothing(*args: object, **kwargs: object) -> None:
    pass


def texture_pool(recipe: Recipe, videos: float, seed: int = 0, device: torch.device | str = "cpu") -> Pool:
    """The textures that so many videos of a recipe take: the pool, or window after window of it.

    Four are made and thrown away; dynamic ones with a few frames, since all take as long.
    """
    window = recipe.texture_window or recipe.texture_pool
    count = window if window == recipe.texture_pool else window * math.ceil(videos / recipe.epoch_size)
    frames = min(FRAMES, recipe.texture_frames)
    bank = TextureBank(replace(recipe, texture_frames=frames), seed, device)
    some = torch.arange(min(TEXTURES, recipe.texture_pool))
    watch = Watch(bank.textures.device)
    watch.time(lambda: bank.generate(some[:1]))  # loads and compiles
    seconds = watch.time(lambda: bank.generate(some)) / len(some) * recipe.texture_frames / frames
    return Pool(count, seconds, TextureBank(recipe, seed).nbytes)


def largest_batch(peaks: Mapping[int, int], memory: int) -> int:
    """The largest micro-step that would fit, by the straight line through what two of them took.

    Args:
        peaks: bytes allocated at most, by the clips in a micro-step; of more than two the smallest and the largest
            count.
        memory: bytes there are for them.

    Returns:
        Clips; 0 if not even one would fit.

    Raises:
        ValueError: there are not two.
    """
    if len(peaks) < 2:
        raise ValueError(f"peaks of two micro-steps are needed, there is {len(peaks)}")
    few, many = min(peaks), max(peaks)
    slope = (peaks[many] - peaks[few]) / (many - few)
    if slope <= 0:  # so small that the network's own memory hides them: nothing is known beyond
        return many if peaks[many] <= memory else 0
    return max(0, int((memory - peaks[few]) / slope + few))


def duration(seconds: float) -> str:
    """Seconds in the unit a person would use."""
    for unit, size in (("years", 365 * 86400), ("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.0f} second{'s' * (round(seconds) != 1)}"
