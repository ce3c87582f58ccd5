"""Natural videos as a LightningDataModule: labelled for fine-tuning, probing and testing, and for pre-training."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

from lightning import LightningDataModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from vsr.data import Batch
from vsr.data.batches import BatchPlan, EvalBatches, TrainBatches
from vsr.data.decoded import TRAINING, Clips, DecodedBatch, Unreadable, Use, begin_worker, collate, show, started_by
from vsr.data.features import Encode, FeatureClips, Features, file_name, make_features, must_be_features
from vsr.data.held_out import hold_out
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
    (:func:`~vsr.data.augment.multi_scale_box`), no labels, nothing to validate on. For probing: as for validation, in
    random order; what a frozen encoder makes of these clips can be kept (:meth:`keep_features`), and batches then have
    ``feature`` in the place of ``video``. For validation: the central clip, short side resized, centre crop, every
    video once. For testing: ``test_segments`` x ``test_crops`` views of every video, side by side in the batch, equal
    ones once with their weights' sum.

    With ``held_out``, that share of the training list is validated on and not trained on
    (:func:`~vsr.data.held_out.hold_out`). Without it, fine-tuning validates on the validation list; sets that have none
    (``ucf101``, ``hmdb51``) on the test list: nothing is selected on it. Training a probe then validates on nothing.
    Whatever is held out, ``index`` is a video's place in the whole training list, so that its clips stay the same; the
    order of an epoch is a permutation of the videos that are trained on.

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
        use: what training is: ``finetune``, ``probe`` or ``pretrain``.
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

        held_out: for ``finetune`` and ``probe``: the share of the training list to validate on, 0 to less than 1.
        feature_cache: folder that keeps features from run to run, in files named by all that they depend on; null: a
            file in the run folder, removed at the end.

    Attributes:
        classes: names of the classes, in the order of the labels.
        num_classes: how many there are.
        steps_per_epoch: optimiser steps in an epoch, ``videos trained on // global_batch_size``.
        unreadable: unreadable training videos this process has met: path to what is wrong with it.

    Raises:
        InputError: a list or video is missing, or a value out of range.
    """

    def __init__(
        self,
        videos: str,
        layout: Layout = "ucf101",
        lists: str | None = None,
        split: int = 1,
        use: Literal["pretrain", "finetune", "probe"] = "finetune",
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
        held_out: float = 0.0,
        feature_cache: str | None = None,
    ) -> None:
        super().__init__()
        positive = {
            "num_frames": num_frames, "stride": stride, "size": size, "num_sample": num_sample,
            "test_segments": test_segments, "test_crops": test_crops,
        }  # fmt: skip
        for what, value in positive.items():
            if value < 1:
                raise InputError(f"{what} {value} is not positive: give 1 or more")
        if num_workers < 0:
            raise InputError(f"num_workers {num_workers} is negative: give 0 or more")
        if use != "finetune" and num_sample > 1:
            raise InputError(f"num_sample {num_sample} is of fine-tuning: leave it out with use {use}")
        if use == "pretrain" and held_out:
            raise InputError(f"held_out {held_out} is for labelled clips: leave it out for pre-training")
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
        self.held_out, self.feature_cache, self._videos = held_out, feature_cache, Path(videos)
        self._features: Features | None = None
        self._most, self._whole_batches = max_batch_per_device or 8, False
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
        shown, held = hold_out(train, held_out, seed)
        self._items: dict[Subset, list[Item]] = {"train": train}
        self._chosen: dict[Subset, Sequence[int]] = {"train": shown}
        if held:
            self._items["val"], self._chosen["val"] = train, held
        self.num_classes, self.steps_per_epoch = len(self.classes), len(shown) // global_batch_size
        self._limit = Unreadable(len(shown), max_bad_share)
        self.unreadable = self._limit.met

    def setup(self, stage: str) -> None:
        """Read the lists of a stage and cut the global batch for the devices at hand.

        Raises:
            InputError: a list or video is missing, or there is less to train on than a batch.
        """
        if stage == "fit" and self.steps_per_epoch == 0:
            shown = len(self._chosen["train"])
            raise InputError(
                f"global_batch_size {self.global_batch_size} is more than the {shown} videos of the training "
                f"list: use {shown} or fewer"
            )
        validates = not self.held_out and (stage == "validate" or (stage == "fit" and self.use == "finetune"))
        subsets: list[Subset] = ["val"] if validates else ["test"] if stage == "test" else []
        for subset in subsets:
            self._items[subset] = self._with_known_frames(self._read_split(subset)[1])
            self._chosen[subset] = range(len(self._items[subset]))
        if self.trainer is None:
            return
        self._most = self.max_batch_per_device or (64 if self._on_cuda() else 8)
        if stage == "fit":
            self._cut(self.trainer)

    def train_dataloader(self) -> DataLoader[Any]:
        """This rank's micro-batches, :class:`DecodedBatch`, from the optimiser step the trainer is at."""
        recount(self.trainer, self.plan.accumulation, self.steps_per_epoch)
        rank = self.trainer.global_rank if self.trainer else 0
        batches = TrainBatches(self.plan, rank, self.steps_per_epoch, self._global_step)
        if self._features is not None:
            return self._feature_clips("train").loader(batches, self.num_workers, self._on_cuda())
        augmented = {"rand_augment": self.rand_augment, "erasing": self.erasing} if self.use == "finetune" else {}
        return self._loader("train", batches, num_sample=self.num_sample, spare=self._limit.most, **augmented)

    def val_dataloader(self) -> DataLoader[Any] | list[DataLoader[Any]]:
        """This rank's validation videos, each once, as :class:`DecodedBatch`; none when pre-training."""
        if "val" not in self._items:
            return []
        if self._features is not None and self.held_out:
            return self._feature_clips("val").loader(self._every("val"), self.num_workers, self._on_cuda())
        return self._loader("val", self._every("val"), random=self.val_frames == "random")

    def test_dataloader(self) -> DataLoader[Any]:
        """This rank's test videos, each once with all its views, as :class:`DecodedBatch`."""
        views = self.test_segments * self.test_crops
        return self._loader("test", self._every("test", views), segments=self.test_segments, crops=self.test_crops)

    def expect_features(self, whole_batches: bool) -> bool:
        """Whether training clips are the same in every epoch, so that their features can be kept.

        Args:
            whole_batches: features are small: cut the global batch for the devices only, whatever
                ``max_batch_per_device``.
        """
        self._whole_batches = whole_batches and self.use == "probe"
        if self.trainer is not None:
            self._cut(self.trainer)
        return self.use == "probe"

    def keep_features(self, encode: Encode, key: str) -> None:
        """Encode every clip of the training list once; from now on batches for training have features.

        So have those for validation, where they are held out. All processes have to call it, in a hook of a module that
        comes before loaders are made, such as ``on_fit_start``. A file of an earlier run is used where there is one.

        Args:
            encode: the encoder, which must not change any more.
            key: says which encoder and which kind of feature.

        Raises:
            InputError: training clips aren't the same in every epoch, there isn't room for the features, or videos
                can't be read: more of those that are trained on than ``max_bad_share``, or one that is held out.
        """
        assert self.trainer is not None
        if self.use != "probe":
            raise InputError(f"features can't be kept of clips that are drawn anew in every epoch (use {self.use}): "
                             "give --data.use probe")  # fmt: skip
        train, held = self._items["train"], set(self._chosen.get("val", ()) if self.held_out else ())
        clips = Clips(train, "val", self.seed, self.num_frames, self.stride, self.size)
        cached = self.feature_cache is not None
        folder = Path(self.feature_cache or self.trainer.default_root_dir)
        file = folder / (file_name(key, self._videos, clips) if cached else "features.npy")

        def unreadable(number: int, trouble: str) -> None:
            if number in held:
                raise InputError(trouble)
            self._limit.meet({str(train[number].path): trouble})

        found = cached and must_be_features(file, len(train))
        if not self.trainer.strategy.broadcast(found):
            make_features(file, clips, encode, self.trainer, self._most, self.num_workers, unreadable, shared=cached)
        self._features = Features(file)
        for number, readable in enumerate(self._features.readable):
            if not readable:  # known here where another process or an earlier run has met it
                unreadable(number, f"{train[number].path}: couldn't be read when its feature was to be made")

    def kept_features(self, subset: Literal["train", "val"]) -> Iterator[tuple[Tensor, Tensor]]:
        """Features and labels of the videos that are trained on, or held out, some at a time; on the CPU.

        Args:
            subset: ``train``: in the order of the list, without unreadable ones; ``val``: held out.
        """
        assert self._features is not None
        readable = self._features.readable
        labels = [item.label for item in self._items["train"]]
        yield from self._features.chunks([n for n in self._chosen[subset] if readable[n]], labels)

    def teardown(self, stage: str) -> None:
        """Remove features that are not kept from run to run."""
        if self._features is None:
            return
        if self.feature_cache is None and self.trainer is not None and self.trainer.is_global_zero:
            self._features.path.unlink(missing_ok=True)
        self._features = None

    def on_exception(self, exception: BaseException) -> None:
        """Likewise."""
        self.teardown("")

    def on_after_batch_transfer(self, batch: DecodedBatch | Batch, dataloader_idx: int) -> Batch:
        """Crop, resize and augment every clip on its device; features stay as they are.

        Raises:
            InputError: a video for validation or testing, or too many for training, can't be read.
        """
        if "feature" in batch:
            return cast(Batch, batch)
        batch = cast(DecodedBatch, batch)
        if batch["use"] in TRAINING:
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
        augmented = {"num_sample": self.num_sample, "rand_augment": self.rand_augment, "erasing": self.erasing}
        return (augmented if self.use == "finetune" else {}) | {
            "dataset": self.name,
            "layout": self.layout,
            "split": self.split,
            "videos": self.num_videos("train"),
            "classes": self.num_classes,
            "use": self.use,
            "held_out": self.held_out,
            "natural_videos": f"{self.num_videos('train')} training videos of {self.name}",
            "natural_images": "none",
        }

    def num_videos(self, subset: Subset) -> int:
        """How many videos of a subset are shown; those of ``val`` and ``test`` are known after ``setup``."""
        return len(self._chosen[subset])

    def _global_step(self) -> int:
        return self.trainer.global_step if self.trainer else 0

    def _cut(self, trainer: Trainer) -> None:
        """Cut the global batch for the devices of a trainer."""
        self.plan = self._plan(trainer.world_size)
        trainer.accumulate_grad_batches = self.plan.accumulation

    def _plan(self, world_size: int) -> BatchPlan:
        """How the videos of a global batch are cut: ``num_sample`` clips of each are on a device at once."""
        if self._most < self.num_sample:
            raise InputError(
                f"max_batch_per_device {self._most} is less than the num_sample {self.num_sample} clips of one video: "
                "raise it, or lower num_sample"
            )
        most = self.global_batch_size if self._whole_batches else self._most // self.num_sample
        return BatchPlan.of(self.global_batch_size, most, world_size)

    def _every(self, subset: Subset, views: int = 1) -> EvalBatches:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return EvalBatches(len(self._chosen[subset]), max(self._most // views, 1), rank, world)

    def _loader(self, subset: Subset, batches: Sampler[list[int]], **settings: Any) -> DataLoader[Any]:
        use: Use = self.use if subset == "train" and self.use != "finetune" else subset
        return DataLoader(
            Clips(
                self._items[subset],
                use,
                self.seed,
                self.num_frames,
                self.stride,
                self.size,
                chosen=self._chosen[subset],
                **settings,
            ),
            batch_sampler=batches,
            num_workers=self.num_workers,
            collate_fn=partial(collate, use=use),
            pin_memory=self._on_cuda(),
            persistent_workers=self.num_workers > 0,
            worker_init_fn=begin_worker,
            multiprocessing_context=started_by(self.num_workers),
        )

    def _feature_clips(self, subset: Literal["train", "val"]) -> FeatureClips:
        assert self._features is not None
        labels = [item.label for item in self._items["train"]]
        return FeatureClips(self._features, labels, self._chosen[subset], self.seed, drawn=subset == "train")

    def _on_cuda(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"
