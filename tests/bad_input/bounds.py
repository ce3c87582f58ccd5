"""What a piece of work may take: ten seconds of the processor's time and 1 GiB of memory beyond what is there."""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SECONDS, GIB = 10, 2**30
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak() -> int:
    """Bytes that this process had in memory at most since the last call; 0 where the system doesn't tell."""
    if not _CLEAR.exists():
        return 0
    status = _STATUS.read_text()
    _CLEAR.write_text("5")
    return int(status.partition("VmHWM:")[2].split()[0]) * 2**10


@contextmanager
def bounded() -> Iterator[None]:
    """Fails where what is done inside takes too long or too much."""
    peak()
    before, start = peak(), time.process_time()
    yield
    assert time.process_time() - start < SECONDS, "it hangs"
    assert peak() - before < GIB, "it takes more than 1 GiB"


def stop_in(seconds: float) -> None:
    """Have the system end this process when it has used so much more of the processor's time: nothing else ends C."""
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    resource.setrlimit(resource.RLIMIT_CPU, (int(used + seconds) + 1, resource.getrlimit(resource.RLIMIT_CPU)[1]))
