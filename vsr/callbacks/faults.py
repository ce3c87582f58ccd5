"""What to do when a run stops with an error, and what is saved of it."""

import errno
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_info
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from vsr.callbacks.checkpoints import last_checkpoint, read_checkpoint
from vsr.errors import InputError
from vsr.plan import largest_batch, micro_step

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
_PEER = re.compile(  # a rank that has gone, in the words of gloo, NCCL and torch's store
    r"gloo/transport/tcp/.*(?:by peer|closed the connection|Broken pipe)|ncclRemoteError|[Cc]losed by remote peer"
    r"|Connection was likely closed\. Did the remote server shutdown or crash"
)
_HEADROOM = 0.9  # of a device's memory: the allocator's blocks don't fit together without gaps


class Faults(Callback):
    """Says, whatever stopped the training: at which step, what was saved, how to go on.

    Of a full or read-only disk, a GPU out of memory, a logger that fails, a process that decodes and is killed, and
    another rank that has ended it says the remedy too, as the :class:`~vsr.errors.InputError` behind the error.
    """

    def __init__(self) -> None:
        self._begun = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Before this there is nothing that could be lost."""
        self._begun = True

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Add remedy and state to the error; of an interruption, say the state."""
        if isinstance(exception, Exception):
            known = self._begun or not isinstance(exception, torch.OutOfMemoryError)  # what fits is tried by training
            if known and _unexplained(exception) and (said := self._remedy(exception, trainer, pl_module)):
                exception.__cause__ = InputError(said)
            if self._begun and trainer.is_global_zero:
                exception.add_note(_state(trainer))
        elif self._begun:
            rank_zero_info(_state(trainer))

    @staticmethod
    def _remedy(exception: Exception, trainer: Trainer, module: LightningModule) -> str | None:
        try:
            return remedy(exception, trainer, module)
        except RuntimeError as signalled:  # torch's of a process that has ended, which it raises wherever we are
            return remedy(signalled, trainer, module)


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those behind it, the last one first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _unexplained(error: BaseException) -> bool:
    """Whether no error of ours is behind it."""
    return not any(isinstance(e, InputError) for e in _behind(error))


def remedy(error: Exception, trainer: Trainer, module: LightningModule) -> str | None:
    """One line on an error that a user can mend; None for any other."""
    if isinstance(error, torch.OutOfMemoryError):
        return f"out of GPU memory: {_smaller_batch(error, trainer, module)}"
    if said := _killed_worker(error):
        return (
            f"{said}: it decodes videos, and is killed most often for want of memory; "
            "give a smaller --data.num_workers or --data.max_batch_per_device"
        )
    if trainer.world_size > 1 and isinstance(error, RuntimeError) and _PEER.search(str(error)):
        return (
            f"process {trainer.global_rank} of {trainer.world_size} has lost another one of this run, which ended "
            "before it: the cause is in that one's output, or it was killed, most often for want of memory"
        )
    logger = failed_logger(error, trainer)
    if isinstance(error, OSError) and error.errno in _DISK:
        failed = f"can't write {error.filename or 'to the disk'}: {error.strerror}"
    elif logger:
        failed = f"logging failed, {type(error).__name__}: {error}"
    else:
        return None
    return f"{failed}; it is the {logger}'s: to go on without loggers add --trainer.logger false" if logger else failed


def _killed_worker(error: Exception) -> str | None:
    """That a process that decodes has ended, in torch's words, if that is behind an error.

    torch raises it from a signal, wherever this process is: amid a file, the file's own error comes after it. Before
    the signal it is one of a connection, as the process can't hand over any more what it has decoded.
    """
    for each in _behind(error):
        if str(each).startswith("DataLoader worker (pid"):
            return str(each).split(". ")[0].rstrip(". ")
        if not isinstance(each, OSError | EOFError):
            continue
        for frame, _ in traceback.walk_tb(each.__traceback__):
            me = frame.f_locals.get("self")
            for worker in me._workers if isinstance(me, _MultiProcessingDataLoaderIter) else ():
                worker.join(1)  # s: it has closed its connections, and is about to end
                if worker.exitcode:
                    return f"DataLoader worker (pid {worker.pid}) exited unexpectedly"
    return None


def failed_logger(error: BaseException, trainer: Trainer) -> str | None:
    """The name of the logger that an error comes from, if it comes from one."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        me = frame.f_locals.get("self")
        if isinstance(me, Logger) and any(me is logger for logger in trainer.loggers):
            return type(me).__name__
    return None


def _smaller_batch(error: BaseException, trainer: Trainer, module: LightningModule) -> str:
    """What to give as ``max_batch_per_device``, measured with one and two clips where no other process waits."""
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    least: int = getattr(data, "num_sample", 1)  # clips of a video, which are at once on a device
    clips = data.plan.device_size * least
    one = "one clip at a time doesn't" if least == 1 else f"the {least} clips of one video (num_sample) don't"
    smallest = f"even {one} fit; take a smaller --model.size, --data.size or --data.num_frames"
    if clips == least:
        return smallest
    if trainer.world_size > 1:
        return f"{clips} clips at once don't fit; try --data.max_batch_per_device {max(clips // 2, least)}"
    traceback.clear_frames(error.__traceback__)  # they hold the activations
    try:
        peaks = {few: _peak(few, trainer, module) for few in (1, 2)}
    except torch.OutOfMemoryError:
        if least > 1:
            return smallest
        return f"{clips} clips at once don't fit, nor do 2; try --data.max_batch_per_device 1"
    fits = max(min(largest_batch(peaks, _room(trainer)), clips - 1), least)
    return (
        f"{clips} clips at once don't fit; by what 1 and 2 of them take, {fits} would: add "
        f"--data.max_batch_per_device {fits} (the global batch stays the same)"
    )


def _peak(clips: int, trainer: Trainer, module: LightningModule) -> int:
    """Bytes allocated at most in a micro-step of so many clips."""
    data, device = trainer.datamodule, trainer.strategy.root_device  # type: ignore[attr-defined]
    module.zero_grad(set_to_none=True)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    shape = (clips, 3, data.num_frames, data.size, data.size)
    numbers = torch.zeros(clips, dtype=torch.int64, device=device)
    batch = {"video": torch.zeros(shape, dtype=torch.uint8, device=device), "label": numbers}
    micro_step(trainer, module, batch | {"index": numbers, "epoch": numbers, "share": numbers})
    return torch.cuda.max_memory_allocated(device)


def _room(trainer: Trainer) -> int:
    """Bytes of the GPU that this process may have, less what the optimiser has yet to take."""
    device = trainer.strategy.root_device
    free, total = torch.cuda.mem_get_info(device)
    others = total - free - torch.cuda.memory_reserved(device)
    optimizer = trainer.optimizers[0]
    mine = min(total - others, torch.cuda.get_per_process_memory_fraction(device) * total)
    weights = sum(p.nbytes for group in optimizer.param_groups for p in group["params"])
    return int(_HEADROOM * mine) - (0 if optimizer.state else 2 * weights)


def _state(trainer: Trainer) -> str:
    path: Path = last_checkpoint(trainer)
    stopped = f"Stopped at step {trainer.global_step:,}."
    if not path.exists():
        return f"{stopped} Nothing had been saved yet: start the run again."
    try:
        step = read_checkpoint(path)["global_step"]
    except InputError as error:
        return f"{stopped} {error}."
    return f"{stopped} Saved is step {step:,}, in {path}: go on with the same command and --ckpt_path last."
