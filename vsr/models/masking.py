"""Tubes: how a video is cut into tokens, which are hidden, and what is to be predicted in their place.

A tube is ``tubelet_size`` frames x ``patch_size`` x ``patch_size`` px; one tube is one token. Tokens are
numbered in the order time, row, column: token ``(t * h + y) * w + x`` of a grid ``(t, h, w)``.

Letters: B videos, C colour channels, T frames, H rows, W columns, L tokens, P pixels of a tube.
"""

import math

import torch
from einops import rearrange
from torch import Tensor

from vsr import rng
from vsr.errors import InputError

Grid = tuple[int, int, int]
"""Tokens in time, rows and columns: ``(t, h, w)``, L = t h w."""

EPSILON = 255e-6
"""Added to a tube's standard deviation, in levels of 0..255: VideoMAE's 1e-6 for pixels in 0..1."""


def token_grid(num_frames: int, image_size: int, patch_size: int, tubelet_size: int) -> Grid:
    """The token grid of a clip.

    Args:
        num_frames: frames in a clip.
        image_size: height and width of a frame, px.
        patch_size: height and width of a tube, px.
        tubelet_size: frames of a tube.

    Returns:
        ``(t, h, w)``.

    Raises:
        InputError: a size isn't positive, or tubes don't fill the clip.
    """
    given = {
        "num_frames": num_frames,
        "image_size": image_size,
        "patch_size": patch_size,
        "tubelet_size": tubelet_size,
    }
    for name, value in given.items():
        if value < 1:
            raise InputError(f"{name} {value} is not positive: give 1 or more")
    _must_divide("image_size", image_size, "px", "patch_size", patch_size)
    _must_divide("num_frames", num_frames, "frames", "tubelet_size", tubelet_size)
    return num_frames // tubelet_size, image_size // patch_size, image_size // patch_size


def _must_divide(name: str, value: int, unit: str, divisor_name: str, divisor: int) -> None:
    below, rest = divmod(value, divisor)
    if rest:
        fits = " or ".join(str(n * divisor) for n in (below, below + 1) if n)
        raise InputError(f"{name} {value} {unit} is not a multiple of {divisor_name} {divisor}: use {fits} {unit}")


def masked_per_slice(mask_ratio: float, grid: Grid) -> int:
    """How many tubes are masked in each of a clip's t slices: ``int(mask_ratio * h * w)``.

    Raises:
        InputError: none would be masked, or none visible.
    """
    tubes = grid[1] * grid[2]
    if tubes == 1:
        raise InputError("a slice of one tube can't be masked in part: use a larger image_size or a smaller patch_size")
    masked = int(mask_ratio * tubes)
    if not 1 <= masked < tubes:
        lowest = math.ceil(1000 / tubes) / 1000
        raise InputError(
            f"mask_ratio {mask_ratio} masks {masked} of the {tubes} tubes of a slice, which leaves none to "
            f"{'predict' if masked < 1 else 'see'}: choose at least {lowest} and less than 1"
        )
    return masked


def tube_mask(seed: int, index: Tensor, epoch: Tensor | int, grid: Grid, mask_ratio: float) -> tuple[Tensor, Tensor]:
    """VideoMAE's tube mask: the same positions are hidden in every slice of a clip.

    A clip's mask follows from its address alone, so it is the same on every device and in any batch. The
    words of ``Stream.MASK`` give each spatial position a key (position p: word p % 4 of element p // 4); the
    ``int(mask_ratio * h * w)`` positions with the smallest keys are masked, so a larger ratio hides a
    superset.

    Args:
        seed: in [0, 2^64).
        index: int64 (B,), which video; the result is made on its device.
        epoch: int64 (B,) or one number for all, which clip of it.
        grid: tokens ``(t, h, w)``.
        mask_ratio: share of the tubes to hide (paper, table 5: 0.75).

    Returns:
        ``idx_keep`` int64 (B, L_visible) and ``idx_mask`` int64 (B, L_masked): token numbers, ascending.

    Raises:
        InputError: the ratio leaves no visible or no masked token.
    """
    masked = masked_per_slice(mask_ratio, grid)
    time, tubes = grid[0], grid[1] * grid[2]
    keys = rng.words(rng.Stream.MASK, seed, index, epoch, -(-tubes // 4)).flatten(1)[:, :tubes]
    order = keys.argsort(dim=1, stable=True)  # (B, h w)
    first = torch.arange(time, device=index.device)[:, None] * tubes  # (t, 1), the first token of each slice

    def repeated(positions: Tensor) -> Tensor:
        return (positions.sort(dim=1).values[:, None] + first).flatten(1)

    return repeated(order[:, masked:]), repeated(order[:, :masked])


def gather_tokens(tokens: Tensor, idx: Tensor) -> Tensor:
    """The tokens ``idx`` (B, K) of ``tokens`` (B, L, D): (B, K, D), in the order of ``idx``."""
    first = torch.arange(len(tokens), device=idx.device)[:, None] * tokens.shape[1]
    # Token by token: gather() would look up where to read for each element.
    rows = tokens.flatten(0, 1).index_select(0, (first + idx).flatten())
    return rows.reshape(*idx.shape, -1)


def patchify(video: Tensor, patch_size: int, tubelet_size: int) -> Tensor:
    """Cut videos into tubes.

    Args:
        video: (B, C, T, H, W), any type.
        patch_size: height and width of a tube, px.
        tubelet_size: frames of a tube.

    Returns:
        (B, L, P C): element ``((p0 * patch_size + p1) * patch_size + p2) * C + c`` of a token is channel c of
        the pixel in frame p0, row p1, column p2 of its tube (VideoMAE's order).
    """
    return rearrange(
        video,
        "b c (t p0) (h p1) (w p2) -> b (t h w) (p0 p1 p2 c)",
        p0=tubelet_size,
        p1=patch_size,
        p2=patch_size,
    )


def unpatchify(tubes: Tensor, grid: Grid, patch_size: int, tubelet_size: int) -> Tensor:
    """The inverse of :func:`patchify`: (B, L, P C) to (B, C, T, H, W)."""
    t, h, w = grid
    return rearrange(
        tubes,
        "b (t h w) (p0 p1 p2 c) -> b c (t p0) (h p1) (w p2)",
        t=t,
        h=h,
        w=w,
        p0=tubelet_size,
        p1=patch_size,
        p2=patch_size,
    )


def tube_statistics(tubes: Tensor, channels: int = 3) -> tuple[Tensor, Tensor]:
    """Mean and unbiased standard deviation of each tube and colour channel.

    Args:
        tubes: (B, L, P C), uint8 or float in 0..255, as :func:`patchify` makes them.
        channels: C.

    Returns:
        mean and standard deviation, float32 (B, L, 1, C), in levels of 0..255.
    """
    mean, std, _ = _moments(_pixels(tubes, channels))
    return mean, std


def normalized_target(tubes: Tensor, channels: int = 3) -> Tensor:
    """What the decoder is to predict: each tube and colour channel with its own mean and deviation taken out.

    ``(x - mean) / (std + eps)`` with unbiased variance over the P pixels of a tube, and eps (1e-6 for pixels
    in 0..1) outside the root. A constant tube becomes exactly zero.

    Args:
        tubes: (B, L, P C), uint8 or float in 0..255, as :func:`patchify` makes them.
        channels: C.

    Returns:
        float32 (B, L, P C), same order, without gradient.
    """
    with torch.no_grad():
        _, std, centred = _moments(_pixels(tubes, channels))
        target: Tensor = centred / (std + EPSILON)
        return target.flatten(-2)


def denormalize(prediction: Tensor, tubes: Tensor, channels: int = 3) -> Tensor:
    """The inverse of :func:`normalized_target`, with the mean and deviation of the true ``tubes``.

    It shows a prediction with help from the answer: each tube's mean colour and contrast are given, only what
    happens inside is the model's. Whoever shows the picture must say so.

    Args:
        prediction: float (B, L, P C).
        tubes: (B, L, P C), the original pixels, uint8 or float in 0..255.
        channels: C.

    Returns:
        float32 (B, L, P C) in levels of 0..255, not clamped.
    """
    mean, std = tube_statistics(tubes, channels)
    pixels = _pixels(prediction, channels)
    restored: Tensor = pixels * (std + EPSILON) + mean
    return restored.flatten(-2)


def _moments(pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and unbiased standard deviation (B, L, 1, C) of pixels (B, L, P, C), and what they differ from the mean."""
    count = pixels.shape[-2]
    # A sum of whole levels is exact and so is its quotient where all pixels are equal; Tensor.mean()
    # multiplies by 1 / count on some devices, and a constant tube would get noise in the place of zeros.
    mean = pixels.sum(-2, keepdim=True) / count
    centred = pixels - mean
    variance = centred.square().sum(-2, keepdim=True) / (count - 1)
    return mean, variance.sqrt(), centred


def _pixels(tubes: Tensor, channels: int) -> Tensor:
    """(B, L, P C) to float32 (B, L, P, C)."""
    return tubes.float().reshape(*tubes.shape[:-1], -1, channels)
