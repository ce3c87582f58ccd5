"""What there is to say of each of the 34 datasets: its claim, how it departs from another, its command, its films."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml

from vsr.overview import recipes_of
from vsr.recipe import CONFIGS, PROGRESSION, VARIANTS, Recipe, dataset_names
from vsr.report.films import Film

_UNITS = {
    "speed": "px/frame", "acceleration": "px/frame²", "rotation": "rad/frame", "scaling": "per frame",
    "shear": "per frame", "texture_size": "texels", "texture_frames": "frames",
}  # fmt: skip


@dataclass(frozen=True)
class Change:
    """A field of a recipe that differs from the parent's.

    Attributes:
        field: its name.
        before: the parent's value, in words.
        after: its own.
    """

    field: str
    before: str
    after: str


@dataclass(frozen=True)
class Entry:
    """A dataset in the gallery.

    Attributes:
        name: the dataset's.
        claim: what it is, as its config says.
        parent: what it departs from, or nothing.
        changes: in what.
        shares: of a mixture, in words.
        command: that pre-trains on it, with all that must be given.
        films: of it.
    """

    name: str
    claim: str
    parent: str | None
    changes: tuple[Change, ...]
    shares: tuple[str, ...]
    command: str
    films: tuple[Film, ...] = ()


def groups() -> dict[str, list[str]]:
    """The names of the 34 datasets by what they are, in the order in which they are shown."""
    rest = sorted({*dataset_names()} - {*PROGRESSION, *VARIANTS})
    return {"The progression": list(PROGRESSION), "Variants": list(VARIANTS), "Mixtures": rest}


def entry(name: str, films: Iterable[Film] = ()) -> Entry:
    """What there is to say of one of the 34 datasets."""
    claim, command = _header(name)
    shares = _shares(name)
    parent, changes = _departs(name)
    needed = []
    if any(recipe.textured and "images" in recipe.sources for recipe in recipes_of(name)):
        needed.append("--texture_folder IMAGES")
    if any("layout" in share for share in shares):
        needed.append("--data.videos UCF-101 --data.lists ucfTrainTestlist")
    parts = tuple(
        f"{100 * share['weight']:g} % {share.get('recipe') or 'natural videos of UCF101'}" for share in shares
    )
    return Entry(name, claim, parent, changes, parts, " ".join([command, *needed]), tuple(films))


def _header(name: str) -> tuple[str, str]:
    """Claim and command, from the comments at the head of the config."""
    lines = (CONFIGS / "pretrain" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    comments = [line.removeprefix("# ") for line in lines if line.startswith("# ")]
    command = next(number for number, line in enumerate(comments) if line.startswith("vsr fit"))
    claim = re.sub(r" \(--[^)]*\)", "", " ".join(comments[:command]))  # what must be given stands in the command
    return claim, comments[command]


def _shares(name: str) -> list[dict[str, Any]]:
    content = yaml.safe_load((CONFIGS / "pretrain" / f"{name}.yaml").read_text(encoding="utf-8"))
    shares: list[dict[str, Any]] = content["data"]["init_args"].get("shares", [])
    return shares


def _departs(name: str) -> tuple[str | None, tuple[Change, ...]]:
    """The dataset that a recipe departs from, and in which fields, in the order of the recipe's; mixtures: none."""
    ladder = list(PROGRESSION)
    if name in VARIANTS:
        parent, fields = VARIANTS[name]
    elif name in ladder[1:]:
        parent, fields = ladder[ladder.index(name) - 1], PROGRESSION[name]
    else:
        return None, ()
    (own,), (other,) = recipes_of(name), recipes_of(parent)
    ordered = [field for field in Recipe.__dataclass_fields__ if field in fields]
    return parent, tuple(Change(f, _words(f, getattr(other, f)), _words(f, getattr(own, f))) for f in ordered)


def _words(field: str, value: object) -> str:
    """A field's value, with its unit."""
    if value is None:
        return "endless" if field == "num_videos" else "none"
    if isinstance(value, tuple) and all(isinstance(part, float) for part in value):
        low, high = value
        shown = f"{low:.3g}" if low == high else f"±{high:.3g}" if low == -high else f"{low:.3g} to {high:.3g}"
    elif isinstance(value, tuple):
        shown = " + ".join(map(str, value))
    else:
        shown = f"{value:,}" if isinstance(value, int) else str(value)
    return " ".join([shown, _UNITS[field]]) if field in _UNITS else shown
