"""A run that is told to stop: real signals to real processes, which save between two steps and end with status 75."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from test_resume import FOLDER, LAST, TWO, must_be_equal, start, visits

from vsr import signals

pytestmark = pytest.mark.slow
PATIENCE = 280  # s


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def said(folder: Path, *parts: str) -> str:
    return "\n".join((folder / f"{part}.log").read_text() for part in parts)


def ended(processes: list[subprocess.Popen[bytes]]) -> list[int]:
    """Exit statuses; whoever hasn't ended by then never would."""
    try:
        return [process.wait(timeout=PATIENCE) for process in processes]
    finally:
        for process in processes:
            process.kill()


def pair(folder: Path, part: str, monkeypatch: pytest.MonkeyPatch, *words: str) -> list[subprocess.Popen[bytes]]:
    """Two processes of one run, started from outside as Slurm does: each has a parent of its own."""
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", free_port())
    processes = []
    for rank in (0, 1):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        processes.append(start(folder, f"{part}-{rank}", *TWO, *words))
    return processes


def wait_for_step(folder: Path, part: str, step: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE
    while not ((folder / part).exists() and any(int(v.split()[0]) >= step for v in visits(folder, part))):
        assert process.poll() is None, said(folder, part)
        assert time.monotonic() < until
        time.sleep(0.005)


def test_a_run_of_two_told_on_one_rank_stops_on_both_and_goes_on_bit_for_bit(tmp_path, monkeypatch):
    """Rank 1 alone is told; the checkpoint is rank 0's, amid an epoch or not."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert ended(pair(whole, "all", monkeypatch)) == [0, 0], said(whole, "all-0", "all-1")

    processes = pair(cut, "first", monkeypatch)
    wait_for_step(cut, "first-1", 1, processes[1])
    os.kill(processes[1].pid, signal.SIGUSR1)
    assert ended(processes) == [signals.AGAIN] * 2, said(cut, "first-0", "first-1")
    log = said(cut, "first-0")
    assert log.count("go on with the same command and --ckpt_path last") == 1
    assert not (cut / FOLDER / "done").exists()
    assert not list(cut.rglob("hpc_ckpt_*"))

    again = pair(cut, "second", monkeypatch, "--ckpt_path", "last")
    assert ended(again) == [0, 0], said(cut, "second-0", "second-1")
    must_be_equal(whole / LAST, cut / LAST)
    seen = {}
    for rank in "01":  # no step was taken twice, or left out, by any rank
        first, second = ((cut / f"{part}-{rank}").read_text().splitlines() for part in ("first", "second"))
        assert first + second == visits(whole, f"all-{rank}")
        seen[rank] = [int(line.split()[1]) for line in first + second]
    assert sorted(seen["0"] + seen["1"]) == list(range(32))
    assert not set(seen["0"]) & set(seen["1"])
    parts = [cut / FOLDER / name for name in ("metrics-1.csv", "metrics.csv")]  # both written by rank 0 alone
    assert sorted((cut / FOLDER).glob("metrics*.csv")) == parts
    logged = [line.split(",")[-1] for part in parts for line in part.read_text().splitlines()[1:]]
    assert logged == [str(k) for k in range(8)]


def test_a_signal_before_training_ends_the_process_at_once(tmp_path):
    process = start(tmp_path, "early")
    until = time.monotonic() + PATIENCE
    log = tmp_path / "early.log"
    while signal.SIGUSR1 not in caught(process.pid):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGUSR1)
    assert ended([process]) == [signals.AGAIN], log.read_text()
    assert "vsr: told to stop by SIGUSR1 while not training: give the same command again" in log.read_text()
    assert not list(tmp_path.rglob("*.ckpt"))


def caught(pid: int) -> set[int]:
    """The signals that a process has handlers for (Linux)."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("no /proc here: when a process listens can't be seen")
    mask = next(int(line.split()[1], 16) for line in status.read_text().splitlines() if line.startswith("SigCgt"))
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}
