"""Which frames of a video make a clip, and which squares of a frame are tested: pure functions of its size.

In all of them T is the number of frames in the video, ``num_frames`` n that of the clip, ``stride`` r
("sampling rate") and S = n r. Frame numbers start at 0.

Source: the behaviour of the released VideoMAE (Tong et al., NeurIPS 2022) and, for :func:`centre_frames`,
VideoMAE v2 (Wang et al., CVPR 2023). Where a video is shorter than the clip, frames are repeated.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vsr.errors import InputError

Frames = NDArray[np.int64]


def train_frames(length: int, word: int, num_frames: int = 16, stride: int = 4) -> Frames:
    """A random clip for fine-tuning.

    Convention: end is uniform in S .. T-1, so the last possible window is never drawn; n frames are spread
    evenly from end - S to end, which makes the true step S / (n - 1), 4.27 for r = 4. Both as released.

    Args:
        length: T.
        word: uniform 32-bit word, from ``Stream.FRAMES``.
        num_frames: n.
        stride: r, frames.

    Returns:
        int64 (n,), ascending.
    """
    span = _span(length, num_frames, stride)
    if length <= span:
        return _whole(length, num_frames, stride)
    return _window(span + (word * (length - span) >> 32), num_frames, stride)


def centre_frames(length: int, num_frames: int = 16, stride: int = 4) -> Frames:
    """The clip in the middle, for validation: the window of :func:`train_frames` with end = (S + T) // 2.

    Convention: VideoMAE v2's. Version 1 validates on random windows, which can't be repeated.

    Returns:
        int64 (n,), ascending.
    """
    span = _span(length, num_frames, stride)
    if length <= span:
        return _whole(length, num_frames, stride)
    return _window((span + length) // 2, num_frames, stride)


def pretrain_frames(length: int, word: int, num_frames: int = 16, stride: int = 4) -> Frames:
    """A random clip for pre-training: true steps of r; where the video ends, the last frame reached repeats.

    Convention: a step is taken while i + 1 + r < T, so a last frame at T - 1 isn't reached. As released.

    Args:
        length: T.
        word: uniform 32-bit word, from ``Stream.FRAMES``.
        num_frames: n.
        stride: r, frames.

    Returns:
        int64 (n,), ascending.
    """
    start = word * max(length - _span(length, num_frames, stride) + 1, 1) >> 32
    steps = np.minimum(np.arange(num_frames), max((length - 2 - start) // stride, 0))
    return start + stride * steps


def sampled_frames(length: int, num_frames: int = 16, stride: int = 4) -> Frames:
    """The frames of a video that testing can show: 0, r, 2r, … < T, the last repeated up to n.

    Args:
        length: T.
        num_frames: n.
        stride: r, frames.

    Returns:
        int64 (N,), N >= n, ascending.
    """
    _span(length, num_frames, stride)
    every = np.arange(0, length, stride)
    return np.pad(every, (0, max(num_frames - len(every), 0)), mode="edge")


def view_frames(length: int, views: int, num_frames: int = 16, stride: int = 4) -> Frames:
    """The temporal views of a video for testing, spread evenly from its start to its end.

    With L = :func:`sampled_frames` and N = len(L): view c holds the n elements of L from int(c (N - n) / (views - 1)).
    Views of a short video may be equal: the mean over them doesn't change if each is computed once.

    Args:
        length: T.
        views: temporal views; one is the middle (released code divides by zero there).
        num_frames: n.
        stride: r, frames.

    Returns:
        int64 (views, n), each row ascending.
    """
    if views < 1:
        raise InputError(f"views {views} is not a positive number: give 1 or more")
    every = sampled_frames(length, num_frames, stride)
    spare = len(every) - num_frames
    starts = [int(c * (spare / (views - 1))) for c in range(views)] if views > 1 else [spare // 2]
    return np.stack([every[start : start + num_frames] for start in starts])


def crop_offsets(height: int, width: int, size: int, crops: int) -> list[int]:
    """The spatial views of a video for testing: squares spread evenly along the longer side, from end to end.

    The short side is resized to ``size`` and the longer one to L = int(size * long / short). Square s begins at int(s
    (L - size) / (crops - 1)). In square videos all are equal.

    Args:
        height: of the frames, px.
        width: of the frames, px.
        size: side of the squares, px.
        crops: how many; one is the middle (released code divides by zero there).

    Returns:
        Where each begins along the longer side, px after resizing.
    """
    if crops < 1:
        raise InputError(f"crops {crops} is not a positive number: give 1 or more")
    spare = int(size * max(height, width) / min(height, width)) - size
    return [int(s * (spare / (crops - 1))) for s in range(crops)] if crops > 1 else [round(spare / 2)]


def distinct_views(starts: Sequence[int], offsets: Sequence[int]) -> list[tuple[int, int, float]]:
    """The views of a video that differ, each with its weight: a view that equals an earlier one only adds to that.

    Args:
        starts: of each segment, where it begins in time; equal ones show the same frames.
        offsets: of each crop, where it begins along the longer side.

    Returns:
        (segment, crop, weight) of each, segments first; the weights sum to 1.
    """
    every = len(starts) * len(offsets)
    return [
        (s, c, starts.count(start) * offsets.count(offset) / every)
        for s, start in enumerate(starts) if starts.index(start) == s
        for c, offset in enumerate(offsets) if offsets.index(offset) == c
    ]  # fmt: skip


def _window(end: int, num_frames: int, stride: int) -> Frames:
    start = end - num_frames * stride
    return np.clip(np.linspace(start, end, num_frames), start, end - 1).astype(np.int64)


def _whole(length: int, num_frames: int, stride: int) -> Frames:
    """A video no longer than the clip: T // r frames spread evenly over it, then the last one repeated."""
    spread = np.linspace(0, length, length // stride)
    padded = np.pad(spread, (0, num_frames - len(spread)), constant_values=length)
    return np.clip(padded, 0, length - 1).astype(np.int64)


def _span(length: int, num_frames: int, stride: int) -> int:
    """S = n r, after checking all three."""
    for name, value in (("length", length), ("num_frames", num_frames), ("stride", stride)):
        if value < 1:
            raise InputError(f"{name} {value} is not a positive number of frames: give 1 or more")
    return num_frames * stride
