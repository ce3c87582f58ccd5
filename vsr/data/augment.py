"""Random crops, flips, erased boxes and test crops of uint8 clips, on the device they are on.

One draw per clip: every frame is cropped and flipped alike. Where a crop lies follows from random words, not
from a generator's state, so it follows from the clip's address.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from vsr import geometry, rng

ATTEMPTS = 10
"""Random boxes tried for a crop before the largest that has an allowed aspect ratio is taken."""

_AREA, _RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
_ERASED_AREA, _ERASED_RATIO = (0.02, 1 / 3), (0.3, 1 / 0.3)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, which the models normalise with


class Box(NamedTuple):
    """A rectangle of pixels, all in px."""

    top: int
    left: int
    height: int
    width: int


def crop_box(height: int, width: int, words: Tensor) -> Box:
    """Where a random resized crop lies: area uniform in 0.08 .. 1, aspect ratio log-uniform in 3/4 .. 4/3.

    Args:
        height: of the frames, px.
        width: of the frames, px.
        words: int64 (attempts, 4) from ``Stream.RESIZED_CROP``: area, ratio, top, left. The first attempt
            whose box fits is taken; where none does, the largest central box with a ratio in range.

    Returns:
        A box within the frame.

    Source: ``torchvision.transforms.RandomResizedCrop.get_params``; Szegedy et al., CVPR 2015.
    """
    low, high = (math.log(ratio) for ratio in _RATIO)
    for attempt in words:
        area_share, ratio_share = rng.uniform(attempt[:2]).tolist()
        area = height * width * (_AREA[0] + (_AREA[1] - _AREA[0]) * area_share)
        ratio = math.exp(low + (high - low) * ratio_share)
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top, left = int(rng.below(attempt[2], height - h + 1)), int(rng.below(attempt[3], width - w + 1))
            return Box(top, left, h, w)
    h = min(height, round(width / _RATIO[0]))
    w = min(width, round(height * _RATIO[1]))
    return Box((height - h) // 2, (width - w) // 2, h, w)


def multi_scale_box(height: int, width: int, size: int, word: Tensor) -> Box:
    """Where a crop for pre-training lies: one of the boxes of :func:`vsr.geometry.crop_boxes`.

    Frames whose short side is less than ``size`` are never left: the release's boxes may pass their edge by 2 px there,
    which shows black.

    Args:
        height: of the frames, px.
        width: of the frames, px.
        size: side of the crop when it has been resized, px.
        word: int64 (4,) from ``Stream.CLIP``: words 1 and 2 are the box's size and place.

    Returns:
        A box within the frame.

    Source: VideoMAE's MultiScaleCrop; Wang et al., "Temporal Segment Networks", ECCV 2016.
    """
    boxes = geometry.crop_boxes((height, width), min(height, width, size))
    left, top, w, h = boxes[rng.below(word[1], boxes.shape[0]), rng.below(word[2], boxes.shape[1])].int().tolist()
    return Box(top, left, h, w)


def resized_crop(video: Tensor, box: Box, size: int) -> Tensor:
    """A box of every frame, resized to a square: bilinear without antialiasing, as VideoMAE does.

    Args:
        video: uint8 (C, T, H, W).
        box: within the frame.
        size: side of the result, px.

    Returns:
        uint8 (C, T, size, size).
    """
    frames = F.resized_crop(video.transpose(0, 1), *box, [size, size], InterpolationMode.BILINEAR, antialias=False)
    return _uint8(frames).transpose(0, 1)


def random_resized_crop(video: Tensor, size: int, words: Tensor) -> Tensor:
    """A random box of the clip, the same in every frame, resized to a square.

    Args:
        video: uint8 (C, T, H, W).
        size: side of the result, px.
        words: int64 (attempts, 4) from ``Stream.RESIZED_CROP``, best on the CPU; see :func:`crop_box`.

    Returns:
        uint8 (C, T, size, size).
    """
    return resized_crop(video, crop_box(video.shape[-2], video.shape[-1], words), size)


def flip(video: Tensor) -> Tensor:
    """The mirrored clip, left to right: (..., W)."""
    return video.flip(-1)


def erased_box(height: int, width: int, words: Tensor, share: float) -> Box | None:
    """Where a clip is erased: area uniform in 0.02 .. 1/3, ratio of height to width log-uniform in 0.3 .. 1/0.3.

    Args:
        height: of the frames, px.
        width: of the frames, px.
        words: int64 (1 + attempts, 4) from ``Stream.ERASING``, best on the CPU: whether; then area, ratio, top, left.
            The first attempt whose box is smaller than the frame is taken.
        share: of the clips that are erased, 0 .. 1.

    Returns:
        A box within the frame; None: nothing is erased.

    Source: Zhong et al., "Random erasing data augmentation", AAAI 2020; ``timm/data/random_erasing.py``.
    """
    if rng.uniform(words[0, 0]) >= share:
        return None
    low, high = (math.log(ratio) for ratio in _ERASED_RATIO)
    for attempt in words[1:]:
        area_share, ratio_share = rng.uniform(attempt[:2]).tolist()
        area = height * width * (_ERASED_AREA[0] + (_ERASED_AREA[1] - _ERASED_AREA[0]) * area_share)
        ratio = math.exp(low + (high - low) * ratio_share)
        h, w = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < h < height and 0 < w < width:
            top, left = int(rng.below(attempt[2], height - h + 1)), int(rng.below(attempt[3], width - w + 1))
            return Box(top, left, h, w)
    return None


def erase(video: Tensor, box: Box, seed: int, index: Tensor, epoch: Tensor, number: int = 0) -> Tensor:
    """Noise in the place of a box, the same in every frame: normal, with mean 0 and variance 1 once normalised.

    VideoMAE erases what is normalised already. Our clips are normalised in the model, so the noise is rounded to uint8
    and clipped to what uint8 can hold: -2.12 .. 2.25 for red once normalised, -2.04 .. 2.43 green, -1.80 .. 2.64 blue.

    Args:
        video: uint8 (3, T, H, W), RGB.
        box: within the frame.
        seed: in [0, 2^64).
        index: int64 (1,), with ``epoch`` and ``number`` the clip's address; on the video's device, as to copy it there
            is to wait.
        epoch: int64 (1,).
        number: which view of the video (``num_sample``).

    Returns:
        uint8 (3, T, H, W).
    """
    channels, _, height, width = video.shape
    blocks = -(-channels * height * width // 4)
    words = rng.words(rng.Stream.ERASING_NOISE, seed, index, epoch, blocks * (number + 1))[0, -blocks:]
    noise = rng.normal(words.flatten())[: channels * height * width].view(channels, 1, height, width)
    rows, columns = slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
    erased = video.clone()
    for c, (mean, std) in enumerate(zip(_MEAN, _STD, strict=True)):
        levels = (255 * (mean + std * noise[c, :, rows, columns])).round_().clamp_(0, 255)
        erased[c, :, rows, columns] = levels.to(torch.uint8)
    return erased


def resize_centre_crop(video: Tensor, size: int) -> Tensor:
    """The square in the middle, for validation: short side to ``size`` (bilinear, not antialiased), cropped.

    Args:
        video: uint8 (C, T, H, W).
        size: side of the result, px.

    Returns:
        uint8 (C, T, size, size).
    """
    frames = F.resize(video.transpose(0, 1), [size], InterpolationMode.BILINEAR, antialias=False)
    return _uint8(F.center_crop(frames, [size, size])).transpose(0, 1)


def _uint8(frames: Tensor) -> Tensor:
    assert frames.dtype == torch.uint8, frames.dtype
    return frames
