"""Properties against accuracies: the paper's figure 4, from what was measured here."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scipy import stats

from vsr.analysis.measure import Number
from vsr.errors import InputError
from vsr.published import results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = {
    "fid": ("FID", -0.72),
    "fvd": ("FVD", -0.27),
    "fvd_videomae": ("FVD, VideoMAE features", None),
    "inception_volume": ("feature volume", 0.53),
    "pixels_volume": ("feature volume of small pictures", None),
    "spectrum_exponent": ("spectrum exponent", None),
    "colour_mean": ("distance of colours", -0.42),
}
"""What is plotted: its label, and the paper's Pearson r over its own datasets, where it gives one."""
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Accuracies:
    """How well networks do that were pre-trained on datasets.

    Attributes:
        source: where the figures are from.
        percent: by dataset.
    """

    source: str
    percent: dict[str, float]


@dataclass(frozen=True)
class Relation:
    """How a property goes with accuracy.

    Attributes:
        property: which.
        points: datasets with both: property, accuracy in %.
        r: Pearson's correlation, or None.
        interval: its 95 % interval by Fisher's transformation, from 4 datasets on, or None.
        predictions: of the datasets without an accuracy: property, and the ends of the 95 % interval for the accuracy
            of ONE network, by a straight line through the points, cut to 0..100 %.
        beyond: those of them whose property lies outside that of the points.
        missing: why there is no r.
    """

    property: str
    points: dict[str, tuple[float, float]]
    r: float | None
    interval: tuple[float, float] | None
    predictions: dict[str, tuple[float, float, float]]
    beyond: tuple[str, ...]
    missing: str | None


def published_accuracies() -> Accuracies:
    """The paper's: ViT-B, fine-tuned on UCF101."""
    found = {name: result.ucf101_finetune_vitb for name, result in results().items()}
    known = {name: percent for name, percent in found.items() if percent is not None}
    return Accuracies("published, arXiv 2410.24213: ViT-B fine-tuned on UCF101", known)


def own_accuracies(folder: Path) -> Accuracies:
    """Those of one's own runs: ``test_acc1`` of every ``results.json`` below a folder that says what it starts from.

    Args:
        folder: of runs of ``vsr test``.

    Raises:
        InputError: no such folder, no such result, results on several data sets, or two of one dataset.
    """
    percent: dict[str, float] = {}
    tested: dict[str, Path] = {}
    for path in sorted(folder.rglob("results.json")):
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            accuracy, on = float(content["metrics"]["test_acc1"]), f"{content['module']} on {content['dataset']}"
            origin = content
            while origin.get("starts_from"):  # from the tested network to what it was trained from, to the first
                origin = origin["starts_from"]["provenance"]
            if origin["module"] != "VideoMAE":
                continue  # from scratch
            name = str(origin["dataset"] if "dataset" in origin else origin["recipe"]["name"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue  # of validation, or of weights that don't say where they come from
        if name in percent:
            raise InputError(f"{folder} has two tests of {name!r}, one in {path}: give --accuracies a folder with one")
        tested.setdefault(on, path)
        percent[name] = 100 * accuracy
    if len(tested) > 1:
        raise InputError(f"{folder} has tests on {' and '.join(tested)}: give --accuracies a folder with one of them")
    if not percent:
        raise InputError(
            f"{folder} has no results.json of vsr test of a network that was pre-trained: give the folder of such runs"
        )
    return Accuracies(f"own runs in {folder}, tested on {next(iter(tested))}", percent)


def relate(numbers: Iterable[Number], accuracies: Mapping[str, float]) -> list[Relation]:
    """Correlation of each property of :data:`PANELS` that was measured, and what it says of datasets without accuracy.

    Args:
        numbers: of several datasets.
        accuracies: in %, by dataset.
    """
    values: dict[str, dict[str, float]] = {name: {} for name in PANELS}
    for number in numbers:
        if number.property in values and number.value is not None:
            values[number.property][number.dataset] = number.value
    return [_relate(name, found, accuracies) for name, found in values.items() if found]


def _relate(name: str, values: dict[str, float], accuracies: Mapping[str, float]) -> Relation:
    points = {dataset: (x, accuracies[dataset]) for dataset, x in values.items() if dataset in accuracies}
    others = {dataset: x for dataset, x in values.items() if dataset not in accuracies}
    xs, ys = [x for x, _ in points.values()], [y for _, y in points.values()]
    if len(points) < 3:
        return Relation(name, points, None, None, {}, (), f"{len(points)} datasets with an accuracy: r needs 3 or more")
    if len(set(xs)) == 1 or len(set(ys)) == 1:
        return Relation(name, points, None, None, {}, (), "all datasets have the same value: there is no r")
    found = stats.pearsonr(xs, ys)
    ends = found.confidence_interval(CONFIDENCE) if len(points) > 3 else None
    line = stats.linregress(xs, ys)
    n, middle = len(xs), sum(xs) / len(xs)
    scatter = sum((x - middle) ** 2 for x in xs)
    rest = sum((y - line.intercept - line.slope * x) ** 2 for x, y in zip(xs, ys, strict=True)) / (n - 2)
    quantile = stats.t.ppf((1 + CONFIDENCE) / 2, n - 2)
    predictions = {}
    for dataset, x in others.items():
        guess = line.intercept + line.slope * x
        half = quantile * (rest * (1 + 1 / n + (x - middle) ** 2 / scatter)) ** 0.5
        predictions[dataset] = (x, float(max(guess - half, 0.0)), float(min(guess + half, 100.0)))
    beyond = tuple(dataset for dataset, x in others.items() if not min(xs) <= x <= max(xs))
    interval = None if ends is None else (float(ends.low), float(ends.high))
    return Relation(name, points, float(found.statistic), interval, predictions, beyond, None)


def caption(relation: Relation) -> str:
    """What a panel says of its correlation."""
    if relation.r is None:
        return relation.missing or ""
    ends = "no interval" if relation.interval is None else "{:+.2f} to {:+.2f}".format(*relation.interval)
    paper = PANELS[relation.property][1]
    return f"r = {relation.r:+.2f} ({ends})" + ("" if paper is None else f"; paper {paper:+.2f}")


def plot(relations: list[Relation], source: str) -> "Figure":
    """One panel for each property: datasets as dots, those without an accuracy as their prediction intervals.

    An interval is dotted where the property lies outside that of the dots.

    Args:
        relations: those to show, one or more.
        source: where accuracies are from.
    """
    from matplotlib.figure import Figure

    columns = min(len(relations), 3)
    rows = -(-len(relations) // columns)
    figure = Figure(figsize=(4.6 * columns, 3.9 * rows + 0.5), dpi=110, layout="constrained")
    names = sorted({name for relation in relations for name in (*relation.points, *relation.predictions)})
    colour = {name: f"C{number % 10}" for number, name in enumerate(names)}
    marker = {name: "os^Dv"[number // 10 % 5] for number, name in enumerate(names)}
    handles: dict[str, Any] = {}
    for number, relation in enumerate(relations):
        axes = figure.add_subplot(rows, columns, number + 1)
        for name, (x, y) in relation.points.items():
            handles[name] = axes.scatter(x, y, color=colour[name], marker=marker[name], label=name, zorder=3)
        for name, (x, low, high) in relation.predictions.items():
            bar = axes.errorbar(x, (low + high) / 2, yerr=(high - low) / 2, color=colour[name], fmt="none", capsize=4)
            bar[2][0].set_linestyle(":" if name in relation.beyond else "-")
            handles[f"{name} (95 % prediction)"] = bar
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel(PANELS[relation.property][0])
        axes.set_ylabel("accuracy, %")
        axes.set_title(caption(relation), fontsize=9)
        axes.grid(alpha=0.3)
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=4, fontsize=8)
    figure.suptitle(f"Accuracies: {source}", fontsize=9)
    return figure
