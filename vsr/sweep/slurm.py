"""Slurm, as far as a sweep needs it: submit arrays, and ask which tasks are in the queue."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from vsr.errors import InputError
from vsr.sweep.cells import SCRIPTS, STAGES
from vsr.sweep.folder import Submission, Sweep


@dataclass(frozen=True)
class Queued:
    """A task that Slurm has in its queue.

    Attributes:
        state: Slurm's, such as PENDING or RUNNING.
        reason: why it is pending, such as Dependency.
    """

    state: str
    reason: str

    @property
    def alive(self) -> bool:
        """Whether it runs or may yet do so."""
        return self.reason != "DependencyNeverSatisfied"


def available() -> bool:
    """Whether there is a Slurm to submit to."""
    return shutil.which("sbatch") is not None


def queue() -> dict[tuple[int, int], Queued]:
    """This user's tasks of arrays in the queue, by the array's job and the task.

    Raises:
        InputError: Slurm doesn't answer.
    """
    lines = _ask("squeue", "--noheader", "--array", "--user", str(os.getuid()), "--format", "%F|%K|%T|%r").splitlines()
    found = {}
    for line in lines:
        job, task, state, reason = line.split("|", 3)
        if task.isdecimal():
            found[int(job), int(task)] = Queued(state, reason)
    return found


def submit(sweep: Sweep, cells: list[tuple[str, int]], queued: Mapping[tuple[int, int], Queued]) -> list[Submission]:
    """Submit cells as job arrays, each waiting for the cell whose weights it needs; noted in the manifest one by one.

    An array takes the tasks of a stage that wait for the same other array, task for task (``aftercorr``).

    Args:
        sweep: made, see :func:`vsr.sweep.folder.make`.
        cells: stages, in the sweep's order, and numbers of datasets; none of them done or alive in the queue.
        queued: what is in the queue.

    Returns:
        The new submissions.

    Raises:
        InputError: Slurm refuses one; those before it are submitted and noted.
    """
    new = []
    for stage in dict.fromkeys(stage for stage, _ in cells):
        groups: dict[tuple[bool, int | None], list[int]] = {}
        for task in [n for s, n in cells if s == stage]:
            natural = stage == "pretrain" and sweep.names[task] in sweep.natural
            groups.setdefault((natural, _awaited(sweep, stage, task)), []).append(task)
        for (natural, after), tasks in groups.items():
            words = _command(sweep, stage, natural, after, tasks)
            cancel = [
                f"{last.job}_{task}" for task in tasks
                if (last := sweep.last(stage, task)) is not None and (last.job or 0, task) in queued
            ]  # fmt: skip
            if cancel:  # they wait for what has failed, and would run beside the new ones if they were let go
                _ask("scancel", *cancel)
            job = int(_ask(*words, environment=_environment(sweep), cwd=sweep.cwd).split(";")[0])
            new.append(Submission(stage, tasks, job, after, words))
            sweep.add(new[-1])
    return new


def _awaited(sweep: Sweep, stage: str, task: int) -> int | None:
    before = STAGES[stage]
    if before is None or sweep.done(before, task):
        return None
    last = sweep.last(before, task)  # it was submitted a moment ago, or is in the queue
    return None if last is None else last.job


def _command(sweep: Sweep, stage: str, natural: bool, after: int | None, tasks: list[int]) -> list[str]:
    throttle = f"%{sweep.at_once}" if sweep.at_once is not None else ""
    words = ["sbatch", "--parsable", f"--array={','.join(map(str, tasks))}{throttle}"]
    words += [f"--output={sweep.folder / 'logs' / stage}-%A_%a.out"]
    if after is not None:
        words += [f"--dependency=aftercorr:{after}", "--kill-on-invalid-dep=yes"]
    return [*words, *sweep.sbatch, *sweep.command(SCRIPTS, stage, natural)]


def _environment(sweep: Sweep) -> dict[str, str]:
    return {"VSR_SLURM": str(SCRIPTS), "VSR_RUNS": str(sweep.folder), "VSR_PYTHON": sys.executable}


def _ask(*words: str, environment: Mapping[str, str] | None = None, cwd: str | None = None) -> str:
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, check=True, env=os.environ | (environment or {}), cwd=cwd
        )
    except FileNotFoundError as error:
        raise InputError(
            f"there is no {words[0]} here, which this sweep needs: load Slurm, or run the cells here by --local"
        ) from error
    except subprocess.CalledProcessError as error:
        said = " ".join(error.stderr.split()) or f"exit status {error.returncode}"
        raise InputError(
            f"Slurm's {words[0]} refuses: {said}; change its options after `-- sbatch`, or, where it doesn't answer, "
            "run the cells here by --local"
        ) from error
    return done.stdout
