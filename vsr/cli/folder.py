"""Where a run keeps what it makes: ``runs/<stage>/<dataset>/<run>``."""

from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from vsr.cli.resume import find_checkpoint
from vsr.errors import InputError, must_name_a_folder

if TYPE_CHECKING:
    from lightning.pytorch.cli import LightningCLI
    from lightning.pytorch.loggers import Logger


def place_run(cli: "LightningCLI", stage: str) -> tuple[Path, Path | None]:
    """Choose the run folder, ``runs/<stage>/<dataset>/<run>``, and where the loggers that are asked for write.

    Returns:
        the folder, and the checkpoint that ``--ckpt_path`` means, if any; see
        :func:`~vsr.cli.resume.find_checkpoint`.

    Raises:
        InputError: it already holds a training run that this one would overwrite, or its name is that of no folder.
    """
    config = cli.config[stage]
    data, model = config.data.init_args, config.model.class_path.rsplit(".", 1)[-1]
    own = {
        "VideoMAE": "pretrain", "ActionClassifier": "finetune", "LinearProbe": "probe", "AttentiveProbe": "attentive",
    }  # fmt: skip
    name = own.get(model, model.lower()) if stage == "fit" else stage
    dataset = data.recipe.name if "recipe" in data else data.name
    must_name_a_folder("--run", config.run)
    must_name_a_folder("the data's name", dataset)
    folder = Path(config.trainer.default_root_dir or "runs") / name / dataset / config.run
    checkpoint = find_checkpoint(config.ckpt_path, folder) if stage == "fit" else None
    asked = config.trainer.logger
    for logger in asked if isinstance(asked, list) else [asked]:
        own = getattr(logger, "init_args", {})
        if own.get("save_dir") == ".":
            own["save_dir"] = str(folder.resolve())  # wandb writes from a process of its own
        if "project" in own and own.get("name") is None:
            own["name"] = f"{name}/{dataset}/{config.run}"
    return folder, checkpoint


def run_loggers(asked: Any, folder: Path, checkpoint: Path | None) -> list["Logger"]:
    """A run's loggers: ``metrics.csv`` and TensorBoard's events in its folder, and those that were asked for.

    Events lie beside ``metrics.csv``, so that ``tensorboard --logdir runs`` calls runs by their folders.

    Args:
        asked: the trainer's ``logger``: one or several to add; False for none at all.
        folder: the run's.
        checkpoint: from which it goes on; TensorBoard then hides what an earlier part logged after that.
    """
    from lightning.pytorch.loggers import TensorBoardLogger

    from vsr.callbacks.metrics import Metrics

    if asked is False:
        return []
    purge = None
    if checkpoint is not None:
        from vsr.callbacks.checkpoints import read_checkpoint

        purge = read_checkpoint(checkpoint)["global_step"] + 1
    board = TensorBoardLogger(folder, name="", version="", default_hp_metric=False, purge_step=purge)
    more = asked if isinstance(asked, list) else [asked] if asked not in (None, True) else []
    return [Metrics(folder, name="", version=""), board, *more]


def keep_metrics(folder: Path) -> None:
    """Set the metrics.csv of an earlier part of a run aside as metrics-1.csv, -2, …: the logger would delete it."""
    from itertools import count

    if (folder / "metrics.csv").exists():
        number = next(n for n in count(1) if not (folder / f"metrics-{n}.csv").exists())
        (folder / "metrics.csv").rename(folder / f"metrics-{number}.csv")


def must_be_writable(folder: Path, num_bytes: int = 0) -> None:
    """Make the run folder, and refuse one that nothing can be written to.

    Args:
        folder: the run's.
        num_bytes: the least that must be free in it.

    Raises:
        InputError: it can't be made or written to, or it hasn't that much room.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for place in [folder, folder / "checkpoints"]:
            if place.exists():
                with TemporaryFile(dir=place):
                    pass
    except OSError as error:
        raise InputError(
            f"can't write to the run folder {folder} ({error.strerror}): give another place by "
            "--trainer.default_root_dir, or mend its permissions"
        ) from error
    free = disk_usage(folder).free
    if free < num_bytes:
        raise InputError(
            f"no room in the run folder {folder}: a checkpoint takes {num_bytes / 1e6:,.0f} MB, up to three are kept "
            f"at once, and {free / 1e6:,.0f} MB are free: make room, or give another place by "
            "--trainer.default_root_dir"
        )
