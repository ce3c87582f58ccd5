"""Perturbations of time: which of a video's frames stands where.

None makes a video shorter or longer, so there are always frames enough for a clip. In the benchmark's code some do:
sampling keeps every 2nd .. 32nd frame only, and freezing begins with the first frame that it holds.

Source: Schiappa et al., CVPR 2023, and its code's ``video_perturb.py``; parameters as there.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from vsr import rng
from vsr.corruptions import Cell, address
from vsr.errors import InputError

Order = NDArray[np.int64]


def order(cell: Cell, length: int, index: int, seed: int) -> Order:
    """Which frame of a sequence is shown at each place: place k shows frame ``order[k]``.

    * ``freeze``: 40 %, 20 %, 10 %, 5 % (at least 2) of the frames, or a single one, are drawn without repetition; each
      is held until the next, and the first one is shown from the start on. So every held frame begins where it is in
      the clean video. In the benchmark's code the sequence begins with the first held frame instead, which shifts all
      in time and leaves it too short; the release of arXiv 2410.24213 then repeats its last frame up to the length.
    * ``jumble``: shuffled within consecutive segments of 32, 16, 8, 4, 2 frames; the last may be shorter. A sequence of
      no more than a segment is shuffled as a whole. Severity 5 changes the least.
    * ``box_jumble``: consecutive segments of 4, 9, 16, 25, 36 frames change places, also the last where it is shorter.
      A sequence of no more than a segment stays as it is: severities 3 to 5 do nothing to 16 frames.
    * ``reverse``: the last frame first.
    * ``sampling``: every 2nd, 4th, 8th, 16th, 32nd frame, each held as many times. A sequence that isn't longer shows
      its first frame only.
    * ``reverse_sampling``: the same, then the last first.

    Args:
        cell: one that works on the order of frames.
        length: how many frames there are, 1 or more.
        index: the video's, in [0, 2^32): its draws are made at it.
        seed: in [0, 2^64).

    Returns:
        int64 (length,), each in 0 .. length - 1.

    Raises:
        InputError: the cell works on something else, or there is no frame.
    """
    if cell.perturbation not in _ORDERS:
        kinds = ", ".join(_ORDERS)
        raise InputError(f"{cell.perturbation} doesn't change the order of frames: give one of {kinds}")
    if length < 1:
        raise InputError(f"{cell.perturbation} of a sequence of {length} frames is not possible: give 1 or more")

    def draw(count: int) -> Order:
        where = torch.tensor([index])
        drawn = rng.words(rng.Stream.CORRUPTION, seed, where, address(cell.number), -(-count // 4))
        words: Order = drawn.flatten()[:count].numpy()
        return words

    return _ORDERS[cell.perturbation](length, cell.severity, draw)


_Draw = Callable[[int], Order]
"""As many random words as are asked for, each in [0, 2^32)."""


def _freeze(length: int, severity: int, draw: _Draw) -> Order:
    wanted = (int(0.4 * length), int(0.2 * length), int(0.1 * length), int(max(0.05 * length, 2)), 1)[severity - 1]
    held = np.sort(np.argsort(draw(length), kind="stable")[: max(wanted, 1)])
    place = np.searchsorted(held, np.arange(length), side="right") - 1
    shown: Order = held[place.clip(0)]
    return shown


def _jumble(length: int, severity: int, draw: _Draw) -> Order:
    segment = np.arange(length) // (64 >> severity)
    return np.lexsort((draw(length), segment))


def _box_jumble(length: int, severity: int, draw: _Draw) -> Order:
    size = (severity + 1) ** 2
    segments = np.split(np.arange(length), range(size, length, size))
    return np.concatenate([segments[n] for n in np.argsort(draw(len(segments)), kind="stable")])


def _reverse(length: int, severity: int, draw: _Draw) -> Order:
    return np.arange(length)[::-1].copy()


def _sampling(length: int, severity: int, draw: _Draw) -> Order:
    places = np.arange(length)
    shown: Order = places - places % 2**severity
    return shown


def _reverse_sampling(length: int, severity: int, draw: _Draw) -> Order:
    return _sampling(length, severity, draw)[::-1].copy()


_ORDERS: dict[str, Callable[[int, int, _Draw], Order]] = {
    "freeze": _freeze,
    "jumble": _jumble,
    "box_jumble": _box_jumble,
    "reverse": _reverse,
    "sampling": _sampling,
    "reverse_sampling": _reverse_sampling,
}
