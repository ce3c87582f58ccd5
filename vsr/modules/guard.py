"""Numerical safety: a step whose loss or gradient is not finite is skipped, reported by address, and limited."""

import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import lightning.pytorch as L
import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from vsr.errors import InputError

logger = logging.getLogger(__name__)

_NAMED = 8  # clips in a warning; the rest are counted


class _Step(NamedTuple):
    """What is known of a step, on its way to the CPU."""

    number: int
    bad: Tensor  # float32 (2,): 1 where a loss, and where a loss or the gradient, is not finite; over all ranks
    clips: Tensor  # int64 (4, n), this rank's: whether the loss is finite, index, epoch, share
    arrived: torch.cuda.Event | None
    skipped: bool  # if bad


class StepGuard(L.Callback):
    """Skips, on the device, optimiser steps of which a loss or the gradient is not finite; clips gradients.

    A skipped step leaves weights and optimiser state as they were, bit by bit, on every rank. ``global_step`` and
    the schedule go on all the same, as the order of the samples must not depend on it. One line names the clips
    whose losses were not finite (each rank its own), a step late, so that nothing waits for the device. A module
    makes one guard, returns it from ``configure_callbacks`` and gives it every micro-batch (:meth:`see`).

    Logged at each step: ``loss``, the mean over all clips of the step on all ranks, so that its curve is the same
    whatever the devices and micro-batches; ``grad_norm``, before clipping; and ``skipped_steps``, those of this process
    known so far.

    Args:
        clip_grad: gradients of a larger total norm are scaled down to it. None: no clipping.
        max_skipped_steps: so many skipped steps in a row end the run. The network is then as it was before the first
            of them, as in every checkpoint written since.

    Attributes:
        skipped: steps skipped so far, as far as known.

    Raises:
        InputError: an argument is not positive.
    """

    def __init__(self, clip_grad: float | None, max_skipped_steps: int) -> None:
        if clip_grad is not None and not clip_grad > 0:
            raise InputError(f"clip_grad {clip_grad} is no norm of a gradient: give more than 0, or null for none")
        if max_skipped_steps < 1:
            raise InputError(f"max_skipped_steps {max_skipped_steps} is not positive: give 1 or more")
        self.clip_grad, self.max_skipped_steps = clip_grad, max_skipped_steps
        self._forget()

    def _forget(self) -> None:
        self.skipped, self._in_a_row = 0, 0
        self._seen: list[Tensor] = []
        self._losses: list[Tensor] = []
        self._last: _Step | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Refuse a trainer that clips or skips by rules of its own."""
        if stage != "fit":
            return
        if trainer.gradient_clip_val:
            raise InputError(
                f"trainer.gradient_clip_val {trainer.gradient_clip_val} is not for fused optimisers: give "
                f"--model.clip_grad {trainer.gradient_clip_val} instead"
            )
        # Its search for a scale skips steps by routine: those that matter would drown in them, and which steps are
        # skipped would depend on the scaler's past.
        if getattr(trainer.precision_plugin, "scaler", None) is not None:
            raise InputError(
                "trainer.precision 16-mixed finds its loss scale by skipping steps: give --trainer.precision "
                "bf16-mixed, or 32-true where bfloat16 is slow"
            )
        self._forget()

    @torch.no_grad()
    def see(self, losses: Tensor, batch: Mapping[str, Tensor]) -> None:
        """Take in the losses of a micro-batch.

        Args:
            losses: (B,), of each clip.
            batch: with ``index``, ``epoch`` and, in a mixture, ``share``, int64 (B,).
        """
        index, epoch = batch["index"], batch["epoch"]
        share = batch.get("share")
        rows = (losses.isfinite().to(index), index, epoch, torch.zeros_like(index) if share is None else share)
        self._seen.append(torch.stack(rows))
        self._losses.append(losses.detach())

    @torch.no_grad()
    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        """Report the step before; let the device decide on this one."""
        self._report(trainer)
        params = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norm: Any = get_total_norm([p.grad for p in params])
        if hasattr(norm, "full_tensor"):  # of sharded gradients
            norm = norm.full_tensor()
        if self.clip_grad is not None:
            clip_grads_with_norm_(params, self.clip_grad, norm)
        clips, self._seen = torch.cat(self._seen, dim=1), []
        loss, self._losses = torch.cat(self._losses).mean(), []
        fine = clips[0].all()
        # On all ranks or on none: a loss can be infinite on one while the gradient, a mean over all, is finite.
        bad = torch.stack((fine, fine & norm.isfinite())).logical_not()
        if trainer.world_size > 1:  # all ranks have equally many clips
            found = torch.cat((bad.float(), loss.float()[None] / trainer.world_size))
            torch.distributed.all_reduce(found)
            bad, loss = found[:2] > 0, found[2]
        bad = bad.float()
        # The fused kernels read it after their closure, in which we are; if it is 1 they leave weights, moments and
        # the count of steps as they are. torch.amp.GradScaler skips in this way, too.
        skips = getattr(optimizer, "_step_supports_amp_scaling", False)
        if skips:
            optimizer.found_inf = bad[1]  # type: ignore[attr-defined]
        cuda = bad.is_cuda  # elsewhere a copy that doesn't wait can't be waited for
        self._last = _Step(
            trainer.global_step,
            bad.to("cpu", non_blocking=cuda),  # to pinned memory
            clips.to("cpu", non_blocking=cuda),
            torch.cuda.current_stream(bad.device).record_event(torch.cuda.Event(blocking=True)) if cuda else None,
            skips,
        )
        pl_module.log("loss", loss, prog_bar=True, on_step=True, on_epoch=False, batch_size=1)
        pl_module.log("grad_norm", norm, on_step=True, on_epoch=False, batch_size=1)
        # As a tensor on the CPU: Lightning would copy a number to the device, which waits for the device.
        pl_module.log("skipped_steps", torch.tensor(float(self.skipped)), on_step=True, on_epoch=False, batch_size=1)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Report the last step."""
        self._report(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Report the last step; the run ends for another reason."""
        with suppress(InputError, RuntimeError):  # RuntimeError: a device that is out of order says so at every call
            self._report(trainer)

    def _report(self, trainer: L.Trainer) -> None:
        """Take in the step before, which has arrived in the meantime.

        Every rank reads the flag of step k while it makes step k + 1, so all of them end together. Where the host is
        more than a step ahead it waits here, but not the device, which then has a whole forward and backward pass to
        do. Reading whatever has arrived would never wait, but ranks would differ in what they know.
        """
        step, self._last = self._last, None
        if step is None:
            return
        if step.arrived is not None:
            step.arrived.synchronize()
        loss_bad, bad = step.bad.tolist()
        if not bad:
            self._in_a_row = 0
            return
        self.skipped += 1
        self._in_a_row += 1
        done = "skipped" if step.skipped else "spoilt the weights"
        clips = step.clips[1:, step.clips[0] == 0].T.tolist()
        if clips:
            logger.warning("step %d %s, its loss is not finite: %s", step.number, done, _named(trainer, clips))
        elif not loss_bad and trainer.is_global_zero:
            logger.warning("step %d %s, its gradient is not finite though all losses are", step.number, done)
        if not step.skipped:
            raise InputError(
                f"step {step.number} spoilt the weights, as this optimiser can't skip it on the device: use a fused "
                "one, and go on from a checkpoint before that step"
            )
        if self._in_a_row >= self.max_skipped_steps:
            first = step.number - self._in_a_row + 1
            raise InputError(
                f"steps {first} to {step.number} were all skipped (max_skipped_steps {self.max_skipped_steps}): their "
                f"loss or gradient is not finite. The network is as it was before step {first}, and so is every "
                "checkpoint written since: go on with --ckpt_path last and --model.clip_grad 1 or --trainer.precision "
                "32-true, or start again with a lower --model.base_lr"
            )


def _named(trainer: L.Trainer, clips: list[list[int]]) -> str:
    """Index, epoch and share of clips in words, and how to look at the first."""
    where = getattr(getattr(trainer, "datamodule", None), "where", None)  # our data modules have it
    said = [where(*clip) if where else (f"index {clip[0]} epoch {clip[1]}", "") for clip in clips[:_NAMED]]
    more = f" and {len(clips) - _NAMED} more" if len(clips) > _NAMED else ""
    first = f" (the first: {said[0][1]})" if said[0][1] else ""
    return ", ".join(address for address, _ in said) + more + first
