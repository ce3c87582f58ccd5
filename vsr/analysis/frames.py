"""What single frames show: how fast detail fades with its fineness, and which colours there are."""

from functools import cache
from typing import NamedTuple

import kornia
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

BAND = (0.02, 0.35)
"""Cycles per pixel between which the spectrum's line is fitted."""
PIXEL_STEP = 4
"""Colours are those of every fourth pixel along each side."""
_GREY = (0.299, 0.587, 0.114)
_REGULAR = 1e-6  # added to the variances of colours
_LEAST_VARIANCE = 1e-2  # of L*a*b* in its narrowest direction: below, colours don't span the space


def spectrum_exponent(frames: Tensor) -> Tensor:
    """The exponent a of the law 1/f^a that the amplitude of a frame's spectrum follows.

    Grey in 0..1 less its mean, amplitudes averaged over rings one cycle per frame wide, least squares through
    their logarithms over the logarithm of the frequency, within :data:`BAND`. The power's exponent is twice as large.

    Args:
        frames: uint8 or float in 0..255 (B, 3, S, S), RGB.

    Returns:
        float64 (B,); NaN for a frame that has no such spectrum: of one grey, or with a ring of no amplitude at all, as
        straight edges along an axis have.

    Source: the law of Torralba and Oliva, "Statistics of natural image categories", 2003. Amplitude and band are those
    by which circles made with the paper's release have the paper's 1.42.
    """
    side = frames.shape[-1]
    red, green, blue = (frames[:, channel] * (share / 255) for channel, share in enumerate(_GREY))
    grey = red + green + blue
    grey = grey - grey.mean(dim=(1, 2), keepdim=True)
    amplitude = torch.fft.rfft2(grey).abs().flatten(1)
    ring, weight, slope_of = _rings(side, frames.device)
    total = amplitude.new_zeros(len(frames), side).index_add_(1, ring, amplitude * weight)
    count = amplitude.new_zeros(side).index_add_(0, ring, weight)
    outside = slope_of == 0
    log = (total / count.clamp(min=1)).double().log().masked_fill(outside, 0)
    varied = grey.abs().amax(dim=(1, 2)) > 1e-4
    exponent = -(log @ slope_of)
    return torch.where(varied & exponent.isfinite(), exponent, torch.nan)


@cache
def _rings(side: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Of each value of a half spectrum its ring and how often the whole one has it; by ring, its share in the slope."""
    y = torch.fft.fftfreq(side, 1 / side)[:, None]
    x = torch.fft.rfftfreq(side, 1 / side)[None]
    ring = (x.square() + y.square()).sqrt().round().long()
    once = (x == 0) | ((x == side / 2) & (side % 2 == 0))
    weight = torch.where(once, 1.0, 2.0).expand(ring.shape)
    radius = torch.arange(side, dtype=torch.float64)
    inside = (radius / side >= BAND[0]) & (radius / side <= BAND[1])
    log = radius.clamp(min=1).log()
    centred = torch.where(inside, log - log[inside].mean(), 0)
    slope_of = centred / centred.square().sum()
    return ring.flatten().to(device), weight.flatten().to(device), slope_of.to(device)


class Colours:
    """The mean and covariance of all colours seen, in CIE L*a*b* (D65, L* 0..100, from sRGB).

    Args:
        device: where frames are.

    Attributes:
        pixels: how many were looked at.
    """

    def __init__(self, device: torch.device) -> None:
        self.pixels = 0
        self._sum = torch.zeros(3, dtype=torch.float64, device=device)
        self._products = torch.zeros(3, 3, dtype=torch.float64, device=device)

    def add(self, frames: Tensor) -> None:
        """Look at frames, uint8 (B, 3, S, S), RGB."""
        some = frames[..., ::PIXEL_STEP, ::PIXEL_STEP]
        lab = kornia.color.rgb_to_lab(some.float() / 255).permute(1, 0, 2, 3).flatten(1).double()
        self.pixels += lab.shape[1]
        self._sum += lab.sum(dim=1)
        self._products += lab @ lab.T

    def gaussian(self) -> MultivariateNormal | None:
        """The Gaussian with their mean and covariance; None where they don't span L*a*b*, as those of grey videos."""
        mean = (self._sum / self.pixels).cpu()
        covariance = (self._products / self.pixels).cpu() - mean[:, None] * mean
        if torch.linalg.eigvalsh(covariance)[0] < _LEAST_VARIANCE:
            return None
        return MultivariateNormal(mean, covariance + _REGULAR * torch.eye(3, dtype=torch.float64))


class ColourDistance(NamedTuple):
    """Kullback-Leibler divergences between the colours of two sets, in nats.

    Attributes:
        forward: of the first from the second, KL(first || second).
        backward: of the second from the first.
    """

    forward: float
    backward: float

    @property
    def sum(self) -> float:
        """Both together (Jeffreys)."""
        return self.forward + self.backward

    @property
    def mean(self) -> float:
        """Half the sum: which of them the paper's figure shows isn't said; the mean fits it better."""
        return self.sum / 2


def colour_distance(first: MultivariateNormal, second: MultivariateNormal) -> ColourDistance:
    """How far the colours of two sets are apart, both ways."""
    return ColourDistance(float(kl_divergence(first, second)), float(kl_divergence(second, first)))
