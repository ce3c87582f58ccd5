"""What arXiv 2410.24213 reports, to put beside what is measured here. Nothing in it was measured by vsr.

``figure3.csv`` is READ OFF the bars of figure 3 on the authors' project page, to about ±0.05 points: "original" reads
91.31, 90.21 and 91.31 where table 1 prints 91.3, 90.2 and 91.3. Nowhere is it said at which severity. Two labels,
"rotate" and "img rotate", are taken for :mod:`vsr.corruptions`' ``rotate`` and ``static_rotate``, in the order of the
authors' own list; the opposite can't be excluded. ``results.csv`` holds what tables print, except for ViT-L, whose
accuracies figure 2 has.
"""

import csv
from pathlib import Path
from typing import NamedTuple

_HERE = Path(__file__).parent


class Bars(NamedTuple):
    """The three bars of figure 3 for one corruption: ViT-B fine-tuned on UCF101, top-1 accuracy in %, read off.

    Attributes:
        image_crops: pre-trained on ``acc_images``.
        stylegan_crops: pre-trained on ``acc_stylegan``.
        ucf101_pretrain: pre-trained on UCF101.
    """

    image_crops: float
    stylegan_crops: float
    ucf101_pretrain: float


class Result(NamedTuple):
    """What the paper reports for the networks that were pre-trained on one dataset: top-1 accuracies in %, or None.

    Attributes:
        name: the paper's name of the dataset.
        table: the first table with it.
        ucf101_finetune_vitb: fine-tuned on UCF101.
        hmdb51_finetune_vitb: fine-tuned on HMDB51.
        ucf101_linear_probe_vitb: a linear probe on UCF101.
        ucf101_finetune_vitl: ViT-L, fine-tuned on UCF101.
        k400_finetune_vitb: fine-tuned on Kinetics-400.
    """

    name: str
    table: int
    ucf101_finetune_vitb: float | None
    hmdb51_finetune_vitb: float | None
    ucf101_linear_probe_vitb: float | None
    ucf101_finetune_vitl: float | None
    k400_finetune_vitb: float | None


def figure3() -> dict[str, Bars]:
    """The bars by corruption: ``clean`` first, then the names of :data:`vsr.corruptions.FIGURE`, in their order."""
    rows = _rows("figure3.csv")
    return {row["corruption"]: Bars(*(float(row[field]) for field in Bars._fields)) for row in rows}


def results() -> dict[str, Result]:
    """By the name of the dataset: a recipe's of ``configs/pretrain``, or ``random_init`` for no pre-training."""
    found = {}
    for row in _rows("results.csv"):
        accuracies = (float(row[field]) if row[field] else None for field in Result._fields[2:])
        found[row["dataset"]] = Result(row["paper_name"], int(row["paper_table"]), *accuracies)
    return found


def _rows(name: str) -> list[dict[str, str]]:
    with (_HERE / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
