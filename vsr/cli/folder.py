"""Where a run keeps what it makes: ``runs/<stage>/<dataset>/<run>``."""

from pathlib import Path
from typing import TYPE_CHECKING

from vsr.errors import InputError

if TYPE_CHECKING:
    from lightning.pytorch.cli import LightningCLI


def place_run(cli: "LightningCLI", stage: str) -> None:
    """Set the run folder, ``runs/<stage>/<dataset>/<run>``, and the loggers in it.

    Raises:
        InputError: it already holds a training run that this one would overwrite.
    """
    config = cli.config[stage]
    data, model = config.data.init_args, config.model.class_path.rsplit(".", 1)[-1]
    name = (
        {"VideoMAE": "pretrain", "ActionClassifier": "finetune"}.get(model, model.lower()) if stage == "fit" else stage
    )
    dataset = data.recipe.name if "recipe" in data else data.name
    folder = Path(config.trainer.default_root_dir or "runs") / name / dataset / config.run
    if stage == "fit" and config.ckpt_path is None and (folder / "checkpoints" / "last.ckpt").exists():
        raise InputError(
            f"{folder} already holds a run: go on with it by --ckpt_path last, or name this one with --run NAME"
        )
    if stage == "fit":
        from lightning.pytorch.utilities import rank_zero_only

        rank_zero_only(_keep_metrics)(folder)
    config.trainer.default_root_dir = str(folder)
    if config.trainer.logger is None:
        logger = {"save_dir": str(folder), "name": "", "version": ""}
        config.trainer.logger = [{"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": logger}]


def _keep_metrics(folder: Path) -> None:
    """Set the metrics.csv of an earlier part of a run aside as metrics-1.csv, -2, …: the logger would delete it."""
    from itertools import count

    if (folder / "metrics.csv").exists():
        number = next(n for n in count(1) if not (folder / f"metrics-{n}.csv").exists())
        (folder / "metrics.csv").rename(folder / f"metrics-{number}.csv")
