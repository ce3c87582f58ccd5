"""AdamW as VideoMAE uses it: what decays, how fast each layer learns, and the learning rate of every step."""

import math
import re
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from vsr.errors import InputError

_BLOCK = re.compile(r"blocks\.(\d+)\.")
_FUSED_DEVICES = {"cpu", "cuda", "mps", "xpu"}


def scaled_lr(base_lr: float, global_batch_size: int) -> float:
    """The linear rule: ``base_lr * global_batch_size / 256``, whatever the devices and accumulation steps."""
    return base_lr * global_batch_size / 256


def decays(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay acts on a parameter: not on 1-D ones, biases and the mask token."""
    return parameter.ndim > 1 and not name.endswith("bias") and name.rpartition(".")[2] != "mask_token"


def layer_id(name: str, depth: int) -> int:
    """A parameter's place in a classifier: 0 patch embedding, i + 1 block i, ``depth`` + 1 the rest."""
    if name.startswith("patch_embed."):
        return 0
    block = _BLOCK.match(name)
    return int(block[1]) + 1 if block else depth + 1


def parameter_groups(model: nn.Module, weight_decay: float, layer_decay: float = 1.0) -> list[dict[str, Any]]:
    """Optimiser groups of the parameters that are trained.

    Args:
        model: a network; with a layer decay, one with the names of :class:`vsr.models.vit.Classifier`.
        weight_decay: for the parameters that :func:`decays` names, 0 for the others.
        layer_decay: each layer learns this much slower than the one above it: layer id l of depth L is scaled
            by ``layer_decay ** (L + 1 - l)``. 1: none.

    Returns:
        groups with ``name``, ``params``, ``weight_decay`` and ``lr_scale``, in the order of the layers.
    """
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    depth = 0
    if layer_decay != 1.0:
        depth = 1 + max(int(block[1]) for name, _ in model.named_parameters() if (block := _BLOCK.match(name)))
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in sorted(named, key=lambda item: layer_id(item[0], depth)):
        layer = layer_id(name, depth)
        label = "decay" if decays(name, parameter) else "no_decay"
        if layer_decay == 1.0:
            scale = 1.0
        else:
            label, scale = f"layer_{layer}_{label}", layer_decay ** (depth + 1 - layer)
        group = groups.setdefault(label, {"name": label, "params": [], "lr_scale": scale})
        group["weight_decay"] = weight_decay if decays(name, parameter) else 0.0
        group["params"].append(parameter)
    return list(groups.values())


def warmup_cosine(step: int, total_steps: int, warmup_steps: int, peak: float, final: float) -> float:
    """The learning rate of optimiser step ``step``, counted from 0.

    Warm-up is ``linspace(0, peak, warmup_steps)``, so the very first step has rate 0 and the last of the
    warm-up has the peak; then ``final + (peak - final) (1 + cos(pi i / n)) / 2`` for the i-th of the n
    remaining steps. (VideoMAE's schedule; its ``warmup_lr`` has no effect there and is left out.)

    Args:
        step: from 0; beyond the end it stays at ``final``.
        total_steps: of the whole run.
        warmup_steps: of them.
        peak: highest rate.
        final: rate after the last step.
    """
    if step < warmup_steps:
        return peak * step / max(warmup_steps - 1, 1)
    remaining = max(total_steps - warmup_steps, 1)
    progress = min((step - warmup_steps) / remaining, 1.0)
    return final + 0.5 * (peak - final) * (1 + math.cos(math.pi * progress))


def total_steps(trainer: L.Trainer) -> int:
    """Optimiser steps of the run: ``max_steps``, or ``max_epochs`` times the data's ``steps_per_epoch`` if fewer.

    ``Trainer.estimated_stepping_batches`` isn't read: it would build the loaders too early and drop their
    state.

    Raises:
        InputError: the run has no end, or the data doesn't say how long an epoch is.
    """
    ends = [trainer.max_steps] if trainer.max_steps > 0 else []
    if trainer.max_epochs is not None and trainer.max_epochs > 0:
        epoch = _steps_per_epoch(trainer)
        if epoch is not None:
            ends.append(trainer.max_epochs * epoch)
        elif not ends:
            raise InputError("the data doesn't say how many optimiser steps an epoch has: give --trainer.max_steps")
    if not ends:
        raise InputError("a run without an end has no learning-rate schedule: give --trainer.max_epochs or max_steps")
    return min(ends)


def highest_rate(trainer: L.Trainer) -> Tensor:
    """The highest learning rate of all groups, on the CPU: to log a number is to copy it to the device, and wait."""
    return torch.tensor(max(group["lr"] for group in trainer.optimizers[0].param_groups))


def _steps_per_epoch(trainer: L.Trainer) -> int | None:
    steps = getattr(getattr(trainer, "datamodule", None), "steps_per_epoch", None)
    return steps if isinstance(steps, int) else None


@dataclass(frozen=True)
class Optimisation:
    """AdamW with a warm-up and a cosine over the whole run, stepped once per optimiser step.

    Attributes:
        base_lr: peak rate for 256 clips; scaled by :func:`scaled_lr`.
        min_lr: rate at the end for 256 clips; scaled likewise.
        weight_decay: for the parameters that :func:`decays` names.
        betas: of AdamW.
        warmup: share of all steps, 0..1, rounded to whole steps.
        global_batch_size: clips per optimiser step, all devices and accumulation steps together.

    Raises:
        InputError: a value is out of its range.
    """

    base_lr: float
    min_lr: float
    weight_decay: float
    betas: tuple[float, float]
    warmup: float
    global_batch_size: int

    def __post_init__(self) -> None:
        if self.base_lr <= 0 or self.global_batch_size < 1:
            raise InputError(
                f"base_lr {self.base_lr} for global_batch_size {self.global_batch_size} gives no learning rate: "
                "give positive numbers"
            )
        for name, value in (("min_lr", self.min_lr), ("weight_decay", self.weight_decay)):
            if value < 0:
                raise InputError(f"{name} {value} is negative: give 0 or more")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise InputError(f"betas {list(self.betas)} are not rates of decay: give 0 or more, less than 1")
        if not 0 <= self.warmup <= 1:
            raise InputError(f"warmup {self.warmup} is not a share of all steps: give 0 .. 1")

    def configure(self, trainer: L.Trainer, model: nn.Module, layer_decay: float = 1.0) -> OptimizerLRSchedulerConfig:
        """Optimiser and schedule of a run; rank zero says what it will do, in :meth:`line`.

        Args:
            trainer: of the run.
            model: whose parameters are trained.
            layer_decay: see :func:`parameter_groups`.

        Raises:
            InputError: the run has no end.
        """
        return self.configure_groups(trainer, parameter_groups(model, self.weight_decay, layer_decay))

    def configure_groups(self, trainer: L.Trainer, groups: list[dict[str, Any]]) -> OptimizerLRSchedulerConfig:
        """The same of groups as :func:`parameter_groups` makes them, each with its own ``lr_scale``."""
        steps, peak, final = total_steps(trainer), *self._rates()
        warmup_steps = self._warmup_steps(trainer)
        groups = [{**group, "lr": peak * group["lr_scale"]} for group in groups]
        devices = {parameter.device.type for group in groups for parameter in group["params"]}
        optimizer = AdamW(groups, lr=peak, betas=self.betas, fused=devices <= _FUSED_DEVICES)
        scheduler = LambdaLR(optimizer, lambda step: warmup_cosine(step, steps, warmup_steps, peak, final) / peak)
        number = sum(parameter.numel() for group in groups for parameter in group["params"])
        said = f"{number / 1e6:,.1f} M" if number >= 1e6 else f"{number:,}"
        rank_zero_info(f"{self.line(trainer)}; {said} parameters are trained")
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def line(self, trainer: L.Trainer) -> str:
        """A run in one line: how its batch is cut, its learning rate, its length.

        For example ``global batch 256 = 1 device x 4 micro-batches of 64; lr 3e-4 = base 3e-4 x 256 / 256;
        118,400 steps = 3,200 epochs of 37; warm-up 1,480 steps, then a cosine to 1e-5``.
        """
        batch, devices, micro = self.global_batch_size, trainer.world_size, trainer.accumulate_grad_batches
        steps, epoch = total_steps(trainer), _steps_per_epoch(trainer)
        peak, final = map(_rate, self._rates())
        cut = f"{_count(devices, 'device')} x {_count(micro, 'micro-batch', 'es')} of {batch / (devices * micro):g}"
        length = _count(steps, "step") + (f" = {_count(steps / epoch, 'epoch')} of {epoch:,}" if epoch else "")
        return (
            f"global batch {batch} = {cut}; lr {peak} = base {_rate(self.base_lr)} x {batch} / 256; {length}; "
            f"warm-up {_count(self._warmup_steps(trainer), 'step')}, then a cosine to {final}"
        )

    def _rates(self) -> tuple[float, float]:
        """The highest rate and the one after the last step."""
        return scaled_lr(self.base_lr, self.global_batch_size), scaled_lr(self.min_lr, self.global_batch_size)

    def _warmup_steps(self, trainer: L.Trainer) -> int:
        return round(self.warmup * total_steps(trainer))


def _count(number: float, noun: str, plural: str = "s") -> str:
    text = f"{number:,.2f}".rstrip("0").rstrip(".") if number >= 1 else f"{number:.2g}"
    return f"{text} {noun}{plural if text != '1' else ''}"


def _rate(rate: float) -> str:
    """A learning rate as papers write it: 2.25e-4."""
    mantissa, exponent = f"{rate:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"
