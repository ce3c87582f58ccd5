"""``vsr.rng`` once more, as Numba, for loops on the CPU that draw as they go: bit-equal, by test."""

from functools import partial

import numpy as np

from vsr.loops import compiled

_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


@partial(compiled, forceinline=True)
def words(seed, stream, element, index, epoch):
    """``vsr.rng.words``: one block, uint64 each."""
    c0, c1, c2, c3 = np.uint64(element), np.uint64(stream), np.uint64(index), np.uint64(epoch)
    k0, k1 = seed & _LOW, seed >> _HALF
    for _ in range(10):
        p0, p1 = (c0 & _LOW) * _M0, (c2 & _LOW) * _M1  # masked so that LLVM sees 32 bits, and vectorises
        c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + _W0) & _LOW, (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@compiled
def below(word, n):
    """``vsr.rng.below``."""
    return np.int64((word * np.uint64(n)) >> _HALF)


@compiled
def uniform(word):
    """``vsr.rng.uniform``, as float64."""
    return float(np.int64(word >> np.uint64(8))) * 2.0**-24
