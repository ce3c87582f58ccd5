"""What a sweep will take: sums of what ``vsr plan`` measured, and what hasn't been measured."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from vsr.sweep.folder import Sweep

_FILE = "plan.json"
KEPT = 3
"""Checkpoints that a run folder has at most: the last, the one before, and one that is being written."""


@dataclass(frozen=True)
class Measured:
    """What ``vsr plan`` says of one fit.

    Attributes:
        cell: its stage, or for pre-training ``pretrain/<dataset>``.
        words: the fit's options, with which it was measured.
        hours: of the whole fit, textures included, without validation and tests.
        devices: that it runs on.
        checkpoint: bytes of one.
        device: that it was measured on.
        note: what it is if not measured: predicted, or a lower bound.
        date: ISO 8601.
    """

    cell: str
    words: list[str]
    hours: float
    devices: int
    checkpoint: int
    device: str
    note: str
    date: str


def cell_of(stage: str, dataset: str) -> str:
    """What is measured once: pre-training of each dataset; what follows takes as long whatever the weights are."""
    return f"pretrain/{dataset}" if stage == "pretrain" else stage


def read(folder: Path) -> dict[str, Measured]:
    """What has been measured for a sweep, by the cell."""
    try:
        content = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        return {m["cell"]: Measured(**m) for m in content}
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # none, or of another version: it is measured again


def write(folder: Path, measured: Iterable[Measured]) -> None:
    """Keep it, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{_FILE}.part"
    part.write_text(json.dumps([asdict(m) for m in measured], indent=2) + "\n", encoding="utf-8")
    part.replace(folder / _FILE)


def table(sweep: Sweep, fits: dict[tuple[str, int], list[str]], measured: dict[str, Measured]) -> str:
    """Cells, GPU-hours and disk, stage by stage and in all.

    Args:
        sweep: the sweep.
        fits: the options of ``vsr fit`` of those cells that have a fit.
        measured: see :func:`read`; what was measured with other options counts as not measured.
    """
    rows = [["stage", "cells", "device-hours", "disk", ""]]
    hours_of_all, disk_of_all, unknown = 0.0, 0, []
    for stage in sweep.stages:
        tasks = [n for s, n in sweep.cells() if s == stage]
        known = [
            m for n in tasks
            if (m := measured.get(cell_of(stage, sweep.names[n]))) is not None and m.words == fits.get((stage, n))
        ]  # fmt: skip
        count = str(len(tasks))
        if not known:
            why = "vsr plan can't time it" if not fits.keys() & {(stage, n) for n in tasks} else ""
            rows.append([stage, count, "not measured", "not measured", why])
            unknown.append(stage)
            continue
        hours, disk = sum(m.hours * m.devices for m in known), sum(KEPT * m.checkpoint for m in known)
        hours_of_all, disk_of_all = hours_of_all + hours, disk_of_all + disk
        said = f"measured {min(m.date for m in known)[:10]} on {', '.join(sorted({m.device for m in known}))}"
        said += "".join(f", {note}" for note in sorted({m.note for m in known} - {""}))
        if stage != "pretrain":
            said += ", training alone, without its tests"
        if missing := len(tasks) - len(known):
            said += f"; {missing} of the cells not measured and not in it"
            unknown.append(f"{missing} of {stage}")
        rows.append([stage, count, f"{hours:,.2g}" if hours < 10 else f"{hours:,.0f}", _bytes(disk), said])
    total = f"{hours_of_all:,.2g}" if hours_of_all < 10 else f"{hours_of_all:,.0f}"
    beyond = f"without {', '.join(unknown)}" if unknown else ""
    sums = [total, _bytes(disk_of_all)] if hours_of_all else ["not measured"] * 2
    rows.append(["all", str(len(sweep.cells())), *sums, beyond])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    lines.append(f"disk: checkpoints, {KEPT} at most in a run folder; pictures, logs and tables come to them")
    return "\n".join(lines)


def _bytes(number: int) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9)):
        if number >= size:
            return f"{number / size:,.1f} {unit}"
    return f"{number / 1e6:,.1f} MB"
