"""Decoded clips of natural videos: what a loader's processes read and draw, and what the device makes of it."""

import gc
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Literal, NamedTuple, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from vsr import rng, signals
from vsr.data.augment import ATTEMPTS, Box, crop_box, erase, erased_box, flip, multi_scale_box, resized_crop
from vsr.data.batches import Visits
from vsr.data.decode import read_frames
from vsr.data.lists import Item
from vsr.data.randaugment import DRAWN, Operation, drawn_operations, rand_augment
from vsr.data.sampling import centre_frames, crop_offsets, distinct_views, pretrain_frames, train_frames, view_frames
from vsr.errors import InputError

logger = logging.getLogger(__name__)

Use = Literal["pretrain", "train", "probe", "val", "test"]
"""What clips are for; ``pretrain``, ``train`` and ``probe`` show the training list, ``train`` is fine-tuning."""

TRAINING: tuple[Use, ...] = ("pretrain", "train", "probe")


class View(NamedTuple):
    """A clip to be made of a video's decoded frames.

    Attributes:
        first: frames ``first`` .. ``first`` + T - 1 of those decoded are shown.
        box: what is seen of them; None: a square of the short side's length.
        offset: without a box: where the square begins along the longer side, px after resizing the short side.
        mirrored: whether to flip.
        number: which view of the video: 0, 1, … in training (``num_sample``), segment * crops + crop in testing.
        weight: its share of the video, 1 where there is one view. Equal views are one, with their weights' sum.
        operations: of RandAugment, done to the frames before they are cropped.
        erased: what is erased of the finished clip.
    """

    first: int = 0
    box: Box | None = None
    offset: int = 0
    mirrored: bool = False
    number: int = 0
    weight: float = 1.0
    operations: tuple[Operation, ...] = ()
    erased: Box | None = None


class Sample(TypedDict):
    """One decoded video; ``video`` is uint8 (C, frames, H, W), and empty if none could be read."""

    video: Tensor
    index: int
    epoch: int
    label: int
    views: list[View]
    unreadable: dict[str, str]


class DecodedBatch(TypedDict):
    """What the loader carries: decoded videos, of different sizes, and what is to be done with them.

    Attributes:
        video: the videos, uint8 (C, frames, H, W).
        views: of each video.
        index, epoch, label, view: int64 (B,), of every view of every video; B views in all.
        weight: float32 (B,).
        unreadable: path to what is wrong with it. A field and not an exception, since the error of a worker
            process arrives with that process's traceback for a message.
        use: what the clips are for.
    """

    video: list[Tensor]
    views: list[list[View]]
    index: Tensor
    epoch: Tensor
    label: Tensor
    view: Tensor
    weight: Tensor
    unreadable: dict[str, str]
    use: Use


class Clips(Dataset[Sample]):
    """Sample number n to a decoded video; works in any process.

    Clips for training are drawn at ``(seed, index, epoch)`` and come in random order. ``pretrain``: frames by
    :func:`~vsr.data.sampling.pretrain_frames`, seen through :func:`~vsr.data.augment.multi_scale_box`. ``train``: by
    :func:`~vsr.data.sampling.train_frames` and :func:`~vsr.data.augment.crop_box`, flipped half the time, with
    RandAugment and erasing; of each ``num_sample`` views with the same frames. ``probe``: the central clip, the same in
    every epoch, only the order is drawn. ``val``: likewise the central clip. ``test``: the views of
    :func:`~vsr.data.sampling.view_frames` and :func:`~vsr.data.sampling.crop_offsets`, equal ones once. The latter two
    come in order.

    Args:
        items: the videos.
        use: what the clips are for.
        seed: the data seed.
        num_frames: T of a clip.
        stride: frames of the video from one of the clip to the next.
        size: H = W of the clips they will become, px.
        spare: how many unreadable videos may be passed over for one sample before it is left empty.
        num_sample: ``train``: views of a video.
        segments: ``test``: clips along a video.
        crops: ``test``: squares along the longer side.
        random: ``val``: a random clip, drawn at epoch 0, in the place of the central one.
        rand_augment: ``train``: mean magnitude of :func:`~vsr.data.randaugment.drawn_operations`; None: there are none.
        erasing: ``train``: the share of the views that :func:`~vsr.data.augment.erased_box` erases a box of.
        chosen: numbers of the videos that are shown; None: all. An index is a place in ``items`` all the same.
    """

    def __init__(
        self,
        items: list[Item],
        use: Use,
        seed: int,
        num_frames: int,
        stride: int,
        size: int,
        spare: int = 0,
        num_sample: int = 1,
        segments: int = 1,
        crops: int = 1,
        random: bool = False,
        rand_augment: float | None = None,
        erasing: float = 0.0,
        chosen: Sequence[int] | None = None,
    ) -> None:
        self.items, self.use, self.seed = items, use, seed
        self.num_frames, self.stride, self.size, self.spare = num_frames, stride, size, spare
        self.num_sample, self.segments, self.crops, self.random = num_sample, segments, crops, random
        self.rand_augment, self.erasing = rand_augment, erasing
        self.chosen = range(len(items)) if chosen is None else chosen

    @cached_property
    def visits(self) -> Visits:
        """The order of the videos; made in the process that uses it, since it can't be sent to another."""
        return Visits(self.seed, len(self.chosen))

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, n: int) -> Sample:
        first, epoch = self.visits[n] if self.use in TRAINING else (n, 0)
        index, video, views = self.chosen[first], torch.empty(0, dtype=torch.uint8), [View()]
        unreadable: dict[str, str] = {}
        for index in (self.chosen[i % len(self)] for i in range(first, first + len(self))):
            try:
                video, views = self._read(self.items[index], index, epoch)
                break
            except InputError as error:
                unreadable[str(self.items[index].path)] = str(error)
                if len(unreadable) > self.spare:
                    break
        return Sample(
            video=video, index=index, epoch=epoch, label=self.items[index].label, views=views, unreadable=unreadable
        )

    def _read(self, item: Item, index: int, epoch: int) -> tuple[Tensor, list[View]]:
        """The frames of a video that its views need, and the views."""
        segments = np.empty(0, dtype=np.int64)

        def pick(count: int) -> NDArray[np.int64]:
            nonlocal segments
            segments = self._segments(index, epoch)(count)
            # Different ones have no frame twice, and each has a row of neighbours of all their frames.
            return segments[0] if (segments == segments[0]).all() else np.unique(segments)

        frames = read_frames(item.path, pick, item.known_frames())
        video = torch.from_numpy(frames).permute(3, 0, 1, 2)
        if self.use == "test":
            return video, self._test_views(segments, *frames.shape[1:3])
        return video, [self._view(frames.shape[1], frames.shape[2], index, epoch, k) for k in range(self.num_sample)]

    def _segments(self, index: int, epoch: int) -> Callable[[int], NDArray[np.int64]]:
        """From a number of frames to those of every clip along the video, int64 (segments, T)."""
        shape = {"num_frames": self.num_frames, "stride": self.stride}
        if self.use == "test":
            return partial(view_frames, views=self.segments, **shape)
        if self.use == "probe" or (self.use == "val" and not self.random):
            return lambda count: centre_frames(count, **shape)[None]
        word = int(self._words(rng.Stream.FRAMES, index, epoch)[0, 0])
        frames = pretrain_frames if self.use == "pretrain" else train_frames
        return lambda count: frames(count, word, **shape)[None]

    def _view(self, height: int, width: int, index: int, epoch: int, number: int) -> View:
        if self.use == "pretrain":
            words = self._words(rng.Stream.CLIP, index, epoch)[0]
            return View(box=multi_scale_box(height, width, self.size, words))
        if self.use == "train":
            words = self._words(rng.Stream.RESIZED_CROP, index, epoch, ATTEMPTS * (number + 1))[-ATTEMPTS:]
            mirrored = rng.uniform(self._words(rng.Stream.FLIP, index, epoch, number + 1)[-1, 0]) < 0.5
            return View(
                box=crop_box(height, width, words), mirrored=bool(mirrored), number=number, weight=1 / self.num_sample,
                operations=self._operations(index, epoch, number), erased=self._erased(index, epoch, number),
            )  # fmt: skip
        return View(offset=crop_offsets(height, width, self.size, 1)[0])

    def _operations(self, index: int, epoch: int, number: int) -> tuple[Operation, ...]:
        if self.rand_augment is None:
            return ()
        words = self._words(rng.Stream.RAND_AUGMENT, index, epoch, DRAWN * (number + 1))[-DRAWN:]
        return drawn_operations(words, self.rand_augment)

    def _erased(self, index: int, epoch: int, number: int) -> Box | None:
        drawn = 1 + ATTEMPTS
        words = self._words(rng.Stream.ERASING, index, epoch, drawn * (number + 1))[-drawn:]
        return erased_box(self.size, self.size, words, self.erasing)  # of the crop, not of the frame

    def _test_views(self, segments: NDArray[np.int64], height: int, width: int) -> list[View]:
        starts = segments[:, 0].tolist()
        firsts = np.searchsorted(np.unique(segments), starts).tolist()
        offsets = crop_offsets(height, width, self.size, self.crops)
        return [
            View(first=firsts[s], offset=offsets[c], number=s * self.crops + c, weight=weight)
            for s, c, weight in distinct_views(starts, offsets)
        ]

    def _words(self, stream: rng.Stream, index: int, epoch: int, elements: int = 1) -> Tensor:
        return rng.words(stream, self.seed, torch.tensor([index]), epoch, elements)[0]


def collate(samples: list[Sample], use: Use) -> DecodedBatch:
    """Decoded videos side by side, of different sizes."""
    every = [(sample, view) for sample in samples for view in sample["views"]]
    return DecodedBatch(
        video=[s["video"] for s in samples],
        views=[s["views"] for s in samples],
        index=torch.tensor([s["index"] for s, _ in every]),
        epoch=torch.tensor([s["epoch"] for s, _ in every]),
        label=torch.tensor([s["label"] for s, _ in every]),
        view=torch.tensor([view.number for _, view in every]),
        weight=torch.tensor([view.weight for _, view in every], dtype=torch.float32),
        unreadable={path: reason for s in samples for path, reason in s["unreadable"].items()},
        use=use,
    )


def show(batch: DecodedBatch, num_frames: int, size: int, seed: int) -> Tensor:
    """The views of decoded videos, made on their device: cut, augmented, cropped, resized, flipped, erased.

    Args:
        batch: decoded videos, B views in all.
        num_frames: T of a clip.
        size: H = W of the result, px.
        seed: the data seed; with a view's address it decides the noise in the place of what is erased.

    Returns:
        uint8 (B, C, T, size, size).
    """
    clips: list[Tensor] = []
    for video, views in zip(batch["video"], batch["views"], strict=True):
        small = None
        for view in views:
            part = slice(view.first, view.first + num_frames)
            if view.box is not None:
                clip = resized_crop(rand_augment(video[:, part], view.operations), view.box, size)
            else:
                small = short_side(video, size) if small is None else small
                clip = small[:, part].narrow(-1 if small.shape[-1] > size else -2, view.offset, size)
            clip = flip(clip) if view.mirrored else clip
            if view.erased is not None:
                b = slice(len(clips), len(clips) + 1)
                clip = erase(clip, view.erased, seed, batch["index"][b], batch["epoch"][b], view.number)
            clips.append(clip)
    return torch.stack(clips)


def short_side(video: Tensor, size: int) -> Tensor:
    """Frames with their short side resized to ``size`` px: bilinear, not antialiased, uint8 (C, T, H, W)."""
    frames: Tensor = F.resize(video.transpose(0, 1), [size], InterpolationMode.BILINEAR, antialias=False)
    return frames.transpose(0, 1).contiguous()  # else colours lie innermost, and to cut views takes ten times longer


class Unreadable:
    """The videos of a training list that can't be read: counted, logged once each, limited.

    Args:
        videos: how many the list has.
        max_bad_share: the share of them that may be unreadable, 0 to less than 1.

    Attributes:
        most: how many may be.
        met: those this process has met: path to what is wrong with it.

    Raises:
        InputError: ``max_bad_share`` is no such share.
    """

    def __init__(self, videos: int, max_bad_share: float) -> None:
        if not 0 <= max_bad_share < 1:
            raise InputError(f"max_bad_share {max_bad_share} is not a share: give 0 or more, less than 1")
        self.videos, self.max_bad_share = videos, max_bad_share
        self.most = int(max_bad_share * videos + 1e-6)  # 0.29 * 100 is 28.999…
        self.met: dict[str, str] = {}

    def count(self, batch: DecodedBatch) -> None:
        """Take in what the reader of a batch has met.

        Raises:
            InputError: that is more than may be.
        """
        self.meet(batch["unreadable"], none_left=not all(map(len, batch["video"])))

    def meet(self, unreadable: Mapping[str, str], none_left: bool = False) -> None:
        """Take in unreadable videos.

        Args:
            unreadable: path to what is wrong with it.
            none_left: no readable one was found in the place of one of them.

        Raises:
            InputError: that is more than may be.
        """
        for path, reason in unreadable.items():
            if path not in self.met:
                self.met[path] = reason
                logger.warning(
                    "unreadable, the next video of the training list is shown instead (%d of at most %d): %s",
                    *(len(self.met), self.most, reason),
                )
        if len(self.met) > self.most or none_left:
            paths = list(self.met)
            more = f" and {len(paths) - 8} more" if len(paths) > 8 else ""
            raise InputError(
                f"{len(paths)} of {self.videos} training videos can't be read, more than "
                f"max_bad_share {self.max_bad_share} allows: {', '.join(paths[:8])}{more}: mend them, "
                f"take them off the list or raise max_bad_share; the first is {self.met[paths[0]]}"
            )


def started_by(num_workers: int) -> str | None:
    """How the workers of a loader are started; None: as this Python starts processes.

    On Linux they are forked, whatever Python would do (from 3.14 on a server of its own forks them). :mod:`vsr.signals`
    reaches only processes that this one has forked: Slurm's signal would end others, and a run amid a step with them.
    """
    return "fork" if num_workers and sys.platform == "linux" else None


def begin_worker(worker: int) -> None:
    """Never collect what a worker was forked with: freeing a PyAV frame waits for threads that aren't. And serve on."""
    gc.freeze()
    signals.serve_on()
