"""Shot, speckle, Gaussian and impulse noise: each channel of each pixel drawn from a table of its level's outcomes.

What noise makes of a level is one of 256 levels, whose probabilities are known exactly. So no noise is made and added:
the level that comes out is drawn, 16 random bits for each, from an alias table of 256 KiB. Integers only, so the same
on every device. The probability of no level is off by more than 2^-16, nor that of any interval from 0 up by more than
2^-17: what is rarer than that may never come.

Source: Walker, "An efficient method for generating discrete random variables with general distributions", ACM TOMS
1977.
"""

from functools import cache

import numpy as np
import torch
from torch import Tensor

from vsr import rng
from vsr.corruptions import Cell, address, loops_cpu

_SHOT = (250, 100, 50, 30, 15)
"""Photons that white is."""
_DEVIATION = {
    "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),  # of white
    "speckle_noise": (0.15, 0.20, 0.25, 0.30, 0.35),  # of the level
}
_IMPULSE = (0.03, 0.06, 0.09, 0.17, 0.27)
"""Share of the values that become 0 or 255."""

_CLIPS = 4  # whose words are made together on a GPU, 45 bytes for each value: less would not fill it


def add(cell: Cell, video: Tensor, index: Tensor, view: Tensor, seed: int) -> Tensor:
    """Draw every value anew, given what it is.

    Args:
        cell: of one of the four kinds of noise.
        video: uint8 (B, C, T, H, W).
        index: int64 (B,), the videos, on the same device.
        view: int64 (B,), which view of each, likewise.
        seed: in [0, 2^64).

    Returns:
        uint8 (B, C, T, H, W). Value n of a clip (C, T, H, W) follows from the n mod 8-th 16 bits of element n // 8:
        the lower halves of its four words, then the upper ones.
    """
    rng.check_seed(seed)
    values, epoch = video.flatten(1), view | address(cell.number)
    out, table = torch.empty_like(values), _table(cell, video.device)
    if video.device.type == "cpu":
        stream = np.uint64(rng.Stream.CORRUPTION)
        addresses = (t.numpy().astype(np.uint64) for t in (index, epoch))
        loops_cpu.noise(values.numpy(), table.flatten().numpy(), np.uint64(seed), stream, *addresses, out.numpy())
    else:
        for some in range(0, len(values), _CLIPS):
            those = slice(some, some + _CLIPS)
            out[those] = _draw(values[those], table, index[those], epoch[those], seed)
    return out.view_as(video)


def _draw(values: Tensor, table: Tensor, index: Tensor, epoch: Tensor, seed: int) -> Tensor:
    """The same in torch: uint8 (B, N) of values (B, N)."""
    count = values.shape[1]
    words = rng.words(rng.Stream.CORRUPTION, seed, index, epoch, -(-count // 8))
    short = torch.cat((words & 0xFFFF, words >> 16), dim=-1).flatten(1)[:, :count]
    column = short >> 8
    entry = table.flatten()[(values.long() << 8) | column]
    return torch.where(short & 255 < entry >> 8, column, entry & 255).to(torch.uint8)


def probabilities(cell: Cell) -> Tensor:
    """What becomes of each level: float64 (256, 256), the rows sum to 1.

    Level v is x = v / 255 of white, and what comes out is truncated: uint8(clip(y, 0, 1) * 255) with y

    * shot_noise: Poisson(x c) / c;
    * speckle_noise: x + x N(0, s^2); gaussian_noise: x + N(0, s^2);
    * impulse_noise: 0 or 1, equally often, in a share of the values (``skimage.util.random_noise``, mode "s&p").
    """
    level = torch.arange(256, dtype=torch.float64)
    below = torch.ones(256, 256, dtype=torch.float64)  # the probability of at most each level
    if cell.perturbation == "impulse_noise":
        half = _IMPULSE[cell.severity - 1] / 2
        kept = torch.eye(256, dtype=torch.float64) * (1 - 2 * half)
        kept[:, 0] += half
        kept[:, 255] += half
        return kept
    if cell.perturbation == "shot_noise":
        white = _SHOT[cell.severity - 1]
        # The most photons that show at most each level, found as the pixels are: with the same roundings.
        shown = (torch.arange(white, dtype=torch.float64) / white * 255).long()
        most = torch.searchsorted(shown, torch.arange(255), right=True)  # one more than them
        below[:, :255] = torch.special.gammaincc(most.double()[None], level[:, None] * (white / 255))
    else:
        deviation = torch.full_like(level, _DEVIATION[cell.perturbation][cell.severity - 1])
        if cell.perturbation == "speckle_noise":
            deviation = deviation * (level / 255)
        below[:, :255] = torch.special.ndtr((level[1:] - level[:, None]) / (255 * deviation[:, None]))
        below[0].masked_fill_(deviation[0] == 0, 1)  # black has no speckles
    return below.diff(dim=1, prepend=torch.zeros(256, 1, dtype=torch.float64))


@cache
def _table(cell: Cell, device: torch.device) -> Tensor:
    """The alias table, int32 (256, 256): of 256 columns each holds 256 chances.

    An entry is ``chances << 8 | other``: of the draws that name a column, those below ``chances`` mean the column
    itself, the rest the other.
    """
    ends = (probabilities(cell).cumsum(1) * 2**16).round().long()
    left = ends.diff(dim=1, prepend=torch.zeros(256, 1, dtype=torch.int64)).numpy()  # chances not given out yet
    table, rows, done = np.zeros((256, 256), np.int32), np.arange(256), np.zeros((256, 256), np.bool_)
    for _ in range(256):  # the poorest level fills its column with what the richest has too much of
        poor = np.where(done, 2**17, left).argmin(1)
        rich = np.where(done, -1, left).argmax(1)
        chances = left[rows, poor]
        full = chances == 256  # then nothing else is in the column, and 256 would not fit
        table[rows, poor] = np.where(full, poor, chances << 8 | rich)
        left[rows, rich] -= 256 - chances
        done[rows, poor] = True
    return torch.from_numpy(table).to(device)
