"""Going on with a run whose batches were cut otherwise."""

from typing import Any

from lightning import Trainer


def recount(trainer: Any, accumulation: int, steps_per_epoch: int) -> None:
    """Count the micro-batches of a resumed epoch as they are cut now.

    Lightning goes on from the number that its checkpoint has, and takes a step where that is a multiple of the
    accumulation: after a resumption with another batch per device, or on other devices, amid a global batch. To be
    called when the loader is made, which is after the checkpoint was read and before the first batch.

    Args:
        trainer: of the run; nothing is done if it hasn't begun an epoch, or isn't Lightning's.
        accumulation: micro-batches per optimiser step, now.
        steps_per_epoch: optimiser steps in an epoch.
    """
    if not isinstance(trainer, Trainer):
        return
    progress: Any = trainer.fit_loop.epoch_loop.batch_progress.current
    if progress.ready:
        behind = progress.processed - progress.completed  # 1 where it was saved before its last batch was completed
        done = (trainer.global_step % steps_per_epoch or steps_per_epoch) * accumulation
        progress.ready = progress.started = progress.processed = done
        progress.completed = done - behind
