"""Test videos under corruptions, each decoded once: what ``vsr test`` on UCF101-P is fed with."""

from collections.abc import Iterator
from itertools import tee
from pathlib import Path
from typing import Any, Literal, TypedDict, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vsr.corruptions import BENCHMARK, FIGURE, SEVERITIES, Cell, cells
from vsr.corruptions.codec import recode
from vsr.corruptions.pixel import perturb
from vsr.corruptions.temporal import order
from vsr.data import Batch
from vsr.data.batches import EvalBatches
from vsr.data.clips import ActionClips
from vsr.data.corrupted_set import CorruptedSet, read_corrupted
from vsr.data.decode import every_frame, read_frames
from vsr.data.decoded import begin_worker, short_side, started_by
from vsr.data.lists import Item, Layout
from vsr.data.manifest import name_in
from vsr.data.sampling import crop_offsets, distinct_views, sampled_frames, view_frames
from vsr.errors import InputError

CLEAN = 0
"""The number of the cell that is no corruption."""


class CorruptibleVideo(TypedDict):
    """A decoded test video, and what is needed to show it under every cell.

    Attributes:
        video: uint8 (C, frames, H, W), every frame that any cell shows, once.
        places: by cell number, int64 (segments, T): where in ``video`` the frames of each segment stand. What isn't
            named shows what the clean video (0) does.
        recoded: by cell number, uint8 (C, frames, H, W): the frames of ``video`` that a codec has left, or a file has.
        starts: of each segment, the place of its first frame among the sampled ones; equal ones show the same.
        index, label: of the video.
        unreadable: what is wrong with it, or nothing. Not an exception: the error of a worker process arrives with
            that process's traceback for a message.
    """

    video: Tensor
    places: dict[int, Tensor]
    recoded: dict[int, Tensor]
    starts: list[int]
    index: int
    label: int
    unreadable: str


class Chunk(TypedDict):
    """What one batch shows: some cells of a video, which itself comes with the first of its chunks only."""

    video: CorruptibleVideo | None
    cells: list[int]


class CorruptedClips(ActionClips):
    """Every test video clean and under every corruption, in the views of :class:`~vsr.data.clips.ActionClips`.

    A video is decoded once. What a codec does comes first, on the CPU; then the short side is resized; what changes the
    order of the sampled frames comes before views are cut, what changes pixels after they are cropped, as in the
    released code, on uint8 frames on the device. (By a slip the release shows its pixel corruptions colour-negated
    frames; that is not followed.) Views of the same frames are shown once, under the draws of the first. Each batch has
    ``cell``: 0 for the clean video, or :attr:`vsr.corruptions.Cell.number`.

    Args:
        videos: like all that are not named here, as in :class:`~vsr.data.clips.ActionClips`.
        layout: likewise.
        lists: likewise.
        split: likewise.
        name: likewise.
        num_frames: likewise.
        stride: likewise.
        size: likewise.
        global_batch_size: likewise; of no effect in a test.
        max_batch_per_device: views on a device at once; a batch has all views of at least one cell.
        num_workers: likewise.
        seed: of the draws, with the video, the cell and the view.
        manifest: likewise.
        test_segments: likewise.
        test_crops: likewise.
        perturbations: names, ``figure`` (the 14 of the paper's figure 3) or ``benchmark`` (the benchmark's 18).
        severities: some of 1 .. 5; null: all.
        corrupted: a folder of ``vsr corrupt`` that holds these videos; every cell is then read from its files. null:
            corruptions are made here, as above.

    Attributes:
        cells: the corruptions that are shown, in order.

    Raises:
        InputError: as :class:`~vsr.data.clips.ActionClips`, or a perturbation or severity is unknown.
    """

    def __init__(
        self,
        videos: str,
        layout: Layout = "ucf101",
        lists: str | None = None,
        split: int = 1,
        name: str = "ucf101p",
        num_frames: int = 16,
        stride: int = 4,
        size: int = 224,
        global_batch_size: int = 256,
        max_batch_per_device: int | None = None,
        num_workers: int = 2,
        seed: int = 0,
        manifest: str | None = None,
        test_segments: int = 1,
        test_crops: int = 1,
        perturbations: list[str] | Literal["figure", "benchmark"] = "figure",
        severities: list[int] | None = None,
        corrupted: str | None = None,
    ) -> None:
        named = {"figure": FIGURE, "benchmark": BENCHMARK}
        chosen = named[perturbations] if isinstance(perturbations, str) else perturbations
        self.cells = cells(chosen, range(1, SEVERITIES + 1) if severities is None else severities)
        super().__init__(
            videos, layout, lists, split, name=name, num_frames=num_frames, stride=stride, size=size,
            global_batch_size=global_batch_size, max_batch_per_device=max_batch_per_device, num_workers=num_workers,
            seed=seed, manifest=manifest, test_segments=test_segments, test_crops=test_crops,
        )  # fmt: skip
        self._written = None if corrupted is None else read_corrupted(corrupted)
        making = self.cells if self._written is None else []
        self._perturbing = {cell.number: cell for cell in making if cell.works_on == "clip"}
        self._video: CorruptibleVideo | None = None
        self._shown: dict[int, Tensor] = {}

    def setup(self, stage: str) -> None:
        """Read the test list.

        Raises:
            InputError: this is not a test.
        """
        if stage != "test":
            raise InputError(f"CorruptedClips are for vsr test, not for vsr {stage}: give --data ActionClips")
        super().setup(stage)
        if self._written is not None:
            self._written.check_covers(name_in(self._videos, item.path) for item in self._items["test"])

    def test_dataloader(self) -> Any:
        """This rank's test videos, each in as many chunks of cells as :class:`Chunk` says."""
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        items = self._items["test"]
        videos = DataLoader(
            CorruptibleVideos(
                items,
                self.cells,
                self.seed,
                self.num_frames,
                self.stride,
                self.test_segments,
                self._videos,
                self._written,
            ),
            sampler=EvalBatches(len(items), 1, rank, world).items,  # refuses a process without a video
            batch_size=None,
            num_workers=self.num_workers,
            pin_memory=self._on_cuda(),
            worker_init_fn=begin_worker,
            multiprocessing_context=started_by(self.num_workers),
        )
        every = [CLEAN, *(cell.number for cell in self.cells)]
        most = max(self._most // (self.test_segments * self.test_crops), 1)
        return _Chunks(videos, [every[i : i + most] for i in range(0, len(every), most)])

    def on_after_batch_transfer(self, batch: Chunk, dataloader_idx: int) -> Batch:  # type: ignore[override]
        """Show a video under some cells, on its device.

        Raises:
            InputError: the video can't be read.
        """
        if batch["video"] is not None:
            self._video = batch["video"]
            if self._video["unreadable"]:
                raise InputError(self._video["unreadable"])
            clips = {CLEAN: self._video["video"], **self._video["recoded"]}
            self._shown = {number: short_side(clip, self.size) for number, clip in clips.items()}
        assert self._video is not None
        shown = [self._show(self._video, number) for number in batch["cells"]]
        return cast(Batch, {key: torch.cat([one[key] for one in shown]) for key in shown[0]})  # type: ignore[literal-required]

    def _show(self, video: CorruptibleVideo, number: int) -> Batch:
        """The views of a video under one cell."""
        frames = self._shown.get(number, self._shown[CLEAN])
        places = video["places"].get(number, video["places"][CLEAN])
        height, width = video["video"].shape[-2:]
        offsets = crop_offsets(height, width, self.size, self.test_crops)
        longer = -1 if frames.shape[-1] > self.size else -2
        views = distinct_views(video["starts"], offsets)
        segments = {s: frames.index_select(1, places[s]) for s, _, _ in views}
        clips = torch.stack([segments[s].narrow(longer, offsets[c], self.size) for s, c, _ in views])
        view = torch.tensor([s * self.test_crops + c for s, c, _ in views]).to(clips.device)
        index = torch.full_like(view, video["index"])
        if number in self._perturbing:
            clips = perturb(self._perturbing[number], clips, index, view, self.seed)
        return Batch(
            video=clips,
            index=index,
            epoch=torch.zeros_like(view),
            label=torch.full_like(view, video["label"]),
            view=view,
            weight=torch.tensor([weight for _, _, weight in views]).to(clips.device),
            cell=torch.full_like(view, number),
        )


class CorruptibleVideos(Dataset[CorruptibleVideo]):
    """Test videos, decoded; works in any process.

    Args:
        items: the videos.
        cells: the corruptions they will be shown under.
        seed: the data seed.
        num_frames: T of a clip.
        stride: frames of the video from one of the clip to the next.
        segments: clips along a video.
        videos: the folder that names in ``written`` start from.
        written: where every cell is to be read; None: nowhere.
    """

    def __init__(
        self,
        items: list[Item],
        cells: list[Cell],
        seed: int,
        num_frames: int,
        stride: int,
        segments: int,
        videos: Path,
        written: CorruptedSet | None = None,
    ) -> None:
        self.items, self.cells, self.seed, self.videos, self.written = items, cells, seed, videos, written
        self.num_frames, self.stride, self.segments = num_frames, stride, segments

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> CorruptibleVideo:
        nothing = torch.empty(0, dtype=torch.uint8)
        made = CorruptibleVideo(
            video=nothing, places={}, recoded={}, starts=[], index=index, label=self.items[index].label, unreadable=""
        )
        try:
            self._read(made)
        except InputError as error:
            made["unreadable"] = str(error)
        return made

    def _read(self, made: CorruptibleVideo) -> None:
        item, wanted = self.items[made["index"]], np.empty(0, dtype=np.int64)

        def pick(count: int) -> NDArray[np.int64]:
            nonlocal wanted
            sampled = sampled_frames(count, self.num_frames, self.stride)
            rows = view_frames(len(sampled), self.segments, self.num_frames, stride=1)
            shown = {CLEAN: sampled[rows]}
            for cell in self.cells:
                if cell.works_on == "order" and self.written is None:
                    shown[cell.number] = sampled[order(cell, len(sampled), made["index"], self.seed)][rows]
            wanted = np.unique(np.concatenate([frames.ravel() for frames in shown.values()]))
            made["starts"] = rows[:, 0].tolist()
            made["places"] = {n: torch.from_numpy(np.searchsorted(wanted, frames)) for n, frames in shown.items()}
            return wanted

        made["video"] = _clip(read_frames(item.path, pick, item.known_frames()))
        coding = [cell for cell in self.cells if cell.works_on == "file"]
        if self.written is not None:
            name = name_in(self.videos, item.path)
            files = {cell.number: self.written.file(name, cell) for cell in self.cells}
            made["recoded"] = {number: _clip(read_frames(file, lambda _: wanted)) for number, file in files.items()}
        elif coding:
            made["recoded"] = _recoded(item.path, coding, set(wanted.tolist()))


class _Chunks:
    """The videos of a loader, each as one batch for every group of cells."""

    def __init__(self, videos: "DataLoader[CorruptibleVideo]", groups: list[list[int]]) -> None:
        self.videos, self.groups = videos, groups

    def __len__(self) -> int:
        return len(self.videos) * len(self.groups)

    def __iter__(self) -> Iterator[Chunk]:
        for video in self.videos:
            for place, group in enumerate(self.groups):
                yield Chunk(video=video if place == 0 else None, cells=group)


def _clip(frames: NDArray[np.uint8]) -> Tensor:
    """Frames (T, H, W, C) as (C, T, H, W)."""
    return torch.from_numpy(frames).permute(3, 0, 1, 2)


def _recoded(path: Path, coding: list[Cell], wanted: set[int]) -> dict[int, Tensor]:
    """The wanted frames of a video after each codec, in lockstep: no more is held than the codecs hold back."""
    coded = [recode(cell, frames) for cell, frames in zip(coding, tee(every_frame(path), len(coding)), strict=True)]
    kept = [frames for number, frames in enumerate(zip(*coded, strict=True)) if number in wanted]
    return {cell.number: _clip(np.stack(frames)) for cell, frames in zip(coding, zip(*kept, strict=True), strict=True)}
