"""Checkpoints that can't be lost: written whole or not at all, the one before kept."""

import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torch.nn.utils import get_total_norm
from torch.optim.lr_scheduler import LambdaLR

from vsr import signals
from vsr.callbacks.stopping import StopVote, stop
from vsr.errors import InputError
from vsr.models.exchange import must_be_stored
from vsr.modules.optim import total_steps

LAST, PREVIOUS = "last.ckpt", "previous.ckpt"
_PARTS: dict[str, type] = {
    "state_dict": dict, "optimizer_states": list, "lr_schedulers": list, "loops": dict, "global_step": int,
    "hyper_parameters": dict, "provenance": dict,
}  # fmt: skip


class Checkpoints(Checkpoint):
    """Saves ``checkpoints/last.ckpt`` at every n-th optimiser step and when training ends.

    Only at optimiser steps, so that nothing is half accumulated; one that is due at the end of an epoch is saved after
    its validation. The one before is kept as ``previous.ckpt``. Nothing is selected by a metric. Weights that are not
    finite are not saved: the run ends, and what was saved stays.

    Saves, too, when a process of the run is told to stop (:mod:`vsr.signals`), and ends the run then.

    Args:
        every_n_steps: optimiser steps between two checkpoints.

    Raises:
        InputError: ``every_n_steps`` is not positive; in training: weights are not finite.
    """

    def __init__(self, every_n_steps: int = 500) -> None:
        if every_n_steps < 1:
            raise InputError(f"every_n_steps {every_n_steps} is not positive: give 1 or more")
        self.every_n_steps = every_n_steps
        self._saved = self._step = -1
        self._planned: int | None = None
        self._vote = StopVote()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take away what a killed process has left half written."""
        if stage == "fit" and trainer.is_global_zero:
            for part in last_checkpoint(trainer).parent.glob("*.part"):
                part.unlink()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Note how long the run was to be."""
        self._planned = checkpoint.get("provenance", {}).get("total_steps")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the learning rate of the first step, which a checkpoint of a shorter or longer schedule has otherwise."""
        signals.training_begins()
        self._vote = StopVote()
        self._saved = self._step = step = trainer.global_step
        total = total_steps(trainer)
        if self._planned not in (None, total):
            rank_zero_info(
                f"The run was to have {self._planned:,} steps and now has {total:,}: from step {step:,} on the "
                "learning rate is that of the new length."
            )
        for config in trainer.lr_scheduler_configs:
            if isinstance(schedule := config.scheduler, LambdaLR):
                for group, rate, scale in zip(
                    schedule.optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True
                ):
                    group["lr"] = rate * scale(schedule.last_epoch)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save where one is due, amid an epoch."""
        if batch_idx + 1 < trainer.num_training_batches:
            self._save_if_due(trainer, pl_module, logged=False)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save where one is due at the end of an epoch."""
        self._save_if_due(trainer, pl_module, logged=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the last."""
        if trainer.global_step != self._saved:
            self._save(trainer, pl_module)

    def _save_if_due(self, trainer: Trainer, module: LightningModule, logged: bool) -> None:
        if trainer.global_step == self._step:  # between two micro-batches
            return
        self._step = trainer.global_step
        stopping = self._vote.passed(trainer) and trainer.global_step < total_steps(trainer)
        if (stopping or trainer.global_step % self.every_n_steps == 0) and trainer.global_step != self._saved:
            self._save(trainer, module)
        if stopping:
            stop(trainer, logged)

    def _save(self, trainer: Trainer, module: LightningModule) -> None:
        norm: Any = get_total_norm(module.parameters())
        if hasattr(norm, "full_tensor"):  # of sharded weights
            norm = norm.full_tensor()
        if not norm.isfinite():
            raise InputError(
                f"the weights are not finite at step {trainer.global_step:,}, so they were not saved: lower "
                "--model.base_lr, give --model.clip_grad 1, or look for the cause in what was logged before"
            )
        trainer.save_checkpoint(last_checkpoint(trainer), weights_only=False)
        self._saved = trainer.global_step


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint to a part file beside it, and puts it in its place when it is whole and on the disk.

    ``last.ckpt`` is kept as ``previous.ckpt`` when another takes its place, unless it is damaged.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write one.

        Raises:
            InputError: there is no room for it, or it can't be written for another reason; nothing has changed.
        """
        path = Path(path)
        part = path.with_name(f"{path.name}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            if path.name == LAST and zipfile.is_zipfile(path):
                _keep(path, path.with_name(PREVIOUS))
            part.replace(path)
            _sync(path.parent)
        except (OSError, RuntimeError) as error:  # torch raises its own error about a file that can't be finished
            part.unlink(missing_ok=True)
            reason = _cause(error)
            if reason is None:
                raise
            raise InputError(_no_room(path, checkpoint, reason)) from error
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read one; see :func:`read_checkpoint`."""
        return read_checkpoint(path)


def last_checkpoint(trainer: Trainer) -> Path:
    """Where a run has its newest checkpoint."""
    return Path(trainer.default_root_dir) / "checkpoints" / LAST


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint of ``vsr fit``; nothing in it is run, and its tensors stay on the disk until they are used.

    Raises:
        InputError: there is none, it isn't whole, or it isn't one.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"--ckpt_path {path}: there is no such checkpoint; check the path")
    try:
        must_be_stored(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # whatever torch, zipfile and pickle raise about a damaged file
        raise InputError(_damaged(path)) from error
    missing = _PARTS.keys() - content.keys() if isinstance(content, dict) else _PARTS.keys()
    if missing:
        raise InputError(
            f"--ckpt_path {path}: it is no checkpoint of vsr fit ({', '.join(sorted(missing))} missing), so no run can "
            "go on from it; to start from its weights give it as --model.checkpoint"
        )
    wrong = [name for name, kind in _PARTS.items() if not isinstance(content[name], kind)]
    if wrong:
        raise InputError(
            f"--ckpt_path {path}: its {' and '.join(wrong)} can't be a run's, someone has changed it: "
            "give another checkpoint"
        )
    return dict(content)


def _damaged(path: Path) -> str:
    text = f"--ckpt_path {path}: it is damaged or cut short"
    before = path.with_name(PREVIOUS)
    if path.name == LAST and before.exists():
        try:
            step = read_checkpoint(before)["global_step"]
        except InputError:
            return f"{text}, and so is {before}: start anew with --run NAME"
        return f"{text}; the one before it is whole: go on from its step {step} with --ckpt_path {before}"
    return f"{text}: give another checkpoint"


def _keep(path: Path, previous: Path) -> None:
    """Give a file a second name, in the place of what has that name."""
    link = previous.with_name(f"{previous.name}.part")
    link.unlink(missing_ok=True)
    try:
        link.hardlink_to(path)
    except OSError:  # a file system without hard links
        path.replace(previous)
        return
    link.replace(previous)
    link.unlink(missing_ok=True)  # where both are names of one file, replacing does nothing


def _sync(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _cause(error: BaseException | None) -> OSError | None:
    """The operating system's error behind another."""
    while error is not None and not isinstance(error, OSError):
        error = error.__cause__ or error.__context__
    return error


def _no_room(path: Path, checkpoint: dict[str, Any], reason: OSError) -> str:
    folder = next(p for p in path.parents if p.exists())
    size, free = _num_bytes(checkpoint) / 1e6, shutil.disk_usage(folder).free / 1e6
    return (
        f"can't write {path}: {reason.strerror or reason}; a checkpoint takes {size:,.0f} MB, up to three are kept at "
        f"once, and {free:,.0f} MB are free"
    )


def _num_bytes(content: Any) -> int:
    if isinstance(content, Tensor):
        return content.nbytes
    if isinstance(content, dict):
        content = content.values()
    elif not isinstance(content, list | tuple):
        return 0
    return sum(map(_num_bytes, content))
