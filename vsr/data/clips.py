"""Natural videos as a LightningDataModule: labelled for fine-tuning, probing and testing, and for pre-training."""

from functools import partial
from pathlib import Path
from typing import Any, Literal

from lightning import LightningDataModule
from torch.utils.data import DataLoader, Sampler

from vsr.data import Batch
from vsr.data.batches import BatchPlan, EvalBatches, TrainBatches
from vsr.data.decoded import Clips, DecodedBatch, Unreadable, Use, collate, show, spare_inherited
from vsr.data.lists import Item, Layout, Subset, read_split
from vsr.data.manifest import read_manifest, with_known_frames
from vsr.data.resume import recount
from vsr.errors import InputError


class ActionClips(LightningDataModule):
    """Clips of labelled natural videos: workers decode, ``on_after_batch_transfer`` crops and resizes.

    For fine-tuning: a random clip (:func:`~vsr.data.sampling.train_frames`), RandAugment, random resized crop, flipped
    half the time, a box erased now and then, everything drawn at ``(seed, index, epoch)``; with ``num_sample`` k, k
    such views of the same frames, side by side in the batch. For pre-training: a random clip of true steps
    (:func:`~vsr.data.sampling.pretrain_frames`) through one of the fixed boxes
    (:func:`~vsr.data.augment.multi_scale_box`), no labels, nothing to validate on. For validation: the central clip,
    short side resized, centre crop, every video once. For testing: ``test_segments`` x ``test_crops`` views of every
    video, side by side in the batch, equal ones once with their weights' sum. Sets without a validation list
    (``ucf101``, ``hmdb51``) validate on the test list: nothing is selected on it.

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
        use: what training is: ``finetune``, or ``pretrain``.
        name: of the data set, for run folders.
        num_frames: T of a clip.
        stride: frames of the video from one of the clip to the next ("sampling rate").
        size: H = W of a clip, px.
        global_batch_size: videos per optimiser step, over all devices and accumulation steps (paper: 256).
        max_batch_per_device: clips that fit on a device at once; accumulation follows. None: 64 (CUDA) or 8. A batch
            for testing has at least one video with all its views.
        num_workers: processes that decode, per device and loader; 0 decodes in the main process.
        seed: the data seed: it decides order, frames, crops and flips.
        max_bad_share: the share of the training list that may be unreadable, 0 to less than 1.
        manifest: a file of ``vsr check-data``: how many frames the videos have, which spares decoding some of them
            twice. None: it is found out, video by video. The clips are the same.
        num_sample: views of each training clip ("repeated augmentation"; not printed, the release: 2). A
            video counts once in ``global_batch_size``, so that the learning rate doesn't change.
        val_frames: ``centre``, or ``random`` as the release has it: ours is the same in every validation.
        test_segments: clips along a test video (paper: 5 for UCF101 and Kinetics-400, 10 for HMDB51).
        test_crops: squares along the longer side of each (paper: 3).
        rand_augment: mean magnitude of RandAugment in fine-tuning, 0 .. 10; null: none (table 6: 9, with a standard
            deviation of 0.5). See :func:`~vsr.data.randaugment.drawn_operations`.
        erasing: the share of the clips for fine-tuning that a box is erased of, 0 .. 1 (VideoMAE's scripts: 0.25; not
            printed). See :func:`~vsr.data.augment.erased_box`.

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
        use: Literal["pretrain", "finetune"] = "finetune",
        name: str = "clips",
        num_frames: int = 16,
        stride: int = 4,
        size: int = 224,
        global_batch_size: int = 256,
        max_batch_per_device: int | None = None,
        num_workers: int = 2,
        seed: int = 0,
        max_bad_share: float = 0.01,
        manifest: str | None = None,
        num_sample: int = 1,
        val_frames: Literal["centre", "random"] = "centre",
        test_segments: int = 1,
        test_crops: int = 1,
        rand_augment: float | None = 9.0,
        erasing: float = 0.25,
    ) -> None:
        super().__init__()
        positive = {
            "num_frames": num_frames, "stride": stride, "size": size, "num_sample": num_sample,
            "test_segments": test_segments, "test_crops": test_crops,
        }  # fmt: skip
        for what, value in positive.items():
            if value < 1:
                raise InputError(f"{what} {value} is not positive: give 1 or more")
        if use == "pretrain" and num_sample > 1:
            raise InputError(f"num_sample {num_sample} is of fine-tuning: leave it out for pre-training")
        if rand_augment is not None and not 0 <= rand_augment <= 10:
            raise InputError(f"rand_augment {rand_augment} is no magnitude: give 0 .. 10, or null for none")
        if not 0 <= erasing <= 1:
            raise InputError(f"erasing {erasing} is not a share: give 0 .. 1")
        self.use, self.num_sample, self.val_frames = use, num_sample, val_frames
        self.rand_augment, self.erasing = rand_augment, erasing
        self.test_segments, self.test_crops = test_segments, test_crops
        self.name, self.num_frames, self.stride, self.size = name, num_frames, stride, size
        self.global_batch_size, self.max_batch_per_device = global_batch_size, max_batch_per_device
        self.num_workers, self.seed, self.layout, self.split = num_workers, seed, layout, split
        self._most = max_batch_per_device or 8
        self.plan = self._plan(1)
        self._read_split = partial(read_split, layout, videos, lists, split)
        known = read_manifest(Path(manifest)) if manifest is not None else {}
        self._with_known_frames = partial(with_known_frames, entries=known, videos=videos)
        self.classes, train = self._read_split("train")
        train = self._with_known_frames(train)
        if manifest is not None and all(item.frames is None for item in train):
            raise InputError(
                f"manifest {manifest} names no readable video of the training list, such as {train[0].path}: make it "
                "anew with vsr check-data"
            )
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
        if stage == "validate" or (stage == "fit" and self.use == "finetune"):
            self._items["val"] = self._with_known_frames(self._read_split("val")[1])
        if stage == "test":
            self._items["test"] = self._with_known_frames(self._read_split("test")[1])
        if self.trainer is None:
            return
        self._most = self.max_batch_per_device or (64 if self._on_cuda() else 8)
        if stage == "fit":
            self.plan = self._plan(self.trainer.world_size)
            self.trainer.accumulate_grad_batches = self.plan.accumulation

    def train_dataloader(self) -> DataLoader[Any]:
        """This rank's micro-batches, :class:`DecodedBatch`, from the optimiser step the trainer is at."""
        recount(self.trainer, self.plan.accumulation, self.steps_per_epoch)
        rank = self.trainer.global_rank if self.trainer else 0
        batches = TrainBatches(self.plan, rank, self.steps_per_epoch, self._global_step)
        augmented = {"rand_augment": self.rand_augment, "erasing": self.erasing} if self.use == "finetune" else {}
        return self._loader("train", batches, num_sample=self.num_sample, spare=self._limit.most, **augmented)

    def val_dataloader(self) -> DataLoader[Any] | list[DataLoader[Any]]:
        """This rank's validation videos, each once, as :class:`DecodedBatch`; none when pre-training."""
        if "val" not in self._items:
            return []
        return self._loader("val", self._every("val"), random=self.val_frames == "random")

    def test_dataloader(self) -> DataLoader[Any]:
        """This rank's test videos, each once with all its views, as :class:`DecodedBatch`."""
        views = self.test_segments * self.test_crops
        return self._loader("test", self._every("test", views), segments=self.test_segments, crops=self.test_crops)

    def on_after_batch_transfer(self, batch: DecodedBatch, dataloader_idx: int) -> Batch:
        """Crop, resize and augment every clip on its device.

        Raises:
            InputError: a video for validation or testing, or too many for training, can't be read.
        """
        if batch["use"] in ("train", "pretrain"):
            self._limit.count(batch)
        elif batch["unreadable"]:
            raise InputError(next(iter(batch["unreadable"].values())))
        video = show(batch, self.num_frames, self.size, self.seed)
        shown = Batch(video=video, index=batch["index"], epoch=batch["epoch"])
        if batch["use"] != "pretrain":
            shown |= {"label": batch["label"], "view": batch["view"], "weight": batch["weight"]}
        return shown

    def where(self, index: int, epoch: int, share: int = 0) -> tuple[str, str]:
        """A training clip's address in words, and its video's path."""
        return f"{self.name} index {index} epoch {epoch}", str(self._items["train"][index].path)

    def path(self, subset: Subset, index: int) -> str:
        """The video file of an index; those of ``val`` and ``test`` are known after ``setup``."""
        return str(self._items[subset][index].path)

    def provenance(self) -> dict[str, Any]:
        """What the clips are of, as plain values."""
        return {
            "dataset": self.name,
            "layout": self.layout,
            "split": self.split,
            "videos": self.num_videos("train"),
            "classes": self.num_classes,
            "natural_videos": f"{self.num_videos('train')} training videos of {self.name}",
            "natural_images": "none",
        }

    def num_videos(self, subset: Subset) -> int:
        """How many videos the list of a subset has; those of ``val`` and ``test`` are known after ``setup``."""
        return len(self._items[subset])

    def _global_step(self) -> int:
        return self.trainer.global_step if self.trainer else 0

    def _plan(self, world_size: int) -> BatchPlan:
        """How the videos of a global batch are cut: ``num_sample`` clips of each are on a device at once."""
        if self._most < self.num_sample:
            raise InputError(
                f"max_batch_per_device {self._most} is less than the num_sample {self.num_sample} clips of one video: "
                "raise it, or lower num_sample"
            )
        return BatchPlan.of(self.global_batch_size, self._most // self.num_sample, world_size)

    def _every(self, subset: Subset, views: int = 1) -> EvalBatches:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return EvalBatches(len(self._items[subset]), max(self._most // views, 1), rank, world)

    def _loader(self, subset: Subset, batches: Sampler[list[int]], **settings: Any) -> DataLoader[Any]:
        use: Use = "pretrain" if subset == "train" and self.use == "pretrain" else subset
        return DataLoader(
            Clips(self._items[subset], use, self.seed, self.num_frames, self.stride, self.size, **settings),
            batch_sampler=batches,
            num_workers=self.num_workers,
            collate_fn=partial(collate, use=use),
            pin_memory=self._on_cuda(),
            persistent_workers=self.num_workers > 0,
            worker_init_fn=spare_inherited,
        )

    def _on_cuda(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
