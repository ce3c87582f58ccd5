"""Generated textures on disk, in blocks: what was made once is read the next time.

A generator's textures are kept in one folder, whose name says all that their pixels depend on. Block b holds those
from number 1,024 b on. A block is one ``.npy`` file that is whole or not there, so that any number of processes may
read and write the same folder, and be killed at any moment.
"""

import logging
import os
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from vsr.errors import InputError
from vsr.recipe import Recipe

BLOCK = 1024
"""Textures in a block; the last block of a pool may have fewer."""

VERSIONS = {"statistical": 1, "stylegan_oriented": 1, "stylegan_high_freq": 1}
"""The generators' versions. Raise one when the pixels of that generator change: old blocks are then not used."""

_ABANDONED = 24 * 3600.0  # s: the age from which an unfinished file is a dead writer's

logger = logging.getLogger(__name__)


class TextureCache:
    """The blocks of one generator's textures, as one recipe and seed have them.

    Args:
        place: the folder that holds the folders of all generators; it is made where it is missing.
        source: the generator, a key of ``VERSIONS``.
        recipe: its ``texture_size``, ``texture_frames``, ``texture_step`` and ``texture_steady`` count.
        seed: the data seed.
        device: type of the device that makes the textures, ``cpu`` or ``cuda``: they round differently.

    Attributes:
        folder: where the blocks are.

    Raises:
        InputError: the folder can't be made.
    """

    def __init__(self, place: str | Path, source: str, recipe: Recipe, seed: int, device: str) -> None:
        self.folder = Path(place) / _name(source, recipe, seed, device)
        self.shape = (recipe.texture_frames, recipe.texture_size, recipe.texture_size, 3)
        self._faulty: set[Path] = set()
        self._full = False
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"texture cache {place} can't be used ({error}): give another folder, or none") from error
        self._sweep()

    def read(self, block: int, length: int) -> npt.NDArray[np.uint8] | None:
        """A block, mapped: pixels are read from the disk when they are looked at.

        Args:
            block: which one.
            length: textures that it has, or 1,024 where fewer will do.

        Returns:
            uint8 (at least ``length``, F, S, S, 3), or None where there is no such block, or it can't be read (this is
            logged once).
        """
        for file in dict.fromkeys((self._file(block, BLOCK), self._file(block, length))):
            try:
                found: npt.NDArray[np.uint8] = np.load(file, mmap_mode="r")
                if found.dtype == np.uint8 and found.shape == (int(_length(file)), *self.shape):
                    return found
                fault = f"it holds {found.dtype} {found.shape}"
            except FileNotFoundError:
                continue
            except (OSError, ValueError, EOFError) as error:
                fault = " ".join(str(error).split())
            if file not in self._faulty:
                logger.warning("textures %s can't be used (%s): they are made again", file, fault)
                self._faulty.add(file)
        return None

    def write(self, block: int, length: int, pieces: Iterable[npt.NDArray[np.uint8]]) -> None:
        """Keep a block. If that fails, this is logged, and no further one is kept.

        Args:
            block: which one.
            length: textures that it has: 1,024, or fewer in the last of a pool.
            pieces: its textures in order, uint8 (some, F, S, S, 3) each.
        """
        if self._full:
            return
        file = self._file(block, length)
        unfinished = file.with_name(f"{file.name}.{uuid.uuid4().hex}.tmp")
        try:
            with unfinished.open("xb") as stream:
                header = {"descr": "|u1", "fortran_order": False, "shape": (length, *self.shape)}
                np.lib.format.write_array_header_1_0(stream, header)
                for piece in pieces:
                    stream.write(np.ascontiguousarray(piece).data)
                stream.flush()
                os.fsync(stream.fileno())  # or a power cut may leave the name without the content
            unfinished.replace(file)
        except OSError as error:
            self._full = True
            logger.warning("textures %s can't be kept (%s): none are from here on", file, error)
        finally:
            unfinished.unlink(missing_ok=True)

    def _file(self, block: int, length: int) -> Path:
        return self.folder / f"{block:06d}-{length}.npy"

    def _sweep(self) -> None:
        """Remove what writers that were killed have left."""
        for file in self.folder.glob("*.tmp"):
            try:
                if time.time() - file.stat().st_mtime > _ABANDONED:
                    file.unlink()
            except OSError:  # another process was quicker, or it is not ours to remove
                logger.debug("unfinished textures %s stay", file)


def _length(file: Path) -> str:
    return file.stem.rpartition("-")[2]


def _name(source: str, recipe: Recipe, seed: int, device: str) -> str:
    return f"{identity(source, recipe, seed)}-{device}"


def identity(source: str, recipe: Recipe, seed: int) -> str:
    """All that a generator's textures depend on, but for how devices round."""
    walk = f"-{recipe.texture_step}-{'steady' if recipe.texture_steady else 'growing'}"
    parts = f"{source}-v{VERSIONS[source]}-{recipe.texture_size}-{recipe.texture_frames}"
    return f"{parts}{walk if recipe.texture_frames > 1 else ''}-{seed}"
