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
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin

import torch
from jsonargparse import ArgumentParser
from torch import Tensor

from vsr.documents import read_yaml, shown
from vsr.errors import InputError, must_name_a_folder, nearest

CONFIGS = next(p for p in (Path(__file__).parent / "configs", Path(__file__).parents[1] / "configs") if p.is_dir())
"""The YAML files: beside the package in a checkout, inside it in a wheel."""

NATURAL = ("kinetics400", "ucf101")
"""Pre-training configs of natural videos, the paper's baselines; they have no recipe."""

PROGRESSION: dict[str, frozenset[str]] = {
    "static_circles": frozenset(),
    "moving_circles": frozenset({"speed"}),
    "moving_shapes": frozenset({"shapes"}),
    "transforming_shapes": frozenset({"rotation", "scaling", "shear"}),
    "acc_shapes": frozenset({"acceleration"}),
    "acc_textures": frozenset({"fill", "num_videos"}),
    "acc_stylegan": frozenset({"texture_source"}),
    "acc_images": frozenset({"texture_source", "texture_pool"}),
}
"""The ladder ([P] 3.1, table 1): each dataset with the recipe fields in which it differs from the one before it."""

VARIANTS: dict[str, tuple[str, frozenset[str]]] = {
    "moving_circles_slow": ("moving_circles", frozenset({"speed"})),
    "moving_shapes_slow": ("moving_shapes", frozenset({"speed"})),
    "transforming_shapes_slow": ("transforming_shapes", frozenset({"speed"})),
    "acc_shapes_slow": ("acc_shapes", frozenset({"speed"})),
    "acc_textures_slow": ("acc_textures", frozenset({"speed"})),
    "acc_images_300k": ("acc_images", frozenset({"texture_pool"})),
    "acc_images_300k_colored_background": ("acc_images_300k", frozenset({"background"})),
    "acc_images_300k_image_background": ("acc_images_300k", frozenset({"background"})),
    "acc_images_150k_stylegan_150k": ("acc_images_300k", frozenset({"texture_source"})),
    "acc_images_150k_textures_150k": ("acc_images_300k", frozenset({"texture_source"})),
    "acc_dynamic_stylegan": ("acc_stylegan", frozenset({"texture_frames", "texture_pool"})),
    "dynamic_stylegan_videos": (
        "static_circles",
        frozenset({"num_objects", "background", "texture_source", "texture_size", "num_videos"}),
    ),
    "dynamic_stylegan_highfreq_videos": ("dynamic_stylegan_videos", frozenset({"texture_source"})),
    "saturated_textures": ("acc_textures", frozenset({"fill"})),
    "saturated_textures_colored_background": ("saturated_textures", frozenset({"background"})),
    "saturated_dynamic_stylegan": ("acc_dynamic_stylegan", frozenset({"fill"})),
    "saturated_images": ("acc_images", frozenset({"fill"})),
    "saturated_images_300k": ("acc_images_300k", frozenset({"fill"})),
    "saturated_images_150k_textures_150k": ("acc_images_150k_textures_150k", frozenset({"fill"})),
    "saturated_images_300k_colored_background": ("acc_images_300k_colored_background", frozenset({"fill"})),
    "saturated_images_300k_image_background": ("acc_images_300k_image_background", frozenset({"fill"})),
}
"""The others that are one recipe ([P] tables 2, 3, 9, 10, 12): a dataset, and the fields in which they differ."""

_TOO_LARGE = 2**24  # in float32, places beyond it are no longer told apart by a pixel
_MOST = {"size": 2**15, "duration": 2**20, "num_objects": 2**20, "texture_frames": 2**20, "texture_size": 2**15,
         "num_videos": 2**32, "epoch_size": 2**32}  # fmt: skip
"""Of fields that memory or the numbers of videos limit: far more than any machine can draw."""

Source = Literal["statistical", "stylegan_oriented", "stylegan_high_freq", "images"]


class Looks(NamedTuple):
    """What a pixel shows: the texel there, if any, plus a colour, if any."""

    object_color: bool
    object_texture: bool
    background_color: bool
    background_texture: bool


@dataclass(frozen=True)
class Recipe:
    """A synthetic video dataset.

    Together with ``(seed, index)`` a recipe names one video, with ``epoch`` also the clip of it that training sees.
    Pairs are ranges ``(low, high)``, drawn uniformly; px are pixels of the ``size`` x ``size`` frame.

    Args:
        name: the dataset's name; it names run folders and is not part of the hash.
        size: side of the square frame, px ([P] 9.2: 256).
        duration: frames per video, both ends included ([P] 9.2: 100..200 at 25 frames/s).
        num_objects: objects per video, painted in index order: the later covers the earlier ([R]: 500). 0 leaves the
            background alone.
        radius: circumscribed radius as a fraction of ``size``; 200 values, density falling as radius^-3 ([R]).
        shapes: ``circles``, or ``mixed``: circle, square, rotated square, rectangle, triangle, quadrilateral ([R]).
        speed: px/frame, along a direction uniform in (-pi, pi) ([P] table 8: 1.2..3.0).
        acceleration: px/frame^2 along that direction, x0 + v t + a t^2 / 2 ([P] table 8: -0.06..0.06).
        rotation: rad/frame ([P] table 8: -pi/100..pi/100).
        scaling: per frame, independent for x and y: factor 1 + s t ([P] 9.2: -0.005..0.005).
        shear: per frame, independent for x and y: k t ([P] 9.2: -0.005..0.005).
        fill: what an object shows: its ``color``; its own ``texture`` of a pool, which moves with it; or the sum of
            both, ``saturated`` ([P] table 12).
        saturation: where the sum passes 255: ``wrap`` goes on at 0, as released; ``clamp`` stays ([R]).
        background: ``black``; one ``color`` or one ``texture`` per video ([P] 9.4); or a ``walk``: the generator's own
            video, made live, fills the frame ([P] table 3, "Dynamic StyleGAN videos").
        texture_source: where textures come from: generators, ``images``, or a list of them in equal shares of the pool.
        texture_pool: textures in the pool ([P] 3.2: 300,000; 1.3 million images).
        texture_size: side of a stored texture, texels. Stretched to 2 x ``size`` px for objects, which so show its
            corner ([R]), and to ``size`` px for backgrounds.
        texture_frames: frames of a dynamic texture, a generator's walk ([P] 5.2); 1: textures stand still. Shown forth
            and back where the video is longer.
        texture_step: of a walk from frame to frame, in standard deviations of a latent; [P] gives none, 0.05 is our
            choice.
        texture_steady: a walk keeps the variance of its latents, so that contrast doesn't grow.
        texture_window: textures of the pool shown at a time, in an endless set: videos of epoch e (``index //
            epoch_size``) show the e-th window of so many. None: the whole pool.
        texture_folder: folder of image files or of tar archives of them, for ``images``. Not part of the hash.
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
    fill: Literal["color", "texture", "saturated"] = "color"
    saturation: Literal["wrap", "clamp"] = "wrap"
    background: Literal["black", "color", "texture", "walk"] = "black"
    texture_source: Source | tuple[Source, ...] = "statistical"
    texture_pool: int = 300_000
    texture_size: int = 128
    texture_frames: int = 1
    texture_step: float = 0.05
    texture_steady: bool = False
    texture_window: int | None = None
    texture_folder: str | None = None
    num_videos: int | None = None
    epoch_size: int = 9537

    def __post_init__(self) -> None:
        must_name_a_folder("recipe name", self.name)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type in (float, tuple[float, float]):  # or 1 and 1.0, which are equal, would have two hashes
                value = tuple(map(float, value)) if isinstance(value, tuple) else float(value)
                object.__setattr__(self, field.name, value)
            numbers = [x for x in (value if isinstance(value, tuple) else [value]) if isinstance(x, float)]
            if not all(abs(x) < _TOO_LARGE for x in numbers):
                raise self._bad(field.name, "is out of all proportion: give numbers of less than 2^24")
            if field.name != "texture_source" and isinstance(value, tuple) and not value[0] <= value[1]:
                raise self._bad(field.name, f"is reversed: write [{value[1]}, {value[0]}]")
        if self.num_objects < 0 or (self.num_objects == 0 and self.background == "black"):
            raise self._bad("num_objects", "leaves the frame empty: give 1 or more, or a background")
        if not 0 < self.radius[0] <= self.radius[1]:
            raise self._bad("radius", "must be above 0: it is a fraction of the frame, [0.1, 1.0] in the paper")
        for name in ("size", "texture_pool", "texture_size", "texture_frames", "epoch_size"):
            if getattr(self, name) < 1:
                raise self._bad(name, "is too small: give 1 or more")
        if self.duration[0] < 1:
            raise self._bad("duration", "must be at least 1 frame: the paper has [100, 200]")
        if self.num_videos is not None and self.num_videos < 1:
            raise self._bad("num_videos", "must be at least 1, or null for an endless set")
        for name, most in _MOST.items():
            value = getattr(self, name)
            if value is not None and (value[1] if isinstance(value, tuple) else value) > most:
                raise self._bad(name, f"is too large: give at most {most:,}".replace(",", "_"))
        if self.texture_pool > 2**31:
            raise self._bad("texture_pool", "is more than the 2^31 textures that can be drawn from")
        if not 0 <= self.texture_step <= 1:
            raise self._bad("texture_step", "is no step of a walk: give 0 to 1, about 0.05")
        if not self.sources or len(set(self.sources)) < len(self.sources):
            raise self._bad("texture_source", "must name one source or several different ones")
        moving = [s for s in self.sources if not s.startswith("stylegan")]
        if moving and (self.texture_frames > 1 or self.background == "walk"):
            raise self._bad("texture_source", "has no walks: dynamic textures take stylegan_oriented or _high_freq")
        if self.background == "walk":
            if len(self.sources) > 1:
                raise self._bad("texture_source", "must be a single generator where its walk is the background")
            if self.num_objects and self.fill != "color":
                raise self._bad("fill", "needs a pool, which can't be shown on a walk: write color, or num_objects: 0")
        if self.texture_window is not None:
            if self.num_videos is not None:
                raise self._bad("texture_window", "is of endless sets: set num_videos to null, or no window")
            if self.texture_window < 1 or self.texture_pool % self.texture_window:
                raise self._bad("texture_window", f"must divide texture_pool, {self.texture_pool}")

    def _bad(self, field: str, fault: str) -> InputError:
        value = getattr(self, field)
        shown = list(value) if isinstance(value, tuple) else value
        return InputError(f"recipe {self.name!r}: {field} {shown} {fault}")

    @property
    def hash(self) -> str:
        """Sixteen hex digits that change with every field but the name, and the place of the images."""
        content = {k: v for k, v in asdict(self).items() if k not in ("name", "texture_folder")}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def sources(self) -> tuple[Source, ...]:
        """Where textures come from. Position p of the pool is number ``p // len(sources)`` of ``p % len(sources)``."""
        return self.texture_source if isinstance(self.texture_source, tuple) else (self.texture_source,)

    @property
    def textured(self) -> bool:
        """Whether a pool of textures is shown."""
        return (self.fill != "color" and self.num_objects > 0) or self.background == "texture"

    @property
    def num_drawn(self) -> int:
        """What is painted in a frame: the objects, and the background unless it is black."""
        return self.num_objects + (self.background != "black")

    @property
    def looks(self) -> Looks:
        """Which colours and textures are shown."""
        backdrop = self.background
        return Looks(self.fill != "texture", self.fill != "color", backdrop == "color", backdrop in ("texture", "walk"))

    def with_textures(self, most: int | None, size: int | None = None, frames: int | None = None) -> "Recipe":
        """The same with a smaller pool, for smaller machines; recipes without textures stay as they are.

        Args:
            most: images in the pool at most, all frames of dynamic textures counted. None: as it is.
            size: side of a texture, texels, likewise.
            frames: frames of dynamic textures at most, likewise.

        Raises:
            InputError: a value is out of its range.
        """
        if not self.textured:
            return self
        frames = self.texture_frames if frames is None else min(frames, self.texture_frames)
        pool, window = self.texture_pool, self.texture_window
        if most is not None and most < pool * max(frames, 1):
            pool, window = max(most // max(frames, 1), min(most, 1)), None
        size = self.texture_size if size is None else size
        return replace(self, texture_pool=pool, texture_size=size, texture_frames=frames, texture_window=window)

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
    """The datasets that ``configs/pretrain`` holds, natural ones aside."""
    return sorted(p.stem for p in (CONFIGS / "pretrain").glob("*.yaml") if p.stem not in NATURAL)


def recipe_names() -> list[str]:
    """Those of them that are one recipe; the others are mixtures (:class:`vsr.data.mixture.VideoMixture`)."""
    return sorted({*PROGRESSION, *VARIANTS})


def load_recipe(name_or_path: str | Path) -> Recipe:
    """The recipe of a dataset, by its name (``"acc_shapes"``) or the path of a YAML file.

    The file is a pre-training config (its ``data.init_args.recipe`` block is read) or holds the recipe's fields only.

    Raises:
        InputError: no such dataset or file (the nearest name is suggested), an unknown key, a value of another type or
            out of its range.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        places = [CONFIGS / folder / f"{name_or_path}.yaml" for folder in ("pretrain", "recipe")]
        path = next((p for p in places if p.is_file()), places[0])
        if not path.is_file():
            raise InputError(
                f"no dataset {str(name_or_path)!r}{nearest(str(name_or_path), dataset_names())}: "
                f"give one of {', '.join(dataset_names())}, or the path of a YAML file"
            )
    if not path.is_file():
        raise InputError(f"no recipe file {path}: give the path of a YAML file, or one of {', '.join(dataset_names())}")
    content = read_yaml(path)
    for key in ("data", "init_args", "recipe"):
        if isinstance(content, dict) and key in content:
            content = content[key]
    if path.stem in NATURAL and path.parent == CONFIGS / "pretrain":
        raise InputError(f"{path.stem} has natural videos, no recipe: give one of {', '.join(dataset_names())}")
    if isinstance(content, dict) and "shares" in content:
        shares = content["shares"] if isinstance(content["shares"], list) else []
        parts = [str(share.get("recipe") or "natural videos") for share in shares if isinstance(share, dict)]
        listed = ", ".join(parts) or "it has none"
        raise InputError(f"{path.stem} is a mixture, not one recipe: name one of its parts ({listed})")
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
            raise InputError(f"{place}: unknown recipe key {shown(key)}{nearest(str(key), list(known))}")
        kind = known[key]
        choices = _choices(kind)
        several = isinstance(value, list | tuple) and get_origin(kind) is not Literal
        for one in value if several else [value]:
            if choices and one not in choices:
                hint = nearest(one, choices) if isinstance(one, str) else ""
                raise InputError(f"{place}: {key} {shown(one)} is not in {', '.join(choices)}{hint}")
        if not choices and not _is(value, kind):
            raise InputError(f"{place}: {key} {shown(value)} is not {_wanted(kind)}")
    if "name" not in content:
        raise InputError(f"{place}: the recipe has no name: add `name: my_dataset`")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--recipe", type=Recipe)
    try:
        recipe: Recipe = parser.instantiate(parser.parse_object({"recipe": content})).recipe
    except ArgumentError as error:
        raise InputError(f"{place}: {' '.join(str(error).split())}") from error
    return recipe


def _is(value: Any, kind: Any) -> bool:
    """Whether a value of a YAML file is of a field's type."""
    parts = get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, list | tuple) and len(value) == len(parts) and all(map(_is, value, parts))
    if parts:
        return any(_is(value, part) for part in parts)
    if kind is float:
        return isinstance(value, float) or (isinstance(value, int) and value.bit_length() < 1000 and _is(value, int))
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _wanted(kind: Any) -> str:
    """What a field takes, in words."""
    words = {str: "a word", int: "a whole number", float: "a number", bool: "true or false", NoneType: "null"}
    parts = get_args(kind)
    if get_origin(kind) is tuple:
        return f"two {'whole ' * (parts[0] is int)}numbers: write [low, high]"
    return " or ".join(words[part] for part in parts or [kind])


def _choices(kind: Any) -> list[str]:
    """The words that a field may hold; none for other types."""
    parts = get_args(kind)
    words = all(isinstance(part, str) for part in parts)
    return list(parts) if words else list(dict.fromkeys(word for part in parts for word in _choices(part)))
