"""What training costs: the arithmetic of a clip, and how much of it this device can do, measured."""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def training_flops(build: Callable[[], nn.Module], *inputs: Callable[[], Tensor]) -> int:
    """FLOP of a network's forward and backward pass: 2 for a multiply-add of matrix products and attention, no others.

    Nothing is computed and no memory taken: all is made on the "meta" device.

    Args:
        build: makes the network.
        inputs: make what it is called with.
    """
    with torch.device("meta"), torch.enable_grad():
        network, given = build(), [make() for make in inputs]
        with FlopCounterMode(display=False) as counter:
            network(*given).sum().backward()
    total: int = counter.get_total_flops()
    return total


def factor_type(precision: str) -> torch.dtype:
    """Of the factors of matrix products in a trainer's precision, such as "bf16-mixed"."""
    types = {"16": torch.float16, "bf16": torch.bfloat16, "64": torch.float64}
    return types.get(precision.partition("-")[0], torch.float32)


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of large square matrix products, measured here and now: what there is to be reached on this device.

    The best of several, in turns of two sizes, for half a second at most beyond the first ones. It waits for the
    device, so it is to be called before training, not in it.

    Args:
        device: where.
        dtype: of the factors; float32 follows ``torch.get_float32_matmul_precision``.
    """
    on_cpu = device.type == "cpu"
    factors = [torch.randn(2, n, n, device=device).to(dtype) for n in ((512, 1024) if on_cpu else (4096, 8192))]
    best, end = 0.0, float("inf")
    while time.perf_counter() < end:
        for a, b in factors:
            start = time.perf_counter()
            a @ b
            if not on_cpu:
                torch.accelerator.synchronize(device)
            seconds = time.perf_counter() - start
            if end < float("inf"):  # the first round loads what it needs
                best = max(best, 2 * len(a) ** 3 / seconds)
        if end == float("inf"):
            end = time.perf_counter() + (0.5 if on_cpu else 0.2)
    return best
