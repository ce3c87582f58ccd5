"""What a run says that something stopped: where, what is saved, what to do."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, Dataset
from torch.utils.data._utils import signal_handling

from vsr.callbacks import Checkpoints, Faults, RunFolder
from vsr.callbacks.checkpoints import WholeCheckpoints
from vsr.callbacks.faults import _PEER, remedy
from vsr.cli import main
from vsr.cli.errors import input_error
from vsr.data.batches import BatchPlan
from vsr.data.synthetic import SyntheticVideos
from vsr.modules import VideoMAE
from vsr.recipe import Recipe

COMMAND = [
    "fit", "--config", "configs/pretrain/static_circles.yaml", "--config", "configs/scale/laptop.yaml",
    "--trainer.accelerator", "cpu", "--trainer.max_steps", "6", "--trainer.enable_progress_bar", "false",
    "--trainer.enable_model_summary", "false", "--data.size", "16", "--data.num_frames", "4",
    "--data.global_batch_size", "4", "--checkpoints.every_n_steps", "2",
]  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore")


class Trouble(Callback):
    """Raises an error at a step."""

    def __init__(self, error, step=3):
        self.error, self.step = error, step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            raise self.error


class BrokenLogger(CSVLogger):
    """Whose disk is full from the third step on."""

    def log_metrics(self, metrics, step=None):
        if step == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "metrics.csv")
        super().log_metrics(metrics, step)


def fit(folder, trouble=None, logger=False, most=2, accelerator="cpu", size=16, batch=4):
    recipe = Recipe("r", num_objects=5, epoch_size=1000)
    data = SyntheticVideos(recipe, num_frames=4, size=size, global_batch_size=batch, max_batch_per_device=most)
    trainer = Trainer(
        max_steps=6, default_root_dir=folder, accelerator=accelerator, devices=1, logger=logger, log_every_n_steps=1,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
        callbacks=[RunFolder(), Checkpoints(2), Faults(), *([trouble] if trouble else [])],
        plugins=[WholeCheckpoints()],
    )  # fmt: skip
    trainer.fit(VideoMAE("tiny", size, 4, patch_size=8, global_batch_size=batch), datamodule=data)


def test_an_error_of_the_code_stays_and_says_what_is_saved(tmp_path):
    error = RuntimeError("a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        fit(tmp_path, Trouble(error))
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert error.__notes__ == [
        f"Stopped at step 3. Saved is step 2, in {last}: go on with the same command and --ckpt_path last."
    ]
    assert input_error(error) is None
    early = RuntimeError("a bug")
    with pytest.raises(RuntimeError):
        fit(tmp_path / "other", Trouble(early, step=1))
    assert early.__notes__ == ["Stopped at step 1. Nothing had been saved yet: start the run again."]


def test_an_interruption_says_what_is_saved(tmp_path, caplog):
    handler = signal.getsignal(signal.SIGINT)
    try:
        with caplog.at_level("INFO"), pytest.raises(SystemExit):
            fit(tmp_path, Trouble(KeyboardInterrupt()))
    finally:
        signal.signal(signal.SIGINT, handler)  # Lightning has it ignored
    assert "Stopped at step 3. Saved is step 2, in " in caplog.text
    assert not (tmp_path / "done").exists()


def test_a_logger_that_fails_is_named(tmp_path):
    with pytest.raises(OSError, match="No space left") as stopped:
        fit(tmp_path, logger=BrokenLogger(tmp_path, name="", version=""))
    assert str(input_error(stopped.value)) == (
        "can't write metrics.csv: No space left on device; it is the BrokenLogger's: to go on without loggers add "
        "--trainer.logger false"
    )
    with pytest.raises(OSError, match="No space left") as stopped:
        fit(tmp_path, Trouble(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "picture.png")))
    assert str(input_error(stopped.value)) == "can't write picture.png: No space left on device"


class LostLogger(CSVLogger):
    def log_metrics(self, metrics, step=None):
        if step == 2:
            raise RuntimeError("connection lost")
        super().log_metrics(metrics, step)


def test_a_logger_that_fails_in_its_own_way_is_named_too(tmp_path):
    with pytest.raises(RuntimeError, match="connection lost") as stopped:
        fit(tmp_path, logger=LostLogger(tmp_path, name="", version=""))
    assert str(input_error(stopped.value)) == (
        "logging failed, RuntimeError: connection lost; it is the LostLogger's: to go on without loggers add "
        "--trainer.logger false"
    )


def test_a_worker_killed_while_a_file_was_written_is_named(tmp_path):
    """As torch.save answers when the signal comes amid its work."""

    class Saves(Callback):
        def on_train_batch_end(self, *_):
            try:
                raise RuntimeError("DataLoader worker (pid 22076) is killed by signal: Killed. ")
            finally:
                raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 24093824 vs 24093712")

    with pytest.raises(RuntimeError, match="unexpected pos") as stopped:
        fit(tmp_path, Saves())
    assert "DataLoader worker (pid 22076) is killed by signal: Killed: it decodes" in str(input_error(stopped.value))


class Numbers(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, n):
        return torch.tensor([n])


@pytest.mark.skipif(sys.platform != "linux", reason="tensors are handed over in another way")
def test_a_worker_that_is_gone_with_what_it_had_made_is_named():
    """As it is when its connections have closed before the system says that it has ended."""
    batches = iter(DataLoader(Numbers(), num_workers=1, multiprocessing_context="fork"))
    handler = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        (worker,) = batches._workers
        next(batches)
        time.sleep(1)  # the next are made by then
        worker.kill()
        worker.join()
        worker.is_alive = lambda: True
        with pytest.raises(OSError) as stopped:  # noqa: PT011  which one depends on the moment
            list(batches)
    finally:
        signal.signal(signal.SIGCHLD, handler)
    assert f"DataLoader worker (pid {worker.pid}) exited unexpectedly: it" in remedy(stopped.value, None, None)


@pytest.fixture
def told_by_signal(monkeypatch):
    """torch's handler of an ended process. It is set once, and a run of Lightning's that set it takes it away again."""
    handler = signal.getsignal(signal.SIGCHLD)
    monkeypatch.setattr(signal_handling, "_SIGCHLD_handler_set", False)
    yield
    signal.signal(signal.SIGCHLD, handler)


@pytest.mark.skipif(sys.platform != "linux", reason="tensors are handed over in another way")
@pytest.mark.usefixtures("told_by_signal")
def test_a_worker_that_ends_while_its_lost_connection_is_looked_into_is_named(monkeypatch):
    """torch raises its error from the signal, which comes amid the callback then."""
    batches = iter(DataLoader(Numbers(), num_workers=1, multiprocessing_context="fork"))
    (worker,) = batches._workers

    def ends(_):
        worker.kill()
        os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
        for _ in range(1000):  # s / 100, until the signal is handled; a real join may take the end from it
            time.sleep(0.01)

    monkeypatch.setattr(worker, "join", ends)
    monkeypatch.setattr(batches._data_queue, "get", Mock(side_effect=ConnectionResetError(104, "reset by peer")))
    with pytest.raises(ConnectionResetError) as stopped:
        next(batches)
    Faults().on_exception(None, None, stopped.value)
    assert f"DataLoader worker (pid {worker.pid}) is killed by signal: Killed: it" in str(stopped.value.__cause__)


@pytest.mark.parametrize(
    ("said", "lost"),
    [
        ("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:4242", True),
        ("[../gloo/transport/tcp/pair.cc:525] Read error [127.0.0.1]:4242: Connection reset by peer", True),
        ("[../gloo/transport/tcp/pair.cc:330] writev [127.0.0.1]:4242: Broken pipe", True),
        ("ncclRemoteError: A call failed possibly due to a network error or a remote process exiting", True),
        ("NCCL error in: NCCLUtils.cpp, ncclSystemError\nsocketProgress: Connection closed by remote peer h<4>", True),
        ("Failed to recv, got 0 bytes. Connection was likely closed. Did the remote server shutdown or crash?", True),
        ("NCCL error in: NCCLUtils.cpp, ncclInvalidUsage: Duplicate GPU detected", False),
        ("[../gloo/transport/tcp/device.cc:84] Unable to find address for: eth7", False),
        ("Tensors must be CUDA and dense for a barrier with NCCL", False),
        ("wandb: Connection reset by peer", False),
    ],
)
def test_only_a_rank_that_has_gone_is_called_lost(said, lost):
    """In the words of gloo, NCCL and torch's store; that they still speak so, tests/faults/test_processes.py shows."""
    assert bool(_PEER.search(said)) == lost


@pytest.fixture
def disk(tmp_path):
    """A file system of 60 MB, as long as it isn't made read-only."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("file systems can't be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def refused(capsys, *words):
    """The lines that a command says last, when it ends with status 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main([*COMMAND, *map(str, words)])
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    return lines[next(n for n, line in enumerate(lines) if "vsr: error:" in line) :]


def test_a_full_disk_leaves_a_run_that_can_go_on(disk, capsys):
    """A checkpoint of this network takes 36 MB: there is room for one."""
    said = refused(capsys, "--trainer.default_root_dir", disk)
    last = disk / "pretrain" / "static_circles" / "default" / "checkpoints" / "last.ckpt"
    assert f"can't write {last}: No space left on device; a checkpoint takes 36 MB" in said[0]
    assert said[1:] == [
        f"Stopped at step 4. Saved is step 2, in {last}: go on with the same command and --ckpt_path last."
    ]
    assert [p.name for p in last.parent.iterdir()] == ["last.ckpt"]
    assert torch.load(last, weights_only=True)["global_step"] == 2
    said = refused(capsys, "--trainer.default_root_dir", disk, "--ckpt_path", "last")  # before it starts
    assert len(said) == 1
    assert "no room in the run folder" in said[0]


def test_a_folder_that_can_not_be_written_to_is_refused_before_training(disk, tmp_path, capsys):
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    (tmp_path / "file").touch()
    for place, reason in ((disk, "Read-only file system"), (tmp_path / "file", "Not a directory")):
        said = refused(capsys, "--trainer.default_root_dir", place)
        assert len(said) == 1
        assert f"can't write to the run folder {place}/pretrain/static_circles/default ({reason})" in said[0]


def test_one_clip_that_does_not_fit_needs_a_smaller_model(tmp_path):
    error = torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(torch.OutOfMemoryError):
        fit(tmp_path, Trouble(error), most=1)
    assert "even one clip at a time doesn't fit; take a smaller --model.size" in str(input_error(error))


def test_out_of_gpu_memory_says_which_batch_fits(gpu, tmp_path):
    """On a GPU of which a process may have 1 GB: what is said to fit does."""
    total = torch.cuda.get_device_properties(gpu).total_memory
    torch.cuda.set_per_process_memory_fraction(1e9 / total, gpu)
    try:
        with pytest.raises(torch.OutOfMemoryError) as stopped:
            fit(tmp_path, most=1024, accelerator="gpu", size=64, batch=1024)
        said = str(input_error(stopped.value))
        most = int(said.partition("--data.max_batch_per_device ")[2].split()[0])
        assert 1 < most < 1024
        fit(Path(tmp_path / "again"), most=most, accelerator="gpu", size=64, batch=1024)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, gpu)


@pytest.mark.parametrize(("videos", "said"), [(8, "16 clips at once don't fit; try --data.max_batch_per_device 8"),
                                              (2, "4 clips at once don't fit; try --data.max_batch_per_device 2"),
                                              (1, "even the 2 clips of one video (num_sample) don't fit")])  # fmt: skip
def test_what_fits_is_counted_in_clips(videos, said):
    """Of a run with two of each video; fewer than two aren't taken."""
    data = SimpleNamespace(plan=BatchPlan.of(2 * videos, videos, 2), num_sample=2)
    trainer = SimpleNamespace(world_size=2, datamodule=data)
    assert said in remedy(torch.OutOfMemoryError("x"), trainer, None)
