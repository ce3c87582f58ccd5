"""How robust a classifier is: its accuracy under every corruption beside the clean one, counted and reported."""

from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from numpy.typing import NDArray

from vsr.callbacks.answers import Answers, cell_of
from vsr.callbacks.run_folder import add_results, wilson_interval
from vsr.corruptions import PERTURBATIONS, Cell
from vsr.errors import InputError

_KIND = np.dtype([("video", np.int64), ("cell", np.int32), ("right", np.bool_)])


class Score(NamedTuple):
    """The accuracy under one cell, on clean videos, or as the mean over a perturbation's severities.

    Attributes:
        perturbation: its name, or ``clean``.
        category: the perturbation's; nothing for ``clean``.
        severity: 1 .. 5; 0 for ``clean``; None for the mean over those that were tested.
        videos: how many were shown.
        correct: how many of them were right; of a mean, the mean.
        acc1: A_p, top-1 accuracy, a share.
        low, high: Wilson's 95 % interval of it. Of a mean: as if a video were right at all severities or at none, which
            no other distribution between 0 and 1 exceeds in variance, so that it is never too narrow.
        relative: A_p / A_c, A_c being the accuracy on clean videos; None where that is 0.
        absolute: 1 - (A_c - A_p).
        change: A_p - A_c, of the same videos.
        change_low, change_high: its 95 % interval, see :func:`paired_interval`.
    """

    perturbation: str
    category: str
    severity: int | None
    videos: int
    correct: float
    acc1: float
    low: float
    high: float
    relative: float | None
    absolute: float
    change: float
    change_low: float
    change_high: float


class Average(NamedTuple):
    """Means over the perturbations of a category of their means over severities.

    Attributes:
        perturbations: how many were tested.
        acc1, relative, absolute: as of :class:`Score`.
    """

    perturbations: int
    acc1: float
    relative: float | None
    absolute: float


class Robustness(Callback):
    """Reports a test under corruptions: where the data module has ``cells``; of other tests it takes no notice.

    Into the run folder go ``robustness.csv`` (every :class:`Score`), ``robustness.md`` and ``pictures/robustness.png``,
    which have the published bars of figure 3 beside them, and into its ``results.json`` ``cells`` and ``categories``.
    It stands after :class:`~vsr.callbacks.run_folder.RunFolder`, which writes that file.

    The scores are those of the benchmark (Schiappa et al., CVPR 2023; the authors' ``robustness_scores.py``, as
    shares): relative and absolute robustness by cell; mean over severities, then over the perturbations of a category.

    Raises:
        InputError: at the end, on every process: a video was not shown exactly once, clean and under every cell; with
            ``limit_test_batches`` of those that were shown at all, or else of the whole test list.
    """

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        self._seen = Answers(_KIND)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Keep which videos are right under which cell."""
        if _cells(trainer) is not None:
            # Of equal probabilities the first, as in the tables of predictions.
            first = outputs["probability"].argsort(dim=1, descending=True, stable=True)[:, 0]
            self._seen.add(video=outputs["index"], cell=cell_of(outputs), right=first == outputs["label"])

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather, check and report."""
        cells = _cells(trainer)
        if cells is None:
            return
        from vsr.callbacks.robustness_report import FILES, write_report

        folder = Path(trainer.default_root_dir)
        rows = self._seen.of_all(trainer)
        if trainer.is_global_zero:
            for name in FILES:  # of an earlier test: it must not stand for one that is refused
                (folder / name).unlink(missing_ok=True)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        listed = data.num_videos("test")
        right = right_answers(rows, cells, listed if trainer.limit_test_batches == 1.0 else 0)
        if trainer.is_global_zero:
            every = scores(right, cells)
            add_results(trainer, results(every))
            write_report(folder, every, pl_module, data)  # its last file says to a sweep that the test is done


def right_answers(rows: NDArray[np.void], cells: Sequence[Cell], listed: int) -> NDArray[np.bool_]:
    """Sort a test's rows, and see that none is missing or double.

    Args:
        rows: ``video``, ``cell`` (number) and ``right``, in any order.
        cells: what every video was to be shown under.
        listed: videos 0 .. listed - 1 must be among them; others may.

    Returns:
        Which videos are right, bool (videos, 1 + cells); clean first, then in the order of ``cells``.

    Raises:
        InputError: a row is missing or double.
    """
    videos = np.union1d(rows["video"], np.arange(listed))
    right, refused = np.empty((len(videos), 1 + len(cells)), dtype=np.bool_), []
    for column, number in enumerate([0, *(cell.number for cell in cells)]):
        shown = rows[rows["cell"] == number]
        place = np.searchsorted(videos, shown["video"])
        count = np.bincount(place, minlength=len(videos))
        if (count != 1).any():
            name = "clean videos" if number == 0 else "{} at severity {}".format(*cells[column - 1])
            refused.append(f"{name}: {(count == 0).sum()} missing and {(count > 1).sum()} double")
        right[place, column] = shown["right"]
    if refused or not len(videos):
        more = f", and {len(refused) - 1} other cells likewise" if len(refused) > 1 else ""
        raise InputError(
            f"no robustness is reported, of {len(videos)} videos under {refused[0] if refused else 'no cell'}{more}: "
            "every video must be shown exactly once under every cell; test without --trainer.limit_test_batches"
        )
    return right


def scores(right: NDArray[np.bool_], cells: Sequence[Cell]) -> list[Score]:
    """The clean score, then each perturbation's, in the order given: by severity, then their mean.

    Args:
        right: bool (videos, 1 + cells), of :func:`right_answers`.
        cells: of its columns but the first.
    """
    clean = right[:, 0].astype(np.float64)
    every = [_score("clean", 0, clean, clean)]
    for name in dict.fromkeys(cell.perturbation for cell in cells):
        columns = {cell.severity: right[:, 1 + c] for c, cell in enumerate(cells) if cell.perturbation == name}
        every += [_score(name, severity, columns[severity], clean) for severity in sorted(columns)]
        every.append(_score(name, None, np.mean(list(columns.values()), axis=0), clean))
    return every


def averages(every: list[Score]) -> dict[str, Average]:
    """By category, and of all perturbations as ``all``: means over perturbations of their means over severities."""
    means = [score for score in every if score.severity is None]
    groups = {c: [s for s in means if s.category == c] for c in dict.fromkeys(s.category for s in means)}
    found = {}
    for category, group in (groups | {"all": means}).items():
        count, relative = len(group), [s.relative for s in group if s.relative is not None]
        found[category] = Average(
            perturbations=count,
            acc1=sum(s.acc1 for s in group) / count,
            relative=sum(relative) / count if relative else None,
            absolute=sum(s.absolute for s in group) / count,
        )
    return found


def results(every: list[Score]) -> dict[str, Any]:
    """What ``results.json`` has: ``cells`` by perturbation and severity or "mean", and ``categories``."""
    cells: dict[str, dict[str, Any]] = {}
    for s in every[1:]:
        values = {"acc1": s.acc1, "interval": [s.low, s.high], "relative": s.relative, "absolute": s.absolute}
        values |= {"change": s.change, "change_interval": [s.change_low, s.change_high]}
        cells.setdefault(s.perturbation, {})["mean" if s.severity is None else str(s.severity)] = values
    return {"cells": cells, "categories": {name: mean._asdict() for name, mean in averages(every).items()}}


def paired_interval(difference: NDArray[np.float64], confidence: float = 0.95) -> tuple[float, float]:
    """Where the true change of a share lies, given the change of each of n independent videos.

    With d_i in [-1, 1], the centre is sum d_i / (n + 2), and the half-width
    z sqrt(sum d_i^2 + 1 - (sum d_i)^2 / (n + 2)) / (n + 2). For single cells, d_i being -1, 0 or 1, this is Wald's
    interval of matched pairs (McNemar's table) with half a video added to each of the table's four fields; means over
    severities keep the form.

    Args:
        difference: (n,), the answer under corruption less the clean one; 1 is right.
        confidence: 0..1.

    Source: Agresti and Min, "Simple improved confidence intervals for comparing matched proportions", Statistics in
    Medicine 24, 2005.
    """
    z, count = NormalDist().inv_cdf((1 + confidence) / 2), len(difference) + 2
    total, squares = float(difference.sum()), float(np.square(difference).sum())
    half = z * sqrt(squares + 1 - total * total / count) / count
    return max(-1.0, total / count - half), min(1.0, total / count + half)


def _score(name: str, severity: int | None, right: NDArray[Any], clean: NDArray[np.float64]) -> Score:
    share, reference = float(right.mean()), float(clean.mean())
    low, high = wilson_interval(share, len(right))
    change_low, change_high = (0.0, 0.0) if name == "clean" else paired_interval(right - clean)
    return Score(
        perturbation=name,
        category="" if name == "clean" else PERTURBATIONS[name].category,
        severity=severity,
        videos=len(right),
        correct=round(float(right.sum()), 6),
        acc1=share,
        low=low,
        high=high,
        relative=share / reference if reference else None,
        absolute=1 - (reference - share),
        change=share - reference,
        change_low=change_low,
        change_high=change_high,
    )


def _cells(trainer: Trainer) -> list[Cell] | None:
    """What videos are shown under, or None."""
    cells: list[Cell] | None = getattr(trainer.datamodule, "cells", None)  # type: ignore[attr-defined]
    return cells
