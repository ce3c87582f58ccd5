"""Rendering beside training: the next batch is drawn in a side stream while this one trains."""

from collections.abc import Callable, Iterator
from itertools import chain, pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Sampler

Addresses = list[Tensor]
"""Which clips a batch holds: index int64 (b,) and epoch int64 (b,), in a mixture also share int64 (b,), on the CPU."""


class WithNext(Sampler[tuple[list[int], list[int]]]):
    """A sampler's batches of sample numbers, each with the one that comes after it (empty after the last)."""

    def __init__(self, batches: Sampler[list[int]]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]  # ours have a length

    def __iter__(self) -> Iterator[tuple[list[int], list[int]]]:
        yield from pairwise(chain(self.batches, [[]]))


class _Ready(NamedTuple):
    addresses: Addresses
    clips: Tensor
    drawn: torch.cuda.Event


class RenderAhead:
    """Draws the clips of a batch, and begins with those of the next one, which are then waiting when they are due.

    The side stream starts on the next batch when everything asked of the current stream so far is done: while this
    batch trains. Two batches of clips are alive at a time. The clips are those that drawing in turn would give.

    Args:
        render: the tensors of an address, int64 (b,) on the CPU, to clips on ``device``, drawn in the current stream.
        device: a CUDA device.
    """

    def __init__(self, render: Callable[..., Tensor], device: torch.device) -> None:
        self.render, self.device = render, device
        self.stream = torch.cuda.Stream(device)
        self.waiting: _Ready | None = None

    def __call__(self, now: Addresses, following: Addresses) -> Tensor:
        """The clips of ``now``; ``following`` names those to begin with, none if it is empty."""
        current = torch.cuda.current_stream(self.device)
        ready, self.waiting = self.waiting, None
        if ready is not None and all(map(torch.equal, ready.addresses, now)):
            current.wait_event(ready.drawn)
            clips = ready.clips
            clips.record_stream(current)
        else:  # the first of an epoch
            clips = self.render(*now)
        if len(following[0]):
            self.stream.wait_stream(current)
            with torch.cuda.stream(self.stream):
                self.waiting = _Ready(following, self.render(*following), self.stream.record_event())
        return clips
