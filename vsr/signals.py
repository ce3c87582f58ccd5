"""Being told to stop: SIGUSR1 and SIGTERM, which Slurm and others send ahead of the end.

Before training has begun, and in a test, there is nothing to save, so a process ends at once. From then on a signal
only leaves a note, and the training stops between two steps: what is saved amid one is no state of it. In both cases
the exit status is :data:`AGAIN`, and the same command with ``--ckpt_path last`` goes on.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

AGAIN = 75
"""Exit status of a process that was told to stop: ``EX_TEMPFAIL``, try again."""
SIGNALS = tuple(s for s in (getattr(signal, "SIGUSR1", None), signal.SIGTERM) if s is not None)
_GRACE = 60  # s that a data worker outlives SIGTERM

_listening = _training = False
_told: str | None = None


@contextmanager
def listening() -> Iterator[None]:
    """Let the signals end this process, or leave a note once training has begun; from the main thread."""
    import psutil  # noqa: F401  # now, as a signal may come amid an import

    global _listening, _training, _told
    before = {number: signal.getsignal(number) for number in SIGNALS}
    _listening, _training, _told = True, False, None
    for number in SIGNALS:
        signal.signal(number, _handle)
    try:
        yield
    finally:
        _listening, _training, _told = False, False, None  # what was said to this run holds for no other
        for number, handler in before.items():
            signal.signal(number, handler)


def training_begins() -> None:
    """From now on a signal leaves a note, and nothing else."""
    global _training
    _training = True


def told() -> str | None:
    """The name of the signal that has asked this process to stop, or None."""
    return _told


def _handle(number: int, frame: FrameType | None) -> None:
    global _told
    name = signal.Signals(number).name
    if _training:
        _told = _told or name
        return
    # Not by an exception: a pool of threads would first finish all that it was given.
    print(f"vsr: told to stop by {name} while not training: give the same command again", file=sys.stderr)
    import psutil

    for child in psutil.Process().children():  # the other ranks that this one has started would wait for it
        with suppress(psutil.Error):
            child.send_signal(number)
    sys.stderr.flush()
    sys.stdout.flush()
    os._exit(AGAIN)


def serve_on() -> None:
    """In a forked data worker, which Slurm signals, too: it serves on while the training saves.

    To be called there again by the loader's ``worker_init_fn``, as torch has put a handler of its own for SIGTERM. Its
    loader ends it by SIGTERM in the end, if by nothing else: then a minute later.
    """
    if not _listening:
        return
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE) and None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=serve_on)
