"""Processes that are killed: one that decodes, one that makes files, one of two ranks. The others end, and say why."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch
from lightning.pytorch import Callback
from test_cli import TINY, write_clip

from vsr.cli import main
from vsr.errors import InputError

TESTS = Path(__file__).parents[1]
FOLDER = Path("runs/pretrain/acc_shapes/default")
pytestmark = pytest.mark.filterwarnings("ignore")


class KillAWorker(Callback):
    """Kills the processes that decode, before a step."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 3:
            for worker in multiprocessing.active_children():
                worker.kill()


def refused(capsys, *words):
    """The lines that a command says last, when it ends with status 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main(list(map(str, words)))
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    return lines[next(n for n, line in enumerate(lines) if "vsr: error:" in line) :]


@pytest.fixture
def _videos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(Path(__file__).parent)
    for n in range(16):
        write_clip(Path(f"videos/{('train', 'val')[n // 12]}/c{n % 2}/{n}.avi"), n)


@pytest.mark.usefixtures("_videos")
def test_a_process_that_decodes_is_killed(capsys):
    before = psutil.Process().children(recursive=True)
    said = refused(
        capsys, "fit", "--config", "configs/finetune/folders.yaml", *TINY, "--data.videos", "videos",
        "--data.stride", 1, "--data.num_workers", 1, "--data.global_batch_size", 1, "--trainer.max_steps", 9,
        "--checkpoints.every_n_steps", 2,
        "--trainer.callbacks+=test_processes.KillAWorker",
    )  # fmt: skip
    assert "DataLoader worker (pid" in said[0]
    assert (
        "it decodes videos, and is killed most often for want of memory; give a smaller --data.num_workers" in said[0]
    )
    assert said[1].endswith("go on with the same command and --ckpt_path last.")
    last = Path("runs/finetune/folders/default/checkpoints/last.ckpt")
    assert torch.load(last, weights_only=True)["global_step"] >= 2
    assert not [child for child in psutil.Process().children(recursive=True) if child not in before]


def test_a_process_that_makes_files_is_killed(tmp_path):
    from vsr.offline import export_textures

    before = set(psutil.Process().children(recursive=True))

    def kill() -> None:
        """Kill the process that makes files, which the server of forks has started, as soon as there is a file."""
        until = time.monotonic() + 120
        while time.monotonic() < until and not list(tmp_path.glob("out/0*.png")):
            time.sleep(0.01)
        for child in set(psutil.Process().children(recursive=True)) - before:
            if len(child.parents()) > len(psutil.Process().parents()) + 1:
                child.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(InputError) as stopped:
        export_textures("oriented", tmp_path / "out", 5000, 8, workers=1)
    killer.join()
    assert "a process that makes files was killed, most often for want of memory" in str(stopped.value)
    assert str(stopped.value).endswith("what is done stays, and the same command goes on")
    made = len(list(tmp_path.glob("out/0*.png")))
    assert 0 < made < 5000
    assert export_textures("oriented", tmp_path / "out", made + 2, 8, workers=1).there == made


def start(folder: Path, killed: int) -> list[subprocess.Popen]:
    """Two ranks of a run, of which one kills itself at step 3; Lightning, starting them, would kill the other."""
    command = [
        "fit", "--config", "configs/pretrain/acc_shapes.yaml", *TINY, "--trainer.max_steps", "100", "--trainer.devices",
        "2", "--trainer.strategy", "ddp", "--trainer.accelerator", "cpu", "--checkpoints.every_n_steps", "2",
        "--trainer.callbacks+=test_processes.KillARank", "--trainer.callbacks.rank", str(killed),
    ]  # fmt: skip
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    paths = [str(Path(__file__).parent), str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = []
    for rank in (0, 1):
        with (folder / f"{rank}.log").open("w") as log:
            words = [sys.executable, "-W", "ignore", "-m", "vsr", *command]
            ranks.append(
                subprocess.Popen(words, cwd=folder, env=env | {"LOCAL_RANK": str(rank)}, stdout=log, stderr=log)
            )
    return ranks


class KillARank(Callback):
    """Kills this process at step 3, if it has that rank.

    Args:
        rank: which.
    """

    def __init__(self, rank: int) -> None:
        self.rank = rank

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 3 and trainer.global_rank == self.rank:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_one_of_two_ranks_is_killed(tmp_path, killed):
    """The other ends, and says why; what was saved is whole."""
    ranks = start(tmp_path, killed)
    try:
        ended = [rank.wait(timeout=900) for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    said = (tmp_path / f"{1 - killed}.log").read_text()
    assert ended[killed] == -signal.SIGKILL, said
    assert ended[1 - killed] == 2, said
    assert f"vsr: error: process {1 - killed} of 2 has lost another one of this run, which ended before it" in said
    last = tmp_path / FOLDER / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 2
    assert not (tmp_path / FOLDER / "done").exists()
    if killed == 1:
        assert f"Saved is step 2, in {FOLDER}/checkpoints/last.ckpt" in said
