"""What a dataset may look like: one frozen, flat dataclass, and the progression of arXiv 2410.24213.

The defaults are the paper's static circles. Every other dataset is a ``recipe:`` block in a YAML that says only what
departs from them. Sources: [P] the paper (section, table), [R] its release.
"""

import hashlib
import json
from argparse import ArgumentError
from dataclasses import asdict, dataclass, fields, replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import yaml
from jsonargparse import ArgumentParser
from torch import Tensor

from vsr.errors import InputError, nearest

CONFIGS = next(p for p in (Path(__file__).parent / "configs", Path(__file__).parents[1] / "configs") if p.is_dir())
"""The YAML files: beside the package in a checkout, inside it in a wheel."""

PROGRESSION: dict[str, frozenset[str]] = {
    "static_circles": frozenset(),
    "moving_circles": frozenset({"speed"}),
    "moving_shapes": frozenset({"shapes"}),
    "transforming_shapes": frozenset({"rotation", "scaling", "shear"}),
    "acc_shapes": frozenset({"acceleration"}),
    "acc_textures": frozenset({"fill", "num_videos"}),
    "acc_stylegan": frozenset({"fill"}),
    "acc_images": frozenset({"fill", "texture_pool"}),
}
"""The ladder ([P] 3.1, table 1): each dataset with the recipe fields in which it differs from the one before it."""

Fill = Literal["color", "statistical", "stylegan_oriented", "images"]


@dataclass(frozen=True)
class Recipe:
    """A synthetic video dataset.

    Together with ``(seed, index)`` a recipe names one video, with ``epoch`` also the clip of it that training sees.
    Pairs are ranges ``(low, high)``, drawn uniformly; px are pixels of the ``size`` x ``size`` frame.

    Args:
        name: the dataset's name; it names run folders and is not part of the hash.
        size: side of the square frame, px ([P] 9.2: 256).
        duration: frames per video, both ends included ([P] 9.2: 100..200 at 25 frames/s).
        num_objects: objects per video, painted in index order: the later covers the earlier ([R]: 500).
        radius: circumscribed radius as a fraction of ``size``; 200 values, density falling as radius^-3 ([R]).
        shapes: ``circles``, or ``mixed``: circle, square, rotated square, rectangle, triangle, quadrilateral ([R]).
        speed: px/frame, along a direction uniform in (-pi, pi) ([P] table 8: 1.2..3.0).
        acceleration: px/frame^2 along that direction, x0 + v t + a t^2 / 2 ([P] table 8: -0.06..0.06).
        rotation: rad/frame ([P] table 8: -pi/100..pi/100).
        scaling: per frame, independent for x and y: factor 1 + s t ([P] 9.2: -0.005..0.005).
        shear: per frame, independent for x and y: k t ([P] 9.2: -0.005..0.005).
        fill: what an object shows: one colour, or its own texture from a pool that moves with it.
        texture_pool: textures in the pool ([P] 3.2: 300,000; 1.3 million images).
        texture_size: side of a stored texture, texels. Stretched to 2 x ``size`` px, so an object shows its corner.
        texture_folder: folder of images that serve as the pool in place of generated textures; ``images`` needs one.
        num_videos: videos in a fixed set ([P] 3.2: 9,537 where there are textures), or None: fresh ones for ever.
        epoch_size: videos that count as an epoch, 9,537 as in the UCF101 training list ([P] 9.2).

    Raises:
        InputError: a value is out of its range, with the range.
    """

    name: str
    size: int = 256
    duration: tuple[int, int] = (100, 200)
    num_objects: int = 500
    radius: tuple[float, float] = (0.1, 1.0)
    shapes: Literal["circles", "mixed"] = "circles"
    speed: tuple[float, float] = (0.0, 0.0)
    acceleration: tuple[float, float] = (0.0, 0.0)
    rotation: tuple[float, float] = (0.0, 0.0)
    scaling: tuple[float, float] = (0.0, 0.0)
    shear: tuple[float, float] = (0.0, 0.0)
    fill: Fill = "color"
    texture_pool: int = 300_000
    texture_size: int = 128
    texture_folder: str | None = None
    num_videos: int | None = None
    epoch_size: int = 9537

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple) and not value[0] <= value[1]:
                raise self._bad(field.name, f"is reversed: write [{value[1]}, {value[0]}]")
        if self.num_objects < 1:
            raise self._bad("num_objects", "leaves the frame empty, for nothing else fills it: give 1 or more")
        if not 0 < self.radius[0] <= self.radius[1]:
            raise self._bad("radius", "must be above 0: it is a fraction of the frame, [0.1, 1.0] in the paper")
        for name, least in (("size", 1), ("texture_pool", 1), ("texture_size", 1), ("epoch_size", 1)):
            if getattr(self, name) < least:
                raise self._bad(name, f"is too small: give {least} or more")
        if self.duration[0] < 1:
            raise self._bad("duration", "must be at least 1 frame: the paper has [100, 200]")
        if self.num_videos is not None and self.num_videos < 1:
            raise self._bad("num_videos", "must be at least 1, or null for an endless set")
        if self.texture_pool > 2**31:
            raise self._bad("texture_pool", "is more than the 2^31 textures that can be drawn from")

    def _bad(self, field: str, fault: str) -> InputError:
        value = getattr(self, field)
        shown = list(value) if isinstance(value, tuple) else value
        return InputError(f"recipe {self.name!r}: {field} {shown} {fault}")

    @property
    def hash(self) -> str:
        """Sixteen hex digits that change with every field but the name."""
        content = {k: v for k, v in asdict(self).items() if k != "name"}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def with_textures(self, most: int | None, size: int | None) -> "Recipe":
        """The same with at most ``most`` textures of side ``size`` (None: as they are); plain colours stay as they are.

        Raises:
            InputError: a value is out of its range.
        """
        if self.fill == "color":
            return self
        pool = self.texture_pool if most is None else min(self.texture_pool, most)
        return replace(self, texture_pool=pool, texture_size=self.texture_size if size is None else size)

    def check_index(self, index: Tensor) -> None:
        """Refuse an index that names no video of this set.

        Raises:
            InputError: an index is negative, or not below ``num_videos`` (endless sets: 2^32).
        """
        end = self.num_videos or 2**32
        if len(index) and not 0 <= int(index.min()) <= int(index.max()) < end:
            wrong = int(index.max()) if int(index.max()) >= end else int(index.min())
            raise InputError(f"index {wrong} is outside {self.name!r}, which has videos 0 .. {end - 1}")


@cache
def radius_table(low: float, high: float) -> tuple[Tensor, Tensor]:
    """The radius law as a look-up table, in exact arithmetic so that it is the same on every machine.

    200 radii r from ``low`` to ``high`` (fractions of the frame), density proportional to r^-3 - high^-3 ([R]).

    Returns:
        Upper ends of the cumulative distribution in units of 2^-24, int64 (200,); radii, float64 (200,).
    """
    first, last = Fraction(str(low)), Fraction(str(high))
    radii = [first + (last - first) * k / 199 for k in range(200)]
    weights = [r**-3 - last**-3 for r in radii] if first < last else [Fraction(1)] * 200
    total, running, ends = sum(weights), Fraction(0), []
    for weight in weights:
        running += weight
        ends.append(int(running / total * 2**24))
    return torch.tensor(ends), torch.tensor([float(r) for r in radii], dtype=torch.float64)


def dataset_names() -> list[str]:
    """The datasets that ``configs/pretrain`` holds."""
    return sorted(p.stem for p in (CONFIGS / "pretrain").glob("*.yaml"))


def load_recipe(name_or_path: str | Path) -> Recipe:
    """The recipe of a dataset, by its name (``"acc_shapes"``) or the path of a YAML file.

    The file is a pre-training config (its ``data.init_args.recipe`` block is read) or holds the recipe's fields only.

    Raises:
        InputError: no such dataset or file (the nearest name is suggested), an unknown key, a value of another type or
            out of its range.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = CONFIGS / "pretrain" / f"{name_or_path}.yaml"
        if not path.is_file():
            raise InputError(
                f"no dataset {str(name_or_path)!r}{nearest(str(name_or_path), dataset_names())}: "
                f"give one of {', '.join(dataset_names())}, or the path of a YAML file"
            )
    if not path.is_file():
        raise InputError(f"no recipe file {path}: give the path of a YAML file, or one of {', '.join(dataset_names())}")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a YAML file: {' '.join(str(error).split())}") from error
    for key in ("data", "init_args", "recipe"):
        if isinstance(content, dict) and key in content:
            content = content[key]
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no recipe: write its fields, or a data.init_args.recipe block")
    return recipe_from_dict(content, str(path))


def recipe_from_dict(content: dict[str, Any], place: str) -> Recipe:
    """A recipe from plain values, as a YAML file or a checkpoint holds them.

    Args:
        content: field names and values; ranges may be lists.
        place: where they stand, for error messages.

    Raises:
        InputError: an unknown key or choice (nearest suggested), a wrong type, a value out of range.
    """
    known = {f.name: f.type for f in fields(Recipe)}
    for key, value in content.items():
        if key not in known:
            raise InputError(f"{place}: unknown recipe key {key!r}{nearest(key, list(known))}")
        choices = get_args(known[key])
        if all(isinstance(c, str) for c in choices) and choices and value not in choices:
            raise InputError(
                f"{place}: {key} {value!r} is not in {', '.join(choices)}{nearest(str(value), [*choices])}"
            )
    if "name" not in content:
        raise InputError(f"{place}: the recipe has no name: add `name: my_dataset`")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--recipe", type=Recipe)
    try:
        recipe: Recipe = parser.instantiate(parser.parse_object({"recipe": content})).recipe
    except ArgumentError as error:
        raise InputError(f"{place}: {' '.join(str(error).split())}") from error
    return recipe
