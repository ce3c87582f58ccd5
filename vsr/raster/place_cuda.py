"""Where every object is and what it looks like, on CUDA: addresses, or a scene, to ``Placed``, in one launch.

``vsr.latents`` and ``vsr.geometry`` once more, as Triton: an address becomes a matrix inside one kernel, and nothing in
between is ever stored. The draws are bit-equal (integers, 24-bit uniforms and look-ups); the float64 values agree to
rounding. A test holds them together for every dataset.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from vsr.geometry import crop_boxes
from vsr.latents import ASIDE, SHAPES
from vsr.raster import Scene
from vsr.raster.placed_cuda import CIRCLE, WORD, Placed, store_edge, store_frame, store_pair
from vsr.recipe import Recipe, radius_table
from vsr.rng import Stream
from vsr.rng_cuda import below, uniform, words

LAUNCH = {"num_warps": 1, "enable_fp_fusion": True}  # multiply-add; what must be bit-equal is integers

_WORD, _CIRCLE = tl.constexpr(WORD), tl.constexpr(CIRCLE)
_PI = tl.constexpr(math.pi)
_RADII = tl.constexpr(200)
_S = {s.name: tl.constexpr(int(s)) for s in Stream}
_RADIUS, _POSITION, _COLOR, _SHAPE, _ANGLE = (_S[n] for n in ("RADIUS", "POSITION", "COLOR", "SHAPE", "ANGLE"))
_DIRECTION, _SPEED, _ACCELERATION = (_S[n] for n in ("DIRECTION", "SPEED", "ACCELERATION"))
_ROTATION, _SCALE, _SHEAR, _TEXTURE = (_S[n] for n in ("ROTATION", "SCALE", "SHEAR", "TEXTURE"))
_DURATION, _CLIP, _BACKGROUND = _S["DURATION"], _S["CLIP"], _S["BACKGROUND"]
_ASIDE = tl.constexpr(ASIDE)
_IS_BACKGROUND = tl.constexpr(SHAPES.index("background"))


class Tables(NamedTuple):
    """The numbers of a recipe that the kernel reads, on a device.

    Attributes:
        spans: float64 (7, 2), low and high - low of what is uniform, in the kernel's order.
        ends: int32 (200,), see :func:`vsr.recipe.radius_table`.
        radii: float64 (200,), px.
        boxes: float64 (S, P, 4), see :func:`vsr.geometry.crop_boxes`.
    """

    spans: Tensor
    ends: Tensor
    radii: Tensor
    boxes: Tensor


@lru_cache(maxsize=1024)  # more than the recipes of any mixture: to make them is to wait for the device
def tables(recipe: Recipe, crop: int | None, device: torch.device) -> Tables:
    """The tables for clips of ``crop`` px, or of the whole frame where it is None."""
    spans = torch.tensor(
        [(0.0, 2.0 * recipe.size), (-math.pi, math.pi), recipe.speed, recipe.acceleration, recipe.rotation,
         recipe.scaling, recipe.shear], dtype=torch.float64,
    )  # fmt: skip
    spans[:, 1] -= spans[:, 0]
    ends, radii = radius_table(*recipe.radius)
    made = (spans, ends.int(), radii * recipe.size, crop_boxes(recipe.size, crop))
    return Tables(*(t.to(device) for t in made))


def place_clips(
    recipe: Recipe, numbers: Tables, seed: int, index: Tensor, epoch: Tensor, stride: int, size: int,
    rows: Tensor | None, placed: Placed,
) -> None:  # fmt: skip
    """Place the objects of the clips at some addresses.

    Args:
        recipe: the dataset.
        numbers: its tables.
        seed: the data seed.
        index: int64 (B,), the videos.
        epoch: int64 (B,), which clip of each.
        stride: video frames from one clip frame to the next.
        size: H = W of the drawing, px.
        rows: int64 (K,), where each texture of the pool stands in the bank, or None: objects show their colours.
        placed: overwritten.
    """
    videos, frames, objects, _ = placed.matrix.shape
    first, last = recipe.duration
    looks = recipe.looks
    _place_clips[(videos, placed.near.shape[-1])](
        *placed, index.contiguous(), epoch.contiguous(), *numbers, index if rows is None else rows,
        seed & 0xFFFFFFFF, seed >> 32, first, last - first + 1, (frames - 1) * stride + 1, stride, frames, objects,
        size, recipe.size, len(numbers.boxes), numbers.boxes.shape[1], recipe.texture_pool,
        recipe.texture_window or recipe.texture_pool, recipe.epoch_size, recipe.texture_size, recipe.texture_frames,
        ROTATING=any(recipe.rotation), MIXED=recipe.shapes == "mixed", TEXTURED=rows is not None,
        BACKDROP=objects > recipe.num_objects,
        OBJECT_COLOR=int(looks.object_color), OBJECT_TEXTURE=int(looks.object_texture),
        BACK_COLOR=int(looks.background_color), BACK_TEXTURE=int(looks.background_texture), **LAUNCH,
    )  # fmt: skip


def place_scene(scene: Scene, height: int, width: int, placed: Placed) -> None:
    """Place the objects of a scene.

    Args:
        scene: T frames of B videos.
        height: of the drawing, px.
        width: likewise.
        placed: overwritten.
    """
    videos, frames, objects, _ = placed.matrix.shape
    textured = scene.textures is not None
    _place_scene[(videos, placed.near.shape[-1])](
        *placed, scene.output_from_unit.contiguous(), scene.outlines.circle.contiguous(),
        scene.outlines.edges.contiguous(), scene.color.contiguous(), scene.texture.contiguous(),
        scene.texels.contiguous(), scene.frame.contiguous(), frames, objects, height, width,
        TEXTURED=textured, **LAUNCH,
    )  # fmt: skip


@triton.jit
def _span(word, spans, row: tl.constexpr):
    return tl.load(spans + 2 * row) + uniform(word) * tl.load(spans + 2 * row + 1)


@triton.jit
def _radius(word, ends, radii):
    """The look-up ``searchsorted(ends, word >> 8, right=True)`` by bisection, 200 entries."""
    at = (word >> 8).to(tl.int32)
    low = at * 0
    for step in tl.static_range(8):
        probe = low + (128 >> step)
        end = tl.load(ends + tl.minimum(probe, _RADII) - 1)
        low = tl.where((probe <= _RADII) & (end <= at), probe, low)
    return tl.load(radii + tl.minimum(low, _RADII - 1))


@triton.jit
def _swap(a, b):
    return tl.minimum(a, b), tl.maximum(a, b)


@triton.jit
def _angles(shape, u0, u1, u2, u3):
    """``vsr.latents._outline_angles``: where the four corners lie, ascending."""
    turn: tl.constexpr = 2 * _PI
    quarter: tl.constexpr = _PI / 2
    # three and four of them in order
    a, b = _swap(u0, u1)
    t1, t2 = _swap(b, u2)
    t0, t1 = _swap(a, t1)
    c, d = _swap(u2, u3)
    q0, c = _swap(a, c)
    b, q3 = _swap(b, d)
    q1, q2 = _swap(b, c)
    first = tl.where(shape == 2, u0 * quarter, _PI / 4)
    half = u0 * quarter
    box, three, four = shape == 3, shape == 4, shape == 5
    h0 = tl.where(box, half, tl.where(three, t0 * turn, tl.where(four, q0 * turn, first)))
    h1 = tl.where(box, _PI - half, tl.where(three, t1 * turn, tl.where(four, q1 * turn, first + quarter)))
    h2 = tl.where(box, _PI + half, tl.where(three, t2 * turn, tl.where(four, q2 * turn, first + 2 * quarter)))
    h3 = tl.where(box, turn - half, tl.where(three, t2 * turn, tl.where(four, q3 * turn, first + 3 * quarter)))
    return h0, h1, h2, h3


@triton.jit
def _edge(here, there, background):
    """``vsr.geometry.outlines``: the half-plane between two corners."""
    middle, half = (here + there) * 0.5, (there - here) * 0.5
    d = tl.where(background, 1.0, tl.cos(half))
    return tl.cos(middle), tl.sin(middle), d


@triton.jit(do_not_specialize=["k0", "k1", "SPAN", "STRIDE"])
def _place_clips(
    matrix, near, edges, look, frame, index, epoch, spans, ends, radii, boxes, rows,
    k0, k1, FIRST, DURATIONS, SPAN, STRIDE, T, N, SIZE, FRAME, SIDES, PLACES, POOL, WINDOW, EPOCH, TEXELS, MOVES,
    ROTATING: tl.constexpr, MIXED: tl.constexpr, TEXTURED: tl.constexpr, BACKDROP: tl.constexpr,
    OBJECT_COLOR: tl.constexpr, OBJECT_TEXTURE: tl.constexpr, BACK_COLOR: tl.constexpr, BACK_TEXTURE: tl.constexpr,
):  # fmt: skip
    v = tl.program_id(0).to(tl.int64)
    place = N - 1 - tl.program_id(1) * _WORD - tl.arange(0, _WORD)
    mask = place >= 0
    n = place
    if BACKDROP:  # the background stands before the objects in the lists
        n = place - 1
    back = n < 0
    video, clip = tl.load(index + v), tl.load(epoch + v)

    # the camera and the first frame
    w0, _, _, _ = words(k0, k1, _DURATION, n * 0, video, 0)
    c0, c1, c2, _ = words(k0, k1, _CLIP, n * 0, video, clip)
    start = below(c0, FIRST + below(w0, DURATIONS) - SPAN + 1)
    view = boxes + 4 * (below(c1, SIDES) * PLACES + below(c2, PLACES))
    zoom_x, zoom_y = SIZE / tl.load(view + 2), SIZE / tl.load(view + 3)
    left, top = tl.load(view), tl.load(view + 1)

    # the object
    w0, _, _, _ = words(k0, k1, _RADIUS, n, video, 0)
    radius = _radius(w0, ends, radii)
    if BACKDROP:  # a square as large as the frame, standing still
        radius = tl.where(back, FRAME * 0.5, radius)

    # what it looks like
    look += 4 * (v * N + place)
    w0, w1, w2, _ = words(k0, k1, _COLOR, n, video, 0)
    b0, b1, b2, b3 = words(k0, k1, _BACKGROUND, n * 0, video, 0)
    rgb = below(w0, 256) | (below(w1, 256) << 8) | (below(w2, 256) << 16)
    back_rgb = below(b0, 256) | (below(b1, 256) << 8) | (below(b2, 256) << 16)
    rgb = tl.where(back, back_rgb * BACK_COLOR, rgb * OBJECT_COLOR)
    if TEXTURED:
        w0, _, _, _ = words(k0, k1, _TEXTURE, n, video, 0)
        first = video // EPOCH * WINDOW % POOL
        shown = mask & (tl.where(back, BACK_TEXTURE, OBJECT_TEXTURE) != 0)
        row = tl.load(rows + first + below(tl.where(back, b3, w0), WINDOW), shown, -1).to(tl.int32)
        store_pair(look, row, tl.where(back, TEXELS * 0.5, radius * TEXELS / (2 * FRAME)).to(tl.float32), mask)
        period = tl.maximum(2 * MOVES - 2, 1)
        for f in range(T):  # vsr.latents.texture_frame
            step = (start + STRIDE * f) % period
            tl.store(frame + v * T + f + place * 0, tl.minimum(step, period - step), place == 0)
    outline = place * 0 + _CIRCLE
    if MIXED or BACKDROP:
        w0, _, _, _ = words(k0, k1, _SHAPE, n, video, 0)
        shape = below(w0, 6) * MIXED
        shape = tl.where(back, _IS_BACKGROUND, shape)
        w0, w1, w2, w3 = words(k0, k1, _ANGLE, n, video, 0)
        h0, h1, h2, h3 = _angles(shape, uniform(w0), uniform(w1), uniform(w2), uniform(w3))
        polygon, corner = mask & (shape != 0), edges + 8 * (v * N + place)
        signs = store_edge(corner, *_edge(h0, h1, back), polygon)
        signs |= store_edge(corner + 2, *_edge(h1, h2, back), polygon) << 1
        signs |= store_edge(corner + 4, *_edge(h2, h3, back), polygon) << 2
        signs |= store_edge(corner + 6, *_edge(h3, h0 + 2 * _PI, back), polygon) << 3
        outline = tl.where(polygon, signs, outline)
    store_pair(look + 2, rgb, outline, mask)

    # how it moves: vsr.geometry.frame_from_unit, then the camera
    w0, w1, _, _ = words(k0, k1, _POSITION, n, video, 0)
    center_x, center_y = _span(w0, spans, 0), _span(w1, spans, 0)
    w0, _, _, _ = words(k0, k1, _DIRECTION, n, video, 0)
    direction = _span(w0, spans, 1)
    way_x, way_y = tl.cos(direction), tl.sin(direction)
    w0, _, _, _ = words(k0, k1, _SPEED, n, video, 0)
    speed = _span(w0, spans, 2)
    w0, _, _, _ = words(k0, k1, _ACCELERATION, n, video, 0)
    acceleration = _span(w0, spans, 3)
    w0, _, _, _ = words(k0, k1, _ROTATION, n, video, 0)
    rotation = _span(w0, spans, 4)
    w0, w1, _, _ = words(k0, k1, _SCALE, n, video, 0)
    scaling_x, scaling_y = _span(w0, spans, 5), _span(w1, spans, 5)
    w0, w1, _, _ = words(k0, k1, _SHEAR, n, video, 0)
    shear_x, shear_y = _span(w0, spans, 6), _span(w1, spans, 6)
    if BACKDROP:
        middle = FRAME * 0.5 + _ASIDE
        center_x, center_y = tl.where(back, middle, center_x), tl.where(back, middle, center_y)
        rotation = tl.where(back, 0.0, rotation)
    cos, sin, cos_step, sin_step = rotation * 0 + 1, rotation * 0, rotation * 0 + 1, rotation * 0
    if ROTATING:
        cos, sin = tl.cos(rotation * start), tl.sin(rotation * start)
        cos_step, sin_step = tl.cos(rotation * STRIDE), tl.sin(rotation * STRIDE)
    for f in range(T):
        t = tl.where(back, 0, start + STRIDE * f).to(tl.float64)
        far = speed * t + acceleration * t * t * 0.5
        sx, sy = radius * (1 + scaling_x * t), radius * (1 + scaling_y * t)
        kx, ky = shear_x * t, shear_y * t
        a, b, c, d = sx * cos, -sy * sin, sx * sin, sy * cos
        at = v * T + f
        store_frame(
            matrix, near, at, place, N,
            zoom_x * (a + b * ky), zoom_x * (a * kx + b), zoom_x * (center_x + far * way_x - left),
            zoom_y * (c + d * ky), zoom_y * (c * kx + d), zoom_y * (center_y + far * way_y - top),
            SIZE, SIZE, mask,
        )  # fmt: skip
        if ROTATING:  # on to the next frame; each adds some 1e-16
            cos, sin = cos * cos_step - sin * sin_step, sin * cos_step + cos * sin_step


@triton.jit
def _place_scene(
    matrix, near, edges, look, frame,
    scene_matrix, scene_circle, scene_edges, scene_color, scene_texture, scene_texels, scene_frame,
    T, N, HEIGHT, WIDTH, TEXTURED: tl.constexpr,
):  # fmt: skip
    v = tl.program_id(0).to(tl.int64)
    n = N - 1 - tl.program_id(1) * _WORD - tl.arange(0, _WORD)
    mask = n >= 0
    of = v * N + n
    outline = tl.load(scene_circle + of, mask, 0).to(tl.int32) * _CIRCLE
    polygon = mask & (outline == 0)
    for k in tl.static_range(4):
        edge = scene_edges + 12 * of + 3 * k
        nx, ny, d = tl.load(edge, polygon, 0), tl.load(edge + 1, polygon, 0), tl.load(edge + 2, polygon, 0)
        outline |= store_edge(edges + 8 * of + 2 * k, nx, ny, d, polygon) << k
    if TEXTURED:
        row = tl.load(scene_texture + of, mask, 0).to(tl.int32)
        store_pair(look + of * 4, row, tl.load(scene_texels + of, mask, 0).to(tl.float32), mask)
    rgb = tl.load(scene_color + of * 3, mask, 0).to(tl.int32)
    rgb |= tl.load(scene_color + of * 3 + 1, mask, 0).to(tl.int32) << 8
    rgb |= tl.load(scene_color + of * 3 + 2, mask, 0).to(tl.int32) << 16
    store_pair(look + of * 4 + 2, rgb, outline, mask)
    for f in range(T):
        at = v * T + f
        if TEXTURED:
            tl.store(frame + at + n * 0, tl.load(scene_frame + at + n * 0).to(tl.int32), n == 0)
        m = scene_matrix + (at * N + n) * 6
        store_frame(
            matrix, near, at, n, N,
            tl.load(m, mask, 0), tl.load(m + 1, mask, 0), tl.load(m + 2, mask, 0),
            tl.load(m + 3, mask, 0), tl.load(m + 4, mask, 0), tl.load(m + 5, mask, 0),
            HEIGHT, WIDTH, mask,
        )  # fmt: skip
