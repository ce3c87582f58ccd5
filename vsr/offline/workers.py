"""Items made by processes, in the order in which they are done."""

import hashlib
import os
import signal
import threading
from collections.abc import Generator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, as_completed, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_all_start_methods, get_context, parent_process
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numba
import torch

from vsr.errors import InputError
from vsr.export import whole

_AHEAD = 4  # items asked of each process at a time, so that none waits while an archive is written


class Job(Protocol):
    """How items are made. It is sent to the processes, which share its tensors."""

    def make(self, number: int) -> bytes:
        """The file of an item."""

    def facts(self, data: bytes) -> dict[str, Any] | None:
        """What the manifest is to say of a file, or None if it is not a whole file of this kind."""


class Made(NamedTuple):
    """An item whose file is there.

    Attributes:
        number: its number.
        now: False where the file was there already.
        facts: what the manifest says of it, SHA-256 included.
    """

    number: int
    now: bool
    facts: dict[str, Any]


def in_parallel(job: Job, items: list[tuple[int, Path]], workers: int) -> Generator[Made]:
    """Make items, numbers and files, in processes: in the order in which they are done.

    Not in threads, for Numba holds the lock of Python's threads while it renders. Where the system can, processes are
    forked from one that has imported all and started no thread, so that the imports are waited for once.

    Raises:
        InputError: one of them was killed.
    """
    if not items:
        return
    workers = min(workers, len(items))
    method = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
    context = get_context(method)
    context.set_forkserver_preload(["vsr.offline.items", "vsr.raster.fused_cpu"])
    with ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(job,)) as pool:
        waiting: set[Future[Made]] = set()
        try:
            for item in items:
                waiting.add(pool.submit(_make, *item))
                if len(waiting) == _AHEAD * workers:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
            yield from (future.result() for future in as_completed(waiting))
        except BrokenProcessPool as error:
            raise InputError(
                "a process that makes files was killed, most often for want of memory: end others, or give fewer cores "
                "(taskset -c 0 vsr …)"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


_job: Job  # of this process, see _begin


def _begin(job: Job) -> None:
    """Prepare a process that makes items."""
    global _job
    _job = job
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the command, which lets the items under way be finished
    threading.Thread(target=_end_with_parent, daemon=True).start()
    numba.set_num_threads(1)
    torch.set_num_threads(1)  # after Numba, which starts its threads with a number for both, see vsr.loops


def _end_with_parent() -> None:
    """End this process when the command is killed, or it would wait for work for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _make(number: int, file: Path) -> Made:
    """Make an item, unless its file is there from a command that was killed before it could list it."""
    data = file.read_bytes() if file.exists() else b""
    facts = _job.facts(data) if data else None
    now = facts is None
    if facts is None:
        data = _job.make(number)
        facts = _job.facts(data) or {}
        with whole(file) as part:
            part.write_bytes(data)
    return Made(number, now, {**facts, "sha256": hashlib.sha256(data).hexdigest()})
