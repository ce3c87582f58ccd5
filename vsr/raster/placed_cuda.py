"""What stands between the two launches on CUDA: how ``vsr.raster.place_cuda`` writes it and the painter reads it."""

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from vsr.raster import MIN_AREA

TILE_H, TILE_W = 16, 32  # px; one warp paints one tile (vsr.raster.fused_cuda)
WORD = 32  # objects placed by one program; their bits are one word of a set
CIRCLE = 16  # as an outline; a polygon has a bit for each of its four edges

_MIN_AREA = tl.constexpr(MIN_AREA)
_TILE_H, _TILE_W, _WORD = tl.constexpr(TILE_H), tl.constexpr(TILE_W), tl.constexpr(WORD)


class Placed(NamedTuple):
    """What the painter reads: the work memory of B videos.

    Attributes:
        matrix: float32 (B, T, N, 6), each object's output -> unit frame, row by row.
        near: int32 (B, T, columns + rows, N / 32 rounded up), which objects' bounds touch each column and each row of
            tiles: bit j of word k is object N - 1 - 32 k - j, so that they stand front to back.
        edges: float32 (B, N, 8), the four half-planes nx x + ny y <= d as (nx, ny) / abs(d), so that d is 1 or -1 (see
            :func:`store_edge`); not written for circles.
        look: int32 (B, N, 4), the row of its texture, -1 where it has none; texels per unit of the unit frame, as a
            float32; its colour, R + 256 G + 65536 B; its outline, CIRCLE or bit k where edge k has the d -1. The first
            two only with textures.
        frame: int32 (B, T), added to the rows.
    """

    matrix: Tensor
    near: Tensor
    edges: Tensor
    look: Tensor
    frame: Tensor

    @classmethod
    def empty(
        cls, videos: int, frames: int, objects: int, height: int, width: int, device: torch.device | str
    ) -> "Placed":
        """Room for so many in a drawing of so many px, not yet written."""

        def room(*shape: int, dtype: torch.dtype = torch.int32) -> Tensor:
            return torch.empty(videos, *shape, dtype=dtype, device=device)

        tiles = triton.cdiv(width, TILE_W) + triton.cdiv(height, TILE_H)
        return cls(
            room(frames, objects, 6, dtype=torch.float32), room(frames, tiles, triton.cdiv(objects, WORD)),
            room(objects, 8, dtype=torch.float32), room(objects, 4), room(frames),
        )  # fmt: skip

    @property
    def nbytes(self) -> int:
        """All of it."""
        return sum(t.nbytes for t in self)


@triton.jit
def load_pair(at, mask):
    """Two float32 that stand side by side."""
    both = tl.load(at.to(tl.pointer_type(tl.int64), bitcast=True), mask)
    return both.to(tl.int32).to(tl.float32, bitcast=True), (both >> 32).to(tl.int32).to(tl.float32, bitcast=True)


@triton.jit
def store_pair(at, first, second, mask):
    """Two numbers of 32 bits side by side."""
    first, second = first.to(tl.uint32, bitcast=True).to(tl.int64), second.to(tl.uint32, bitcast=True).to(tl.int64)
    tl.store(at.to(tl.pointer_type(tl.int64), bitcast=True), first | (second << 32), mask)


@triton.jit
def store_edge(at, nx, ny, d, mask):
    """Store a half-plane with d as 1 or -1, moved out by as much as float32 may round it in: points on it stay inside.

    Returns:
        1 where d is -1.
    """
    scale = 1 / tl.maximum(tl.abs(d + tl.abs(d) * 2.0**-22), 2.0**-30)  # d = 0 is taken for 2^-30
    store_pair(at, (nx * scale).to(tl.float32), (ny * scale).to(tl.float32), mask)
    return tl.where(d < 0, 1, 0)


@triton.jit
def _store_six(at, x0, y0, d0, x1, y1, d1, mask):
    """Six numbers in a row, as float32."""
    store_pair(at, x0.to(tl.float32), y0.to(tl.float32), mask)
    store_pair(at + 2, d0.to(tl.float32), x1.to(tl.float32), mask)
    store_pair(at + 4, y1.to(tl.float32), d1.to(tl.float32), mask)


@triton.jit
def store_frame(matrix, near, at, n, N, a, b, x, c, d, y, height, width, mask):
    """Invert output-from-unit (a, b, x; c, d, y) of objects n and store it, and which tiles their bounds touch."""
    words = tl.num_programs(1)
    near += at * (tl.cdiv(width, _TILE_W) + tl.cdiv(height, _TILE_H)) * words + tl.program_id(1)
    ex, ey = tl.sqrt(a * a + b * b), tl.sqrt(c * c + d * d)
    det = a * d - b * c
    touches = (x + ex > 0) & (x - ex < width) & (y + ey > 0) & (y - ey < height) & (tl.abs(det) > _MIN_AREA)
    inverse = 1 / tl.where(touches, det, 1.0)
    p, q, r, s = d * inverse, -b * inverse, -c * inverse, a * inverse
    u, w = -(p * x + q * y), -(r * x + s * y)
    _store_six(matrix + (at * N + n) * 6, p, q, u, r, s, w, mask)
    x0, x1 = _tiles(x - ex, x + ex, width, _TILE_W)
    y0, y1 = _tiles(y - ey, y + ey, height, _TILE_H)
    columns, rows = tl.cdiv(width, _TILE_W), tl.cdiv(height, _TILE_H)
    lane = tl.arange(0, _WORD)
    for first in range(0, columns + rows, _WORD):
        bits = _between(x0 - first, x1 - first) | _between(y0 + columns - first, y1 + columns - first)
        bits = _transposed(tl.where(touches & mask, bits, 0).to(tl.uint32))
        tl.store(near + (first + lane) * words, bits.to(tl.int32, bitcast=True), first + lane < columns + rows)


@triton.jit
def _tiles(low, high, side, TILE: tl.constexpr):
    """The first tile that bounds touch along an axis, and the one after the last."""
    low, high = tl.minimum(tl.maximum(low, 0.0), side - 1.0), tl.minimum(tl.maximum(high, 0.0), side - 1.0)
    return (low * (1 / TILE)).to(tl.int32), (high * (1 / TILE)).to(tl.int32) + 1


@triton.jit
def _between(first, end):
    """Bits ``first`` .. ``end`` - 1 of a word."""
    first, end = tl.minimum(tl.maximum(first, 0), _WORD), tl.minimum(tl.maximum(end, 0), _WORD)
    one = tl.full([_WORD], 1, tl.int64)
    return (one << end) - (one << first)


@triton.jit
def _transposed(bits):
    """Bit j of word i becomes bit i of word j, of 32 words in a warp (Hacker's Delight, 7-3)."""
    lane = tl.arange(0, _WORD)
    bits = _exchanged(bits, lane, 16, 0x0000FFFF)
    bits = _exchanged(bits, lane, 8, 0x00FF00FF)
    bits = _exchanged(bits, lane, 4, 0x0F0F0F0F)
    bits = _exchanged(bits, lane, 2, 0x33333333)
    return _exchanged(bits, lane, 1, 0x55555555)


@triton.jit
def _exchanged(bits, lane, STEP: tl.constexpr, LOW: tl.constexpr):
    """Exchange blocks of STEP x STEP bits with the thread STEP away."""
    other, lower = tl.gather(bits, lane ^ STEP, 0), (lane & STEP) == 0
    kept, taken = tl.where(lower, LOW, LOW << STEP), tl.where(lower, LOW << STEP, LOW)
    return (bits & kept.to(tl.uint32)) | (tl.where(lower, other << STEP, other >> STEP) & taken.to(tl.uint32))
