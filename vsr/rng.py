"""Counter-based draws: Philox 4x32-10 on named streams, the same bits on every device.

A draw is a pure function of its address. The 128-bit counter is ``(element, stream, index, epoch)`` and the 64-bit
key is the seed, so nothing is ever consumed: a video's 200th object can be drawn without the 199 before it, and
video 7 alone equals video 7 in any batch. One counter gives one block of four 32-bit words.

What is bit-equal everywhere is integer work (the words, :func:`below`, :func:`permutation`) and :func:`uniform`,
whose 24-bit values float32 holds exactly. Anything computed from them in floating point is not hashed.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011; vectors of Random123.
"""

import math
from collections.abc import Mapping, Sequence
from enum import IntEnum
from functools import cache

import torch
from torch import Tensor

from vsr.errors import InputError

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


class Stream(IntEnum):
    """What a draw is for. The numbers are part of every address: never change or reuse one.

    Streams below 32 have one block per object; the rest name their element beside them.
    """

    RADIUS = 1
    POSITION = 2
    COLOR = 3
    SHAPE = 4
    ANGLE = 5
    DIRECTION = 6
    SPEED = 7
    ACCELERATION = 8
    ROTATION = 9
    SCALE = 10
    SHEAR = 11
    TEXTURE = 12
    DURATION = 32  # element 0
    CLIP = 33  # element 0: first frame, crop size, crop position
    MASK = 34  # element: four spatial positions
    ORDER = 35  # element: four videos of a fixed set; index 0
    BACKGROUND = 36  # element 0: red, green, blue, texture
    FRAMES = 40  # natural clips, element 0: first frame
    RESIZED_CROP = 41  # natural clips, element: attempt
    FLIP = 42  # natural clips, element 0
    RAND_AUGMENT = 43  # natural clips, element: operation
    ERASING = 44  # natural clips, element 0: whether; then: attempt
    ERASING_NOISE = 45  # natural clips, element: four values of a frame
    MIX = 46  # address of a batch's first clip, element 0: which, where; then: two attempts at the share
    CORRUPTION = 47  # index: video; epoch: see vsr.corruptions.address; element: see there
    HELD_OUT = 48  # index: class; element: four groups of videos
    TEXTURE_COLOURS = 64  # index: texture; element: colour
    TEXTURE_SPECTRUM = 65  # index: texture; element 0
    TEXTURE_WAVELETS = 66  # index: texture; element: channel and band
    TEXTURE_PIXELS = 67  # index: texture; element: four pixels
    STYLEGAN_LATENTS = 68  # index: texture; element: four latents
    STYLEGAN_CONSTANT = 69  # index: texture; element: four values
    STYLEGAN_CHANNELS = 70  # index: texture; two elements per channel
    STYLEGAN_LAYERS = 71  # index: texture; eleven elements per layer
    STYLEGAN_NOISE = 72  # index: texture; element: eight frequencies
    STYLEGAN_ENVELOPE = 73  # index: texture; element: two cells
    STYLEGAN_COLOURS = 74  # index: texture; elements 0, 1
    STYLEGAN_WALK = 75  # index: texture; epoch: frame; element: four latents
    STYLEGAN_AFFINE = 76  # index: texture; epoch: layer; element: four weights
    TEXTURE_ORDER = 77  # element: four images of a pool; index 0


def philox(counter: Tensor, key: tuple[int, int]) -> Tensor:
    """Philox 4x32-10: four random 32-bit words for each counter.

    Args:
        counter: int64 (..., 4), each word in [0, 2^32).
        key: two words in [0, 2^32).

    Returns:
        int64 (..., 4), each word in [0, 2^32). int64 because torch's uint32 has no ``+`` or ``>>`` on the CPU; the
        product of two words wraps, and its 64 bits are still the right ones.
    """
    return torch.stack(_rounds(key, *counter.unbind(-1)), dim=-1)


def _rounds(key: tuple[int, int], c0: Tensor, c1: Tensor, c2: Tensor, c3: Tensor) -> tuple[Tensor, ...]:
    """Philox of counters whose four words broadcast."""
    k0, k1 = key
    for _ in range(_ROUNDS):
        p0, p1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0 = ((p1 >> 32).bitwise_and_(_MASK) ^ c1).bitwise_xor_(k0)  # in place where possible: a quarter quicker
        c2 = ((p0 >> 32).bitwise_and_(_MASK) ^ c3).bitwise_xor_(k1)
        c1, c3 = p1.bitwise_and_(_MASK), p0.bitwise_and_(_MASK)
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


def words(stream: Stream, seed: int, index: Tensor, epoch: Tensor | int = 0, elements: int = 1) -> Tensor:
    """The words of one stream at ``(seed, index, epoch)``.

    Args:
        stream: what the draw is for.
        seed: in [0, 2^64).
        index: int64 (B,), each in [0, 2^32); the words are made on its device.
        epoch: int64 (B,) or one number for all, in [0, 2^32). On the CPU while ``index`` is not, B of them are copied
            and waited for.
        elements: blocks per index, N.

    Returns:
        int64 (B, N, 4), each in [0, 2^32).

    Raises:
        InputError: ``seed`` is out of range.
    """
    return words_of([stream], seed, index, epoch, elements)[0]


def words_of(streams: Sequence[Stream], seed: int, index: Tensor, epoch: Tensor | int = 0, elements: int = 1) -> Tensor:
    """The words of several streams, int64 (S, B, N, 4): as :func:`words`, but made together, which is quicker."""
    numbers = _numbers(tuple(streams), index.device)
    return _blocks(numbers, torch.arange(elements, device=index.device), seed, index, epoch)


@cache
def _numbers(streams: tuple[Stream, ...], device: torch.device) -> Tensor:
    """The numbers of streams, int64 (S, 1, 1), copied to a device once: the host waits for such a copy."""
    return torch.tensor([int(stream) for stream in streams]).to(device)[:, None, None]


def words_by_stream(elements: Mapping[Stream, int], seed: int, index: Tensor) -> dict[Stream, Tensor]:
    """The words of several streams, int64 (B, N, 4) with an N each: as :func:`words`, but made together."""
    numbers = torch.cat([torch.full((n,), int(stream), device=index.device) for stream, n in elements.items()])
    places = torch.cat([torch.arange(n, device=index.device) for n in elements.values()])
    blocks = _blocks(numbers, places, seed, index, 0).split(list(elements.values()), dim=1)
    return dict(zip(elements, blocks, strict=True))


def _blocks(stream: Tensor, element: Tensor, seed: int, index: Tensor, epoch: Tensor | int) -> Tensor:
    """The words (..., B, N, 4) of streams (..., 1, N or 1) and elements (N,)."""
    check_seed(seed)
    if not isinstance(epoch, Tensor):
        epoch = torch.full((), epoch, device=index.device)  # to copy a number there is to wait
    epoch = epoch.to(index.device).expand(len(index))
    key = seed & _MASK, seed >> 32
    return torch.stack(_rounds(key, element, stream, index[:, None], epoch[:, None]), dim=-1)


def check_seed(seed: int) -> None:
    """Refuse a seed that is no key.

    Raises:
        InputError: it is not in [0, 2^64).
    """
    if not 0 <= seed < 2**64:
        raise InputError(f"seed {seed} is outside 0 .. 2^64 - 1: choose another seed")


def uniform(word: Tensor) -> Tensor:
    """Uniform float32 in [0, 1) from the upper 24 bits of each word: exact, never 1."""
    return (word >> 8).to(torch.float32) * 2.0**-24


def normal(word: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal (..., 2k) from as many words, two from the i-th and the (k + i)-th (Box and Muller, 1958)."""
    first, second = uniform(word).to(dtype).chunk(2, dim=-1)
    radius, angle = (-2 * (1 - first).log()).sqrt(), 2 * math.pi * second
    return torch.cat((radius * angle.cos(), radius * angle.sin()), dim=-1)


def below(word: Tensor, n: int | Tensor) -> Tensor:
    """Uniform int64 in [0, n) from each word; n is one number or one for each, 1 .. 2^31 (bias below n / 2^32)."""
    return word * n >> 32


def permutation(seed: int, epoch: int, n: int, stream: Stream = Stream.ORDER) -> Tensor:
    """The visiting order of ``n`` things, such as the videos of a fixed set in ``epoch``.

    Args:
        seed: in [0, 2^64).
        epoch: in [0, 2^32).
        n: how many.
        stream: what is ordered.

    Returns:
        int64 (n,) on the CPU, each of 0..n-1 once.
    """
    keys = words(stream, seed, torch.zeros(1, dtype=torch.int64), epoch, -(-n // 4)).flatten()[:n]
    return keys.argsort(stable=True)
