"""The fast renderer on the CPU: find what each pixel shows, then shade once.

A frame is cut into tiles. Objects are walked front to back, and each paints what is left of the tiles that its outline
may touch, testing only the edges that cross a tile. A tile that is full is closed: nothing behind it is ever looked
at. One that a single object covers is filled without testing a pixel. So the cost is the visible depth, not the number
of objects, of which those that are never in view aren't placed at all (see ``vsr.raster.place_cpu``).

Memory beyond the output: 250 bytes x N for each clip, and per thread 4 bytes for each sample of a frame and about 130
bytes for each of its objects: 0.3 MB at 224 px and N = 500. Frames are spread over Numba's threads
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

_TILE = 16  # px
# Numba vectorises loops over a tile's pixels if they are flat, of constant length, and work on 32 bits: so tiles lie
# one after the other, and this is where their pixels' centres are
_PIXELS = _TILE * _TILE
_X = (np.arange(_PIXELS) % _TILE + 0.5).astype(np.float32)
_Y = (np.arange(_PIXELS) // _TILE + 0.5).astype(np.float32)
_NOTHING, _ZERO, _ONE = np.int32(0), np.float32(0), np.float32(1)
_BLACK = np.int32(1 << 24)  # as a packed colour, see _pack


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
        scene.frame.numpy(),
        scene.clamp,
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
        placed.counts, *placed[2:], stride, recipe.texture_size / (2 * recipe.size),
        recipe.num_drawn > recipe.num_objects, recipe.texture_frames, recipe.saturation == "clamp",
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
def _crossed(circle, tests, x, y, half, crossing):
    """How an outline lies to the pixels of a tile: -1 touches none, 0 covers all, else how many edges may cross it.

    Those are named in ``crossing``, a circle counts as one. The tile's pixel centres span (x, y) +- half, px. An
    outline is convex, so that its corners decide.
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
            return 0
        reach = np.float32(1.0001) + math.sqrt(max((ax + bx) ** 2 + (ay + by) ** 2, (ax - bx) ** 2 + (ay - by) ** 2))
        return -1 if ux * ux + uy * uy > reach * reach else 1
    count = 0
    for e in range(4):
        a, b, c = tests[3 * e], tests[3 * e + 1], tests[3 * e + 2]
        middle, reach = a * x + b * y + c, (abs(a) + abs(b)) * half
        if middle - reach > np.float32(1e-4):
            return -1
        if middle + reach > np.float32(-1e-4):
            crossing[count] = e
            count += 1
    return count


@numba.njit(**OPTIONS)
def _paint_circle(t, x0, y0, value, top, tile):
    """Paint a circle on what is left of a tile; return the least value there, 0 if something is still left."""
    a, b, u, d, e, w = t[0], t[1], t[2], t[3], t[4], t[5]
    least = value
    for p in range(_PIXELS):
        x, y = x0 + _X[p], y0 + _Y[p]
        px, py = a * x + (b * y + u), d * x + (e * y + w)
        here = top[tile, p]
        here = value if (px * px + py * py <= _ONE) & (here == _NOTHING) else here
        top[tile, p] = here
        least = min(least, here)
    return least


@numba.njit(**OPTIONS)
def _paint_edge(t, edge, x0, y0, value, top, tile):
    """The same for a polygon of which one edge crosses the tile."""
    a, b, c = t[3 * edge], t[3 * edge + 1], t[3 * edge + 2]
    least = value
    for p in range(_PIXELS):
        x, y = x0 + _X[p], y0 + _Y[p]
        here = top[tile, p]
        here = value if (a * x + (b * y + c) <= _ZERO) & (here == _NOTHING) else here
        top[tile, p] = here
        least = min(least, here)
    return least


@numba.njit(**OPTIONS)
def _paint_corner(t, edge, other, x0, y0, value, top, tile):
    """The same where two edges cross it."""
    a, b, c = t[3 * edge], t[3 * edge + 1], t[3 * edge + 2]
    d, e, f = t[3 * other], t[3 * other + 1], t[3 * other + 2]
    least = value
    for p in range(_PIXELS):
        x, y = x0 + _X[p], y0 + _Y[p]
        here = top[tile, p]
        inside = (a * x + (b * y + c) <= _ZERO) & (d * x + (e * y + f) <= _ZERO)
        here = value if inside & (here == _NOTHING) else here
        top[tile, p] = here
        least = min(least, here)
    return least


@numba.njit(**OPTIONS)
def _paint_polygon(t, x0, y0, value, top, tile):
    """The same for any polygon."""
    a0, b0, c0, a1, b1, c1 = t[0], t[1], t[2], t[3], t[4], t[5]
    a2, b2, c2, a3, b3, c3 = t[6], t[7], t[8], t[9], t[10], t[11]
    least = value
    for p in range(_PIXELS):
        x, y = x0 + _X[p], y0 + _Y[p]
        here = top[tile, p]
        inside = (a0 * x + (b0 * y + c0) <= _ZERO) & (a1 * x + (b1 * y + c1) <= _ZERO)
        inside &= (a2 * x + (b2 * y + c2) <= _ZERO) & (a3 * x + (b3 * y + c3) <= _ZERO)
        here = value if inside & (here == _NOTHING) else here
        top[tile, p] = here
        least = min(least, here)
    return least


@numba.njit(**OPTIONS)
def _paint_rest(value, top, tile):
    """Paint all that is left of a tile."""
    for p in range(_PIXELS):
        here = top[tile, p]
        top[tile, p] = value if here == _NOTHING else here


@numba.njit(**OPTIONS)
def _paint(matrices, circle, edges, values, height, width, inverse, whole, top):
    """Find what each pixel of a frame shows, front to back.

    Args:
        matrices: (n, 2, 3), output-from-unit.
        circle: (n,).
        edges: (n, 4, 3).
        values: int32 (n,), what to paint an object with, above 0.
        height: px, as ``width``.
        width: px.
        inverse: float64 (n, 6), filled: the unit-from-output matrices of the objects that are painted.
        whole: int32 (rows, columns), zeros, filled: the value all over the tile, 0 for nothing, -1 if they differ.
        top: int32 (tiles, TILE x TILE), filled where ``whole`` is -1: the pixels' values, 0 for nothing.
    """
    rows, columns = whole.shape
    still_open = rows * columns
    closed = np.zeros(still_open, np.bool_)
    # what a pixel is tested with: a circle's unit-from-output matrix, or the four edges (a, b, c) of a polygon in
    # output pixels, inside where a x + b y + c <= 0
    tests, crossing = np.empty(12, np.float32), np.empty(4, np.int64)
    middle, half = np.float32(_TILE / 2), np.float32((_TILE - 1) / 2)
    for n in range(len(matrices) - 1, -1, -1):
        a, b, x = matrices[n, 0, 0], matrices[n, 0, 1], matrices[n, 0, 2]
        c, d, y = matrices[n, 1, 0], matrices[n, 1, 1], matrices[n, 1, 2]
        ex, ey = math.sqrt(a * a + b * b), math.sqrt(c * c + d * d)
        if x + ex <= 0 or x - ex >= width or y + ey <= 0 or y - ey >= height:
            continue
        det = a * d - b * c
        if not abs(det) > MIN_AREA:
            continue
        p, q, r, s = d / det, -b / det, -c / det, a / det
        u, v = -(p * x + q * y), -(r * x + s * y)
        inverse[n, 0], inverse[n, 1], inverse[n, 2] = p, q, u
        inverse[n, 3], inverse[n, 4], inverse[n, 5] = r, s, v
        if circle[n]:
            tests[0], tests[1], tests[2], tests[3], tests[4], tests[5] = p, q, u, r, s, v
        else:
            for e in range(4):
                nx, ny = edges[n, e, 0], edges[n, e, 1]
                tests[3 * e] = nx * p + ny * r
                tests[3 * e + 1] = nx * q + ny * s
                tests[3 * e + 2] = nx * u + ny * v - edges[n, e, 2]
        value = values[n]
        first, last = max(0, int(x - ex) // _TILE), min(columns - 1, int(x + ex) // _TILE)
        for row in range(max(0, int(y - ey) // _TILE), min(rows - 1, int(y + ey) // _TILE) + 1):
            for column in range(first, last + 1):
                tile = row * columns + column
                if closed[tile]:
                    continue
                x0, y0 = np.float32(column * _TILE), np.float32(row * _TILE)
                crossed = _crossed(circle[n], tests, x0 + middle, y0 + middle, half, crossing)
                if crossed < 0:
                    continue
                if crossed and whole[row, column] == 0:
                    whole[row, column] = -1
                    for k in range(_PIXELS):
                        top[tile, k] = _NOTHING
                if crossed == 0:
                    least = value
                    if whole[row, column] == 0:
                        whole[row, column] = value
                    else:
                        _paint_rest(value, top, tile)
                elif circle[n]:
                    least = _paint_circle(tests, x0, y0, value, top, tile)
                elif crossed == 1:
                    least = _paint_edge(tests, crossing[0], x0, y0, value, top, tile)
                elif crossed == 2:
                    least = _paint_corner(tests, crossing[0], crossing[1], x0, y0, value, top, tile)
                else:
                    least = _paint_polygon(tests, x0, y0, value, top, tile)
                if least:
                    closed[tile] = True
                    still_open -= 1
        if still_open == 0:
            return


@numba.njit(**OPTIONS)
def _room(objects, height, width):
    """What ``_paint`` fills: ``inverse``, ``whole`` and ``top``."""
    rows, columns = -(-height // _TILE), -(-width // _TILE)
    return (
        np.zeros((objects, 6)), np.zeros((rows, columns), np.int32), np.empty((rows * columns, _PIXELS), np.int32)
    )  # fmt: skip


@numba.njit(parallel=True, **OPTIONS)
def _visible(output_from_unit, circle, edges, out):
    videos, frames, height, width = out.shape
    values = np.arange(1, circle.shape[1] + 1).astype(np.int32)
    for vf in numba.prange(videos * frames):
        v, f = vf // frames, vf % frames
        inverse, whole, top = _room(len(values), height, width)
        _paint(output_from_unit[v, f], circle[v], edges[v], values, height, width, inverse, whole, top)
        for y in range(height):
            for x in range(width):
                row, column = y // _TILE, x // _TILE
                value = whole[row, column]
                if value < 0:
                    value = top[row * whole.shape[1] + column, y % _TILE * _TILE + x % _TILE]
                out[v, f, y, x] = value - 1


@numba.njit(**OPTIONS)
def _pack(red, green, blue):
    """A colour as one number above 0, R + 256 G + 65536 B + 2^24."""
    return np.int32(red) | np.int32(green) << np.int32(8) | np.int32(blue) << np.int32(16) | _BLACK


@numba.njit(**OPTIONS)
def _look_up(value, color, texel, textures, rows, frame, clamp, x0, y0, top, tile):
    """Turn a tile's numbers of objects, from 1, into packed colours; ``value`` is the number all over, -1: in ``top``.

    ``texel`` holds the texel-from-output matrices, ``rows`` where each object's texture stands in ``textures``, if it
    has one, and ``frame`` is added to them.
    """
    side = np.int64(textures.shape[1])
    last = np.int32(side - 1)
    flat = textures.reshape(-1)
    before = row = np.int64(-1)
    tint = np.int32(0)
    a = b = u = d = e = w = np.float32(0)
    for p in range(_PIXELS):
        k = np.int64(value if value > 0 else top[tile, p]) - 1
        if k < 0:
            continue
        if k != before:
            before, row = k, rows[k] + frame if rows[k] >= 0 else np.int64(-1)
            tint = _pack(color[k, 0], color[k, 1], color[k, 2])
            a, b, u = texel[k, 0], texel[k, 1], texel[k, 2]
            d, e, w = texel[k, 3], texel[k, 4], texel[k, 5]
        if row < 0:
            top[tile, p] = tint
            continue
        x, y = x0 + _X[p], y0 + _Y[p]
        tx, ty = np.int32(a * x + b * y + u), np.int32(d * x + e * y + w)
        tx, ty = min(max(tx, np.int32(0)), last), min(max(ty, np.int32(0)), last)
        at = np.uint64(3 * ((row * side + ty) * side + tx))  # unsigned: Numba need not look for negative places
        red, green, blue = flat[at], flat[at + np.uint64(1)], flat[at + np.uint64(2)]
        if tint == _BLACK:
            top[tile, p] = _pack(red, green, blue)
        else:
            top[tile, p] = _sum(tint, _pack(red, green, blue), clamp)


@numba.njit(**OPTIONS)
def _sum(one, other, clamp):
    """Two packed colours, channel by channel; past 255 they go on at 0, or stay."""
    total = _BLACK
    for shift in (np.int32(0), np.int32(8), np.int32(16)):
        channel = (one >> shift & 255) + (other >> shift & 255)
        channel = min(channel, 255) if clamp else channel & 255
        total |= np.int32(channel) << shift
    return total


@numba.njit(**OPTIONS)
def _fill_tile(color, y0, x0, rows, columns, out, v, f):
    """One packed colour for a tile of the output."""
    for channel in range(3):
        value = np.uint8(color >> (8 * channel) & 255)
        for i in range(rows):
            for c in range(columns):
                out[v, channel, f, y0 + i, x0 + c] = value


@numba.njit(**OPTIONS)
def _color_tile(top, tile, y0, x0, rows, columns, out, v, f):
    """The packed colours of a tile."""
    for i in range(rows):
        for c in range(columns):
            color = top[tile, i * np.uint64(_TILE) + c]
            out[v, 0, f, y0 + i, x0 + c] = color & 255
            out[v, 1, f, y0 + i, x0 + c] = (color >> 8) & 255
            out[v, 2, f, y0 + i, x0 + c] = (color >> 16) & 255


@numba.njit(**OPTIONS)
def _mean_tile(top, tile, antialias, y0, x0, rows, columns, out, v, f):
    """The means of the packed colours of a tile, rounded half up."""
    samples = antialias * antialias
    for i in range(rows):
        for c in range(columns):
            for channel in range(3):
                total = samples // 2
                for y in range(antialias):
                    first = (np.int64(i) * antialias + y) * _TILE + np.int64(c) * antialias
                    for x in range(antialias):
                        total += (top[tile, first + x] >> (8 * channel)) & 255
                out[v, channel, f, y0 + i, x0 + c] = total // samples


@numba.njit(**OPTIONS)
def _draw_frame(
    matrices, circle, edges, color, texture, texels, frame, clamp, textures, textured, antialias, out, v, f
):
    """Draw frame ``f`` of video ``v``: the body of the two kernels below."""
    objects, height, width = len(matrices), out.shape[3], out.shape[4]
    values = np.empty(objects, np.int32)
    for n in range(objects):
        values[n] = n + 1 if textured else _pack(color[n, 0], color[n, 1], color[n, 2])
    inverse, whole, top = _room(objects, height * antialias, width * antialias)
    _paint(matrices, circle, edges, values, height * antialias, width * antialias, inverse, whole, top)
    texel = np.empty((objects if textured else 0, 6), np.float32)
    for n in range(len(texel)):
        for e in range(6):
            texel[n, e] = inverse[n, e] * texels[n] + (texels[n] if e % 3 == 2 else 0.0)
    side = _TILE // antialias  # of a tile of the output
    for row in range(whole.shape[0]):
        for column in range(whole.shape[1]):
            value, tile = whole[row, column], row * whole.shape[1] + column
            if textured and value != 0:
                x, y = np.float32(column * _TILE), np.float32(row * _TILE)
                _look_up(value, color, texel, textures, texture, frame, clamp, x, y, top, tile)
                value = -1
            # unsigned: Numba need not look for negative places
            y0, x0 = np.uint64(row * side), np.uint64(column * side)
            tile_rows = np.uint64(min(side, height - row * side))
            tile_columns = np.uint64(min(side, width - column * side))
            if value >= 0:
                _fill_tile(value, y0, x0, tile_rows, tile_columns, out, v, f)
            elif antialias == 1:
                _color_tile(top, tile, y0, x0, tile_rows, tile_columns, out, v, f)
            else:
                _mean_tile(top, tile, antialias, y0, x0, tile_rows, tile_columns, out, v, f)


@numba.njit(parallel=True, **OPTIONS)
def _draw(output_from_unit, circle, edges, color, texture, texels, frame, clamp, textures, textured, antialias, out):
    videos, _, frames, _, _ = out.shape
    for vf in numba.prange(videos * frames):
        v, f = vf // frames, vf % frames
        _draw_frame(
            output_from_unit[v, f], circle[v], edges[v], color[v], texture[v], texels[v], frame[v, f], clamp, textures,
            textured, antialias, out, v, f,
        )  # fmt: skip


@numba.njit(parallel=True, **OPTIONS)
def _draw_clips(
    count, motion, circle, edges, color, texture, view, stride, texels_per_px, backdrop, texture_frames, clamp, rows,
    textures, textured, antialias, out,
):  # fmt: skip
    videos, _, frames, height, width = out.shape
    for vf in numba.prange(videos * frames):
        v, f = vf // frames, vf % frames
        n = count[v]
        matrices = np.empty((n, 2, 3))
        time = view[v, 0] + stride * f
        matrices_at(motion[v], time, view[v, 1:], height * antialias, width * antialias, matrices)
        texels = motion[v, :n, 0] * texels_per_px
        if backdrop:
            texels[0] *= 2  # its texture is as large as the frame, not twice as large
        texture_rows = np.empty(n, np.int64)
        for k in range(n):
            texture_rows[k] = rows[texture[v, k]] if textured and texture[v, k] >= 0 else -1
        step = np.int64(time) % max(2 * texture_frames - 2, 1)  # vsr.latents.texture_frame
        shown = min(step, max(2 * texture_frames - 2, 1) - step)
        _draw_frame(
            matrices, circle[v], edges[v], color[v], texture_rows, texels, shown, clamp, textures, textured, antialias,
            out, v, f,
        )  # fmt: skip
