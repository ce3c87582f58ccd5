"""Where the frames and clips that are measured come from: the renderer, or a folder of videos."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from vsr.analysis.motion import motion
from vsr.data.decode import VIDEO_ENDINGS, read_frames
from vsr.errors import InputError
from vsr.recipe import Recipe
from vsr.render import drawn_on, render_clips, render_truth
from vsr.rng import Stream, below, permutation, words
from vsr.textures.bank import TextureBank

CLIP = 16
"""Frames of a clip, one after the other."""
SIDE = 256
"""Frames are squares of this side at most, px: the paper's videos."""
SMALLEST = 64
"""Frames of a smaller side, px, have too few rings of spectrum to fit a line through."""
_AT_ONCE = 16  # videos


class Sample(NamedTuple):
    """Some videos of a source.

    Attributes:
        frames: of each video uint8 (F, 3, S, S), RGB, spread over the video.
        clips: of each video that is long enough uint8 (3, CLIP, H, W), where clips were asked for.
        short: videos that are not.
        motion: float64 (B, 6), see :func:`vsr.analysis.motion.motion`, where objects are known.
    """

    frames: list[Tensor]
    clips: list[Tensor]
    short: int
    motion: Tensor | None


class Source(Protocol):
    """Videos to measure.

    Attributes:
        name: of the dataset.
        origin: what it is, in words.
        seed: of the draws: which videos, and which of their frames.
    """

    name: str
    origin: str
    seed: int

    def samples(self, videos: int, frames: int, clips: bool) -> Iterator[Sample]:
        """So many videos in turn, ``frames`` of each, on the device that measures.

        Raises:
            InputError: there are fewer videos, or a video has fewer frames, or can't be read.
        """


class Rendered:
    """The first videos of a recipe, straight from the renderer, uncropped.

    Frames are those of the address ``epoch 0``, a tenth of the shortest video apart where ten are asked for; clips and
    motion those of ``epoch 1``.

    Args:
        recipe: the dataset.
        seed: the data seed.
        device: where to draw and to measure.
        texture_cache: folder that keeps generated textures for the next time.

    Raises:
        InputError: no such device; its textures can't be had.
    """

    def __init__(
        self, recipe: Recipe, seed: int, device: torch.device | str = "cpu", texture_cache: Path | None = None
    ) -> None:
        self.recipe, self.name, self.seed = recipe, recipe.name, seed
        self.device = drawn_on(device)
        self.bank = TextureBank(recipe, seed, self.device, texture_cache) if recipe.textured else None
        pool = f", pool of {recipe.texture_pool:,} textures of {recipe.texture_size} px" if recipe.textured else ""
        self.origin = f"rendered, recipe {recipe.hash}{pool}"

    def samples(self, videos: int, frames: int, clips: bool) -> Iterator[Sample]:
        """As :meth:`Source.samples`."""
        recipe, most = self.recipe, self.recipe.num_videos
        if most is not None and videos > most:
            raise InputError(f"{self.name!r} has {most} videos, {videos} were asked for: give --videos {most}")
        shortest = recipe.duration[0]
        if shortest < max(frames, 2):
            raise InputError(
                f"{self.name!r} has videos of {shortest} frames, too few for {frames} each: give --frames {shortest}"
            )
        draw = partial(render_clips, recipe, self.seed, size=recipe.size, crop=False, device=self.device)
        for first in range(0, videos, _AT_ONCE):
            numbers = range(first, min(first + _AT_ONCE, videos))
            shown = draw(numbers, 0, frames, shortest // frames, bank=self.bank).transpose(1, 2)
            shown = _square(shown.flatten(0, 1), self.name).unflatten(0, (len(numbers), frames))
            fits = clips and shortest >= CLIP
            clip = draw(numbers, 1, CLIP, 1, bank=self.bank).unbind() if fits else ()
            moves = None
            if recipe.num_objects:
                truth = render_truth(
                    recipe, self.seed, numbers, 1, 2, 1, recipe.size, False, device=self.device, bank=self.bank
                )
                moves = motion(truth)
            yield Sample(list(shown.unbind()), list(clip), len(numbers) * (clips and not fits), moves)


class Folder:
    """Videos of a folder, at any depth; which of them, and which frames, follows from the seed.

    Frames are cut to the square in their middle; those with a short side above :data:`SIDE` are made smaller first,
    others are measured at their own resolution.

    Args:
        folder: where the videos are.
        seed: of the choice.
        device: where to measure.

    Raises:
        InputError: no such folder, or no video in it.
    """

    def __init__(self, folder: Path, seed: int, device: torch.device | str = "cpu") -> None:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder: give a folder of videos")
        self.folder, self.seed, self.device = folder, seed, torch.device(device)
        inside = (path for path in folder.rglob("*") if path.suffix.lower() in VIDEO_ENDINGS and path.is_file())
        self.files = sorted(p for p in inside if not any(q.startswith(".") for q in p.relative_to(folder).parts))
        if not self.files:
            raise InputError(f"{folder} has no videos: give a folder with files that end in {', '.join(VIDEO_ENDINGS)}")
        self.name = folder.resolve().name
        self.origin = f"{folder}, folder of {len(self.files):,} videos"

    def samples(self, videos: int, frames: int, clips: bool) -> Iterator[Sample]:
        """As :meth:`Source.samples`. A video with fewer frames than a clip is counted as short and has no clip."""
        if videos > len(self.files):
            raise InputError(
                f"{self.folder} has {len(self.files)} videos, {videos} were asked for: give --videos {len(self.files)}"
            )
        chosen = permutation(self.seed, 0, len(self.files))[:videos].tolist()
        read = partial(self._read, frames=frames, clips=clips)
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        with ThreadPoolExecutor(workers) as pool:
            # The next videos are read while these are measured; all at once wouldn't fit in memory.
            ahead = [pool.submit(read, number) for number in chosen[:_AT_ONCE]]
            for first in range(_AT_ONCE, videos + _AT_ONCE, _AT_ONCE):
                now, ahead = ahead, [pool.submit(read, number) for number in chosen[first : first + _AT_ONCE]]
                done = [future.result() for future in now]
                clip = [clip for _, clip in done if clip is not None]
                yield Sample([shown for shown, _ in done], clip, (len(done) - len(clip)) * clips, None)

    def _read(self, number: int, frames: int, clips: bool) -> tuple[Tensor, Tensor | None]:
        """Frames and clip of a video."""
        path = self.files[number]
        word = words(Stream.FRAMES, self.seed, torch.tensor([number]), elements=-(-(frames + 1) // 4)).flatten()
        long = False

        def pick(count: int) -> NDArray[np.int64]:
            nonlocal long
            if count < frames:
                raise InputError(f"{path} has {count} frames, {frames} were asked for: give --frames {max(count, 1)}")
            # One frame of each of so many equal parts, and then the clip.
            ends = torch.arange(frames + 1) * count // frames
            spread = ends[:-1] + below(word[:frames], ends[1:] - ends[:-1])
            long = clips and count >= CLIP
            start = below(word[frames], max(count - CLIP, 0) + 1)
            clip = start + torch.arange(CLIP if long else 0)
            return torch.cat((spread, clip)).numpy()

        pixels = torch.from_numpy(read_frames(path, pick)).permute(0, 3, 1, 2).to(self.device)
        return _square(pixels[:frames], str(path)), pixels[frames:].transpose(0, 1) if long else None


def _square(frames: Tensor, place: str) -> Tensor:
    """The middle of frames (F, 3, H, W), made smaller where they are large: (F, 3, S, S)."""
    short = min(frames.shape[2:])
    if short < SMALLEST:
        raise InputError(
            f"{place} has frames of {frames.shape[3]} x {frames.shape[2]} px: statistics need {SMALLEST} or more, give "
            "larger videos"
        )
    side = min(short, SIDE)
    if short > SIDE:
        frames = tv.resize(frames, [SIDE], antialias=True)
    cut: Tensor = tv.center_crop(frames, [side, side])
    return cut
