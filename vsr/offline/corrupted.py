"""Videos under corruptions as files: what the benchmark's authors made offline and never published.

Other than ``vsr test``, which corrupts views after they are cut, this corrupts whole videos at full resolution, as the
benchmark does, and compresses the result once more. A clip of pixels is then the whole video, view 0; what changes the
order of frames changes that of all of them. A video's index is its place in the folder, not in a list: draws differ.

A process holds one decoded video, with what it makes of it at most six times its pixels, and the file under way,
compressed. No video of more than 1 GiB is held: of a larger one, frames come in blocks or one by one. Its pixels can't
be perturbed, as draws are made for a video as a whole.
"""

import hashlib
import io
import json
import os
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import av
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from vsr.corruptions import FIGURE, SEVERITIES, Cell, cells
from vsr.corruptions.codec import recode
from vsr.corruptions.pixel import perturb
from vsr.corruptions.temporal import order
from vsr.data.corrupted_set import MANIFEST, CorruptedSet, Header, Source, Written, place, read_corrupted
from vsr.data.decode import VIDEO_ENDINGS, every_frame, measure, read_frames
from vsr.errors import InputError
from vsr.export import UNFINISHED, encoding, whole, write_mp4
from vsr.offline.workers import in_parallel
from vsr.rng import check_seed

_MOST = 2**30  # bytes of pixels that a process holds
_USUAL_RATE = 25  # of videos that don't state theirs

Frame = NDArray[np.uint8]


class Corrupted(NamedTuple):
    """What was written.

    Attributes:
        made: files made now.
        there: files that were there.
        size: of all of them, bytes.
        seconds: how long it took.
        videos: in the source, unreadable ones included.
        passed_over: files of the source that no video's name ends like.
        unreadable: why, by the names of videos that have no files.
    """

    made: int
    there: int
    size: int
    seconds: float
    videos: int
    passed_over: list[str]
    unreadable: dict[str, str]

    def lines(self) -> list[str]:
        """The same in words."""
        over = self.passed_over
        pace = f", {self.made / self.seconds:.2f} files/s" if self.made else ""
        return [
            f"{self.made} files made, {self.there} were there, {self.size / 1e6:.1f} MB, {self.seconds:.1f} s{pace}",
            *([f"{len(over)} other files passed over, first {over[0]}"] if over else []),
            *(f"{video}: {why}" for video, why in self.unreadable.items()),
        ]


def corrupt_videos(
    src: str | Path,
    dst: str | Path,
    perturbations: Iterable[str] = FIGURE,
    severities: Iterable[int] = range(1, SEVERITIES + 1),
    seed: int = 0,
    lossless: bool = False,
    workers: int | None = None,
) -> Corrupted:
    """Write every video of a folder under every cell, those files that are not there yet.

    :func:`~vsr.data.corrupted_set.read_corrupted` reads what is written; see there for its layout. After a kill the
    same call goes on; a file is whole or not there. A video that can't be read has no files and is named; when it is
    mended, the same call adds it.

    From a script it wants ``if __name__ == "__main__":``, as all that starts processes.

    Args:
        src: the folder of the videos, at any depth; what is hidden or isn't called like a video is passed over.
        dst: the folder of the set; it is made.
        perturbations: names.
        severities: 1 .. 5.
        seed: of the draws, in [0, 2^64).
        lossless: exactly the corrupted RGB, instead of yuv420p, which halves colour and loses an odd last row and
            column.
        workers: processes; None: one for each core.

    Raises:
        InputError: a perturbation or severity is unknown, ``src`` is no folder or has no videos, ``dst`` lies in it,
            holds something else or can't be written, a source video has changed since files were made from it, or
            FFmpeg lacks a codec. What is done stays.
    """
    start = time.perf_counter()
    names, levels = list(perturbations), list(severities)
    wanted = cells(names, levels)
    check_seed(seed)
    if workers is not None and workers < 1:
        raise InputError(f"{workers} workers can't work: give 1 or more")
    src, dst = Path(src), Path(dst)
    for cell in wanted:
        if cell.works_on == "file":
            recode(cell, [])  # refuses what this FFmpeg can't do
    videos, passed_over = _list_videos(src)
    if dst.resolve().is_relative_to(src.resolve()):
        raise InputError(f"{dst} lies in {src}, whose videos it would then be counted among: give a DST outside")
    header = Header(version("vsr"), src.resolve().name, seed, names, levels, encoding(lossless), videos)
    workers = workers or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    made = 0
    try:
        with _opened(dst, header) as (held, manifest):
            unreadable = _survey(src, held, manifest, wanted, workers)
            job = _Corrupting(src, list(held.sources.values()), wanted, seed, lossless)
            todo = [(n, dst / job.name(n)) for n in range(len(job)) if not _is_there(held, *job.address(n))]
            with (
                tqdm(total=len(job), initial=len(job) - len(todo), unit="file", desc=str(dst), disable=None) as bar,
                closing(in_parallel(job, todo, workers)) as files,
            ):
                for item in files:
                    source, cell = job.address(item.number)
                    written = Written(job.name(item.number), source.video, *cell, **item.facts)
                    held.written[source.video, cell] = written
                    _add(manifest, written)
                    made += item.now
                    bar.update()
    except (InputError, OSError) as error:
        if made == 0 and isinstance(error, InputError):
            raise
        reason = f"can't write {dst} ({error.strerror})" if isinstance(error, OSError) else str(error)
        raise InputError(f"{reason}; what is done stays, and the same command goes on") from error
    size = sum(held.written[source.video, cell].size for source in job.sources for cell in wanted)
    seconds = time.perf_counter() - start
    return Corrupted(made, len(job) - made, size, seconds, len(videos), passed_over, unreadable)


def corrupted(path: Path, frames: int, size: int, cell: Cell, index: int, seed: int) -> Iterator[Frame]:
    """All frames of a video under a cell.

    Args:
        path: the video file.
        frames: how many decode.
        size: bytes of its pixels.
        cell: what is done to it.
        index: the video's.
        seed: of the draws.

    Returns:
        uint8 (H, W, 3) each, RGB, as many as the video has.

    Raises:
        InputError: it can't be read.
    """
    fits = size <= _MOST
    if cell.works_on == "file":
        return recode(cell, _held(path) if fits else every_frame(path))
    if cell.works_on == "clip":
        clip = torch.from_numpy(_held(path)).permute(3, 0, 1, 2)[None]
        perturbed = perturb(cell, clip, torch.tensor([index]), torch.tensor([0]), seed)
        return iter(perturbed[0].permute(1, 2, 3, 0).numpy())
    shown = order(cell, frames, index, seed)
    if fits:
        return (_held(path)[number] for number in shown)
    blocks = np.array_split(shown, -(-size // _MOST))
    return (frame for block in blocks for frame in read_frames(path, lambda _, block=block: block, frames))  # type: ignore[misc]


@lru_cache(maxsize=1)
def _held(path: Path) -> NDArray[np.uint8]:
    """All frames of a video. A process makes its files one after the other, and decodes it once."""
    return read_frames(path, np.arange)


@dataclass(frozen=True)
class _Corrupting:
    """The files of a set, numbered: a video's stand together."""

    src: Path
    sources: list[Source]
    cells: list[Cell]
    seed: int
    lossless: bool

    def __len__(self) -> int:
        return len(self.sources) * len(self.cells)

    def address(self, number: int) -> tuple[Source, Cell]:
        source, cell = divmod(number, len(self.cells))
        return self.sources[source], self.cells[cell]

    def name(self, number: int) -> str:
        source, cell = self.address(number)
        return place(source.video, cell)

    def make(self, number: int) -> bytes:
        source, cell = self.address(number)
        frames = corrupted(self.src / source.video, source.frames, _pixel_bytes(source), cell, source.index, self.seed)
        file = io.BytesIO()
        rate = Fraction(source.fps).limit_denominator(1001) or Fraction(_USUAL_RATE)
        write_mp4(frames, file, rate, self.lossless)
        return file.getvalue()

    def facts(self, data: bytes) -> dict[str, Any] | None:
        try:
            with av.open(io.BytesIO(data)) as video:
                return {"frames": video.streams.video[0].frames, "size": len(data)}
        except (av.FFmpegError, IndexError):
            return None


def _pixel_bytes(source: Source) -> int:
    return source.frames * source.height * source.width * 3


def _list_videos(src: Path) -> tuple[list[str], list[str]]:
    """The videos of a folder, and its other files, by name: from the folder, with slashes, sorted."""
    if not src.is_dir():
        raise InputError(f"{src}: no such folder: give the folder of the videos")
    found: dict[bool, list[str]] = {True: [], False: []}
    for folder, folders, files in os.walk(src, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith("."):
                path = Path(folder, name)
                found[path.suffix.lower() in VIDEO_ENDINGS].append(path.relative_to(src).as_posix())
    if not found[True]:
        holds = f"{len(found[False])} files, first {min(found[False])}," if found[False] else "nothing"
        raise InputError(
            f"{src} holds {holds} and no video: give a folder with files that end in {', '.join(VIDEO_ENDINGS)}"
        )
    return sorted(found[True]), sorted(found[False])


@contextmanager
def _opened(dst: Path, header: Header) -> Iterator[tuple[CorruptedSet, TextIO]]:
    """The set in a folder, begun if the folder is new or empty, and its manifest to write on.

    Raises:
        InputError: the folder holds something else, or can't be written.
    """
    path = dst / MANIFEST
    try:
        dst.mkdir(parents=True, exist_ok=True)
        names = sorted(entry.name for entry in dst.iterdir() if not entry.name.startswith(UNFINISHED))
        if MANIFEST not in names:
            if names:
                raise InputError(f"{dst} holds {names[0]} and no {MANIFEST}: give a new or an empty folder as DST")
            with whole(path) as part:
                part.write_text(json.dumps(asdict(header)) + "\n", encoding="utf-8")
        held = read_corrupted(dst)
        _check_same(dst, held.header, header)
        for unfinished in dst.rglob(f"{UNFINISHED}*"):
            unfinished.unlink()
        data = path.read_bytes()
        if not data.endswith(b"\n"):
            os.truncate(path, data.rfind(b"\n") + 1)  # a line that was cut off
        manifest = path.open("a", encoding="utf-8")
    except OSError as error:
        raise InputError(f"can't write {dst} ({error.strerror}): give another DST") from error
    with manifest:
        yield held, manifest


def _check_same(dst: Path, there: Header, here: Header) -> None:
    """Refuse to go on with another set.

    Raises:
        InputError: it is one.
    """
    for key, new in asdict(here).items():
        old = getattr(there, key)
        if old != new and key == "videos":
            name = min(set(there.videos) ^ set(here.videos))
            raise InputError(
                f"{dst} was made from {len(there.videos)} videos, and {len(here.videos)} are in {here.source}, first "
                f"difference {name}: a video's index is its place among all; give another DST, or the same videos"
            )
        if old != new:
            raise InputError(
                f"{dst} holds another set, with {key} {old} where this has {new}: give another DST, or the same {key}"
            )


def _survey(src: Path, held: CorruptedSet, manifest: TextIO, wanted: list[Cell], workers: int) -> dict[str, str]:
    """Read every source video; list those that aren't yet.

    Returns:
        Why a video is left out, by name.

    Raises:
        InputError: one has changed.
    """
    unreadable: dict[str, str] = {}
    jobs = [(src, name, index, held.sources.get(name)) for index, name in enumerate(held.header.videos)]
    with ThreadPoolExecutor(workers) as pool:  # FFmpeg and hashing don't hold the lock of Python's threads
        read = tqdm(pool.map(_read, *zip(*jobs, strict=True)), total=len(jobs), unit="video", disable=None)
        for (_, name, _, known), found in zip(jobs, read, strict=True):
            if isinstance(found, str):
                unreadable[name] = found
                held.sources.pop(name, None)
                continue
            if found != known:
                held.sources[name] = found
                _add(manifest, found)
            if _pixel_bytes(found) > _MOST and any(cell.works_on == "clip" for cell in wanted):
                unreadable[name] = (
                    f"{found.frames} frames of {found.width} x {found.height} px are too large to perturb their pixels "
                    f"({_pixel_bytes(found) / 2**30:.1f} GiB, of at most {_MOST / 2**30:.0f}): cut or shrink it"
                )
                del held.sources[name]
    return unreadable


def _read(src: Path, name: str, index: int, known: Source | None) -> Source | str:
    """What a video is, or why it can't be read.

    Raises:
        InputError: it is no longer what is known.
    """
    path = src / name
    try:
        with path.open("rb") as file:
            size, digest = path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()
        if known is not None and digest != known.sha256:
            raise InputError(f"{path} has changed since its files were made: give another DST, or the video as it was")
        return known or Source(name, index, *measure(path), size, digest)
    except OSError as error:
        return f"can't be read ({error.strerror}): mend its permissions"
    except InputError as error:
        if known is not None:
            raise
        return str(error).removeprefix(f"{path}: ")


def _is_there(held: CorruptedSet, source: Source, cell: Cell) -> bool:
    """Whether a file is listed and there. One of another size than listed is removed."""
    if (source.video, cell) not in held.written:
        return False
    try:
        held.file(source.video, cell)
    except InputError:
        (held.folder / place(source.video, cell)).unlink(missing_ok=True)
        return False
    return True


def _add(manifest: TextIO, entry: Source | Written) -> None:
    manifest.write(json.dumps(asdict(entry)) + "\n")
    manifest.flush()
