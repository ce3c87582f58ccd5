"""What does a pre-training step cost, beside transformers' VideoMAE and beside clips that are there already?

    python benchmarks/pretrain.py                  # the GPU if there is one: bfloat16, 64 clips, eager and compiled
    python benchmarks/pretrain.py --device cpu     # float32, 2 clips, eager (--compiled: both)
    python benchmarks/pretrain.py --out FILE       # keep the Markdown

ViT-B, 16 x 224 x 224, 75 % masked: forward, backward, fused AdamW. Everything was measured in turns in one run, on the
same clips and masks. transformers is given what it needs, clips that are normalised floats, and attends by SDPA.
"""

import argparse
import ctypes
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import environment
import torch
from device import dataset, finished, pretraining_step
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from vsr.models.cost import matmul_rate
from vsr.models.vit import IMAGENET_MEAN, IMAGENET_STD
from vsr.modules import VideoMAE

ATTENTION = ("scaled_dot_product", "flash", "fmha", "attention", "sdpa")
MATMUL = ("gemm", "nvjet", "cutlass", "xmma", "aten::mm", "aten::addmm", "aten::bmm", "mkldnn")


def peer_step(device: torch.device, compiled: bool) -> Callable[[Tensor, Tensor], None]:
    """A step of transformers' ViT-B on normalised clips (B, T, C, H, W) and masks (B, L), with its own loss."""
    from transformers import VideoMAEConfig, VideoMAEForPreTraining

    model = VideoMAEForPreTraining(VideoMAEConfig(attn_implementation="sdpa")).to(device).train()
    if compiled:
        model.compile()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def step(pixels: Tensor, hidden: Tensor) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = model(pixels, bool_masked_pos=hidden).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def work_memory(step: Callable[[], object], device: torch.device) -> int:
    """Most bytes that a step takes beyond weights and optimiser state."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        return torch.cuda.max_memory_allocated() - before
    ctypes.CDLL(None).malloc_trim(0)  # glibc keeps what other steps have freed
    environment.forget_peak()
    before = environment.peak()
    step()
    return environment.peak() - before


def shares(step: Callable[[], object], device: torch.device) -> str:
    """Where the time of a step goes: matrix products, attention, the rest."""
    on_cuda = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_cuda else ProfilerActivity.CPU]) as recorded:
        step()
    taken = {"matmul": 0.0, "attention": 0.0, "rest": 0.0}
    for event in recorded.key_averages():
        name = event.key.lower()
        kinds = {"attention": ATTENTION, "matmul": MATMUL}
        kind = next((k for k, words in kinds.items() if any(word in name for word in words)), "rest")
        taken[kind] += event.self_device_time_total if on_cuda else event.self_cpu_time_total
    total = sum(taken.values())
    return ", ".join(f"{kind} {seconds / total:.0%}" for kind, seconds in taken.items())


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description="Cost of a pre-training step, as Markdown.")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, help="clips in a step (default: 64; 2 on a CPU)")
    parser.add_argument("--repetitions", type=int, help="interleaved repetitions (default: 9; 3 on a CPU)")
    parser.add_argument("--compiled", action="store_true", help="compiled, too, on a CPU (minutes more)")
    parser.add_argument("--out", type=Path, help="a file to write the Markdown to as well")
    args = parser.parse_args()
    device = torch.device(args.device)
    on_cuda = device.type == "cuda"
    batch, repetitions = args.batch or (64 if on_cuda else 2), args.repetitions or (9 if on_cuda else 3)
    header = environment.header()
    dtype = torch.bfloat16 if on_cuda else torch.float32
    torch.set_float32_matmul_precision("high")
    rate = matmul_rate(device, dtype)

    index = torch.arange(batch, device=device)
    render = dataset("acc_shapes", 0, device)
    video = render(index=index)
    module = VideoMAE()
    hidden = torch.zeros(batch, 1568, dtype=torch.bool, device=device).scatter(1, module.mask(index, 0)[1], True)
    mean, std = (torch.tensor(v, device=device).view(1, 1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    pixels = (video.transpose(1, 2) / 255 - mean) / std

    steps: dict[str, Callable[[], object]] = {}
    modes = ("eager", "compiled") if on_cuda or args.compiled else ("eager",)
    for mode in modes:
        ours = pretraining_step(device, mode == "compiled")
        steps[f"vsr, {mode}"] = partial(ours, video, index)
        steps[f"transformers, {mode}"] = partial(peer_step(device, mode == "compiled"), pixels, hidden)
    steps[f"vsr, {modes[-1]}, clips rendered in the step"] = lambda: ours(render(index=index), index)
    steps = {name: finished(step, device) for name, step in steps.items()}

    taken = environment.interleaved(steps, repetitions, batch)
    name = torch.cuda.get_device_name(device) if on_cuda else f"{torch.get_num_threads()} threads"
    lines = [
        f"{header}\n* device: {name}\n",
        f"ViT-B, {batch} clips of 16 x 224 x 224 a step, {str(dtype).removeprefix('torch.')}, medians of {repetitions} "
        f"turns. {module.flops_per_clip / 1e9:,.0f} GFLOP a clip; matrix products reach {rate / 1e12:.3g} TFLOP/s. "
        "Ratios are medians over turns, above 1 is quicker than the peer; work memory is what a step takes beyond "
        "weights and optimiser state.\n",
        f"| step | clips/s | {' | '.join(f'x transformers, {mode}' for mode in modes)} | of the matmul rate | "
        "work memory | time |",
        f"|---|---:|{'---:|' * len(modes)}---:|---:|---|",
    ]
    for what, step in steps.items():
        seconds = median(taken[what])
        ratios = [
            median(peer / own for peer, own in zip(taken[f"transformers, {mode}"], taken[what], strict=True))
            for mode in modes
        ]
        # The same work for all, what is needed: transformers embeds hidden tubes and lets all tokens ask, for nothing.
        used = module.flops_per_clip / seconds / rate
        lines.append(
            f"| {what} | {1 / seconds:,.3g} | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} | {used:.1%} | "
            f"{work_memory(step, device) / 2**30:.2f} GiB | {shares(step, device)} |"
        )
    text = "\n".join(lines) + "\n"
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
