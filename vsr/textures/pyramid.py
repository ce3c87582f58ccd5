"""The steerable pyramid behind the wavelet marginals.

Source: buildSpyr and reconSpyr of matlabPyrTools with sp3Filters (MIT licence), on whole batches and any device.
"""

from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vsr.textures import sp3

Border = Literal["circular", "reflect"]

LEVELS = {64: 2, 128: 3, 256: 4, 512: 5}
"""Levels for each size in pixels; 64 and 512 px are ours, with one less and one more than their neighbours."""

_MARGIN = 8  # pixels: half the widest filter


class Pyramid:
    """The real steerable pyramid in space with ``sp3`` filters, four orientations to each level.

    Its filtering is done in Fourier space, which is exact: circular borders are the transform's own, and
    mirrored ones get a margin as wide as the filters reach.

    Args:
        size: of the images, pixels along a side.
        border: ``circular``, or ``reflect`` about the outermost pixels.
        device: where the images are.
    """

    def __init__(self, size: int, border: Border, device: torch.device) -> None:
        self.margin = 0 if border == "circular" else _MARGIN
        self._residual = self._spectra(sp3.residual_filters(), size, device)
        self._levels = [self._spectra(sp3.level_filters(), size >> level, device) for level in range(LEVELS[size])]

    def build(self, image: Tensor) -> list[Tensor]:
        """The bands of float32 (n, C, N, N).

        Returns:
            The high-pass residual (n, C, 1, N, N), then the oriented bands (n, C, 4, M, M) of each level with
            M = N, N / 2, ..., and the low-pass residual (n, C, 1, M / 2, M / 2).
        """
        seen = self._correlate(image[:, :, None], self._residual)
        bands, low = [seen[:, :, :1]], seen[:, :, 1:]
        for spectra in self._levels:
            seen = self._correlate(low, spectra)
            bands.append(seen[:, :, :4])
            low = seen[:, :, 4:, ::2, ::2]
        return [*bands, low]

    def reconstruct(self, bands: list[Tensor]) -> Tensor:
        """The image (n, C, N, N) of bands as :meth:`build` gives them.

        These filters reconstruct white noise to 1 % only.
        """
        high, *oriented, low = bands
        for band, spectra in zip(oriented[::-1], self._levels[::-1], strict=True):
            spread = band.new_zeros(*band.shape[:2], 1, *band.shape[3:])
            spread[..., ::2, ::2] = low
            low = self._convolve(torch.cat((band, spread), dim=2), spectra)
        return self._convolve(torch.cat((high, low), dim=2), self._residual)[:, :, 0]

    def _spectra(self, filters: tuple[Tensor, ...], size: int, device: torch.device) -> Tensor:
        """The filters' spectra for images of a size, centred on the origin: complex64 (K, P, P / 2 + 1)."""
        size += 2 * self.margin
        planes = torch.zeros(len(filters), size, size, dtype=torch.float64)
        for plane, kernel in zip(planes, filters, strict=True):
            width = len(kernel)
            plane[:width, :width] = kernel
            plane.copy_(plane.roll((-(width // 2), -(width // 2)), dims=(0, 1)))
        spectra: Tensor = torch.fft.rfft2(planes)
        return spectra.to(device, torch.complex64)

    def _correlate(self, image: Tensor, spectra: Tensor) -> Tensor:
        """Image (n, C, 1, M, M) seen through each of K filters: (n, C, K, M, M)."""
        return self._image(self._spectrum(image) * spectra.conj(), image.shape[-1])

    def _convolve(self, bands: Tensor, spectra: Tensor) -> Tensor:
        """The sum (n, C, 1, M, M) of K bands (n, C, K, M, M), each convolved with its filter."""
        return self._image((self._spectrum(bands) * spectra).sum(dim=2, keepdim=True), bands.shape[-1])

    def _spectrum(self, image: Tensor) -> Tensor:
        """The spectra (n, C, K, P, P / 2 + 1) of images (n, C, K, M, M) with their margins, P pixels wide."""
        if self.margin:
            padded = F.pad(image.flatten(0, 2), 4 * (self.margin,), mode="reflect")
            image = padded.view(*image.shape[:3], *padded.shape[1:])
        spectrum: Tensor = torch.fft.rfft2(image)
        return spectrum

    def _image(self, spectrum: Tensor, size: int) -> Tensor:
        """The images (n, C, K, size, size) of spectra, without their margins."""
        padded = size + 2 * self.margin
        inside = slice(self.margin, self.margin + size)
        image: Tensor = torch.fft.irfft2(spectrum, s=(padded, padded))
        return image[..., inside, inside]


@cache
def pyramid_for(size: int, border: Border, device: torch.device) -> Pyramid:
    """The pyramid for images of a size, made once: the host waits while filters are copied to a device."""
    return Pyramid(size, border, device)
