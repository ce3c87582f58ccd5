"""The progress bar on a terminal, and the lines elsewhere."""

import io

import pytest
import torch
from rich.console import Console
from small_runs import fit

from vsr.callbacks import RunProgress, Throughput

pytestmark = pytest.mark.filterwarnings("ignore")


def progress(terminal=False):
    return RunProgress(Console(file=io.StringIO(), force_terminal=terminal, width=200))


def said(bar):
    return bar._console.file.getvalue()


def test_without_a_terminal_there_are_few_plain_lines(tmp_path):
    bar = progress()
    fit(tmp_path, [Throughput(), bar], steps=7, enable_progress_bar=True)
    lines = said(bar).splitlines()
    assert [line.split(" steps")[0] for line in lines] == ["1 of 7", "7 of 7"]
    for what in ("loss ", "lr ", "clips/s", "data ", "GiB"):
        assert what in lines[-1]
    assert "\x1b" not in said(bar)


def test_a_terminal_shows_steps_of_the_whole_run_and_the_time_left(tmp_path):
    bar = progress(terminal=True)
    fit(tmp_path, [Throughput(), bar], steps=7, enable_progress_bar=True)  # more than two epochs
    assert "7 of 7 steps" in said(bar)
    assert "of 3 steps" not in said(bar)
    assert "loss " in said(bar)


def test_a_resumed_run_goes_on_at_its_step(tmp_path):
    fit(tmp_path / "a", [], steps=4).save_checkpoint(tmp_path / "c.ckpt")
    bar = progress()
    fit(tmp_path / "b", [bar], steps=6, ckpt=tmp_path / "c.ckpt", enable_progress_bar=True)
    assert [line.split(" steps")[0] for line in said(bar).splitlines()] == ["5 of 6", "6 of 6"]


def test_metrics_are_read_only_when_they_are_logged(tmp_path, monkeypatch):
    read = []
    number = torch.Tensor.__float__
    bar = progress(terminal=True)

    class Counting(RunProgress):
        def on_train_batch_end(self, trainer, *args):
            with monkeypatch.context() as patch:
                patch.setattr(torch.Tensor, "__float__", lambda t: read.append(trainer.global_step) or number(t))
                super().on_train_batch_end(trainer, *args)

    fit(tmp_path, [Counting(bar._console)], steps=6, log_every_n_steps=3, enable_progress_bar=True)
    assert set(read) == {3, 6}
