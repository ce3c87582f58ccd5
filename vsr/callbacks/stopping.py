"""Stopping between two steps when a process of the run was told to, and ending in order."""

import atexit
from dataclasses import dataclass
from typing import Any

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor

from vsr import signals


@dataclass
class _Vote:
    """On its way to the CPU."""

    told: Tensor
    arrived: torch.cuda.Event | None


class StopVote:
    """Whether all processes of a run stop now, as one of them was told to (:mod:`vsr.signals`).

    With several processes each step's vote is read a step later, so that nothing waits for the device; and all of them
    read it in the same step, so that they stop together whichever was told.
    """

    def __init__(self) -> None:
        self._cast: _Vote | None = None

    def passed(self, trainer: Trainer) -> bool:
        """Vote; on every rank, once in each optimiser step."""
        if trainer.world_size == 1:
            return signals.told() is not None
        before, device = self._cast, trainer.strategy.root_device
        told = torch.full((), float(signals.told() is not None), device=device)
        torch.distributed.all_reduce(told, op=torch.distributed.ReduceOp.MAX)
        cuda = device.type == "cuda"  # elsewhere a copy that doesn't wait can't be waited for
        self._cast = _Vote(
            told.to("cpu", non_blocking=cuda),
            torch.cuda.current_stream(device).record_event(torch.cuda.Event(blocking=True)) if cuda else None,
        )
        if before is None:
            return False
        if before.arrived is not None:
            before.arrived.synchronize()
        return bool(before.told)


def stop(trainer: Trainer, logged: bool) -> None:
    """End this process of the run, whose checkpoint has been saved.

    Args:
        trainer: of the run.
        logged: whether the last step's metrics have been.

    Raises:
        SystemExit: with :data:`vsr.signals.AGAIN`; with 0 in processes that the first one has started itself, which
            would be killed if one of them ended with another status.
    """
    if not logged:  # the step isn't taken again
        trainer._logger_connector.update_train_step_metrics()
    rank_zero_info(f"Told to stop ({signals.told() or 'on another rank'}).")
    leave_in_order()
    strategy: Any = trainer.strategy
    started = trainer.local_rank > 0 and isinstance(strategy.cluster_environment, LightningEnvironment)
    raise SystemExit(0 if started else signals.AGAIN)


def leave_in_order() -> None:
    """Let this process leave its process group when it ends; on every rank of a run that has come to an end in order.

    Lightning does so with NCCL only. A thread of gloo's that still holds a tensor would ask an interpreter that is gone
    for leave to drop it (https://github.com/pytorch/pytorch/pull/179291): that aborts a process which has done all its
    work, or holds it up. After an error the others may never answer what this would wait for.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        atexit.register(_leave)


def _leave() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def leave_signals_alone(trainer: Trainer) -> None:
    """Keep Lightning from handling signals, which :mod:`vsr.signals` does, and from asking at every micro-batch.

    Its handler of SIGTERM broadcasts in whatever the process was doing, and waits for ever where the others weren't
    told; its question, whether that came to rank 0, waits for the device.
    """
    trainer._signal_connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
