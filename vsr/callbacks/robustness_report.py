"""The report of a test under corruptions: a table of every score, a page and a chart beside the published bars."""

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning.pytorch import LightningModule

from vsr.callbacks.robustness import Score, averages
from vsr.corruptions import FIGURE, PERTURBATIONS, SEVERITIES
from vsr.export import whole
from vsr.published import Bars, figure3

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FILES = ("robustness.csv", "robustness.md", "pictures/robustness.png")
SERIES = {"image_crops": "image crops", "stylegan_crops": "StyleGAN crops", "ucf101_pretrain": "UCF101 videos"}
"""What the published networks were pre-trained on, by the fields of :class:`~vsr.published.Bars`."""
COLOURS = {
    "severity": "#1f4e79", "mean": "#7fa3c7",
    "image_crops": "#cdb88f", "stylegan_crops": "#b3c2a0", "ucf101_pretrain": "#c4c0c8",
}  # fmt: skip
"""Of the bars: ours strong, the published ones muted."""
_NETWORK = {"size": "base", "image_size": 224, "num_frames": 16, "patch_size": 16}
_VIDEOS = 3783  # of UCF101's first test list
_SOURCE = "figure 3 of arXiv 2410.24213"


def write_report(folder: Path, every: list[Score], pl_module: LightningModule, data: Any) -> None:
    """Write :data:`FILES` into a run folder.

    Args:
        folder: of the run.
        every: the scores, clean first.
        pl_module: what was tested.
        data: what it was tested on.
    """
    ours, apart = what_was_tested(every, pl_module, data), unlike_published(every, pl_module, data)
    with whole(folder / FILES[0]) as part, part.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(Score._fields)
        for score in every:
            row = score._asdict() | {"severity": "mean" if score.severity is None else score.severity}
            table.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in row.values()])
    with whole(folder / FILES[1]) as part:
        part.write_text(page(every, ours, apart), encoding="utf-8")
    with whole(folder / FILES[2]) as part:
        chart(every, ours, apart).savefig(part)


def what_was_tested(every: list[Score], pl_module: LightningModule, data: Any) -> str:
    """Network, data and number of videos, in words."""
    network = f"{type(pl_module).__name__} {pl_module.hparams.get('size', '')}".strip()
    listed, shown = data.num_videos("test"), every[0].videos
    count = f"{shown} videos" if shown == listed else f"{shown} of {listed} videos"
    return f"{network}, {data.num_frames} frames of {data.size} px, {count} of {data.name}"


def unlike_published(every: list[Score], pl_module: LightningModule, data: Any) -> list[str]:
    """In what the published bars, of ViT-B on UCF101's test videos, are of something else than ours."""
    network = {key: pl_module.hparams.get(key) for key in _NETWORK} == _NETWORK
    where = data.provenance()
    videos = (where.get("layout"), where.get("split"), every[0].videos) == ("ucf101", 1, _VIDEOS)
    return ["another network"] * (not network) + ["other data"] * (not videos)


def page(every: list[Score], ours: str, apart: list[str]) -> str:
    """The page in Markdown: accuracies in %, in the order of the figure, beside the published ones.

    Args:
        every: the scores, clean first.
        ours: what was tested, in words.
        apart: in what the published bars are of something else.
    """
    found = {(score.perturbation, score.severity): score for score in every}
    clean, bars = every[0], figure3()
    levels = range(1, SEVERITIES + 1)
    published = " | ".join(f"published: {name}" for name in SERIES.values())
    lines = [
        "# Accuracy under corruptions", "", f"{ours}. Top-1 accuracy on clean videos: **{_spread(clean)} %**.", "",
        f"| % | {' | '.join(f'severity {s}' for s in levels)} | mean | {published} |", "|---" + "|---:" * 9 + "|",
        f"| clean | {' | '.join(['–'] * SEVERITIES)} | {_spread(clean)} | {_bars(bars['clean'])} |",
    ]  # fmt: skip
    for name in _shown(every):
        cells = []
        for level in levels:
            score = found.get((name, level))
            none = "not run" if level <= PERTURBATIONS[name].severities else "–"
            cells.append(none if score is None else f"{100 * score.acc1:.1f}")
        mean = found.get((name, None))
        cells += ["not run" if mean is None else _spread(mean), _bars(bars[name]) if name in bars else "– | – | –"]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    differing = f" They are of {' and '.join(apart)} than ours." if apart else ""
    lines += [
        "",
        "In square brackets: Wilson's 95 % interval; of means as if a video were right at all severities or at none. "
        "`reverse` has no severity.",
        f"Published: ViT-B, by what it was pre-trained on; read off {_SOURCE}, ±0.05 points; severity not stated."
        + f"{differing} Its labels rotate and img rotate are taken for `rotate` and `static_rotate`.",
        "",
        "## Robustness",
        "",
        "Relative: A_p / A_c. Absolute: 1 - (A_c - A_p). A_c is the accuracy on clean videos, A_p under a corruption, "
        "both as shares. Means over the severities that were run, then over the perturbations of a category.",
        "",
        "| category | perturbations | accuracy, % | relative | absolute |",
        "|---|---:|---:|---:|---:|",
    ]
    for category, average in averages(every).items():
        relative = "–" if average.relative is None else f"{average.relative:.3f}"
        accuracy = f"{100 * average.acc1:.1f}"
        lines.append(f"| {category} | {average.perturbations} | {accuracy} | {relative} | {average.absolute:.3f} |")
    return "\n".join(lines) + "\n"


def chart(every: list[Score], ours: str, apart: list[str]) -> "Figure":
    """Draw the bars in the order of the figure: ours with 95 % intervals, beside the published ones.

    Each corruption takes 100 x 640 px.

    Args:
        every: the scores, clean first.
        ours: what was tested, in words.
        apart: in what the published bars are of something else.
    """
    from matplotlib.figure import Figure

    bars, names, width = figure3(), ["clean", *_shown(every)], 0.16
    means = {score.perturbation: score for score in every if score.severity is None}
    highest = {score.perturbation: score for score in every if score.severity is not None}  # the last of each
    once = [name for name in highest if sum(score.perturbation == name for score in every) < 3]  # itself and a mean
    figure = Figure(figsize=(len(names), 6.4), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.set_axisbelow(True)
    axes.grid(axis="y", color="#e6e6e6")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0, labelsize=11)

    def draw(scores: list[Score], offsets: list[float], widths: list[float], colour: str, label: str) -> None:
        heights, intervals = [100 * s.acc1 for s in scores], ([s.low for s in scores], [s.high for s in scores])
        whiskers = [[100 * abs(end - s.acc1) for s, end in zip(scores, ends, strict=True)] for ends in intervals]
        axes.bar(
            [names.index(s.perturbation) + offset for s, offset in zip(scores, offsets, strict=True)], heights, widths,
            color=colour, label=label, yerr=whiskers, error_kw={"ecolor": "#222222", "elinewidth": 1, "capsize": 2},
        )  # fmt: skip

    level = max(
        (s.severity or 0 for n, s in highest.items() if n in means and PERTURBATIONS[n].severities > 1), default=0
    )
    what = f"ours, severity {level} (clean and reverse have none)" if level else "ours"
    alone = [name in once for name in highest]  # one bar, as wide as two
    offsets, widths = ([width * (b if a else c) for a in alone] for b, c in ((-1.5, -2.0), (2.0, 1.0)))
    draw(list(highest.values()), offsets, widths, COLOURS["severity"], what)
    several = [score for name, score in means.items() if name not in once]
    if several:
        draw(several, [-width] * len(several), [width] * len(several), COLOURS["mean"], "ours, mean over severities")
    drawn = [name for name in names if name in bars]
    for place, (field, label) in enumerate(SERIES.items()):
        axes.bar(
            [names.index(name) + place * width for name in drawn], [getattr(bars[name], field) for name in drawn],
            width, color=COLOURS[field], label=f"published, {label}",
        )  # fmt: skip
    labels = [name.replace("_", "\n") + ("" if name in highest else "\n(not run)") for name in names]
    axes.set_xticks(range(len(names)), labels)
    axes.set_xlim(-0.6, len(names) - 0.4)
    axes.set_ylim(0, 100)
    axes.set_ylabel("top-1 accuracy, %", fontsize=11)
    axes.set_title(f"Accuracy under corruptions, with 95 % intervals: {ours}", fontsize=13, pad=14)
    differing = f"; of {' and '.join(apart)} than ours" if apart else ""
    figure.legend(
        loc="outside lower center", ncols=5, fontsize=10.5, frameon=False, title_fontsize=10.5,
        title=f"published: ViT-B on UCF101, read off {_SOURCE} (±0.05), severity not stated{differing}",
    )  # fmt: skip
    return figure


def _shown(every: list[Score]) -> list[str]:
    """The perturbations of the figure, run or not, then the others that were run."""
    return list(dict.fromkeys([*FIGURE, *(score.perturbation for score in every[1:])]))


def _spread(score: Score) -> str:
    return f"{100 * score.acc1:.1f} [{100 * score.low:.1f}, {100 * score.high:.1f}]"


def _bars(bars: Bars) -> str:
    return " | ".join(f"{value:.2f}" for value in bars)
