"""Features of clips that are the same in every epoch: made once by a frozen encoder, then read in the place of videos.

A file has one row for each video of a list, in a single NumPy array that is mapped, never read whole: whether the
video could be read, and its feature. It is whole or not there.
"""

import hashlib
import logging
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vsr.data import Batch
from vsr.data.batches import Visits
from vsr.data.decoded import Clips, DecodedBatch, begin_worker, collate, started_by
from vsr.errors import InputError

Encode = Callable[[Tensor], Tensor]
"""From clips, uint8 (B, C, T, H, W) on the trainer's device, to a row for each: float (B, …)."""

VERSION = 1
"""Raise it when a clip for validation shows other pixels: old files are then not used."""

_ABANDONED = 3600.0  # s: the age from which an unfinished file is a dead writer's; a live one writes every batch

_AT_ONCE = 1024  # rows read for an evaluation, if they are small

logger = logging.getLogger(__name__)


class Features:
    """The rows of a file; works in any process.

    Args:
        path: of the file, which is there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}  # NumPy would send the content of the file to other processes

    @cached_property
    def _table(self) -> NDArray[np.void]:
        table: NDArray[np.void] = np.load(self.path, mmap_mode="r")
        return table

    def __len__(self) -> int:
        return len(self._table)

    @property
    def small(self) -> bool:
        """Whether a row is a single vector."""
        return self._table["feature"].ndim == 2

    @property
    def readable(self) -> NDArray[np.bool_]:
        """Of each video (S,): whether it could be read, and has a feature."""
        return np.asarray(self._table["readable"] != 0)

    def rows(self, numbers: Sequence[int]) -> Tensor:
        """The features of some videos, (B, …)."""
        found = np.asarray(self._table[np.asarray(numbers, dtype=np.int64)])
        return torch.from_numpy(found["feature"])

    def chunks(self, numbers: Sequence[int], labels: Sequence[int]) -> Iterator[tuple[Tensor, Tensor]]:
        """Features and labels, int64 (B,), of videos, some at a time."""
        at_once = _AT_ONCE if self.small else 64
        for start in range(0, len(numbers), at_once):
            some = numbers[start : start + at_once]
            yield self.rows(some), torch.tensor([labels[number] for number in some])


class FeatureClips(Dataset[Batch]):
    """Sample numbers n to a batch of features; what :class:`~vsr.data.decoded.Clips` is to videos.

    Args:
        features: of a list.
        labels: of its videos.
        chosen: which of them are shown.
        seed: the data seed.
        drawn: they come in random order, for training, and the next readable one stands in for an unreadable one; else
            in the order of ``chosen``.
    """

    def __init__(
        self, features: Features, labels: Sequence[int], chosen: Sequence[int], seed: int, drawn: bool
    ) -> None:
        self.features, self.labels, self.seed, self.drawn = features, labels, seed, drawn
        self.chosen = _readable(chosen, features.readable) if drawn else chosen

    @cached_property
    def visits(self) -> Visits:
        """The order of the videos; made in the process that uses it, since it can't be sent to another."""
        return Visits(self.seed, len(self.chosen))

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitems__(self, samples: list[int]) -> Batch:
        places = [self.visits[n] if self.drawn else (n, 0) for n in samples]
        index = [self.chosen[place] for place, _ in places]
        return Batch(
            feature=self.features.rows(index),
            index=torch.tensor(index),
            epoch=torch.tensor([epoch for _, epoch in places]),
            label=torch.tensor([self.labels[number] for number in index]),
            view=torch.zeros(len(index), dtype=torch.int64),
            weight=torch.ones(len(index)),
        )

    def loader(self, batches: Any, num_workers: int, pin_memory: bool) -> DataLoader[Any]:
        """Batches of them; small rows are read in this process, which is quicker than to send them from another."""
        num_workers = 0 if self.features.small else num_workers
        return DataLoader(
            self,
            batch_sampler=batches,
            num_workers=num_workers,
            collate_fn=_as_it_is,
            pin_memory=pin_memory,
            persistent_workers=num_workers > 0,
            worker_init_fn=begin_worker,
            multiprocessing_context=started_by(num_workers),
        )


def _as_it_is(batch: Any) -> Any:
    return batch


def _readable(chosen: Sequence[int], readable: NDArray[np.bool_]) -> list[int]:
    """In the place of each video the next of the chosen ones that is readable, after the last the first."""
    good = [place for place, number in enumerate(chosen) if readable[number]]
    following = np.searchsorted(good, np.arange(len(chosen))) % max(len(good), 1)
    return [chosen[good[k]] for k in following] if good else []


def file_name(key: str, videos: Path, clips: Clips) -> str:
    """A name that says, as a hash, all that features depend on.

    Args:
        key: says encoder and kind of feature.
        videos: folder of the videos: files count by their places in it and their sizes.
        clips: the clips that are encoded.
    """
    parts = [str(VERSION), key, str(clips.num_frames), str(clips.stride), str(clips.size)]
    for item in clips.items:
        inside = item.path.relative_to(videos) if item.path.is_relative_to(videos) else item.path
        parts += [inside.as_posix(), str(item.path.stat().st_size if item.path.exists() else -1)]
    digest = hashlib.blake2b("\0".join(parts).encode(errors="surrogateescape"), digest_size=16)
    return f"features-{digest.hexdigest()}.npy"


def must_be_features(path: Path, videos: int) -> bool:
    """Whether a file is there and has a row for each video; one that hasn't is logged, and made again."""
    try:
        table = np.load(path, mmap_mode="r")
    except FileNotFoundError:
        return False
    except (OSError, ValueError, EOFError) as error:
        fault = " ".join(str(error).split())
    else:
        if table.dtype.names == ("readable", "feature") and table.shape == (videos,):
            return True
        fault = f"it holds {table.dtype} {table.shape}"
    logger.warning("features %s can't be used (%s): they are made again", path, fault)
    return False


def make_features(
    file: Path,
    clips: Clips,
    encode: Encode,
    trainer: Trainer,
    batch_size: int,
    num_workers: int,
    unreadable: Callable[[int, str], None],
    shared: bool,
) -> None:
    """Encode every clip once and write the file; every process encodes a share, and all have to call it.

    Args:
        file: where the features go.
        clips: for validation, of the whole list, with ``spare`` 0.
        encode: the encoder.
        trainer: of the run.
        batch_size: clips on a device at once.
        num_workers: processes that decode, per device.
        unreadable: is told number and trouble of a video that can't be read; may raise.
        shared: other runs may be writing the same file.

    Raises:
        InputError: there isn't room for them, or not all processes see the same disk.
    """
    device, rank, world = trainer.strategy.root_device, trainer.global_rank, trainer.world_size
    shape = (1, 3, clips.num_frames, clips.size, clips.size)
    row = encode(torch.zeros(shape, dtype=torch.uint8, device=device)).numpy(force=True)
    kind = np.dtype([("readable", np.int32), ("feature", row.dtype, row.shape[1:])])
    if shared and trainer.is_global_zero:
        _sweep(file)
    _must_have_room(file.parent, len(clips), kind)
    rank_zero_info(
        f"Features of {len(clips):,} clips, each encoded once: {row.dtype} {' x '.join(map(str, row.shape[1:]))}, "
        f"{_size(len(clips) * kind.itemsize)} in {file}"
    )
    unfinished = f"{file.name}.{uuid.uuid4().hex}.part" if shared else f"{file.name}.part"
    part = Path(trainer.strategy.broadcast(str(file.with_name(unfinished))))
    try:
        if trainer.is_global_zero:
            np.lib.format.open_memmap(part, "w+", kind, (len(clips),))
        trainer.strategy.barrier()
        share = range(rank * len(clips) // world, (rank + 1) * len(clips) // world)  # side by side: no shared pages
        with part.open("r+b") as stream:
            first: int = np.load(part, mmap_mode="r").offset
            for start, rows in _encoded(clips, share, encode, trainer, batch_size, num_workers, kind, unreadable):
                stream.seek(first + start * kind.itemsize)
                stream.write(rows.tobytes())
        trainer.strategy.barrier()
        if trainer.is_global_zero:
            part.replace(file)
        trainer.strategy.barrier()
        if not file.exists():
            raise FileNotFoundError(2, "other processes wrote it, this one doesn't see it")
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InputError(
            f"features {file} can't be written ({error.strerror}): give --data.feature_cache, a folder with "
            f"{_size(len(clips) * kind.itemsize)} free that all processes share"
        ) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _encoded(
    clips: Clips,
    share: range,
    encode: Encode,
    trainer: Trainer,
    batch_size: int,
    num_workers: int,
    kind: np.dtype[Any],
    unreadable: Callable[[int, str], None],
) -> Iterator[tuple[int, NDArray[np.void]]]:
    """The rows of a share of the clips in order, batch by batch, each with its first number."""
    from tqdm import tqdm

    loader = DataLoader(
        clips,
        batch_sampler=[list(share[i : i + batch_size]) for i in range(0, len(share), batch_size)],
        num_workers=num_workers,
        collate_fn=partial(collate, use="val"),
        pin_memory=trainer.strategy.root_device.type == "cuda",
        worker_init_fn=begin_worker,
        multiprocessing_context=started_by(num_workers),
    )
    with tqdm(total=len(share), unit="clip", desc="features", disable=None if trainer.is_global_zero else True) as bar:
        for batch in loader:
            rows = np.zeros(len(batch["video"]), kind)
            good = [place for place, video in enumerate(batch["video"]) if len(video)]
            for place in set(range(len(rows))) - set(good):
                number = int(batch["index"][place])
                unreadable(number, batch["unreadable"][str(clips.items[number].path)])
            if good:
                shown: Any = trainer.strategy.batch_to_device(_only(batch, good))  # a Batch: as for validation
                rows["readable"][good] = 1
                rows["feature"][good] = encode(shown["video"]).numpy(force=True)
            yield int(batch["index"][0]), rows
            bar.update(len(rows))


def _only(batch: DecodedBatch, places: list[int]) -> DecodedBatch:
    """The videos at some places, which are readable; of each there is one view."""
    return DecodedBatch(
        video=[batch["video"][place] for place in places],
        views=[batch["views"][place] for place in places],
        index=batch["index"][places],
        epoch=batch["epoch"][places],
        label=batch["label"][places],
        view=batch["view"][places],
        weight=batch["weight"][places],
        unreadable={},
        use="val",
    )


def _sweep(file: Path) -> None:
    """Remove what writers of a file that were killed have left."""
    for part in file.parent.glob(f"{file.name}.*.part"):
        try:
            if time.time() - part.stat().st_mtime > _ABANDONED:
                part.unlink()
        except OSError:  # another process was quicker, or it is not ours to remove
            logger.debug("unfinished features %s stay", part)


def _must_have_room(folder: Path, videos: int, kind: np.dtype[Any]) -> None:
    """Make the folder, and refuse one without room for the features."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"features can't be kept in {folder} ({error.strerror}): give another folder as --data.feature_cache"
        ) from error
    free, needed = shutil.disk_usage(folder).free, videos * kind.itemsize
    if free < needed:
        raise InputError(
            f"no room for the features in {folder}: {videos:,} of {_size(kind.itemsize)} take {_size(needed)}, and "
            f"{_size(free)} are free: make room, or give --data.feature_cache, a folder on another disk"
        )


def _size(count: float) -> str:
    """Bytes in words."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.1f} GB"
