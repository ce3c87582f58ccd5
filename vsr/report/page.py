"""The report's files: one HTML page, Markdown, and CSV files."""

from collections.abc import Sequence
from datetime import date
from functools import cache
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from vsr.errors import InputError
from vsr.export import must_be_writable, whole
from vsr.published import results
from vsr.report import text
from vsr.report.charts import curve
from vsr.report.gather import Report, gather
from vsr.report.runs import Run, Test, code_of, dataset_of, find
from vsr.report.tables import origin

_TRAINED, _TESTED = ("done", "steps", "planned"), ("accuracy", "low", "high", "videos")
_RUNS = ("kind", "name", "trained_on", *_TRAINED, *_TESTED, "code", "folder")


def write_report(
    runs: Path | Sequence[Path], out: Path, gallery: bool = False, texture_folder: Path | None = None
) -> Path:
    """Write ``index.html``, ``report.md`` and a CSV file for each table and figure.

    The paper's tables 1-4 and 9-12 and figures 2-4 (arXiv 2410.24213): published value, ours, difference, number of
    runs, interval. What wasn't run says so; what isn't finished, is mixed or can't be read is named.

    Args:
        runs: folders with run folders at any depth, and with the ``properties.json`` of ``vsr analyze``.
        out: the folder that gets the files.
        gallery: show all 34 datasets; or else those that the runs have been trained on.
        texture_folder: images, for the films of datasets that show images. Without, these films show generated
            textures, and say so.

    Returns:
        The HTML page.

    Raises:
        InputError: no such folder; nothing to report in them, and no gallery asked for; ``out`` can't be written.
    """
    folders = [runs] if isinstance(runs, Path) else list(runs)
    found = find(folders)
    if not (found.runs or found.tests or found.properties or gallery):
        where = ", ".join(map(str, folders)) or "no folder"
        reasons = "; ".join(f"{place}: {why}" for place, why in found.unread.items())
        left = f" that can be read ({reasons})" if reasons else ""
        raise InputError(f"no runs{left} in {where}: give folders that vsr fit or vsr test has written, or --gallery")
    must_be_writable(out)  # films take their time
    report = gather(found, gallery, texture_folder)
    files = {"report.md": _markdown(report), "runs.csv": _runs_csv(report), "figure4.csv": _figure4_csv(report)}
    files |= {f"{table.key}.csv": text.csv_of_table(table) for table in [*report.tables, report.figure2[0]]}
    files["figure3.csv"] = text.csv_of_bars(report.figure3[0])
    files["index.html"] = _html(report)
    for name, content in files.items():
        with whole(out / name) as part:
            part.write_text(content, encoding="utf-8")
    return out / "index.html"


def _html(report: Report) -> str:
    """The page. Whatever comes from runs is escaped."""
    values = {
        "report": report, "published": results(), "today": date.today().isoformat(),
        "version": version("vsr"), "origin": origin, "curve": curve, "dataset_of": dataset_of, "code_of": code_of,
        "summary": _summary(report), "method": _METHOD, "network": _network,
    }  # fmt: skip
    return _templates().get_template("page.html.j2").render(values)


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    numbers = {"percent": text.percent, "signed": text.signed, "ends": text.ends}
    templates.filters.update(numbers, breakable=_breakable, options=_options)
    return templates


def _breakable(name: str) -> Markup:
    """A name that may be broken after an underscore or a slash."""
    safe = str(escape(name))
    return Markup(safe.replace("_", "_<wbr>").replace("/", "/<wbr>"))


def _options(command: str) -> Markup:
    """A command whose options aren't broken, but its paths may be."""
    words = [f'<span class="option">{escape(w)}</span>' if w[0] == "-" else _breakable(w) for w in command.split()]
    return Markup(" ".join(words))


def _summary(report: Report) -> str:
    """What there is, in a sentence."""
    run = [cell for cell in report.cells if cell.ours is not None]
    alike = sum(not cell.unlike for cell in run)
    trained, tested = len(report.found.runs), len(report.found.tests)
    counts = [f"{tested} test{'s' * (tested != 1)}", f"{trained} training run{'s' * (trained != 1)}"]
    share = f"Of the tables' {len(report.cells)} values {len(run) or 'none'} have been run here"
    share += f", {alike or 'none'} of them in the paper's setting." if run else "."
    return f"{' and '.join(counts)} were found. {share}"


def _network(test: Test) -> str:
    """What was tested, in words."""
    clip, size = test.results.get("clip") or {}, test.network.get("size") or "unknown size"
    return f"{test.results.get('module')} {size}, {clip.get('num_frames')} frames of {clip.get('size')} px"


_METHOD = (
    "Published: what arXiv 2410.24213 prints, or, for figure 3, bars that were read off to about ±0.05 points. "
    "Nothing published was measured here.",
    "Ours: top-1 accuracy on the test list, in %, the mean over runs where there are several. Difference: ours less "
    "the published one, in points.",
    "Interval, 95 %: of a single run Wilson's, which says how far another draw of as many test videos could lie; of "
    "several runs Student's, of their mean, which says how far other seeds could lie on the same test videos. Neither "
    "holds the other's spread.",
    "A dagger, †, marks a value that was not run in the paper's setting; in what it differs stands below the tables. "
    "Runs that differ in recipe, network, clips, batch, steps or test views are not averaged; other options, such as "
    "the learning rate, are not compared.",
)


def _markdown(report: Report) -> str:
    lines = ["# vsr report", "", _summary(report), ""]
    for title, said in report.warnings.items():
        lines += [f"## {title}", "", *(f"* {text.safe(line)}" for line in said), ""]
    for table in report.tables:
        lines += text.table_in_markdown(table)
    lines += text.table_in_markdown(report.figure2[0])
    lines += ["## Figure 3: accuracy under corruptions", "", *text.bars_in_markdown(report.figure3[0]), ""]
    lines += ["## Figure 4: properties of datasets against accuracy", ""]
    if not report.figure4:
        lines += ["Not run: no properties.json of `vsr analyze` was found with two datasets of known accuracy.", ""]
    for figure in report.figure4:
        lines += [f"{text.safe(figure.where)}; accuracies: {text.safe(figure.source)}", ""]
        lines += [f"* {panel.label}: {panel.caption}, {len(panel.points)} datasets" for panel in figure.panels] + [""]
    if report.unlike:
        lines += ["## †: not in the paper's setting", "", *(f"* {text.safe(line)}" for line in report.unlike), ""]
    if report.others:
        lines += ["## Other tests", "", "| test | pre-trained on | tested | accuracy, % | 95 % interval | videos |"]
        lines += ["|---|---|---|---:|---:|---:|"]
        for test in report.others:
            what = f"{_network(test)}, on {test.results.get('dataset')}"
            cells = [text.code(test.name), text.code(origin(test)), text.safe(what), text.percent(test.accuracy)]
            cells += [text.ends(test.interval), f"{test.results['videos']:,}"]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    lines += ["## How to read it", "", *(f"* {line}" for line in _METHOD), ""]
    lines.append(f"vsr {version('vsr')}, {date.today().isoformat()}. Folders: {_folders(report)}.")
    return "\n".join(lines) + "\n"


def _folders(report: Report) -> str:
    return ", ".join(text.code(str(folder)) for folder in report.found.folders) or "none"


def _runs_csv(report: Report) -> str:
    rows: list[list[object]] = []
    for run in report.found.runs:
        rows.append(_run_row(run))
    for test in report.found.tests:
        low, high = test.interval or (None, None)
        code = " ".join(test.commits)
        rows.append(
            ["test", test.name, origin(test), None, None, None, test.accuracy, low, high, test.results["videos"], code,
             str(test.folder)]
        )  # fmt: skip
    return text.csv_of_rows(_RUNS, rows)


def _run_row(run: Run) -> list[object]:
    steps, planned = run.steps
    trained_on, code = dataset_of(run.provenance), code_of(run.provenance)
    return ["training", run.name, trained_on, run.done, steps, planned, None, None, None, None, code, str(run.folder)]


def _figure4_csv(report: Report) -> str:
    rows = [
        [figure.where, figure.source, panel.label, panel.caption, len(panel.points)]
        for figure in report.figure4
        for panel in figure.panels
    ]
    return text.csv_of_rows(("properties", "accuracies", "property", "correlation", "datasets"), rows)
