"""Whether motion is in the representation, asked of the renderer's own truth while a network pre-trains."""

from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from vsr.modules import VideoMAE
from vsr.modules.optim import total_steps
from vsr.recipe import Recipe
from vsr.render import render_clips, render_truth
from vsr.truth import Truth

_SEED = 0x5052_4F42_4553_4545  # the same videos for every run, so that curves compare
_FOLDS = 4
_AT_ONCE = 16  # clips
_PENALTIES = 10.0 ** torch.arange(-3, 7, dtype=torch.float64)
_CPU_FLOP = 1e12  # of a probe on a CPU at most; that of the laptop overlay has a quarter of it


class Answers(NamedTuple):
    """What there is to know about B clips: means over the pixels that show an object, in all frames.

    Attributes:
        velocity: float64 (B, 2), (x, y) px per frame of the video.
        speed: float64 (B,), px per frame of the video: the mean length, not that of the mean.
        shapes: float64 (B, 6), share of the pixels that show each of :data:`vsr.latents.SHAPES`.
    """

    velocity: Tensor
    speed: Tensor
    shapes: Tensor


class SyntheticProbe(Callback):
    """Logs what linear heads read from the frozen encoder about videos that it was never trained on.

    ``probe/velocity_r2`` (mean velocity, a vector: direction and speed), ``probe/speed_acc`` (the slow, middling or
    fast third of the videos; by chance 1/3) and ``probe/shapes_r2`` (shares of the six shapes): see :class:`Answers`.
    R² is 0 for a head that knows only the mean of its training videos, 1 for one that knows all, and below 0 for one
    that fits noise.
    Features are the mean over all tokens of the whole clip; heads are those of :func:`held_out`. No label is needed.

    The videos are the same for every dataset, size and seed: :func:`probe_recipe`, seen whole, with a seed of its own.
    With 192 of them an accuracy has a standard error of 0.03.

    Ranks share the clips, so that a sharded network can be probed, too; nothing is kept, all are rendered anew. It
    changes neither weights nor random numbers. Runs of fewer than ``every_n_steps`` steps aren't probed, nor on a CPU
    networks for which a probe would take more than 1 TFLOP.

    Args:
        every_n_steps: optimiser steps between two probes; the first is of the untrained network, one at the end.
        clips: how many.
    """

    def __init__(self, every_n_steps: int = 200, clips: int = 192) -> None:
        self.every_n_steps, self.clips = every_n_steps, clips
        self._answers: Answers | None = None
        self._first: dict[str, float] = {}
        self._found: dict[str, float] = {}
        self._last = -1

    def state_dict(self) -> dict[str, Any]:
        """What was found first, for a resumption."""
        return {"first": self._first}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Compare with the first part of the run."""
        self._first = state_dict["first"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Probe the untrained network."""
        self._last = -1
        if trainer.global_step == 0:
            self._probe(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Probe at every n-th optimiser step."""
        if trainer.global_step and trainer.global_step % self.every_n_steps == 0:
            self._probe(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Probe the last, and say what was learned."""
        self._probe(trainer, pl_module)
        if self._found and self._first:
            said = [f"{name[6:]} {self._first[name]:.2f} -> {value:.2f}" for name, value in self._found.items()]
            step = trainer.global_step
            rank_zero_info(f"Synthetic probe, untrained -> step {step:,}: {', '.join(said)}; chance of speed 0.33.")

    def _probe(self, trainer: Trainer, pl_module: LightningModule) -> None:
        step = trainer.global_step
        if step == self._last or not isinstance(pl_module, VideoMAE) or total_steps(trainer) < self.every_n_steps:
            return
        self._last = step
        work = self._flop(pl_module)
        if trainer.strategy.root_device.type == "cpu" and work > _CPU_FLOP:
            if step == 0:
                rank_zero_info(
                    f"No synthetic probe: each would take {work / 1e12:,.0f} TFLOP, more than a CPU is asked for."
                )
            return
        features = self._features(trainer, pl_module)
        if not trainer.is_global_zero:
            return
        if self._answers is None:
            self._answers = self._known(trainer, pl_module)
        self._found = found = score(features, self._answers)
        if step == 0:
            self._first = found
        for logger in trainer.loggers:
            logger.log_metrics(found, step)
            logger.save()

    def _flop(self, module: VideoMAE) -> float:
        """Of a probe, without attention."""
        encoder = module.model.encoder
        tokens = encoder.patch_embed.position.shape[0]
        return 2.0 * self.clips * tokens * sum(p.numel() for p in encoder.parameters())

    def _features(self, trainer: Trainer, module: VideoMAE) -> Tensor:
        """Of all clips, on the CPU: float64 (clips, D)."""
        rank, world = trainer.global_rank, trainer.world_size
        share = [(rank + i * world) % self.clips for i in range(-(-self.clips // world))]  # as many on each rank
        recipe, seed, num_frames, stride, size = self._videos(trainer, module)
        device, training = trainer.strategy.root_device, module.training
        module.eval()
        some = []
        with trainer.precision_plugin.forward_context():
            for start in range(0, len(share), _AT_ONCE):
                index = share[start : start + _AT_ONCE]
                clips = render_clips(recipe, seed, index, 0, num_frames, stride, size, crop=False, device=device)
                some.append(module.features(clips))
        module.train(training)
        mine = torch.cat(some)
        if world == 1:
            return mine.double().cpu()
        of_all = [torch.empty_like(mine) for _ in range(world)]
        torch.distributed.all_gather(of_all, mine)
        return torch.stack(of_all, dim=1).flatten(0, 1)[: self.clips].double().cpu()

    def _known(self, trainer: Trainer, module: VideoMAE) -> Answers:
        recipe, seed, num_frames, stride, size = self._videos(trainer, module)
        device = trainer.strategy.root_device
        parts = []
        for start in range(0, self.clips, _AT_ONCE):
            index = list(range(start, min(start + _AT_ONCE, self.clips)))
            truth = render_truth(recipe, seed, index, 0, num_frames, stride, size, crop=False, device=device)
            parts.append(answers(truth))
        return Answers(*(torch.cat(part).cpu() for part in zip(*parts, strict=True)))

    @staticmethod
    def _videos(trainer: Trainer, module: VideoMAE) -> tuple[Recipe, int, int, int, int]:
        """Recipe, seed, frames, stride and px of the clips: as the network's, at the run's stride."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        _, num_frames, size, _ = module.model.encoder.patch_embed.clip_shape
        stride = getattr(data, "stride", 4)
        seed = _SEED + (getattr(data, "seed", 0) == _SEED)  # never one that the run trains on
        return probe_recipe(num_frames, stride), seed, num_frames, stride, size


def probe_recipe(num_frames: int, stride: int) -> Recipe:
    """Shapes in steady motion: few and large enough that most of a video moves alike, slow and fast, no textures.

    In the datasets with 500 objects, whose directions are independent, the mean motion of a clip is almost none.

    Args:
        num_frames: of a clip, which is the whole video.
        stride: video frames from one clip frame to the next.
    """
    length = (num_frames - 1) * stride + 1
    return Recipe(
        "probe", duration=(length, length), num_objects=20, radius=(0.2, 0.5), shapes="mixed", speed=(0.5, 4.0)
    )  # fmt: skip


def answers(truth: Truth) -> Answers:
    """The answers for some clips and their truth, on its device."""
    clips, frames, objects, _ = truth.velocity.shape
    shown = truth.object.flatten(2).long() + 1  # 0: the background
    pixels = truth.velocity.new_zeros(clips, frames, objects + 1)
    pixels = pixels.scatter_add_(2, shown, torch.ones_like(shown, dtype=pixels.dtype))[..., 1:]
    total = pixels.sum((1, 2)).clamp(min=1)
    velocity = (pixels[..., None] * truth.velocity).sum((1, 2)) / total[:, None]
    speed = (pixels * truth.velocity.norm(dim=-1)).sum((1, 2)) / total
    shapes = pixels.new_zeros(clips, 6).scatter_add_(1, truth.shape, pixels.sum(1)) / total[:, None]
    return Answers(velocity, speed, shapes)


def score(features: Tensor, known: Answers) -> dict[str, float]:
    """How well linear heads read the answers from features, float64 (B, D): see :class:`SyntheticProbe`."""
    told = held_out(features, known.speed[:, None])[:, 0]
    return {
        "probe/velocity_r2": _r2(held_out(features, known.velocity), known.velocity),
        "probe/speed_acc": float((_thirds(told) == _thirds(known.speed)).double().mean()),
        "probe/shapes_r2": _r2(held_out(features, known.shapes), known.shapes),
    }


def held_out(features: Tensor, targets: Tensor) -> Tensor:
    """What linear heads say about videos that they were not fitted on, each of four parts by heads of the three others.

    Ridge regression on standardised features, in closed form; the penalty, one for all targets, is that with the least
    leave-one-out error within the three parts.

    Args:
        features: float64 (B, D).
        targets: float64 (B, K).

    Returns:
        float64 (B, K).
    """
    told = torch.empty_like(targets)
    part = torch.arange(len(features)) % _FOLDS
    for fold in range(_FOLDS):
        inside, outside = part != fold, part == fold
        told[outside] = _ridge(features[inside], targets[inside], features[outside])
    return told


def _ridge(features: Tensor, targets: Tensor, others: Tensor) -> Tensor:
    center, spread = features.mean(0), features.std(0).clamp(min=1e-12)
    mean = targets.mean(0)
    left, singular, right = torch.linalg.svd((features - center) / spread, full_matrices=False)
    turned = left.T @ (targets - mean)
    errors = []
    for penalty in _PENALTIES:
        kept = singular**2 / (singular**2 + penalty)
        residual = targets - mean - left @ (kept[:, None] * turned)
        leverage = (left**2 * kept).sum(1) + 1 / len(features)
        errors.append((residual / (1 - leverage).clamp(min=1e-12)[:, None]).square().sum())
    penalty = _PENALTIES[torch.stack(errors).argmin()]
    weights = right.T @ ((singular / (singular**2 + penalty))[:, None] * turned)
    told: Tensor = (others - center) / spread @ weights + mean
    return told


def _thirds(values: Tensor) -> Tensor:
    """Whether each value, of (B,), is in the lower, middle or upper third of them: 0, 1 or 2."""
    return torch.bucketize(values, values.quantile(values.new_tensor([1 / 3, 2 / 3])))


def _r2(told: Tensor, targets: Tensor) -> float:
    """Share of the variance of all targets together that is explained."""
    return 1 - float((told - targets).square().sum() / (targets - targets.mean(0)).square().sum())
