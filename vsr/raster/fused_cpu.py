"""The fast renderer on the CPU: find what each pixel shows, then shade once.

``vsr.raster.place_cpu`` places the objects that come into view, ``vsr.raster.paint_cpu`` finds the one that each pixel
shows; what that object looks like there is looked up here, once. So the cost is the visible depth, not the number of
objects.

Memory beyond the output: 250 bytes x N for each clip, and per thread 4 bytes for each sample of a frame and about 130
bytes for each of its objects: 0.3 MB at 224 px and N = 500. Frames are spread over Numba's threads
(``NUMBA_NUM_THREADS``).
"""

from typing import Any

import numba
import numpy as np
from torch import Tensor

from vsr.loops import compiled, parallel
from vsr.raster import Scene
from vsr.raster.paint_cpu import PIXEL_X, PIXEL_Y, PIXELS, TILE, paint, room
from vsr.raster.place_cpu import matrices_at, place_clips
from vsr.recipe import Recipe

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


@parallel
def _visible(output_from_unit, circle, edges, out):
    videos, frames, height, width = out.shape
    values = np.arange(1, circle.shape[1] + 1).astype(np.int32)
    for vf in numba.prange(videos * frames):
        v, f = vf // frames, vf % frames
        inverse, whole, top = room(len(values), height, width)
        paint(output_from_unit[v, f], circle[v], edges[v], values, height, width, inverse, whole, top)
        for y in range(height):
            for x in range(width):
                row, column = y // TILE, x // TILE
                value = whole[row, column]
                if value < 0:
                    value = top[row * whole.shape[1] + column, y % TILE * TILE + x % TILE]
                out[v, f, y, x] = value - 1


@compiled
def _pack(red, green, blue):
    """A colour as one number above 0, R + 256 G + 65536 B + 2^24."""
    return np.int32(red) | np.int32(green) << np.int32(8) | np.int32(blue) << np.int32(16) | _BLACK


@compiled
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
    for p in range(PIXELS):
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
        x, y = x0 + PIXEL_X[p], y0 + PIXEL_Y[p]
        tx, ty = np.int32(a * x + b * y + u), np.int32(d * x + e * y + w)
        tx, ty = min(max(tx, np.int32(0)), last), min(max(ty, np.int32(0)), last)
        at = np.uint64(3 * ((row * side + ty) * side + tx))  # unsigned: Numba need not look for negative places
        red, green, blue = flat[at], flat[at + np.uint64(1)], flat[at + np.uint64(2)]
        if tint == _BLACK:
            top[tile, p] = _pack(red, green, blue)
        else:
            top[tile, p] = _sum(tint, _pack(red, green, blue), clamp)


@compiled
def _sum(one, other, clamp):
    """Two packed colours, channel by channel; past 255 they go on at 0, or stay."""
    total = _BLACK
    for shift in (np.int32(0), np.int32(8), np.int32(16)):
        channel = (one >> shift & 255) + (other >> shift & 255)
        channel = min(channel, 255) if clamp else channel & 255
        total |= np.int32(channel) << shift
    return total


@compiled
def _fill_tile(color, y0, x0, rows, columns, out, v, f):
    """One packed colour for a tile of the output."""
    for channel in range(3):
        value = np.uint8(color >> (8 * channel) & 255)
        for i in range(rows):
            for c in range(columns):
                out[v, channel, f, y0 + i, x0 + c] = value


@compiled
def _color_tile(top, tile, y0, x0, rows, columns, out, v, f):
    """The packed colours of a tile."""
    for i in range(rows):
        for c in range(columns):
            color = top[tile, i * np.uint64(TILE) + c]
            out[v, 0, f, y0 + i, x0 + c] = color & 255
            out[v, 1, f, y0 + i, x0 + c] = (color >> 8) & 255
            out[v, 2, f, y0 + i, x0 + c] = (color >> 16) & 255


@compiled
def _mean_tile(top, tile, antialias, y0, x0, rows, columns, out, v, f):
    """The means of the packed colours of a tile, rounded half up."""
    samples = antialias * antialias
    for i in range(rows):
        for c in range(columns):
            for channel in range(3):
                total = samples // 2
                for y in range(antialias):
                    first = (np.int64(i) * antialias + y) * TILE + np.int64(c) * antialias
                    for x in range(antialias):
                        total += (top[tile, first + x] >> (8 * channel)) & 255
                out[v, channel, f, y0 + i, x0 + c] = total // samples


@compiled
def _draw_frame(
    matrices, circle, edges, color, texture, texels, frame, clamp, textures, textured, antialias, out, v, f
):
    """Draw frame ``f`` of video ``v``: the body of the two kernels below."""
    objects, height, width = len(matrices), out.shape[3], out.shape[4]
    values = np.empty(objects, np.int32)
    for n in range(objects):
        values[n] = n + 1 if textured else _pack(color[n, 0], color[n, 1], color[n, 2])
    inverse, whole, top = room(objects, height * antialias, width * antialias)
    paint(matrices, circle, edges, values, height * antialias, width * antialias, inverse, whole, top)
    texel = np.empty((objects if textured else 0, 6), np.float32)
    for n in range(len(texel)):
        for e in range(6):
            texel[n, e] = inverse[n, e] * texels[n] + (texels[n] if e % 3 == 2 else 0.0)
    side = TILE // antialias  # of a tile of the output
    for row in range(whole.shape[0]):
        for column in range(whole.shape[1]):
            value, tile = whole[row, column], row * whole.shape[1] + column
            if textured and value != 0:
                x, y = np.float32(column * TILE), np.float32(row * TILE)
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


@parallel
def _draw(output_from_unit, circle, edges, color, texture, texels, frame, clamp, textures, textured, antialias, out):
    videos, _, frames, _, _ = out.shape
    for vf in numba.prange(videos * frames):
        v, f = vf // frames, vf % frames
        _draw_frame(
            output_from_unit[v, f], circle[v], edges[v], color[v], texture[v], texels[v], frame[v, f], clamp, textures,
            textured, antialias, out, v, f,
        )  # fmt: skip


@parallel
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
