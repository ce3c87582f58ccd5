"""``vsr.rng`` once more, as Triton, for kernels that draw as they go: bit-equal, by test."""

import triton
import triton.language as tl


@triton.jit
def words(k0, k1, stream: tl.constexpr, element, index, epoch):
    """``vsr.rng.words``: four uint32 blocks."""
    zero = element * 0
    return tl.random.philox_impl(
        element.to(tl.uint32), (zero + stream).to(tl.uint32), (zero + index).to(tl.uint32),
        (zero + epoch).to(tl.uint32), (zero + k0).to(tl.uint32), (zero + k1).to(tl.uint32), 10,
    )  # fmt: skip


@triton.jit
def below(word, n):
    """``vsr.rng.below``."""
    return ((word.to(tl.int64) * n) >> 32).to(tl.int32)


@triton.jit
def uniform(word):
    """``vsr.rng.uniform``, as float64."""
    return (word >> 8).to(tl.float32).to(tl.float64) * 5.9604644775390625e-08
