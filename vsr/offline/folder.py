"""A folder of items: its files, its archives and its manifest, whole at any moment."""

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vsr.errors import InputError
from vsr.export import UNFINISHED, whole
from vsr.offline.workers import Made

_SCHEMA = 1
_MANIFEST, _PARTS, _LIST = "manifest.jsonl", ".parts", "videos.csv"
_ADDRESS = ("recipe_hash", "generator", "seed", "size")  # what an archive says beside an item


class ItemFolder:
    """A folder that holds the items of one export, some of them or all. It is open in a ``with`` block.

    Args:
        out: the folder; it is made.
        header: what is exported, as plain values; a folder that holds anything else is refused.
        suffix: of the items' files.
        items: their numbers.
        per_shard: items in a tar archive; None: no archives.

    Attributes:
        todo: the numbers that were not listed, or not there, when it was opened.

    Raises:
        InputError: on opening: the folder holds something else, or can't be written.
    """

    def __init__(
        self, out: str | Path, header: dict[str, Any], suffix: str, items: range, per_shard: int | None
    ) -> None:
        self.folder, self.suffix, self.items, self.per_shard = Path(out), suffix, items, per_shard
        full = {"schema": _SCHEMA, "vsr": version("vsr"), **header}
        if per_shard is not None:  # they say which archive holds an item
            full |= {"first": items.start, "count": len(items), "per_shard": per_shard}
        self.header: dict[str, Any] = json.loads(json.dumps(full))
        self.listed: dict[str, str] = {}  # SHA-256 by the names of items and archives

    def __enter__(self) -> Self:
        try:
            self._open()
        except OSError as error:
            raise InputError(f"can't write {self.folder} ({error.strerror}): give another --out") from error
        there = self._names(self.folder)
        self._archived = {k for k in self._shards() if self._archive(k) in there and self._all_listed(k)}
        kept = self.listed.keys() & (self._names(self.folder / _PARTS) if self.per_shard else there)
        self.todo = [n for n in self.items if self._name(n) not in kept and self._shard(n) not in self._archived]
        self._missing = Counter(self._shard(n) for n in self.todo)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.manifest.close()

    def add(self, item: Made) -> None:
        """List an item whose file is there; if that fills its archive, write the archive."""
        shard = self._shard(item.number)
        archive = {} if shard is None else {"shard": self._archive(shard)}
        self._list({"file": self._name(item.number), **archive, "index": item.number, **item.facts})
        if shard is not None:
            self._missing[shard] -= 1
            if not self._missing[shard]:
                self._pack(shard)

    def finish(self) -> None:
        """Put right what a kill between two steps has left, and write the list of videos if there are no archives."""
        for shard in self._shards():
            self._pack(shard)
        if self.per_shard is not None:
            shutil.rmtree(self.folder / _PARTS, ignore_errors=True)
        elif self.suffix == ".mp4":
            self._write_list()

    def _write_list(self) -> None:
        """Write the list of all files that are listed and there, for VideoMAE-style loaders."""
        names = sorted(self._names(self.folder) & self.listed.keys())
        with whole(self.folder / _LIST) as part:
            part.write_text("".join(f"{self.folder.resolve() / name} 0 -1\n" for name in names), encoding="utf-8")

    def _open(self) -> None:
        """Open the manifest of an empty folder, or of one that holds this export."""
        file = self.folder / _MANIFEST
        self.folder.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            foreign = sorted(name for name in self._names(self.folder) if not name.startswith(UNFINISHED))
            if foreign:
                raise InputError(
                    f"{self.folder} holds {foreign[0]} and no {_MANIFEST}: give --out a new or an empty folder"
                )
            with whole(file) as part:
                part.write_text(json.dumps(self.header) + "\n", encoding="utf-8")
        data = file.read_bytes()
        end = data.rfind(b"\n") + 1
        self._read(file, data[:end].decode(errors="replace").splitlines())
        for unfinished in [*self.folder.glob(f"{UNFINISHED}*"), *(self.folder / _PARTS).glob(f"{UNFINISHED}*")]:
            unfinished.unlink(missing_ok=True)
        if end < len(data):  # a line that was cut off
            os.truncate(file, end)
        self.manifest = file.open("a", encoding="utf-8")

    def _read(self, file: Path, lines: list[str]) -> None:
        try:
            header, *rest = (json.loads(line) for line in lines)
            self.listed = {_subject(line): line["sha256"] for line in rest}
            there, here = _flat(header), _flat(self.header)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{file} is not a manifest of vsr: give --out a new or an empty folder") from error
        for key in sorted(there.keys() | here.keys()):
            if there.get(key) != here.get(key):
                raise InputError(
                    f"{self.folder} holds another export, with {key} {there.get(key)} where this has {here.get(key)}: "
                    "give another --out"
                )

    def _list(self, line: dict[str, Any]) -> None:
        name = _subject(line)
        if self.listed.get(name) != line["sha256"]:
            self.manifest.write(json.dumps(line) + "\n")
            self.manifest.flush()
            self.listed[name] = line["sha256"]

    def _pack(self, shard: int) -> None:
        """Put the items of a shard, all there, into their archive, unless it is there; list it; remove their files."""
        file, members = self.folder / self._archive(shard), self._members(shard)
        packed = shard in self._archived
        if not packed:
            address = {key: self.header[key] for key in _ADDRESS if key in self.header}
            with whole(file) as part, tarfile.open(part, "w", format=tarfile.USTAR_FORMAT) as tar:
                for number in members:
                    data = self.place(number).read_bytes()
                    where = json.dumps({**address, "index": number, "sha256": self.listed[self._name(number)]}).encode()
                    for name, content in ((self._name(number), data), (f"{number:08d}.json", where)):
                        info = tarfile.TarInfo(name)  # no time and no owner: the same items give the same archive
                        info.size = len(content)
                        tar.addfile(info, io.BytesIO(content))
            self._archived.add(shard)
        if not packed or file.name not in self.listed:
            with file.open("rb") as archive:
                digest = hashlib.file_digest(archive, "sha256").hexdigest()
            self._list({"shard": file.name, "items": len(members), "sha256": digest})
        for number in members:
            self.place(number).unlink(missing_ok=True)

    def place(self, number: int) -> Path:
        """Where an item's own file is; those of a shard until it is full."""
        return (self.folder / _PARTS if self.per_shard else self.folder) / self._name(number)

    def _name(self, number: int) -> str:
        return f"{number:08d}{self.suffix}"

    def _shard(self, number: int) -> int | None:
        return None if self.per_shard is None else (number - self.items.start) // self.per_shard

    def _shards(self) -> range:
        return range(0) if self.per_shard is None else range(-(-len(self.items) // self.per_shard))

    def _archive(self, shard: int) -> str:
        return f"{shard:06d}.tar"

    def _members(self, shard: int) -> range:
        step = self.per_shard or 0
        return self.items[shard * step : (shard + 1) * step]

    def _all_listed(self, shard: int) -> bool:
        return all(self._name(n) in self.listed for n in self._members(shard))

    def _names(self, folder: Path) -> set[str]:
        return {entry.name for entry in os.scandir(folder)} if folder.is_dir() else set()


def _subject(line: dict[str, Any]) -> str:
    """The file that a line of the manifest is about."""
    return str(line["file"] if "file" in line else line["shard"])


def _flat(header: dict[str, Any]) -> dict[str, Any]:
    """A header with its recipe's fields as ``recipe.speed``."""
    recipe = {f"recipe.{key}": value for key, value in header.get("recipe", {}).items()}
    return {**{key: value for key, value in header.items() if key not in ("recipe", "recipe_hash")}, **recipe}
