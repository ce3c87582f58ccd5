"""Clips per second, in the progress bar and in metrics.csv."""

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class Throughput(Callback):
    """Logs ``clips_per_s``: clips trained on per second, over all devices, since it was last logged.

    The clock is read without waiting for the device, so the first values after a start run ahead of a GPU.
    """

    def __init__(self) -> None:
        self._since, self._clips = 0.0, 0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._since, self._clips = time.perf_counter(), 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count, and log at the trainer's own interval."""
        self._clips += len(batch["video"]) * trainer.world_size
        every = trainer.accumulate_grad_batches * trainer.log_every_n_steps  # type: ignore[attr-defined]
        if (batch_idx + 1) % every == 0 or batch_idx == 0:
            now = time.perf_counter()
            pl_module.log("clips_per_s", self._clips / (now - self._since), prog_bar=True, batch_size=1)
            self._since, self._clips = now, 0
