"""Several sets of videos in one training run, in stated shares: recipes, natural videos, or both."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import lcm
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vsr.data import Batch
from vsr.data.ahead import Addresses
from vsr.data.batches import Visits
from vsr.data.decoded import Clips, DecodedBatch, Unreadable, begin_worker, collate, show, started_by
from vsr.data.lists import Layout, read_split
from vsr.data.synthetic import RecipeClips, RenderedVideos, with_folder
from vsr.errors import InputError
from vsr.recipe import Recipe, load_recipe
from vsr.render import Antialias

_LONGEST = 10**6  # samples in a period


@dataclass(frozen=True)
class Share:
    """One part of a mixture; one without a recipe is natural.

    Args:
        weight: its share of the samples, above 0, at most 1.
        recipe: synthetic: a dataset's name, or the path of a YAML file with a recipe.
        videos: natural: folder of the videos. None: the mixture's ``videos`` and ``lists``.
        layout: natural: how lists and videos are laid out; see :func:`~vsr.data.lists.read_split`.
        lists: natural: folder of the lists. None: where it usually is.
        split: natural: which split of ``ucf101`` and ``hmdb51``.
    """

    weight: float
    recipe: str | None = None
    videos: str | None = None
    layout: Layout = "ucf101"
    lists: str | None = None
    split: int = 1


class Deal:
    """Which share every sample belongs to: ``deal[n] == (share, m)``, sample n being the m-th of its share.

    Args:
        share: int64 (P,), the shares of samples 0 .. P - 1; the rest repeats them.
    """

    def __init__(self, share: NDArray[np.int64]) -> None:
        self.share, self.number = share, np.empty_like(share)
        self.counts = np.bincount(share)
        for k, count in enumerate(self.counts):
            self.number[share == k] = np.arange(count)

    def __getitem__(self, n: int) -> tuple[int, int]:
        period, place = divmod(n, len(self.share))
        share = int(self.share[place])
        return share, int(self.number[place]) + period * int(self.counts[share])


def dealt(weights: Sequence[float]) -> Deal:
    """Deal samples to shares as evenly as can be: of the first n, share i has less than one more or less than w_i n.

    Weights are taken as they are printed, 0.1 as a tenth. Up to two shares: the first has floor(w n) of the first n.
    More: sample n goes, of the shares that are at least 1 / (2 k - 2) behind w_i n, to the one that will first be 1 -
    1 / (2 k - 2) behind.

    Args:
        weights: of k shares.

    Raises:
        InputError: a weight is not above 0 and at most 1 or has more than six decimals, or their sum is not 1.

    Source: Tijdeman, "The chairman assignment problem", Discrete Mathematics 32, 1980.
    """
    for weight in weights:
        if not 0 < weight <= 1:
            raise InputError(f"weight {weight} is no share of the samples: give more than 0, at most 1")
    exact = [Fraction(str(weight)) for weight in weights]
    if sum(exact) != 1:
        shown = " + ".join(map(str, weights)) or "none"
        raise InputError(f"the weights of the shares ({shown}) sum to {float(sum(exact))}: they must sum to 1")
    period = lcm(*(weight.denominator for weight in exact))
    if period > _LONGEST:
        raise InputError(f"weights {', '.join(map(str, weights))} have more than six decimals: round them")
    counts = [int(weight * period) for weight in exact]
    if len(counts) > 2:
        return Deal(_chairmen(counts, period))
    return Deal(1 - np.diff(np.arange(period + 1) * counts[0] // period))


def _chairmen(counts: list[int], period: int) -> NDArray[np.int64]:
    """Tijdeman's assignment in whole numbers: all is in units of 1 / (period (2 k - 2)) samples."""
    unit = 2 * len(counts) - 2
    inverse = [lcm(*counts) // count for count in counts]
    had = [0] * len(counts)
    share = np.empty(period, dtype=np.int64)
    for n in range(period):
        due = [k for k, count in enumerate(counts) if (count * (n + 1) - had[k] * period) * unit >= period]
        share[n] = first = min(due, key=lambda k: ((had[k] + 1) * unit - 1) * inverse[k])
        had[first] += 1
    return share


class MixedBatch(TypedDict):
    """What the loader carries: addresses, and the decoded clips of natural samples.

    Attributes:
        now: index, epoch and share, int64 (B,), of every sample of the batch.
        following: likewise of the next one, empty after the last.
        natural: for each natural share that has samples in the batch, their clips in its order.
    """

    now: Addresses
    following: Addresses
    natural: dict[int, DecodedBatch]


class MixedSamples(Dataset[MixedBatch]):
    """The sample numbers of a batch and of the next one, to addresses and decoded clips; works in any process.

    Args:
        deal: which sample belongs to which share.
        seed: the data seed.
        sizes: videos in the set of each share; None for an endless one.
        natural: the clips of the natural shares.
    """

    def __init__(self, deal: Deal, seed: int, sizes: list[int | None], natural: dict[int, Clips]) -> None:
        self.deal, self.seed, self.sizes, self.natural = deal, seed, sizes, natural

    @cached_property
    def visits(self) -> list[Visits]:
        """The order of each share's videos; made in the process that uses it, since it can't be sent to another."""
        return [Visits(self.seed, size) for size in self.sizes]

    def __getitem__(self, numbers: tuple[list[int], list[int]]) -> MixedBatch:
        now, following = ([self.deal[n] for n in some] for some in numbers)
        natural = {}
        for k, clips in self.natural.items():
            if mine := [clips[m] for share, m in now if share == k]:
                natural[k] = collate(mine, "pretrain")
        return MixedBatch(now=self._addresses(now), following=self._addresses(following), natural=natural)

    def _addresses(self, dealt: list[tuple[int, int]]) -> Addresses:
        rows = [(*self.visits[share][m], share) for share, m in dealt]
        return list(torch.tensor(rows, dtype=torch.int64).view(-1, 3).unbind(-1))


class VideoMixture(RenderedVideos):
    """Clips of several sets, dealt out evenly in stated shares.

    Sample n of training is sample m of a share (:func:`dealt`), and that is visited as if the share were alone. Natural
    clips are decoded by workers, for the batch that is due; rendered ones are drawn when their addresses arrive. An
    unreadable natural video is treated as in :class:`~vsr.data.clips.ActionClips`.

    Args:
        shares: the parts, whose weights sum to 1.
        name: of the mixture, for run folders.
        num_frames: T of a clip (paper 9.2: 16).
        stride: video frames from one clip frame to the next (paper 9.2: 4).
        size: H = W of a clip, px (paper: 224).
        global_batch_size: clips per optimiser step, over all devices and accumulation steps (paper, table 5: 256).
        max_batch_per_device: clips that fit on a device at once; accumulation follows. None: 64 on CUDA, 4 elsewhere.
        num_workers: processes that decode natural clips, per device; 0 decodes in the main process.
        seed: the data seed.
        videos: folder of the videos of natural shares that name none.
        lists: folder of their lists. None: where it usually is; see :func:`~vsr.data.lists.read_split`.
        max_bad_share: the share of a training list that may be unreadable, 0 to less than 1.
        texture_folder: folder of the images, for recipes that show images. None: the recipes'.
        texture_cache: folder where made textures are kept for other runs. None: they are made anew.
        max_textures: use a smaller texture pool than the recipes', in each. None: the recipes'.
        texture_size: use another texture side than the recipes', texels. None: the recipes'.
        texture_frames: use at most so many frames of dynamic textures. None: the recipes'.
        antialias: samples a pixel is the mean of, along each side: 1 (paper), 2 or 4.
        overlap: on CUDA, draw the next batch in a side stream while this one trains; the clips are the same.
        epoch_size: samples that count as an epoch, 9,537 as in the UCF101 training list (paper 9.2).

    Attributes:
        steps_per_epoch: optimiser steps in an epoch, ``epoch_size // global_batch_size``.

    Raises:
        InputError: weights that don't sum to 1, a share of which recipe, videos or lists are missing or can't be used,
            a batch larger than an epoch, a value out of range.
    """

    def __init__(
        self,
        shares: list[Share],
        name: str,
        num_frames: int = 16,
        stride: int = 4,
        size: int = 224,
        global_batch_size: int = 256,
        max_batch_per_device: int | None = None,
        num_workers: int = 2,
        seed: int = 0,
        videos: str | None = None,
        lists: str | None = None,
        max_bad_share: float = 0.01,
        texture_folder: str | None = None,
        texture_cache: str | None = None,
        max_textures: int | None = None,
        texture_size: int | None = None,
        texture_frames: int | None = None,
        antialias: Antialias = 1,
        overlap: bool = True,
        epoch_size: int = 9537,
    ) -> None:
        super().__init__(
            num_frames, stride, size, global_batch_size, max_batch_per_device, seed, texture_cache, overlap, epoch_size
        )
        self.shares, self.name, self.num_workers, self.videos = shares, name, num_workers, videos
        if num_workers < 0:
            raise InputError(f"num_workers {num_workers} is negative: give 0 or more")
        self.deal = dealt([share.weight for share in shares])
        self.rendered: dict[int, RecipeClips] = {}
        self.natural: dict[int, Clips] = {}
        self._limits: dict[int, Unreadable] = {}
        for k, share in enumerate(shares):
            if share.recipe is None:
                folder, where = _places(share, k, name, videos, lists)
                _, items = read_split(share.layout, folder, where, share.split, "train")
                self._limits[k] = Unreadable(len(items), max_bad_share)
                self.natural[k] = Clips(items, "pretrain", seed, num_frames, stride, size, self._limits[k].most)
            elif share.videos is not None or share.lists is not None:
                raise InputError(f"share {k} of {name!r} has a recipe and videos: make two shares of it")
            else:
                recipe = with_folder(load_recipe(share.recipe), texture_folder)
                recipe = recipe.with_textures(max_textures, texture_size, texture_frames)
                self.rendered[k] = RecipeClips(recipe, seed, num_frames, stride, size, antialias, texture_cache)

    @property
    def recipes(self) -> list[tuple[Recipe, float]]:
        """What is rendered: the recipes of the synthetic shares, each with its share of the samples."""
        return [(clips.recipe, self.shares[k].weight) for k, clips in self.rendered.items()]

    def where(self, index: int, epoch: int, share: int = 0) -> tuple[str, str]:
        """A clip's address in words, and the command that shows the clip, or the video's path."""
        if share in self.rendered:
            return self.rendered[share].where(index, epoch)
        path = self.natural[share].items[index].path
        return f"{self.name} share {share} index {index} epoch {epoch}", str(path)

    def provenance(self) -> dict[str, Any]:
        """What the clips are made from, share by share and together, as plain values."""
        shares = [{"weight": share.weight, **self._share_provenance(k)} for k, share in enumerate(self.shares)]
        natural = {
            key: "; ".join(dict.fromkeys(s[key] for s in shares if s[key] != "none")) or "none"
            for key in ("natural_videos", "natural_images")
        }
        return {"dataset": self.name, "shares": shares, **natural}

    def _share_provenance(self, k: int) -> dict[str, Any]:
        if k in self.rendered:
            return self.rendered[k].provenance()
        share, count = self.shares[k], len(self.natural[k])
        split = f"{share.layout}, split {share.split}" if share.layout in ("ucf101", "hmdb51") else share.layout
        return {
            "layout": share.layout,
            "split": share.split,
            "videos": count,
            "natural_videos": f"{count} training videos in {share.videos or self.videos} ({split})",
            "natural_images": "none",
        }

    def train_dataloader(self) -> DataLoader[Any]:
        """This rank's micro-batches, :class:`MixedBatch`, from the optimiser step the trainer is at."""
        sizes = [
            len(self.natural[k]) if k in self.natural else self.rendered[k].recipe.num_videos
            for k in range(len(self.shares))
        ]
        workers = self.num_workers if self.natural else 0  # addresses need none
        return DataLoader(
            MixedSamples(self.deal, self.seed, sizes, self.natural),
            batch_size=None,
            sampler=self._batches(),
            num_workers=workers,
            pin_memory=self.device.type == "cuda",
            persistent_workers=workers > 0,
            worker_init_fn=begin_worker,
            multiprocessing_context=started_by(workers),
        )

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Decoded clips go to the device; addresses stay on the CPU, where they can be compared without waiting."""
        natural = {
            k: super(VideoMixture, self).transfer_batch_to_device(decoded, device, dataloader_idx)
            for k, decoded in batch["natural"].items()
        }
        return MixedBatch(now=batch["now"], following=batch["following"], natural=natural)

    def on_after_batch_transfer(self, batch: MixedBatch, dataloader_idx: int) -> Batch:
        """Render the synthetic samples and crop the natural ones on the trainer's device, in the samples' order.

        Raises:
            InputError: too many natural videos can't be read.
        """
        video = self._arrive(batch["now"], batch["following"])
        index, epoch, share = (t.to(self.device, non_blocking=True) for t in batch["now"])
        for k, decoded in batch["natural"].items():
            self._limits[k].count(decoded)
            at = _positions(batch["now"][2], k, self.device)
            video.index_copy_(0, at, show(decoded, self.num_frames, self.size, self.seed))
            index = index.index_copy(0, at, decoded["index"])  # another's, where one can't be read
        return Batch(video=video, index=index, epoch=epoch, share=share)

    def _draw(self, addresses: Addresses, device: torch.device) -> Tensor:
        """The synthetic clips in their places, and room for the natural ones."""
        index, epoch, share = addresses
        shape = (len(index), 3, self.num_frames, self.size, self.size)
        video = torch.empty(shape, dtype=torch.uint8, device=device)
        for k, clips in self.rendered.items():
            mine = share == k
            if mine.any():
                video.index_copy_(0, _positions(share, k, device), clips(index[mine], epoch[mine], device))
        return video


def _places(share: Share, k: int, name: str, videos: str | None, lists: str | None) -> tuple[str, str | None]:
    """Folder and lists of a natural share."""
    if share.videos is not None:
        return share.videos, share.lists
    if videos is None:
        raise InputError(
            f"share {k} of {name!r} is natural and names no videos: set --data.videos to the folder of the videos, "
            "and --data.lists to that of their lists where it is not beside them"
        )
    return videos, share.lists or lists


def _positions(share: Tensor, k: int, device: torch.device) -> Tensor:
    """Where a batch has samples of share k."""
    return (share == k).nonzero().flatten().to(device, non_blocking=True)
