"""Textures from images: a folder of files, or tar archives of them."""

import hashlib
import io
import logging
import os
import re
from bisect import bisect_right
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, lru_cache
from itertools import accumulate
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from vsr import rng
from vsr.errors import InputError
from vsr.textures.archive import ARCHIVE, SUFFIXES, TarImages, bar

_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")  # PIL knows others, of which some call other programs
_LICENCE = re.compile(r"(licen[cs]e|copying)", re.IGNORECASE)  # begins the name of a file that states it
_TOLERATED = 100  # one of so many images may be unreadable; one always may
_NAMED = 3  # of the unreadable images, in an error

logger = logging.getLogger(__name__)


class Unreadable(NamedTuple):
    """An image that could not be decoded, and why."""

    name: str
    reason: str


class FolderImages:
    """The loose image files of a folder.

    Args:
        root: the folder.
        names: of the files, POSIX, relative to it.
    """

    def __init__(self, root: Path, names: list[str]) -> None:
        self.root, self.names = root, names

    def __len__(self) -> int:
        return len(self.names)

    def size(self, k: int) -> int:
        """Bytes of the k-th image."""
        return (self.root / self.names[k]).stat().st_size

    def read(self, k: int) -> bytes:
        """The k-th file's content."""
        return (self.root / self.names[k]).read_bytes()


def image_pool(place: str | Path, seed: int = 0) -> "ImagePool":
    """The :class:`ImagePool` of a place, listed once in a process: a million files take minutes."""
    return _listed(str(place), seed, str(Path.cwd()))


@lru_cache(maxsize=4)
def _listed(place: str, seed: int, here: str) -> "ImagePool":
    return ImagePool(place, seed)


class ImagePool:
    """A numbered pool of textures from images, in an order drawn from ``(seed, Stream.TEXTURE_ORDER)``.

    Images are sorted by their POSIX paths in the folder, then come those in archives, by the archive's path and the
    order of its members. Texture k is the k-th of a permutation of them, so that the first textures are a fair sample
    of a folder that is sorted by class, the same everywhere.

    An image that is corrupt, empty or a bomb (more pixels than ``PIL.Image.MAX_IMAGE_PIXELS``) is passed over: the
    next readable one of the order stands in for it. It is logged and counted once in each process, and the pool is
    refused when more than 1 % of the images are like it (one always may be).

    Works in threads, and in processes to which it was forked or sent; writes no file.

    Args:
        place: a folder of image files and ``.tar`` archives of them, sub-folders included, hidden ones not; or one
            ``.tar`` archive. Archives are read where they stand.
        seed: the data seed.

    Attributes:
        place: as given.

    Raises:
        InputError: no such place, it can't be read, no image in it, or a faulty archive (see
            :class:`~vsr.textures.archive.TarImages`).
    """

    def __init__(self, place: str | Path, seed: int = 0) -> None:
        self.place = Path(place)
        self._parts = _find(self.place)
        self._ends = list(accumulate(len(part) for part in self._parts))
        if not len(self):
            raise InputError(
                f"no image in texture folder {self.place}: it needs files such as .png or .jpg, or .tar archives"
            )
        self._order = rng.permutation(seed, 0, len(self), rng.Stream.TEXTURE_ORDER).numpy()
        self._unreadable: dict[int, Unreadable] = {}
        self._most = max(len(self) // _TOLERATED, 1)

    def __len__(self) -> int:
        return self._ends[-1]

    def read(self, number: Tensor, size: int) -> Tensor:
        """Whole images, turned as their EXIF says and squeezed to squares with antialiasing (PIL's bicubic).

        Args:
            number: int64 (n,), textures of the pool.
            size: side of a texture, texels.

        Returns:
            uint8 (n, 3, size, size), RGB, on the CPU; in memory the channels come last.

        Raises:
            InputError: a number is outside the pool, or too many images can't be read.
        """
        numbers = number.tolist()
        count = len(self)
        if wrong := [k for k in numbers if not 0 <= k < count]:
            raise InputError(
                f"texture {wrong[0]} is outside {self.place}, which has {count} images: set texture_pool to {count}"
            )
        pixels = np.empty((len(numbers), size, size, 3), dtype=np.uint8)

        def fill(row: int) -> None:
            pixels[row] = self._texture(numbers[row], size)

        with ThreadPoolExecutor(_num_threads()) as threads:  # made anew: threads don't survive a fork
            for _ in threads.map(fill, range(len(numbers))):
                pass  # raises what a thread has raised
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)

    def manifest(self) -> dict[str, Any]:
        """What the pool is, in plain values.

        Returns:
            ``source``, the place as given; ``count`` of images; ``licence``, the first line of a LICENSE, LICENCE or
            COPYING file that lies directly in the folder, None where none is stated; ``hash``, SHA-256 over the sorted
            names and byte sizes of the images (their contents are not read: there may be a million); ``unreadable``,
            the number of images that this process has found so up to now.

        Raises:
            InputError: a file has gone, or can't be read.
        """
        try:
            return {
                "source": str(self.place),
                "count": len(self),
                "licence": self._licence(),
                "hash": self._hash,
                "unreadable": len(self._unreadable),
            }
        except OSError as error:
            raise _cannot_read(error, self.place) from error

    def _licence(self) -> str | None:
        if not self.place.is_dir():
            return None
        for file in sorted(p for p in self.place.iterdir() if _LICENCE.match(p.name) and p.is_file()):
            if file.suffix.lower() in SUFFIXES or ARCHIVE.search(file.name):
                continue
            with file.open(encoding="utf-8", errors="replace") as text:
                lines = [line.strip() for line in text.read(1000).splitlines()]
            if any(lines):
                return next(filter(None, lines))
        return None

    @cached_property
    def _hash(self) -> str:
        sizes = [(name, part.size(k)) for part in self._parts for k, name in enumerate(part.names)]
        digest = hashlib.sha256()
        for name, size in sorted(sizes):
            digest.update(f"{name}\0{size}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def _texture(self, number: int, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The first readable image from ``number`` on, uint8 (size, size, 3)."""
        for step in range(len(self)):
            position = int(self._order[(number + step) % len(self)])
            if position not in self._unreadable:
                index = bisect_right(self._ends, position)
                part, k = self._parts[index], position - (self._ends[index - 1] if index else 0)
                try:
                    return _decode(part.read(k), size)
                except Exception as error:  # PIL lets through whatever a decoder raises when it is fed garbage
                    reason = " ".join(str(error).split()) or type(error).__name__
                    self._note(position, Unreadable(part.names[k], reason))
            if len(self._unreadable) > self._most:
                break
        raise self._refusal()

    def _note(self, position: int, image: Unreadable) -> None:
        """Count and log an image, once whichever threads meet it: ``setdefault`` keeps the first, with no lock."""
        if self._unreadable.setdefault(position, image) is image:
            logger.warning("%s: image %r can't be read (%s), the next stands in for it", self.place, *image)

    def _refusal(self) -> InputError:
        met = [image for _, image in sorted(self._unreadable.items())]  # not in the order in which threads met them
        named = ", ".join(f"{image.name!r} ({image.reason})" for image in met[:_NAMED])
        more = ", …" if len(met) > _NAMED else ""
        return InputError(
            f"{len(met)} of the {len(self)} images of {self.place} can't be read: {named}{more}; "
            f"remove or replace them, at most {self._most} may be so"
        )


def _find(place: Path) -> list[FolderImages | TarImages]:
    """The loose images at a place, and each archive of images.

    Raises:
        InputError: there is no such place, it can't be read, or an archive is faulty.
    """
    try:
        if place.is_dir():
            files = _files(place)
            loose = [name for name in files if PurePosixPath(name).suffix.lower() in SUFFIXES]
            archives = bar([name for name in files if ARCHIVE.search(name)], desc=place.name, unit=" archives")
            return [FolderImages(place, loose), *(TarImages(place / name, f"{name}/") for name in archives)]
        if place.is_file() and ARCHIVE.search(place.name):
            return [TarImages(place)]
        fault = "is neither a folder nor a .tar archive" if place.exists() else "does not exist"
    except OSError as error:
        raise _cannot_read(error, place) from error
    raise InputError(f"texture folder {place} {fault}: give a folder of images or .tar archives, or one .tar archive")


def _files(root: Path) -> list[str]:
    """Files below a folder, POSIX paths relative to it, sorted. Links are followed, to each folder once."""
    found, folders, seen = [], [""], set()
    while folders:
        folder = folders.pop()
        status = (root / folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        below = []
        with os.scandir(root / folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    below.append(f"{folder}{entry.name}/")
                elif entry.is_file():
                    found.append(folder + entry.name)
        folders += sorted(below, reverse=True)  # the first is popped next, so that "once" is the same everywhere
    return sorted(found)


def _cannot_read(error: OSError, place: Path) -> InputError:
    where = error.filename or place
    return InputError(f"texture folder {place}: can't read {where} ({error.strerror or error}): make it readable")


def _num_threads() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _decode(data: bytes, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """An image file's bytes to uint8 (size, size, 3), RGB; raises whatever PIL does if they are none."""
    if not data:
        raise ValueError("the file is empty")
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except UnidentifiedImageError as error:  # its message names a buffer
        raise ValueError(f"no {', '.join(_FORMATS)}") from error
    with image:
        limit = Image.MAX_IMAGE_PIXELS
        if limit is not None and image.width * image.height > limit:  # PIL only warns up to twice as many
            raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels are an image bomb")
        box = None
        if image.format == "JPEG" and image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
            # JPEG decodes to 1/2, 1/4, 1/8 several times faster. Down to no less than twice ``size``, texels of video
            # frames changed by 0.3 of 255 on average and by 3 at most.
            draft = image.draft(None, (2 * size, 2 * size))
            box = draft[1] if draft else None  # the image ends within the last pixel where sides don't divide
        ImageOps.exif_transpose(image, in_place=True)
        shown: Image.Image = image
        if image.mode.startswith("I;16"):  # convert would clip its 16 bits: all but black would be white
            shown = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        return np.asarray(shown.convert("RGB").resize((size, size), Image.Resampling.BICUBIC, box=box))
