"""A run that is told to stop saves between two steps, ends with 75, and goes on as if nothing had been."""

import csv
import os
import shutil
import signal
import subprocess
import sys

import pytest
from test_resume import COMMAND, FOLDER, LAST, TWO, Visits, must_be_equal, start, visits

from vsr import signals
from vsr.cli import main

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")


class Told(Visits):
    """Writes down what is trained on, and sends its own process a signal.

    Args:
        path: as of :class:`Visits`.
        at: before this step.
        rank: in this process.
        name: of the signal.
    """

    def __init__(self, path: str, at: int = -1, rank: int = 0, name: str = "SIGUSR1") -> None:
        super().__init__(path)
        self.at, self.rank, self.name = at, rank, name

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        super().on_train_batch_start(trainer, pl_module, batch, batch_idx)
        if trainer.global_step == self.at and trainer.global_rank == self.rank:
            os.kill(os.getpid(), signal.Signals[self.name])


def telling(path, at=-1, rank=0, name="SIGUSR1"):
    return ["--trainer.callbacks+=test_stopping.Told", "--trainer.callbacks.path", str(path), "--trainer.callbacks.at",
            str(at), "--trainer.callbacks.rank", str(rank), "--trainer.callbacks.name", name]  # fmt: skip


def losses(folder):
    """Of each step, from all of a run's metrics files."""
    found = {}
    for path in (*folder.glob("metrics-*.csv"), folder / "metrics.csv"):
        with path.open() as file:
            found |= {int(row["step"]): float(row["loss"]) for row in csv.DictReader(file) if row["loss"]}
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run in one process that nothing stops."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        main([*COMMAND, *telling(folder / "all")])
    return folder


@pytest.mark.parametrize(("at", "name", "saved"), [(3, "SIGUSR1", 4), (2, "SIGTERM", 3)], ids=["amid", "at its end"])
def test_a_run_is_saved_and_goes_on_bit_for_bit(at, name, saved, whole, tmp_path, monkeypatch, caplog):
    """Amid an epoch and at the end of one; no checkpoint is due at either step."""
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)
    command = [*COMMAND, "--checkpoints.every_n_steps", "5", "--ckpt_path", "last"]
    with caplog.at_level("INFO"), pytest.raises(SystemExit) as ended:
        main([*command, *telling("first", at, 0, name)])
    assert ended.value.code == signals.AGAIN == 75
    assert f"Told to stop ({name})." in caplog.text
    assert f"Saved is step {saved}, in {LAST}: go on with the same command and --ckpt_path last." in caplog.text
    assert not (FOLDER / "done").exists()
    assert signal.getsignal(signal.SIGTERM) is before
    main([*command, *telling("second")])
    assert (FOLDER / "done").exists()
    assert visits(tmp_path, "first", "second") == visits(whole, "all")
    must_be_equal(whole / LAST, LAST)
    assert not list(FOLDER.rglob("hpc_ckpt*"))


def test_a_run_in_its_last_step_ends_by_itself(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main([*COMMAND, "--trainer.max_steps", "3", *telling("visits", 2)])
    assert (FOLDER / "done").exists()


@pytest.mark.slow
def test_all_processes_stop_though_one_was_told(whole, tmp_path):
    """The second of two. What they learn is what one process learns; one of them writes the metrics."""
    stopped = start(tmp_path, "log", *TWO, *telling("first", 3, rank=1))
    assert stopped.wait(timeout=240) == signals.AGAIN, (tmp_path / "log.log").read_text()
    said = (tmp_path / "log.log").read_text()
    assert said.count("Told to stop (on another rank).") == 1
    assert "Saved is step 5" in said
    again = start(tmp_path, "again", *TWO, "--ckpt_path", "last", *telling("second"))
    assert again.wait(timeout=240) == 0, (tmp_path / "again.log").read_text()
    assert sorted(visits(tmp_path, "first", "second")) == sorted(visits(whole, "all"))
    two, one = losses(tmp_path / FOLDER), losses(whole / FOLDER)
    assert list(two) == list(one) == list(range(8))
    assert two == pytest.approx(one, rel=1e-5)
    assert len(list(tmp_path.rglob("metrics.csv"))) == 1


ALONE = """
import os, signal, sys
from vsr import signals
number = getattr(signal, sys.argv[1])
with signals.listening():
    {}
print("not reached")
"""


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGTERM"])
def test_before_training_a_process_ends_at_once(name):
    code = ALONE.format("os.kill(os.getpid(), number)")
    done = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (75, "")
    said = f"vsr: {name} came before training had begun: nothing was lost, give the same command again\n"
    assert done.stderr == said


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGTERM"])
def test_a_data_worker_serves_on(name):
    """A forked process; a minute after SIGTERM it would end, if nothing else had ended it."""
    fork = """
    told, tell = os.pipe()
    worker = os.fork()
    if worker == 0:
        os.kill(os.getpid(), number)
        left = signal.alarm(0)
        os.write(tell, f"{{left}}".encode())
        os._exit(7)
    print(os.read(told, 10).decode(), os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", ALONE.format(fork), name], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[0] in {"SIGUSR1": ("0 7",), "SIGTERM": ("60 7", "59 7")}[name], done.stderr


def test_after_a_run_signals_are_as_before(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.rmtree("runs", ignore_errors=True)
    before = [signal.getsignal(number) for number in signals.SIGNALS]
    with pytest.raises(SystemExit):
        main([*COMMAND, "--data.size", "-1"])
    assert [signal.getsignal(number) for number in signals.SIGNALS] == before
