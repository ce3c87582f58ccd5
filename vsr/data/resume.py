"""Going on with a run, whether its batches are cut as before or not."""

from typing import Any

from lightning import Trainer
from lightning.pytorch.loops.loop import _Loop


def recount(trainer: Any, accumulation: int, steps_per_epoch: int) -> None:
    """Set Lightning's counters of a resumed run by its optimiser steps, as its batches are cut now.

    Lightning goes on from the micro-batches that its checkpoint has counted, takes a step where that is a multiple of
    the accumulation, and takes an epoch that was left at ``max_steps`` for a whole one. To be called when the loader
    is made, which is after the checkpoint was read and before the first batch.

    Args:
        trainer: of the run; nothing is done if it doesn't resume, or isn't Lightning's.
        accumulation: micro-batches per optimiser step, now.
        steps_per_epoch: optimiser steps in an epoch.
    """
    if not isinstance(trainer, Trainer) or not trainer.fit_loop.is_resuming:
        return
    fit: Any = trainer.fit_loop
    epoch, step = divmod(trainer.global_step, steps_per_epoch)
    begun = epoch + (step > 0)
    for count in (fit.epoch_progress.total, fit.epoch_progress.current):
        count.ready = count.started = begun
        count.processed = count.completed = epoch
    batches = fit.epoch_loop.batch_progress
    batches.is_last_batch = False
    behind = int(step > 0)  # as if saved when a batch has been processed, but isn't completed
    for count, done in ((batches.total, trainer.global_step * accumulation), (batches.current, step * accumulation)):
        count.ready = count.started = count.processed = done
        count.completed = done - behind
    fit.epoch_loop._batches_that_stepped = trainer.global_step - behind  # the step that loggers are told
    # Amid an epoch the loops restart, else it begins like any other. FitLoop's own setter goes by what was loaded.
    restarting: Any = _Loop.restarting
    restarting.fset(fit, step > 0)
