"""Images inside tar archives: found by their headers once, then read where they stand. Nothing is unpacked."""

import re
import tarfile
from array import array
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tqdm import tqdm

from vsr.errors import InputError

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
"""Endings, in lower case, of the names of images."""
ARCHIVE = re.compile(r"\.(tar|(tar\.|t)(bz2?|gz|lz4?|xz|z|zst))$", re.IGNORECASE)
"""Ends the name of a tar archive, compressed ones included: they are refused rather than passed over."""

_COMPRESSED = {b"\x1f\x8b", b"\x1f\x9d", b"BZh", b"LZIP", b"\x04\x22\x4d\x18", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ"}
_UNSAFE = re.compile(r"^([A-Za-z]:)?[/\\]|(^|[/\\])\.\.([/\\]|$)")  # of names: absolute, or out of their folder
_END = bytes(512)  # the block that closes an archive

bar = partial(tqdm, delay=1, leave=False, disable=None)
"""Progress on a terminal: a million headers take a minute or two."""


class TarImages:
    """The images of one uncompressed tar archive, in the order of its members.

    Archives inside it, one level deep, count as folders (ImageNet's training set comes as a tar of tars). Hidden
    files, links, devices and files that don't end like images are passed over. Every read opens the file anew, so that
    it works in any thread, and in any process to which this object was forked or sent.

    Args:
        path: the archive.
        prefix: what comes before the names of its images.

    Attributes:
        names: of the images, POSIX.

    Raises:
        InputError: it can't be opened, is compressed, no tar archive, truncated or damaged, or has a member whose name
            is absolute or leads out of its folder with ``..``, or one that is stored sparse.
    """

    def __init__(self, path: Path, prefix: str = "") -> None:
        self.path = path
        self.names: list[str] = []
        self._offsets, self._sizes = array("q"), array("q")
        try:
            end = path.stat().st_size
            with path.open("rb") as file, bar(total=end, desc=path.name, unit="B", unit_scale=True) as progress:
                self._scan(file, 0, end, str(path), prefix, progress)
        except OSError as error:
            raise InputError(f"archive {path} can't be read ({error.strerror or error}): make it readable") from error

    def __len__(self) -> int:
        return len(self.names)

    def size(self, k: int) -> int:
        """Bytes of the k-th image."""
        return self._sizes[k]

    def read(self, k: int) -> bytes:
        """The k-th image as it is stored.

        Raises:
            OSError: the archive is gone, or shorter than it was.
        """
        with self.path.open("rb") as file:
            file.seek(self._offsets[k])
            data = file.read(self._sizes[k])
        if len(data) < self._sizes[k]:
            raise OSError(f"{self.path} has become shorter")
        return data

    def _scan(
        self, file: BinaryIO, start: int, end: int, place: str, prefix: str, progress: tqdm, depth: int = 0
    ) -> None:
        """Note the images of the archive at bytes ``start`` .. ``end`` of ``file``."""
        for member in _members(file, start, end, place):
            progress.update(member.offset - progress.n)
            if _UNSAFE.search(member.name):
                raise InputError(
                    f"archive {place} has a member named {member.name!r}, outside any folder it is unpacked in: "
                    "such an archive is not to be trusted, get it from a source that is"
                )
            name = PurePosixPath(member.name)
            if not member.isreg() or any(part.startswith(".") for part in name.parts):
                continue
            if depth == 0 and ARCHIVE.search(name.name):
                stop = member.offset_data + member.size
                self._scan(file, member.offset_data, stop, f"{place}/{name}", f"{prefix}{name}/", progress, depth=1)
            elif name.suffix.lower() in SUFFIXES:
                if member.issparse():
                    raise InputError(f"archive {place}: {str(name)!r} is stored sparse: write it without --sparse")
                self.names.append(f"{prefix}{name}")
                self._offsets.append(member.offset_data)
                self._sizes.append(member.size)


def _members(file: BinaryIO, start: int, end: int, place: str) -> Iterator[tarfile.TarInfo]:
    """The members of the archive at bytes ``start`` .. ``end`` of ``file``; it must be whole.

    tarfile takes a header that is cut or damaged for the archive's end, so the end is looked at here.
    """
    file.seek(start)
    if file.read(6).startswith(tuple(_COMPRESSED)):
        raise InputError(
            f"archive {place} is compressed, so its images can't be read where they stand: "
            "decompress it (gunzip, bunzip2, unxz, unzstd) and give the .tar"
        )
    last, fault = None, "its end is missing"
    file.seek(start)
    try:
        with tarfile.open(fileobj=file, mode="r:", encoding="utf-8") as tar:
            while (member := tar.next()) is not None and member.offset_data <= tar.offset <= end:
                yield member
                last = member.name
                tar.members.clear()  # type: ignore[attr-defined]  # it keeps them all: 1 GB for a million images
            file.seek(tar.offset)
            if member is None and tar.offset + len(_END) <= end and file.read(len(_END)) == _END:
                return
    except (tarfile.TarError, ValueError, OverflowError, MemoryError) as error:  # what garbage in a header can raise
        fault = " ".join(str(error).split())
    if last is None:
        raise InputError(f"{place} is no tar archive, or damaged in its first member ({fault}): get it again")
    raise InputError(f"archive {place} is truncated or damaged after {last!r}, the last readable member: get it again")
