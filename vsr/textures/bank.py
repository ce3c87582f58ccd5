"""The textures of a recipe, resident on a device."""

import logging
import math
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import torch
from torch import Tensor
from tqdm import tqdm

from vsr.errors import InputError
from vsr.recipe import Recipe
from vsr.textures.cache import BLOCK, TextureCache
from vsr.textures.sources import GENERATORS, Sources

_AT_ONCE = {"cpu": 32, "cuda": 256}  # images made at a time; a GPU wants many
_WALKS_AT_ONCE = 16  # of dynamic textures at least: as many as the generator takes together
_SHARE = 0.75  # of the memory at hand that textures may take
_LONG = 600.0  # s: making that takes longer is announced

logger = logging.getLogger(__name__)


class _Part(NamedTuple):
    """Pool positions of one source and one block of numbers, int64 (n,), on the CPU."""

    source: int
    block: int
    position: Tensor


class TextureBank:
    """A recipe's pool of textures. What stands at a position of it is the same in any bank of the same seed.

    Textures are made when they are first needed (:meth:`make`), all at once (:meth:`fill`), or, where the recipe has a
    ``texture_window``, window by window while videos are drawn (:meth:`show`). Which way makes no difference to them.

    Convention: position p of the pool is number ``p // n`` of source ``p % n``, of n sources. In an endless set with
    windows of W textures, video ``index`` shows those of window e = ``index // epoch_size``: positions
    ``(e W) % pool`` to W - 1 further. Window e is in half ``e % 2`` of ``textures``.

    Args:
        recipe: its ``texture_*`` fields and ``epoch_size`` count.
        seed: the data seed.
        device: where the textures live, and are made unless they are images.
        cache: folder that keeps generated textures for the next time, see :mod:`vsr.textures.cache`; None: none are
            kept. Windows that are shorter than a block of it profit little.

    Attributes:
        textures: uint8 (R, S, S, 3), RGB, the frames of those that are resident.
        row: int64 (pool,), where the first of the F frames of each texture stands in ``textures``, the others after
            it; -1: not resident.

    Raises:
        InputError: the recipe has no textures, needs a folder and names none, or asks for more than the folder has.
    """

    def __init__(
        self, recipe: Recipe, seed: int = 0, device: torch.device | str = "cpu", cache: str | Path | None = None
    ) -> None:
        if not recipe.textured:
            raise InputError(
                f"recipe {recipe.name!r} has no textures: its fill is {recipe.fill!r} and its background "
                f"{recipe.background!r}, set one of them to 'texture'"
            )
        self.recipe, self.seed = recipe, seed
        self.sources = Sources(recipe, seed)
        self.textures = torch.empty(0, *self._shape[1:], dtype=torch.uint8, device=device)
        self.row = torch.full((recipe.texture_pool,), -1, device=device)
        self._slot = torch.full((recipe.texture_pool,), -1)  # row // F, on the CPU: to look there is to wait for nobody
        self._made = 0  # textures, by make
        window = recipe.texture_window or recipe.texture_pool
        self._window, self._windowed = window, window < recipe.texture_pool
        self._holds: list[int | None] = [None, None]  # which W positions of the pool each half has, counted in W
        self._done = [0, 0]  # textures of them that are made
        self._shown = False
        self._stream: torch.cuda.Stream | None = None
        self._readers: list[torch.cuda.Stream] = []
        self._ready: list[torch.cuda.Event | None] = [None, None]
        self._writer: ThreadPoolExecutor | None = None
        self._writing: Future[None] | None = None
        self._caches: dict[int, TextureCache] = {}
        for source, name in enumerate(self.sources.names):
            if cache is not None and name in GENERATORS:
                self._caches[source] = TextureCache(cache, name, recipe, seed, self.textures.device.type)

    @property
    def _shape(self) -> tuple[int, int, int, int]:
        """(F, S, S, 3) of a texture."""
        return self.recipe.texture_frames, self.recipe.texture_size, self.recipe.texture_size, 3

    @property
    def _by_slot(self) -> Tensor:
        """The textures, (R / F, F, S, S, 3)."""
        return self.textures.view(-1, *self._shape)

    @property
    def _batch(self) -> int:
        """Textures made at a time."""
        frames = self.recipe.texture_frames
        most = _AT_ONCE.get(self.textures.device.type, 1)
        return most if frames == 1 else max(_WALKS_AT_ONCE, most // frames)

    @property
    def nbytes(self) -> int:
        """Bytes of all that is to be resident: the whole pool, or two windows, the one shown and the next."""
        return (2 if self._windowed else 1) * self._window * math.prod(self._shape)

    @property
    def complete(self) -> bool:
        """Whether all that will be asked for is resident: the whole pool, or the windows of what :meth:`show` got."""
        return self._shown or self._made == self.recipe.texture_pool

    def manifest(self) -> list[dict[str, Any]]:
        """Where the textures come from, as plain values: see :meth:`vsr.textures.sources.Sources.manifest`."""
        return self.sources.manifest()

    def make(self, texture: Tensor, progress: bool = False) -> None:
        """Make those of the given pool positions that are missing.

        Args:
            texture: int64, any shape. If they are on a GPU it is waited for.
            progress: show a progress bar, and say beforehand when it would take more than ten minutes.

        Raises:
            InputError: they are outside the windows, where :meth:`show` has chosen those.
        """
        wanted = texture.cpu().unique()
        missing = wanted[self._slot[wanted] < 0]
        if self._shown and len(missing):
            raise InputError(
                f"texture {int(missing[0])} of {self.recipe.name!r} is outside the windows that are resident: "
                "call show with the videos that are to be drawn"
            )
        if self._made + len(missing) > len(self._by_slot):
            self._reserve(self._made + len(missing))
        self._put(missing, progress)

    def fill(self) -> None:
        """Make what a run needs at its start: the whole pool.

        Where the recipe has windows, which one that is depends on the videos, and :meth:`show` makes it: it is only
        seen to that two of them fit.

        Raises:
            InputError: it would not fit in 75 % of the free memory, with what would.
        """
        if not self.complete:
            self._check_room()
        if not self._windowed:
            self.make(torch.arange(self.recipe.texture_pool), progress=True)

    def show(self, index: Tensor) -> None:
        """Make the textures of some videos resident, and go on with the next window's. Call it before drawing them.

        What is missing of the windows of these videos is made at once. Then, where they don't need both halves, so
        much of the next window is made as keeps pace with the videos, at least a batch of textures: it is whole when
        its first video comes. On CUDA all this happens in a stream of the bank's own, for which the current stream
        waits only as far as these videos need it. Without ``texture_window`` this is :meth:`fill`.

        Args:
            index: int64 (B,), on the CPU, of videos in at most two windows that follow each other.

        Raises:
            InputError: more windows than two, or two don't fit in memory.
        """
        if not self._windowed:
            if not self.complete:
                self.fill()
            return
        if not len(index) or (self.complete and not self._shown):  # all of the pool may have been made
            return
        first, last = (int(x) for x in index.aminmax())
        epoch = self.recipe.epoch_size
        windows = range(first // epoch, last // epoch + 1)
        if len(windows) > 2:
            raise InputError(
                f"videos {first} .. {last} of {self.recipe.name!r} show {len(windows)} windows of textures, but two "
                f"are resident: use smaller batches, or a larger epoch_size than {epoch}"
            )
        if not self._shown:
            self._check_room()
            self._make_room(2 * self._window)
            self._shown = True
        with self._aside():
            for window in windows:
                self._advance(window, self._window, progress=True)
            following = windows[0] + 1  # whole by now if it is the second of two: both halves are needed then
            videos = min(epoch, last % epoch + 1 + last - first + 1)  # the next batch may reach past the boundary
            share = -(-self._window * videos // epoch)
            self._advance(following, max(share, self._progress(following) + self._batch))
        for window in windows:
            if (ready := self._ready[window % 2]) is not None:
                torch.cuda.current_stream(self.textures.device).wait_event(ready)

    def generate(self, texture: Tensor) -> Tensor:
        """Make textures, and leave the bank as it is.

        Args:
            texture: pool positions int64 (n,). If they are on a GPU it is waited for.

        Returns:
            uint8 (n, F, 3, S, S) on the bank's device.
        """
        position, number = texture.cpu(), texture.cpu() // len(self.sources)
        source = position % len(self.sources)
        some = source.unique().tolist()
        if len(some) == 1:
            return self._sent(self.sources.make(some[0], self._sent(number)))
        frames, size, _, channels = self._shape
        made = self.textures.new_empty(len(texture), frames, channels, size, size)
        for k in some:
            chosen = (source == k).nonzero()[:, 0]
            made[self._sent(chosen)] = self._sent(self.sources.make(k, self._sent(number[chosen])))
        return made

    def _check_room(self) -> None:
        device, recipe = self.textures.device, self.recipe
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
        if self.nbytes <= _SHARE * free:
            return
        fits = max(1, int(_SHARE * free / math.prod(self._shape)))
        remedy = f"set --max_textures to {fits * recipe.texture_frames} or fewer"
        what = f"a pool of {recipe.texture_pool} textures takes"
        if self._windowed:
            what = f"two windows of {self._window} textures take"
            window = next((w for w in range(fits // 2, 0, -1) if recipe.texture_pool % w == 0), 1)
            remedy += f", or texture_window to {window} or fewer"
        raise InputError(
            f"recipe {recipe.name!r}: {what} {self.nbytes / 2**30:.1f} GiB, more than {_SHARE:.0%} of the "
            f"{free / 2**30:.1f} GiB free on {device}: {remedy}"
        )

    def _reserve(self, count: int) -> None:
        """Make room for ``count`` textures, at least doubling, so that making them one by one stays linear."""
        frames = self.recipe.texture_frames
        room = min(self.recipe.texture_pool, max(count, 2 * len(self._by_slot)))
        grown = self.textures.new_empty(room * frames, *self._shape[1:])
        grown[: self._made * frames] = self.textures[: self._made * frames]
        self.textures = grown

    def _make_room(self, count: int) -> None:
        """Start afresh with room for ``count`` textures."""
        self._made = 0
        self._slot.fill_(-1)
        self.row.fill_(-1)
        self.textures = self.textures.new_empty(count * self.recipe.texture_frames, *self._shape[1:])

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """On CUDA, work in the bank's own stream, behind all that was asked of the streams that draw."""
        device = self.textures.device
        if device.type != "cuda":
            yield
            return
        if self._stream is None:
            self._stream = torch.cuda.Stream(device)
            for tensor in (self.textures, self.row):
                tensor.record_stream(self._stream)
        current = torch.cuda.current_stream(device)
        if current not in self._readers:
            self._readers.append(current)
            for tensor in (self.textures, self.row):
                tensor.record_stream(current)
        for reader in self._readers:  # they may still read what is now overwritten
            self._stream.wait_stream(reader)
        with torch.cuda.stream(self._stream):
            yield

    def _progress(self, window: int) -> int:
        """Textures of a window that are made."""
        half, number = window % 2, self._number(window)
        return self._done[half] if self._holds[half] == number else 0

    def _number(self, window: int) -> int:
        """A window's place in the pool, counted in windows."""
        return window % (self.recipe.texture_pool // self._window)

    def _advance(self, window: int, least: int, progress: bool = False) -> None:
        """Make the first ``least`` textures of a window, in place of what its half holds."""
        size = self._window
        half, number = window % 2, self._number(window)
        if self._holds[half] != number:
            for place in (half, 1 - half):
                if place == half or self._holds[place] == number:  # after a leap, the same textures may be in the other
                    self._drop(place)
            self._holds[half] = number
        done, least = self._done[half], min(least, size)
        if done < least:
            self._put(torch.arange(number * size + done, number * size + least), progress)
            self._done[half] = least
            if least == size and self._stream is not None:
                self._ready[half] = self._stream.record_event()

    def _drop(self, half: int) -> None:
        """Forget what a half holds."""
        number, size = self._holds[half], self._window
        if number is not None:
            for where in (self._slot, self.row):
                where[number * size : (number + 1) * size] = -1
        self._holds[half], self._done[half], self._ready[half] = None, 0, None

    def _put(self, missing: Tensor, progress: bool) -> None:
        """Make textures resident, from the cache where it has them.

        Args:
            missing: pool positions int64 (n,), ascending, on the CPU.
            progress: show a progress bar, and announce what takes long.
        """
        began: float | None = None
        timed, left = False, len(missing)
        with tqdm(total=left, desc="textures", unit="", delay=1, leave=False, disable=not progress) as bar:
            for part in self._parts(missing):
                cache = self._caches.get(part.source)
                cached = None if cache is None else cache.read(part.block, self._length(part))
                for some in part.position.split(self._batch):
                    if cached is not None:
                        number = some // len(self.sources)
                        pixels = torch.from_numpy(cached[(number - part.block * BLOCK).numpy()])
                    else:
                        pixels = self.generate(some).permute(0, 1, 3, 4, 2)
                    self._store(some, pixels)
                    bar.update(len(some))
                    left -= len(some)
                    if progress and not timed and cached is None:  # the first batch also loads and compiles
                        now = self._clock()
                        if began is not None:
                            self._announce((now - began) / len(some), left)
                            timed = True
                        began = now
                if cache is not None and cached is None:
                    self._keep(cache, part)

    def _parts(self, position: Tensor) -> Iterator[_Part]:
        """Pool positions int64 (n,), ascending, by block and source."""
        sources = len(self.sources)
        keys, order = (position // sources // BLOCK * sources + position % sources).sort(stable=True)
        unique, counts = keys.unique_consecutive(return_counts=True)
        for key, some in zip(unique.tolist(), position[order].split(counts.tolist()), strict=True):
            yield _Part(key % sources, key // sources, some)

    def _length(self, part: _Part) -> int:
        """Textures in a block, fewer than usual in the last."""
        return min(BLOCK, self.sources.count(part.source) - part.block * BLOCK)

    def _store(self, position: Tensor, pixels: Tensor) -> None:
        """Make textures uint8 (n, F, S, S, 3) resident at pool positions int64 (n,), which are on the CPU."""
        if self._shown:
            size = self._window
            number = int(position[0]) // size
            slot = self._holds.index(number) * size + position - number * size
        else:
            slot = torch.arange(self._made, self._made + len(position))
            self._made += len(position)
        there = self._sent(slot)
        self._by_slot[there] = self._sent(pixels)
        self.row[self._sent(position)] = there * self.recipe.texture_frames
        self._slot[position] = slot

    def _sent(self, x: Tensor) -> Tensor:
        """The same on the bank's device. Pinned memory can be copied without waiting for the device."""
        device = self.textures.device
        pinned = x.pin_memory() if device.type == "cuda" and not x.is_cuda else x
        return pinned.to(device, non_blocking=True)

    def _keep(self, cache: TextureCache, part: _Part) -> None:
        """Write a block to the cache, if all of it is resident."""
        length, sources = self._length(part), len(self.sources)
        slot = self._slot[(part.block * BLOCK + torch.arange(length)) * sources + part.source]
        if (slot < 0).any():
            return
        copies = (self._by_slot[self._sent(some)] for some in slot.split(self._batch))
        if not (self._shown and self._stream is not None):
            cache.write(part.block, length, (copy.cpu().numpy() for copy in copies))
            return
        arrays = [copy.to("cpu", non_blocking=True).numpy() for copy in copies]  # pinned, and not there yet
        copied = self._stream.record_event()
        if self._writer is None:
            self._writer = ThreadPoolExecutor(1)
        if self._writing is not None:
            self._writing.result()  # one block waits at most, however slow the disk is
        self._writing = self._writer.submit(_write, copied, cache, part.block, length, arrays)

    def _clock(self) -> float:
        """Seconds, when all that was asked of the device is done."""
        if self.textures.is_cuda:
            torch.cuda.synchronize(self.textures.device)
        return time.perf_counter()

    def _announce(self, pace: float, left: int) -> None:
        """Warn of a long wait: seconds for a texture, and textures left to make."""
        if pace * left > _LONG:
            most = max(1, int(_LONG / pace)) * self.recipe.texture_frames
            logger.warning(
                "making %d textures of %r will take about %.0f minutes on %s: --max_textures %d takes about %.0f",
                left, self.recipe.name, pace * left / 60, self.textures.device, most, _LONG / 60,
            )  # fmt: skip


def _write(
    copied: torch.cuda.Event, cache: TextureCache, block: int, length: int, arrays: list["np.ndarray[Any, Any]"]
) -> None:
    copied.synchronize()
    cache.write(block, length, arrays)
