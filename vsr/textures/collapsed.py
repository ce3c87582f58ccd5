"""StyleGAN2 synthesis in which the kernels of a convolution differ in sign and size alone: one map per layer, not 512.

Let the 3x3 kernel from input channel i to output channel o be W[o, i] = n_o w_i. Demodulation divides output o by
``|n_o|`` times what all outputs have in common, so it is sign(n_o) m with one map m for all of them, and the next
convolution reads the channels

    x_o = sqrt(2) relu(sign_o m + noise + bias_o).

A sum over them, sum_o c_o x_o, is a function of noise + m (where the sign is +) plus one of noise - m, each
piecewise linear with its knots at -bias_o. So a look-up per pixel and sign gives what 512 products would; without
biases the only knot is 0, and no look-up is needed. This is exact: no approximation is made anywhere.

Nothing here rounds to TF32 or bfloat16, whatever matrix precision or autocast is set: all is look-ups, elementwise
float32 or float64.

Source: Karras et al., "Analyzing and improving the image quality of StyleGAN", CVPR 2020 (skip generator).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

_FOLD_IS_SLOW = 128  # px, on a CPU: from here on slices are quicker


class Layer(NamedTuple):
    """The C channels that a convolution gives at resolution R, and D weighted sums that are taken of them.

    Attributes:
        noise: (B, R, R), times its strength.
        bias: (B, C); None where there is none.
        weights: (B, 2, C, D), see :func:`by_sign`: the next convolution's 9 taps, as in :func:`synthesise` (not
            after the last), then the image's 3 (at the end of each resolution).
    """

    noise: Tensor
    bias: Tensor | None
    weights: Tensor


def by_sign(weights: Tensor, sign: Tensor) -> Tensor:
    """Weights (B, C, D) of channels of sign (B, C), 1 or -1, apart: (B, 2, C, D), those with + first, 0 elsewhere.

    They contain the activation's factor sqrt(2).
    """
    factor = torch.stack((1 + sign, 1 - sign), dim=1) / math.sqrt(2)
    return weights[:, None] * factor[..., None]


def synthesise(constant: Tensor, taps: Tensor, layers: Sequence[Layer]) -> Tensor:
    """The image of a generator.

    Args:
        constant: (B, C, R, R), what the first convolution reads.
        taps: (B, C, 9), its taps, row by row: how much of a pixel goes to each of its neighbours. StyleGAN2 counts
            them from the other end where it doesn't enlarge.
        layers: what each convolution gives; the second, fourth, ... doubles the resolution.

    Returns:
        float32 (B, 3, R', R'), no colour normalisation yet.
    """
    batch, _, side, _ = constant.shape
    sums = (taps.double().mT @ constant.double().flatten(2)).float()
    field = overlap_add(sums.view(batch, 9, side, side), 1)[:, 1:-1, 1:-1]
    image = field.new_zeros(())
    for number, layer in enumerate(layers):
        sums = weighted_sums(layer, field)
        if number % 2:
            field = overlap_add(sums, 1)[:, 1:-1, 1:-1]
            continue
        image = image + sums[:, -3:]
        if number + 1 < len(layers):
            image, field = enlarge(image, sums[:, :9])
    return image


def weighted_sums(layer: Layer, field: Tensor) -> Tensor:
    """The sums over a layer's channels, (B, D, R, R), from its map m, ``field`` (B, R, R)."""
    x, y = layer.noise + field, layer.noise - field
    if layer.bias is not None:
        sums = _look_up(torch.stack((x, y), dim=1).flatten(2), layer.weights, layer.bias)
        return sums.view(*sums.shape[:2], *field.shape[1:])
    plus, minus = layer.weights.sum(dim=2)[..., None, None].unbind(1)  # all channels of a sign are the same
    return (plus * x.relu_()[:, None]).addcmul_(minus, y.relu_()[:, None])


def _look_up(x: Tensor, weights: Tensor, bias: Tensor) -> Tensor:
    """The sum over signs and channels of weights relu(x + bias).

    Args:
        x: (B, sign, pixel).
        weights: (B, sign, C, D), 0 where a channel has the other sign.
        bias: (B, C).

    Returns:
        (B, D, pixel).
    """
    batch, signs, channels, sums = weights.shape
    knots, order = (-bias).sort(dim=1)
    weights = weights.gather(2, order[:, None, :, None].expand_as(weights))
    # Row k has the slopes, and another the offsets, where x is above the lowest k knots.
    table = torch.stack((weights, -knots[:, None, :, None] * weights), dim=2).cumsum(dim=3)
    table = F.pad(table, (0, 0, 1, 0)).view(-1, sums)
    first = torch.arange(0, len(table), channels + 1, dtype=torch.int32, device=x.device)
    below = torch.searchsorted(knots, x.flatten(1), out_int32=True).view_as(x)
    row = below[:, :, None] + first.view(batch, signs, 2, 1)
    factor = torch.stack((x, torch.ones_like(x)), dim=2)
    row, factor = (t.permute(0, 3, 1, 2).reshape(-1, 2 * signs) for t in (row, factor))
    return F.embedding_bag(row, table, per_sample_weights=factor, mode="sum").view(batch, -1, sums).mT.contiguous()


def overlap_add(products: Tensor, stride: int) -> Tensor:
    """What a 3x3 convolution gives, from each pixel times each tap: (B, 9, R, R) to (B, stride (R - 1) + 3, ...).

    The pixels are ``stride`` apart, with zeros between and around them.
    """
    batch, _, side, _ = products.shape
    size = stride * (side - 1) + 3
    if products.is_cuda or side < _FOLD_IS_SLOW:
        return F.fold(products.flatten(2), size, 3, stride=stride)[:, 0]
    total = products.new_zeros(batch, size, size)
    for tap, product in enumerate(products.unbind(1)):
        y, x = divmod(tap, 3)
        total[:, y : y + stride * side : stride, x : x + stride * side : stride].add_(product)
    return total


def enlarge(image: Tensor, products: Tensor) -> tuple[Tensor, Tensor]:
    """The image at twice the resolution, and what a convolution gives there.

    Both get zeros between their pixels, then the filter 1, 3, 3, 1; one is convolved in between.

    Args:
        image: (B, 3, R, R).
        products: (B, 9, R, R), each pixel times each tap.

    Returns:
        (B, 3, 2 R, 2 R) and (B, 2 R, 2 R).
    """
    batch, _, side, _ = image.shape
    spread = image.new_zeros(batch, 4, 2 * side + 3, 2 * side + 3)
    spread[:, :3, 2:-1:2, 2:-1:2] = image / 16
    spread[:, 3, 1:-1, 1:-1] = overlap_add(products, 2) / 16
    for dim in (2, 3):
        a, b, c, d = (spread.narrow(dim, k, 2 * side) for k in range(4))
        spread = (a + d).add_(b + c, alpha=3)
    return spread[:, :3], spread[:, 3]
