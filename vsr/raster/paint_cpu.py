"""Visibility on the CPU: what each pixel of a frame shows, found front to back, tile by tile.

Objects are walked front to back, and each paints what is left of the tiles that its outline may touch, testing only the
edges that cross a tile. A tile that is full is closed: nothing behind it is ever looked at. One that a single object
covers is filled without testing a pixel.
"""

import math

import numba
import numpy as np

from vsr.loops import OPTIONS
from vsr.raster import MIN_AREA

TILE = 16  # px
# Numba vectorises loops over a tile's pixels if they are flat, of constant length, and work on 32 bits: so tiles lie
# one after the other, and this is where their pixels' centres are
PIXELS = TILE * TILE
PIXEL_X = (np.arange(PIXELS) % TILE + 0.5).astype(np.float32)
PIXEL_Y = (np.arange(PIXELS) // TILE + 0.5).astype(np.float32)
_NOTHING, _ZERO, _ONE = np.int32(0), np.float32(0), np.float32(1)


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
    for p in range(PIXELS):
        x, y = x0 + PIXEL_X[p], y0 + PIXEL_Y[p]
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
    for p in range(PIXELS):
        x, y = x0 + PIXEL_X[p], y0 + PIXEL_Y[p]
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
    for p in range(PIXELS):
        x, y = x0 + PIXEL_X[p], y0 + PIXEL_Y[p]
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
    for p in range(PIXELS):
        x, y = x0 + PIXEL_X[p], y0 + PIXEL_Y[p]
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
    for p in range(PIXELS):
        here = top[tile, p]
        top[tile, p] = value if here == _NOTHING else here


@numba.njit(**OPTIONS)
def paint(matrices, circle, edges, values, height, width, inverse, whole, top):
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
    middle, half = np.float32(TILE / 2), np.float32((TILE - 1) / 2)
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
        first, last = max(0, int(x - ex) // TILE), min(columns - 1, int(x + ex) // TILE)
        for row in range(max(0, int(y - ey) // TILE), min(rows - 1, int(y + ey) // TILE) + 1):
            for column in range(first, last + 1):
                tile = row * columns + column
                if closed[tile]:
                    continue
                x0, y0 = np.float32(column * TILE), np.float32(row * TILE)
                crossed = _crossed(circle[n], tests, x0 + middle, y0 + middle, half, crossing)
                if crossed < 0:
                    continue
                if crossed and whole[row, column] == 0:
                    whole[row, column] = -1
                    for k in range(PIXELS):
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
def room(objects, height, width):
    """What ``paint`` fills: ``inverse``, ``whole`` and ``top``."""
    rows, columns = -(-height // TILE), -(-width // TILE)
    return (
        np.zeros((objects, 6)), np.zeros((rows, columns), np.int32), np.empty((rows * columns, PIXELS), np.int32)
    )  # fmt: skip
