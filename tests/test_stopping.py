"""A run that is told to stop saves between two steps, ends with 75, and goes on as if nothing had been.

As a script: one of two processes of a run, which is stopped on one of them and goes on.
"""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from lightning.pytorch import Callback
from test_resume import COMMAND, FOLDER, LAST, TWO, must_be_equal, visiting, visits

from vsr import signals
from vsr.cli import main

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")

SELDOM = ["--checkpoints.every_n_steps", "5"]
"""A checkpoint of the last step then is of the end of training, in which Lightning's counters are one further."""


class Told(Callback):
    """Sends its own process a signal, which no other handler than vsr's may see.

    Args:
        at: before this step.
        rank: in this process.
        name: of the signal.
    """

    def __init__(self, at: int, rank: int = 0, name: str = "SIGUSR1") -> None:
        self.at, self.rank, self.name = at, rank, name

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        assert {signal.getsignal(number).__module__ for number in signals.SIGNALS} == {"vsr.signals"}
        if trainer.global_step == self.at and trainer.global_rank == self.rank:
            os.kill(os.getpid(), signal.Signals[self.name])


def telling(at, rank=0, name="SIGUSR1"):
    return ["--trainer.callbacks+=test_stopping.Told", "--trainer.callbacks.at", str(at), "--trainer.callbacks.rank",
            str(rank), "--trainer.callbacks.name", name]  # fmt: skip


def losses(folder):
    """Of each step, from a run's metrics files, the oldest first."""
    paths = [*sorted(folder.glob("metrics-*.csv")), folder / "metrics.csv"]
    rows = [row for path in paths for row in csv.DictReader(path.read_text().splitlines())]
    return [(int(row["step"]), float(row["loss"])) for row in rows if row["loss"]]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run in one process that nothing stops."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main([*COMMAND, *SELDOM, *visiting("all")])
    return folder


@pytest.mark.parametrize(("at", "name", "saved"), [(3, "SIGUSR1", 4), (2, "SIGTERM", 3)], ids=["amid", "at its end"])
def test_a_run_is_saved_and_goes_on_bit_for_bit(at, name, saved, whole, tmp_path, monkeypatch, caplog):
    """Amid an epoch and at the end of one; no checkpoint is due at either step."""
    monkeypatch.chdir(tmp_path)
    before = [signal.getsignal(number) for number in signals.SIGNALS]
    command = [*COMMAND, *SELDOM, "--ckpt_path", "last"]
    with caplog.at_level("INFO"), pytest.raises(SystemExit) as ended:
        main([*command, *visiting("first"), *telling(at, 0, name)])
    assert ended.value.code == signals.AGAIN == 75
    assert f"Told to stop ({name})." in caplog.text
    assert f"Saved is step {saved}, in {LAST}: go on with the same command and --ckpt_path last." in caplog.text
    assert not (FOLDER / "done").exists()
    assert [signal.getsignal(number) for number in signals.SIGNALS] == before
    main([*command, *visiting("second")])
    assert (FOLDER / "done").exists()
    assert visits(tmp_path, "first", "second") == visits(whole, "all")
    assert losses(FOLDER) == losses(whole / FOLDER)
    must_be_equal(whole / LAST, LAST)
    assert not list(FOLDER.rglob("hpc_ckpt*"))


def test_a_run_in_its_last_step_ends_by_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main([*COMMAND, "--trainer.max_steps", "3", *telling(2)])
    assert (FOLDER / "done").exists()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The folder of two processes that have trained whole, then until the second was told to stop, then on."""
    folder = tmp_path_factory.mktemp("pair")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {"PYTHONPATH": paths, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    env |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    logs = [folder / f"{rank}.log" for rank in (0, 1)]
    processes = []
    for rank, path in enumerate(logs):
        with path.open("w") as log:
            command = [sys.executable, "-W", "ignore", __file__]
            processes.append(
                subprocess.Popen(command, cwd=folder, env=env | {"LOCAL_RANK": str(rank)}, stdout=log, stderr=log)
            )
    try:
        ended = [process.wait(timeout=900) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert ended == [0, 0], "\n".join(path.read_text()[-3000:] for path in logs)
    return folder


if __name__ == "__main__":
    rank = os.environ["LOCAL_RANK"]
    for part, *words in (
        ["whole", "--run", "whole"],
        ["first", *telling(3, rank=1)],
        ["second", "--ckpt_path", "last"],
    ):
        status = None
        try:
            main([*COMMAND, *TWO, *words, *visiting(f"{part}-{rank}")])
        except SystemExit as stopped:
            status = stopped.code
        Path(f"{part}-{rank}.json").write_text(json.dumps(status))


@pytest.mark.slow
def test_both_processes_stop_though_one_was_told_and_go_on_bit_for_bit(pair):
    """Amid an epoch: told before step 3, both know it after step 4, and three steps are an epoch."""
    ended = {path.stem: json.loads(path.read_text()) for path in pair.glob("*-[01].json")}
    assert ended.pop("first-0") == signals.AGAIN
    assert ended.pop("first-1") == 0  # of another status Lightning would kill the first one, where it has started it
    assert set(ended.values()) == {None}
    said = (pair / "0.log").read_text()
    assert said.count("Told to stop (on another rank).") == 1
    assert f"Saved is step 5, in {LAST}: go on with the same command and --ckpt_path last." in said
    must_be_equal(pair / FOLDER.with_name("whole") / "checkpoints" / "last.ckpt", pair / LAST)
    for rank in "01":  # no step was taken twice, or left out, by any rank
        first, second = (visits(pair, f"{part}-{rank}") for part in ("first", "second"))
        assert first + second == visits(pair, f"whole-{rank}")
    assert not list(pair.rglob("hpc_ckpt*"))


@pytest.mark.slow
def test_two_processes_log_the_losses_of_one(pair, whole):
    """Of the whole global batch at each step, by one of them."""
    one = losses(whole / FOLDER)
    assert [step for step, _ in one] == list(range(8))
    for folder in (FOLDER.with_name("whole"), FOLDER):
        assert losses(pair / folder) == [(step, pytest.approx(loss, rel=1e-5)) for step, loss in one]
    assert len(list(pair.rglob("metrics*.csv"))) == 3


LEAVES = """
import atexit, os, sys
from contextlib import suppress
from pathlib import Path
import torch
from vsr.cli import main

def ends():
    found = [torch.distributed.is_initialized()]
    for thread in Path("/proc/self/task").glob("*/comm"):
        with suppress(OSError):  # it has just ended
            found += [name for name in thread.read_text().split() if "gloo" in name]
    Path("rank" + os.environ["LOCAL_RANK"]).write_text(str(found))

if __name__ == "__main__":
    atexit.register(ends)  # first, so it is called last
    main(sys.argv[1:])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
@pytest.mark.parametrize(("words", "status"), [([], 0), (telling(1), 75)], ids=["by itself", "told to"])
def test_both_processes_leave_their_group_before_they_end(words, status, tmp_path):
    """Else threads of gloo's abort a process that has done its work, or hold it up; seldom, on a busy machine."""
    (tmp_path / "leaves.py").write_text(LEAVES)
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "leaves.py", *COMMAND, *TWO, "--trainer.max_steps", "4", *words],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert [(tmp_path / f"rank{rank}").read_text() for rank in (0, 1)] == ["[False]"] * 2, done.stderr


ALONE = """
import os, signal, subprocess, sys
from vsr import signals
number = getattr(signal, sys.argv[1])
with signals.listening():
    {}
print("not reached")
"""


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGTERM"])
def test_before_training_a_process_ends_at_once(name):
    """With the processes that it has started: this one would hold the output open for longer than is waited."""
    started = "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(900)'])"
    code = ALONE.format(f"{started}; os.kill(os.getpid(), number)")
    done = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (75, "")
    assert done.stderr == f"vsr: told to stop by {name} while not training: give the same command again\n"


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGTERM"])
def test_a_data_worker_serves_on(name):
    """A forked process; a minute after SIGTERM it would end, if nothing else had ended it."""
    fork = """
    told, tell = os.pipe()
    worker = os.fork()
    if worker == 0:
        os.kill(os.getpid(), number)
        left = signal.alarm(0)
        os.write(tell, f"{left}".encode())
        os._exit(7)
    print(os.read(told, 10).decode(), os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", ALONE.format(fork), name], capture_output=True, text=True, timeout=300)
    left, status = done.stdout.split()[:2]
    assert status == "7", done.stderr
    assert (0 < int(left) <= 60) == (name == "SIGTERM"), left


LOADER = """
import multiprocessing, subprocess, sys, time
from torch.utils.data import DataLoader
from vsr import signals
from vsr.data.decoded import begin_worker, started_by

class Slow:
    def __len__(self):
        return 40

    def __getitem__(self, n):
        time.sleep(0.02)
        return n

if __name__ == "__main__":
    multiprocessing.set_start_method("forkserver")  # Python's own choice from 3.14 on
    with signals.listening():
        signals.training_begins()
        loader = DataLoader(Slow(), num_workers=2, worker_init_fn=begin_worker, multiprocessing_context=started_by(2))
        batches = iter(loader)
        next(batches)
        import psutil

        ours = [str(process.pid) for process in psutil.Process().children(recursive=True)]
        kill = f"kill -s {sys.argv[1][3:]} {' '.join(ours)}"
        subprocess.run(kill, shell=True, check=True)  # as Slurm does, from another process
        print(1 + sum(1 for _ in batches))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no Slurm signals a run")
@pytest.mark.parametrize("name", ["SIGUSR1", "SIGTERM"])
def test_a_loader_serves_on_however_python_starts_processes(name, tmp_path):
    (tmp_path / "loads.py").write_text(LOADER)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", tmp_path / "loads.py", name], capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stdout) == (0, "40\n"), done.stderr
