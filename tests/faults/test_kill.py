"""kill -9 in the middle of saving: whenever it comes, what was saved is there and whole."""

import os
import resource
import signal
import sys
from pathlib import Path

import pytest
import torch

from vsr.callbacks.checkpoints import WholeCheckpoints, read_checkpoint
from vsr.cli.resume import find_checkpoint

PARTS = {
    "state_dict": {}, "optimizer_states": [], "lr_schedulers": [], "loops": {}, "hyper_parameters": {},
    "provenance": {"module": "VideoMAE"},
}  # fmt: skip
SIZE = 4 * 10**6  # bytes of a checkpoint, about


def save(folder: Path, step: int) -> None:
    content = PARTS | {"global_step": step, "x": torch.full((SIZE // 4,), float(step))}
    WholeCheckpoints().save_checkpoint(content, folder / "checkpoints" / "last.ckpt")


def in_child(work) -> int:
    """Do something in a forked process; the signal that ended it, 0 if none did."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


def killed_at(number: int, folder: Path, step: int) -> int:
    """Save in a process that is killed before it does so many things to files."""

    def work() -> None:
        seen = 0

        def hook(event: str, args: tuple) -> None:
            nonlocal seen
            if event in ("open", "os.rename", "os.link", "os.remove", "os.mkdir") and str(folder) in str(args[0]):
                seen += 1
                if seen == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        save(folder, step)

    return in_child(work)


def must_be_whole(folder: Path, step: int) -> None:
    """All checkpoints can be read to the last number, and a run goes on at ``step`` or after it."""
    for path in (folder / "checkpoints").glob("*.ckpt"):
        content = read_checkpoint(path)
        assert (content["x"] == content["global_step"]).all()
    found = find_checkpoint("last", folder)
    assert found is not None
    assert read_checkpoint(found)["global_step"] >= step


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forking with threads
def test_whatever_it_was_doing_to_files(tmp_path):
    """Killed before it opens, names, links and removes, one after the other; the last time it ends by itself."""
    save(tmp_path, 1)
    save(tmp_path, 2)
    number, step = 0, 2
    while True:
        number += 1
        ended = killed_at(number, tmp_path, step + 1)
        must_be_whole(tmp_path, step)
        step = read_checkpoint(find_checkpoint("last", tmp_path))["global_step"]
        if ended == 0:
            break
        assert ended == signal.SIGKILL
    assert number > 4
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"last.ckpt", "previous.ckpt"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
def test_in_the_middle_of_the_bytes(tmp_path, share):
    """The system ends the process, with nothing said to it, at a byte of the file."""
    save(tmp_path, 1)
    save(tmp_path, 2)

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * SIZE), resource.RLIM_INFINITY))
        save(tmp_path, 3)

    assert in_child(work) == signal.SIGXFSZ
    part = tmp_path / "checkpoints" / "last.ckpt.part"
    assert part.stat().st_size <= share * SIZE  # half written, and called so
    must_be_whole(tmp_path, 2)
    save(tmp_path, 4)
    must_be_whole(tmp_path, 4)
    assert not part.exists()
