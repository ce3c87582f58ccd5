"""A running average of the weights, which is what validation, tests and other programs get to see."""

import math
import warnings
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from vsr.errors import InputError
from vsr.modules import LinearProbe
from vsr.modules.optim import total_steps

_STALE = 0.05  # share of the first weights from which on an average is hardly one of the run


class WeightAverage(WeightAveraging):
    """Keeps an exponential moving average (EMA) of the weights; ``configs/preset/ema.yaml`` adds it to a run.

    It begins with the weights that the run begins with, and moves after each optimiser step; buffers are those of the
    network as it is. Validation sees the average, and when training has ended the module holds it. In a checkpoint it
    is ``state_dict``, so that every reader of weights gets it; ``current_model_state`` has those that learn, with which
    a run goes on. A step that :class:`~vsr.modules.guard.StepGuard` skips has left the weights as they were.

    Lightning's own class and its ``EMAWeightAveraging`` differ: they wait for the device at each step, keep the average
    on the CPU, and a run that has ended could go on with the average only.

    Args:
        decay: what a step leaves of the average, more than 0, less than 1 (VideoMAE and timm: 0.9999). The average is
            one of about ``1 / (1 - decay)`` steps; a run of few more needs a smaller one, and is told so.

    Raises:
        InputError: ``decay`` is out of range, the strategy shards the weights, or they are of several heads.
    """

    def __init__(self, decay: float = 0.9999) -> None:
        if not 0 < decay < 1:
            raise InputError(f"decay {decay} makes no average: give more than 0, less than 1, such as 0.9999")
        super().__init__(use_buffers=False)
        self.decay = decay
        self._move = get_ema_multi_avg_fn(decay)
        self._learned: dict[str, Tensor] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Copy the network to the device that it will be on."""
        if stage != "fit":
            return
        if isinstance(trainer.strategy, ModelParallelStrategy):
            raise InputError(
                "weights that are spread over devices can't be averaged: leave out configs/preset/ema.yaml or "
                "configs/scale/fsdp2.yaml"
            )
        if isinstance(pl_module, LinearProbe) and len(pl_module.settings) > 1:
            raise InputError(
                "the heads of a linear probe are compared as they learn, not by averaged weights: leave out "
                "configs/preset/ema.yaml, or give one base_lr and one weight_decay"
            )
        self._device, self._learned = trainer.strategy.root_device, None  # the module is moved there later
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "You're using the WeightAveraging callback")  # our modules don't shard
            super().setup(trainer, pl_module, stage)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with the weights that a checkpoint may have brought since ``setup``."""
        if self._latest_update_step:
            return
        self._network.load_state_dict(pl_module.state_dict())
        left = self.decay ** (steps := total_steps(trainer))
        if left > _STALE:
            rank_zero_info(
                f"After {steps:,} steps an average of decay {self.decay} still has {left:.0%} of the weights before "
                f"the first step: give --trainer.callbacks.decay {_fitting(steps):g}."
            )

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move the average, where an optimiser step has ended."""
        if trainer.global_step == self._latest_update_step:
            return
        self._move(list(self._network.parameters()), list(pl_module.parameters()), 0)  # it doesn't look at the number
        for buffer, now in zip(self._network.buffers(), pl_module.buffers(), strict=True):
            buffer.copy_(now)
        self._latest_update_step = trainer.global_step

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the module hold the average."""
        self._learned = {name: tensor.clone() for name, tensor in pl_module.state_dict().items()}
        super().on_train_end(trainer, pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Put the average in the place of the weights that learn, and keep those beside it."""
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        if self._learned is not None:
            checkpoint["current_model_state"] = self._learned

    @property
    def _network(self) -> torch.nn.Module:
        assert self._average_model is not None
        return self._average_model.module


def ema_decay(trainer: Trainer) -> float | None:
    """The decay of a run's :class:`WeightAverage`; None if it has none."""
    found: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return next((watcher.decay for watcher in found if isinstance(watcher, WeightAverage)), None)


def _fitting(steps: int) -> float:
    """A decay of nines that leaves at most e^-5 of the first weights after so many steps, if they are 50 or more."""
    return 1 - 10.0 ** -max(int(math.log10(steps / 5)), 1)
