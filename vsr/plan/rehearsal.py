"""A run in its own ``Trainer.fit``, measured and ended before it has trained."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import psutil
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from vsr.data.batches import BatchPlan
from vsr.data.mixture import VideoMixture
from vsr.data.synthetic import RecipeClips, RenderedVideos, SyntheticVideos
from vsr.models.cost import factor_type, matmul_rate
from vsr.modules.execution import compiles
from vsr.modules.optim import total_steps
from vsr.plan.measure import FRAMES, TEXTURES, Pool, Watch, largest_batch, micro_step, texture_pool
from vsr.render import drawn_on
from vsr.textures.bank import TextureBank

_HEADROOM = 0.9  # of a device's memory: the allocator's blocks don't fit together without gaps


@dataclass(frozen=True)
class Plan:
    """What a run takes. Rates are measured on one device; that more devices are as fast each is a prediction.

    Attributes:
        dataset: name of the dataset.
        device: what it was measured on.
        precision: the trainer's.
        steps: optimiser steps.
        global_batch_size: clips in each of them.
        devices: that the run asks for.
        at_hand: devices of that kind that this machine has.
        wanted: clips in a micro-step of the run.
        clips: in a micro-step that was timed: as many, or what the time or the memory allowed; 0: there was no time
            for a single clip, and ``training`` is the most that the rate of a matrix product leaves to hope for.
        micro_steps: that were timed together with their data; 0: training and data were timed one after the other,
            once each, and what they are together follows.
        training: clips/s of forward and backward alone.
        drawing: clips/s of rendering or decoding alone.
        together: clips/s of both, as training has them.
        decoded: the clips are decoded, not rendered.
        optimiser: seconds of an optimiser step; 0 where ``clips`` is.
        flops: floating-point operations of forward and backward of a clip.
        matmul: floating-point operations/s that a matrix product reaches in this precision's type.
        peak: bytes that were in use at most: on CUDA those allocated, elsewhere the process's resident memory.
        memory: bytes the device has.
        largest: on CUDA, clips in the largest micro-step that would fit beside the textures; else None.
        refused: clips in the smallest micro-step that did not fit; None where all fitted.
        pools: the textures, recipe by recipe.
        texture_cache: folder of which some may come, or None.
        checkpoint: bytes of weights and optimiser, computed.
    """

    dataset: str
    device: str
    precision: str
    steps: int
    global_batch_size: int
    devices: int
    at_hand: int
    wanted: int
    clips: int
    micro_steps: int
    training: float
    drawing: float
    together: float
    decoded: bool
    optimiser: float
    flops: int
    matmul: float
    peak: int
    memory: int
    largest: int | None
    refused: int | None
    pools: tuple[Pool, ...]
    texture_cache: str | None
    checkpoint: int

    @property
    def utilisation(self) -> float:
        """Model FLOP utilisation of training alone: its operations/s over those of a matrix product."""
        return self.flops * self.training / self.matmul

    @property
    def share(self) -> float:
        """The share of a micro-step by which rendering or decoding lengthens it."""
        longer = 1 - self.together / self.training
        return max(0.0, min(longer, self.together / self.drawing))  # not more than it takes alone: the clock is noisy

    @property
    def texture_seconds(self) -> float:
        """To make all textures; each device makes its own."""
        return sum(pool.count * pool.seconds for pool in self.pools)

    @property
    def texture_bytes(self) -> int:
        """Of the textures that are resident at a time."""
        return sum(pool.nbytes for pool in self.pools)

    @property
    def seconds(self) -> float:
        """The whole run: textures, micro-steps, optimiser steps. Validation and checkpoints are not in it."""
        step = self.global_batch_size / (self.together * self.devices) + self.optimiser
        return self.texture_seconds + self.steps * step

    @property
    def work(self) -> float:
        """Floating-point operations of the whole run."""
        return float(self.steps) * self.global_batch_size * self.flops

    @property
    def fits(self) -> bool:
        """Whether what was measured and the textures fit in the device's memory."""
        return self.refused is None and self.peak + self.texture_bytes <= self.memory


class Rehearsal(Callback):
    """Measures what a run takes, in its own ``Trainer.fit``, and ends that before anything was trained.

    ``Trainer(devices=1, callbacks=[rehearsal], …).fit(module, datamodule=data)``; then ``rehearsal.plan``. Weights stay
    bit for bit what they were; the data module is left with a few textures and small batches: make another to train.

    Args:
        seconds: it may take; at the least one micro-step of one clip is timed.
        devices: those of the run, as Trainer has them: a number, "auto", -1, or a list.
        nodes: of so many devices.
        now: a clock, seconds.

    Attributes:
        plan: what was measured, None before.
    """

    def __init__(
        self,
        seconds: float = 30.0,
        devices: int | str | list[int] = 1,
        nodes: int = 1,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.seconds, self.devices, self.nodes, self.now = seconds, devices, nodes, now
        self.plan: Plan | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure, and stop."""
        watch = Watch(trainer.strategy.root_device, self.seconds, self.now)
        self.plan = _rehearse(trainer, pl_module, _count(self.devices, trainer) * self.nodes, watch)
        trainer.should_stop = True


def _rehearse(trainer: Trainer, module: LightningModule, devices: int, watch: Watch) -> Plan:
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    learner: Any = module
    device, rendered = watch.device, isinstance(data, RenderedVideos)
    views: int = getattr(data, "num_sample", 1)  # clips of a video; batches are counted in videos, all else in clips
    steps, batch_size = total_steps(trainer), data.global_batch_size * views
    wanted = BatchPlan.of(data.global_batch_size, data.plan.device_size, devices).device_size * views
    shown = [(recipe, share) for recipe, share in data.recipes if recipe.textured] if rendered else []
    pools = tuple(texture_pool(recipe, share * steps * batch_size, data.seed, device) for recipe, share in shown)
    cache = data.texture_cache if rendered else None
    for renderer in _renderers(data):
        _shrink(renderer, device)

    run = _Run(trainer, module, data, watch)
    flops: int = learner.flops_per_clip
    matmul = matmul_rate(device, factor_type(str(trainer.precision)))
    if 2 * flops / matmul > watch.left:  # at half the rate, which is not slow, a single clip takes too long
        run.load(1)
        drawing = run.draw() / run.clips
        timed = _Timed(0, 0, matmul / flops, 1 / drawing, 1 / (drawing + flops / matmul), 0.0, None)
    else:
        timed = _time(run, wanted, watch)
    peak, memory, largest = _peak(device), _memory(device), None
    if device.type == "cuda" and timed.clips:
        room = int(_HEADROOM * memory) - sum(pool.nbytes for pool in pools)
        largest = largest_batch({0: torch.cuda.memory_allocated(device), timed.clips: peak}, room)
    return Plan(
        **timed._asdict(), dataset=data.name, device=_name(device), precision=str(trainer.precision),
        steps=steps, global_batch_size=batch_size, devices=devices, at_hand=_at_hand(trainer), wanted=wanted,
        decoded=not rendered, flops=flops, matmul=matmul, peak=peak, memory=memory, largest=largest, pools=pools,
        texture_cache=cache, checkpoint=run.nbytes(),
    )  # fmt: skip


class _Timed(NamedTuple):
    """Fields of :class:`Plan`."""

    clips: int
    micro_steps: int
    training: float
    drawing: float
    together: float
    optimiser: float
    refused: int | None


def _time(run: "_Run", wanted: int, watch: Watch) -> _Timed:
    start, on_gpu = watch.now(), watch.device.type == "cuda"
    training, optimiser, refused = run.warm_up(wanted if on_gpu else 1)
    compiled = compiles(run.module)
    if compiled:  # that belongs to the start of a run, and can take a minute
        watch.end += watch.now() - start
    drawing = run.draw()
    if compiled or 5 * (drawing + training) < watch.left:
        training = run.train()
    clips, micro_steps, both = run.clips, 0, drawing + training
    if 5 * both + 2 * optimiser < watch.left:  # else what was seen so far has to do
        if not compiled:
            run.load(max(1, min(wanted, int(0.7 * watch.left / (5 * both)))))
            both = run.draw() + run.train()
        optimiser, clips = run.optimise(), run.clips
        _forget_peak(watch.device)
        alone = watch.repeats(both, 0.2)
        training, drawing = run.train(alone), run.draw(alone)
        micro_steps = watch.repeats(both, 0.5)
        both = max(run.draw_and_train(micro_steps), drawing)  # a few steps may live on what was decoded before them
    return _Timed(clips, micro_steps, clips / training, clips / drawing, clips / both, optimiser, refused)


class _Run:
    """A run that is about to begin, and parts of it to be timed.

    Attributes:
        clips: in a micro-step.
    """

    def __init__(self, trainer: Trainer, module: LightningModule, data: Any, watch: Watch) -> None:
        self.trainer, self.module, self.data, self.watch = trainer, module, data, watch
        self.workers = max(1, getattr(data, "num_workers", 1))
        self.views: int = getattr(data, "num_sample", 1)
        self.clips = 0
        self.feed: Iterator[Mapping[str, Tensor]] = iter(())
        self.batch: Mapping[str, Tensor] = {}

    def load(self, clips: int) -> None:
        """Cut micro-steps of so many clips at most, and draw the first."""
        self.data.max_batch_per_device = max(clips, self.views)
        self.data.setup("fit")
        self.clips = self.data.plan.device_size * self.views
        self.feed = self._batches()
        for _ in range(self.workers):
            self._next()

    def warm_up(self, clips: int) -> tuple[float, float, int | None]:
        """The first micro-step and optimiser step, with half as many clips until they fit.

        Returns:
            Seconds of both, and the smallest number of clips that did not fit, None where the first did.
        """
        refused = None
        while True:
            try:
                self.load(clips)
                return self.train(), self.optimise(), refused
            except torch.OutOfMemoryError:
                if self.clips == self.views:
                    raise
                refused, clips = self.clips, self.clips // 2
            self.feed, self.batch = iter(()), {}
            self.module.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()

    def draw(self, times: int = 1) -> float:
        """Seconds of the clips of a micro-step. All workers have the same number to decode, else it looks too quick."""
        return self.watch.time(self._next, -(-times // self.workers) * self.workers)

    def train(self, times: int = 1) -> float:
        """Seconds of forward and backward of the micro-batch that was drawn last."""
        return self.watch.time(self._step, times)

    def draw_and_train(self, times: int) -> float:
        """Seconds of a micro-step with its clips, on CUDA drawn beside the one before."""

        def step() -> None:
            self._next()
            self._step()

        return self.watch.time(step, times)

    def optimise(self) -> float:
        """Seconds of an optimiser step with the gradients at hand; at a rate of 0 it leaves the weights as they are."""
        optimizer = self.trainer.optimizers[0]
        rates = [group["lr"] for group in optimizer.param_groups]
        for group in optimizer.param_groups:
            group["lr"] = 0.0
        seconds = self.watch.time(optimizer.step)
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        self.module.zero_grad(set_to_none=True)
        return seconds

    def nbytes(self) -> int:
        """Of weights and AdamW's two moments."""
        moments = 2 * sum(p.nbytes for p in self.module.parameters() if p.requires_grad)
        weights: int = sum(tensor.nbytes for tensor in self.module.state_dict().values())
        return weights + moments

    def _step(self) -> None:
        micro_step(self.trainer, self.module, self.batch)

    def _next(self) -> None:
        self.batch = next(self.feed)

    def _batches(self) -> Iterator[Mapping[str, Tensor]]:
        while True:
            for batch in self.data.train_dataloader():
                yield self.trainer.strategy.batch_to_device(batch)


def _renderers(data: object) -> Iterable[RecipeClips]:
    if isinstance(data, SyntheticVideos):
        return [data.render]
    return data.rendered.values() if isinstance(data, VideoMixture) else []


def _shrink(renderer: RecipeClips, device: torch.device) -> None:
    """Let clips show a few textures in the place of a pool, which takes hours to make; and keep none on disk."""
    frames = min(FRAMES, renderer.recipe.texture_frames)
    renderer.recipe = recipe = renderer.recipe.with_textures(TEXTURES * max(1, frames), None, frames)
    renderer.bank, renderer.texture_cache = None, None
    if recipe.textured:
        renderer.bank = TextureBank(recipe, renderer.seed, drawn_on(device))
        renderer.bank.make(torch.arange(recipe.texture_pool))


def _count(devices: int | str | list[int], trainer: Trainer) -> int:
    """How many devices Trainer's argument means here."""
    if isinstance(devices, list):
        return len(devices)
    if devices in ("auto", -1, "-1"):
        return _at_hand(trainer)
    number = str(devices)
    return len(number.strip(",").split(",")) if "," in number else int(number)


def _at_hand(trainer: Trainer) -> int:
    return max(1, trainer.accelerator.auto_device_count())


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{device.type.upper()}, {threads} thread{'s' * (threads > 1)}"


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return int(psutil.virtual_memory().total)


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak(device: torch.device) -> int:
    """Bytes that were in use at most since the last :func:`_forget_peak`, on the CPU since the process began."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # in bytes there, in KiB elsewhere
