"""The sources of a recipe's textures: generators and images, and how a pool is shared out among them."""

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vsr.errors import InputError
from vsr.recipe import Recipe
from vsr.textures.cache import identity
from vsr.textures.network import Family
from vsr.textures.statistical import statistical
from vsr.textures.stylegan import high_freq, oriented, walk

if TYPE_CHECKING:
    from vsr.textures.images import ImagePool

GENERATORS: dict[str, Callable[[Tensor, int, int], Tensor]] = {
    "statistical": statistical,
    "stylegan_oriented": oriented,
    "stylegan_high_freq": high_freq,
}
"""Numbers int64 (n,), seed and side S to textures uint8 (n, 3, S, S). Each has its version in ``cache.VERSIONS``."""

_FAMILIES: dict[str, Family] = {"stylegan_oriented": "oriented", "stylegan_high_freq": "high_freq"}


class Sources:
    """Where the textures of a recipe come from.

    Convention: position p of the pool is number ``p // n`` of source ``p % n``, of n sources.

    Args:
        recipe: its ``texture_*`` fields count.
        seed: the data seed.

    Attributes:
        names: of the sources.

    Raises:
        InputError: the recipe needs a folder of images and names none, or asks for more images than there are.
    """

    def __init__(self, recipe: Recipe, seed: int) -> None:
        self.recipe, self.seed = recipe, seed
        self.names = recipe.sources
        self._images = self._open_images() if "images" in self.names else None
        for name in self.names:
            if name in GENERATORS:  # refuses at once a size that it can't make
                GENERATORS[name](torch.empty(0, dtype=torch.int64), seed, recipe.texture_size)

    def __len__(self) -> int:
        return len(self.names)

    def count(self, source: int) -> int:
        """Textures that the pool has of a source."""
        return len(range(source, self.recipe.texture_pool, len(self)))

    def make(self, source: int, number: Tensor) -> Tensor:
        """Textures of one source.

        Args:
            source: which, from 0 on.
            number: int64 (n,), their numbers, on the device that is to make them. One that is not the CPU is waited
                for where they are images.

        Returns:
            uint8 (n, F, 3, S, S) on the device of the numbers, images on the CPU.

        Raises:
            InputError: the source has no such texture, or none of that size.
        """
        recipe, name = self.recipe, self.names[source]
        if self._images is not None and name == "images":
            return self._images.read(number.cpu(), recipe.texture_size)[:, None]
        if recipe.texture_frames == 1:
            return GENERATORS[name](number, self.seed, recipe.texture_size)[:, None]
        frame = torch.arange(recipe.texture_frames).expand(len(number), -1)  # on the CPU, where walk looks at it
        return walk(
            number, frame, self.seed, recipe.texture_size, _FAMILIES[name],
            delta=recipe.texture_step, preserve_variance=recipe.texture_steady,
        )  # fmt: skip

    def manifest(self) -> list[dict[str, Any]]:
        """Where the textures come from, as plain values.

        Returns:
            For each source ``source``, its name, and ``count``, its textures in the pool; of a generator the ``seed``,
            the ``licence`` "generated" and as ``hash`` SHA-256 over all that its textures depend on, the version of the
            generator included; of images ``images``, see :meth:`vsr.textures.images.ImagePool.manifest`.
        """
        entries: list[dict[str, Any]] = []
        for source, name in enumerate(self.names):
            entry = {"source": name, "count": self.count(source)}
            if self._images is not None and name == "images":
                entries.append(entry | {"images": self._images.manifest()})
            else:
                made = f"{identity(name, self.recipe, self.seed)}-{entry['count']}"
                digest = hashlib.sha256(made.encode()).hexdigest()
                entries.append(entry | {"seed": self.seed, "licence": "generated", "hash": digest})
        return entries

    def _open_images(self) -> "ImagePool":
        recipe = self.recipe
        if recipe.texture_folder is None:
            raise InputError(
                f"recipe {recipe.name!r}: texture_source 'images' needs images: give texture_folder, a folder of them "
                "(vsr fit: --texture_folder; vsr render: --texture_folder)"
            )
        from vsr.textures.images import image_pool  # Pillow only where there are images

        images = image_pool(recipe.texture_folder, self.seed)
        source = self.names.index("images")
        if len(images) < self.count(source):
            raise InputError(
                f"recipe {recipe.name!r}: texture_pool {recipe.texture_pool} shows {self.count(source)} images, more "
                f"than the {len(images)} in {recipe.texture_folder}: set texture_pool (vsr fit: --max_textures) to "
                f"{len(images) * len(self) + source} or fewer"
            )
        return images
