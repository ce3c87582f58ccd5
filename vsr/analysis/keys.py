"""What the last block's attention looks by: its keys, and the three components that show most of them as colours.

As the paper's figure 5 (section 5.5) shows them, in the convention of Amir et al., "Deep ViT Features as Dense Visual
Descriptors", 2021: keys of the last block, heads put together, one PCA for all videos of a class, the first three
components as red, green and blue. Neither says how positions are treated for inputs of two frames: here they are those
of a clip's first tubes. Signs of components are arbitrary, so our colours can't be compared with the paper's.

Letters: W windows, D width, L tokens of a window.
"""

from collections.abc import Iterable
from functools import reduce
from itertools import permutations
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vsr.errors import InputError
from vsr.models.exchange import Weights
from vsr.models.vit import Encoder

COMPONENTS = 3
_NOTHING = 1e-12  # of the largest variance: what rounding leaves where there is none
_AT_ONCE = 32  # windows


class Moments(NamedTuple):
    """What a PCA needs to know of N vectors.

    Attributes:
        number: N.
        mean: float64 (D,).
        scatter: float64 (D, D), the sum of the outer products of what differs from the mean.
    """

    number: int
    mean: Tensor
    scatter: Tensor


def window_encoder(weights: Weights) -> Encoder:
    """The encoder of any network for windows of one tube's length, without its last LayerNorm.

    Its positions are those of the first tubes of a longer clip.

    Args:
        weights: of pre-training, or of a classifier or probe, whose keys fine-tuning may have changed.

    Returns:
        In evaluation mode, on the CPU, float32.

    Raises:
        InputError: an encoder of none of the sizes, or not a whole one.
    """
    tubelet_size, patch_size = weights.tube
    encoder = Encoder(weights.size, weights.image_size, tubelet_size, patch_size, tubelet_size)
    encoder.register_module("norm", nn.Identity())  # a classifier has none, and keys come before it
    inside = {n.removeprefix("encoder."): t for n, t in weights.tensors.items() if n.startswith("encoder.")}
    given = {name: tensor for name, tensor in inside.items() if not name.startswith("norm.")}
    weights.must_agree(given, encoder.state_dict())
    encoder.load_state_dict(given)
    return encoder.eval().requires_grad_(False)


def sliding_windows(video: Tensor, length: int) -> Tensor:
    """All windows of a video, one for each frame but the last ``length - 1``.

    Args:
        video: (C, T, H, W).
        length: frames of a window.

    Returns:
        (W, C, length, H, W), a view; W is T - length + 1.
    """
    return video.unfold(1, length, 1).permute(1, 0, 4, 2, 3)


@torch.no_grad()
def attention_keys(encoder: Encoder, windows: Tensor) -> Tensor:
    """The keys of the last block, nothing hidden.

    Args:
        encoder: see :func:`window_encoder`.
        windows: uint8 (W, C, T, H, W), on any device.

    Returns:
        float32 (W, L, D), heads side by side, on the encoder's device. VideoMAE's keys have no bias.
    """
    blocks: list[Any] = list(encoder.blocks)
    *before, last = blocks
    of_key: Tensor = last.attn.qkv.weight.chunk(3)[1]
    keys = []
    for some in windows.split(_AT_ONCE):
        tokens = encoder.patch_embed(some.to(of_key.device))
        for block in before:
            tokens = block(tokens)
        keys.append(F.linear(last.norm1(tokens), of_key))
    return torch.cat(keys)


def moments(parts: Iterable[Tensor]) -> Moments:
    """The moments of all vectors of all parts (…, D), of which one is held at a time.

    Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
    """
    return reduce(_merged, map(_moments, parts))


def _moments(part: Tensor) -> Moments:
    vectors = part.flatten(0, -2).double()
    mean = vectors.mean(dim=0)
    centred = vectors - mean
    return Moments(len(vectors), mean, centred.T @ centred)


def _merged(a: Moments, b: Moments) -> Moments:
    number, apart = a.number + b.number, b.mean - a.mean
    scatter = a.scatter + b.scatter + torch.outer(apart, apart) * (a.number * b.number / number)
    return Moments(number, a.mean + apart * (b.number / number), scatter)


def principal_axes(found: Moments) -> Tensor:
    """The directions of most variance, float64 (3, D), of length 1, each with its largest entry positive.

    Raises:
        InputError: the vectors differ in fewer than three directions.
    """
    variances, directions = torch.linalg.eigh(found.scatter)  # ascending
    if len(variances) < COMPONENTS or not variances[-COMPONENTS] > _NOTHING * variances[-1]:
        raise InputError(
            f"{found.number} keys of width {len(variances)} differ in fewer than {COMPONENTS} directions, so there are "
            "no three colours: give more, longer or other videos, or another checkpoint"
        )
    axes: Tensor = directions[:, -COMPONENTS:].flip(1).T
    return axes * axes.gather(1, axes.abs().argmax(dim=1, keepdim=True)).sign()


def explained(found: Moments, axes: Tensor) -> list[float]:
    """The share of the variance that lies along each axis (K, D) of length 1, 0 .. 1."""
    along = torch.einsum("kd,de,ke->k", axes, found.scatter, axes)
    shares: list[float] = (along / found.scatter.trace()).tolist()
    return shares


def project(keys: Tensor, found: Moments, axes: Tensor) -> Tensor:
    """Scores of keys (W, L, D) along axes (K, D), float32 (W, L, K)."""
    return (keys - found.mean.float()) @ axes.float().T


def matched(scores: Tensor, like: Tensor) -> tuple[list[int], Tensor]:
    """How to order and turn components so that they go with others of the same tokens.

    Args:
        scores: (N, K).
        like: (N, K), of the same N tokens.

    Returns:
        Which component of ``scores`` goes with each of ``like``: the order with the largest sum of absolute
        correlations; and the sign, (K,) of -1 or 1, that makes each correlation positive.
    """
    a, b = (F.normalize((s - s.mean(dim=0)).double(), dim=0) for s in (scores, like))
    correlation = a.T @ b
    every = range(correlation.shape[0])
    order = max(permutations(every), key=lambda p: sum(float(correlation[p[k], k].abs()) for k in every))
    return list(order), torch.where(correlation[list(order), list(every)] < 0, -1.0, 1.0).to(scores)


def as_colours(scores: Tensor, height: int, width: int) -> Tensor:
    """Scores as pixels: each component spread over 0 .. 255 in each window by itself; 0 where it is constant.

    Args:
        scores: (W, L, 3).
        height: rows of tokens.
        width: columns of tokens; L is height x width.

    Returns:
        uint8 (W, height, width, 3).
    """
    low, high = scores.aminmax(dim=1, keepdim=True)
    spread = (scores - low) / torch.where(high > low, high - low, 1)
    pixels: Tensor = (255 * spread).round().to(torch.uint8)
    return pixels.view(-1, height, width, COMPONENTS)
