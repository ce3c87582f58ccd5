"""Where every object is and what it looks like, on the CPU: addresses to matrices in one pass.

``vsr.latents`` and ``vsr.geometry`` once more, as Numba, like ``vsr.raster.place_cuda`` as Triton: torch would spend as
long on them as the painter on the pixels. The draws are bit-equal (integers, 24-bit uniforms and look-ups); the float64
values agree to rounding. A test holds all three together for every dataset.
"""

import math
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from vsr.geometry import crop_boxes
from vsr.latents import ASIDE
from vsr.loops import compiled, parallel
from vsr.recipe import Recipe, radius_table
from vsr.rng import Stream
from vsr.rng_cpu import below, uniform, words

_S = {stream.name: int(stream) for stream in Stream}  # Numba freezes globals: one number each
_RADIUS, _POSITION, _COLOR, _SHAPE, _ANGLE = (_S[n] for n in ("RADIUS", "POSITION", "COLOR", "SHAPE", "ANGLE"))
_DIRECTION, _SPEED, _ACCELERATION = (_S[n] for n in ("DIRECTION", "SPEED", "ACCELERATION"))
_ROTATION, _SCALE, _SHEAR, _TEXTURE = (_S[n] for n in ("ROTATION", "SCALE", "SHEAR", "TEXTURE"))
_DURATION, _CLIP, _BACKGROUND = _S["DURATION"], _S["CLIP"], _S["BACKGROUND"]
_MOTION = (_RADIUS, _POSITION, _DIRECTION, _SPEED, _ACCELERATION, _ROTATION, _SCALE, _SHEAR)  # as the rows of ``spans``
_BLOCK = 64  # objects whose motion is drawn together


class Placed(NamedTuple):
    """The objects that B clips may show, and the cameras on them: about 250 bytes an object.

    Objects stand in painter's order; of N places, each clip fills the first ``counts``.

    Attributes:
        counts: int64 (B,).
        number: int64 (B, N), which of the video's objects it is (a background is 0).
        motion: float64 (B, N, 12): radius, center x and y (px), way x and y (cosine and sine of the direction), speed,
            acceleration, rotation, scaling x and y, shear x and y.
        circle: bool (B, N).
        edges: float64 (B, N, 4, 3), as in :class:`vsr.geometry.Outlines`.
        color: uint8 (B, N, 3), as in :class:`vsr.raster.Scene`.
        texture: int64 (B, N), position in the pool, -1 where there is no texture.
        view: float64 (B, 5): first frame of the clip, and the camera's box x, y, width, height.
    """

    counts: NDArray[np.int64]
    number: NDArray[np.int64]
    motion: NDArray[np.float64]
    circle: NDArray[np.bool_]
    edges: NDArray[np.float64]
    color: NDArray[np.uint8]
    texture: NDArray[np.int64]
    view: NDArray[np.float64]


def place_clips(
    recipe: Recipe, seed: int, index: NDArray[np.int64], epoch: NDArray[np.int64], span: int, crop: int | None
) -> Placed:
    """Place the objects of the clips at some addresses, but for those that are out of view from first frame to last.

    Args:
        recipe: the dataset.
        seed: the data seed.
        index: (B,), the videos.
        epoch: (B,), which clip of each.
        span: video frames from the first to the last of a clip.
        crop: side of the output, px, or None for the whole frame.
    """
    videos, objects = len(index), recipe.num_drawn
    ends, radii = (t.numpy() for t in radius_table(*recipe.radius))
    guide = np.searchsorted(ends, np.arange(256) << 16, side="right")  # where to start looking for a radius
    spans = np.array(
        [(0.0, 2.0**24), (0.0, 2.0 * recipe.size), (-math.pi, math.pi), recipe.speed, recipe.acceleration,
         recipe.rotation, recipe.scaling, recipe.shear]
    )  # fmt: skip
    first, last = recipe.duration
    placed = Placed(
        np.empty(videos, np.int64), np.empty((videos, objects), np.int64), np.empty((videos, objects, 12)),
        np.empty((videos, objects), np.bool_), np.empty((videos, objects, 4, 3)),
        np.empty((videos, objects, 3), np.uint8), np.empty((videos, objects), np.int64), np.empty((videos, 5)),
    )  # fmt: skip
    _place_clips(
        np.uint64(seed), index, epoch, first, last - first + 1, span, recipe.num_objects, spans, ends,
        guide, radii * recipe.size, crop_boxes(recipe.size, crop).numpy(), recipe.shapes == "mixed", recipe.size,
        objects > recipe.num_objects, np.array(recipe.looks), recipe.texture_pool,
        recipe.texture_window or recipe.texture_pool, recipe.epoch_size, *placed,
    )  # fmt: skip
    return placed


@compiled
def _draw_motion(seed, first, index, spans, draws):
    """The first two words of the motion's streams for a block of objects, (stream, word, object).

    Together they take a third of the time of one after the other. A range that is a point needs none.
    """
    first = np.uint64(first)  # a signed element would not vectorise
    for s in range(len(_MOTION)):
        if spans[s, 0] < spans[s, 1]:
            for i in range(_BLOCK):
                draws[s, 0, i], draws[s, 1, i], _, _ = words(seed, _MOTION[s], first + np.uint64(i), index, 0)


@compiled
def _span(word, spans, which):  # all of ``spans``: a view of a row counts references
    return spans[which, 0] + uniform(word) * (spans[which, 1] - spans[which, 0])


@compiled
def _angles(shape, u, angles):
    """``vsr.latents._outline_angles``: where the four corners lie, ascending."""
    turn, quarter = 2 * math.pi, math.pi / 2
    if shape == 3:
        half = u[0] * quarter
        angles[0], angles[1], angles[2], angles[3] = half, math.pi - half, math.pi + half, turn - half
    elif shape >= 4:
        corners = shape - 1
        for e in range(corners):  # in their places one after the other: far faster than np.sort
            angle, place = u[e] * turn, e
            while place > 0 and angles[place - 1] > angle:
                angles[place] = angles[place - 1]
                place -= 1
            angles[place] = angle
        if corners == 3:
            angles[3] = angles[2]
    else:
        first = u[0] * quarter if shape == 2 else math.pi / 4
        for e in range(4):
            angles[e] = first + e * quarter


@compiled
def _reach(radius, start, end, sx, sy, kx, ky):
    """How far an object stretches from its center between two times at most, px: no matrix of it stretches by more."""
    scale = max(abs(1 + sx * start), abs(1 + sx * end), abs(1 + sy * start), abs(1 + sy * end))
    return radius * scale * (1 + max(abs(kx), abs(ky)) * end) * 1.0001


@compiled
def _in_view(x, y, way_x, way_y, speed, acceleration, reach, start, end, box_x, box_y, box_width, box_height):
    """Whether an object may touch the camera's box at any time from ``start`` to ``end``."""
    far_0, far_1 = (speed + acceleration * start / 2) * start, (speed + acceleration * end / 2) * end
    near, far = min(far_0, far_1), max(far_0, far_1)
    if start < -speed / acceleration < end:  # it turns round on the way
        turn = -speed * speed / acceleration / 2
        near, far = min(near, turn), max(far, turn)
    x_0, x_1, y_0, y_1 = near * way_x, far * way_x, near * way_y, far * way_y
    left, right, above, below = min(x_0, x_1), max(x_0, x_1), min(y_0, y_1), max(y_0, y_1)
    return (
        x + right + reach >= box_x and x + left - reach <= box_x + box_width
        and y + below + reach >= box_y and y + above - reach <= box_y + box_height
    )  # fmt: skip


@compiled
def _look(w0, w1, w2, colored, first_texture, w3, window, textured, v, k, color, texture):
    """What object ``k`` of clip ``v`` shows, from its words."""
    color[v, k, 0] = below(w0, 256) if colored else 0
    color[v, k, 1] = below(w1, 256) if colored else 0
    color[v, k, 2] = below(w2, 256) if colored else 0
    texture[v, k] = first_texture + below(w3, window) if textured else -1


@parallel
def _place_clips(
    seed, index, epoch, first, durations, span, objects, spans, ends, guide, radii, boxes, mixed, size, backdrop, looks,
    pool, window, epoch_size, count, number, motion, circle, edges, color, texture, view,
):  # fmt: skip
    object_color, object_texture, background_color, background_texture = looks
    for v in numba.prange(len(index)):
        video = index[v]
        first_texture = video // epoch_size * window % pool
        duration = first + below(words(seed, _DURATION, 0, video, 0)[0], durations)
        c0, c1, c2, _ = words(seed, _CLIP, 0, video, epoch[v])
        start = below(c0, duration - span + 1)
        row, column = below(c1, boxes.shape[0]), below(c2, boxes.shape[1])
        box_x, box_y, box_width, box_height = boxes[row, column].flat
        view[v, 0], view[v, 1], view[v, 2], view[v, 3], view[v, 4] = start, box_x, box_y, box_width, box_height
        end = start + span - 1
        angles, u = np.empty(4), np.empty(4)
        draws = np.zeros((len(_MOTION), 2, _BLOCK), np.uint64)
        k = 0
        if backdrop:  # vsr.latents: a square as large as the frame, standing still
            for m in range(12):
                motion[v, k, m] = 0
            motion[v, k, 0] = size / 2
            motion[v, k, 1] = motion[v, k, 2] = size / 2 + ASIDE
            w0, w1, w2, w3 = words(seed, _BACKGROUND, 0, video, 0)
            _look(w0, w1, w2, background_color, first_texture, w3, window, background_texture, v, k, color, texture)
            number[v, k], circle[v, k] = 0, False
            for e in range(4):
                middle = (e + 1) * math.pi / 2
                edges[v, k, e, 0], edges[v, k, e, 1], edges[v, k, e, 2] = math.cos(middle), math.sin(middle), 1
            k += 1
        for n in range(objects):
            i = n % _BLOCK
            if i == 0:
                _draw_motion(seed, n, video, spans, draws)
            at = np.int64(_span(draws[0, 0, i], spans, 0))
            rank = guide[at >> 16]
            while ends[rank] <= at:
                rank += 1
            radius = radii[rank]
            x, y = _span(draws[1, 0, i], spans, 1), _span(draws[1, 1, i], spans, 1)
            direction = _span(draws[2, 0, i], spans, 2)
            way_x, way_y = math.cos(direction), math.sin(direction)
            speed, acceleration = _span(draws[3, 0, i], spans, 3), _span(draws[4, 0, i], spans, 4)
            sx, sy = _span(draws[6, 0, i], spans, 6), _span(draws[6, 1, i], spans, 6)
            kx, ky = _span(draws[7, 0, i], spans, 7), _span(draws[7, 1, i], spans, 7)
            reach = _reach(radius, start, end, sx, sy, kx, ky)
            if not _in_view(
                x, y, way_x, way_y, speed, acceleration, reach, start, end, box_x, box_y, box_width, box_height
            ):
                continue
            rotation = _span(draws[5, 0, i], spans, 5)
            motion[v, k, 0], motion[v, k, 1], motion[v, k, 2] = radius, x, y
            motion[v, k, 3], motion[v, k, 4], motion[v, k, 5] = way_x, way_y, speed
            motion[v, k, 6], motion[v, k, 7] = acceleration, rotation
            motion[v, k, 8], motion[v, k, 9], motion[v, k, 10], motion[v, k, 11] = sx, sy, kx, ky
            number[v, k] = n + backdrop
            w0, w1, w2, _ = words(seed, _COLOR, n, video, 0)
            w3 = words(seed, _TEXTURE, n, video, 0)[0]
            _look(w0, w1, w2, object_color, first_texture, w3, window, object_texture, v, k, color, texture)
            shape = below(words(seed, _SHAPE, n, video, 0)[0], 6) if mixed else 0
            circle[v, k] = shape == 0
            if shape > 0:  # vsr.geometry.outlines
                w0, w1, w2, w3 = words(seed, _ANGLE, n, video, 0)
                u[0], u[1], u[2], u[3] = uniform(w0), uniform(w1), uniform(w2), uniform(w3)
                _angles(shape, u, angles)
                for e in range(4):
                    here, there = angles[e], angles[e + 1] if e < 3 else angles[0] + 2 * math.pi
                    middle, half = (here + there) / 2, (there - here) / 2
                    edges[v, k, e, 0], edges[v, k, e, 1] = math.cos(middle), math.sin(middle)
                    edges[v, k, e, 2] = math.cos(half)
            k += 1
        count[v] = k


@compiled
def matrices_at(motion, time, box, height, width, matrices):
    """``vsr.geometry.frame_from_unit`` and the camera: unit frame -> output, for the objects of one frame.

    Objects that can't touch the output get a matrix without area there. ``box`` is x, y, width, height.
    """
    zoom_x, zoom_y = width / box[2], height / box[3]
    left, top, middle_x, middle_y = box[0], box[1], width / 2, height / 2
    for n in range(len(matrices)):
        radius, sx, sy, kx, ky = motion[n, 0], motion[n, 8], motion[n, 9], motion[n, 10], motion[n, 11]
        far = motion[n, 5] * time + motion[n, 6] * time * time / 2
        x = zoom_x * (motion[n, 1] + far * motion[n, 3] - left)
        y = zoom_y * (motion[n, 2] + far * motion[n, 4] - top)
        reach = _reach(radius, time, time, sx, sy, kx, ky)
        matrices[n, 0, 2], matrices[n, 1, 2] = x, y
        if abs(x - middle_x) > middle_x + zoom_x * reach or abs(y - middle_y) > middle_y + zoom_y * reach:
            matrices[n, 0, 0] = matrices[n, 0, 1] = matrices[n, 1, 0] = matrices[n, 1, 1] = 0
            continue
        sx, sy, kx, ky = radius * (1 + sx * time), radius * (1 + sy * time), kx * time, ky * time
        cos, sin = math.cos(motion[n, 7] * time), math.sin(motion[n, 7] * time)
        a, b, c, d = sx * cos, -sy * sin, sx * sin, sy * cos
        matrices[n, 0, 0], matrices[n, 0, 1] = zoom_x * (a + b * ky), zoom_x * (a * kx + b)
        matrices[n, 1, 0], matrices[n, 1, 1] = zoom_y * (c + d * ky), zoom_y * (c * kx + d)
