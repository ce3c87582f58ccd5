"""The fast renderer on CUDA: find the top object of each pixel, then shade once. Two launches draw a part.

``vsr.raster.place_cuda`` puts every object into every frame; the kernel here paints. One warp paints one tile of a
frame. Sets of bits say whose bounds touch its column and its row of tiles, so up to 2,048 objects are looked through at
once. Of those in both sets it takes 32 at a time, front to back, a thread each, keeps those whose outline touches the
tile, and gives each what it holds of the pixels that are still free, until none is. A thread has a column of the tile,
of which a convex outline holds the rows from one bound to another, so a pixel costs a bit. Then each pixel's colour or
texel is fetched once and written once. So the cost is the visible depth, not the number of objects.

Everything runs on the output's device, in its current stream, and nothing waits for the device. Work memory beyond the
output: at most a tenth of its bytes, or 4 MiB. A batch that needs no more is drawn in one part: clips of 16 x 224 x 224
with 500 objects need 9.9 %; smaller ones, more objects and antialiasing need more.

Written in Triton: it needs no CUDA toolkit, and its interpreter runs the same code where there is no GPU.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

from vsr.raster import Scene
from vsr.raster.place_cuda import LAUNCH, place_clips, place_scene, tables
from vsr.raster.placed_cuda import CIRCLE, TILE_H, TILE_W, WORD, Placed, load_pair
from vsr.recipe import Recipe

_WORK_SHARE, _WORK_AT_LEAST = 0.1, 4 * 2**20  # of the output's bytes; bytes
_COLOR, _TEXTURE, _NUMBER = (tl.constexpr(k) for k in range(3))  # what is shown
_NOTHING, _WRAP, _CLAMP = (tl.constexpr(k) for k in range(3))  # what texels become by their object's colour
_CIRCLE = tl.constexpr(CIRCLE)
_UPRIGHT, _FAR = tl.constexpr(2.0**-60), tl.constexpr(1e30)  # an edge that bounds x alone; where no bound is
_SLACK = tl.constexpr(0.01)  # px; what may touch a tile is more than what does
_END, _WORD = tl.constexpr(1 << 20), tl.constexpr(WORD)


def draw(scene: Scene, out: Tensor, antialias: int = 1) -> None:
    """Draw every frame.

    Args:
        scene: T frames of B videos, ``antialias`` times as large as the output.
        out: uint8 (B, 3, T, H, W), overwritten; any strides by which the pixels of a frame lie within 2 GiB.
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
    shape = (frames, objects, height * antialias, width * antialias)
    room = max(_WORK_SHARE * out.numel() * out.element_size(), _WORK_AT_LEAST)
    most = max(1, int(room / Placed.empty(1, *shape, "meta").nbytes))
    step = triton.cdiv(videos, triton.cdiv(videos, most)) if videos else 1  # about as many in each part
    placed = Placed.empty(step, *shape, out.device)
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
    objects = placed.look.shape[1]
    if objects == 0:  # nothing has a texture
        textures = None
    shown = _NUMBER if out.dtype == torch.int32 else _COLOR if textures is None else _TEXTURE
    _paint[(videos * frames * rows * columns,)](
        *placed, out if textures is None else textures, out, *out.stride(),
        frames, objects, height, width, columns, rows, 1 if textures is None else textures.shape[1],
        SHOWN=shown, ADDS=adds, A=antialias, HELD=1 if objects <= 1024 else 2,
        TILE_H=TILE_H, TILE_W=TILE_W, **launch(shown),
    )  # fmt: skip


def launch(shown: int) -> dict[str, int | bool]:
    """How the painter is compiled: with the fewest registers, so the most warps, that spill next to none."""
    return LAUNCH | {"maxnreg": 128 if shown == _TEXTURE else 80}


@triton.jit
def _populations(word):
    """How many bits are set in each group of 2, 4, 8, 16 and 32 of a word."""
    two = word - (word >> 1 & 0x55555555)
    four = (two & 0x33333333) + (two >> 2 & 0x33333333)
    eight = four + (four >> 4) & 0x0F0F0F0F
    sixteen = eight + (eight >> 8) & 0x00FF00FF
    return two, four, eight, sixteen, sixteen + (sixteen >> 16) & 63


@triton.jit
def _upper(groups, bit, rank, HALF: tl.constexpr):
    """Go on in the upper half of a group, if its lower half has too few."""
    lower = (groups >> bit.to(tl.uint32) & 2 * HALF - 1).to(tl.int32)
    beyond = lower <= rank
    return tl.where(beyond, bit + HALF, bit), tl.where(beyond, rank - lower, rank)


@triton.jit
def _bit(word, rank):
    """Which bit of a word is set and has ``rank`` set ones below it."""
    two, four, eight, sixteen, _ = _populations(word)
    bit, rank = _upper(sixteen, rank * 0, rank, 16)
    bit, rank = _upper(eight, bit, rank, 8)
    bit, rank = _upper(four, bit, rank, 4)
    bit, rank = _upper(two, bit, rank, 2)
    bit, rank = _upper(word, bit, rank, 1)
    return bit


@triton.jit
def _near(of_column, of_row, word, words):
    """A word of those whose bounds touch both the tile's column and its row, and how many they are."""
    bits = tl.load(of_column + word, word < words, 0) & tl.load(of_row + word, word < words, 0)
    bits = bits.to(tl.uint32, bitcast=True)
    _, _, _, _, many = _populations(bits)
    return bits, many.to(tl.int32)


@triton.jit
def _ranked(bits, more, upto, many, rank):
    """Where the set bit with ``rank`` set ones before it stands, in the words that a warp holds.

    Args:
        bits: a word a thread.
        more: the word after it, or None: one a thread.
        upto: the set bits in a thread's words and all before them.
        many: those in them.
        rank: one a thread.
    """
    at = rank * 0
    for step in tl.static_range(5):
        probe = at + (16 >> step)
        at = tl.where(tl.gather(upto, probe - 1, 0) <= rank, probe, at)
    word, rank = tl.gather(bits, at, 0), rank - tl.gather(upto - many, at, 0)
    if more is not None:
        _, _, _, _, lower = _populations(word)
        lower = lower.to(tl.int32)
        beyond = lower <= rank
        word, rank = tl.where(beyond, tl.gather(more, at, 0), word), tl.where(beyond, rank - lower, rank)
        at = 2 * at + tl.where(beyond, 1, 0)
    return _WORD * at + _bit(word, rank)


@triton.jit
def _six(at, mask):
    """Six float32 in a row."""
    a, b = load_pair(at, mask)
    c, d = load_pair(at + 2, mask)
    e, f = load_pair(at + 4, mask)
    return a, b, c, d, e, f


@triton.jit
def _circle(p, q, u, r, s, w, half_x, half_y):
    """Whether a circle may touch the points within +- half, and how it bounds y.

    Returns:
        touches, and middle and across as slope and start of lines in x, and length:
        |y - middle|^2 <= length - across^2.
    """
    plus_x, minus_x = p * half_x + q * half_y, p * half_x - q * half_y
    plus_y, minus_y = r * half_x + s * half_y, r * half_x - s * half_y
    reach = tl.sqrt(tl.maximum(plus_x * plus_x + plus_y * plus_y, minus_x * minus_x + minus_y * minus_y)) + 1.0001
    length = 1 / tl.maximum(q * q + s * s, _UPRIGHT * _UPRIGHT)
    middle, across = (-(p * q + r * s) * length, -(u * q + w * s) * length), (q * r - s * p, q * w - s * u)
    return u * u + w * w <= reach * reach, middle[0], middle[1], across[0] * length, across[1] * length, length


@triton.jit
def _edge(nx, ny, outside, p, q, u, r, s, w, half_x, half_y):
    """How an outline's edge, the half-plane a x + b y + c <= 0, bounds y; the unit frame's middle may be outside of it.

    Returns:
        the least of a x + b y + c within +- half; whether it bounds y from above; slope and start of the line in x that
        is the bound, or of its negative if it is one from below.
    """
    a, b, c = nx * p + ny * r, nx * q + ny * s, nx * u + ny * w + tl.where(outside, 1.0, -1.0)
    least = c - tl.abs(a) * half_x - tl.abs(b) * half_y
    upright = tl.abs(b) < _UPRIGHT
    b = tl.where(upright, _UPRIGHT, b)
    slope, start = -a / tl.abs(b), -c / tl.abs(b)
    start += tl.where(upright, tl.abs(start) * 2.4e-7, 0.0)  # so that a column of pixels on it is inside
    return least, b > 0, slope, start


@triton.jit
def _at(slope, start, thread, x):
    """The value slope x + start in every column, of the object that a thread holds."""
    return tl.gather(slope, thread, 0) * x + tl.gather(start, thread, 0)


@triton.jit
def _mean(samples, A: tl.constexpr, TILE_H: tl.constexpr, TILE_W: tl.constexpr):
    """A x A samples to a pixel, rounded half up; rows one after the other to (rows, columns)."""
    if A == 1:
        pixels = tl.reshape(samples, (TILE_H, TILE_W))
    else:
        cells = tl.reshape(samples, (TILE_H // A, A, TILE_W // A, A))
        pixels = (tl.sum(tl.sum(cells, axis=3), axis=1) + A * A // 2) // (A * A)
    return pixels.to(tl.uint8)


@triton.jit(do_not_specialize_on_alignment=["out", "out_v", "out_c", "out_f", "out_y"])
def _paint(
    matrix, near, edges, look, frame, textures, out, out_v, out_c, out_f, out_y, out_x,
    T, N, H, W, columns, rows, SIDE,
    SHOWN: tl.constexpr, ADDS: tl.constexpr, A: tl.constexpr, HELD: tl.constexpr,
    TILE_H: tl.constexpr, TILE_W: tl.constexpr,
):  # fmt: skip
    # which tile of which frame
    tile = tl.program_id(0)
    column, row = tile % columns, tile // columns % rows
    at = (tile // (columns * rows)).to(tl.int64)
    v, f = at // T, at % T
    matrix += at * 6 * N
    edges, look = edges + v * 8 * N, look + v * 4 * N
    middle_x, middle_y = column * TILE_W + 0.5 * TILE_W, row * TILE_H + 0.5 * TILE_H

    # visibility: thread j has column j of the tile; places are told from the tile's middle
    tl.static_assert(TILE_H == 16 and TILE_W == _WORD)
    lane = tl.arange(0, _WORD)
    x = lane.to(tl.float32) - 0.5 * (TILE_W - 1)
    half_x, half_y = 0.5 * (TILE_W - 1) + _SLACK, 0.5 * (TILE_H - 1) + _SLACK
    rows_to = 0.5 * (TILE_H + 1)  # floor(y + rows_to) rows have their centre at y or above it
    four = tl.arange(0, 4)
    byte_of = (four & 1) * 16 + (four >> 1) * 8  # where the byte of rows 0 .. 3, 4 .. 7, 8 .. 11, 12 .. 15 begins
    bit = 1 << tl.arange(0, TILE_H)[:, None]
    top = tl.full((TILE_H, TILE_W), 0 if SHOWN == _COLOR else -1, tl.int32)
    free = tl.full((TILE_W,), (1 << TILE_H) - 1, tl.int32)  # bit i: the pixel in row i shows nothing yet
    words = tl.cdiv(N, _WORD)
    of_column = near + (at * (columns + rows) + column) * words
    of_row = near + (at * (columns + rows) + columns + row) * words
    first = 0
    while first < words:
        # the objects whose bounds touch the tile: a word or two of them a thread
        bits, many = _near(of_column, of_row, first + HELD * lane, words)
        more = None
        if HELD == 2:
            more, others = _near(of_column, of_row, first + HELD * lane + 1, words)
            many += others
        upto = tl.cumsum(many)
        total = tl.max(upto)
        done = 0
        while done < total:
            # how the next 32 of them, front to back, lie to the tile: each thread has one
            found = done + lane < total
            n = N - 1 - _WORD * first - _ranked(bits, more, upto, many, done + lane)
            p, q, u, r, s, w = _six(matrix + 6 * n, found)
            u, w = p * middle_x + q * middle_y + u, r * middle_x + s * middle_y + w
            rgb, outline = load_pair(look + 4 * n + 2, found)
            rgb, outline = rgb.to(tl.int32, bitcast=True), outline.to(tl.int32, bitcast=True)
            circle, polygon = outline == _CIRCLE, found & (outline != _CIRCLE)
            disc, slope0, start0, slope1, start1, length = _circle(p, q, u, r, s, w, half_x, half_y)
            x0, y0 = load_pair(edges + 8 * n, polygon)
            x1, y1 = load_pair(edges + 8 * n + 2, polygon)
            x2, y2 = load_pair(edges + 8 * n + 4, polygon)
            x3, y3 = load_pair(edges + 8 * n + 6, polygon)
            least0, above0, a0, b0 = _edge(x0, y0, outline & 1 != 0, p, q, u, r, s, w, half_x, half_y)
            least1, above1, a1, b1 = _edge(x1, y1, outline & 2 != 0, p, q, u, r, s, w, half_x, half_y)
            least2, above2, slope2, start2 = _edge(x2, y2, outline & 4 != 0, p, q, u, r, s, w, half_x, half_y)
            least3, above3, slope3, start3 = _edge(x3, y3, outline & 8 != 0, p, q, u, r, s, w, half_x, half_y)
            least = tl.maximum(tl.maximum(least0, least1), tl.maximum(least2, least3))
            touches = found & tl.where(circle, disc, least <= 0)
            slope0, start0 = tl.where(circle, slope0, a0), tl.where(circle, start0, b0 + rows_to)
            slope1, start1 = tl.where(circle, slope1, a1), tl.where(circle, start1, b1 + rows_to)
            start2, start3 = tl.where(circle, length, start2 + rows_to), start3 + rows_to
            kinds = tl.where(above0, 1, 0) | tl.where(above1, 2, 0) | tl.where(above2, 4, 0) | tl.where(above3, 8, 0)
            kinds = tl.where(circle, _CIRCLE, kinds)
            # those that touch it, one after the other: what each holds of the rows that are still free
            before = free
            holder = tl.zeros((4, TILE_W), tl.int32)  # a byte a pixel: the thread whose object holds it
            keys = tl.where(touches, 32 * lane + kinds, _END)
            key = tl.min(keys)
            while key < _END:
                thread, kind = lane * 0 + (key >> 5), key & 31
                v0, v1 = _at(slope0, start0, thread, x), _at(slope1, start1, thread, x)
                if kind == _CIRCLE:
                    square = tl.gather(start2, thread, 0) - v1 * v1
                    half = tl.sqrt(tl.maximum(square, 0.0)) + rows_to
                    high, low = tl.where(square < 0, 0.0, half + v0), half - v0
                else:
                    v2, v3 = _at(slope2, start2, thread, x), _at(slope3, start3, thread, x)
                    high = tl.minimum(tl.where(kind & 1 != 0, v0, _FAR), tl.where(kind & 2 != 0, v1, _FAR))
                    high = tl.minimum(high, tl.where(kind & 4 != 0, v2, _FAR))
                    high = tl.minimum(high, tl.where(kind & 8 != 0, v3, _FAR))
                    low = tl.minimum(tl.where(kind & 1 != 0, _FAR, v0), tl.where(kind & 2 != 0, _FAR, v1))
                    low = tl.minimum(low, tl.where(kind & 4 != 0, _FAR, v2))
                    low = tl.minimum(low, tl.where(kind & 8 != 0, _FAR, v3))
                # it holds what is in the first ``high`` rows of a column and in the last ``low``
                high = tl.minimum(tl.maximum(high, 0.0), TILE_H).to(tl.int32)
                low = tl.minimum(tl.maximum(low, 0.0), TILE_H).to(tl.int32)
                new = free & ((1 << high) - 1) & (-1 << (TILE_H - low))
                free ^= new
                spread = new | (new << 12)  # so that rows 0, 8, 4, 12 stand 8 bits apart; 1, 9, 5, 13 after them, ...
                holder += (spread[None, :] >> four[:, None] & 0x01010101) * thread[None, :]
                keys = tl.where(keys > key, keys, _END)
                key = tl.min(keys)
                if tl.max(free) == 0:
                    key, done, first = _END, total, words
            held = tl.reshape(holder[None, :, :] >> byte_of[:, None, None] & 31, (TILE_H, TILE_W))
            what = tl.broadcast_to((rgb if SHOWN == _COLOR else n)[None, :], (TILE_H, TILE_W))
            top = tl.where(((before ^ free)[None, :] & bit) != 0, tl.gather(what, held, 1), top)
            done += _WORD
        first += HELD * _WORD

    # shading
    to_x = column * (TILE_W // A) + tl.arange(0, TILE_W // A)[None, :]
    to_y = row * (TILE_H // A) + tl.arange(0, TILE_H // A)[:, None]
    to = out + v * out_v + f * out_f + to_y * out_y + to_x * out_x
    within = (to_y < H // A) & (to_x < W // A)
    if SHOWN == _NUMBER:
        tl.store(to, top, within)
    else:
        top = tl.reshape(top, (TILE_H * TILE_W,))  # one row after the other: a layout that loads keep
        if SHOWN == _COLOR:
            rgb = top
            red, green, blue = top * 0, top * 0, top * 0
        else:
            seen, shown = top >= 0, look + 4 * tl.maximum(top, 0)
            p, q, u, r, s, w = _six(matrix + 6 * tl.maximum(top, 0), None)
            of, scale = load_pair(shown, None)
            of = of.to(tl.int32, bitcast=True)
            textured = seen & (of >= 0)
            pixel = tl.arange(0, TILE_H * TILE_W)
            x = (column * TILE_W).to(tl.float32) + ((pixel % TILE_W).to(tl.float32) + 0.5)
            y = (row * TILE_H).to(tl.float32) + ((pixel // TILE_W).to(tl.float32) + 0.5)
            px, py = p * x + (q * y + u), r * x + (s * y + w)
            last = SIDE - 1.0
            tx = tl.minimum(tl.maximum(px * scale + scale, 0.0), last).to(tl.int32)
            ty = tl.minimum(tl.maximum(py * scale + scale, 0.0), last).to(tl.int32)
            of = tl.where(textured, of + tl.load(frame + at), 0).to(tl.uint32)
            texel = textures + of.to(tl.uint64) * (3 * SIDE * SIDE) + (3 * (ty * SIDE + tx)).to(tl.uint32)
            red = tl.where(textured, tl.load(texel).to(tl.int32), 0)
            green = tl.where(textured, tl.load(texel + 1).to(tl.int32), 0)
            blue = tl.where(textured, tl.load(texel + 2).to(tl.int32), 0)
            if ADDS != _NOTHING:
                rgb = tl.where(seen, tl.load(shown + 2), 0)
        if SHOWN == _COLOR or ADDS != _NOTHING:
            red, green, blue = red + (rgb & 255), green + (rgb >> 8 & 255), blue + (rgb >> 16 & 255)
            if ADDS == _CLAMP:
                red, green, blue = tl.minimum(red, 255), tl.minimum(green, 255), tl.minimum(blue, 255)
            if ADDS == _WRAP:
                red, green, blue = red & 255, green & 255, blue & 255
        tl.store(to, _mean(red, A, TILE_H, TILE_W), within)
        tl.store(to + out_c, _mean(green, A, TILE_H, TILE_W), within)
        tl.store(to + out_c + out_c, _mean(blue, A, TILE_H, TILE_W), within)
