"""Where every object is and what it looks like, on the CPU: addresses to matrices in one pass.

``vsr.latents`` and ``vsr.geometry`` once more, as Numba, like ``vsr.raster.place_cuda`` as Triton: torch would spend as
long on them as the painter on the pixels. The draws are bit-equal (integers, 24-bit uniforms and look-ups); the float64
values agree to rounding. A test holds all three together for every dataset.
"""

import math
from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from vsr.geometry import crop_boxes
from vsr.recipe import Recipe, radius_table
from vsr.rng import Stream

OPTIONS: dict[str, Any] = {"cache": True, "error_model": "numpy", "boundscheck": False}
_S = {stream.name: int(stream) for stream in Stream}  # Numba freezes globals: one number each
_RADIUS, _POSITION, _COLOR, _SHAPE, _ANGLE = (_S[n] for n in ("RADIUS", "POSITION", "COLOR", "SHAPE", "ANGLE"))
_DIRECTION, _SPEED, _ACCELERATION = (_S[n] for n in ("DIRECTION", "SPEED", "ACCELERATION"))
_ROTATION, _SCALE, _SHEAR, _TEXTURE = (_S[n] for n in ("ROTATION", "SCALE", "SHEAR", "TEXTURE"))
_DURATION, _CLIP = _S["DURATION"], _S["CLIP"]
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


class Placed(NamedTuple):
    """The objects of B clips, and the cameras on them: about 250 bytes an object.

    Attributes:
        motion: float64 (B, N, 12): radius, center x and y (px), way x and y (cosine and sine of the direction), speed,
            acceleration, rotation, scaling x and y, shear x and y.
        circle: bool (B, N).
        edges: float64 (B, N, 4, 3), as in :class:`vsr.geometry.Outlines`.
        color: uint8 (B, N, 3).
        texture: int64 (B, N), position in the pool.
        view: float64 (B, 5): first frame of the clip, and the camera's box x, y, width, height.
    """

    motion: NDArray[np.float64]
    circle: NDArray[np.bool_]
    edges: NDArray[np.float64]
    color: NDArray[np.uint8]
    texture: NDArray[np.int64]
    view: NDArray[np.float64]


def place_clips(
    recipe: Recipe, seed: int, index: NDArray[np.int64], epoch: NDArray[np.int64], span: int, crop: int | None
) -> Placed:
    """Place the objects of the clips at some addresses.

    Args:
        recipe: the dataset.
        seed: the data seed.
        index: (B,), the videos.
        epoch: (B,), which clip of each.
        span: video frames from the first to the last of a clip.
        crop: side of the output, px, or None for the whole frame.
    """
    videos, objects = len(index), recipe.num_objects
    ends, radii = (t.numpy() for t in radius_table(*recipe.radius))
    spans = np.array(
        [(0.0, 2.0 * recipe.size), (-math.pi, math.pi), recipe.speed, recipe.acceleration, recipe.rotation,
         recipe.scaling, recipe.shear]
    )  # fmt: skip
    first, last = recipe.duration
    placed = Placed(
        np.empty((videos, objects, 12)), np.empty((videos, objects), np.bool_), np.zeros((videos, objects, 4, 3)),
        np.empty((videos, objects, 3), np.uint8), np.empty((videos, objects), np.int64), np.empty((videos, 5)),
    )  # fmt: skip
    _place_clips(
        np.uint64(seed), index, epoch, first, last - first + 1, span, spans, ends, radii * recipe.size,
        crop_boxes(recipe.size, crop).numpy(), recipe.shapes == "mixed", recipe.texture_pool, *placed,
    )  # fmt: skip
    return placed


@numba.njit(**OPTIONS)
def words(seed, stream, element, index, epoch):
    """``vsr.rng.words``: one block, uint64 each."""
    c0, c1, c2, c3 = np.uint64(element), np.uint64(stream), np.uint64(index), np.uint64(epoch)
    k0, k1 = seed & _LOW, seed >> _HALF
    for _ in range(10):
        p0, p1 = c0 * _M0, c2 * _M1
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@numba.njit(**OPTIONS)
def below(word, n):
    """``vsr.rng.below``."""
    return np.int64((word * np.uint64(n)) >> _HALF)


@numba.njit(**OPTIONS)
def uniform(word):
    """``vsr.rng.uniform``, as float64."""
    return float(np.int64(word >> np.uint64(8))) * 2.0**-24


@numba.njit(**OPTIONS)
def _span(word, low_range):
    return low_range[0] + uniform(word) * (low_range[1] - low_range[0])


@numba.njit(**OPTIONS)
def _angles(shape, u, angles):
    """``vsr.latents._outline_angles``: where the four corners lie, ascending."""
    turn, quarter = 2 * math.pi, math.pi / 2
    if shape == 3:
        half = u[0] * quarter
        angles[0], angles[1], angles[2], angles[3] = half, math.pi - half, math.pi + half, turn - half
    elif shape >= 4:
        corners = shape - 1
        angles[:corners] = np.sort(u[:corners]) * turn
        angles[3] = angles[corners - 1]
    else:
        first = u[0] * quarter if shape == 2 else math.pi / 4
        for e in range(4):
            angles[e] = first + e * quarter


@numba.njit(parallel=True, **OPTIONS)
def _place_clips(
    seed, index, epoch, first, durations, span, spans, ends, radii, boxes, mixed, pool,
    motion, circle, edges, color, texture, view,
):  # fmt: skip
    for v in numba.prange(len(index)):
        video = index[v]
        duration = first + below(words(seed, _DURATION, 0, video, 0)[0], durations)
        c0, c1, c2, _ = words(seed, _CLIP, 0, video, epoch[v])
        view[v, 0] = below(c0, duration - span + 1)
        view[v, 1:] = boxes[below(c1, boxes.shape[0]), below(c2, boxes.shape[1])]
        angles, u = np.empty(4), np.empty(4)
        for n in range(motion.shape[1]):
            m = motion[v, n]
            at = np.int64(words(seed, _RADIUS, n, video, 0)[0] >> np.uint64(8))
            m[0] = radii[min(np.searchsorted(ends, at, side="right"), len(radii) - 1)]
            w0, w1, _, _ = words(seed, _POSITION, n, video, 0)
            m[1], m[2] = _span(w0, spans[0]), _span(w1, spans[0])
            direction = _span(words(seed, _DIRECTION, n, video, 0)[0], spans[1])
            m[3], m[4] = math.cos(direction), math.sin(direction)
            m[5] = _span(words(seed, _SPEED, n, video, 0)[0], spans[2])
            m[6] = _span(words(seed, _ACCELERATION, n, video, 0)[0], spans[3])
            m[7] = _span(words(seed, _ROTATION, n, video, 0)[0], spans[4])
            w0, w1, _, _ = words(seed, _SCALE, n, video, 0)
            m[8], m[9] = _span(w0, spans[5]), _span(w1, spans[5])
            w0, w1, _, _ = words(seed, _SHEAR, n, video, 0)
            m[10], m[11] = _span(w0, spans[6]), _span(w1, spans[6])
            w0, w1, w2, _ = words(seed, _COLOR, n, video, 0)
            color[v, n, 0], color[v, n, 1], color[v, n, 2] = below(w0, 256), below(w1, 256), below(w2, 256)
            texture[v, n] = below(words(seed, _TEXTURE, n, video, 0)[0], pool)
            shape = below(words(seed, _SHAPE, n, video, 0)[0], 6) if mixed else 0
            circle[v, n] = shape == 0
            if shape > 0:  # vsr.geometry.outlines
                w0, w1, w2, w3 = words(seed, _ANGLE, n, video, 0)
                u[0], u[1], u[2], u[3] = uniform(w0), uniform(w1), uniform(w2), uniform(w3)
                _angles(shape, u, angles)
                for e in range(4):
                    here, there = angles[e], angles[e + 1] if e < 3 else angles[0] + 2 * math.pi
                    middle, half = (here + there) / 2, (there - here) / 2
                    edges[v, n, e, 0], edges[v, n, e, 1] = math.cos(middle), math.sin(middle)
                    edges[v, n, e, 2] = math.cos(half)


@numba.njit(**OPTIONS)
def matrices_at(motion, time, box, height, width, matrices):
    """``vsr.geometry.frame_from_unit`` and the camera: unit frame -> output, for the objects of one frame.

    Objects that can't touch the output get a matrix without area there. ``box`` is x, y, width, height.
    """
    zoom_x, zoom_y = width / box[2], height / box[3]
    for n in range(len(motion)):
        radius, center_x, center_y, way_x, way_y, speed, acceleration, rotation, sx, sy, kx, ky = motion[n]
        far = speed * time + acceleration * time * time / 2
        x, y = zoom_x * (center_x + far * way_x - box[0]), zoom_y * (center_y + far * way_y - box[1])
        sx, sy, kx, ky = radius * (1 + sx * time), radius * (1 + sy * time), kx * time, ky * time
        reach = max(abs(sx), abs(sy)) * (1 + max(abs(kx), abs(ky))) * 1.0001  # the matrix stretches by no more
        matrices[n] = 0
        matrices[n, 0, 2], matrices[n, 1, 2] = x, y
        if abs(x - width / 2) > width / 2 + zoom_x * reach or abs(y - height / 2) > height / 2 + zoom_y * reach:
            continue
        cos, sin = math.cos(rotation * time), math.sin(rotation * time)
        a, b, c, d = sx * cos, -sy * sin, sx * sin, sy * cos
        matrices[n, 0, 0], matrices[n, 0, 1] = zoom_x * (a + b * ky), zoom_x * (a * kx + b)
        matrices[n, 1, 0], matrices[n, 1, 1] = zoom_y * (c + d * ky), zoom_y * (c * kx + d)
