"""Loops on the CPU, compiled by Numba, in its threads (``NUMBA_NUM_THREADS``)."""

import functools
from collections.abc import Callable
from typing import Any

import numba
import torch

# the cache does not see a change in a module that is called: after an edit of such a one, empty __pycache__
OPTIONS: dict[str, Any] = {"cache": True, "error_model": "numpy", "boundscheck": False}
"""How all loops are compiled."""


def parallel(loop: Callable[..., None]) -> Callable[..., None]:
    """Compile a loop whose ``numba.prange`` is shared by Numba's threads.

    Starting them, Numba gives OpenMP its own number, which torch would take for its own from then on: sums would be
    split otherwise, and round otherwise, than before. So torch's number is given back.
    """
    compiled = numba.njit(parallel=True, **OPTIONS)(loop)

    @functools.wraps(loop)
    def run(*arguments: Any) -> None:
        _start()
        compiled(*arguments)

    return run


@functools.cache
def _start() -> None:
    """Start Numba's threads at the first call, not at import: a process that has started them can't be forked."""
    threads = torch.get_num_threads()
    numba.get_num_threads()
    torch.set_num_threads(threads)
