"""What the model is shown and what it makes of it, as PNG."""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from vsr.export import sheet
from vsr.modules import VideoMAE


class Pictures(Callback):
    """Saves ``pictures/step-<n>.png``: input, mask and reconstruction of the first clips that the run trained on.

    Predictions are normalised per tube; they are shown with the true mean and deviation of their own tube, as the
    caption says: colour and contrast are given, structure is predicted.

    Args:
        every_n_steps: optimiser steps between two pictures; there is always one at the end.
        clips: how many clips.
        frames: how many frames of each, evenly spaced.
    """

    def __init__(self, every_n_steps: int = 500, clips: int = 3, frames: int = 8) -> None:
        self.every_n_steps, self.clips, self.frames = every_n_steps, clips, frames
        self._last = -1
        self._batch: dict[str, Tensor] = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save at every n-th optimiser step."""
        if not self._batch:
            self._batch = {key: batch[key][: self.clips].clone() for key in ("video", "index", "epoch")}
        if trainer.global_step and trainer.global_step % self.every_n_steps == 0:
            self._save(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last."""
        self._save(trainer, pl_module)

    def _save(self, trainer: Trainer, pl_module: LightningModule) -> None:
        step = trainer.global_step
        if step == self._last or not trainer.is_global_zero or not isinstance(pl_module, VideoMAE) or not self._batch:
            return
        self._last = step
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        pictures = pl_module.reconstruct(**self._batch)
        shown = torch.linspace(0, pictures.video.shape[2] - 1, self.frames).round().long().unique()
        rows = [
            kind[clip][:, shown].permute(1, 2, 3, 0).cpu().numpy()
            for clip in range(len(pictures.video))
            for kind in pictures
        ]
        sheet(
            rows,
            Path(trainer.default_root_dir) / "pictures" / f"step-{step:06d}.png",
            title=f"{data.name}, step {step}\nmasked tubes: structure predicted, mean and contrast given",
            labels=[f"{i} {kind}" for i in self._batch["index"].tolist() for kind in ("input", "mask", "output")],
            columns=[f"frame {t}" for t in shown.tolist()],
        )
