"""Where a run's metrics go: always metrics.csv and TensorBoard, and whatever else is asked for."""

from pathlib import Path

import pytest

from vsr.cli import main

RUN = Path("runs/pretrain/static_circles/default")
FIT = [
    "fit", "--config", "configs/pretrain/static_circles.yaml", "--config", "configs/scale/laptop.yaml",
    "--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false", "--data.size", "16",
    "--data.num_frames", "4", "--data.global_batch_size", "4", "--trainer.log_every_n_steps", "1",
]  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def fit(steps, *words):
    main([*FIT, "--trainer.max_steps", str(steps), *words])


def losses():
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return [(e.step, e.value) for e in EventAccumulator(str(RUN)).Reload().Scalars("loss")]


def test_a_resumed_run_goes_on_in_tensorboard_where_its_checkpoint_was():
    fit(3)
    (RUN / "checkpoints" / "last.ckpt").rename("at-3.ckpt")
    (RUN / "checkpoints").rmdir()
    fit(6)  # as if it had gone on after the checkpoint, and had been killed
    assert [step for step, _ in losses()][-6:] == [0, 1, 2, 3, 4, 5]
    for path in (RUN / "checkpoints").iterdir():
        path.unlink()
    Path("at-3.ckpt").rename(RUN / "checkpoints" / "last.ckpt")
    fit(5, "--ckpt_path", "last")
    steps = [step for step, _ in losses()]
    assert steps[-2:] == [3, 4]
    assert 5 not in steps


def test_no_loggers_at_all():
    fit(1, "--trainer.logger", "false")
    assert not [p for p in RUN.iterdir() if p.name == "metrics.csv" or "tfevents" in p.name]


def test_a_logger_that_is_asked_for_comes_on_top(monkeypatch):
    wandb = pytest.importorskip("wandb", reason="wandb is an optional extra")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    try:
        fit(1, "--config", "configs/logger/wandb.yaml")
        assert wandb.run.name == "pretrain/static_circles/default"
    finally:
        wandb.finish()
    assert list(RUN.glob("wandb/offline-run-*/*.wandb"))
    assert (RUN / "metrics.csv").exists()
    assert list(RUN.glob("events.out.tfevents.*"))
    assert not Path("wandb").exists()
