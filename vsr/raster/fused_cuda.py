"""The fast renderer on CUDA: find the top object of each pixel, then shade once. Two launches draw a batch.

``vsr.raster.place_cuda`` puts every object into every frame; the kernel here paints. One warp paints one tile of a
frame: it looks at 32 objects at a time, front to back, keeps those whose outline touches the tile, and tests the tile's
pixels with each, until all are covered; an object that covers the whole tile ends the walk without a test. Then each
pixel's colour or texel is fetched once and written once. So the cost is the visible depth, not the number of objects.

Everything runs on the output's device, in its current stream, and nothing waits for the device. Work memory beyond the
output: at most a tenth of its bytes, or 4 MiB; larger batches are drawn in parts.

Written in Triton: it needs no CUDA toolkit, and its interpreter runs the same code where there is no GPU.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

from vsr.errors import InputError
from vsr.raster import Scene
from vsr.raster.place_cuda import LAUNCH, MOST_PIXELS, TILE_H, TILE_W, Placed, place_clips, place_scene, tables
from vsr.recipe import Recipe

_WORK_SHARE, _WORK_AT_LEAST = 0.1, 4 * 2**20  # of the output's bytes; bytes
_COLOR, _TEXTURE, _NUMBER = (tl.constexpr(k) for k in range(3))  # what is shown
_NOTHING, _WRAP, _CLAMP = (tl.constexpr(k) for k in range(3))  # what texels become by their object's colour
_END = tl.constexpr(1 << 20)


def draw(scene: Scene, out: Tensor, antialias: int = 1) -> None:
    """Draw every frame.

    Args:
        scene: T frames of B videos, ``antialias`` times as large as the output.
        out: uint8 (B, 3, T, H, W), overwritten; any strides.
        antialias: A, 1, 2 or 4: a pixel is the mean of A x A samples.
    """
    height, width = out.shape[3] * antialias, out.shape[4] * antialias
    for some, placed in _parts(out, scene.color.shape[1], antialias):
        with _device_of(out):
            place_scene(scene.videos(some), height, width, placed)
            _paint_all(placed, scene.textures, _CLAMP if scene.clamp else _WRAP, out[some], antialias)


def visible(scene: Scene, out: Tensor) -> None:
    """The number of the object that each pixel shows, -1 where there is none.

    Args:
        scene: T frames of B videos.
        out: int32 (B, T, H, W), overwritten.
    """
    height, width = out.shape[2:]
    for some, placed in _parts(out[:, None], scene.color.shape[1], 1):
        with _device_of(out):
            place_scene(scene.videos(some), height, width, placed)
            _paint_all(placed, None, _NOTHING, out[some, None], 1)


def draw_clips(
    recipe: Recipe, seed: int, index: Tensor, epoch: Tensor, stride: int, crop: bool, out: Tensor,
    antialias: int = 1, rows: Tensor | None = None, textures: Tensor | None = None,
) -> None:  # fmt: skip
    """Draw the clips at some addresses, as :func:`vsr.raster.fused_cpu.draw_clips`, in the device's current stream."""
    size = out.shape[-1]
    numbers = tables(recipe, size if crop else None, out.device)
    adds = _NOTHING
    if recipe.looks.object_color or recipe.looks.background_color:
        adds = _CLAMP if recipe.saturation == "clamp" else _WRAP
    for some, placed in _parts(out, recipe.num_drawn, antialias):
        with _device_of(out):
            place_clips(recipe, numbers, seed, index[some], epoch[some], stride, size * antialias, rows, placed)
            _paint_all(placed, textures, adds, out[some], antialias)


def _parts(out: Tensor, objects: int, antialias: int) -> Iterator[tuple[slice, Placed]]:
    """The videos drawn at a time, and the work memory for them, which is used again and again."""
    videos, _, frames, height, width = out.shape
    if max(height, width) * antialias > MOST_PIXELS:
        raise InputError(
            f"{height} x {width} px with antialias {antialias} are more than the {MOST_PIXELS} px a side that can be "
            "drawn on CUDA: ask for less, or for device='cpu'"
        )
    room = max(_WORK_SHARE * out.numel() * out.element_size(), _WORK_AT_LEAST)
    step = max(1, min(videos, int(room / Placed.nbytes(frames, objects))))
    placed = Placed.empty(step, frames, objects, out.device)
    for first in range(0, videos, step):
        some = slice(first, min(first + step, videos))
        yield some, Placed(*(t[: some.stop - first] for t in placed))


def _device_of(out: Tensor) -> AbstractContextManager[object]:
    """Triton launches on the current device: make it the output's (a rank of several, say)."""
    return torch.cuda.device(out.device) if out.is_cuda else nullcontext()


def _paint_all(placed: Placed, textures: Tensor | None, adds: int, out: Tensor, antialias: int) -> None:
    """Paint uint8 (B, 3, T, H, W), or the objects' numbers where ``out`` is int32 (B, 1, T, H, W)."""
    videos, _, frames, height, width = out.shape
    height, width = height * antialias, width * antialias
    columns, rows = triton.cdiv(width, TILE_W), triton.cdiv(height, TILE_H)
    shown = _NUMBER if out.dtype == torch.int32 else _COLOR if textures is None else _TEXTURE
    _paint[(videos * frames * rows * columns,)](
        *placed, out if textures is None else textures, out, *out.stride(),
        frames, placed.box.shape[-1], height, width, columns, rows, 1 if textures is None else textures.shape[1],
        SHOWN=shown, ADDS=adds, A=antialias, TILE_H=TILE_H, TILE_W=TILE_W, **launch(shown),
    )  # fmt: skip


def launch(shown: int) -> dict[str, int | bool]:
    """How the painter is compiled for what it shows; with textures, for 12 warps a multiprocessor at least."""
    return LAUNCH | ({"maxnreg": 168} if shown == _TEXTURE else {})


@triton.jit
def _edge(edges, e: tl.constexpr, N, p, q, u, r, s, w, mask):
    """The half-plane a x + b y + c <= 0 of an outline's edge, in output px."""
    nx = tl.load(edges + 3 * e * N, mask, 0)
    ny = tl.load(edges + (3 * e + 1) * N, mask, 0)
    d = tl.load(edges + (3 * e + 2) * N, mask, 0)
    return nx * p + ny * r, nx * q + ny * s, nx * u + ny * w - d


@triton.jit
def _beyond(a, b, c, x, y, half_x, half_y):
    """How far inside (least) and outside (most) of an edge the points within (x, y) +- half are."""
    middle, reach = a * x + b * y + c, tl.abs(a) * half_x + tl.abs(b) * half_y
    return middle - reach, middle + reach


@triton.jit
def _touch(edges, is_circle, N, p, q, u, r, s, w, x, y, half_x, half_y, mask):
    """Whether outlines touch, and whether they cover, the points within (x, y) +- half. They are convex."""
    # a circle: the farthest corner, and a bound on the nearest point
    ux, uy = p * x + q * y + u, r * x + s * y + w
    ax, bx, ay, by = p * half_x, q * half_y, r * half_x, s * half_y
    plus_x, minus_x, plus_y, minus_y = ax + bx, ax - bx, ay + by, ay - by
    plus, minus = plus_x * plus_x + plus_y * plus_y, minus_x * minus_x + minus_y * minus_y
    center = ux * ux + uy * uy
    far = center + tl.maximum(
        plus + 2 * tl.abs(ux * plus_x + uy * plus_y), minus + 2 * tl.abs(ux * minus_x + uy * minus_y)
    )
    reach = 1.0001 + tl.sqrt(tl.maximum(plus, minus))
    touches, covers = center <= reach * reach, far <= 0.9999
    # a polygon: each edge by itself
    polygon = mask & (is_circle == 0)
    least0, most0 = _beyond(*_edge(edges, 0, N, p, q, u, r, s, w, polygon), x, y, half_x, half_y)
    least1, most1 = _beyond(*_edge(edges, 1, N, p, q, u, r, s, w, polygon), x, y, half_x, half_y)
    least2, most2 = _beyond(*_edge(edges, 2, N, p, q, u, r, s, w, polygon), x, y, half_x, half_y)
    least3, most3 = _beyond(*_edge(edges, 3, N, p, q, u, r, s, w, polygon), x, y, half_x, half_y)
    least = tl.maximum(tl.maximum(least0, least1), tl.maximum(least2, least3))
    most = tl.maximum(tl.maximum(most0, most1), tl.maximum(most2, most3))
    touches = mask & tl.where(polygon, least <= 1e-4, touches)
    return touches, touches & tl.where(polygon, most <= -1e-4, covers)


@triton.jit
def _inside(matrix, edges, is_circle, N, x, y):
    """Which points the outline of one object holds."""
    p, q, u = tl.load(matrix), tl.load(matrix + N), tl.load(matrix + 2 * N)
    r, s, w = tl.load(matrix + 3 * N), tl.load(matrix + 4 * N), tl.load(matrix + 5 * N)
    if is_circle != 0:
        px, py = p * x + (q * y + u), r * x + (s * y + w)
        inside = px * px + py * py <= 1
    else:
        a0, b0, c0 = _edge(edges, 0, N, p, q, u, r, s, w, True)
        a1, b1, c1 = _edge(edges, 1, N, p, q, u, r, s, w, True)
        a2, b2, c2 = _edge(edges, 2, N, p, q, u, r, s, w, True)
        a3, b3, c3 = _edge(edges, 3, N, p, q, u, r, s, w, True)
        inside = (a0 * x + (b0 * y + c0) <= 0) & (a1 * x + (b1 * y + c1) <= 0)
        inside &= (a2 * x + (b2 * y + c2) <= 0) & (a3 * x + (b3 * y + c3) <= 0)
    return inside


@triton.jit
def _mean(samples, A: tl.constexpr, TILE_H: tl.constexpr, TILE_W: tl.constexpr):
    """A x A samples to a pixel, rounded half up."""
    if A == 1:
        pixels = samples
    else:
        cells = tl.reshape(samples, (TILE_H // A, A, TILE_W // A, A))
        pixels = (tl.sum(tl.sum(cells, axis=3), axis=1) + A * A // 2) // (A * A)
    return pixels.to(tl.uint8)


@triton.jit
def _paint(
    matrix, box, edges, circle, color, texture, texels, frame, textures, out, out_v, out_c, out_f, out_y, out_x,
    T, N, H, W, columns, rows, SIDE,
    SHOWN: tl.constexpr, ADDS: tl.constexpr, A: tl.constexpr, TILE_H: tl.constexpr, TILE_W: tl.constexpr,
):  # fmt: skip
    # which tile of which frame
    tile = tl.program_id(0)
    column, row = tile % columns, tile // columns % rows
    at = (tile // (columns * rows)).to(tl.int64)
    v, f = at // T, at % T
    matrix, box = matrix + at * 6 * N, box + at * N
    edges, circle = edges + v * 12 * N, circle + v * N
    color, texture, texels = color + v * N, texture + v * N, texels + v * N
    x = (column * TILE_W + tl.arange(0, TILE_W)[None, :]).to(tl.float32) + 0.5
    y = (row * TILE_H + tl.arange(0, TILE_H)[:, None]).to(tl.float32) + 0.5
    middle_x, middle_y = column * TILE_W + 0.5 * TILE_W, row * TILE_H + 0.5 * TILE_H

    # visibility
    top = tl.full((TILE_H, TILE_W), -1, tl.int32)
    lane = tl.arange(0, 32)
    first = 0
    while first < N:
        n = N - 1 - first - lane  # front to back
        tiles = tl.load(box + n, n >= 0, 255)
        near = ((tiles & 255) <= column) & (column <= (tiles >> 8 & 255))
        near &= ((tiles >> 16 & 255) <= row) & (row <= (tiles >> 24 & 255))
        p, q, u = tl.load(matrix + n, near, 0), tl.load(matrix + N + n, near, 0), tl.load(matrix + 2 * N + n, near, 0)
        r, s = tl.load(matrix + 3 * N + n, near, 0), tl.load(matrix + 4 * N + n, near, 0)
        w = tl.load(matrix + 5 * N + n, near, 0)
        touches, covers = _touch(
            edges + n, tl.load(circle + n, near, 0), N, p, q, u, r, s, w, middle_x, middle_y,
            0.5 * (TILE_W - 1), 0.5 * (TILE_H - 1), near,
        )  # fmt: skip
        keys = tl.where(touches, 2 * lane + tl.where(covers, 0, 1), _END)
        key = tl.min(keys)
        while key < _END:
            k = N - 1 - first - key // 2
            if key % 2 == 0:  # it covers the tile: nothing behind is seen
                top = tl.where(top < 0, k, top)
                key = _END
            else:
                inside = _inside(matrix + k, edges + k, tl.load(circle + k), N, x, y)
                top = tl.where((top < 0) & inside, k, top)
                keys = tl.where(keys > key, keys, _END)
                key = tl.min(keys)
        first += 32
        if tl.min(top) >= 0:
            first = N

    # shading
    seen = top >= 0
    to_x = column * (TILE_W // A) + tl.arange(0, TILE_W // A)[None, :]
    to_y = row * (TILE_H // A) + tl.arange(0, TILE_H // A)[:, None]
    to = out + v * out_v + f * out_f + to_y * out_y + to_x * out_x
    within = (to_y < H // A) & (to_x < W // A)
    if SHOWN == _NUMBER:
        tl.store(to, top, within)
    else:
        red, green, blue = top * 0, top * 0, top * 0
        if SHOWN == _TEXTURE:
            of = tl.load(texture + top, seen, -1)
            textured = of >= 0
            scale = tl.load(texels + top, textured, 0)
            m = matrix + top
            px = tl.load(m, textured, 0) * x + (tl.load(m + N, textured, 0) * y + tl.load(m + 2 * N, textured, 0))
            py = tl.load(m + 3 * N, textured, 0) * x
            py += tl.load(m + 4 * N, textured, 0) * y + tl.load(m + 5 * N, textured, 0)
            tx = tl.minimum(tl.maximum((px * scale + scale).to(tl.int32), 0), SIDE - 1)
            ty = tl.minimum(tl.maximum((py * scale + scale).to(tl.int32), 0), SIDE - 1)
            texel = textures + 3 * (((of + tl.load(frame + at)).to(tl.int64) * SIDE + ty) * SIDE + tx)
            red = tl.load(texel, textured, 0).to(tl.int32)
            green = tl.load(texel + 1, textured, 0).to(tl.int32)
            blue = tl.load(texel + 2, textured, 0).to(tl.int32)
        if SHOWN == _COLOR or ADDS != _NOTHING:
            rgb = tl.load(color + top, seen, 0)
            red, green, blue = red + (rgb & 255), green + (rgb >> 8 & 255), blue + (rgb >> 16 & 255)
            if ADDS == _CLAMP:
                red, green, blue = tl.minimum(red, 255), tl.minimum(green, 255), tl.minimum(blue, 255)
            if ADDS == _WRAP:
                red, green, blue = red & 255, green & 255, blue & 255
        tl.store(to, _mean(red, A, TILE_H, TILE_W), within)
        tl.store(to + out_c, _mean(green, A, TILE_H, TILE_W), within)
        tl.store(to + out_c + out_c, _mean(blue, A, TILE_H, TILE_W), within)
