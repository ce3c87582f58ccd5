"""The report as Markdown and as CSV files."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from vsr.report.cells import Cell
from vsr.report.tables import Bar, Table

_COLUMNS = ("dataset", "measure", "published", "ours", "difference", "runs", "low", "high", "differs_from_paper")
_BARS = ("corruption", "dataset", "published", "ours", "difference", "tests", "low", "high", "severity", "ours_mean")


def percent(value: float | None, digits: int = 1) -> str:
    """A number, or a dash."""
    return "–" if value is None else f"{value:.{digits}f}"


def signed(value: float | None) -> str:
    """A difference with its sign, or a dash."""
    return "–" if value is None else f"{value:+.1f}".replace("-", "−")


def ends(interval: tuple[float, float] | None) -> str:
    """An interval, or a dash."""
    return "–" if interval is None else f"[{interval[0]:.1f}, {interval[1]:.1f}]"


def csv_of_table(table: Table) -> str:
    """Every cell of a table, a line each."""
    lines = []
    for cell in table.cells:
        low, high = cell.interval or (None, None)
        unlike = "; ".join(cell.unlike)
        ours = "not run" if cell.ours is None else cell.ours
        lines.append(
            [
                cell.dataset,
                cell.measure.label,
                cell.published,
                ours,
                cell.difference,
                len(cell.tests),
                low,
                high,
                unlike,
            ]
        )
    return _csv(_COLUMNS, lines)


def csv_of_bars(bars: Iterable[Bar]) -> str:
    """Every bar of figure 3, a line each."""
    lines = []
    for b in bars:
        ours = "not run" if b.ours is None else b.ours
        low, high = b.interval or (None, None)
        row = [b.corruption, b.dataset, b.published, ours, b.difference, b.tests, low, high, b.severity, b.average]
        lines.append(row)
    return _csv(_BARS, lines)


def csv_of_rows(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Any other."""
    return _csv(columns, rows)


def table_in_markdown(table: Table) -> list[str]:
    """A heading, the notes and a table for each measure."""
    lines = [f"## {safe(table.title)}", ""]
    for note in table.notes:
        lines += [safe(note), ""]
    for measure in dict.fromkeys(cell.measure.label for cell in table.cells):
        lines += [f"**{safe(measure)}**, top-1 accuracy in %", ""]
        lines += [
            "| pre-trained on | published | ours | difference | runs | 95 % interval |",
            "|---" + "|---:" * 5 + "|",
        ]
        lines += [_row(cell) for cell in table.cells if cell.measure.label == measure] + [""]
    return lines


def bars_in_markdown(bars: Sequence[Bar]) -> list[str]:
    """Figure 3: corruptions by datasets."""
    datasets = list(dict.fromkeys(bar.dataset for bar in bars))
    head = [part for name in datasets for part in (f"{code(name)} published", "ours", "difference")]
    lines = [f"| % | {' | '.join(head)} |", "|---" + "|---:" * len(head) + "|"]
    for corruption in dict.fromkeys(bar.corruption for bar in bars):
        row = {bar.dataset: bar for bar in bars if bar.corruption == corruption}
        cells = []
        for name in datasets:
            bar = row.get(name)
            if bar is None or bar.ours is None:
                cells += [percent(bar and bar.published, 2), "not run", "–"]
            else:
                cells += [
                    percent(bar.published, 2),
                    f"{percent(bar.ours)} {ends(bar.interval)}",
                    signed(bar.difference),
                ]
        lines.append(f"| {code(corruption)} | {' | '.join(cells)} |")
    return lines


def code(name: str) -> str:
    """A name as it is written, in which Markdown and HTML mean nothing."""
    return "`" + " ".join(name.split()).replace("`", "ʼ").replace("|", "\\|") + "`"


def safe(text: str) -> str:
    """Prose in which Markdown and HTML mean nothing."""
    plain = " ".join(text.split()).replace("\\", "\\\\").replace("&", "&amp;").replace("<", "&lt;")
    for mark in "`*[]|>":
        plain = plain.replace(mark, f"\\{mark}")
    return plain


def _row(cell: Cell) -> str:
    head = f"| {code(cell.dataset)} | {percent(cell.published)} "
    if cell.ours is None:
        return f"{head}| not run | – | 0 | – |"
    mark = " †" if cell.unlike else ""
    count = len(cell.tests)
    return f"{head}| {percent(cell.ours)}{mark} | {signed(cell.difference)} | {count} | {ends(cell.interval)} |"


def _csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    file = io.StringIO()
    lines = csv.writer(file, lineterminator="\n")
    lines.writerow(columns)
    lines.writerows([f"{value:.6g}" if isinstance(value, float) else value for value in row] for row in rows)
    return file.getvalue()
