"""What is drawn for a StyleGAN texture: the weights of a generator of its own.

Kernels are wavelets of 3x3 pixels: edges and lines in eight directions, spots and crosses, and their negatives.

Sources: the models "tied wavelets" and "noise and wavelets" of Baradad et al., "Learning to see by looking at noise",
NeurIPS 2021; Karras et al., "Analyzing and improving the image quality of StyleGAN", CVPR 2020.
"""

import math
from functools import cache
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from vsr import rng
from vsr.rng import Stream
from vsr.textures.collapsed import Layer, by_sign, synthesise

Family = Literal["oriented", "high_freq"]

LATENT = 512
READ = (512, 512, *(min(2**15 // 2**i, 512) for i in range(3, 9) for _ in range(2)))
"""Channels of the constant, then of what each of the 13 convolutions gives."""
SIDES = (4, *(2**i for i in range(3, 9) for _ in range(2)))
"""Pixels along a side of what each of the 13 convolutions gives."""

_CPU = torch.device("cpu")
_TIED_SIDE = 512  # of the one noise map of Oriented
_ENVELOPE_SIDE = 4
_FILTERS = (5, 40)  # fewest and most wavelets in a layer of Oriented
_BIAS = 0.2
_STRENGTH = 0.3  # of noise, at most
_MEAN = (0.483, 0.145), (0.455, 0.142), (0.401, 0.161)  # of R, G, B: mean and standard deviation over textures
_STD = (0.219, 0.063), (0.213, 0.062), (0.213, 0.069)


class Network(NamedTuple):
    """All that is drawn for B textures; the channels of all layers one after another, E = 5888 in total.

    Attributes:
        constant: (B, 512, 4, 4), what the first convolution reads.
        latent: (B, 14, 512), z of each layer.
        style: (B, E, 2), normal: how a channel's styles, for the next convolution and for the image, differ from 1,
            in units of ``|w| / sqrt(512)``.
        kernel: (B, E - 128, 9), the wavelet with which the next convolution reads a channel, row by row; nothing
            reads the last 128.
        color: (B, E, 3), to R, G, B: normal over the square root of the layer's number of channels.
        sign: (B, E), 1 or -1.
        bias: (B, E); None for High-frequency.
        noise: for each layer (B, R, R), a map times its strength.
        mean: (B, 3, 1, 1), the texture's, black 0 and white 1.
        std: (B, 3, 1, 1), the texture's; in some thousand textures one is negative, which inverts it.
    """

    constant: Tensor
    latent: Tensor
    style: Tensor
    kernel: Tensor
    color: Tensor
    sign: Tensor
    bias: Tensor | None
    noise: list[Tensor]
    mean: Tensor
    std: Tensor

    def repeat(self, times: int) -> "Network":
        """Each texture's network ``times`` times, one after another."""

        def repeated(x: Any) -> Any:
            if isinstance(x, list):
                return [repeated(each) for each in x]
            return x if x is None else x.repeat_interleave(times, dim=0)

        return Network(*map(repeated, self))

    def image(self, style: Tensor) -> Tensor:
        """The image, float32 (B, 3, 256, 256), before colour normalisation, from styles (B, E, 2)."""
        read = self.kernel.shape[1]
        taps = self.kernel * style[:, :read, :1]
        length = [torch.linalg.vector_norm(x, dim=(1, 2)) for x in taps.split(READ[:-1], dim=1)]
        taps /= torch.stack(length, dim=1)[:, layer_of_channel(taps.device)[:read], None]  # demodulation
        weights = torch.cat((F.pad(taps, (0, 0, 0, READ[-1])), self.color * style[..., 1:]), dim=2)
        biases = [None] * len(READ) if self.bias is None else self.bias.split(READ, dim=1)
        layers = []
        for i, (bias, w) in enumerate(zip(biases, by_sign(weights, self.sign).split(READ, dim=2), strict=True)):
            first, last = 9 if i == len(SIDES) else 0, 12 if i % 2 else 9  # the convolution, the image or both
            if i > 0:
                layers.append(Layer(self.noise[i - 1], bias, w[..., first:last]))
        return synthesise(self.constant, taps[:, : READ[0]], layers)


def draw(index: Tensor, seed: int, family: Family) -> Network:
    """The networks of the textures ``index``, int64 (B,), on its device."""
    sides = [_TIED_SIDE] if family == "oriented" else SIDES
    elements = {
        Stream.STYLEGAN_LATENTS: len(READ) * LATENT // 4,
        Stream.STYLEGAN_CONSTANT: 4 * LATENT,
        Stream.STYLEGAN_CHANNELS: 2 * sum(READ),
        Stream.STYLEGAN_LAYERS: 11 * len(SIDES),
        Stream.STYLEGAN_NOISE: -(-sum(map(phases, sides)) // 8),
        Stream.STYLEGAN_ENVELOPE: _ENVELOPE_SIDE**2 // 2,
        Stream.STYLEGAN_COLOURS: 2,
    }
    words = rng.words_by_stream(elements, seed, index)
    channels, to_color = words[Stream.STYLEGAN_CHANNELS].unflatten(1, (-1, 2)).unbind(2)
    layers = words[Stream.STYLEGAN_LAYERS].unflatten(1, (-1, 11))
    strength, exponent = rng.uniform(layers[:, :, 0, 1:3]).unbind(-1)
    strength, exponent = _STRENGTH * strength, 0.5 + exponent
    word = words[Stream.STYLEGAN_NOISE]
    phase = torch.cat((word >> 16, word & 0xFFFF), dim=1).flatten(1).float().mul_(2 * math.pi / 2**16)
    if family == "oriented":
        noise = tied_noise(phase, exponent[:, 0], strength, words[Stream.STYLEGAN_ENVELOPE])
    else:
        noise = untied_noise(phase, exponent, strength)
    mean, std = colours(words[Stream.STYLEGAN_COLOURS])
    return Network(
        constant=rng.normal(words[Stream.STYLEGAN_CONSTANT].flatten(1)).view(-1, LATENT, 4, 4),
        latent=rng.normal(words[Stream.STYLEGAN_LATENTS].flatten(1)).view(-1, len(READ), LATENT),
        style=rng.normal(channels[..., :2]),
        kernel=_kernels(layers, channels[:, : -READ[-1], 2], family),
        color=rng.normal(to_color)[..., :3] * _width(index.device).rsqrt()[:, None],
        sign=1 - 2.0 * (channels[..., 3] & 1),
        bias=_BIAS * (2 * rng.uniform(channels[..., 3]) - 1) if family == "oriented" else None,
        noise=noise,
        mean=mean,
        std=std,
    )


def colours(words: Tensor) -> tuple[Tensor, Tensor]:
    """Means and standard deviations of R, G, B, (B, 3, 1, 1) each, from words (B, 2, 4)."""
    law = _colour_law(words.device)
    normal = rng.normal(words).flatten(1)[:, :6].view(-1, 2, 3)
    mean, std = torch.addcmul(law[..., 0], law[..., 1], normal)[..., None, None].unbind(1)
    return mean, std


# Constants are made on the CPU and copied to a device once, for the host waits for such a copy. When it is done every
# stream may read them, which would not be so had one stream computed them on the device.


@cache
def _colour_law(device: torch.device) -> Tensor:
    """Mean and standard deviation, over textures, of each channel's mean and of its standard deviation: (2, 3, 2)."""
    return torch.tensor((_MEAN, _STD)).to(device)


def _kernels(layer_words: Tensor, word: Tensor, family: Family) -> Tensor:
    """The kernel for each channel: from a layer's 5 to 40 wavelets (Oriented), or from all.

    Args:
        layer_words: int64 (B, 13, 11, 4); the first chooses how many wavelets there are, the last 40 which.
        word: int64 (B, E); which of them a channel gets.
        family: of the generator.

    Returns:
        (B, E, 9).
    """
    bank = wavelets(family, word.device)
    if family == "high_freq":
        return bank[rng.below(word, len(bank))]
    layer = layer_of_channel(word.device)[: word.shape[1]]
    fewest, most = _FILTERS
    number = fewest + rng.below(layer_words[:, :, 0, 0], most - fewest + 1)
    order = layer_words[:, :, 1:].flatten(2).argsort(dim=2, stable=True)
    place = rng.below(word, number[:, layer])
    return bank[order.flatten(1).gather(1, len(bank) * layer + place)]


@cache
def layer_of_channel(device: torch.device) -> Tensor:
    """The layer, 0 .. 13, of each of the E channels."""
    return torch.arange(len(READ)).repeat_interleave(torch.tensor(READ)).to(device)


@cache
def _width(device: torch.device) -> Tensor:
    """The number of channels of the layer of each of the E channels."""
    return torch.tensor(READ).repeat_interleave(torch.tensor(READ)).to(device)


@cache
def wavelets(family: Family, device: torch.device = _CPU) -> Tensor:
    """The 40 kernels, (40, 9), row by row; those of High-frequency are the signs of Oriented's."""
    angle = torch.arange(8, dtype=torch.float64)[:, None] * (math.pi / 8)
    dy, dx = torch.cartesian_prod(*2 * [torch.arange(-1.0, 2, dtype=torch.float64)]).T
    across = (dx * angle.cos() - dy * angle.sin()).round(decimals=9)  # px from the line through the centre
    edges, lines = -across.clamp(-1, 1), 2 * across.abs().clamp_max(1) - 1
    if family == "high_freq":
        edges, lines = edges.sign(), lines.sign()
        edges[2, [0, 4, 8]] = across.new_tensor([1, 1, -1])  # diagonals, whose zeros the source leaves to rounding
        edges[6, [2, 4, 6]] = 1
    else:
        lines -= lines.mean(dim=1, keepdim=True)
    spot, cross = across.new_tensor([0, 0, 0, 0, 1, 0, 0, 0, 0]), across.new_tensor([0, 1, 0, 1, 1, 1, 0, 1, 0])
    half = torch.cat((edges, lines, torch.stack((spot, 2 * spot - 1, cross, 2 * cross - 1))))
    return torch.cat((half, -half)).float().to(device)


@cache
def _log_radius(side: int, device: torch.device) -> Tensor:
    """The logarithm of each frequency of ``rfft2`` (N, N / 2 + 1) in units of Nyquist's; infinite at 0."""
    fx, fy = 2 * torch.fft.rfftfreq(side), 2 * torch.fft.fftfreq(side)
    radius = torch.hypot(fy[:, None], fx)
    radius[0, 0] = math.inf
    return radius.log().to(device)


def phases(side: int) -> int:
    """How many phases a map of N x N pixels has: N (N / 2 + 1)."""
    return side * (side // 2 + 1)


def power_law(exponent: Tensor, phase: Tensor) -> Tensor:
    """Noise of which the amplitude falls as a power of the frequency.

    Args:
        exponent: (B,).
        phase: (B, N, N / 2 + 1), rad; overwritten.

    Returns:
        (B, N, N) of mean 0, unnormalised.
    """
    ends = phase[..., :: phase.shape[1] // 2]  # these columns hold a frequency and its negative: opposite phases
    ends -= ends.flip(1).roll(1, 1)
    amplitude = (-exponent[:, None, None] * _log_radius(phase.shape[1], phase.device)).exp()
    # torch.polar takes four times as long.
    spectrum = torch.complex(phase.cos().mul_(amplitude), phase.sin().mul_(amplitude))
    noise: Tensor = torch.fft.irfft2(spectrum)
    return noise


def spread(image: Tensor) -> Tensor:
    """The standard deviation over pixels: (..., N, N) to (..., 1, 1)."""
    centred = image - image.mean(dim=(-2, -1), keepdim=True)
    length: Tensor = torch.linalg.vector_norm(centred, dim=(-2, -1), keepdim=True)  # torch.std takes far longer
    return length / image.shape[-1]


def tied_noise(phase: Tensor, exponent: Tensor, strength: Tensor, words: Tensor) -> list[Tensor]:
    """The noise of Oriented: one map of 512 px under an envelope, averaged down to each layer.

    Args:
        phase: (B, 512 * 257), rad; overwritten.
        exponent: (B,).
        strength: (B, 13).
        words: int64 (B, 8, 4), for the envelope.

    Returns:
        For each layer (B, R, R); the map of 512 px has standard deviation 1 before it is multiplied by a strength.
    """
    side = _TIED_SIDE
    noise = power_law(exponent, phase.unflatten(1, (side, -1)))
    size, sign = words.view(-1, _ENVELOPE_SIDE, _ENVELOPE_SIDE, 2).unbind(-1)
    laplace = (1 - rng.uniform(size)).log() * (1 - 2 * (sign & 1))
    rows = lanczos(_ENVELOPE_SIDE, side, phase.device)
    noise *= (rows @ laplace.double() @ rows.T).float()
    noise /= spread(noise)
    maps = {}
    while side > SIDES[0]:
        noise = (noise[:, ::2] + noise[:, 1::2]) / 4
        noise, side = noise[..., ::2] + noise[..., 1::2], side // 2
        maps[side] = noise
    return [x[:, None, None] * maps[side] for x, side in zip(strength.unbind(1), SIDES, strict=True)]


def untied_noise(phase: Tensor, exponent: Tensor, strength: Tensor) -> list[Tensor]:
    """The noise of High-frequency: a map for each layer.

    Args:
        phase: (B, sum of R (R / 2 + 1) or more), rad; overwritten.
        exponent: (B, 13).
        strength: (B, 13).

    Returns:
        For each layer (B, R, R), of which the strength is the standard deviation.
    """
    maps: list[Tensor] = []
    for side in sorted(set(SIDES)):
        count = SIDES.count(side)  # maps of one size are made together
        some, phase = phase.tensor_split([count * phases(side)], dim=1)
        alpha, std = (x[:, len(maps) : len(maps) + count].flatten() for x in (exponent, strength))
        noise = power_law(alpha, some.reshape(-1, side, side // 2 + 1))
        noise *= (side * std / torch.linalg.vector_norm(noise, dim=(1, 2)))[:, None, None]
        maps += noise.unflatten(0, (-1, count)).unbind(1)
    return maps


@cache
def lanczos(source: int, target: int, device: torch.device = _CPU) -> Tensor:
    """The matrix, float64 (target, source), that enlarges by Lanczos interpolation with three lobes."""
    step = source / target
    distance = torch.arange(source) + 0.5 - (torch.arange(target, dtype=torch.float64)[:, None] + 0.5) * step
    weights = torch.where(distance.abs() < 3, distance.sinc() * (distance / 3).sinc(), 0)
    return (weights / weights.sum(dim=1, keepdim=True)).to(device)
