"""StyleGAN textures: what StyleGAN2 generators with random weights show; nothing is trained, nothing downloaded.

Two of the models of Baradad et al., "Learning to see by looking at noise", NeurIPS 2021. Both are StyleGAN2's skip
generator at 256 px with wavelets as kernels, of which an input channel has the same for all outputs:

* **Oriented** ("tied wavelets"): 5 to 40 wavelets in a layer, biases, one noise map under an envelope for all layers.
* **High-frequency** ("noise and wavelets"): the wavelets' signs, no biases, a noise map of its own for each layer.

Such a generator needs one map per layer instead of 512: see :mod:`vsr.textures.collapsed`. Texture k of a seed has
the same latents, styles and colour law in both.

A walk makes videos: latents take a small random step from frame to frame while all else stays. arXiv 2410.24213,
section 5.2, gives neither the size of the step nor what else may change: both are our choice.

Deviations: the source draws new filters for every few images and new networks for every 400, here each texture has a
network of its own; the signs of zeros in diagonal edges, which the source leaves to rounding, are those of one of its
runs.
"""

import math
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from vsr import rng
from vsr.errors import InputError
from vsr.rng import Stream
from vsr.textures.network import LATENT, READ, SIDES, Family, Network, draw, layer_of_channel, spread
from vsr.textures.threads import each

_AT_ONCE = {"cpu": 1, "cuda": 128}  # images: a CPU's cache holds one, a GPU wants many, of about 20 MB each
_WALKS_AT_ONCE = 16  # at most: one takes some 50 MB while its affine maps are drawn
_STEPS_AT_ONCE = 16  # of a walk


def oriented(index: Tensor, seed: int = 0, size: int = 128) -> Tensor:
    """StyleGAN-Oriented textures by their numbers: texture k of a seed is the same alone or in any batch.

    On the CPU that is so bit for bit, whatever the number of threads. Another device rounds differently.

    Args:
        index: int64 (n,), the textures' numbers, each in [0, 2^32).
        seed: in [0, 2^64).
        size: pixels along a side, 1 to 256. Below 256 it is the texture of 256 px that is resampled, as an image
            from a folder is.

    Returns:
        uint8 (n, 3, size, size) on the device of ``index``.

    Raises:
        InputError: an argument is out of range.
    """
    return _textures(index, seed, size, "oriented")


def high_freq(index: Tensor, seed: int = 0, size: int = 128) -> Tensor:
    """StyleGAN high-frequency textures by their numbers, uint8 (n, 3, size, size); all as for :func:`oriented`."""
    return _textures(index, seed, size, "high_freq")


def walk(
    index: Tensor,
    frame: Tensor,
    seed: int = 0,
    size: int = 128,
    family: Family = "oriented",
    delta: float = 0.05,
    preserve_variance: bool = False,
) -> Tensor:
    """Dynamic textures: latents walk, z_i = z_(i-1) + ``delta`` e_i with normal e_i, and all else stays.

    Frame 0 of walk k is texture k. A frame is the same whichever others are asked for (bit for bit on the CPU).
    With ``size`` that of the video these are the whole-frame generator videos; with that of a texture they are what
    shapes show.

    Args:
        index: int64 (n,), the walks' numbers, each in [0, 2^32).
        frame: int64 (n, T), the frames that are shown, from 0 on. All steps to the last of them are taken. If they
            are on a GPU it is waited for.
        seed: in [0, 2^64).
        size: pixels along a side, 1 to 256.
        family: the generator, ``oriented`` or ``high_freq``.
        delta: the step, 0 to 1. 0.05 is our choice, for the paper gives none.
        preserve_variance: the step is sqrt(1 - delta^2) z_(i-1) + delta e_i, so that contrast doesn't grow in long
            walks.

    Returns:
        uint8 (n, T, 3, size, size) on the device of ``index``.

    Raises:
        InputError: an argument is out of range.
    """
    _check(size, family)
    if not 0 <= delta <= 1:
        raise InputError(f"a walk's delta {delta} is not possible: use 0 to 1, about 0.05")
    if frame.dim() != 2 or len(frame) != len(index):
        raise InputError(f"frames {tuple(frame.shape)} don't go with {len(index)} walks: give a row for each")
    if not frame.numel():
        return torch.empty(*frame.shape, 3, size, size, dtype=torch.uint8, device=index.device)
    first, last = (int(x) for x in frame.aminmax())
    if first < 0:
        raise InputError(f"frame {first} of a walk is not possible: they count from 0")
    frame = _sent(frame, index.device)
    kept = math.sqrt(1 - delta**2) if preserve_variance else 1.0

    def make(some: Tensor) -> Tensor:
        network = draw(index[some], seed, family)
        latents = walked(network.latent, index[some], seed, last, delta, kept)
        latents = latents[torch.arange(len(some), device=some.device)[:, None], frame[some]]
        return _frames(network, walked_styles(network, latents, index[some], seed), size)

    at_once = min(_WALKS_AT_ONCE, max(1, _at_once(index) // frame.shape[1]))
    return torch.cat(list(each(make, torch.arange(len(index), device=index.device).split(at_once))))


def _sent(frame: Tensor, device: torch.device) -> Tensor:
    """The same on a device. Pinned memory can be copied without waiting for it; an expanded tensor can't be pinned."""
    pinned = frame.contiguous().pin_memory() if device.type == "cuda" and not frame.is_cuda else frame
    return pinned.to(device, non_blocking=frame.device.type == "cpu")  # what comes from a GPU must be there when read


def _check(size: int, family: str) -> None:
    if not 1 <= size <= SIDES[-1]:
        raise InputError(f"texture size {size} is not possible: StyleGAN textures have 1 to {SIDES[-1]} pixels a side")
    if family not in get_args(Family):
        raise InputError(f"StyleGAN family {family!r} is not known: use {' or '.join(get_args(Family))}")


def _at_once(x: Tensor) -> int:
    return _AT_ONCE.get(x.device.type, 1)


def _textures(index: Tensor, seed: int, size: int, family: Family) -> Tensor:
    _check(size, family)
    if not len(index):
        return torch.empty(0, 3, size, size, dtype=torch.uint8, device=index.device)

    def make(some: Tensor) -> Tensor:
        network = draw(some, seed, family)
        image = network.image(styles(network))
        scale, shift = colour_map(image, network)
        return to_bytes(scale * image + shift, size)

    return torch.cat(list(each(make, index.split(_at_once(index)))))


def _frames(network: Network, style: Tensor, size: int) -> Tensor:
    """Frames uint8 (B, T, 3, size, size) of walks from their styles (B, T, E, 2), a few at once."""
    scale, shift = (x[:, None] for x in colour_map(network.image(styles(network)), network))
    frames = []
    for some in style.split(max(1, _at_once(style) // len(style)), dim=1):
        image = network.repeat(some.shape[1]).image(some.flatten(0, 1)).unflatten(0, some.shape[:2])
        frames.append(to_bytes(scale * image + shift, size))
    return torch.cat(frames, dim=1)


def styles(network: Network) -> Tensor:
    """The styles of textures, (B, E, 2): 1 + A w / sqrt(512) with normal A.

    Of A only the part along w counts, which is ``network.style``, and of w only its length.
    """
    length: Tensor = F.leaky_relu(network.latent, 0.2).norm(dim=2) / math.sqrt(LATENT)
    return 1 + network.style * length[:, layer_of_channel(length.device), None]


def walked(latent: Tensor, index: Tensor, seed: int, last: int, delta: float, kept: float) -> Tensor:
    """The latents z_0 .. z_last of walks.

    Args:
        latent: (B, 14, 512), z_0.
        index: int64 (B,), the walks' numbers.
        seed: in [0, 2^64).
        last: the last frame.
        delta: the step.
        kept: what a step leaves of the latent before it, as a factor.

    Returns:
        (B, last + 1, 14, 512).
    """
    path = [latent]
    for step in torch.arange(1, last + 1, device=index.device).split(_STEPS_AT_ONCE):
        numbers, steps = index.repeat_interleave(len(step)), step.repeat(len(index))
        words = rng.words(Stream.STYLEGAN_WALK, seed, numbers, steps, latent[0].numel() // 4)
        for e in rng.normal(words.flatten(1)).view(len(index), len(step), *latent.shape[1:]).unbind(1):
            path.append(kept * path[-1] + delta * e)
    return torch.stack(path, dim=1)


def walked_styles(network: Network, latent: Tensor, index: Tensor, seed: int) -> Tensor:
    """The styles of frames: 1 + A w / sqrt(512) with w that of the frame and A that of the network.

    A's part along the first frame's w is ``network.style``; only now its other parts are drawn, layer by layer.

    Args:
        network: of B walks.
        latent: (B, T, 14, 512), z of the frames.
        index: int64 (B,), the walks' numbers.
        seed: in [0, 2^64).

    Returns:
        (B, T, E, 2).
    """
    first = F.leaky_relu(network.latent, 0.2)
    moved = F.leaky_relu(latent, 0.2) - first[:, None]
    unit = first / first.norm(dim=2, keepdim=True)
    along = (moved * unit[:, None]).sum(dim=3)
    aside = _rounded(moved - along[..., None] * unit[:, None], 20)
    style = styles(network)[:, None].repeat(1, latent.shape[1], 1, 1)
    start = 0
    for layer, channels in enumerate(READ):
        part, read = slice(start, start + channels), 1 + layer % 2  # every other layer makes an image, too
        words = rng.words(Stream.STYLEGAN_AFFINE, seed, index, layer, read * channels * LATENT // 4)
        weights = _rounded(rng.normal(words.flatten(1)).view(len(index), read * channels, LATENT), 12)
        change = (aside[:, :, layer] @ weights.mT).float().unflatten(2, (read, channels)).mT
        change += along[:, :, layer, None, None] * network.style[:, None, part, :read]
        style[:, :, part, :read].add_(change, alpha=LATENT**-0.5)
        start += channels
    return style


def _rounded(x: Tensor, bits: int) -> Tensor:
    """To multiples of 2^-bits, in float64, so that sums of products are exact, whatever their order."""
    return (x.double() * 2.0**bits).round_().mul_(2.0**-bits)


def colour_map(image: Tensor, network: Network) -> tuple[Tensor, Tensor]:
    """The factor and the summand, (B, 3, 1, 1), that give channels the network's means and standard deviations."""
    scale = network.std / spread(image)
    return scale, network.mean - scale * image.mean(dim=(2, 3), keepdim=True)


def to_bytes(image: Tensor, size: int) -> Tensor:
    """Images (..., 3, 256, 256), black 0 and white 1, to uint8 (..., 3, size, size): truncated, as in the source."""
    image = image.clamp(0, 1).mul_(255).floor_()
    if size < image.shape[-1]:
        batch = image.shape[:-3]
        small = F.interpolate(image.flatten(0, -4), (size, size), mode="bicubic", antialias=True)
        image = small.round_().clamp_(0, 255).unflatten(0, batch)
    return image.to(torch.uint8)
