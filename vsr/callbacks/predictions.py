"""What a classifier said about every test video: two tables, and a picture of what it takes for what."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vsr.callbacks.answers import Answers, cell_of
from vsr.export import whole

COLUMNS = ("video", "label", "class", "predicted", "predicted_class", "probability", "rank")
CORRUPTED_COLUMNS = ("video", "perturbation", "severity", *COLUMNS[1:])
"""Where each video is also shown under corruptions."""
_CHUNK = 4096
"""The rows that are Python objects at once."""
_NAMED = 30
"""The most classes whose names and counts still fit into the picture."""
_INK, _PAPER, _FULL = (70, 70, 70), (255, 255, 255), (16, 60, 120)
_GAP, _POINT, _SIDE = 6, 13, 840  # px; the last of the squares together, about


class Predictions(Callback):
    """Writes ``predictions.csv``, ``predictions.parquet`` and ``pictures/confusion.png`` into the run folder of a test.

    Each row of the tables is a video, in the order of its list, whichever process has tested it: its path, its class
    and the predicted one, by number and name, the probability of the latter, and the rank of the true class, 1 being
    right. The Parquet file has all ``probabilities``, too, in the order of the labels, and in its metadata the
    ``classes`` they are of, as JSON. Where the data module has ``cells``, each video has a row for every one that it
    was shown under, with ``perturbation`` ("clean" first) and ``severity``; the picture is of clean videos.
    """

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        numbers = [(name, np.int32) for name in ("cell", "label", "predicted", "rank")]
        vector = ("probabilities", np.float32, (len(data.classes),))
        self._seen = Answers(np.dtype([("video", np.int64), *numbers, vector]))

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Keep what ``test_step`` returns: ``index``, ``probability`` and ``label`` of each video, and its ``cell``."""
        label, order = outputs["label"], outputs["probability"].argsort(dim=1, descending=True, stable=True)
        rank = (order == label[:, None]).int().argmax(dim=1) + 1
        self._seen.add(
            video=outputs["index"], cell=cell_of(outputs), label=label, predicted=order[:, 0], rank=rank,
            probabilities=outputs["probability"],
        )  # fmt: skip

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather what all processes have seen, and write it."""
        rows = self._seen.of_all(trainer)
        self.on_test_start(trainer, pl_module)  # the numbers of a large test take 100 MB
        if not trainer.is_global_zero:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        folder = Path(trainer.default_root_dir)
        with whole(folder / "predictions.csv") as part, part.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(COLUMNS if _perturbed(data) is None else CORRUPTED_COLUMNS)
            for columns, _ in _in_order(rows, data):
                columns["probability"] = [f"{probability:.6f}" for probability in columns["probability"]]
                table.writerows(zip(*columns.values(), strict=True))
        with whole(folder / "predictions.parquet") as part:
            _write_parquet(part, rows, data)
        clean = rows[rows["cell"] == 0]
        counts = np.zeros((len(data.classes),) * 2, dtype=np.int64)
        np.add.at(counts, (clean["label"], clean["predicted"]), 1)
        picture = confusion_picture(counts, data.classes)
        with whole(folder / "pictures" / "confusion.png") as part:
            picture.save(part)


def _perturbed(data: Any) -> dict[int, tuple[str, int]] | None:
    """Perturbation and severity by the number of the cell, or None where a test knows no corruptions."""
    if not hasattr(data, "cells"):
        return None
    return {0: ("clean", 0)} | {cell.number: (cell.perturbation, cell.severity) for cell in data.cells}


def _in_order(rows: NDArray[np.void], data: Any) -> Iterator[tuple[dict[str, list[Any]], NDArray[np.float32]]]:
    """The tables' columns by name, and the probabilities (n, K), some rows at a time, by video and cell."""
    perturbed, order = _perturbed(data), np.lexsort((rows["cell"], rows["video"]))
    for start in range(0, len(rows), _CHUNK):
        some = rows[order[start : start + _CHUNK]]
        label, predicted = some["label"].tolist(), some["predicted"].tolist()
        columns: dict[str, list[Any]] = {"video": [data.path("test", video) for video in some["video"].tolist()]}
        if perturbed is not None:
            shown = [perturbed[number] for number in some["cell"].tolist()]
            columns |= {"perturbation": [name for name, _ in shown], "severity": [level for _, level in shown]}
        columns |= {"label": label, "class": [data.classes[k] for k in label]}
        columns |= {"predicted": predicted, "predicted_class": [data.classes[k] for k in predicted]}
        columns["probability"] = some["probabilities"][np.arange(len(some)), some["predicted"]].tolist()
        columns["rank"] = some["rank"].tolist()
        yield columns, some["probabilities"]


def _write_parquet(path: Path, rows: NDArray[np.void], data: Any) -> None:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    kinds = {"severity": pa.int8(), "probability": pa.float32()}
    kinds |= dict.fromkeys(("label", "predicted", "rank"), pa.int32())
    names = COLUMNS if _perturbed(data) is None else CORRUPTED_COLUMNS
    fields = [(name, kinds.get(name, pa.string())) for name in names]
    schema = pa.schema([*fields, ("probabilities", pa.list_(pa.float32()))], {"classes": json.dumps(data.classes)})
    with ParquetWriter(path, schema) as file:
        for columns, probabilities in _in_order(rows, data):
            ends = np.arange(len(probabilities) + 1, dtype=np.int32) * probabilities.shape[1]
            arrays = [pa.array(columns[name], kind) for name, kind in fields]
            arrays.append(pa.ListArray.from_arrays(ends, probabilities.reshape(-1)))
            file.write_table(pa.Table.from_arrays(arrays, schema=schema))


def confusion_picture(counts: NDArray[np.int64], classes: list[str]) -> Image.Image:
    """Draw how often each class was taken for each.

    Args:
        counts: int64 (K, K), videos; rows are true classes, columns predicted ones.
        classes: their K names; beyond 30 neither names nor counts are written.

    Returns:
        A square for each pair: the darker, the larger the share of the true class's videos, 0 white.
    """
    number, named = len(classes), len(classes) <= _NAMED
    share = counts / counts.sum(axis=1, keepdims=True).clip(1)
    side = min(56, max(2, _SIDE // number))
    shade = np.array(_PAPER) + share[..., None] * (np.array(_FULL) - np.array(_PAPER))
    squares = Image.fromarray(shade.round().astype(np.uint8).repeat(side, 0).repeat(side, 1))
    font = ImageFont.load_default(_POINT)
    title = "rows: true class; columns: predicted; dark: all of the row's videos, white: none"
    margin = 2 * _GAP + (max(int(font.getlength(name)) for name in classes) if named else 0)
    top = margin + 2 * _POINT
    width = max(margin + side * number + _GAP, int(font.getlength(title)) + 2 * _GAP)
    canvas = Image.new("RGB", (width, top + side * number + _GAP), _PAPER)
    canvas.paste(squares, (margin, top))
    draw = ImageDraw.Draw(canvas)
    draw.text((_GAP, _GAP), title, fill=_INK, font=font)
    draw.rectangle((margin - 1, top - 1, margin + side * number, top + side * number), outline=_INK)
    if not named:
        return canvas
    for k, name in enumerate(classes):
        middle = side * k + side // 2
        draw.text((margin - _GAP, top + middle), name, fill=_INK, font=font, anchor="rm")
        upright = Image.new("RGB", (margin - _GAP, 2 * _POINT), _PAPER)
        ImageDraw.Draw(upright).text((0, _POINT), name, fill=_INK, font=font, anchor="lm")
        upright = upright.rotate(90, expand=True)
        canvas.paste(upright, (margin + middle - _POINT, top - _GAP - upright.height))
        for j in np.flatnonzero(counts[k]).tolist():
            ink = _PAPER if share[k, j] > 0.5 else _INK
            place = (margin + side * j + side // 2, top + middle)
            draw.text(place, str(counts[k, j]), fill=ink, font=font, anchor="mm")
    return canvas
