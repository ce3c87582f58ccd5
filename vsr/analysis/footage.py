"""What networks are shown: the videos of a folder, a file, or those of a dataset by their address."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vsr.data.augment import Box, resize_centre_crop, resized_crop
from vsr.data.decode import VIDEO_ENDINGS, measure, read_frames
from vsr.data.sampling import centre_frames
from vsr.errors import InputError
from vsr.recipe import Recipe
from vsr.render import render_clips, render_video

_RATE = 25  # frames per second, where a file doesn't say


@dataclass(frozen=True)
class Address:
    """Names a video of a dataset.

    Attributes:
        recipe: the dataset.
        seed: the data seed.
        index: which video.
    """

    recipe: Recipe
    seed: int
    index: int

    def __str__(self) -> str:
        """For people."""
        return f"{self.recipe.name}, seed {self.seed}, index {self.index}"


Footage = Path | Address


class Excerpt(NamedTuple):
    """Frames of a video, one after the other.

    Attributes:
        frames: uint8 (T, H, W, C), RGB.
        first: number of the first in the video.
        fps: frames per second.
    """

    frames: NDArray[np.uint8]
    first: int
    fps: float


def find_videos(place: Path, most: int) -> list[Path]:
    """A video file, or those that stand in a folder; of many, ``most``, evenly spaced by name.

    Raises:
        InputError: there is no such place, or no video in it.
    """
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise InputError(f"{place}: no such file or folder: give a video, or the folder of one class's videos")
    inside = sorted(path for path in place.iterdir() if not path.name.startswith("."))
    found = [path for path in inside if path.suffix.lower() in VIDEO_ENDINGS]
    if not found:
        folders = [path.name for path in inside if path.is_dir()]
        holds = f"holds folders, first {folders[0]}, and no videos" if folders else "holds no videos"
        raise InputError(
            f"{place} {holds}: give the folder of one class's videos, files that end in {', '.join(VIDEO_ENDINGS)}"
        )
    return [found[n] for n in spread(len(found), most)]


def spread(count: int, most: int) -> list[int]:
    """Up to ``most`` of the numbers 0 .. count - 1, evenly spaced: the first of each of so many equal parts."""
    return [n * count // min(count, most) for n in range(min(count, most))]


def middle(source: Footage, most: int) -> Excerpt:
    """The whole video, or of a longer one the ``most`` frames in its middle.

    Raises:
        InputError: a file can't be read, or every one of these frames is of one colour.
    """
    if isinstance(source, Address):
        video = render_video(source.recipe, source.seed, source.index).numpy()
        wanted = _middle(len(video), most)
        excerpt = Excerpt(video[wanted], int(wanted[0]), _RATE)
    else:
        count, _, _, fps = measure(source)
        wanted = _middle(count, most)
        excerpt = Excerpt(read_frames(source, lambda _: wanted, count), int(wanted[0]), fps or _RATE)
    if (excerpt.frames == excerpt.frames[:, :1, :1]).all():
        last = excerpt.first + len(excerpt.frames) - 1
        raise InputError(
            f"{source}: each of the frames {excerpt.first} .. {last} is of one colour, which shows nothing: give "
            "another video"
        )
    return excerpt


def _middle(count: int, most: int) -> NDArray[np.int64]:
    return np.arange(min(count, most)) + max(count - most, 0) // 2


def squashed(frames: NDArray[np.uint8], size: int) -> Tensor:
    """Whole frames (T, H, W, C) as squares, whatever their shape: uint8 (C, T, size, size)."""
    video = torch.from_numpy(frames).permute(3, 0, 1, 2)
    return resized_crop(video, Box(0, 0, *frames.shape[1:3]), size)


def clip(source: Footage, epoch: int, num_frames: int, stride: int, size: int) -> Tensor:
    """A clip as training sees it of a dataset, as validation sees it of a file (its middle).

    Returns:
        uint8 (C, T, size, size).

    Raises:
        InputError: a file can't be read, or there is no such clip of the dataset.
    """
    if isinstance(source, Address):
        return render_clips(source.recipe, source.seed, [source.index], epoch, num_frames, stride, size)[0]
    frames = read_frames(source, lambda count: centre_frames(count, num_frames, stride))
    return resize_centre_crop(torch.from_numpy(frames).permute(3, 0, 1, 2), size)
