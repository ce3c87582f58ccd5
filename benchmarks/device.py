"""What does a clip cost on this device, how does the cost grow, and what does it cost a training step?

    python benchmarks/device.py                      # the GPU if there is one: about three minutes
    python benchmarks/device.py --device cpu         # two minutes; no training step
    python benchmarks/device.py --out FILE           # keep the Markdown

Clips are the paper's: 16 x 224 x 224, 500 objects, MultiScaleCrop, from addresses to uint8. Everything compared was
measured in turns in one run. The floor is writing a clip's bytes at the bandwidth that copying reaches here.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median

import environment
import torch
from torch import Tensor

from vsr.data.ahead import RenderAhead
from vsr.recipe import Recipe, load_recipe
from vsr.render import render_clips
from vsr.textures.bank import TextureBank

FRAMES, SIZE = 16, 224
CLIP_BYTES = 3 * FRAMES * SIZE**2
TRAINING_BATCH = 192  # clips of a ViT-B step
DATASETS = ("acc_shapes", "acc_textures")

Step = Callable[[Tensor, Tensor], None]
"""Train on clips uint8 (B, C, T, H, W) at index int64 (B,)."""


class NoiseBank(TextureBank):
    """A bank of noise, quick to make: what is on a texture does not change the work of drawing it."""

    def generate(self, texture: Tensor) -> Tensor:
        """Pool positions int64 (n,) to textures uint8 (n, 1, 3, S, S)."""
        side = self.recipe.texture_size
        return torch.randint(0, 256, (len(texture), 1, 3, side, side), dtype=torch.uint8, device=texture.device)


def dataset(name: str, pool: int, device: torch.device, **changes: object) -> Callable[..., Tensor]:
    """``render_clips`` of a recipe of the paper, its pool cut to ``pool`` textures, given the index."""
    recipe: Recipe = replace(load_recipe(name), **changes)
    bank = None
    if recipe.textured:
        recipe = replace(recipe, texture_pool=pool)
        bank = NoiseBank(recipe, 0, device)
        bank.fill()
    return partial(render_clips, recipe, 0, device=device, bank=bank)


def finished(work: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """``work``, and wait until the device has done it."""

    def run() -> object:
        done = work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return done

    return run


def bandwidth(device: torch.device) -> float:
    """Bytes copied per second."""
    if device.type == "cpu":
        return environment.copy_bandwidth()
    source = torch.ones(2**31, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = finished(lambda: target.copy_(source), device)
    return source.nbytes / min(environment.interleaved({"copy": copy}, 10, 1)["copy"])


def work_memory(render: Callable[..., Tensor], index: Tensor) -> str:
    """Most memory beyond the output that drawing took, as a share of the output."""
    if not index.is_cuda:
        return "see render.py"
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    clips = render(index=index)
    torch.cuda.synchronize()
    return f"{(torch.cuda.max_memory_allocated() - before - clips.nbytes) / clips.nbytes:.1%}"


def speed(name: str, device: torch.device, batch: int, pool: int, repetitions: int, floor: float) -> list[str]:
    """Clips a second, beside the reference and the floor."""
    index = torch.arange(batch, device=device)
    render = dataset(name, pool, device)
    fused = finished(lambda: render(index=index), device)
    kornia = finished(lambda: render(index=index[:1], num_frames=2, renderer="reference"), device)
    rows = []
    for what, seconds, memory in (
        ("fused", median(environment.interleaved({"": fused}, repetitions, batch)[""]), work_memory(render, index)),
        ("Kornia reference, 2 frames", environment.interleaved({"": kornia}, 1, 1)[""][0] * FRAMES / 2, ""),
    ):
        written = CLIP_BYTES / seconds / 1e9
        rows.append(f"| {name} | {what} | {1 / seconds:,.3g} | {written:.3g} | {seconds / floor:,.3g} | {memory} |")
    return rows


def growth(name: str, device: torch.device, batch: int, pool: int, repetitions: int) -> list[str]:
    """How the time grows with objects at equal coverage, and with pixels."""
    index = torch.arange(batch, device=device)
    render = dataset(name, pool, device)
    crowd = dataset(name, pool, device, num_objects=2000, radius=(0.05, 0.5))
    turns: dict[str, Callable[[], object]] = {
        "base": lambda: render(index=index),
        "crowd": lambda: crowd(index=index),
        "112": lambda: render(index=index, size=112),
        "448": lambda: render(index=index, size=448),
    }
    taken = environment.interleaved({k: finished(v, device) for k, v in turns.items()}, repetitions, batch)

    def times(key: str, base: str) -> str:
        return f"{median(b / a for a, b in zip(taken[base], taken[key], strict=True)):.2f}x"

    return [
        f"| {name} | 2,000 objects of half the radius, beside 500 | same coverage | {times('crowd', 'base')} |",
        f"| {name} | 224 px, beside 112 | 4x the pixels | {times('base', '112')} |",
        f"| {name} | 448 px, beside 224 | 4x the pixels | {times('448', 'base')} |",
    ]


def training(name: str, step: Step, device: torch.device, pool: int, repetitions: int) -> str:
    """What rendering costs a training step, drawn in turn and drawn ahead."""
    render = dataset(name, pool, device)
    epoch = torch.zeros(TRAINING_BATCH, dtype=torch.int64)
    batches = [[torch.arange(TRAINING_BATCH) + k * TRAINING_BATCH, epoch] for k in range(9)]
    there = render(index=batches[0][0])

    def draw(index: Tensor, epoch: Tensor) -> Tensor:
        return render(index=index, epoch=epoch)

    def given() -> None:
        for index, _ in batches:
            step(there, index)

    def in_turn() -> None:
        for index, epoch in batches:
            step(draw(index, epoch), index)

    def drawn_ahead() -> None:
        ahead = RenderAhead(draw, device)
        for now, following in pairwise([*batches, [epoch[:0], epoch[:0]]]):
            step(ahead(now, following), now[0])

    turns = {"given": given, "turn": in_turn, "ahead": drawn_ahead}
    taken = environment.interleaved({k: finished(v, device) for k, v in turns.items()}, repetitions, len(batches))
    base, turn, ahead = (median(taken[key]) for key in turns)
    return (
        f"| {name} | {base * 1e3:.1f} ms | {turn * 1e3:.1f} ms | {ahead * 1e3:.1f} ms | {(turn - base) / turn:.1%} "
        f"| {(ahead - base) / ahead:.1%} |"
    )


def pretraining_step(device: torch.device, compiled: bool = True) -> Step:
    """A ViT-B pre-training step: in bf16 on a GPU, in float32 on a CPU."""
    from vsr.modules import VideoMAE

    torch.set_float32_matmul_precision("high")
    module = VideoMAE().to(device)
    if compiled:
        module.compile_step()
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-5, fused=True)

    def step(video: Tensor, index: Tensor) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            keep, masked = module.mask(index.to(device, non_blocking=True), 0)
            loss = module.loss(module.model(video, keep, masked), video, masked)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description="Cost of rendering on a device, as Markdown.")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--batch", type=int, help="clips in a call (default: 64; 4 on a CPU)")
    parser.add_argument("--pool", type=int, help="textures (default: 65,536; 512 on a CPU)")
    parser.add_argument("--repetitions", type=int, default=7, help="interleaved repetitions (default: 7)")
    parser.add_argument("--out", type=Path, help="a file to write the Markdown to as well")
    args = parser.parse_args()
    device = torch.device(args.device)
    on_cuda = device.type == "cuda"
    batch, pool = args.batch or (64 if on_cuda else 4), args.pool or (65_536 if on_cuda else 512)
    copied = bandwidth(device)
    name = torch.cuda.get_device_name(device) if on_cuda else f"{torch.get_num_threads()} threads"
    lines = [
        f"{environment.header()}\n* device: {name}\n",
        f"{FRAMES} x {SIZE} x {SIZE}, 500 objects, {batch} clips in a call, {pool:,} textures, medians of "
        f"{args.repetitions} turns. Floor: {CLIP_BYTES / 1e6:.2f} MB at {copied / 1e9:,.0f} GB/s copied, "
        f"{copied / CLIP_BYTES:,.0f} clips/s.\n",
        "| dataset | renderer | clips/s | GB/s written | times the floor | work memory / output |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name in DATASETS:
        lines += speed(name, device, batch, pool, args.repetitions, CLIP_BYTES / copied)
    lines += ["", "| dataset | compared | work | time |", "|---|---|---:|---:|"]
    for name in DATASETS:
        lines += growth(name, device, batch, pool, args.repetitions)
    if on_cuda:
        import kernels

        lines += [
            f"\nViT-B, {TRAINING_BATCH} clips a step, bf16, compiled:\n",
            "| dataset | step on clips that are there | drawn in turn | drawn ahead | share in turn | share ahead |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        step = pretraining_step(device)
        lines += [training(name, step, device, pool, args.repetitions) for name in DATASETS]
        lines += ["", *kernels.table()]
    text = "\n".join(lines) + "\n"
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
