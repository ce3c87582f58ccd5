"""A sweep without Slurm: its cells one after the other, one at a time on each device."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from socket import gethostname
from typing import NoReturn

from vsr.signals import AGAIN
from vsr.sweep.cells import SCRIPTS, STAGES
from vsr.sweep.folder import Submission, Sweep

_RUNNING = "running.json"


@dataclass
class _Running:
    stage: str
    task: int
    process: subprocess.Popen[bytes]


def devices() -> list[str]:
    """The devices that cells run on, as CUDA_VISIBLE_DEVICES names them; ``[""]``, the CPU, where there is no GPU."""
    import torch

    count = torch.cuda.device_count()
    asked = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return asked[:count] if len(asked) >= count > 0 else [str(n) for n in range(count)] or [""]


def run_here(sweep: Sweep, cells: list[tuple[str, int]], on: list[str]) -> list[tuple[str, int]]:
    """Run cells by the scripts that Slurm would run, and wait for them.

    A cell starts when the one whose weights it needs is done, and is left out when that has failed. One that was
    stopped from outside (status 75) goes on at once. On SIGINT and SIGTERM those that run are told to save and stop.

    Args:
        sweep: made, see :func:`vsr.sweep.folder.make`.
        cells: stages and numbers of datasets, none of them done.
        on: see :func:`devices`.

    Returns:
        The cells that are not done now.

    Raises:
        SystemExit: 75 after a signal.
    """
    waiting, running = list(cells), dict[str, _Running]()
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        while waiting or running:
            for device in on:
                if device not in running and (ready := _next(sweep, waiting)) is not None:
                    waiting.remove(ready)
                    running[device] = _start(sweep, *ready, device)
            for device, cell in list(running.items()):
                status = cell.process.poll()
                if status is None:
                    continue
                del running[device]
                name = f"{cell.stage} {sweep.names[cell.task]}"
                if status == AGAIN:
                    running[device] = _start(sweep, cell.stage, cell.task, device)
                    print(f"{name}: stopped by a signal, goes on", flush=True)
                elif sweep.done(cell.stage, cell.task):
                    print(f"{name}: done", flush=True)
                else:
                    print(f"{name}: failed with status {status}, see {sweep.log(cell.stage, cell.task)}", flush=True)
            if not running and waiting and _next(sweep, waiting) is None:
                break  # what is left needs what has failed
            _note(sweep, running)
            time.sleep(0.1)
    except KeyboardInterrupt:
        for cell in running.values():
            os.killpg(cell.process.pid, signal.SIGTERM)
        for cell in running.values():
            cell.process.wait()
        print(f"stopped; vsr sweep resubmit {sweep.folder} goes on", file=sys.stderr)
        raise SystemExit(AGAIN) from None
    finally:
        signal.signal(signal.SIGTERM, before)
        _note(sweep, {})
    return [cell for cell in cells if not sweep.done(*cell)]


def running_now(sweep: Sweep) -> set[tuple[str, int]]:
    """The cells that a local queue is running at this moment."""
    try:
        content = json.loads((sweep.folder / _RUNNING).read_text(encoding="utf-8"))
        os.kill(content["pid"], 0)
        return {(stage, task) for stage, task in content["cells"]} if content["host"] == gethostname() else set()
    except (OSError, ValueError, KeyError):
        return set()


def _note(sweep: Sweep, running: dict[str, _Running]) -> None:
    cells = [(cell.stage, cell.task) for cell in running.values()]
    path = sweep.folder / _RUNNING
    if not cells:
        path.unlink(missing_ok=True)
        return
    content = json.dumps({"pid": os.getpid(), "host": gethostname(), "cells": cells})
    if not path.exists() or path.read_text(encoding="utf-8") != content:
        path.write_text(content, encoding="utf-8")


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _next(sweep: Sweep, waiting: list[tuple[str, int]]) -> tuple[str, int] | None:
    """The first cell that has the weights it needs."""
    for stage, task in waiting:
        needed = STAGES[stage]
        if needed is None or sweep.done(needed, task):
            return stage, task
    return None


def _start(sweep: Sweep, stage: str, task: int, device: str) -> _Running:
    natural = stage == "pretrain" and sweep.names[task] in sweep.natural
    words = ["bash", *sweep.command(SCRIPTS, stage, natural)]
    # Not as a part of a Slurm job, which this process may be.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    environment |= {"VSR_SLURM": str(SCRIPTS), "VSR_RUNS": str(sweep.folder), "VSR_PYTHON": sys.executable}
    environment |= {"VSR_CELL": str(task), "CUDA_VISIBLE_DEVICES": device}
    sweep.add(Submission(stage, [task], None, None, words))
    log = sweep.log(stage, task)
    assert log is not None
    with log.open("ab") as file:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment, cwd=sweep.cwd,
            start_new_session=True,
        )  # fmt: skip
    return _Running(stage, task, process)
