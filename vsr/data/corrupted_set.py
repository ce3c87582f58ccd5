"""A folder of corrupted videos, as ``vsr corrupt`` writes it: which file shows which video under what.

The file of a video ``CLASS/NAME.avi`` is ``<perturbation>/<severity>/CLASS/NAME.avi.mp4``: its own ending stays, so
that no two videos meet in one file. MP4 files tell when they are cut off, which Matroska's don't. ``manifest.jsonl``
begins with a line that says what the set is, and has a line for each source video and for each file. If a file comes
twice, the later line counts.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsr.corruptions import Cell, cells
from vsr.errors import InputError, nearest

SCHEMA = 1
MANIFEST = "manifest.jsonl"
_ANEW = "give a folder that vsr corrupt has written"


@dataclass(frozen=True)
class Header:
    """What a set is; the first line of its manifest.

    Attributes:
        vsr: the version that writes it.
        source: name of the folder of the source videos.
        seed: of the draws.
        perturbations: names, in order.
        severities: 1 .. 5, in order.
        encoding: of the files, in words.
        videos: every source video, from the source's folder; a video's place here is its index in all draws.
        what: kind of the folder.
        schema: of the manifest.
    """

    vsr: str
    source: str
    seed: int
    perturbations: list[str]
    severities: list[int]
    encoding: str
    videos: list[str]
    what: str = "corrupted videos"
    schema: int = SCHEMA


@dataclass(frozen=True)
class Source:
    """A source video that could be read.

    Attributes:
        video: from the source's folder, with slashes.
        index: place among all source videos, by name.
        frames: how many decode.
        height: as it is shown, px.
        width: likewise, px.
        fps: frames per second, as the file states it; 0 where it doesn't.
        size: bytes.
        sha256: of the file.
    """

    video: str
    index: int
    frames: int
    height: int
    width: int
    fps: float
    size: int
    sha256: str


@dataclass(frozen=True)
class Written:
    """A file of the set.

    Attributes:
        file: from the set's folder, with slashes.
        video: its source.
        perturbation: what it shows.
        severity: likewise.
        frames: as many as the source has.
        size: bytes.
        sha256: of the file.
    """

    file: str
    video: str
    perturbation: str
    severity: int
    frames: int
    size: int
    sha256: str


@dataclass(frozen=True)
class CorruptedSet:
    """What a manifest says.

    Attributes:
        folder: of the set.
        header: what it is.
        sources: the source videos that could be read, by name.
        written: the files, by video and cell.
    """

    folder: Path
    header: Header
    sources: dict[str, Source]
    written: dict[tuple[str, Cell], Written]

    def file(self, video: str, cell: Cell) -> Path:
        """The file that shows a source video under a cell.

        Args:
            video: from the source's folder, such as ``CLASS/NAME.avi``.
            cell: a perturbation and a severity.

        Raises:
            InputError: the set has no such video or cell, or the file is missing or not the one that was written.
        """
        entry = self.written.get((video, cell))
        if entry is None:
            raise self._not_written(video, cell)
        path = self.folder / entry.file
        try:
            size = path.stat().st_size
        except OSError:
            size = -1
        if size != entry.size:
            found = "is missing" if size < 0 else f"has {size} bytes where its manifest has {entry.size}"
            raise InputError(f"{path} {found}: write it again with the same vsr corrupt")
        return path

    def _not_written(self, video: str, cell: Cell) -> InputError:
        what = f"{cell.perturbation} of severity {cell.severity}"
        known = cells(self.header.perturbations, self.header.severities)
        if cell not in known:
            names = ", ".join(f"{name} {severity}" for name, severity in known)
            return InputError(f"{self.folder} has no {what}, only {names}: write one that has it with vsr corrupt")
        self.check_covers([video])
        return InputError(f"{self.folder} has no {what} of {video} yet: go on with the vsr corrupt that has begun it")

    def check_covers(self, videos: Iterable[str]) -> None:
        """Refuse source videos that the set doesn't hold.

        Args:
            videos: from the source's folder.

        Raises:
            InputError: some aren't there, or couldn't be read when the set was written.
        """
        missing = [video for video in videos if video not in self.sources]
        if missing:
            first = missing[0]
            why, remedy = nearest(first, list(self.sources)), "write a set from a folder that has them"
            if first in self.header.videos:
                why, remedy = " (it couldn't be read)", "mend it, and go on with the same vsr corrupt"
            raise InputError(f"{self.folder} doesn't hold {len(missing)} of the videos, first {first}{why}: {remedy}")


def read_corrupted(folder: str | Path) -> CorruptedSet:
    """What a folder of corrupted videos holds; its files are looked at when they are asked for.

    Raises:
        InputError: there is no manifest, or it is another kind's, another schema's or damaged.
    """
    folder = Path(folder)
    path = folder / MANIFEST
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}: {_ANEW}") from error
    lines = data[: data.rfind(b"\n") + 1].decode(errors="replace").splitlines()  # one that was cut off is none
    held: CorruptedSet | None = None
    for number, line in enumerate(lines, 1):
        try:
            facts: dict[str, Any] = json.loads(line)
            if held is None:
                held = CorruptedSet(folder, _header(path, facts), {}, {})
            elif "file" in facts:
                written = Written(**facts)
                held.written[written.video, Cell(written.perturbation, written.severity)] = written
            else:
                held.sources[facts["video"]] = Source(**facts)
        except InputError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{path}, line {number}: not a line of a manifest of vsr corrupt: {_ANEW}") from error
    if held is None:
        raise InputError(f"{path} is empty: {_ANEW}")
    return held


def _header(path: Path, first: dict[str, Any]) -> Header:
    if first.get("what") != "corrupted videos":
        raise InputError(f"{path} is the manifest of {first.get('what')}, not of corrupted videos: {_ANEW}")
    if first["schema"] != SCHEMA:
        raise InputError(
            f"{path} has schema {first['schema']}, and this vsr reads {SCHEMA}: read it with vsr {first['vsr']}"
        )
    return Header(**first)


def place(video: str, cell: Cell) -> str:
    """Where the file of a video under a cell lies in a set's folder."""
    return f"{cell.perturbation}/{cell.severity}/{video}.mp4"
