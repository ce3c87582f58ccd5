"""What a network draws itself while it trains, from the address of what it is shown."""

import hashlib
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class Draws(Callback):
    """Seeds drop path and dropout by the first sample of each micro-batch.

    So a run that is resumed draws as if it hadn't been stopped. Each rank has samples, and so draws, of its own.
    """

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed torch's generators."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        plan = data.plan
        micro = batch_idx % plan.accumulation * plan.world_size + trainer.global_rank
        first = trainer.global_step * plan.global_size + micro * plan.device_size
        address = hashlib.blake2b(f"{data.seed} {first}".encode(), digest_size=8)
        torch.manual_seed(int.from_bytes(address.digest(), "big"))
