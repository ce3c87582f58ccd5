"""What a test step returns, kept as numbers until the end, of all processes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from numpy.typing import NDArray
from torch import Tensor


class Answers:
    """A table that grows batch by batch: only bytes, so that millions of rows take no more than their numbers do.

    Args:
        kind: the columns, a structured dtype; a column may hold vectors.
    """

    def __init__(self, kind: np.dtype[Any]) -> None:
        self._kind, self._rows = kind, bytearray()

    def add(self, **columns: Tensor) -> None:
        """Put rows below the others: each column by its name, (n,) or (n, K), on any device."""
        rows = np.empty(len(next(iter(columns.values()))), self._kind)
        for name in self._kind.names or ():
            rows[name] = columns[name].numpy(force=True)
        self._rows += rows.tobytes()

    def of_all(self, trainer: Trainer) -> NDArray[np.void]:
        """The rows of every process, on every process; all have to call it."""
        parts = [self._rows]
        if trainer.world_size > 1:
            parts = [bytearray() for _ in range(trainer.world_size)]
            torch.distributed.all_gather_object(parts, self._rows)
        return np.frombuffer(parts[0] if len(parts) == 1 else b"".join(parts), self._kind)


def cell_of(outputs: Mapping[str, Tensor]) -> Tensor:
    """The number of each row's :class:`~vsr.corruptions.Cell`: 0, clean, where a test knows no corruptions."""
    return outputs["cell"] if "cell" in outputs else torch.zeros_like(outputs["index"])
