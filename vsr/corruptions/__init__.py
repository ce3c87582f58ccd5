"""UCF101-P: what videos are corrupted with to see how robust a classifier is.

The benchmark (Schiappa et al., "A Large-Scale Robustness Analysis of Video Action Recognition Models", CVPR 2023) has
18 perturbations of 5 severities each. Its videos were never published: they are made from its parameters. The paper's
figure 3 (arXiv 2410.24213) shows 14: all of these but motion blur, MPEG-1, MPEG-2, sampling and reverse sampling, with
pure reversal (``reverse``, which has no severity) in the place of the latter.

A perturbation works on one of three things: ``clip``, the uint8 pixels of a view, after resizing and cropping
(:func:`~vsr.corruptions.pixel.perturb`); ``order``, which of a video's sampled frames stands where, before views are
cut (:func:`~vsr.corruptions.temporal.order`); ``file``, all frames of a video as they were decoded
(:func:`~vsr.corruptions.codec.recode`). Draws are made at (seed, video, cell, view), from ``Stream.CORRUPTION``.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from vsr.errors import InputError, nearest

SEVERITIES = 5


class Perturbation(NamedTuple):
    """One of the benchmark's, or the figure's.

    Attributes:
        name: as in the benchmark's code, where it doesn't mislead.
        category: the benchmark's.
        works_on: see above.
        in_figure: whether the paper's figure 3 shows it.
        severities: how many it has; severity 1 is the mildest of the benchmark's numbering, which for the shuffling
            ones is the harshest on short clips.
    """

    name: str
    category: Literal["camera", "noise", "blur", "digital", "temporal"]
    works_on: Literal["clip", "order", "file"]
    in_figure: bool = True
    severities: int = SEVERITIES


# In the order of the figure, then the others. A place is part of every address: append, never move.
_ALL = (
    Perturbation("translate", "camera", "clip"),
    Perturbation("rotate", "camera", "clip"),
    Perturbation("static_rotate", "camera", "clip"),
    Perturbation("shot_noise", "noise", "clip"),
    Perturbation("speckle_noise", "noise", "clip"),
    Perturbation("gaussian_noise", "noise", "clip"),
    Perturbation("impulse_noise", "noise", "clip"),
    Perturbation("defocus_blur", "blur", "clip"),
    Perturbation("zoom_blur", "blur", "clip"),
    Perturbation("jpeg", "digital", "clip"),
    Perturbation("freeze", "temporal", "order"),
    Perturbation("box_jumble", "temporal", "order"),
    Perturbation("jumble", "temporal", "order"),
    Perturbation("reverse", "temporal", "order", severities=1),
    Perturbation("motion_blur", "blur", "clip", in_figure=False),
    Perturbation("mpeg1", "digital", "file", in_figure=False),
    Perturbation("mpeg2", "digital", "file", in_figure=False),
    Perturbation("sampling", "temporal", "order", in_figure=False),
    Perturbation("reverse_sampling", "temporal", "order", in_figure=False),
)
PERTURBATIONS = {perturbation.name: perturbation for perturbation in _ALL}
"""By name, in the order of the figure, then the others."""
FIGURE = tuple(p.name for p in _ALL if p.in_figure)
"""The 14 of the paper's figure 3, in its order."""
BENCHMARK = tuple(p.name for p in _ALL if p.name != "reverse")
"""The benchmark's 18."""


class Cell(NamedTuple):
    """A perturbation at one severity.

    Attributes:
        perturbation: its name.
        severity: 1 .. 5.
    """

    perturbation: str
    severity: int

    @property
    def number(self) -> int:
        """Its place among all cells, part of every address; 0 is the clean video."""
        return 1 + SEVERITIES * list(PERTURBATIONS).index(self.perturbation) + self.severity - 1

    @property
    def works_on(self) -> Literal["clip", "order", "file"]:
        """Pixels of views, order of frames, or all frames; see the module."""
        return PERTURBATIONS[self.perturbation].works_on


def cells(perturbations: Iterable[str] = FIGURE, severities: Iterable[int] = range(1, SEVERITIES + 1)) -> list[Cell]:
    """Every named perturbation at every severity that it has of those given, each once, in the order given.

    Args:
        perturbations: names.
        severities: 1 .. 5; a perturbation with one severity (``reverse``) counts once, whichever are given.

    Raises:
        InputError: a name or severity is unknown, given twice, or nothing is given.
    """
    names, levels = list(perturbations), list(severities)
    for name in names:
        if name not in PERTURBATIONS:
            raise InputError(
                f"no perturbation {name!r}{nearest(name, list(PERTURBATIONS))}: choose from {', '.join(PERTURBATIONS)}"
            )
    for level in levels:
        if level not in range(1, SEVERITIES + 1):
            raise InputError(f"severity {level} is none of 1 .. {SEVERITIES}: the benchmark has five")
    for what, given in (("perturbations", names), ("severities", levels)):
        if not given:
            raise InputError(f"no {what}: name at least one")
        if len(set(given)) < len(given):
            raise InputError(f"{what} {given} names one twice: name each once")
    return [Cell(name, level) for name in names for level in (levels if PERTURBATIONS[name].severities > 1 else [1])]


def address(number: int, view: int = 0) -> int:
    """The word that stands for a cell's number and a view where draws are made (``epoch`` in :mod:`vsr.rng`)."""
    return number << 16 | view
