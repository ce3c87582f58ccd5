"""What the model is shown and what it makes of it: pictures and short videos, in the run folder and the loggers."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from PIL import Image
from torch import Tensor

from vsr.export import Frames, contact_sheet, whole, write_gif, write_video
from vsr.modules import VideoMAE

_KINDS = ("input", "mask", "output")
_SMALL, _LARGE = 96, 128  # px: frames are enlarged to at least this side; in TensorBoard they are at most that large


class Pictures(Callback):
    """Saves input, mask and reconstruction of the first clips that the run trained on, also after a resumption.

    In the run folder as ``pictures/step-<n>.png``, some frames of each clip, and ``.mp4``, the clips in motion; in
    TensorBoard as images ``reconstruction`` and ``reconstruction_video`` (animated, smaller); in loggers with
    ``log_image`` and ``log_video``, such as W&B's, under the same names.

    Predictions are normalised per tube; they are shown with the true mean and deviation of their own tube, as the
    caption says: colour and contrast are given, structure is predicted.

    Args:
        every_n_steps: optimiser steps between two pictures; there is always one before the first step, so that a
            picture that can't be written is found out at once, and one at the end.
        clips: how many clips.
        frames: how many frames of each are in the png, evenly spaced.
    """

    def __init__(self, every_n_steps: int = 500, clips: int = 3, frames: int = 8) -> None:
        self.every_n_steps, self.clips, self.frames = every_n_steps, clips, frames
        self._last = -1
        self._batch: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """The clips, for a resumption."""
        return {"batch": {key: tensor.cpu() for key, tensor in self._batch.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the clips of the run's first part."""
        # Copied: a checkpoint that is read stays on the disk, all of it, while a tensor of its file lives.
        self._batch = {key: tensor.clone() for key, tensor in state_dict["batch"].items()}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Take the first clips; save what an untrained network makes of them."""
        if not self._batch:
            self._batch = {key: batch[key][: self.clips].clone() for key in ("video", "index", "epoch")}
        if trainer.global_step == 0:
            self._save(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save at every n-th optimiser step."""
        if trainer.global_step % self.every_n_steps == 0:
            self._save(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last."""
        self._save(trainer, pl_module)

    def _save(self, trainer: Trainer, pl_module: LightningModule) -> None:
        step = trainer.global_step
        if step == self._last or not isinstance(pl_module, VideoMAE) or not self._batch:
            return
        self._last = step
        with trainer.precision_plugin.forward_context():  # on all ranks: a sharded network needs them
            pictures = pl_module.reconstruct(**{key: t.to(pl_module.device) for key, t in self._batch.items()})
        if not trainer.is_global_zero:
            return
        kinds = [kind.permute(0, 2, 3, 4, 1).cpu().numpy() for kind in pictures]
        clips = [[_enlarged(kind) for kind in clip] for clip in zip(*kinds, strict=True)]
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        title = f"{data.name}, step {step:,}\nmasked tubes: structure predicted, mean and contrast given"
        path = Path(trainer.default_root_dir) / "pictures" / f"step-{step:06d}.png"
        still, moving, fps = self._still(clips, title), _moving(clips, title), 25 / getattr(data, "stride", 1)
        with whole(path) as part:
            still.save(part)
        write_video(moving, path.with_suffix(".mp4"), fps)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                if clips[0][0].shape[1] > _LARGE:
                    clips = [[_reduced(kind) for kind in clip] for clip in clips]
                    still, moving = self._still(clips, title), _moving(clips, title)
                _to_tensorboard(logger, step, still, moving, fps)
            else:
                _to_logger(logger, step, path)

    def _still(self, clips: list[list[Frames]], title: str) -> Image.Image:
        length = len(clips[0][0])
        shown = np.linspace(0, length - 1, min(self.frames, length)).round().astype(int)
        return contact_sheet(
            [kind[shown] for clip in clips for kind in clip],
            title,
            labels=[f"{i} {kind}" for i in self._batch["index"].tolist() for kind in _KINDS],
            columns=[f"frame {t}" for t in shown],
        )


def _moving(clips: list[list[Frames]], title: str) -> Frames:
    """Input, mask and output side by side, clip below clip: uint8 (T, H, W, C)."""
    scenes = zip(*(np.stack(clip, axis=1) for clip in clips), strict=True)
    return np.stack([np.asarray(contact_sheet(list(rows), title, columns=list(_KINDS))) for rows in scenes])


def _enlarged(frames: Frames) -> Frames:
    """Frames (T, S, S, C), small ones larger by a whole factor."""
    factor = -(-_SMALL // frames.shape[1])
    return frames.repeat(factor, axis=1).repeat(factor, axis=2)


def _reduced(frames: Frames) -> Frames:
    """Frames (T, S, S, C) at the side of TensorBoard's."""
    size = (_LARGE, _LARGE)
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX)) for frame in frames])


def _to_tensorboard(logger: TensorBoardLogger, step: int, still: Image.Image, moving: Frames, fps: float) -> None:
    """Encoded: ``add_image`` writes png, which is several times larger, and ``add_video`` needs moviepy."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    for tag, size in (("reconstruction", still.size), ("reconstruction_video", moving.shape[2:0:-1])):
        file = BytesIO()
        if tag == "reconstruction":
            still.save(file, "JPEG", quality=90)
        else:
            write_gif(moving, file, fps)
        width, height = size
        image = Summary.Image(width=width, height=height, colorspace=3, encoded_image_string=file.getvalue())
        logger.experiment._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)


def _to_logger(logger: Logger, step: int, path: Path) -> None:
    """To one that has Lightning's name for it."""
    if hasattr(logger, "log_image"):
        logger.log_image("reconstruction", [str(path)], step)
    if hasattr(logger, "log_video"):
        logger.log_video("reconstruction_video", [str(path.with_suffix(".mp4"))], step)
