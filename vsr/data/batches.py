"""Which sample comes when: promise 1 in forty lines.

Training visits samples n = 0, 1, 2, … in this order, whatever the batch size per device, the workers, the world size
or a resumption. Step k holds n = k G … k G + G - 1, G being the global batch. They are dealt in accumulation order:
micro-batch m of rank r on W ranks of b samples each holds k G + (m W + r) b + j, j = 0 … b - 1.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.utils.data import Sampler

from vsr import rng
from vsr.errors import InputError


@dataclass(frozen=True)
class BatchPlan:
    """How a global batch is cut: ``global_size == world_size * accumulation * device_size``, always exactly."""

    global_size: int
    device_size: int
    accumulation: int
    world_size: int

    @classmethod
    def of(cls, global_batch_size: int, max_batch_per_device: int, world_size: int) -> "BatchPlan":
        """The plan with the fewest accumulation steps whose batch per device is at most ``max_batch_per_device``.

        Raises:
            InputError: a size is not positive, or the global batch can't be shared equally by the devices.
        """
        for name, value in (("global_batch_size", global_batch_size), ("max_batch_per_device", max_batch_per_device)):
            if value < 1:
                raise InputError(f"{name} {value} is not a positive number of clips: give 1 or more")
        share, rest = divmod(global_batch_size, world_size)
        if rest:
            fits = [d for d in range(1, world_size) if global_batch_size % d == 0][-1]
            raise InputError(
                f"global_batch_size {global_batch_size} can't be shared equally by {world_size} devices: "
                f"use {share * world_size or world_size} or {(share + 1) * world_size} clips, or {fits} devices"
            )
        accumulation = next(a for a in range(1, share + 1) if share % a == 0 and share // a <= max_batch_per_device)
        return cls(global_batch_size, share // accumulation, accumulation, world_size)


class Visits:
    """Address of every sample: ``visits[n] == (index, epoch)``.

    Args:
        seed: the data seed; it orders a fixed set anew in every epoch.
        size: videos in a fixed set, or None for an endless one (index = n, epoch = 0).
    """

    def __init__(self, seed: int, size: int | None) -> None:
        self.seed, self.size = seed, size
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def __getitem__(self, n: int) -> tuple[int, int]:
        if self.size is None:
            return n, 0
        epoch, position = divmod(n, self.size)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, rng.permutation(self.seed, epoch, self.size)
        return int(self._order[position]), epoch


class TrainBatches(Sampler[list[int]]):
    """This rank's micro-batches of sample numbers n, to the end of the current trainer epoch.

    Args:
        plan: how the global batch is cut.
        rank: this process, 0 .. ``plan.world_size`` - 1.
        steps_per_epoch: optimiser steps in one trainer epoch.
        global_step: called when an epoch starts; the optimiser steps already taken. Nothing else is remembered, so a
            resumed run goes on with the sample it had not seen.
    """

    def __init__(self, plan: BatchPlan, rank: int, steps_per_epoch: int, global_step: Callable[[], int]) -> None:
        self.plan, self.rank = plan, rank
        self.steps_per_epoch, self.global_step = steps_per_epoch, global_step

    def __len__(self) -> int:
        return self.steps_per_epoch * self.plan.accumulation

    def __iter__(self) -> Iterator[list[int]]:
        plan, first = self.plan, self.global_step()
        last = (first // self.steps_per_epoch + 1) * self.steps_per_epoch
        for step in range(first, last):
            for micro in range(plan.accumulation):
                start = step * plan.global_size + (micro * plan.world_size + self.rank) * plan.device_size
                yield list(range(start, start + plan.device_size))


class EvalBatches(Sampler[list[int]]):
    """Every item once over all ranks, in order, none repeated to fill a batch.

    Args:
        size: items in the set.
        batch_size: items per batch and rank; the last may be smaller.
        rank: this process.
        world_size: processes.

    Raises:
        InputError: a process would have no item. It would pass the whole loop over while the others wait for it.
    """

    def __init__(self, size: int, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        if size < world_size:
            raise InputError(
                f"{size} to evaluate on can't be shared by {world_size} processes, each of which needs a video: run at "
                f"most {max(size, 1)} of them (--trainer.devices, --trainer.num_nodes)"
            )
        self.items, self.batch_size = range(rank, size, world_size), batch_size

    def __len__(self) -> int:
        return -(-len(self.items) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        for start in range(0, len(self.items), self.batch_size):
            yield list(self.items[start : start + self.batch_size])
