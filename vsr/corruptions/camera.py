"""Translation and rotation, as Pillow does them: nearest pixel, black outside, in 16.16 fixed point.

Integers only once the matrices are made, which are made on the CPU for every angle: the same on every device.
"""

import math
from functools import cache

import torch
from torch import Tensor

from vsr import rng
from vsr.corruptions import Cell, address, loops_cpu

_TRANSLATION = 8
"""Per severity: offsets are less, px."""
_STATIC = (7.5, 15.0, 30.0, 45.0, 90.0)
"""Degrees, counter-clockwise."""

_CLIPS = 4  # looked up together on a GPU: 10 bytes for each value


def move(cell: Cell, video: Tensor, index: Tensor, view: Tensor, seed: int) -> Tensor:
    """Show the clip through a camera that is out of place, or turns.

    ``translate`` draws one offset for a clip, 0 .. 8 s - 1 px down and as many to the right, and what it uncovers below
    and on the right is black. ``rotate`` draws a whole angle for every frame, ``static_rotate`` has one for all.

    Args:
        cell: translate, rotate or static_rotate.
        video: uint8 (B, C, T, H, W).
        index: int64 (B,), the videos, on the same device.
        view: int64 (B,), which view of each, likewise.
        seed: in [0, 2^64).

    Returns:
        uint8 (B, C, T, H, W).
    """
    clips, frames, height, width = (video.shape[i] for i in (0, 2, 3, 4))
    words = rng.words(rng.Stream.CORRUPTION, seed, index, view | address(cell.number), -(-frames // 4)).flatten(1)
    degrees: tuple[float, ...]
    if cell.perturbation == "translate":
        down, right = rng.below(words[:, :2], _TRANSLATION * cell.severity).unbind(1)
        one, none = torch.full_like(down, 1 << 16), torch.zeros_like(down)
        affine = torch.stack((one, none, right << 16, none, one, down << 16), dim=-1)[:, None].expand(-1, frames, -1)
    elif cell.perturbation == "static_rotate":
        degrees = (_STATIC[cell.severity - 1],)
        affine = _rotations(degrees, height, width, video.device).expand(clips, frames, -1)
    else:
        most = 6 * cell.severity + 1
        degrees = tuple(float(d) for d in range(-most, most + 1))
        affine = _rotations(degrees, height, width, video.device)[rng.below(words[:, :frames], len(degrees))]
    return warp(video, affine)


@cache
def _rotations(degrees: tuple[float, ...], height: int, width: int, device: torch.device) -> Tensor:
    """Fixed-point maps about the frame's middle, int64 (N, 6), as ``PIL.Image.rotate`` makes them."""
    maps = []
    for angle in degrees:
        cos, sin = (round(f(-math.radians(angle)), 15) for f in (math.cos, math.sin))
        x0 = width / 2 - (cos * (width / 2) + sin * (height / 2))
        y0 = height / 2 - (-sin * (width / 2) + cos * (height / 2))
        exact = (cos, sin, x0 + cos * 0.5 + sin * 0.5, -sin, cos, y0 - sin * 0.5 + cos * 0.5)
        maps.append([math.floor(value * 65536 + 0.5) for value in exact])
    return torch.tensor(maps).to(device)


def warp(video: Tensor, affine: Tensor) -> Tensor:
    """Look up every pixel where its map says, black outside the frame.

    Args:
        video: uint8 (B, C, T, H, W).
        affine: int64 (B, T, 6), on the same device: pixel (i, j) shows the one at column (m0 j + m1 i + m2) >> 16 and
            row (m3 j + m4 i + m5) >> 16.

    Returns:
        uint8 (B, C, T, H, W).
    """
    if video.device.type == "cpu":
        out = torch.empty_like(video)
        loops_cpu.warp(video.flatten(-2).numpy(), affine.numpy(), out.numpy())
        return out
    some = zip(video.split(_CLIPS), affine.split(_CLIPS), strict=True)
    return torch.cat([_look_up(clips, maps) for clips, maps in some])


def _look_up(video: Tensor, affine: Tensor) -> Tensor:
    """The same in torch."""
    height, width = video.shape[-2:]
    i, j = torch.arange(height, device=video.device)[:, None], torch.arange(width, device=video.device)
    m = affine[..., None, None].unbind(2)
    x, y = (m[0] * j + m[1] * i + m[2]) >> 16, (m[3] * j + m[4] * i + m[5]) >> 16
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    place = torch.where(inside, y * width + x, 0).flatten(2)[:, None].expand(-1, video.shape[1], -1, -1)
    return video.flatten(-2).gather(-1, place).view_as(video) * inside[:, None]
