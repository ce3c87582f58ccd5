"""Kernels that do what must be noticed; see ``test_compiled``."""

import ptx
import torch
import triton
import triton.language as tl

ptx.use()


@triton.jit
def past(x):
    tl.store(x + tl.arange(0, 32), 1.0)


@triton.jit
def off(x):
    tl.store(x, tl.load((x.to(tl.int64) + 2).to(tl.pointer_type(tl.float32))))


@triton.jit
def wide(x):
    tl.store(x + tl.arange(0, 128), 1.0)


@triton.jit
def multiply_add(x):
    tl.store(x, tl.load(x) * tl.load(x + 1) + tl.load(x + 2))


for kernel, options in ((past, {"num_warps": 1}), (off, {"num_warps": 1}), (wide, {"num_warps": 4})):
    try:
        kernel[(1,)](torch.zeros(4), **options)
    except (RuntimeError, ptx.Unsupported) as error:
        print(f"{kernel.__name__}: {error}")
for name, fused in (("fused", True), ("apart", False)):
    x = torch.tensor([1 + 2**-12, 1 + 2**-12, -1 - 2**-11])
    multiply_add[(1,)](x, num_warps=1, enable_fp_fusion=fused)
    print(f"{name}: {x[0].item()}")
