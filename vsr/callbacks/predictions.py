"""What a classifier said about every test video: a table, and a picture of what it takes for what."""

import csv
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vsr.export import whole

COLUMNS = ("video", "label", "class", "predicted", "predicted_class", "probability", "rank")
_NAMED = 30
"""The most classes whose names and counts still fit into the picture."""
_INK, _PAPER, _FULL = (70, 70, 70), (255, 255, 255), (16, 60, 120)
_GAP, _POINT, _SIDE = 6, 13, 840  # px; the last of the squares together, about


class Prediction(NamedTuple):
    """What was said about a video.

    Attributes:
        video: which of the list.
        label: its class.
        predicted: the most probable class.
        probability: that one's.
        rank: the place of its class among all, the most probable first: 1 is right.
    """

    video: int
    label: int
    predicted: int
    probability: float
    rank: int


class Predictions(Callback):
    """Writes ``predictions.csv`` and ``pictures/confusion.png`` into the run folder of a test.

    Each row of the table is a video, in the order of its list, whichever process has tested it: its path, its class and
    the predicted one, by number and name, the probability of the latter, and the rank of the true class.
    """

    def __init__(self) -> None:
        self._seen: list[Prediction] = []

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin anew."""
        self._seen = []

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Keep what ``test_step`` returns: ``index``, ``probability`` and ``label`` of each video."""
        label, order = outputs["label"], outputs["probability"].argsort(dim=1, descending=True, stable=True)
        rank = (order == label[:, None]).int().argmax(dim=1) + 1
        most = outputs["probability"].amax(dim=1)
        columns = (outputs["index"], label, order[:, 0], most, rank)
        self._seen += map(Prediction, *(column.tolist() for column in columns))

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather what all processes have seen, and write it."""
        parts = [self._seen]
        if trainer.world_size > 1:
            parts = [[] for _ in range(trainer.world_size)]
            torch.distributed.all_gather_object(parts, self._seen)
        if not trainer.is_global_zero:
            return
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        folder = Path(trainer.default_root_dir)
        every = sorted(prediction for part in parts for prediction in part)
        with whole(folder / "predictions.csv") as part, part.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            for video, label, predicted, probability, rank in every:
                named = label, data.classes[label], predicted, data.classes[predicted]
                table.writerow([data.path("test", video), *named, f"{probability:.6f}", rank])
        counts = np.zeros((len(data.classes),) * 2, dtype=np.int64)
        np.add.at(counts, ([p.label for p in every], [p.predicted for p in every]), 1)
        picture = confusion_picture(counts, data.classes)
        with whole(folder / "pictures" / "confusion.png") as part:
            picture.save(part)


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
