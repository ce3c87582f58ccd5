"""The fast renderer on the CPU: find the top object of each pixel, then shade once.

A frame is cut into tiles. Objects are walked front to back; each joins the list of every tile its outline may touch,
and one that covers a whole tile closes it: nothing behind it is ever looked at. A tile whose first object closes it is
filled without testing a pixel. So the cost is the visible depth, not the number of objects.

Memory beyond the output: 250 bytes x N for each clip, and per thread 4 bytes x tiles x N for the lists and 200 bytes
x N for the objects of a frame: 0.5 MB at 224 px and N = 500. Frames are spread over Numba's threads
(``NUMBA_NUM_THREADS``).
"""

import math
from typing import Any

import numba
import numpy as np
from torch import Tensor

from vsr.raster import MIN_AREA, Scene
from vsr.raster.place_cpu import OPTIONS, matrices_at, place_clips
from vsr.recipe import Recipe

_TILE = 16  # px; a multiple of the SIMD width, so that a row is two AVX instructions per step


def draw(scene: Scene, out: Tensor, antialias: int = 1) -> None:
    """Draw every frame.

    Args:
        scene: T frames of B videos, on the CPU, ``antialias`` times as large as the output.
        out: uint8 (B, 3, T, H, W), overwritten; any strides.
        antialias: A, 1, 2 or 4: a pixel is the mean of A x A samples, rounded half up.
    """
    textured = scene.textures is not None
    textures = scene.textures.numpy() if scene.textures is not None else np.zeros((1, 1, 1, 3), np.uint8)
    _draw(
        *_arrays(scene),
        scene.color.numpy(),
        scene.texture.numpy(),
        scene.texels.numpy(),
        textures,
        textured,
        antialias,
        out.numpy(),
    )


def draw_clips(
    recipe: Recipe, seed: int, index: Tensor, epoch: Tensor, stride: int, crop: bool, out: Tensor,
    antialias: int = 1, rows: Tensor | None = None, textures: Tensor | None = None,
) -> None:  # fmt: skip
    """Draw the clips at some addresses: all of ``vsr.render.render_clips``.

    Args:
        recipe: the dataset.
        seed: the data seed.
        index: int64 (B,), the videos.
        epoch: int64 (B,), which clip of each.
        stride: video frames from one clip frame to the next.
        crop: MultiScaleCrop; False shows the whole frame.
        out: uint8 (B, 3, T, S, S), overwritten; any strides.
        antialias: as for :func:`draw`.
        rows: int64 (K,), where the textures of the pool stand in ``textures``; None shows colours.
        textures: uint8 (R, side, side, 3).
    """
    span, size = (out.shape[2] - 1) * stride + 1, out.shape[-1]
    placed = place_clips(recipe, seed, index.numpy(), epoch.numpy(), span, size if crop else None)
    _draw_clips(
        *placed, stride, recipe.texture_size / (2 * recipe.size),
        np.zeros(1, np.int64) if rows is None else rows.numpy(),
        np.zeros((1, 1, 1, 3), np.uint8) if textures is None else textures.numpy(),
        textures is not None, antialias, out.numpy(),
    )  # fmt: skip


def visible(scene: Scene, out: Tensor) -> None:
    """The number of the object that each pixel shows, -1 where there is none.

    Args:
        scene: T frames of B videos, on the CPU.
        out: int32 (B, T, H, W), overwritten.
    """
    _visible(*_arrays(scene), out.numpy())


def _arrays(scene: Scene) -> tuple[Any, ...]:
    circle, edges = scene.outlines
    return scene.output_from_unit.numpy(), circle.numpy(), edges.numpy()


@numba.njit(**OPTIONS)
def _place(matrices, circle, edges, height, width, number, box, tests, inverse):
    """List the objects that may touch the frame, front first; return how many.

    For the m-th of them: ``number[m]`` is its number, ``box[m]`` its bounds x0, x1, y0, y1 (px), ``inverse[m]`` its
    unit-from-output matrix, ``tests[m]`` what a pixel is tested with: a circle's unit-from-output matrix, or the four
    edges (a, b, c) of a polygon in output pixels, inside where a x + b y + c <= 0.
    """
    m = 0
    for n in range(len(matrices) - 1, -1, -1):
        a, b, x, c, d, y = matrices[n].flat
        ex, ey = math.sqrt(a * a + b * b), math.sqrt(c * c + d * d)
        if x + ex <= 0 or x - ex >= width or y + ey <= 0 or y - ey >= height:
            continue
        det = a * d - b * c
        if not abs(det) > MIN_AREA:
            continue
        p, q, r, s = d / det, -b / det, -c / det, a / det
        u, v = -(p * x + q * y), -(r * x + s * y)
        inverse[m, 0], inverse[m, 1], inverse[m, 2] = p, q, u
        inverse[m, 3], inverse[m, 4], inverse[m, 5] = r, s, v
        if circle[n]:
            for k in range(6):
                tests[m, k] = inverse[m, k]
        else:
            for e in range(4):
                nx, ny = edges[n, e, 0], edges[n, e, 1]
                tests[m, 3 * e] = nx * p + ny * r
                tests[m, 3 * e + 1] = nx * q + ny * s
                tests[m, 3 * e + 2] = nx * u + ny * v - edges[n, e, 2]
        number[m] = n
        box[m, 0], box[m, 1], box[m, 2], box[m, 3] = x - ex, x + ex, y - ey, y + ey
        m += 1
    return m


@numba.njit(**OPTIONS)
def _touch(circle, tests, x, y, half):
    """Whether an outline covers all (2), maybe some (1) or none (0) of the pixels of a tile.

    The tile's pixel centres span (x, y) +- half, px. An outline is convex, so that its corners decide.
    """
    if circle:
        ux, uy = tests[0] * x + tests[1] * y + tests[2], tests[3] * x + tests[4] * y + tests[5]
        # the farthest corner, and a bound on the nearest point
        ax, bx, ay, by = tests[0] * half, tests[1] * half, tests[3] * half, tests[4] * half
        far = np.float32(0)
        for sign in (np.float32(-1), np.float32(1)):
            px, py = ux + ax + sign * bx, uy + ay + sign * by
            qx, qy = ux - ax + sign * bx, uy - ay + sign * by
            far = max(far, px * px + py * py, qx * qx + qy * qy)
        if far <= np.float32(0.9999):
            return 2
        reach = np.float32(1.0001) + math.sqrt(max((ax + bx) ** 2 + (ay + by) ** 2, (ax - bx) ** 2 + (ay - by) ** 2))
        return 0 if ux * ux + uy * uy > reach * reach else 1
    covers = True
    for e in range(4):
        a, b, c = tests[3 * e], tests[3 * e + 1], tests[3 * e + 2]
        middle, reach = a * x + b * y + c, (abs(a) + abs(b)) * half
        if middle - reach > np.float32(1e-4):
            return 0
        covers = covers and middle + reach <= np.float32(-1e-4)
    return 2 if covers else 1


@numba.njit(**OPTIONS)
def _fill_lists(m, number, circle, box, tests, columns, rows, count, closed, lists):
    """Give every tile its objects, front first, up to the one that covers it."""
    half = np.float32((_TILE - 1) / 2)
    still_open = columns * rows
    for k in range(m):
        is_circle, test = circle[number[k]], tests[k]
        first, last = max(0, int(box[k, 0]) // _TILE), min(columns - 1, int(box[k, 1]) // _TILE)
        for row in range(max(0, int(box[k, 2]) // _TILE), min(rows - 1, int(box[k, 3]) // _TILE) + 1):
            y = np.float32(row * _TILE + _TILE / 2)
            for column in range(first, last + 1):
                tile = row * columns + column
                if closed[tile]:
                    continue
                touch = _touch(is_circle, test, np.float32(column * _TILE + _TILE / 2), y, half)
                if touch:
                    lists[tile, count[tile]] = k
                    count[tile] += 1
                    if touch == 2:
                        closed[tile] = True
                        still_open -= 1
        if still_open == 0:
            return


@numba.njit(**OPTIONS)
def _paint_tile(objects, closed, number, circle, tests, m, x0, y0, top):
    """The object each pixel of a tile shows: ``top`` int32 (TILE, TILE), ``m`` where there is none.

    Painted back to front from the object that covers the tile: one branch-free comparison per pixel and object.
    """
    last = len(objects) - 1
    top[:] = m
    if closed:
        top[:] = objects[last]
        last -= 1
    for j in range(last, -1, -1):
        k = objects[j]
        t = tests[k]
        if circle[number[k]]:
            for i in range(_TILE):
                y = np.float32(y0 + i) + np.float32(0.5)
                ux, uy = t[1] * y + t[2], t[4] * y + t[5]
                for c in range(_TILE):
                    x = np.float32(x0 + c) + np.float32(0.5)
                    px, py = t[0] * x + ux, t[3] * x + uy
                    top[i, c] = k if px * px + py * py <= np.float32(1) else top[i, c]
        else:
            zero = np.float32(0)
            for i in range(_TILE):
                y = np.float32(y0 + i) + np.float32(0.5)
                e0, e1, e2, e3 = t[1] * y + t[2], t[4] * y + t[5], t[7] * y + t[8], t[10] * y + t[11]
                for c in range(_TILE):
                    x = np.float32(x0 + c) + np.float32(0.5)
                    inside = (
                        (t[0] * x + e0 <= zero)
                        & (t[3] * x + e1 <= zero)
                        & (t[6] * x + e2 <= zero)
                        & (t[9] * x + e3 <= zero)
                    )
                    top[i, c] = k if inside else top[i, c]


@numba.njit(**OPTIONS)
def _prepare(matrices, circle, edges, height, width):
    """The objects of a frame and the list of each tile (see ``_place`` and ``_fill_lists``)."""
    n = len(matrices)
    number, box = np.empty(n, np.int32), np.empty((n, 4), np.float64)
    tests, inverse = np.empty((n, 12), np.float32), np.empty((n, 6), np.float64)
    m = _place(matrices, circle, edges, height, width, number, box, tests, inverse)
    columns, rows = -(-width // _TILE), -(-height // _TILE)
    count, closed = np.zeros(columns * rows, np.int32), np.zeros(columns * rows, np.bool_)
    lists = np.empty((columns * rows, m), np.int32)
    _fill_lists(m, number, circle, box, tests, columns, rows, count, closed, lists)
    return m, number, tests, inverse, columns, rows, count, closed, lists


@numba.njit(parallel=True, **OPTIONS)
def _visible(output_from_unit, circle, edges, out):
    videos, frames, height, width = out.shape
    for vf in numba.prange(videos * frames):
        v, f = vf // frames, vf % frames
        m, number, tests, _, columns, rows, count, closed, lists = _prepare(
            output_from_unit[v, f], circle[v], edges[v], height, width
        )
        top = np.empty((_TILE, _TILE), np.int32)
        for tile in range(columns * rows):
            x0, y0 = tile % columns * _TILE, tile // columns * _TILE
            _paint_tile(lists[tile, : count[tile]], closed[tile], number, circle[v], tests, m, x0, y0, top)
            for i in range(min(_TILE, height - y0)):
                for c in range(min(_TILE, width - x0)):
                    out[v, f, y0 + i, x0 + c] = number[top[i, c]] if top[i, c] < m else -1


@numba.njit(**OPTIONS)
def _fill_tile(color, x0, y0, height, width, out):
    """One colour for a tile: ``out`` (3, at least the tile's rows, columns)."""
    for channel in range(3):
        value = color[channel]
        for i in range(min(_TILE, height - y0)):
            for c in range(min(_TILE, width - x0)):
                out[channel, i, c] = value


@numba.njit(**OPTIONS)
def _color_tile(top, packed, x0, y0, height, width, out, v, f):
    """The objects' colours, R + 256 G + 65536 B, for a tile."""
    for i in range(min(_TILE, height - y0)):
        for c in range(min(_TILE, width - x0)):
            color = packed[np.uint32(top[i, c])]  # unsigned: Numba need not look for negative numbers
            out[v, 0, f, y0 + i, x0 + c] = color & np.uint32(255)
            out[v, 1, f, y0 + i, x0 + c] = (color >> np.uint32(8)) & np.uint32(255)
            out[v, 2, f, y0 + i, x0 + c] = color >> np.uint32(16)


@numba.njit(**OPTIONS)
def _texture_tile(texel, textures, row, x0, y0, height, width, out):
    """One texture for a tile, likewise; ``texel`` is its texel-from-output matrix."""
    last = np.int32(textures.shape[1] - 1)
    a, b, u, d, e, w = texel[0], texel[1], texel[2], texel[3], texel[4], texel[5]
    for i in range(min(_TILE, height - y0)):
        y = np.float32(y0 + i) + np.float32(0.5)
        for c in range(min(_TILE, width - x0)):
            x = np.float32(x0 + c) + np.float32(0.5)
            tx, ty = np.int32(a * x + b * y + u), np.int32(d * x + e * y + w)
            tx, ty = min(max(tx, np.int32(0)), last), min(max(ty, np.int32(0)), last)
            for channel in range(3):
                out[channel, i, c] = textures[row, ty, tx, channel]


@numba.njit(**OPTIONS)
def _draw_frame(matrices, circle, edges, color, texture, texels, textures, textured, antialias, out, v, f):
    """Draw frame ``f`` of video ``v``: the body of the two kernels below."""
    height, width = out.shape[3] * antialias, out.shape[4] * antialias
    last = np.int32(textures.shape[1] - 1)
    m, number, tests, inverse, columns, rows, count, closed, lists = _prepare(matrices, circle, edges, height, width)
    shade = np.zeros((m + 1, 3), np.uint8)  # the last is black: no object
    texel = np.zeros((m, 6), np.float32)  # texel-from-output
    for k in range(m):
        shade[k] = color[number[k]]
        scale = texels[number[k]]
        for e in range(6):
            texel[k, e] = inverse[k, e] * scale + (scale if e % 3 == 2 else 0.0)
    packed = np.zeros(m + 1, np.uint32)
    for k in range(m):
        packed[k] = np.uint32(shade[k, 0]) | (np.uint32(shade[k, 1]) << 8) | (np.uint32(shade[k, 2]) << 16)
    top = np.empty((_TILE, _TILE), np.int32)
    sums = np.zeros((3, _TILE, _TILE), np.int32)  # of the samples of a pixel
    for tile in range(columns * rows):
        x0, y0 = tile % columns * _TILE, tile // columns * _TILE
        here = out[v, :, f, y0 // antialias :, x0 // antialias :]
        if antialias == 1 and closed[tile] and count[tile] == 1:  # one object, all over
            k = lists[tile, 0]
            if textured:
                _texture_tile(texel[k], textures, texture[number[k]], x0, y0, height, width, here)
            else:
                _fill_tile(shade[k], x0, y0, height, width, here)
            continue
        _paint_tile(lists[tile, : count[tile]], closed[tile], number, circle, tests, m, x0, y0, top)
        if antialias == 1 and not textured:
            _color_tile(top, packed, x0, y0, height, width, out, v, f)
            continue
        for i in range(min(_TILE, height - y0)):
            for c in range(min(_TILE, width - x0)):
                k = top[i, c]
                if textured and k < m:
                    x, y = np.float32(x0 + c) + np.float32(0.5), np.float32(y0 + i) + np.float32(0.5)
                    tx = np.int32(texel[k, 0] * x + texel[k, 1] * y + texel[k, 2])
                    ty = np.int32(texel[k, 3] * x + texel[k, 4] * y + texel[k, 5])
                    tx, ty = min(max(tx, np.int32(0)), last), min(max(ty, np.int32(0)), last)
                    row = texture[number[k]]
                    red, green, blue = textures[row, ty, tx, 0], textures[row, ty, tx, 1], textures[row, ty, tx, 2]
                else:
                    red, green, blue = shade[k, 0], shade[k, 1], shade[k, 2]  # of textured scenes: the last, black
                if antialias == 1:
                    here[0, i, c], here[1, i, c], here[2, i, c] = red, green, blue
                else:
                    sums[0, i // antialias, c // antialias] += red
                    sums[1, i // antialias, c // antialias] += green
                    sums[2, i // antialias, c // antialias] += blue
        if antialias > 1:
            samples = antialias * antialias
            for i in range(min(_TILE, height - y0) // antialias):
                for c in range(min(_TILE, width - x0) // antialias):
                    for channel in range(3):
                        here[channel, i, c] = (sums[channel, i, c] + samples // 2) // samples
                        sums[channel, i, c] = 0


@numba.njit(parallel=True, **OPTIONS)
def _draw(output_from_unit, circle, edges, color, texture, texels, textures, textured, antialias, out):
    videos, _, frames, _, _ = out.shape
    for vf in numba.prange(videos * frames):
        v, f = vf // frames, vf % frames
        _draw_frame(
            output_from_unit[v, f], circle[v], edges[v], color[v], texture[v], texels[v], textures, textured,
            antialias, out, v, f,
        )  # fmt: skip


@numba.njit(parallel=True, **OPTIONS)
def _draw_clips(
    motion, circle, edges, color, texture, view, stride, texels_per_px, rows, textures, textured, antialias, out
):
    videos, _, frames, height, width = out.shape
    for vf in numba.prange(videos * frames):
        v, f = vf // frames, vf % frames
        matrices = np.empty((motion.shape[1], 2, 3))
        time = view[v, 0] + stride * f
        matrices_at(motion[v], time, view[v, 1:], height * antialias, width * antialias, matrices)
        texels = motion[v, :, 0] * texels_per_px
        texture_rows = rows[texture[v]] if textured else texture[v]
        _draw_frame(
            matrices, circle[v], edges[v], color[v], texture_rows, texels, textures, textured, antialias, out, v, f
        )  # fmt: skip
