"""How far a sweep is: from its run folders, and what Slurm has in its queue."""

from collections import Counter
from collections.abc import Mapping, Set
from enum import StrEnum

from vsr.sweep.cells import STAGES
from vsr.sweep.folder import Sweep
from vsr.sweep.slurm import Queued


class State(StrEnum):
    """Of a cell."""

    DONE = "done"
    RUNNING = "running"
    QUEUED = "queued"
    WAITING = "waiting"  # for the cell whose weights it needs
    FAILED = "failed"
    STOPPED = "stopped"  # by a signal, saved, and not put back into the queue
    CANCELLED = "cancelled"  # before it began: by a person, or as what it needs has failed
    MISSING = "missing"  # never submitted


ALIVE = {State.RUNNING, State.QUEUED, State.WAITING}


def states(
    sweep: Sweep, queued: Mapping[tuple[int, int], Queued], here: Set[tuple[str, int]] = frozenset()
) -> dict[tuple[str, int], State]:
    """The state of every cell.

    Args:
        sweep: the sweep.
        queued: see :func:`vsr.sweep.slurm.queue`.
        here: cells that a local queue is running, see :func:`vsr.sweep.local.running_now`.
    """
    found: dict[tuple[str, int], State] = {}
    for stage, task in sweep.cells():
        found[stage, task] = _state(sweep, stage, task, queued, here)
        needed = STAGES[stage]
        # Slurm takes a moment to cancel what waits for a cell that has failed.
        lost = needed is not None and found.get((needed, task), State.DONE) not in ALIVE | {State.DONE}
        if found[stage, task] is State.WAITING and lost:
            found[stage, task] = State.CANCELLED
    return found


def _state(
    sweep: Sweep, stage: str, task: int, queued: Mapping[tuple[int, int], Queued], here: Set[tuple[str, int]]
) -> State:
    if sweep.done(stage, task):
        return State.DONE
    last = sweep.last(stage, task)
    if last is None:
        return State.MISSING
    now = queued.get((last.job, task)) if last.job is not None else None
    if now is not None and now.alive:
        if now.state != "PENDING":
            return State.RUNNING
        return State.WAITING if now.reason == "Dependency" else State.QUEUED
    if (stage, task) in here:
        return State.RUNNING
    said = _last_line(sweep, stage, task)
    if not said:
        return State.CANCELLED
    return State.STOPPED if said.startswith("stopped and saved") else State.FAILED


def table(sweep: Sweep, found: Mapping[tuple[str, int], State]) -> str:
    """Every cell's state, how many are in each, and why those failed that did."""
    rows = [["", *sweep.stages]]
    rows += [[name, *(found.get((s, n), "-") for s in sweep.stages)] for n, name in enumerate(sweep.names)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    for stage in sweep.stages:
        count = Counter(state for (s, _), state in found.items() if s == stage)
        lines.append(f"{stage}: " + ", ".join(f"{count[state]} {state}" for state in State if count[state]))
    for (stage, task), state in found.items():
        if state in (State.FAILED, State.STOPPED):
            lines.append(f"{stage} {sweep.names[task]}: {_last_line(sweep, stage, task)} (in {sweep.log(stage, task)})")
    return "\n".join(lines)


def _last_line(sweep: Sweep, stage: str, task: int) -> str:
    """The last thing that a cell's script said in its last life; an error of vsr's own if there is one."""
    log = sweep.log(stage, task)
    if log is None or not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 20_000))
        lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    life = max((n for n, line in enumerate(lines) if line.startswith("== ")), default=0)
    lines = lines[life:]
    own = [line for line in lines if line.startswith(("vsr: error:", "stopped and saved"))]
    return (own or lines or [""])[-1]
