"""Short, small films of datasets, by their address."""

import time
from base64 import b64encode
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import av
import numpy as np
from PIL import Image

from vsr.errors import InputError
from vsr.export import Frames, write_mp4
from vsr.overview import small_pool, video_of
from vsr.recipe import Recipe, Source
from vsr.textures.bank import TextureBank
from vsr.textures.images import image_pool

SEED, INDEX = 0, 3
"""The address that is shown of every dataset: the one of the documentation's contact sheet."""
SIDE = 160  # px
_FRAMES, _FPS = 75, 25  # three seconds
_POOL = 64  # textures: more make no difference to one video of 500 objects, and take minutes
_STAND_IN: Source = "stylegan_high_freq"


@dataclass(frozen=True)
class Film:
    """A short video for a page.

    Attributes:
        words: what it is.
        width, height: of its frames, px.
        mp4: it, as a data URI.
        still: its middle frame, likewise, for those who want no motion.
        stand_in: what is shown in the place of images, if they are missing; else nothing.
    """

    words: str
    width: int
    height: int
    mp4: str
    still: str
    stand_in: str = ""


class Studio:
    """Makes films; those that show the same textures share them.

    Args:
        texture_folder: images. Without, a recipe that shows images and knows no folder of them shows generated textures
            in their place, and its film says so.

    Attributes:
        seconds: that all films have taken so far.

    Raises:
        InputError: there are no images in it.
    """

    def __init__(self, texture_folder: Path | None = None) -> None:
        if texture_folder is not None:
            image_pool(str(texture_folder), SEED)  # refuses it before other films have taken their time
        self.texture_folder = texture_folder
        self.seconds = 0.0
        self._banks: dict[Recipe, TextureBank] = {}

    def film(self, recipe: Recipe) -> Film:
        """The film of a recipe, with a small pool of textures.

        Raises:
            InputError: its images can't be read.
        """
        start, stand_in = time.perf_counter(), ""
        known = self.texture_folder or recipe.texture_folder
        if recipe.textured and "images" in recipe.sources and known is None:
            sources = tuple(_STAND_IN if source == "images" else source for source in recipe.sources)
            recipe = replace(recipe, texture_source=sources if len(sources) > 1 else sources[0])
            stand_in = "high-frequency StyleGAN textures in the place of images"
        recipe = small_pool(recipe, SEED, None if known is None else Path(known), _POOL)
        index = INDEX if recipe.num_videos is None else min(INDEX, recipe.num_videos - 1)
        video = video_of(recipe, SEED, index, self._banks, SIDE)[:_FRAMES]
        words = f"{recipe.name}, video {index} of seed {SEED}"
        film = Film(words, SIDE, SIDE, _mp4(video), _still(video), stand_in)
        self.seconds += time.perf_counter() - start
        return film


def film_of_file(path: Path, words: str) -> Film:
    """The film that a file has.

    Raises:
        InputError: it can't be decoded.
    """
    try:
        with av.open(str(path)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        video = np.stack(frames).astype(np.uint8)
    except (av.FFmpegError, ValueError, IndexError, OSError) as error:
        raise InputError(f"{path} is not a video that can be decoded ({' '.join(str(error).split())})") from error
    return Film(words, video.shape[2], video.shape[1], _uri("video/mp4", path.read_bytes()), _still(video))


def _uri(kind: str, content: bytes) -> str:
    """A file inside a page."""
    return f"data:{kind};base64,{b64encode(content).decode()}"


def _mp4(video: Frames) -> str:
    file = BytesIO()
    write_mp4(video, file, _FPS, small=True)
    return _uri("video/mp4", file.getvalue())


def _still(video: Frames) -> str:
    file = BytesIO()
    Image.fromarray(video[len(video) // 2]).save(file, "JPEG", quality=80)
    return _uri("image/jpeg", file.getvalue())
