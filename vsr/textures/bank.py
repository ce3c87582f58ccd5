"""The textures of a recipe, resident on a device."""

from collections.abc import Callable

import psutil
import torch
from torch import Tensor
from tqdm import tqdm

from vsr.errors import InputError
from vsr.recipe import Recipe
from vsr.textures.images import ImageFolder
from vsr.textures.statistical import statistical
from vsr.textures.stylegan import oriented

_GENERATORS: dict[str, Callable[[Tensor, int, int], Tensor]] = {
    "statistical": statistical,
    "stylegan_oriented": oriented,
}
_BATCH = 32  # textures made at a time
_SHARE = 0.75  # of the memory at hand that a pool may take


class TextureBank:
    """A recipe's pool of textures. Texture k of a pool is the same in any bank of the same seed.

    Textures are made when they are first needed (:meth:`make`), or all at once (:meth:`fill`).

    Args:
        recipe: its ``fill``, ``texture_pool``, ``texture_size`` and ``texture_folder`` count.
        seed: the data seed.
        device: where the textures live.

    Attributes:
        textures: uint8 (K, S, S, 3), those made so far, RGB.
        row: int64 (pool,), where each texture of the pool stands in ``textures``; -1: not made yet.

    Raises:
        InputError: the recipe has no textures, needs a folder and names none, or asks for more than the folder has.
    """

    def __init__(self, recipe: Recipe, seed: int = 0, device: torch.device | str = "cpu") -> None:
        if recipe.fill == "color":
            raise InputError(f"recipe {recipe.name!r} has no textures: its fill is 'color'")
        self.recipe, self.seed = recipe, seed
        self.folder = self._open_folder()
        self.textures = torch.empty(0, *self._shape, dtype=torch.uint8, device=device)
        self.row = torch.full((recipe.texture_pool,), -1, device=device)
        self._made = 0

    @property
    def _shape(self) -> tuple[int, int, int]:
        return self.recipe.texture_size, self.recipe.texture_size, 3

    @property
    def nbytes(self) -> int:
        """Bytes of the whole pool."""
        return self.recipe.texture_pool * 3 * self.recipe.texture_size**2

    @property
    def complete(self) -> bool:
        """Whether the whole pool has been made."""
        return self._made == self.recipe.texture_pool

    def _open_folder(self) -> ImageFolder | None:
        recipe = self.recipe
        if recipe.texture_folder is None:
            if recipe.fill in _GENERATORS:
                return None
            raise InputError(
                f"recipe {recipe.name!r}: no generator for fill {recipe.fill!r}: "
                "give texture_folder, a folder of images (vsr render: --texture_folder)"
            )
        folder = ImageFolder(recipe.texture_folder)
        if len(folder) < recipe.texture_pool:
            raise InputError(
                f"recipe {recipe.name!r}: texture_pool {recipe.texture_pool} is more than the {len(folder)} images "
                f"in {recipe.texture_folder}: set texture_pool (vsr fit: --max_textures) to {len(folder)}"
            )
        return folder

    def make(self, texture: Tensor, progress: bool = False) -> None:
        """Make those of the given pool positions that are missing.

        Args:
            texture: int64, any shape.
            progress: show a progress bar.
        """
        wanted = texture.unique()
        missing = wanted[self.row[wanted] < 0]
        self._reserve(self._made + len(missing))
        with tqdm(total=len(missing), desc="textures", unit="", delay=1, leave=False, disable=not progress) as bar:
            for some in missing.split(_BATCH):
                rows = torch.arange(self._made, self._made + len(some), device=some.device)
                self.textures[rows] = self.generate(some).permute(0, 2, 3, 1)
                self.row[some] = rows
                self._made += len(some)
                bar.update(len(some))

    def fill(self) -> None:
        """Make the whole pool.

        Raises:
            InputError: it would not fit, with the pool that would.
        """
        device = self.textures.device
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
        if self.nbytes > _SHARE * free and not self.complete:
            fits = int(_SHARE * free / self.nbytes * self.recipe.texture_pool)
            raise InputError(
                f"recipe {self.recipe.name!r}: a pool of {self.recipe.texture_pool} textures takes "
                f"{self.nbytes / 2**30:.1f} GiB, more than {_SHARE:.0%} of the {free / 2**30:.1f} GiB free on "
                f"{device}: set --max_textures to {fits} or fewer"
            )
        self.make(torch.arange(self.recipe.texture_pool, device=device), progress=True)

    def generate(self, texture: Tensor) -> Tensor:
        """Pool positions int64 (n,) to textures uint8 (n, 3, S, S)."""
        if self.folder is not None:
            return self.folder.read(texture, self.recipe.texture_size).to(texture.device)
        return _GENERATORS[self.recipe.fill](texture, self.seed, self.recipe.texture_size)

    def _reserve(self, count: int) -> None:
        """Make room for ``count`` textures, at least doubling, so that making them one by one stays linear."""
        if count > len(self.textures):
            room = min(self.recipe.texture_pool, max(count, 2 * len(self.textures)))
            grown = self.textures.new_empty(room, *self._shape)
            grown[: self._made] = self.textures[: self._made]
            self.textures = grown
