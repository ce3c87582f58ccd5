"""Datasets at once: the same scene in each, rows of a contact sheet, and videos."""

import logging
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from vsr.export import Frames, contact_sheet, sheet, write_video
from vsr.recipe import CONFIGS, PROGRESSION, VARIANTS, Recipe, dataset_names, load_recipe
from vsr.render import render_video
from vsr.textures.bank import TextureBank
from vsr.textures.images import image_pool

logger = logging.getLogger(__name__)
_COLUMNS, _THUMB = 8, 112  # frames of a row; their side, px
_LAST = 99  # of the frames that are shown: the shortest videos have 100


def render_all(
    out: Path, seed: int = 0, index: int = 0, texture_folder: Path | None = None, max_textures: int = 64
) -> list[str]:
    """Write ``datasets.png``, a row for each dataset, and ``<name>.mp4``, a whole video of each.

    The progression comes first, then what varies it, then mixtures: these show frames of their synthetic parts, one
    part after the other, and the video of the first. Datasets that need images are left out where there are none.

    Args:
        out: a folder, made if need be.
        seed: the data seed.
        index: which video of each dataset.
        texture_folder: images, for the datasets that show images.
        max_textures: images in a pool, to be quick: the recipes have up to 1.3 million.

    Returns:
        The datasets that were left out; a warning names them, too.

    Raises:
        InputError: ``out`` can't be written, or the images can't be read.
    """
    rows, labels, left_out = [], [], []
    banks: dict[Recipe, TextureBank] = {}
    times = _times()
    others = sorted({*dataset_names()} - {*PROGRESSION, *VARIANTS})
    every = {  # before anything is drawn, as it may be refused
        name: [small_pool(part, seed, texture_folder, max_textures) for part in recipes_of(name)]
        for name in (*PROGRESSION, *VARIANTS, *others)
    }
    for name, parts in tqdm(every.items(), desc="datasets", unit="", leave=False):
        if texture_folder is None:
            parts = [part for part in parts if not (part.textured and "images" in part.sources)]
        if not parts:
            left_out.append(name)
            continue
        videos = [video_of(part, seed, index, banks) for part in parts]
        write_video(videos[0], out / f"{name}.mp4")
        shown = np.array_split(times, len(videos))
        rows.append(np.stack([_thumb(video[t]) for video, some in zip(videos, shown, strict=True) for t in some]))
        labels.append(name)
    frames = [f"frame {t}" for t in times]
    sheet(rows, out / "datasets.png", f"Video {index} of seed {seed} in each dataset", labels, frames)
    if left_out:
        logger.warning("left out, for they show images and no texture_folder is given: %s", ", ".join(left_out))
    return left_out


def render_progression(
    out: Path, seed: int = 0, index: int = 0, texture_folder: Path | None = None, max_textures: int = 64
) -> list[str]:
    """Write ``progression.png``, a row for each dataset of the progression, and ``progression.mp4``, all in motion.

    Args: as for :func:`render_all`.

    Returns:
        The datasets that are shown: without a folder of images all but ``acc_images``.

    Raises:
        InputError: as for :func:`render_all`.
    """
    banks: dict[Recipe, TextureBank] = {}
    videos = {}
    for name in PROGRESSION:
        recipe = small_pool(load_recipe(name), seed, texture_folder, max_textures)
        if texture_folder is not None or not (recipe.textured and "images" in recipe.sources):
            video = video_of(recipe, seed, index, banks)
            videos[name] = np.stack([_thumb(frame) for frame in video[: _LAST + 1]])
    names = list(videos)
    rows = [video[_times()] for video in videos.values()]
    title = f"Video {index} of seed {seed}: the same scene, with one thing changed from row to row"
    sheet(rows, out / "progression.png", title, names, [f"frame {t}" for t in _times()])
    moments = [
        np.asarray(contact_sheet([np.stack([video[t] for video in videos.values()])], columns=names))
        for t in range(_LAST + 1)
    ]
    write_video(np.stack(moments), out / "progression.mp4")
    return names


def _times() -> NDArray[np.int64]:
    """The frames that a row shows."""
    return np.linspace(0, _LAST, _COLUMNS).round().astype(int)


@cache
def recipes_of(name: str) -> tuple[Recipe, ...]:
    """The recipes of one of the 34 datasets; natural parts of a mixture have none."""
    if name in PROGRESSION or name in VARIANTS:
        return (load_recipe(name),)
    content = yaml.safe_load((CONFIGS / "pretrain" / f"{name}.yaml").read_text(encoding="utf-8"))
    return tuple(load_recipe(share["recipe"]) for share in content["data"]["init_args"]["shares"] if "recipe" in share)


def small_pool(recipe: Recipe, seed: int, texture_folder: Path | None, most: int) -> Recipe:
    """The same with a pool that is quickly made: at most so many images, those of a folder where one is given."""
    if texture_folder is not None and "images" in recipe.sources:
        most = min(most, len(image_pool(str(texture_folder), seed)))
        recipe = replace(recipe, texture_folder=str(texture_folder))
    return recipe.with_textures(most, None, 16)


def video_of(recipe: Recipe, seed: int, index: int, banks: dict[Recipe, TextureBank], size: int = 256) -> Frames:
    """A whole video, uint8 (T, size, size, C). Recipes that show the same textures share a bank, kept in ``banks``."""
    bank = None
    if recipe.textured:
        names = [name for name in recipe.__dataclass_fields__ if name.startswith("texture_")]
        pool = replace(Recipe("pool", fill="texture"), **{name: getattr(recipe, name) for name in names})
        bank = banks.setdefault(pool, TextureBank(recipe, seed))
    return render_video(recipe, seed, index, size, bank=bank).numpy()


def _thumb(frame: Frames) -> Frames:
    return np.array(Image.fromarray(frame).resize((_THUMB, _THUMB), Image.Resampling.BOX))
