"""RandAugment of uint8 clips, on the device they are on: the same operations on every frame.

What is done to a clip follows from random words, so from its address. Operations and their ranges are those of timm's
``rand-m{magnitude}-n4-mstd0.5-inc1``, which VideoMAE uses: 4 of the 15 "increasing" operations, with replacement, each
applied half the time. timm works on PIL images; ours differ from it by a few levels (rounding, and another cubic).

Source: Cubuk et al., "RandAugment", NeurIPS 2020; timm, ``timm/data/auto_augment.py``.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as nn
from torchvision.transforms.v2 import functional as F

from vsr import rng

DRAWN = 4
"""Operations drawn for a clip."""

_APPLIED = 0.5  # probability of each
_SPREAD = 0.5  # standard deviation of the magnitude
_MOST = 10.0  # magnitudes are 0 .. 10
_FILL = 128  # level of what comes from outside the frame


class Operation(NamedTuple):
    """One operation on a clip.

    Attributes:
        name: one of :data:`OPERATIONS`.
        magnitude: how strong, -10 .. 10. The sign says which way, for those that have two.
    """

    name: str
    magnitude: float


def drawn_operations(words: Tensor, magnitude: float) -> tuple[Operation, ...]:
    """What is done to a clip: operations drawn uniformly, with normal magnitudes.

    Args:
        words: int64 (DRAWN, 4) from ``Stream.RAND_AUGMENT``, on the CPU: which, whether, magnitude, which way.
        magnitude: mean of the magnitudes, 0 .. 10. Their standard deviation is 0.5; they are clipped to 0 .. 10.

    Returns:
        Those that are applied, in their order.
    """
    names = list(OPERATIONS)
    normal = torch.special.ndtri(rng.uniform(words[:, 2]))  # -inf at 0, which is clipped
    strength = (magnitude + _SPREAD * normal).clamp(0, _MOST)
    signed = torch.where(rng.uniform(words[:, 3]) < 0.5, strength, -strength)
    which, applied = rng.below(words[:, 0], len(names)), rng.uniform(words[:, 1]) < _APPLIED
    chosen = zip(which.tolist(), signed.tolist(), applied.tolist(), strict=True)
    return tuple(Operation(names[i], m) for i, m, use in chosen if use)


def rand_augment(video: Tensor, operations: tuple[Operation, ...]) -> Tensor:
    """The clip after some operations, one after another, each the same on every frame.

    What an operation measures (the darkest and brightest level, the histogram, the mean) it measures in each frame, as
    VideoMAE does. Nothing waits for the device.

    Args:
        video: uint8 (C, T, H, W), RGB.
        operations: see :func:`drawn_operations`.

    Returns:
        uint8 (C, T, H, W).
    """
    frames = video.transpose(0, 1)
    for operation in operations:
        frames = OPERATIONS[operation.name](frames, operation.magnitude)
        assert frames.dtype == torch.uint8, operation
    return frames.transpose(0, 1)


# Each takes frames, uint8 (T, C, H, W), and a magnitude, -10 .. 10. Numbers that an operation needs stay numbers: to
# make a tensor of them on a CUDA device, as torchvision does to warp and to sharpen, is to wait for it.


def _rotate(frames: Tensor, magnitude: float) -> Tensor:
    """Counter-clockwise about the centre, up to 30 degrees."""
    angle = math.radians(30 * magnitude / _MOST)
    cos, sin = math.cos(angle), math.sin(angle)
    y, x = (side / 2 for side in frames.shape[-2:])
    return _warp(frames, (cos, -sin, x - cos * x + sin * y), (sin, cos, y - sin * x - cos * y))


def _shear_x(frames: Tensor, magnitude: float) -> Tensor:
    return _warp(frames, (1, 0.3 * magnitude / _MOST, 0), (0, 1, 0))


def _shear_y(frames: Tensor, magnitude: float) -> Tensor:
    return _warp(frames, (1, 0, 0), (0.3 * magnitude / _MOST, 1, 0))


def _translate_x(frames: Tensor, magnitude: float) -> Tensor:
    return _warp(frames, (1, 0, 0.45 * magnitude / _MOST * frames.shape[-1]), (0, 1, 0))


def _translate_y(frames: Tensor, magnitude: float) -> Tensor:
    return _warp(frames, (1, 0, 0), (0, 1, 0.45 * magnitude / _MOST * frames.shape[-2]))


def _posterize(frames: Tensor, magnitude: float) -> Tensor:
    """Keep the upper 4 .. 1 bits. timm goes to 0 at magnitude 10: black, or an error with newer releases of Pillow."""
    bits = max(1, 4 - int(abs(magnitude) / _MOST * 4))
    return frames & (256 - (1 << 8 - bits))


def _solarize(frames: Tensor, magnitude: float) -> Tensor:
    """Invert the levels from 256 .. 0 upwards."""
    threshold = 256 - int(abs(magnitude) / _MOST * 256)
    return torch.where(frames.short() >= threshold, 255 - frames, frames)  # 256 is no uint8


def _solarize_add(frames: Tensor, magnitude: float) -> Tensor:
    """Add 0 .. 110 to the levels below 128."""
    return torch.where(frames < 128, frames + int(abs(magnitude) / _MOST * 110), frames)


def _factor(magnitude: float) -> float:
    """Of colour, contrast, brightness or sharpness: 1 changes nothing, 0.1 and 1.9 are the extremes."""
    return 1 + 0.9 * magnitude / _MOST


def _sharpen(frames: Tensor, magnitude: float) -> Tensor:
    """Blend with what PIL's ``SMOOTH`` makes of the frames; it leaves their borders as they are."""
    if min(frames.shape[-2:]) < 3:
        return frames
    sharp = frames.float()
    smooth = sharp.clone()
    smooth[..., 1:-1, 1:-1] = ((9 * nn.avg_pool2d(sharp, 3, 1) + 4 * sharp[..., 1:-1, 1:-1]) / 13).round()
    return (smooth + _factor(magnitude) * (sharp - smooth)).clamp_(0, 255).to(torch.uint8)


def _warp(frames: Tensor, x_row: tuple[float, float, float], y_row: tuple[float, float, float]) -> Tensor:
    """Frames read elsewhere, bicubic; grey where that is outside.

    Convention: rows are those of ``source_from_result``, in px; the upper left corner of the frame is (0, 0), the
    centre of its first pixel (0.5, 0.5).
    """
    height, width = frames.shape[-2:]
    y = (torch.arange(height, device=frames.device) + 0.5)[:, None]
    x = torch.arange(width, device=frames.device) + 0.5
    source_x, source_y = (a * x + b * y + c for a, b, c in (x_row, y_row))
    inside = (source_x >= 0) & (source_x < width) & (source_y >= 0) & (source_y < height)
    grid = torch.stack((2 * source_x / width - 1, 2 * source_y / height - 1), dim=-1).expand(len(frames), -1, -1, -1)
    read = nn.grid_sample(frames.float(), grid, mode="bicubic", padding_mode="border", align_corners=False)
    return read.round_().clamp_(0, 255).to(torch.uint8).masked_fill_(~inside, _FILL)


OPERATIONS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "AutoContrast": lambda frames, _: F.autocontrast(frames),
    "Equalize": lambda frames, _: F.equalize(frames),
    "Invert": lambda frames, _: 255 - frames,
    "Rotate": _rotate,
    "PosterizeIncreasing": _posterize,
    "SolarizeIncreasing": _solarize,
    "SolarizeAdd": _solarize_add,
    "ColorIncreasing": lambda frames, magnitude: F.adjust_saturation(frames, _factor(magnitude)),
    "ContrastIncreasing": lambda frames, magnitude: F.adjust_contrast(frames, _factor(magnitude)),
    "BrightnessIncreasing": lambda frames, magnitude: F.adjust_brightness(frames, _factor(magnitude)),
    "SharpnessIncreasing": _sharpen,
    "ShearX": _shear_x,
    "ShearY": _shear_y,
    "TranslateXRel": _translate_x,
    "TranslateYRel": _translate_y,
}
"""By timm's names, on frames uint8 (T, C, H, W); their order is part of every draw."""
