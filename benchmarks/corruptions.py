"""What perturbing a clip costs, and how near it is to UCF101-P's code: ``python benchmarks/corruptions.py``.

A clip is 16 frames of 224 px. The reference is UCF101-P's own way, one frame after the other with PIL, SciPy,
OpenCV, scikit-image and ImageMagick (``tests/corruptions/slow.py``; where Wand is missing, its motion blur is that
file's loop). Both run on one thread, in turns; a row is the mean over the five severities of each one's best time.

On a GPU, instead: the time of a clip beside a forward pass of ViT-B in bf16, uncompiled.

``--agreement`` compares pixels: with the same draws, the largest difference and the share of pixels that differ; for
noise, the largest distance between the distributions of what comes out (Kolmogorov), and that of two references.
"""

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ["NUMBA_NUM_THREADS"] = "1"

import av
import cv2
import environment
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "corruptions"))
import slow

from vsr.corruptions import PERTURBATIONS, Cell
from vsr.corruptions.pixel import perturb
from vsr.modules import ActionClassifier

environment.PACKAGES = ("torch", "numba", "numpy", "pillow", "scipy", "opencv-python-headless", "scikit-image", "Wand")
NAMES = [name for name, p in PERTURBATIONS.items() if p.works_on == "clip"]
FRAMES, SIZE, SEED = 16, 224, 1
BATCH = 8  # clips on a GPU
Frames = list[NDArray[np.uint8]]


def made() -> Frames:
    """Smooth pictures that move, with grain and edges."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:SIZE, 0:SIZE]
    frames = []
    for t in range(FRAMES):
        levels = np.stack([np.sin((x + 3 * t) / 23), np.sin((y + 2 * t) / 9), np.sin((x - y + t) / 31)], -1) * 140 + 127
        frames.append((levels + random.integers(-6, 7, levels.shape)).clip(0, 255).astype(np.uint8))
    return frames


def filmed(path: Path) -> Frames:
    """The first frames of a video, the short side resized, the middle cropped."""
    frames: Frames = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            image = frame.to_ndarray(format="rgb24")
            scale = SIZE / min(image.shape[:2])
            image = cv2.resize(image, (round(image.shape[1] * scale), round(image.shape[0] * scale)))
            top, left = (image.shape[0] - SIZE) // 2, (image.shape[1] - SIZE) // 2
            frames.append(image[top : top + SIZE, left : left + SIZE])
            if len(frames) == FRAMES:
                return frames
    raise SystemExit(f"{path} has {len(frames)} frames: give a video of at least {FRAMES}")


def reference(name: str) -> Callable[..., NDArray[np.uint8]]:
    """UCF101-P's function; for motion blur, its loop where ImageMagick is missing."""
    if name == "motion_blur" and importlib.util.find_spec("wand") is None:
        return lambda frame, severity, random, angle: slow.motion_loop(frame, severity, angle)
    return getattr(slow, name)


def slowly(cell: Cell, frames: Frames, random: np.random.Generator) -> Frames:
    """The reference, with vsr's draws where it makes them alike."""
    drawn = slow.draws(cell, len(frames), 0, 0, SEED)
    return [reference(cell.perturbation)(f, cell.severity, random, **d) for f, d in zip(frames, drawn, strict=True)]


def ours(cell: Cell, video: Tensor) -> Tensor:
    """The corrupted clips."""
    numbers = torch.arange(len(video), device=video.device)
    return perturb(cell, video, numbers, torch.zeros_like(numbers), SEED)


def as_video(frames: Frames) -> Tensor:
    """(1, C, T, H, W)."""
    return torch.from_numpy(np.stack(frames)).permute(3, 0, 1, 2)[None].contiguous()


def distance(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Kolmogorov's, of the levels of all values."""
    counts = [np.bincount(values.ravel(), minlength=256).cumsum() for values in (first, second)]
    return float(np.abs(counts[0] - counts[1]).max() / first.size)


def agreement(frames: Frames) -> None:
    """Print the table."""
    print("| perturbation | reference | largest difference | share of values that differ, severities 1 to 5 |")
    print("|---|---|---:|---|")
    random = np.random.default_rng(0)
    for name in NAMES:
        if name.endswith("_noise"):
            continue
        found = []
        for severity in range(1, 6):
            expected = np.stack(slowly(Cell(name, severity), frames, random)).astype(int)
            shown = ours(Cell(name, severity), as_video(frames))[0].permute(1, 2, 3, 0).numpy()
            found.append(np.abs(expected - shown))
        shares = ", ".join(f"{(d > 0).mean():.1e}" if d.any() else "0" for d in found)
        print(f"| {name} | {reference(name).__name__} | {max(d.max() for d in found)} | {shares} |", flush=True)
    print("", "| noise | distance to the reference, severities 1 to 5 | of two references |", "|---|---|---|", sep="\n")
    for name in (n for n in NAMES if n.endswith("_noise")):
        rows: list[list[str]] = [[], []]
        for severity in range(1, 6):
            cell = Cell(name, severity)
            first, second = (np.stack(slowly(cell, frames, random)) for _ in range(2))
            shown = ours(cell, as_video(frames))[0].permute(1, 2, 3, 0).numpy()
            rows[0].append(f"{distance(first, shown):.1e}")
            rows[1].append(f"{distance(first, second):.1e}")
        print(f"| {name} | {' | '.join(', '.join(row) for row in rows)} |", flush=True)


def cpu(frames: Frames, repetitions: int) -> None:
    """Print milliseconds per clip of both, and their ratio."""
    print("| perturbation | reference, ms | vsr, ms | ratio |", "|---|---:|---:|---:|", sep="\n")
    random, video, sums = np.random.default_rng(0), as_video(frames), np.zeros(2)
    for name in NAMES:
        times = np.zeros(2)
        for severity in range(1, 6):
            cell = Cell(name, severity)
            both = {"slow": partial(slowly, cell, frames, random), "vsr": partial(ours, cell, video)}
            taken = environment.interleaved(both, repetitions, 1)
            times += [min(taken["slow"]) * 200, min(taken["vsr"]) * 200]
        sums += times
        print(f"| {name} | {times[0]:.1f} | {times[1]:.1f} | {times[0] / times[1]:.1f} |", flush=True)
    print(f"| all, one after the other | {sums[0]:.0f} | {sums[1]:.0f} | {sums[0] / sums[1]:.1f} |")


def gpu(frames: Frames, repetitions: int, device: torch.device) -> None:
    """Print milliseconds per clip beside a forward pass of the network."""
    video = as_video(frames).expand(BATCH, -1, -1, -1, -1).contiguous().to(device)
    network = ActionClassifier(101, image_size=SIZE, num_frames=FRAMES).to(device).eval()

    def forward() -> None:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
            network(video)

    def milliseconds(work: Callable[[], object]) -> float:
        work()
        taken = []
        for _ in range(repetitions):
            torch.cuda.synchronize()
            start = time.perf_counter()
            work()
            torch.cuda.synchronize()
            taken.append(time.perf_counter() - start)
        return 1000 * min(taken) / BATCH

    plain = milliseconds(forward)
    print(f"ViT-B, forward: {plain:.2f} ms per clip in batches of {BATCH}", "", sep="\n")
    print("| perturbation | ms per clip, mean of severities | of the forward pass |", "|---|---:|---:|", sep="\n")
    each = []
    for name in NAMES:
        each.append(np.mean([milliseconds(partial(ours, Cell(name, severity), video)) for severity in range(1, 6)]))
        print(f"| {name} | {each[-1]:.2f} | {each[-1] / plain:.2f} |", flush=True)
    print(f"| mean | {np.mean(each):.2f} | {np.mean(each) / plain:.2f} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agreement", action="store_true", help="compare pixels, not time")
    parser.add_argument("--video", type=Path, help="a film instead of made pictures")
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args()
    frames = filmed(arguments.video) if arguments.video else made()
    device = torch.device("cuda", 0) if torch.cuda.is_available() and not arguments.agreement else torch.device("cpu")
    print(environment.header())
    print(f"* device: {torch.cuda.get_device_name(device) if device.type == 'cuda' else 'the CPU, one thread'}")
    print(f"* clip: {arguments.video.name if arguments.video else 'made'}, {FRAMES} frames of {SIZE} px", "", sep="\n")
    torch.set_num_threads(1 if device.type == "cpu" else torch.get_num_threads())
    cv2.setNumThreads(1)
    if arguments.agreement:
        agreement(frames)
    elif device.type == "cuda":
        gpu(frames, arguments.repetitions, device)
    else:
        cpu(frames, arguments.repetitions)


if __name__ == "__main__":
    main()
