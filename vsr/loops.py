"""Loops on the CPU, compiled by Numba, in its threads (``NUMBA_NUM_THREADS``)."""

import functools
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba
import torch
from numba.core.caching import FunctionCache

_HERE = Path(__file__).parent
_READ = ("loops.py", "rng.py", "latents.py", "raster/__init__.py")  # beside the loops themselves; numbers stand there
_SOURCES = sha256(b"".join(p.read_bytes() for p in [*sorted(_HERE.rglob("*_cpu.py")), *map(_HERE.joinpath, _READ)]))


class _Cache(FunctionCache):  # type: ignore[misc]
    """Numba's cache in ``__pycache__``, which by itself doesn't see a change in another file that a loop calls into."""

    def _index_key(self, *arguments: Any) -> Any:
        return (*super()._index_key(*arguments), _SOURCES.hexdigest())


def compiled(loop: Callable[..., Any], **options: Any) -> Any:
    """Compile a loop, or what one calls, at its first call; kept until the source of any loop changes.

    Args:
        loop: the function.
        options: further ones of ``numba.njit``.
    """
    made = numba.njit(error_model="numpy", boundscheck=False, **options)(loop)
    made._cache = _Cache(loop)
    return made


def parallel(loop: Callable[..., None]) -> Callable[..., None]:
    """Compile a loop whose ``numba.prange`` is shared by Numba's threads.

    Starting them, Numba gives OpenMP its own number, which torch would take for its own from then on: sums would be
    split otherwise, and round otherwise, than before. So torch's number is given back.
    """
    made = compiled(loop, parallel=True)

    @functools.wraps(loop)
    def run(*arguments: Any) -> None:
        _start()
        made(*arguments)

    return run


@functools.cache
def _start() -> None:
    """Start Numba's threads at the first call, not at import: a process that has started them can't be forked."""
    threads = torch.get_num_threads()
    numba.get_num_threads()
    torch.set_num_threads(threads)
