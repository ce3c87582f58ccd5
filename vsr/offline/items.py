"""What can be exported: the videos of a recipe, and the textures of a generator."""

import io
import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import av
import psutil
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from vsr.errors import InputError
from vsr.export import encoding, write_mp4
from vsr.latents import SHAPES, latents
from vsr.offline.folder import ItemFolder
from vsr.offline.workers import Job, in_parallel
from vsr.recipe import Recipe
from vsr.render import Renderer, render_video
from vsr.rng import check_seed
from vsr.textures.bank import TextureBank
from vsr.textures.sources import Sources
from vsr.textures.statistical import statistical
from vsr.textures.stylegan import high_freq, oriented

Generator = Literal["statistical", "oriented", "high_freq"]
_GENERATORS: dict[Generator, Callable[[Tensor, int, int], Tensor]] = {
    "statistical": statistical,
    "oriented": oriented,
    "high_freq": high_freq,
}
_VIDEOS_PER_SHARD, _TEXTURES_PER_SHARD = 256, 4096  # about 450 and 180 MB
_LATENTS_AT_ONCE = 64  # videos
_NEARLY_ALL = 0.9  # of a pool: from here on all of it is made, for a whole pool is drawn quicker


class Summary(NamedTuple):
    """What an export did.

    Attributes:
        made: items made now.
        there: items that were there.
        seconds: how long it took.
    """

    made: int
    there: int
    seconds: float

    def line(self, what: str) -> str:
        """The same in words, for items that are called ``what``."""
        pace = f", {self.made / self.seconds:.2f} {what}/s" if self.made else ""
        return f"{self.made} {what} made, {self.there} were there, {self.seconds:.1f} s{pace}"


def export_videos(
    recipe: Recipe,
    out: str | Path,
    count: int,
    first: int = 0,
    seed: int = 0,
    size: int = 256,
    renderer: Renderer = "fused",
    lossless: bool = False,
    shards: bool = False,
    texture_cache: str | Path | None = None,
    workers: int | None = None,
) -> Summary:
    """Render whole videos into a folder, those that are not there yet.

    Without shards the folder gets ``videos.csv`` with a line ``PATH 0 -1`` for each video that it lists, PATH absolute.
    Both VideoMAE and VideoMAE V2 pre-train from it: the first reads the path and a label that it doesn't use
    (``kinetics.py``, ``VideoMAE._make_dataset``), the second the path, a first frame and the number of frames, which is
    negative for a video file (``dataset/pretrain_datasets.py``). For a folder that was moved the same command writes a
    right list.

    Each process renders and encodes with one thread. From a script it wants ``if __name__ == "__main__":``, as all that
    starts processes.

    Args:
        recipe: the dataset.
        out: the folder; it is made.
        count: how many videos, from ``first`` on. A folder without shards can be made longer.
        first: index of the first one.
        seed: the data seed.
        size: height and width, px.
        renderer: as for :func:`vsr.render.render_video`.
        lossless: exactly the rendered RGB (1.6 times the bytes, 4 with textures), instead of yuv420p.
        shards: tar archives of 256 videos.
        texture_cache: folder that keeps generated textures for the next time, so that resuming doesn't make them again.
        workers: processes; None: one for each core.

    Raises:
        InputError: the set has fewer videos, the folder holds something else or can't be written, an odd size without
            ``lossless``, textures that can't be had or don't fit. What is done stays.
    """
    items = _items(count, first)
    if recipe.num_videos is not None and items.stop > recipe.num_videos:
        raise InputError(
            f"count {count} from index {first} is more than {recipe.name!r} has, which is videos 0 .. "
            f"{recipe.num_videos - 1}: set --count to at most {max(recipe.num_videos - first, 0)}"
        )
    recipe.check_index(torch.tensor([items[0], items[-1]]))
    check_seed(seed)
    if size < 1:
        raise InputError(f"size {size} is not positive: give 1 px or more")
    if size % 2 and not lossless:
        raise InputError(f"size {size} can't be written as yuv420p: give an even --size, or --lossless")
    if not shards and any(c.isspace() for c in str(Path(out).resolve())):
        raise InputError(f"{out} has a space in its path, where lists of videos end a path: give another --out")
    header = {
        "what": "videos",
        "recipe": asdict(recipe),
        "recipe_hash": recipe.hash,
        "seed": seed,
        "size": size,
        "renderer": renderer,
        "encoding": encoding(lossless),
    }
    if recipe.textured:  # or a folder of images that changed between a kill and its resumption would pass unnoticed
        header["textures"] = [_named(entry) for entry in Sources(recipe, seed).manifest()]
    with ItemFolder(out, header, ".mp4", items, _VIDEOS_PER_SHARD if shards else None) as folder:
        bank = _bank(recipe, seed, folder.todo, texture_cache) if recipe.textured and folder.todo else None
        return _fill(folder, _Videos(recipe, seed, size, renderer, lossless, bank), workers)


def export_textures(
    generator: Generator,
    out: str | Path,
    count: int,
    size: int = 128,
    seed: int = 0,
    shards: bool = False,
    workers: int | None = None,
) -> Summary:
    """Write the textures 0 .. count - 1 of a generator as PNG files, those that are not there yet.

    Args:
        generator: ``statistical``, or the StyleGAN generators ``oriented`` and ``high_freq``.
        out: the folder; it is made.
        count: how many. A folder without shards can be made longer.
        size: pixels along a side, as the generator has it.
        seed: the data seed: texture k is that of a recipe's pool of this one source.
        shards: tar archives of 4,096 textures.
        workers: processes; None: one for each core.

    Raises:
        InputError: a size that the generator doesn't have; the folder holds something else or can't be written. What is
            done stays.
    """
    items = _items(count, 0)
    check_seed(seed)
    _GENERATORS[generator](torch.empty(0, dtype=torch.int64), seed, size)  # checks the size
    header = {"what": "textures", "generator": generator, "seed": seed, "size": size, "encoding": "png"}
    with ItemFolder(out, header, ".png", items, _TEXTURES_PER_SHARD if shards else None) as folder:
        return _fill(folder, _Textures(generator, seed, size), workers)


def _named(textures: dict[str, Any]) -> dict[str, Any]:
    """A source of textures as a header has it: without what this process has found, and where its images lie."""
    images = textures.get("images", {})
    return textures | ({"images": {key: images[key] for key in ("count", "licence", "hash")}} if images else {})


def _fill(folder: ItemFolder, job: Job, workers: int | None) -> Summary:
    """Make what is to do.

    Raises:
        InputError: an item can't be made or written.
    """
    start, made, count = time.perf_counter(), 0, len(folder.items)
    try:
        with (
            tqdm(total=count, initial=count - len(folder.todo), unit="", desc=str(folder.folder)) as bar,
            closing(in_parallel(job, [(n, folder.place(n)) for n in folder.todo], workers or _cores())) as items,
        ):
            for item in items:
                folder.add(item)
                made += item.now
                bar.update()
        folder.finish()
    except (InputError, OSError) as error:
        reason = f"can't write {folder.folder} ({error.strerror})" if isinstance(error, OSError) else str(error)
        raise InputError(f"{reason}; what is done stays, and the same command goes on") from error
    return Summary(made, count - made, time.perf_counter() - start)


def _items(count: int, first: int) -> range:
    if count < 1:
        raise InputError(f"count {count} makes nothing: set --count to 1 or more")
    if not 0 <= first <= first + count <= 2**32:
        raise InputError(f"items {first} .. {first + count - 1} are not possible: numbers go from 0 to {2**32 - 1}")
    return range(first, first + count)


def _bank(recipe: Recipe, seed: int, numbers: list[int], cache: str | Path | None) -> TextureBank:
    """The textures of some videos. Made once, for all processes.

    Raises:
        InputError: they can't be had, or don't fit in the memory that processes share.
    """
    bank = TextureBank(recipe, seed, cache=cache)
    wanted, looks = torch.zeros(recipe.texture_pool, dtype=torch.bool), recipe.looks
    for some in torch.tensor(numbers).split(_LATENTS_AT_ONCE):
        drawn = latents(recipe, seed, some)
        background = drawn.shape == SHAPES.index("background")
        textured = torch.where(background, looks.background_texture, looks.object_texture)
        wanted[drawn.texture[textured]] = True
    if wanted.float().mean() > _NEARLY_ALL:
        wanted[:] = True
    room = psutil.virtual_memory().available // 2  # they are made, then copied there
    if Path("/dev/shm").is_dir():
        room = min(room, psutil.disk_usage("/dev/shm").free)
    each = 3 * recipe.texture_size**2 * recipe.texture_frames
    count = int(wanted.sum())
    if count * each > room:
        raise InputError(
            f"recipe {recipe.name!r}: {count} textures take {count * each / 2**30:.1f} GiB, and "
            f"{room / 2**30:.1f} GiB of memory can be shared by processes (/dev/shm): set --max_textures to "
            f"{room // each * recipe.texture_frames} or fewer, or lower --texture_size"
        )
    bank.make(wanted.nonzero()[:, 0], progress=True)
    return bank


@dataclass(frozen=True)
class _Videos:
    recipe: Recipe
    seed: int
    size: int
    renderer: Renderer
    lossless: bool
    bank: TextureBank | None

    def make(self, number: int) -> bytes:
        frames = render_video(self.recipe, self.seed, number, self.size, self.renderer, bank=self.bank)
        file = io.BytesIO()
        write_mp4(frames.numpy(), file, lossless=self.lossless)
        return file.getvalue()

    def facts(self, data: bytes) -> dict[str, Any] | None:
        try:
            with av.open(io.BytesIO(data)) as video:
                return {"frames": video.streams.video[0].frames}
        except (av.error.FFmpegError, IndexError):
            return None


@dataclass(frozen=True)
class _Textures:
    generator: Generator
    seed: int
    size: int

    def make(self, number: int) -> bytes:
        texture = _GENERATORS[self.generator](torch.tensor([number]), self.seed, self.size)[0]
        file = io.BytesIO()
        Image.fromarray(texture.permute(1, 2, 0).numpy()).save(file, "png")
        return file.getvalue()

    def facts(self, data: bytes) -> dict[str, Any] | None:
        try:
            with Image.open(io.BytesIO(data)) as image:
                image.verify()
        except (OSError, SyntaxError):
            return None
        return {}


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
