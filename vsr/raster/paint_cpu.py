"""Visibility on the CPU: what each pixel of a frame shows, found front to back, tile by tile.

Objects are walked front to back, and each paints what is left of the tiles that its outline may touch, testing only the
edges that cross a tile. A tile that is full is closed: nothing behind it is ever looked at. One that a single object
covers is filled without testing a pixel. Which tiles an object touches is found before the first of them is painted,
and without branches: those that a processor guessed wrong took five times as long as the arithmetic.
"""

import math
from functools import partial

import numpy as np

from vsr.loops import compiled
from vsr.raster import MIN_AREA

TILE = 16  # px
_fused = partial(compiled, fastmath={"contract"})
"""For what is done to every pixel: a x + b in one step, as a GPU does it."""
# Numba vectorises loops over a tile's pixels if they are flat, of constant length, and work on 32 bits: so tiles lie
# one after the other, and this is where their pixels' centres are
PIXELS = TILE * TILE
PIXEL_X = (np.arange(PIXELS) % TILE + 0.5).astype(np.float32)
PIXEL_Y = (np.arange(PIXELS) // TILE + 0.5).astype(np.float32)
_EDGES = np.array([(*(e for e in range(4) if bits >> e & 1), 0, 0)[:2] for bits in range(16)])
"""The first two edges of a set of them, in which edge e is bit e."""
_COUNT = np.array([bits.bit_count() for bits in range(16)])
_NOTHING, _ZERO, _ONE = np.int32(0), np.float32(0), np.float32(1)


@compiled
def _circle_crosses(t, x, y):
    """How a circle lies to the pixels of a tile with its middle at (x, y): -1 touches none, 0 covers all, else 1."""
    ux, uy = t[0] * x + t[1] * y + t[2], t[3] * x + t[4] * y + t[5]
    if ux * ux + uy * uy > t[10]:
        return -1
    far = _ZERO  # the farthest corner
    for diagonal in range(2):
        dx, dy = t[6 + 2 * diagonal], t[7 + 2 * diagonal]
        px, py, qx, qy = ux + dx, uy + dy, ux - dx, uy - dy
        far = max(far, px * px + py * py, qx * qx + qy * qy)
    return 0 if far <= np.float32(0.9999) else 1


@compiled
def _edges_cross(t, x, y):
    """The same for a polygon: else which edges may cross the tile, edge e as bit e. Corners decide."""
    outside, crossing = False, 0
    for e in range(4):
        middle, reach = t[e] * x + t[4 + e] * y + t[8 + e], t[12 + e]
        outside |= middle - reach > np.float32(1e-4)
        crossing |= (middle + reach > np.float32(-1e-4)) << e
    return -1 if outside else crossing


@_fused
def _paint_circle(t, x0, y0, value, top, tile):
    """Paint a circle on what is left of a tile; return the least value there, 0 if something is still left."""
    a, b, d, e = t[0], t[1], t[3], t[4]
    u, w = a * x0 + (b * y0 + t[2]), d * x0 + (e * y0 + t[5])
    least = value
    for p in range(PIXELS):
        x, y = PIXEL_X[p], PIXEL_Y[p]
        px, py = a * x + (b * y + u), d * x + (e * y + w)
        here = top[tile, p]
        here = value if (px * px + py * py <= _ONE) & (here == _NOTHING) else here
        top[tile, p] = here
        least = min(least, here)
    return least


@_fused
def _edge(t, e, x0, y0):
    """Edge e with its zero in the corner of a tile."""
    a, b = t[e], t[4 + e]
    return a, b, a * x0 + (b * y0 + t[8 + e])


@_fused
def _paint_edge(t, edge, x0, y0, value, top, tile):
    """The same for a polygon of which one edge crosses the tile."""
    a, b, c = _edge(t, edge, x0, y0)
    least = value
    for p in range(PIXELS):
        x, y = PIXEL_X[p], PIXEL_Y[p]
        here = top[tile, p]
        here = value if (a * x + (b * y + c) <= _ZERO) & (here == _NOTHING) else here
        top[tile, p] = here
        least = min(least, here)
    return least


@_fused
def _paint_corner(t, edge, other, x0, y0, value, top, tile):
    """The same where two edges cross it."""
    a, b, c = _edge(t, edge, x0, y0)
    d, e, f = _edge(t, other, x0, y0)
    least = value
    for p in range(PIXELS):
        x, y = PIXEL_X[p], PIXEL_Y[p]
        here = top[tile, p]
        inside = (a * x + (b * y + c) <= _ZERO) & (d * x + (e * y + f) <= _ZERO)
        here = value if inside & (here == _NOTHING) else here
        top[tile, p] = here
        least = min(least, here)
    return least


@_fused
def _paint_polygon(t, x0, y0, value, top, tile):
    """The same for any polygon."""
    a0, b0, c0 = _edge(t, 0, x0, y0)
    a1, b1, c1 = _edge(t, 1, x0, y0)
    a2, b2, c2 = _edge(t, 2, x0, y0)
    a3, b3, c3 = _edge(t, 3, x0, y0)
    least = value
    for p in range(PIXELS):
        x, y = PIXEL_X[p], PIXEL_Y[p]
        here = top[tile, p]
        inside = (a0 * x + (b0 * y + c0) <= _ZERO) & (a1 * x + (b1 * y + c1) <= _ZERO)
        inside &= (a2 * x + (b2 * y + c2) <= _ZERO) & (a3 * x + (b3 * y + c3) <= _ZERO)
        here = value if inside & (here == _NOTHING) else here
        top[tile, p] = here
        least = min(least, here)
    return least


@compiled
def _paint_rest(value, top, tile):
    """Paint all that is left of a tile."""
    for p in range(PIXELS):
        here = top[tile, p]
        top[tile, p] = value if here == _NOTHING else here


@compiled
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
    is_open, open_in_row = np.ones((rows, columns), np.int64), np.full(rows, columns)
    touched, how = np.empty((still_open + 1, 2), np.int64), np.empty(still_open + 1, np.int64)
    # what tiles and pixels are tested with. A circle: its unit-from-output matrix, two ways from a tile's middle to a
    # corner, and the square of how near to its center a tile that it touches lies. A polygon: four edges, first all a,
    # then all b, all c in output pixels, inside where a x + b y + c <= 0, then by how much they vary in half a tile
    tests = np.empty(16, np.float32)
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
            ax, bx, ay, by = tests[0] * half, tests[1] * half, tests[3] * half, tests[4] * half
            tests[6], tests[7], tests[8], tests[9] = ax + bx, ay + by, ax - bx, ay - by
            reach = math.sqrt(max(tests[6] ** 2 + tests[7] ** 2, tests[8] ** 2 + tests[9] ** 2))
            tests[10] = (np.float32(1.0001) + reach) ** 2
        else:
            for e in range(4):
                nx, ny = edges[n, e, 0], edges[n, e, 1]
                tests[e], tests[4 + e] = nx * p + ny * r, nx * q + ny * s
                tests[8 + e] = nx * u + ny * v - edges[n, e, 2]
                tests[12 + e] = (abs(tests[e]) + abs(tests[4 + e])) * half
        count = 0
        first, last = max(0, int(x - ex) // TILE), min(columns - 1, int(x + ex) // TILE)
        for row in range(max(0, int(y - ey) // TILE), min(rows - 1, int(y + ey) // TILE) + 1):
            if open_in_row[row]:
                for column in range(first, last + 1):
                    touched[count, 0], touched[count, 1] = row, column
                    count += is_open[row, column]
        found, count = count, 0
        for k in range(found):
            row, column = touched[k, 0], touched[k, 1]
            x0, y0 = np.float32(column * TILE) + middle, np.float32(row * TILE) + middle
            crossing = _circle_crosses(tests, x0, y0) if circle[n] else _edges_cross(tests, x0, y0)
            touched[count, 0], touched[count, 1], how[count] = row, column, crossing
            count += crossing >= 0
        value = values[n]
        for k in range(count):
            row, column, crossing = touched[k, 0], touched[k, 1], how[k]
            tile = row * columns + column
            x0, y0 = np.float32(column * TILE), np.float32(row * TILE)
            if crossing and whole[row, column] == 0:
                whole[row, column] = -1
                for pixel in range(PIXELS):
                    top[tile, pixel] = _NOTHING
            if crossing == 0:
                least = value
                if whole[row, column] == 0:
                    whole[row, column] = value
                else:
                    _paint_rest(value, top, tile)
            elif circle[n]:
                least = _paint_circle(tests, x0, y0, value, top, tile)
            elif _COUNT[crossing] == 1:
                least = _paint_edge(tests, _EDGES[crossing, 0], x0, y0, value, top, tile)
            elif _COUNT[crossing] == 2:
                least = _paint_corner(tests, _EDGES[crossing, 0], _EDGES[crossing, 1], x0, y0, value, top, tile)
            else:
                least = _paint_polygon(tests, x0, y0, value, top, tile)
            if least:
                is_open[row, column] = 0
                open_in_row[row] -= 1
                still_open -= 1
        if still_open == 0:
            return


@compiled
def room(objects, height, width):
    """What ``paint`` fills: ``inverse``, ``whole`` and ``top``."""
    rows, columns = -(-height // TILE), -(-width // TILE)
    return (
        np.zeros((objects, 6)), np.zeros((rows, columns), np.int32), np.empty((rows * columns, PIXELS), np.int32)
    )  # fmt: skip
