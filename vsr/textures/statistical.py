"""Statistical textures: random images with a random colour law, spectrum and wavelet marginals.

One texture is one draw of three laws, and then noise that is brought towards all three, ten times over:

1. **Spectrum.** Amplitude ``1 / (|fx|^sx + |fy|^sy)``, the same for all channels.
2. **Wavelet marginals.** In a steerable pyramid the high-pass residual and every oriented band follow a
   generalised Gaussian ``exp(-|x / s|^r)``. The low-pass residual is left alone.
3. **Colour.** The principal components of the colours follow those of a random image of coloured stripes.

Source: `stat-spectrum_color_wmm` of Baradad et al., "Learning to see by looking at noise", NeurIPS 2021, in
the MATLAB version that made the published images. Its pyramid is buildSpyr of matlabPyrTools with sp3Filters,
which are under the MIT licence.

Deviations: borders are circular by default, so textures tile, where the published images have mirrored ones
(`border="reflect"`); a principal axis points where its largest component is positive, for its sign is free;
the bins of a source histogram share its range equally, where matlabPyrTools centres one on the mean; 64 and
512 px are new, with one pyramid level less and one more than their neighbours.
"""

import math
from functools import partial
from typing import NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from vsr import rng
from vsr.errors import InputError
from vsr.rng import Stream
from vsr.textures.pyramid import LEVELS, Border, Pyramid, pyramid_for
from vsr.textures.threads import each

_COLOURS = (3, 22)  # fewest and most in a reference image
_COLOUR_BINS = 256
_WAVELET_GRID = (-200.0, 200.0, 0.5)  # grey levels: first and last bin centre, step
_WAVELET_BINS = 801
_SWEEPS = 6  # of Jacobi's rotations: then colours' axes are as good as float64 is
_FLAT = 1e-20  # grey levels: a band with a smaller standard deviation has one value
_PIXELS_AT_ONCE = {"cpu": 1, "cuda": 2**20}  # a CPU's cache holds one texture; a GPU wants many


class Marginal(NamedTuple):
    """The law of one variable, as a piecewise linear distribution function.

    Attributes:
        cdf: float64 (..., K + 1), strictly increasing from 0 to 1.
        edges: float64 (..., K + 1), the values where ``cdf`` is reached, in grey levels.
    """

    cdf: Tensor
    edges: Tensor


class ColourModel(NamedTuple):
    """The colours of n textures.

    Attributes:
        basis: float64 (n, 3, 3); column c is principal axis c in RGB, the strongest first.
        mean: float64 (n, 3, 1), RGB in grey levels.
        marginal: the law of each principal component, (n, 3, 257).
    """

    basis: Tensor
    mean: Tensor
    marginal: Marginal


class WaveletModel(NamedTuple):
    """The laws of a pyramid's bands of one size, k to each channel.

    Attributes:
        marginal: (n, 3, k, 802).
        std: float32 (n, 3, k, 1), grey levels.
    """

    marginal: Marginal
    std: Tensor


class Histogram(NamedTuple):
    """Where the values of x (..., M) lie in K equal bins over their range.

    Attributes:
        counts: int64 (..., K).
        edges: (..., K + 1) as x.
        bin: int64 (..., M).
        fraction: (..., M) as x, the place in the bin from 0 to 1.
    """

    counts: Tensor
    edges: Tensor
    bin: Tensor
    fraction: Tensor


def statistical(
    index: Tensor, seed: int = 0, size: int = 128, iterations: int = 10, border: Border = "circular"
) -> Tensor:
    """Textures by their numbers: texture k of a seed is the same alone or in any batch.

    On the CPU that is so bit for bit, whatever the number of threads. Another device rounds differently, and
    ten iterations make that a few grey levels in a few pixels.

    Args:
        index: int64 (n,), the textures' numbers, each in [0, 2^32).
        seed: in [0, 2^64).
        size: pixels along a side: 64, 128, 256 or 512.
        iterations: how often the three laws are imposed. Spectrum and band energies are right after one, only
            the tails grow after four, and the source has ten.
        border: how filters see past the edge. ``circular`` gives textures that tile, ``reflect`` mirrors
            about the outermost pixels, as in the published images.

    Returns:
        uint8 (n, 3, size, size) on the device of ``index``. Each texture reaches both 0 and 255.

    Raises:
        InputError: an argument is out of range.
    """
    if size not in LEVELS:
        raise InputError(f"texture size {size} is not possible: use {', '.join(map(str, LEVELS))} pixels")
    if iterations < 1:
        raise InputError(f"{iterations} iterations of a texture are not possible: use 1 or more, 10 as published")
    if border not in get_args(Border):
        raise InputError(f"texture border {border!r} is not known: use {' or '.join(get_args(Border))}")
    if not len(index):
        return torch.empty(0, 3, size, size, dtype=torch.uint8, device=index.device)
    make = partial(_synthesise, seed=seed, size=size, iterations=iterations, border=border)
    at_once = max(1, _PIXELS_AT_ONCE.get(index.device.type, 1) // size**2)
    return torch.cat(list(each(make, torch.split(index, at_once))))


def _synthesise(index: Tensor, seed: int, size: int, iterations: int, border: Border) -> Tensor:
    """Textures uint8 (n, 3, N, N) of a few numbers at once."""
    pyramid = pyramid_for(size, border, index.device)
    stripes, noise, start = pixel_draws(index, seed, size)
    colours = colour_model(reference_image(index, seed, stripes, noise))
    magnitude = spectrum_model(index, seed, size)
    wavelets = wavelet_model(index, seed, size)
    image = 256 * start
    for _ in range(iterations):
        image = impose_spectrum(image, magnitude)
        image = impose_wavelets(image, wavelets, pyramid)
        image = impose_colours(image, colours.marginal)
    return to_bytes(image, colours)


def pixel_draws(index: Tensor, seed: int, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """What is drawn per pixel.

    Returns:
        float32 in [0, 1): for the stripes (n, N^2), for the reference image's noise (n, 3, N, N) and for the
        image to start from (n, 3, N, N).
    """
    draws = rng.uniform(rng.words(Stream.TEXTURE_PIXELS, seed, index, elements=7 * size**2 // 4)).flatten(1)
    planes = draws.view(-1, 7, size, size)
    return planes[:, 0].flatten(1), planes[:, 1:4], planes[:, 4:]


def reference_image(index: Tensor, seed: int, stripes: Tensor, noise: Tensor) -> Tensor:
    """The image whose colours a texture gets: vertical stripes of 2 to 21 colours, blurred and with noise.

    Args:
        index: int64 (n,), the textures' numbers.
        seed: in [0, 2^64).
        stripes: (n, N^2) in [0, 1); one value for each pixel decides how many pixels a stripe takes.
        noise: (n, 3, N, N) in [0, 1).

    Returns:
        float64 (n, 3, N, N), RGB from 0 to 256.
    """
    size = noise.shape[-1]
    fewest, most = _COLOURS
    words = rng.words(Stream.TEXTURE_COLOURS, seed, index, elements=most + 1)
    palette = rng.uniform(words[:, :most, :3]).double()
    weight = 0.001 + rng.uniform(words[:, :most, 3]).double()
    number = fewest + rng.below(words[:, most, :1], most - fewest + 1)
    width = 1 + rng.below(words[:, most, 1], 10)

    weight *= torch.arange(most, device=index.device) < number
    cumulative = weight.cumsum(dim=1) / weight.sum(dim=1, keepdim=True)
    group = torch.searchsorted(cumulative, stripes.double(), right=True).clamp_max_(number - 1)
    pixels = torch.zeros_like(weight, dtype=torch.int64).scatter_add_(1, group, torch.ones_like(group))
    # Sorted by group, the pixels fill the image column by column.
    position = torch.arange(size**2, device=index.device).view(size, size).T.flatten()
    group = torch.searchsorted(pixels.cumsum(dim=1), position.repeat(len(index), 1), right=True)
    # The source counts colours from 0 where its look-up counts from 1: the first two groups share a colour.
    colour = (group - 1).clamp_min_(0)
    image = 256 * palette.mT.gather(2, colour[:, None].expand(-1, 3, -1)).view(-1, 3, size, size)

    image = box_blur(image, width) + 10 * noise
    image -= image.amin(dim=(1, 2, 3), keepdim=True)
    return image.mul_(256 / image.amax(dim=(1, 2, 3), keepdim=True))


def colour_model(image: Tensor) -> ColourModel:
    """The principal axes of the colours of images, float64 (n, 3, N, N), and their components' histograms."""
    values = image.flatten(2)
    mean = values.mean(dim=2, keepdim=True)
    values = values - mean
    axes = principal_axes(values @ values.mT)
    largest = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))
    basis = axes * largest.sign()
    counted = histogram(basis.mT @ values, _COLOUR_BINS)
    return ColourModel(basis, mean, marginal(counted.counts.double(), counted.edges))


def principal_axes(scatter: Tensor) -> Tensor:
    """The eigenvectors of symmetric matrices, float64 (n, 3, 3), as columns (n, 3, 3), the strongest first."""
    if scatter.device.type == "cpu":
        axes: Tensor = torch.linalg.eigh(scatter).eigenvectors
        return axes.flip(-1)
    return jacobi(scatter)  # elsewhere eigh makes the host wait, to look whether it failed


def jacobi(matrix: Tensor) -> Tensor:
    """:func:`principal_axes` by rotations alone (Jacobi, 1846), each of which also sorts the two axes it turns."""
    unit = torch.eye(3, dtype=matrix.dtype, device=matrix.device).expand_as(matrix)
    axes = unit
    for p, q in _SWEEPS * ((0, 1), (0, 2), (1, 2)):
        angle = torch.atan2(2 * matrix[:, p, q], matrix[:, p, p] - matrix[:, q, q]) / 2
        turn = unit.clone()
        turn[:, p, p] = turn[:, q, q] = angle.cos()
        turn[:, q, p] = angle.sin()
        turn[:, p, q] = -turn[:, q, p]
        matrix, axes = turn.mT @ matrix @ turn, axes @ turn
    return axes


def box_blur(image: Tensor, width: Tensor) -> Tensor:
    """The mean over a square window, with zeros outside the image (MATLAB's ``conv2(..., 'same')``).

    Args:
        image: (n, C, N, N).
        width: int64 (n,), the window's side in pixels; an even one reaches further to the right and down.

    Returns:
        (n, C, N, N).
    """
    size = image.shape[-1]
    width = width.view(-1, 1, 1, 1)
    stop = torch.arange(1, size + 1, device=image.device) + width // 2
    start = (stop - width).clamp_(0, size).expand(image.shape)
    stop = stop.clamp_(0, size).expand(image.shape)
    for _ in range(2):
        sums = F.pad(image.cumsum(dim=-1), (1, 0))
        image = ((sums.gather(-1, stop) - sums.gather(-1, start)) / width).mT
    return image


def spectrum_model(index: Tensor, seed: int, size: int) -> Tensor:
    """The amplitude of each frequency: a sum of a power of ``|fx|`` and one of ``|fy|``, not a power of their radius.

    Args:
        index: int64 (n,), the textures' numbers.
        seed: in [0, 2^64).
        size: N, pixels along a side.

    Returns:
        float32 (n, 1, N, N / 2 + 1), the half that ``rfft2`` gives; 0 at frequency 0, unnormalised elsewhere.
    """
    words = rng.words(Stream.TEXTURE_SPECTRUM, seed, index)[:, 0]
    slope = 0.5 + 3 * rng.uniform(words[:, 0]).double()
    difference = 0.05 * rng.normal(words[:, 1:3], torch.float64)[:, 0]
    fx = torch.fft.rfftfreq(size, dtype=torch.float64, device=index.device).abs()
    fy = torch.fft.fftfreq(size, dtype=torch.float64, device=index.device).abs()
    x = fx ** (slope + difference)[:, None, None]
    y = fy[:, None] ** (slope - difference)[:, None, None]
    magnitude: Tensor = 1 / (x + y)
    magnitude[:, 0, 0] = 0
    return magnitude[:, None].float()


def wavelet_model(index: Tensor, seed: int, size: int) -> list[WaveletModel]:
    """The law of each constrained band: ``exp(-|x / 4^scale|^r)`` on -200 .. 200 grey levels.

    ``scale`` is the image's size over the band's. From the third level on the law is all but uniform.

    Args:
        index: int64 (n,), the textures' numbers.
        seed: in [0, 2^64).
        size: pixels along a side.

    Returns:
        For the high-pass residual (k = 1), then for each level from the finest (k = 4).
    """
    levels = LEVELS[size]
    words = rng.words(Stream.TEXTURE_WAVELETS, seed, index, elements=3 * (1 + 4 * levels))
    exponent = 0.4 + 0.4 * rng.uniform(words[..., 0]).double().view(-1, 1 + 4 * levels, 3).mT[..., None]
    first, last, step = _WAVELET_GRID
    centres = torch.linspace(first, last, _WAVELET_BINS, dtype=torch.float64, device=index.device)
    edges = torch.cat((centres - step / 2, centres[-1:] + step / 2))
    models = []
    for level in range(-1, levels):
        bands = slice(0, 1) if level < 0 else slice(1 + 4 * level, 5 + 4 * level)
        scale = 2 ** max(level, 0)
        density = (-((centres / 4.0**scale).abs() ** exponent[:, :, bands])).exp()
        std = ((centres**2 * density).sum(dim=-1, keepdim=True) / density.sum(dim=-1, keepdim=True)).sqrt()
        models.append(WaveletModel(marginal(density, edges.expand(*density.shape[:-1], -1)), std.float()))
    return models


def marginal(weights: Tensor, edges: Tensor) -> Marginal:
    """The law of a histogram.

    Args:
        weights: float64 (..., K), not negative.
        edges: float64 (..., K + 1).

    Returns:
        Its distribution function. Every bin gets a hundred-millionth of the mean weight more, so that it can
        be inverted where bins are empty; float32 would lose that.
    """
    weights = weights + 1e-8 * weights.mean(dim=-1, keepdim=True)
    cdf = F.pad(weights.cumsum(dim=-1), (1, 0))
    return Marginal(cdf / cdf[..., -1:], edges.contiguous())


def impose_spectrum(image: Tensor, magnitude: Tensor) -> Tensor:
    """Gives every channel the amplitudes; phases, mean and standard deviation stay.

    Args:
        image: float32 (n, 3, N, N).
        magnitude: float32 (n, 1 or 3, N, N / 2 + 1), 0 at frequency 0; its unit doesn't matter.

    Returns:
        float32 (n, 3, N, N).
    """
    mean = image.mean(dim=(-2, -1), keepdim=True)
    image = image - mean
    phase = torch.fft.rfft2(image).sgn()
    phase = torch.where(phase == 0, 1, phase)  # 0 / 0 would spread over the whole channel
    shaped = torch.fft.irfft2(phase * magnitude, s=image.shape[-2:])
    return standardise(shaped.flatten(2), _std(image.flatten(2))).view_as(image).add_(mean)


def impose_wavelets(image: Tensor, models: list[WaveletModel], pyramid: Pyramid) -> Tensor:
    """Gives every band but the low-pass residual its law, mean 0 and its standard deviation.

    The source standardises bands before it matches them, too. That changes nothing, for their histograms are
    taken over their own range.

    Args:
        image: float32 (n, 3, N, N).
        models: the bands' laws, the high-pass residual's first.
        pyramid: for images of this size.

    Returns:
        float32 (n, 3, N, N).
    """
    *bands, low = pyramid.build(image)
    shaped = [
        standardise(match(band.flatten(-2), model.marginal), model.std).view_as(band)
        for band, model in zip(bands, models, strict=True)
    ]
    return pyramid.reconstruct([*shaped, low])


def impose_colours(image: Tensor, target: Marginal) -> Tensor:
    """Gives every principal component, image float32 (n, 3, N, N), its law (n, 3, 257)."""
    return match(image.flatten(2), target).view_as(image)


def histogram(x: Tensor, bins: int) -> Histogram:
    """The histogram of each row of x (..., M) over its own range; all in bin 0 where a row is constant."""
    low, high = x.aminmax(dim=-1, keepdim=True)
    width = (high - low) / bins
    fraction = (x - low).div_(width.clamp_min(torch.finfo(x.dtype).tiny))
    bin = fraction.long().clamp_max_(bins - 1)
    fraction -= bin
    counts = torch.zeros(*x.shape[:-1], bins, dtype=torch.int64, device=x.device)
    counts.scatter_add_(-1, bin, torch.ones((), dtype=torch.int64, device=x.device).expand_as(bin))
    return Histogram(counts, low + width * torch.arange(bins + 1, device=x.device), bin, fraction)


def match(x: Tensor, target: Marginal) -> Tensor:
    """Moves the values of each row so that they follow a law and keep their order.

    Both distribution functions are piecewise linear with as many bins, so one look-up table takes values to
    their places (histoMatch of matlabPyrTools).

    Args:
        x: float32 (..., M).
        target: (..., K + 1).

    Returns:
        float32 (..., M).
    """
    bins = target.cdf.shape[-1] - 1
    source = histogram(x, bins)
    cdf = F.pad(source.counts.cumsum(dim=-1).double() / x.shape[-1], (1, 0))
    above = torch.searchsorted(target.cdf, cdf).clamp_(1, bins)
    p0, p1 = target.cdf.gather(-1, above - 1), target.cdf.gather(-1, above)
    x0, x1 = target.edges.gather(-1, above - 1), target.edges.gather(-1, above)
    table = (x0 + (x1 - x0) * (cdf - p0) / (p1 - p0)).to(x.dtype)
    return torch.addcmul(table.gather(-1, source.bin), table.diff(dim=-1).gather(-1, source.bin), source.fraction)


def standardise(x: Tensor, std: Tensor) -> Tensor:
    """Rows x (..., M) with mean 0 and standard deviation ``std`` (..., 1); a row of one value becomes 0."""
    x = x - x.mean(dim=-1, keepdim=True)
    return x.mul_(std / _std(x).clamp_min_(_FLAT))


def _std(centred: Tensor) -> Tensor:
    """The standard deviation (..., 1) of rows (..., M) with mean 0."""
    norm: Tensor = torch.linalg.vector_norm(centred, dim=-1, keepdim=True)
    return norm / math.sqrt(centred.shape[-1] - 1)


def to_bytes(image: Tensor, colours: ColourModel) -> Tensor:
    """From principal components, float32 (n, 3, N, N), to RGB over the whole range: uint8 (n, 3, N, N)."""
    rgb = colours.basis @ image.flatten(2).double() + colours.mean
    rgb -= rgb.amin(dim=(1, 2), keepdim=True)
    rgb *= 255 / rgb.amax(dim=(1, 2), keepdim=True)
    return rgb.round_().to(torch.uint8).view_as(image)
