"""The numbers as a table on the screen, and as files."""

import csv
import io
import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from vsr.analysis.figure4 import Accuracies, Relation, caption, plot
from vsr.analysis.measure import Number
from vsr.export import whole

SCHEMA = 1
"""Of ``properties.json``."""


def write_report(
    folder: Path, numbers: list[Number], origins: dict[str, str], relations: list[Relation], accuracies: Accuracies
) -> list[Path]:
    """Write ``properties.json``, ``.csv`` and ``.md``, and ``figure4.png`` where two datasets have an accuracy.

    Args:
        folder: where they go.
        numbers: of all datasets.
        origins: what each of them is, in words, the natural videos included.
        relations: of properties and accuracies.
        accuracies: which those are.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shown = [relation for relation in relations if len(relation.points) >= 2]
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "origins": origins,
        "numbers": [asdict(number) for number in numbers],
        "accuracies": asdict(accuracies),
        "figure4": [asdict(relation) for relation in shown],
    }
    columns = [field.name for field in fields(Number)]
    rows = io.StringIO()
    lines = csv.DictWriter(rows, columns, lineterminator="\n")
    lines.writeheader()
    lines.writerows(asdict(number) for number in numbers)
    files = {
        "properties.json": json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        "properties.csv": rows.getvalue(),
        "properties.md": page(numbers, origins, shown, accuracies),
    }
    for name, text in files.items():
        with whole(folder / name) as part:
            part.write_text(text, encoding="utf-8")
    if shown:
        with whole(folder / "figure4.png") as part:
            plot(shown, accuracies.source).savefig(part)
    return [folder / name for name in (*files, *(["figure4.png"] if shown else []))]


def page(numbers: list[Number], origins: dict[str, str], relations: list[Relation], accuracies: Accuracies) -> str:
    """The page in Markdown."""
    head, *rows = _cells(numbers)
    lines = ["# Properties of datasets", "", *(f"* `{name}`: {origin}" for name, origin in origins.items()), ""]
    lines += [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    lines += ["", "± is the standard error over videos.", "", *(f"* {line}" for line in _notes(numbers))]
    if relations:
        source = f"Accuracies: {accuracies.source}. In round brackets: 95 % interval of Pearson's r (Fisher)."
        lines += ["", "## Against accuracy", "", source, ""]
        for relation in relations:
            lines.append(f"* {relation.property}: {caption(relation)}, {len(relation.points)} datasets")
            for name, (x, low, high) in relation.predictions.items():
                beyond = "; it lies outside the others, which makes this a guess" * (name in relation.beyond)
                lines.append(f"  * {name}, {x:.4g}: 95 % of networks between {low:.1f} and {high:.1f} %{beyond}")
        lines += [
            "", "A prediction takes datasets for draws from a straight line with the same scatter everywhere, and "
            "knows one property at a time: with few datasets it is wide, and that is what is known.",
        ]  # fmt: skip
    return "\n".join(lines) + "\n"


def table(numbers: list[Number]) -> str:
    """What is printed: a property in each line, a dataset in each column, then n, seed and weights; and the gaps."""
    cells = _cells(numbers)
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    lines = []
    for row in cells:
        padded = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *padded]).rstrip())
    return "\n".join([*lines, "", *_gaps(numbers)])


def _cells(numbers: list[Number]) -> list[list[str]]:
    """Head and rows."""
    datasets = list(dict.fromkeys(number.dataset for number in numbers))
    rows = [["property", *datasets, "n", "seed", "weights"]]
    for name in dict.fromkeys(number.property for number in numbers):
        found = {number.dataset: number for number in numbers if number.property == name}
        first = next(iter(found.values()))
        counts = dict.fromkeys(f"{number.n:,}" for number in found.values() if number.value is not None)
        seeds = dict.fromkeys(str(number.seed) for number in found.values())
        unit = f", {first.unit}" if first.unit else ""
        rows.append(
            [
                f"{name}{unit}",
                *(_shown(found[dataset]) for dataset in datasets),
                f"{' / '.join(counts)} {first.of}" if counts else "–",
                " / ".join(seeds),
                first.weights[:8] if first.weights else "–",
            ]
        )
    return rows


def _shown(number: Number) -> str:
    if number.value is None:
        return "–"
    digits = f"{number.value:,.0f}" if abs(number.value) >= 1e4 else f"{number.value:.4g}"
    return digits if number.error is None else f"{digits} ± {number.error:.2g}"


def _gaps(numbers: list[Number]) -> list[str]:
    """Why there is no value, once for all datasets and properties that share a reason."""
    gaps: dict[str, dict[str, None]] = {}
    datasets = len({number.dataset for number in numbers})
    where: dict[tuple[str, str], list[str]] = {}
    for number in numbers:
        if number.missing is not None:
            where.setdefault((number.property, number.missing), []).append(number.dataset)
    for (name, why), of in where.items():
        gaps.setdefault(why, {})[name if len(of) == datasets else f"{name} of {', '.join(of)}"] = None
    return [f"not computed: {', '.join(names)}: {why}" for why, names in gaps.items()]


def _notes(numbers: list[Number]) -> list[str]:
    """How each property came about, and the gaps."""
    hows: dict[str, dict[str, None]] = {}
    for number in (number for number in numbers if number.value is not None):
        weights = f"; weights SHA-256 {number.weights}" if number.weights else ""
        hows.setdefault(f"{number.how}{weights}", {})[number.property] = None
    return [*(f"{', '.join(names)}: {how}" for how, names in hows.items()), *_gaps(numbers)]
