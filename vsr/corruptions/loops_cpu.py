"""The loops over pixels on the CPU, as Numba: what torch says in :mod:`vsr.corruptions` once more, bit by bit.

Integers throughout, but for :func:`zoom`, whose every rounding torch makes too. Clips and frames are spread over
Numba's threads (``NUMBA_NUM_THREADS``).
"""

import numba
import numpy as np

from vsr.loops import compiled, parallel
from vsr.rng_cpu import words

_TILE = 128  # blocks of words drawn together, so that they vectorise


@compiled
def _words(seed, stream, first, index, epoch, draws):
    """``vsr.rng.words`` of ``_TILE`` elements in a row, uint64 (4, _TILE)."""
    for i in range(_TILE):
        draws[0, i], draws[1, i], draws[2, i], draws[3, i] = words(seed, stream, first + np.uint64(i), index, epoch)


@parallel
def noise(values, table, seed, stream, index, epoch, out):
    """See :func:`vsr.corruptions.noise.add`: values and out uint8 (B, N), table int32 (65536,)."""
    clips, count = values.shape
    tiles = -(-count // (8 * _TILE))
    for job in numba.prange(clips * tiles):
        b, tile = job // tiles, job % tiles
        draws, shorts = np.empty((4, _TILE), np.uint64), np.empty(8 * _TILE, np.uint16)
        _words(seed, stream, np.uint64(tile * _TILE), index[b], epoch[b], draws)
        for j in range(4):
            for i in range(_TILE):
                shorts[8 * i + j] = np.uint16(draws[j, i])
                shorts[8 * i + j + 4] = np.uint16(draws[j, i] >> np.uint64(16))
        some = slice(tile * 8 * _TILE, (tile + 1) * 8 * _TILE)
        levels, shown = values[b, some], out[b, some]
        for n in range(len(levels)):
            short = np.int32(shorts[n])
            column = short >> 8
            entry = np.int32(table[np.uint32(levels[n]) << np.uint32(8) | np.uint32(column)])
            itself = ((short & 255) - (entry >> 8)) >> 31  # -1 where it is: a branch nobody could foresee costs more
            shown[n] = np.uint8((column & itself) | (entry & 255 & ~itself))


@parallel
def warp(video, affine, out):
    """See :func:`vsr.corruptions.camera.warp`: video uint8 (B, C, T, H W), out (B, C, T, H, W)."""
    clips, channels, frames, height, width = out.shape
    for job in numba.prange(clips * frames):
        b, t = job // frames, job % frames
        xx, xy, x0 = affine[b, t, 0], affine[b, t, 1], affine[b, t, 2]
        yx, yy, y0 = affine[b, t, 3], affine[b, t, 4], affine[b, t, 5]
        place = np.empty(width, np.int64)
        for i in range(height):
            for j in range(width):
                x, y = (xx * j + xy * i + x0) >> 16, (yx * j + yy * i + y0) >> 16
                place[j] = y * width + x if 0 <= x < width and 0 <= y < height else -1
            for c in range(channels):
                for j in range(width):
                    out[b, c, t, i, j] = video[b, c, t, np.uint64(place[j])] if place[j] >= 0 else 0


@parallel
def weigh(video, rows, columns, places, weights, which, offset, shift, out):
    """See :func:`vsr.corruptions.blur._weigh`."""
    clips, channels, frames, height, width = video.shape
    for job in numba.prange(clips * channels * frames):
        b, c, t = job // (channels * frames), job // frames % channels, job % frames
        s = which[b, t]
        padded = np.empty((len(rows), len(columns)), np.int32)
        for i in range(len(rows)):
            for j in range(len(columns)):
                padded[i, j] = video[b, c, t, rows[i], columns[j]]
        total = np.empty(width, np.int32)
        for i in range(height):
            total[:] = offset
            for k in range(0, len(weights), 4):  # at once: half the time of one after the other
                w0, w1, w2, w3 = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
                row0 = padded[i + places[s, k, 0], places[s, k, 1] :]
                row1 = padded[i + places[s, k + 1, 0], places[s, k + 1, 1] :]
                row2 = padded[i + places[s, k + 2, 0], places[s, k + 2, 1] :]
                row3 = padded[i + places[s, k + 3, 0], places[s, k + 3, 1] :]
                for j in range(width):
                    total[j] += w0 * row0[j] + w1 * row1[j] + w2 * row2[j] + w3 * row3[j]
            for j in range(width):
                out[b, c, t, i, j] = min(max(total[j] >> shift, 0), 255)


@parallel
def zoom(video, levels, rows, row_weights, columns, column_weights, out):
    """See :func:`vsr.corruptions.blur._zoom`: rows int64 (Z, 2, H), row_weights float64 (Z, 2, H); columns likewise."""
    clips, channels, frames, height, width = video.shape
    zooms = len(rows)
    for job in numba.prange(clips * channels * frames):
        b, c, t = job // (channels * frames), job // frames % channels, job % frames
        plane = np.empty((height, width))
        for i in range(height):
            for j in range(width):
                plane[i, j] = levels[video[b, c, t, i, j]]
        row, total = np.empty(width), np.empty(width, np.float32)
        for i in range(height):
            total[:] = 0
            for z in range(zooms):
                above, below = rows[z, 0, i], rows[z, 1, i]
                for j in range(width):
                    row[j] = plane[above, j] * row_weights[z, 0, i] + plane[below, j] * row_weights[z, 1, i]
                for j in range(width):
                    left = row[columns[z, 0, j]] * column_weights[z, 0, j]
                    total[j] += np.float32(left + row[columns[z, 1, j]] * column_weights[z, 1, j])
            for j in range(width):
                mean = (np.float32(plane[i, j]) + total[j]) / np.float32(zooms + 1)
                out[b, c, t, i, j] = np.uint8(min(mean, np.float32(1)) * np.float32(255))
