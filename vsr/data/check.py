"""Reads every file of a set for real, before training starts."""

import signal
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from typing import NamedTuple

from vsr.data.decode import measure
from vsr.data.lists import Layout, Subset, read_split
from vsr.data.manifest import Entry, must_take_a_manifest, name_in, read_manifest, write_manifest
from vsr.errors import InputError

_CHUNK = 512  # files asked of the processes at a time


class VideoSet(NamedTuple):
    """Videos and the lists that name them; fields as in :class:`~vsr.data.clips.ActionClips`.

    Attributes:
        videos: folder of the videos.
        layout: how lists and videos are laid out.
        lists: folder of the lists.
        split: which split.
        subsets: the lists that are used.
        span: frames from the first of a clip to its last.
    """

    videos: str
    layout: Layout
    lists: str | None
    split: int
    subsets: tuple[Subset, ...]
    span: int

    def files(self) -> dict[Path, list[Subset]]:
        """The files named, and the lists that name them.

        Raises:
            InputError: a list is missing, empty or has a bad line.
        """
        named: dict[Path, list[Subset]] = {}
        for subset in self.subsets:
            _, items = read_split(self.layout, self.videos, self.lists, self.split, subset, must_exist=False)
            for item in items:
                found = named.setdefault(item.path, [])
                if subset not in found:
                    found.append(subset)
        return named


class Checked(NamedTuple):
    """What checking a set has found.

    Attributes:
        entries: every file.
        kept: how many were known from an earlier manifest and not read again.
    """

    entries: list[Entry]
    kept: int

    @property
    def unreadable(self) -> list[Entry]:
        """Those that can't be read, missing ones included."""
        return [entry for entry in self.entries if entry.frames == 0]

    @property
    def short(self) -> list[Entry]:
        """Those with fewer frames than a clip spans."""
        return [entry for entry in self.entries if entry.frames and entry.trouble]


def check_videos(sets: list[VideoSet], out: Path, num_workers: int) -> Checked:
    """Decode every file of some sets in parallel, with a progress bar, and write what it tells to a manifest.

    A file that an earlier manifest at ``out`` knows as readable, with the size it still has, is not read again. When
    it is stopped, what has been read is kept likewise.

    Args:
        sets: the videos.
        out: where the manifest goes.
        num_workers: processes.

    Raises:
        InputError: a list is missing, empty or has a bad line; ``out`` is no manifest, or can't be written.
    """
    from tqdm import tqdm

    must_take_a_manifest(out)
    jobs: dict[str, tuple[Path, str, int]] = {}
    for videos in sets:
        for path, naming in videos.files().items():
            jobs.setdefault(name_in(Path(videos.videos), path), (path, " ".join(naming), videos.span))
    known = read_manifest(out) if out.exists() else {}
    entries: dict[str, Entry] = {}
    for name, (path, subsets, span) in jobs.items():
        entry = known.get(name)
        if entry is not None and entry.frames and _size(path) == entry.size:
            entries[name] = entry._replace(lists=subsets, trouble=_short(entry.frames, span))
    kept = len(entries)
    left = [(name, *job) for name, job in jobs.items() if name not in entries]
    try:
        for entry in tqdm(_in_parallel(left, num_workers), total=len(left), unit="video", disable=None):
            entries[entry.path] = entry
    finally:
        write_manifest(entries.values(), out)
    return Checked(sorted(entries.values()), kept)


def _in_parallel(jobs: list[tuple[str, Path, str, int]], num_workers: int) -> Iterator[Entry]:
    if not jobs:
        return
    context = get_context("forkserver" if "forkserver" in get_all_start_methods() else "spawn")
    context.set_forkserver_preload(["vsr.data.check"])
    with ProcessPoolExecutor(min(num_workers, len(jobs)), context, initializer=_begin) as pool:
        try:
            for start in range(0, len(jobs), _CHUNK):
                for future in as_completed([pool.submit(_check, *job) for job in jobs[start : start + _CHUNK]]):
                    yield future.result()
        except BrokenProcessPool as error:
            raise InputError(
                "a process that decodes was killed, most often for want of memory: what was read is in the manifest, "
                "give the same command again with a smaller --num_workers"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the command, which keeps what has been read


def _check(name: str, path: Path, subsets: str, span: int) -> Entry:
    try:
        found = measure(path)
    except InputError as error:
        trouble = str(error).removeprefix(f"{path}: ")
        return Entry(name, _size(path), 0, 0, 0, 0.0, 0.0, subsets, trouble)
    seconds = round(found.frames / found.fps, 3) if found.fps else 0.0
    trouble = _short(found.frames, span)
    return Entry(
        name, _size(path), found.frames, found.height, found.width, round(found.fps, 3), seconds, subsets, trouble
    )


def _short(frames: int, span: int) -> str:
    return f"short: {frames} frames, a clip spans {span}: frames are repeated" if frames < span else ""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def summary(checked: Checked, out: Path) -> list[str]:
    """What was found, in lines: every unreadable file with its reason, then numbers."""
    entries, short, bad = checked.entries, checked.short, checked.unreadable
    lines = [f"{entry.path}: {entry.trouble} ({entry.lists})" for entry in bad]
    good = [entry for entry in entries if entry.frames]
    lines.append(f"{len(entries)} videos, {checked.kept} known from before; {len(bad)} can't be read")
    if short:
        shortest = min(short, key=lambda entry: entry.frames)
        lines.append(
            f"{len(short)} shorter than a clip, which repeats frames then; the shortest, {shortest.path}, has "
            f"{shortest.frames} frames"
        )
    if good:
        sizes = Counter((entry.width, entry.height) for entry in good)
        (width, height), count = sizes.most_common(1)[0]
        frames = sorted(entry.frames for entry in good)
        lines.append(
            f"{frames[0]} to {frames[-1]} frames, median {frames[len(frames) // 2]}; {len(sizes)} frame sizes, "
            f"{count} of them {width} x {height} px"
        )
    return [*lines, f"{out}: the manifest; read it with --data.manifest {out}"]
