"""What does an optimiser step cost on P processes, and does the model of it hold where it can be checked?

    python benchmarks/scaling.py               # two GPUs, one, or else two processes on the CPU
    python benchmarks/scaling.py --out FILE    # keep the Markdown

The model, docs/scaling.md: ``T(P) = G / P * (render + train) + optimiser + all-reduce(P)``. Its constants are measured
on one process, the all-reduce alone on two; then the whole step on one and on two, in turns. On a GPU it is ViT-B on
the paper's clips in bfloat16; on a CPU ViT tiny on 8 x 64 x 64 in float32. The predictions rest on the rate and the
interconnect that are given: both are assumptions, and the table says so.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import median

import environment
import torch
import torch.distributed as dist
from device import dataset, finished
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from vsr.modules import VideoMAE

GPUS = (8, 16, 32, 64, 128, 256, 512, 1024)
CLIPS_OF_KINETICS = 240_000 * 800
"""A run of VideoMAE's length on Kinetics-400: about 240,000 videos, 800 epochs."""


class Loss(nn.Module):
    """Pre-training loss of clips at addresses; DDP wants it as a forward pass."""

    def __init__(self, module: VideoMAE) -> None:
        super().__init__()
        self.module = module

    def forward(self, video: Tensor, index: Tensor) -> Tensor:
        """Of clips uint8 (B, C, T, H, W) at index int64 (B,)."""
        keep, masked = self.module.mask(index, 0)
        return self.module.loss(self.module.model(video, keep, masked), video, masked)


def measure(rank: int, world: int, folder: str, turns: int, clips: int) -> None:
    """One of ``world`` processes; rank 0 writes medians, seconds, and bytes."""
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")
    torch.set_num_threads(1)
    dist.init_process_group(
        "nccl" if cuda else "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world
    )
    module = VideoMAE().to(device) if cuda else VideoMAE("tiny", 64, 8, patch_size=8)
    alone: nn.Module = Loss(module)
    shared = DistributedDataParallel(alone, device_ids=[rank] if cuda else None) if world > 1 else None
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-5, fused=True)
    shape = {} if cuda else {"num_frames": 8, "size": 64}
    render = dataset("acc_shapes", 0, device)
    everything = torch.arange(clips, device=device)
    share = everything[rank * clips // world : (rank + 1) * clips // world]
    video = render(index=everything, **shape)

    def train(network: nn.Module, shown: Tensor, index: Tensor) -> None:
        with torch.autocast("cuda", torch.bfloat16) if cuda else nullcontext():
            loss = network(shown, index)
        loss.backward()

    def update() -> None:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def whole(network: nn.Module, index: Tensor) -> None:
        train(network, render(index=index, **shape), index)
        update()

    nbytes = sum(p.numel() * 4 for p in module.parameters() if p.requires_grad)
    gradient = torch.ones(nbytes // 4, device=device)
    works: dict[str, tuple[bool, Callable[[], object]]] = {  # whether all processes do it
        "render": (False, lambda: render(index=everything, **shape)),
        "train": (False, lambda: train(alone, video, everything)),
        "optimiser": (False, update),
        "T(1)": (False, lambda: whole(alone, everything)),
    }
    if shared is not None:
        works["all-reduce"] = (True, lambda: dist.all_reduce(gradient))
        works["T(P)"] = (True, lambda: whole(shared, share))
    taken: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(turns + 1):
        for name, (together, work) in works.items():
            dist.barrier()
            if not together and rank > 0:
                continue
            run = finished(work, device)
            start = time.perf_counter()
            run()
            if turn:  # the first loads and compiles
                taken[name].append(time.perf_counter() - start)
    if rank == 0:
        content = {"w": module.state_dict(), "m": [p.detach().clone() for _ in range(2) for p in module.parameters()]}
        start = time.perf_counter()
        with Path(folder, "last.ckpt").open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        written = time.perf_counter() - start
        ratio = 0.0
        if world > 1:
            ratio = median(a / b for a, b in zip(taken["T(1)"], taken["T(P)"], strict=True))
        found = {name: median(values) for name, values in taken.items()}
        found |= {"ratio": ratio, "gradient bytes": float(nbytes), "checkpoint": written}
        torch.save(found | {"checkpoint bytes": float(Path(folder, "last.ckpt").stat().st_size)}, f"{folder}/found.pt")
    dist.barrier()
    dist.destroy_process_group()


def measured(found: dict[str, float], world: int, clips: int) -> list[str]:
    """The constants, and the model beside the whole step."""
    lines = [
        "| constant | measured |",
        "|---|---:|",
        f"| render | {found['render'] / clips * 1e3:.3g} ms/clip |",
        f"| train | {found['train'] / clips * 1e3:.3g} ms/clip |",
        f"| optimiser | {found['optimiser'] * 1e3:.3g} ms/step |",
        f"| gradients, float32 | {found['gradient bytes'] / 1e6:,.1f} MB/step |",
        f"| checkpoint: weights and two moments | {found['checkpoint bytes'] / 1e6:,.1f} MB, "
        f"{found['checkpoint bytes'] / found['checkpoint'] / 1e6:,.0f} MB/s with fsync |",
    ]
    work = found["render"] + found["train"]
    one = work + found["optimiser"]
    checks = [("1", one, found["T(1)"])]
    if world > 1:
        lines.append(f"| all-reduce on {world}, alone | {found['all-reduce'] * 1e3:.3g} ms/step |")
        checks.append((str(world), work / world + found["optimiser"] + found["all-reduce"], found["T(P)"]))
    lines += ["", "| processes | model, s | measured, s | measured / model |", "|---:|---:|---:|---:|"]
    lines += [f"| {p} | {model:.3f} | {took:.3f} | {took / model:.2f} |" for p, model, took in checks]
    if world > 1:
        lines += ["", f"Speed-up on {world}: model {one / checks[1][1]:.2f}, measured {found['ratio']:.2f} (in turns)."]
    return lines


def predicted(rate: float, bandwidth: float, latency: float) -> list[str]:
    """ViT-B at an assumed rate and interconnect, nothing overlapped: the pessimistic end."""
    nbytes = sum(p.numel() * 4 for p in VideoMAE().parameters() if p.requires_grad)
    lines = [
        f"**Prediction, nothing of it was run.** Assumed: {rate:,.0f} clips/s a GPU for rendering and training "
        f"together, {bandwidth / 1e9:.0f} GB/s a GPU for a ring all-reduce, {latency * 1e6:.0f} us a hop. Computed: "
        f"{nbytes / 1e6:,.0f} MB of ViT-B's gradients. Efficiency with nothing of the all-reduce hidden "
        "by the backward pass; the rate is taken to hold for any batch.\n",
        "| GPUs | all-reduce, ms | batch 256: clips/s | efficiency | 32 clips a GPU: clips/s | efficiency | "
        "Kinetics-size run, hours |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for gpus in GPUS:
        reduce = 2 * (gpus - 1) / gpus * nbytes / bandwidth + 2 * (gpus - 1) * latency
        cells = []
        for batch in (256, 32 * gpus):
            if batch % gpus:
                cells += ["refused", ""]
                continue
            work = batch / gpus / rate
            cells += [f"{batch / (work + reduce):,.0f}", f"{work / (work + reduce):.0%}"]
        hours = CLIPS_OF_KINETICS / (32 * gpus) * (32 / rate + reduce) / 3600
        lines.append(f"| {gpus:,} | {reduce * 1e3:.0f} | {' | '.join(cells)} | {hours:,.1f} |")
    return lines


def main() -> None:
    """Measure, predict, print and keep."""
    parser = argparse.ArgumentParser(description="The cost model of a step, as Markdown.")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--clips", type=int, help="global batch (default: 64; 16 on a CPU)")
    parser.add_argument("--rate", type=float, default=500, help="ASSUMED for the prediction: clips/s a GPU")
    parser.add_argument("--bandwidth", type=float, default=25e9, help="ASSUMED: bytes/s a GPU sends (200 Gbit/s)")
    parser.add_argument("--latency", type=float, default=5e-6, help="ASSUMED: seconds a hop")
    parser.add_argument("--out", type=Path, help="a file to write the Markdown to as well")
    args = parser.parse_args()
    cuda = torch.cuda.is_available()
    world = min(2, torch.cuda.device_count()) if cuda else 2
    clips = args.clips or (64 if cuda else 16)
    header = environment.header()
    # Numba's threads wait for work by spinning: two processes with two each take twice the time of one
    os.environ |= {"NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(measure, (world, folder, args.turns, clips), nprocs=world)
        found = torch.load(Path(folder, "found.pt"), weights_only=True)
    what = "ViT-B, 16 x 224 x 224, bfloat16" if cuda else "ViT tiny, 8 x 64 x 64, float32, a thread each"
    lines = [f"{header}\n", f"{what}, global batch {clips}, acc_shapes; medians of {args.turns} turns.\n"]
    lines += [*measured(found, world, clips), "", *predicted(args.rate, args.bandwidth, args.latency)]
    text = "\n".join(lines) + "\n"
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
