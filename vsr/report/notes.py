"""What a reader of the tables must know: what isn't finished, what is mixed, what is left out."""

from collections.abc import Callable, Iterable, Sequence

from vsr.report.cells import Cell, content, recipe_change
from vsr.report.runs import Found, code_of, dataset_of
from vsr.report.tables import Table


def unfinished(found: Found) -> list[str]:
    """Runs without ``done``, and the tests of what they had learned by then."""
    lines = []
    for run in found.runs:
        if not run.done:
            steps, planned = run.steps
            of = "" if planned is None else f" of {planned:,}"
            lines.append(f"{run.name} is not finished: {steps:,}{of} steps were logged. It lies in {run.folder}")
    for test in found.tests:
        for checkpoint in test.checkpoints:
            source = found.run_of(test, checkpoint)
            if source is not None and not source.done:
                lines.append(f"{test.name} tests a network that comes from {source.name}, which is not finished")
    return lines


def mixed(found: Found, shown: Sequence[Table]) -> list[str]:
    """Different code, different recipes of one name, and seeds that are the same, by the names of the runs."""
    lines = []
    every = [
        *((run.name, [code_of(run.provenance)]) for run in found.runs),
        *((t.name, t.commits) for t in found.tests),
    ]
    codes = _grouped((name, code) for name, commits in every for code in commits)
    if len(codes) > 1:
        each = "; ".join(f"{code} by {_listed(names)}" for code, names in codes.items())
        lines.append(f"Different code ran: {each}")
    dirty = sorted({name for code, names in codes.items() if code.endswith("-dirty") for name in names})
    if dirty:
        lines.append(f"From a checkout with changes that were not committed: {_listed(dirty)}")
    origins = [(run.name, run.provenance) for run in found.runs if run.provenance.get("module") == "VideoMAE"]
    origins += [(test.name, test.first) for test in found.tests if test.first.get("module") == "VideoMAE"]
    for dataset in dict.fromkeys(dataset_of(provenance) for _, provenance in origins):
        of = [(name, provenance) for name, provenance in origins if dataset_of(provenance) == dataset]
        kinds = _grouped((name, repr(content(provenance))) for name, provenance in of)
        if len(kinds) > 1:
            change = {repr(content(p)): recipe_change(p) or "as it comes with vsr" for _, p in of}
            each = "; ".join(f"{change[kind]}: {_listed(names)}" for kind, names in kinds.items())
            lines.append(f"Different recipes are called {dataset}, and are not averaged: {each}")
    for cell in (cell for table in shown for cell in table.cells):
        if cell.seeds < len(cell.tests):
            pairs = f"{cell.seeds} different pair{'s' * (cell.seeds > 1)} of data seeds"
            lines.append(
                f"{cell.dataset}, {cell.measure.label}: {len(cell.tests)} tests with {pairs}, so not independent: "
                f"{_listed(test.name for test in cell.tests)}"
            )
    return list(dict.fromkeys(lines))


def unlike_paper(shown: Sequence[Table]) -> list[str]:
    """In what those cells differ from the paper's setting that are marked with a dagger."""
    cells = [cell for table in shown for cell in table.cells]
    return [f"{what}: {_listed(names)}" for what, names in _of_cells(cells, lambda cell: cell.unlike).items()]


def left_out(found: Found, repeated: dict[str, str], shown: Sequence[Table]) -> list[str]:
    """Files that can't be read, repeated tests, and tests that stand beside better ones."""
    lines = [f"{where}: {why}" for where, why in found.unread.items()]
    lines += [f"{again} repeats {first} and is counted once" for again, first in repeated.items()]
    cells = [cell for table in shown for cell in table.cells if cell.others]
    for cell in {(cell.dataset, cell.measure.field): cell for cell in cells}.values():
        lines.append(
            f"{_listed(test.name for test in cell.others)}: also {cell.measure.label} after {cell.dataset}, in another "
            f"setting than {_listed(test.name for test in cell.tests)}"
        )
    return lines


def _of_cells(cells: Iterable[Cell], of: Callable[[Cell], Iterable[str]]) -> dict[str, list[str]]:
    return _grouped((test.name, what) for cell in cells for what in of(cell) for test in cell.tests)


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Names by what is said of them, each once."""
    groups: dict[str, dict[str, None]] = {}
    for name, what in pairs:
        groups.setdefault(what, {})[name] = None
    return {what: list(names) for what, names in groups.items()}


def _listed(names: Iterable[str]) -> str:
    """A few names, and how many more."""
    every = list(dict.fromkeys(names))
    return ", ".join(every[:8]) + (f" and {len(every) - 8} more" if len(every) > 8 else "")
