"""Textures from a folder of images."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vsr.errors import InputError

_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}


class ImageFolder:
    """The images below a folder, in the order of their paths.

    Args:
        folder: where to look, sub-folders included.

    Raises:
        InputError: no such folder, or no image in it.
    """

    def __init__(self, folder: str | Path) -> None:
        root = Path(folder)
        if not root.is_dir():
            raise InputError(f"no texture folder {root}: give an existing folder of images")
        self.files = sorted(p for p in root.rglob("*") if p.suffix.lower() in _SUFFIXES)
        if not self.files:
            raise InputError(f"no image in texture folder {root}: it needs files such as .png or .jpg")

    def __len__(self) -> int:
        return len(self.files)

    def read(self, number: Tensor, size: int) -> Tensor:
        """Whole images, squeezed to squares with antialiasing.

        Args:
            number: int64 (n,), positions in ``files``.
            size: side of a texture, texels.

        Returns:
            uint8 (n, 3, size, size), RGB.

        Raises:
            InputError: an image can't be read.
        """
        return torch.stack([self._one(self.files[k], size) for k in number.tolist()])

    @staticmethod
    def _one(file: Path, size: int) -> Tensor:
        try:
            with Image.open(file) as image:
                pixels = image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise InputError(f"texture {file} can't be read as an image ({error}): remove or replace it") from error
        return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)
