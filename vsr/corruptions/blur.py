"""Defocus, motion and zoom blur.

Defocus and motion blur are sums of shifted frames with weights of 22 bits: integers, so the same on every device. Zoom
blur is float64 and float32 with the reference's roundings, one operation at a time.
"""

import math
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vsr import rng
from vsr.corruptions import Cell, address, loops_cpu

_DISK = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))
"""Radius and the smoothing of its edge, px."""
_MOTION = ((10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0))
"""Radius and standard deviation, px."""
_ZOOM = ((1, 1.11, 0.01), (1, 1.16, 0.01), (1, 1.21, 0.02), (1, 1.26, 0.02), (1, 1.31, 0.03))
"""Factors, as ``np.arange`` takes them: rounding makes the first of them end at 1.11, as in the benchmark."""

_BITS = 22
_ANGLES = 4096  # of motion, from -45 to 45 degrees: no tap is off by more than 0.01 px


class _Taps(NamedTuple):
    """Which pixels are summed.

    Attributes:
        places: int64 (S, K, 2), of each of S sets: rows and columns in a frame with a border of ``border``.
        weights: int64 (K,), of all sets; 2^22 is one. K is a multiple of 4, for which some weigh nothing.
        border: px.
    """

    places: Tensor
    weights: Tensor
    border: int


def defocus(cell: Cell, video: Tensor) -> Tensor:
    """Every pixel becomes a disk with a soft edge; the frame is mirrored at its border.

    Args:
        cell: a defocus_blur.
        video: uint8 (B, C, T, H, W).

    Returns:
        uint8 (B, C, T, H, W), truncated. As in the benchmark, a flat picture loses one level up to severity 3, where
        the float32 weights sum to just less than 1, and becomes 1 % brighter from severity 4, where the disk touches
        the edge of the array in which it is smoothed.
    """
    clips, frames = video.shape[0], video.shape[2]
    which = torch.zeros(clips, frames, dtype=torch.int64, device=video.device)
    just_less = -(2 ** (_BITS - 16))  # of a level
    return _weigh(video, _disk(*_DISK[cell.severity - 1], video.device), which, mirror=True, offset=just_less)


def motion(cell: Cell, video: Tensor, index: Tensor, view: Tensor, seed: int) -> Tensor:
    """Every pixel leaves a trail, in a direction of -45 .. 45 degrees that each frame draws.

    Args:
        cell: a motion_blur.
        video: uint8 (B, C, T, H, W).
        index: int64 (B,), the videos, on the same device.
        view: int64 (B,), which view of each, likewise.
        seed: in [0, 2^64).

    Returns:
        uint8 (B, C, T, H, W), truncated after it was rounded to 16 bits, as ImageMagick 6 does.
    """
    frames = video.shape[2]
    words = rng.words(rng.Stream.CORRUPTION, seed, index, view | address(cell.number), -(-frames // 4)).flatten(1)
    which = rng.below(words[:, :frames], _ANGLES)
    half = round(2**_BITS / 257 / 2)  # of the 257 steps of a level
    return _weigh(video, _trails(*_MOTION[cell.severity - 1], video.device), which, mirror=False, offset=half)


@cache
def _disk(radius: int, smoothing: float, device: torch.device) -> _Taps:
    """A disk of ones that sum to 1, smoothed with 3 x 3 or 5 x 5 taps inside the array that holds it (OpenCV's)."""
    side, reach = max(radius, 8), 1 if radius <= 8 else 2
    line = np.arange(-side, side + 1)
    disk = (line[:, None] ** 2 + line**2 <= radius**2).astype(np.float64)
    disk /= disk.sum()
    bell = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * smoothing**2))
    bell /= bell.sum()
    for axis in (0, 1):
        disk = np.apply_along_axis(lambda row: np.convolve(np.pad(row, reach, "reflect"), bell, "valid"), axis, disk)
    total = round(disk.sum() * 2**_BITS)
    whole = np.round(disk * 2**_BITS).astype(np.int64)
    whole[side, side] += total - whole.sum()
    return _taps(np.argwhere(whole)[None], whole[whole != 0], side, device)


@cache
def _trails(radius: int, deviation: float, device: torch.device) -> _Taps:
    """Half a bell curve of 2 r + 1 taps along a line, one pixel apart, at each angle.

    Source: ImageMagick 6, ``MotionBlurImageChannel`` in ``magick/effect.c``, which the benchmark calls.
    """
    step = np.arange(2 * radius + 1)
    bell = np.exp(-(step**2) / (2 * deviation**2))
    whole = np.round(bell / bell.sum() * 2**_BITS).astype(np.int64)
    whole[0] += 2**_BITS - whole.sum()
    angle = np.radians((np.arange(_ANGLES) + 0.5) * (90 / _ANGLES) - 45)[:, None]
    places = np.stack([np.ceil(step * way - 0.5) for way in (np.sin(angle), np.cos(angle))], axis=-1)
    return _taps(places.astype(np.int64) + 2 * radius, whole, 2 * radius, device)


def _taps(places: NDArray[np.int64], weights: NDArray[np.int64], border: int, device: torch.device) -> _Taps:
    spare = -len(weights) % 4
    places, weights = np.pad(places, ((0, 0), (0, spare), (0, 0))), np.pad(weights, (0, spare))
    return _Taps(torch.from_numpy(places).to(device), torch.from_numpy(weights).to(device), border)


def _weigh(video: Tensor, taps: _Taps, which: Tensor, mirror: bool, offset: int) -> Tensor:
    """Sum shifted copies of every frame.

    Args:
        video: uint8 (B, C, T, H, W).
        taps: the pixels that are summed, and their weights.
        which: int64 (B, T), the set of taps of each frame.
        mirror: what is beyond the border: the frame mirrored about its outermost pixels, or they themselves.
        offset: added to the sum before its 22 bits are cut off.

    Returns:
        uint8 (B, C, T, H, W).
    """
    rows, columns = (_beyond(n, taps.border, mirror, video.device) for n in video.shape[-2:])
    if video.device.type == "cpu":
        out = torch.empty_like(video)
        weights = taps.weights.int().numpy()
        arrays = (t.numpy() for t in (video, rows, columns, taps.places))
        loops_cpu.weigh(*arrays, weights, which.numpy(), np.int32(offset), np.int32(_BITS), out.numpy())
        return out
    return torch.stack(
        [_transform(clip, rows, columns, taps, sets, offset) for clip, sets in zip(video, which, strict=True)]
    )


def _beyond(length: int, border: int, mirror: bool, device: torch.device) -> Tensor:
    """Where each row of a frame with a border comes from, int64 (length + 2 border,)."""
    place = torch.arange(-border, length + border, device=device)
    if not mirror:
        return place.clamp(0, length - 1)
    place = place.remainder(max(2 * length - 2, 1))
    return torch.minimum(place, 2 * length - 2 - place)


def _transform(clip: Tensor, rows: Tensor, columns: Tensor, taps: _Taps, sets: Tensor, offset: int) -> Tensor:
    """The sums of one clip (C, T, H, W) in torch, by Fourier transforms in float64.

    They are whole numbers below 2^31, and so far from the limits of float64 that rounding gives them exactly. 130 MiB
    for 16 frames of 224 px, 200 MiB with the wider border of motion.
    """
    frames, height, width = clip.shape[1:]
    size = [-(-len(places) // 32) * 32 for places in (rows, columns)]  # lengths that transform quickly
    kernels = torch.zeros(frames, size[0] * size[1], dtype=torch.float64, device=clip.device)
    places = taps.places[sets]
    at = places[..., 0] * size[1] + places[..., 1]
    kernels.scatter_add_(1, at, taps.weights.double().expand(frames, -1))  # two taps may fall on one pixel
    padded = clip[..., rows[:, None], columns].double()
    spectrum = torch.fft.rfft2(padded, s=size).mul_(torch.fft.rfft2(kernels.view(-1, *size)).conj())
    sums: Tensor = torch.fft.irfft2(spectrum, s=size)[..., :height, :width].round_().long()
    return (sums.add_(offset) >> _BITS).clamp_(0, 255).to(torch.uint8)


class _Zooms(NamedTuple):
    """How one axis is enlarged, by Z factors: pixel i shows two places, (Z, 2, n), and their weights, float64."""

    places: Tensor
    weights: Tensor


def zoom(cell: Cell, video: Tensor) -> Tensor:
    """The mean of the frame and of itself enlarged about its middle by growing factors.

    Args:
        cell: a zoom_blur.
        video: uint8 (B, C, T, H, W).

    Returns:
        uint8 (B, C, T, H, W), truncated.
    """
    factors = _ZOOM[cell.severity - 1]
    rows, columns = (_zooms(n, factors, video.device) for n in video.shape[-2:])
    levels = _levels(video.device)
    if video.device.type == "cpu":
        out = torch.empty_like(video)
        loops_cpu.zoom(*(t.numpy() for t in (video, levels, *rows, *columns, out)))
        return out
    return torch.stack([_zoom(clip, levels, rows, columns) for clip in video])


@cache
def _levels(device: torch.device) -> Tensor:
    """The levels as shares of white, rounded to float32, float64 (256,)."""
    return (torch.arange(256, dtype=torch.float64) / 255).float().double().to(device)


@cache
def _zooms(length: int, factors: tuple[float, float, float], device: torch.device) -> _Zooms:
    """A centre crop of ceil(n / z) pixels, enlarged by linear interpolation, and its centre, for every factor z.

    Source: ``scipy.ndimage.zoom`` with order 1, as the benchmark uses it. Where rounding takes its last pixel beyond
    the crop's, it is black; the same here.
    """
    places, weights = [], []
    for factor in np.arange(*factors):
        crop = math.ceil(length / factor)
        enlarged = round(crop * float(factor))
        first, trim = (length - crop) // 2, (enlarged - length) // 2
        at = np.arange(trim, trim + length) * ((crop - 1) / max(enlarged - 1, 1))
        share = at - np.floor(at)
        places.append(first + np.minimum(np.stack([np.floor(at), np.floor(at) + 1]), crop - 1))
        weights.append(np.stack([1 - share, share]) * (at <= crop - 1))
    return _Zooms(torch.from_numpy(np.stack(places)).long().to(device), torch.from_numpy(np.stack(weights)).to(device))


def _zoom(clip: Tensor, levels: Tensor, rows: _Zooms, columns: _Zooms) -> Tensor:
    """One clip (C, T, H, W) in torch; about 100 MiB for 16 frames of 224 px."""
    share = levels[clip.int()]
    total = torch.zeros_like(share, dtype=torch.float32)
    for (above, below), (upper, lower), (left, right), (nearer, farther) in zip(*rows, *columns, strict=True):
        tall = share.index_select(-2, above) * upper[:, None] + share.index_select(-2, below) * lower[:, None]
        total += (tall.index_select(-1, left) * nearer + tall.index_select(-1, right) * farther).float()
    # A tensor, as to divide by a number on a GPU is to multiply by its inverse, which rounds differently.
    mean = (share.float() + total) / torch.full_like(total, len(rows.places) + 1)
    return (mean.clamp_(max=1) * 255).to(torch.uint8)
