"""Independent work in parts, the way each device does it best."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor


def each(make: Callable[[Tensor], Tensor], parts: Sequence[Tensor]) -> Iterator[Tensor]:
    """``make`` of each part: one after another on a GPU, one to each thread on a CPU.

    An operation on one texture is too small to share. Threads that wait for each other after every one of
    thousands lose seconds wherever another process wants a core, and transforms differ with their number.
    """
    threads = torch.get_num_threads()
    if parts[0].device.type != "cpu":
        yield from map(make, parts)
        return
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield from pool.map(make, parts)
    finally:
        torch.set_num_threads(threads)  # it is kept for each thread, but new threads take the last one set
