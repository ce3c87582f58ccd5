"""What decoding a set's files has told of them: a CSV file that ``vsr check-data`` writes and training reads."""

import csv
from collections.abc import Iterable, Mapping
from errno import EISDIR
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

from vsr.data.lists import Item
from vsr.errors import InputError


class Entry(NamedTuple):
    """A file of a manifest; the fields are its columns.

    Attributes:
        path: of the file, from the folder of the videos where it lies in it.
        size: bytes; 0 where the file is missing.
        frames: how many decode; 0 where it can't be read.
        height: as it is shown, px.
        width: likewise, px.
        fps: frames per second, as the file states it; 0 where it doesn't.
        seconds: ``frames / fps``; 0 where that isn't known.
        lists: the lists that name it, such as ``train`` or ``val test``.
        trouble: why it can't be read, or that it is shorter than a clip; empty where all is well.
    """

    path: str
    size: int
    frames: int
    height: int
    width: int
    fps: float
    seconds: float
    lists: str
    trouble: str


def name_in(videos: Path, path: Path) -> str:
    """A video's name in a manifest: a set keeps its manifest when its folder is moved or copied."""
    inside = path.relative_to(videos) if path.is_relative_to(videos) else path.absolute()
    return inside.as_posix()


def must_take_a_manifest(path: Path) -> None:
    """Refuse a place that :func:`write_manifest` couldn't write to, before files are read for hours.

    Raises:
        InputError: it is a folder, or its folder can't be made or written to.
    """
    try:
        if path.is_dir():
            raise IsADirectoryError(EISDIR, "Is a directory")
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise InputError(f"can't write {path} ({error.strerror}): give another --out") from error


def write_manifest(entries: Iterable[Entry], path: Path) -> None:
    """Write a manifest, whole or not at all, its lines by path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    # File names that are not UTF-8 keep their bytes.
    with part.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(Entry._fields)
        writer.writerows(sorted(entries))
    part.replace(path)


def read_manifest(path: Path) -> dict[str, Entry]:
    """The files of a manifest by path.

    Raises:
        InputError: there is no such file, or a line is not a manifest's.
    """
    if not path.is_file():
        raise InputError(f"manifest {path}: no such file: make it with vsr check-data")
    entries = {}
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        number = 1
        try:
            for number, row in enumerate(csv.reader(file), 1):
                if number == 1 and tuple(row) == Entry._fields:
                    continue
                name, size, frames, height, width, fps, seconds, lists, trouble = row
                numbers = int(size), int(frames), int(height), int(width), float(fps), float(seconds)
                if min(numbers) < 0:
                    raise ValueError("it counts nothing")
                entries[name] = Entry(name, *numbers, lists, trouble)
        except (ValueError, csv.Error):
            raise InputError(
                f"manifest {path}, line {number}: not a line of a manifest: make it anew with vsr check-data"
            ) from None
    return entries


def with_known_frames(items: list[Item], entries: Mapping[str, Entry], videos: str) -> list[Item]:
    """Items that know how many frames they have, where a manifest's entries say so."""
    found = [entries.get(name_in(Path(videos), item.path)) for item in items]
    return [
        item._replace(frames=entry.frames, size=entry.size) if entry and entry.frames else item
        for item, entry in zip(items, found, strict=True)
    ]
