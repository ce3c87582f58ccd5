"""A video's random parameters: what is drawn from its address, before any time or pixel.

Each attribute has its own stream, so two recipes that differ in one attribute draw the same scene (promise 2). The
words and the look-ups are bit-equal on every device; the float64 values made from them agree to 1e-12.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vsr.recipe import Recipe, radius_table
from vsr.rng import Stream, below, uniform, words, words_of

SHAPES = ("circle", "square", "rotated square", "rectangle", "triangle", "quadrilateral", "background")
"""Kinds of outlines. Objects have one of the first six; the last is the whole frame."""

ASIDE = 2.0**-12
"""How far a background lies aside, px: else pixels' centres may lie on borders of its texels, and rounding decides."""

_DRAWN_SHAPES = 6


class Latents(NamedTuple):
    """The parameters of B videos with N objects each. Frame coordinates: px, x right, y down, (0, 0) at the corner.

    Every outline lies in or on its object's circle: a polygon is the four points at ``angles``. Where the recipe has a
    background, it is object 0: a square as large as the frame that stands still, behind all.

    Attributes:
        duration: int64 (B,), frames.
        radius: float64 (B, N), px.
        center: float64 (B, N, 2), px, at frame 0.
        direction: float64 (B, N), rad.
        speed: float64 (B, N), px/frame.
        acceleration: float64 (B, N), px/frame^2.
        rotation: float64 (B, N), rad/frame.
        scaling: float64 (B, N, 2), per frame.
        shear: float64 (B, N, 2), per frame.
        shape: int64 (B, N), position in ``SHAPES``.
        angles: float64 (B, N, 4), rad, ascending within a turn; a triangle has its last twice.
        color: uint8 (B, N, 3), RGB.
        texture: int64 (B, N), position in the texture pool.
    """

    duration: Tensor
    radius: Tensor
    center: Tensor
    direction: Tensor
    speed: Tensor
    acceleration: Tensor
    rotation: Tensor
    scaling: Tensor
    shear: Tensor
    shape: Tensor
    angles: Tensor
    color: Tensor
    texture: Tensor

    def videos(self, some: slice) -> "Latents":
        """The same for some of the videos."""
        return Latents(*(t[some] for t in self))


def draw_words(seed: int, index: Tensor, num_objects: int) -> dict[Stream, Tensor]:
    """All words behind the latents: int64 (B, N, 4) per object stream, (B, 1, 4) for the duration.

    They do not depend on the recipe: that is what makes the progression paired. Golden hashes cover these.
    """
    streams = [s for s in Stream if s < 32]
    drawn = dict(zip(streams, words_of(streams, seed, index, elements=num_objects), strict=True))
    return drawn | {Stream.DURATION: words(Stream.DURATION, seed, index)}


def latents(recipe: Recipe, seed: int, index: Tensor) -> Latents:
    """The parameters of the videos ``(recipe, seed, index)``.

    Args:
        recipe: the dataset.
        seed: the data seed.
        index: int64 (B,), which videos; the work happens on its device.

    Raises:
        InputError: an index outside the recipe's set.
    """
    recipe.check_index(index)
    drawn = draw_words(seed, index, recipe.num_objects)

    def span(stream: Stream, low_high: tuple[float, float], count: int = 1) -> Tensor:
        low, high = low_high
        value = low + uniform(drawn[stream][..., :count]).double() * (high - low)
        return value if count > 1 else value[..., 0]

    first, last = recipe.duration
    ends, radii = (t.to(index.device) for t in radius_table(*recipe.radius))
    radius = radii[torch.searchsorted(ends, drawn[Stream.RADIUS][..., 0] >> 8, right=True).clamp(max=len(radii) - 1)]
    shape = below(drawn[Stream.SHAPE][..., 0], _DRAWN_SHAPES)
    if recipe.shapes == "circles":
        shape = torch.zeros_like(shape)
    window, first_texture = _window(recipe, index)
    objects = Latents(
        duration=first + below(drawn[Stream.DURATION][:, 0, 0], last - first + 1),
        radius=radius * recipe.size,
        center=span(Stream.POSITION, (0.0, 2.0 * recipe.size), 2),  # [R]: twice the frame, from its corner
        direction=span(Stream.DIRECTION, (-math.pi, math.pi)),
        speed=span(Stream.SPEED, recipe.speed),
        acceleration=span(Stream.ACCELERATION, recipe.acceleration),
        rotation=span(Stream.ROTATION, recipe.rotation),
        scaling=span(Stream.SCALE, recipe.scaling, 2),
        shear=span(Stream.SHEAR, recipe.shear, 2),
        shape=shape,
        angles=_outline_angles(shape, uniform(drawn[Stream.ANGLE]).double()),
        color=below(drawn[Stream.COLOR][..., :3], 256).to(torch.uint8),
        texture=first_texture[:, None] + below(drawn[Stream.TEXTURE][..., 0], window),
    )
    return objects if recipe.background == "black" else _on_background(objects, recipe, seed, index)


def texture_frame(frames: int, time: Tensor) -> Tensor:
    """Which of its frames a dynamic texture shows: forth and back, int64 as ``time``.

    Args:
        frames: of the texture, 1 or more.
        time: int64, frames since the video's start.
    """
    period = max(2 * frames - 2, 1)
    step = time % period
    return torch.minimum(step, period - step)


def _window(recipe: Recipe, index: Tensor) -> tuple[int, Tensor]:
    """How many textures of the pool are shown in a video, and the first of them: int64 (B,)."""
    window = recipe.texture_window or recipe.texture_pool
    return window, index // recipe.epoch_size * window % recipe.texture_pool


def _on_background(objects: Latents, recipe: Recipe, seed: int, index: Tensor) -> Latents:
    """The same with the background as object 0."""
    word = words(Stream.BACKGROUND, seed, index)
    window, first_texture = _window(recipe, index)
    square = torch.full((len(index), 1), SHAPES.index("background"), device=index.device)
    none = objects.radius.new_zeros(len(index), 1)
    background = Latents(
        duration=objects.duration,
        radius=none + recipe.size / 2,
        center=none[..., None].expand(-1, -1, 2) + (recipe.size / 2 + ASIDE),
        direction=none,
        speed=none,
        acceleration=none,
        rotation=none,
        scaling=none[..., None].expand(-1, -1, 2),
        shear=none[..., None].expand(-1, -1, 2),
        shape=square,
        angles=_outline_angles(square, none[..., None].expand(-1, -1, 4)),
        color=below(word[..., :3], 256).to(torch.uint8),
        texture=first_texture[:, None] + below(word[..., 3], window),
    )
    both = (torch.cat(pair, dim=1) for pair in zip(background[1:], objects[1:], strict=True))
    return Latents(objects.duration, *both)


def _outline_angles(shape: Tensor, u: Tensor) -> Tensor:
    """Where each shape's corners lie on its circle: float64 (B, N, 4), rad, ascending.

    A square has side r sqrt 2; a rectangle's half-diagonal angle is uniform in (0, pi/2); triangles and
    quadrilaterals have 3 and 4 uniform angles ([R]). ``u`` is float64 (B, N, 4) in [0, 1).
    """
    turn, quarter = 2 * math.pi, math.pi / 2
    corners = torch.arange(4, dtype=u.dtype, device=u.device) * quarter
    square = (math.pi / 4 + corners).expand_as(u)
    rotated = u[..., :1] * quarter + corners
    half = u[..., :1] * quarter
    rectangle = torch.cat((half, math.pi - half, math.pi + half, turn - half), dim=-1)
    three = u[..., :3].sort(dim=-1).values * turn
    triangle = torch.cat((three, three[..., 2:]), dim=-1)
    quadrilateral = u.sort(dim=-1).values * turn
    kinds = torch.stack((square, square, rotated, rectangle, triangle, quadrilateral, square))  # a circle's: not used
    return kinds.gather(0, shape[None, ..., None].expand(1, *u.shape))[0]
