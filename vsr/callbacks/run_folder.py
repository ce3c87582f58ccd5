"""The run folder's own files: provenance.json, results.json, done."""

import json
import math
import os
from importlib.metadata import version
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer

from vsr.callbacks.answers import Answers, cell_of
from vsr.callbacks.ema import ema_decay
from vsr.checkout import commit
from vsr.models.exchange import read_weights
from vsr.modules.optim import total_steps

RESULTS_SCHEMA = 2
"""Of ``results.json``; 2: a test under corruptions has ``cells`` and ``categories``."""
_VIDEO = np.dtype([("video", np.int64)])


class RunFolder(Callback):
    """Writes where a run's weights come from, what it measured, and that it is done.

    ``provenance.json`` stands in the folder from the first step and in every checkpoint under ``"provenance"``;
    ``results.json`` is written by ``validate`` and ``test``: metrics, how many videos they are of, and a 95 % interval
    of each top-1 and top-5 accuracy (:func:`wilson_interval`), all of clean videos, and what other callbacks add
    (:func:`add_results`); an empty ``done`` when training has ended by itself.
    """

    def __init__(self) -> None:
        self._provenance: dict[str, Any] = {}
        self._earlier: dict[str, Any] | None = None
        self._videos = Answers(_VIDEO)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Note what an earlier part of the run was made from."""
        if trainer.state.fn == "fit":
            self._earlier = checkpoint.get("provenance", {}) | {"until_step": checkpoint["global_step"]}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the provenance and take away an old ``done``."""
        if trainer.is_global_zero:
            (_folder(trainer) / "done").unlink(missing_ok=True)
        averaged = {} if (decay := ema_decay(trainer)) is None else {"ema_decay": decay}
        origin = provenance(trainer, pl_module, self._earlier) | {"total_steps": total_steps(trainer)}
        self._note(trainer, origin | averaged)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Put the provenance into the checkpoint, and the names of a classifier's classes."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        self._note(trainer, self._provenance | data.provenance())  # textures are made after the start
        checkpoint["provenance"] = self._provenance
        if hasattr(data, "classes"):
            checkpoint["classes"] = data.classes

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say that training ended by itself."""
        if trainer.is_global_zero and not trainer.interrupted and trainer.global_step >= total_steps(trainer):
            (_folder(trainer) / "done").touch()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from 0."""
        self._videos = Answers(_VIDEO)

    on_test_start = on_validation_start

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Note which videos these were."""
        if trainer.state.fn != "fit":
            self._videos.add(video=batch["index"].unique())

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Note which videos these were, of those that were shown clean."""
        self._videos.add(video=outputs["index"][cell_of(outputs) == 0])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the results of ``vsr validate``."""
        if trainer.state.fn == "validate":
            self._write_results(trainer, pl_module)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the results of ``vsr test``."""
        self._write_results(trainer, pl_module)

    def _note(self, trainer: Trainer, found: dict[str, Any]) -> None:
        if found != self._provenance and trainer.is_global_zero:
            _write(_folder(trainer) / "provenance.json", found)
        self._provenance = found

    def _write_results(self, trainer: Trainer, pl_module: LightningModule) -> None:
        videos = len(np.unique(self._videos.of_all(trainer)["video"]))
        if trainer.is_global_zero:
            metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
            accuracies = {name: value for name, value in metrics.items() if name.endswith(("_acc1", "_acc5"))}
            intervals = {name: wilson_interval(value, videos) for name, value in accuracies.items()} if videos else {}
            results = {"schema": RESULTS_SCHEMA, "metrics": metrics, "intervals": intervals, "videos": videos}
            # The provenance has the number of training videos by the same name.
            _write(_folder(trainer) / "results.json", results | provenance(trainer, pl_module) | results)


def add_results(trainer: Trainer, found: dict[str, Any]) -> None:
    """Add to the ``results.json`` of a test that has just ended, by a callback that stands after :class:`RunFolder`."""
    path = _folder(trainer) / "results.json"
    _write(path, json.loads(path.read_text(encoding="utf-8")) | found)


def wilson_interval(share: float, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Where the true share lies, given the share that was found among ``count`` independent videos.

    Args:
        share: right answers / ``count``, 0..1.
        count: 1 or more.
        confidence: 0..1.

    Returns:
        The ends of Wilson's score interval, without continuity correction.

    Source: Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22, 1927.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)


def provenance(trainer: Trainer, pl_module: LightningModule, earlier: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a checkpoint or a result was made from, as plain values.

    Args:
        trainer: of the run.
        pl_module: what learns.
        earlier: that of the checkpoint that the run goes on from, with its step as ``until_step``.
    """
    origin: dict[str, Any] = {"vsr": version("vsr"), "commit": commit(), "torch": version("torch")}
    origin |= subject(trainer.datamodule, pl_module)  # type: ignore[attr-defined]
    if seed := os.environ.get("PL_GLOBAL_SEED"):  # where seed_everything keeps it
        origin["seed_everything"] = int(seed)
    learner: Any = pl_module
    if earlier is not None:
        code = {key: earlier[key] for key in ("until_step", "vsr", "commit", "torch") if key in earlier}
        origin["earlier_parts"] = [*earlier.get("earlier_parts", []), code]
    if earlier is not None and "starts_from" in earlier:
        origin["starts_from"] = earlier["starts_from"]  # the file isn't read again, and may be gone
    elif hasattr(learner, "checkpoint"):
        origin["starts_from"] = _start(learner.checkpoint)
    return origin


def subject(data: Any, pl_module: LightningModule) -> dict[str, Any]:
    """What learns from what: the part of the provenance that stays the same when a run is resumed."""
    clip = {"num_frames": data.num_frames, "stride": data.stride, "size": data.size}
    origin: dict[str, Any] = {"module": type(pl_module).__name__, "data_seed": data.seed}
    origin |= {"global_batch_size": data.global_batch_size, "clip": clip}
    origin |= data.provenance()
    return origin


def _start(checkpoint: str | None) -> dict[str, Any] | None:
    """The checkpoint that training started from, with its own provenance."""
    if checkpoint is None:
        return None
    weights = read_weights(checkpoint, allow_zero_biases=True)  # the module has refused what it can't start from
    return {"checkpoint": checkpoint, "provenance": weights.about.provenance}


def _folder(trainer: Trainer) -> Path:
    folder = Path(trainer.default_root_dir)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _write(path: Path, content: dict[str, Any]) -> None:
    """Write JSON whole or not at all."""
    part = path.with_suffix(".part")
    try:
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
