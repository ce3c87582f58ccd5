"""Clips of natural videos: labelled for fine-tuning, probing and testing; without labels for pre-training."""

import gc
import logging
from functools import cached_property, partial
from typing import Any, Literal, TypedDict

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from vsr import rng
from vsr.data import Batch
from vsr.data.augment import ATTEMPTS, Box, crop_box, flip, multi_scale_box, resize_centre_crop, resized_crop
from vsr.data.batches import BatchPlan, EvalBatches, TrainBatches, Visits
from vsr.data.decode import read_frames
from vsr.data.lists import Item, Layout, Subset, read_split
from vsr.data.resume import recount
from vsr.data.sampling import centre_frames, pretrain_frames, train_frames
from vsr.errors import InputError

logger = logging.getLogger(__name__)

Use = Literal["pretrain", "train", "val", "test"]
"""What clips are for; ``pretrain`` and ``train`` show the training list, ``train`` is fine-tuning."""


class Sample(TypedDict):
    """One decoded clip, fields as in :class:`DecodedBatch`; ``video`` is empty if none could be read."""

    video: Tensor
    index: int
    epoch: int
    label: int
    box: Box | None
    mirrored: bool
    unreadable: dict[str, str]


class DecodedBatch(TypedDict):
    """What the loader carries: decoded clips, of different sizes, and what is to be done with them.

    Attributes:
        video: B tensors, uint8 (C, T, H, W).
        index, epoch, label: int64 (B,).
        box: B boxes, None for the centre crop.
        mirrored: B times whether to flip.
        unreadable: path to what is wrong with it. A field and not an exception, since the error of a worker
            process arrives with that process's traceback for a message.
        use: what the clips are for.
    """

    video: list[Tensor]
    index: Tensor
    epoch: Tensor
    label: Tensor
    box: list[Box | None]
    mirrored: list[bool]
    unreadable: dict[str, str]
    use: Use


class Clips(Dataset[Sample]):
    """Sample number n to a decoded clip; works in any process.

    Clips for training are drawn at ``(seed, index, epoch)`` and come in random order. ``pretrain``: frames by
    :func:`~vsr.data.sampling.pretrain_frames`, seen through :func:`~vsr.data.augment.multi_scale_box`. ``train``: by
    :func:`~vsr.data.sampling.train_frames` and :func:`~vsr.data.augment.crop_box`, flipped half the time. Else: the
    central clip, in order.

    Args:
        items: the videos.
        use: what the clips are for.
        seed: the data seed.
        num_frames: T of a clip.
        stride: frames of the video from one of the clip to the next.
        size: H = W of the clips they will become, px.
        spare: how many unreadable videos may be passed over for one sample before it is left empty.
    """

    def __init__(
        self, items: list[Item], use: Use, seed: int, num_frames: int, stride: int, size: int, spare: int
    ) -> None:
        self.items, self.use, self.seed = items, use, seed
        self.num_frames, self.stride, self.size, self.spare = num_frames, stride, size, spare

    @cached_property
    def visits(self) -> Visits:
        """The order of the videos; made in the process that uses it, since it can't be sent to another."""
        return Visits(self.seed, len(self.items))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, n: int) -> Sample:
        first, epoch = self.visits[n] if self.use in ("pretrain", "train") else (n, 0)
        index, video = first, torch.empty(0, dtype=torch.uint8)
        unreadable: dict[str, str] = {}
        for index in (i % len(self.items) for i in range(first, first + len(self.items))):
            try:
                video = self._read(self.items[index], index, epoch)
                break
            except InputError as error:
                unreadable[str(self.items[index].path)] = str(error)
                if len(unreadable) > self.spare:
                    break
        box, mirrored = self._draw(video, index, epoch) if len(video) else (None, False)
        return Sample(
            video=video, index=index, epoch=epoch, label=self.items[index].label,
            box=box, mirrored=mirrored, unreadable=unreadable,
        )  # fmt: skip

    def _read(self, item: Item, index: int, epoch: int) -> Tensor:
        shape = {"num_frames": self.num_frames, "stride": self.stride}
        if self.use in ("pretrain", "train"):
            word = int(self._words(rng.Stream.FRAMES, index, epoch)[0, 0])
            pick = partial(pretrain_frames if self.use == "pretrain" else train_frames, word=word, **shape)
        else:
            pick = partial(centre_frames, **shape)
        return torch.from_numpy(read_frames(item.path, pick)).permute(3, 0, 1, 2)

    def _draw(self, video: Tensor, index: int, epoch: int) -> tuple[Box | None, bool]:
        height, width = video.shape[-2:]
        if self.use == "pretrain":
            return multi_scale_box(height, width, self.size, self._words(rng.Stream.CLIP, index, epoch)[0]), False
        if self.use == "train":
            box = crop_box(height, width, self._words(rng.Stream.RESIZED_CROP, index, epoch, ATTEMPTS))
            return box, bool(rng.uniform(self._words(rng.Stream.FLIP, index, epoch)[0, 0]) < 0.5)
        return None, False

    def _words(self, stream: rng.Stream, index: int, epoch: int, elements: int = 1) -> Tensor:
        return rng.words(stream, self.seed, torch.tensor([index]), epoch, elements)[0]


def collate(samples: list[Sample], use: Use) -> DecodedBatch:
    """Decoded clips side by side, of different sizes."""
    return DecodedBatch(
        video=[s["video"] for s in samples],
        index=torch.tensor([s["index"] for s in samples]),
        epoch=torch.tensor([s["epoch"] for s in samples]),
        label=torch.tensor([s["label"] for s in samples]),
        box=[s["box"] for s in samples],
        mirrored=[s["mirrored"] for s in samples],
        unreadable={path: reason for s in samples for path, reason in s["unreadable"].items()},
        use=use,
    )


def views(batch: DecodedBatch, size: int) -> Tensor:
    """What is to be done with decoded clips, done on their device: cropped, flipped, resized.

    Args:
        batch: B decoded clips.
        size: H = W of the result, px.

    Returns:
        uint8 (B, C, T, size, size).
    """
    clips = []
    for video, box, mirrored in zip(batch["video"], batch["box"], batch["mirrored"], strict=True):
        clip = resized_crop(video, box, size) if box else resize_centre_crop(video, size)
        clips.append(flip(clip) if mirrored else clip)
    return torch.stack(clips)


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
        for path, reason in batch["unreadable"].items():
            if path not in self.met:
                self.met[path] = reason
                logger.warning(
                    "unreadable, the next video of the training list is shown instead (%d of at most %d): %s",
                    *(len(self.met), self.most, reason),
                )
        if len(self.met) > self.most or not all(map(len, batch["video"])):
            paths = list(self.met)
            more = f" and {len(paths) - 8} more" if len(paths) > 8 else ""
            raise InputError(
                f"{len(paths)} of {self.videos} training videos can't be read, more than "
                f"max_bad_share {self.max_bad_share} allows: {', '.join(paths[:8])}{more}: mend them, "
                f"take them off the list or raise max_bad_share; the first is {self.met[paths[0]]}"
            )


def spare_inherited(worker: int) -> None:
    """Never collect what a worker was forked with: freeing a PyAV frame waits for threads that aren't."""
    gc.freeze()


class ActionClips(LightningDataModule):
    """Clips of labelled natural videos: workers decode, ``on_after_batch_transfer`` crops and resizes.

    For training: a random clip (:func:`~vsr.data.sampling.train_frames`), random resized crop, flipped half
    the time, everything drawn at ``(seed, index, epoch)``. For validation and testing: the central clip,
    short side resized, centre crop, every video once. Sets without a validation list (``ucf101``, ``hmdb51``)
    validate on the test list: nothing is selected on it.

    An unreadable video of the training list is never passed over silently: the next readable one of the list
    is shown under its own index and label, the file is logged once and kept in ``unreadable``, and when a
    process has met more than ``max_bad_share`` of the list, training stops. In validation and testing the
    first one stops the run. The trainer must be given ``use_distributed_sampler=False``.

    Args:
        videos: folder of the videos.
        layout: how lists and videos are laid out; see :func:`~vsr.data.lists.read_split`.
        lists: folder of the lists. None: ``ucfTrainTestlist`` (ucf101) or ``testTrainMulti_7030_splits``
            (hmdb51) beside ``videos``, or else the folder that holds ``videos``; for csv ``videos`` itself.
        split: 1, 2 or 3 for ``ucf101`` and ``hmdb51``.
        name: of the data set, for run folders.
        num_frames: T of a clip.
        stride: frames of the video from one of the clip to the next ("sampling rate").
        size: H = W of a clip, px.
        global_batch_size: clips per optimiser step, over all devices and accumulation steps (paper: 256).
        max_batch_per_device: clips that fit on a device at once; accumulation follows. None: 64 (CUDA) or 8.
        num_workers: processes that decode, per device and loader; 0 decodes in the main process.
        seed: the data seed: it decides order, frames, crops and flips.
        max_bad_share: the share of the training list that may be unreadable, 0 to less than 1.

    Attributes:
        classes: names of the classes, in the order of the labels.
        num_classes: how many there are.
        steps_per_epoch: optimiser steps in an epoch, ``videos of the training list // global_batch_size``.
        unreadable: unreadable training videos this process has met: path to what is wrong with it.

    Raises:
        InputError: a list or video is missing, a training list smaller than a batch, a value out of range.
    """

    def __init__(
        self,
        videos: str,
        layout: Layout = "ucf101",
        lists: str | None = None,
        split: int = 1,
        name: str = "clips",
        num_frames: int = 16,
        stride: int = 4,
        size: int = 224,
        global_batch_size: int = 256,
        max_batch_per_device: int | None = None,
        num_workers: int = 2,
        seed: int = 0,
        max_bad_share: float = 0.01,
    ) -> None:
        super().__init__()
        for what, value in (("num_frames", num_frames), ("stride", stride), ("size", size)):
            if value < 1:
                raise InputError(f"{what} {value} is not positive: give 1 or more")
        self.name, self.num_frames, self.stride, self.size = name, num_frames, stride, size
        self.global_batch_size, self.max_batch_per_device = global_batch_size, max_batch_per_device
        self.num_workers, self.seed = num_workers, seed
        self._most = max_batch_per_device or 8
        self.plan = BatchPlan.of(global_batch_size, self._most, 1)
        self._read_split = partial(read_split, layout, videos, lists, split)
        self.classes, train = self._read_split("train")
        self.num_classes, self.steps_per_epoch = len(self.classes), len(train) // global_batch_size
        self._items: dict[Subset, list[Item]] = {"train": train}
        self._limit = Unreadable(len(train), max_bad_share)
        self.unreadable = self._limit.met
        if self.steps_per_epoch == 0:
            raise InputError(
                f"global_batch_size {global_batch_size} is more than the {len(train)} videos of the training "
                f"list: use {len(train)} or fewer"
            )

    def setup(self, stage: str) -> None:
        """Read the lists of a stage and cut the global batch for the devices at hand."""
        if stage in ("fit", "validate"):
            self._items["val"] = self._read_split("val")[1]
        if stage == "test":
            self._items["test"] = self._read_split("test")[1]
        if self.trainer is None:
            return
        self._most = self.max_batch_per_device or (64 if self._on_cuda() else 8)
        if stage == "fit":
            self.plan = BatchPlan.of(self.global_batch_size, self._most, self.trainer.world_size)
            self.trainer.accumulate_grad_batches = self.plan.accumulation

    def train_dataloader(self) -> DataLoader[Any]:
        """This rank's micro-batches, :class:`DecodedBatch`, from the optimiser step the trainer is at."""
        recount(self.trainer, self.plan.accumulation, self.steps_per_epoch)
        rank = self.trainer.global_rank if self.trainer else 0
        batches = TrainBatches(self.plan, rank, self.steps_per_epoch, self._global_step)
        return self._loader("train", batches)

    def val_dataloader(self) -> DataLoader[Any]:
        """This rank's validation videos, each once, as :class:`DecodedBatch`."""
        return self._loader("val", self._every("val"))

    def test_dataloader(self) -> DataLoader[Any]:
        """This rank's test videos, each once, as :class:`DecodedBatch`."""
        return self._loader("test", self._every("test"))

    def on_after_batch_transfer(self, batch: DecodedBatch, dataloader_idx: int) -> Batch:
        """Crop, flip and resize every clip on its device.

        Raises:
            InputError: a video for validation or testing, or too many for training, can't be read.
        """
        if batch["use"] == "train":
            self._limit.count(batch)
        elif batch["unreadable"]:
            raise InputError(next(iter(batch["unreadable"].values())))
        video = views(batch, self.size)
        return Batch(video=video, index=batch["index"], epoch=batch["epoch"], label=batch["label"])

    def provenance(self) -> dict[str, Any]:
        """What the clips are of, as plain values."""
        return {
            "dataset": self.name,
            "classes": self.num_classes,
            "natural_videos": f"{self.num_videos('train')} training videos of {self.name}",
        }

    def num_videos(self, subset: Subset) -> int:
        """How many videos the list of a subset has; those of ``val`` and ``test`` are known after ``setup``."""
        return len(self._items[subset])

    def _global_step(self) -> int:
        return self.trainer.global_step if self.trainer else 0

    def _every(self, subset: Subset) -> EvalBatches:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return EvalBatches(len(self._items[subset]), self._most, rank, world)

    def _loader(self, subset: Subset, batches: Sampler[list[int]]) -> DataLoader[Any]:
        spare = self._limit.most if subset == "train" else 0
        return DataLoader(
            Clips(self._items[subset], subset, self.seed, self.num_frames, self.stride, self.size, spare),
            batch_sampler=batches,
            num_workers=self.num_workers,
            collate_fn=partial(collate, use=subset),
            pin_memory=self._on_cuda(),
            persistent_workers=self.num_workers > 0,
            worker_init_fn=spare_inherited,
        )

    def _on_cuda(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
