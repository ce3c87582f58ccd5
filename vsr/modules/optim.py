"""AdamW as VideoMAE uses it: what decays, how fast each layer learns, and the learning rate of every step."""

import math
import re
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import nn
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
    """Optimiser steps of the run: ``max_steps``, or ``max_epochs`` times the data's ``steps_per_epoch``.

    ``Trainer.estimated_stepping_batches`` isn't read: it would build the loaders too early and drop their
    state.

    Raises:
        InputError: the run has no end, or the data doesn't say how long an epoch is.
    """
    if trainer.max_steps > 0:
        return trainer.max_steps
    if trainer.max_epochs is None or trainer.max_epochs < 1:
        raise InputError("a run without an end has no learning-rate schedule: give --trainer.max_epochs or max_steps")
    steps = getattr(getattr(trainer, "datamodule", None), "steps_per_epoch", None)
    if not isinstance(steps, int):
        raise InputError("the data doesn't say how many optimiser steps an epoch has: give --trainer.max_steps")
    return trainer.max_epochs * steps


def adamw_warmup_cosine(
    groups: list[dict[str, Any]],
    *,
    base_lr: float,
    min_lr: float,
    betas: tuple[float, float],
    global_batch_size: int,
    warmup: float,
    total_steps: int,
) -> OptimizerLRSchedulerConfig:
    """AdamW with a warm-up and a cosine, stepped once per optimiser step.

    Args:
        groups: of :func:`parameter_groups`.
        base_lr: peak rate for 256 clips; scaled by :func:`scaled_lr`.
        min_lr: rate at the end for 256 clips; scaled likewise.
        betas: of AdamW.
        global_batch_size: clips per optimiser step, all devices and accumulation steps together.
        warmup: share of all steps, 0..1, rounded to whole steps.
        total_steps: optimiser steps of the whole run.

    Raises:
        InputError: ``warmup`` isn't a share, or the rate isn't positive.
    """
    if base_lr <= 0 or global_batch_size < 1:
        raise InputError(
            f"base_lr {base_lr} for global_batch_size {global_batch_size} gives no learning rate: give positive numbers"
        )
    if not 0 <= warmup <= 1:
        raise InputError(f"warmup {warmup} is not a share of all steps: give 0 .. 1")
    peak, final = scaled_lr(base_lr, global_batch_size), scaled_lr(min_lr, global_batch_size)
    warmup_steps = round(warmup * total_steps)
    groups = [{**group, "lr": peak * group["lr_scale"]} for group in groups]
    devices = {parameter.device.type for group in groups for parameter in group["params"]}
    optimizer = AdamW(groups, lr=peak, betas=betas, fused=devices <= _FUSED_DEVICES)
    scheduler = LambdaLR(
        optimizer,
        lambda step: warmup_cosine(step, total_steps, warmup_steps, peak, final) / peak,
    )
    rank_zero_info(
        f"AdamW: learning rate {peak:.3g} = {base_lr:.3g} x {global_batch_size} clips / 256; "
        f"{warmup_steps} of {total_steps} steps warm up, then a cosine to {final:.3g}"
    )
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
