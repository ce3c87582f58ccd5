"""What does a clip cost? The fused renderer beside OpenCV painters, the Kornia reference and the memory bus.

    python benchmarks/render.py                 # about four minutes, nearly all of them the reference's
    python benchmarks/render.py --quick         # half a minute: without the reference and the naive painter
    python benchmarks/render.py --out FILE      # keep the Markdown

Every renderer draws the same clips (same latents, same frames, whole frame) on one core. The fair painter
is what a good engineer would write: geometry of all objects and frames at once, objects outside the frame
skipped, each texture warped into its object's box only. The naive one draws one object at a time, wherever
it is, and warps textures into a full frame behind a full-frame mask, as the paper's release does. The
handicap is vsr's: painters start from latents and leave (T, H, W, C), vsr from addresses and leaves (B, C,
T, H, W).
"""

import argparse
import gc
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import environment

if __name__ == "__main__":  # numba reads it once; one row of the table takes all cores, the others take 1
    os.environ.setdefault("NUMBA_NUM_THREADS", str(environment.cores()))

import cv2
import numba
import numpy as np
import psutil
import torch
from torch import Tensor

from vsr import geometry
from vsr.latents import Latents, latents
from vsr.raster import Scene, fused_cpu
from vsr.recipe import Recipe, load_recipe
from vsr.render import Renderer, render_clips, render_video
from vsr.rng import Stream, below, words
from vsr.textures.bank import TextureBank

DATASETS = ("acc_shapes", "acc_textures")
FRAMES, STRIDE = 16, 4
SHIFT = 4  # binary digits behind the point of OpenCV's coordinates: 1/16 px
CIRCLE = np.arange(64) * (2 * np.pi / 64)  # corners of a circle: 0.3 px off at the largest radius, 256 px

INSET = {True: 0.45, False: 0.65}
"""Px taken off a circle's radius and a polygon's: OpenCV fills what an outline's 1 px line touches, too."""

Array = np.ndarray[Any, np.dtype[Any]]


class NoiseBank(TextureBank):
    """A bank of noise, quick to make: what is on a texture does not change the work of drawing it."""

    def generate(self, texture: Tensor) -> Tensor:
        """Pool positions int64 (n,) to textures uint8 (n, 1, 3, S, S)."""
        side = self.recipe.texture_size
        noise = [np.random.default_rng(int(k)).integers(0, 256, (3, side, side), np.uint8) for k in texture]
        return torch.from_numpy(np.stack(noise))[:, None]


def dataset(name: str, pool: int) -> tuple[Recipe, TextureBank | None]:
    """The paper's recipe, its pool cut to ``pool`` noise textures, all of them resident."""
    recipe = load_recipe(name)
    if not recipe.textured:
        return recipe, None
    recipe = replace(recipe, texture_pool=pool)
    bank = NoiseBank(recipe)
    bank.make(torch.arange(pool))
    return recipe, bank


def times_of(recipe: Recipe, index: Tensor, drawn: Latents, num_frames: int = FRAMES) -> Tensor:
    """The video frames that ``render_clips`` shows at seed 0, epoch 0: int64 (B, T)."""
    word = words(Stream.CLIP, 0, index, torch.zeros_like(index))[:, 0, 0]
    start = below(word, drawn.duration - (num_frames - 1) * STRIDE)
    return start[:, None] + STRIDE * torch.arange(num_frames)


def scene_of(recipe: Recipe, drawn: Latents, time: Tensor, bank: TextureBank | None) -> Scene:
    """What ``render_clips`` hands to the kernel, whole frame."""
    return Scene(
        output_from_unit=geometry.frame_from_unit(drawn, time),
        outlines=geometry.outlines(drawn),
        color=drawn.color if bank is None else torch.zeros_like(drawn.color),
        texture=torch.full_like(drawn.texture, -1) if bank is None else bank.row[drawn.texture],
        texels=drawn.radius * (recipe.texture_size / (2 * recipe.size)),
        frame=torch.zeros_like(time),
        clamp=False,
        textures=None if bank is None else bank.textures,
    )


class Painter:
    """A video's objects for OpenCV, as NumPy arrays, and two ways of painting them in order.

    OpenCV's pixel (0, 0) is the frame's point (0.5, 0.5), so half a pixel is taken off every position.

    Args:
        recipe: the dataset.
        drawn: latents of one video, B = 1.
        bank: its textures, or None.
    """

    def __init__(self, recipe: Recipe, drawn: Latents, bank: TextureBank | None) -> None:
        self.size = recipe.size
        self.at = Latents(*(field[0].numpy() for field in drawn))
        self.color = self.at.color.tolist()
        self.texels = self.at.radius * (recipe.texture_size / (2 * recipe.size))
        self.textures = None if bank is None else bank.textures.numpy()
        self.row = None if bank is None else bank.row[drawn.texture[0]].numpy()

    def matrices(self, time: Array) -> Array:
        """Unit frame -> OpenCV's pixels at times (T,): float64 (T, N, 2, 3)."""
        at, t = self.at, time[:, None].astype(np.float64)
        way = (at.speed + at.acceleration * t / 2) * t
        cos, sin = np.cos(at.rotation * t), np.sin(at.rotation * t)
        sx, sy = at.radius * (1 + at.scaling[:, 0] * t), at.radius * (1 + at.scaling[:, 1] * t)
        kx, ky = at.shear[:, 0] * t, at.shear[:, 1] * t
        out = np.empty((*way.shape, 2, 3))
        out[..., 0, 0], out[..., 0, 1] = sx * cos - sy * sin * ky, sx * cos * kx - sy * sin
        out[..., 1, 0], out[..., 1, 1] = sx * sin + sy * cos * ky, sx * sin * kx + sy * cos
        out[..., 0, 2] = at.center[:, 0] + way * np.cos(at.direction) - 0.5
        out[..., 1, 2] = at.center[:, 1] + way * np.sin(at.direction) - 0.5
        return out

    def corners(self, matrices: Array, angles: Array, inset: float) -> Array:
        """Outlines (n, K, 2), px: matrices (n, 2, 3) applied to the unit circle at angles (n or 1, K)."""
        unit = np.stack((np.cos(angles), np.sin(angles)), axis=-1)
        rows = matrices[:, :, :2]
        rows = rows * (1 - inset / np.sqrt((rows**2).sum(axis=-1, keepdims=True)))
        return unit @ rows.swapaxes(1, 2) + matrices[:, None, :, 2]

    def fair(self, time: Array) -> Array:
        """Frames uint8 (T, H, W, 3) at times (T,)."""
        frames = np.zeros((len(time), self.size, self.size, 3), np.uint8)
        matrices = self.matrices(time)
        center, reach = matrices[..., 2], np.sqrt((matrices[..., :2] ** 2).sum(axis=-1))
        f, n = np.nonzero(((center + reach > 0) & (center - reach < self.size)).all(axis=-1))  # in painter's order
        matrices, circle = matrices[f, n], self.at.shape[n] == 0
        outlines: list[Array] = [np.empty(0)] * len(n)
        low, high = np.empty((2, len(n), 2))
        for is_circle, angles in ((True, CIRCLE[None]), (False, self.at.angles[n[~circle]])):
            kind = circle == is_circle
            corners = self.corners(matrices[kind], angles, INSET[is_circle])
            low[kind], high[kind] = corners.min(axis=1), corners.max(axis=1)
            fixed = np.rint(corners * 2**SHIFT).astype(np.int32)
            for place, outline in zip(np.nonzero(kind)[0].tolist(), fixed, strict=True):
                outlines[place] = outline
        low = np.clip(np.floor(low), 0, self.size).astype(np.int32)
        high = np.clip(np.ceil(high) + 1, 0, self.size).astype(np.int32)
        if self.textures is None:
            for frame, number, outline in zip(f.tolist(), n.tolist(), outlines, strict=True):
                cv2.fillConvexPoly(frames[frame], outline, self.color[number], shift=SHIFT)
            return frames
        texel_from_pixel = self.texel_from_pixel(matrices, n, low)
        mask = np.empty((self.size, self.size), np.uint8)
        boxes = np.concatenate((low, high), axis=1).tolist()
        rows = self.row[n].tolist()
        for k, (frame, (x0, y0, x1, y1)) in enumerate(zip(f.tolist(), boxes, strict=True)):
            if x0 < x1 and y0 < y1:
                inside = mask[: y1 - y0, : x1 - x0]
                inside[:] = 0
                cv2.fillConvexPoly(inside, outlines[k] - (low[k] << SHIFT), 255, shift=SHIFT)
                patch = self.warp(rows[k], texel_from_pixel[k], (x1 - x0, y1 - y0))
                cv2.copyTo(patch, inside, frames[frame, y0:y1, x0:x1])
        return frames

    def texel_from_pixel(self, matrices: Array, n: Array, origin: Array) -> Array:
        """OpenCV's pixels, counted from ``origin`` (n, 2), to its texels: float64 (n, 2, 3)."""
        scale = self.texels[n][:, None, None]
        linear = np.linalg.inv(matrices[:, :, :2]) * scale
        moved = linear @ (origin - matrices[:, :, 2])[..., None] + scale - 0.5
        return np.concatenate((linear, moved), axis=-1)

    def warp(self, row: int, texel_from_pixel: Array, size: tuple[int, int]) -> Array:
        """The part of a texture that a box shows, nearest texel."""
        flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(self.textures[row], texel_from_pixel, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)

    def naive(self, time: Array) -> Array:
        """The same frames, one object after the other, wherever it is."""
        frames = np.zeros((len(time), self.size, self.size, 3), np.uint8)
        for frame, matrices in zip(frames, self.matrices(time), strict=True):
            for n in range(len(self.color)):
                circle = bool(self.at.shape[n] == 0)
                angles = CIRCLE[None] if circle else self.at.angles[n : n + 1]
                corners = self.corners(matrices[n : n + 1], angles, INSET[circle])[0]
                outline = np.rint(corners * 2**SHIFT).astype(np.int32)
                if self.row is None:
                    cv2.fillConvexPoly(frame, outline, self.color[n], shift=SHIFT)
                    continue
                mask = np.zeros(frame.shape[:2], np.uint8)
                cv2.fillConvexPoly(mask, outline, 255, shift=SHIFT)
                matrix = self.texel_from_pixel(matrices[n : n + 1], np.array([n]), np.zeros((1, 2)))[0]
                cv2.copyTo(self.warp(int(self.row[n]), matrix, frame.shape[1::-1]), mask, frame)
        return frames


def set_threads(numba_threads: int, torch_threads: int) -> None:
    """Threads of the kernel, and of the latents and geometry."""
    numba.set_num_threads(numba_threads)
    torch.set_num_threads(torch_threads)


def measure(name: str, clips: int, repetitions: int, slow: bool, pool: int, floor: float) -> list[str]:
    """One dataset's table. The slow renderers draw the first clip only; ``floor`` is in seconds per clip."""
    recipe, bank = dataset(name, pool)
    index = torch.arange(clips)
    drawn = latents(recipe, 0, index)
    video_frames = times_of(recipe, index, drawn)
    scene = scene_of(recipe, drawn, video_frames, bank)
    out = torch.empty(clips, 3, FRAMES, recipe.size, recipe.size, dtype=torch.uint8)
    shown = video_frames.numpy()
    painters = [Painter(recipe, drawn.videos(slice(b, b + 1)), bank) for b in range(clips)]

    def vsr(renderer: Renderer = "fused", count: int = clips) -> Tensor:
        some, size = index[:count], recipe.size
        return render_clips(recipe, 0, some, 0, FRAMES, STRIDE, size, False, renderer, bank=bank)

    def vsr_on(numba_threads: int, torch_threads: int) -> None:
        set_threads(numba_threads, torch_threads)
        vsr()
        set_threads(1, 1)

    def paint() -> list[Array]:
        return [painter.fair(times) for painter, times in zip(painters, shown, strict=True)]

    fused_cpu.draw(scene, out)
    whole = vsr()
    if (out != whole).any(dim=1).double().mean() > 1e-5:  # pixels on outlines
        raise RuntimeError("the kernel was not given the scene that render_clips draws")
    painted = torch.from_numpy(np.stack(paint())).permute(0, 4, 1, 2, 3)
    same = (painted == whole).all(dim=1).double().mean()
    fair = "fair painter"
    fast: dict[str, Callable[[], object]] = {
        "vsr fused, all: addresses to pixels": vsr,
        "vsr fused, from finished matrices": lambda: fused_cpu.draw(scene, out),
        fair: paint,
    }
    cores = numba.config.NUMBA_NUM_THREADS
    if cores > 1:
        fast[f"vsr fused, all: Numba on {cores} cores, torch on 1"] = lambda: vsr_on(cores, 1)
        fast[f"vsr fused, all: Numba and torch on {cores} cores"] = lambda: vsr_on(cores, cores)
    rows = table_rows(environment.interleaved(fast, repetitions, clips), fair, floor)
    if slow:
        one: dict[str, Callable[[], object]] = {
            f"{fair}, first clip": lambda: painters[0].fair(shown[0]),
            "naive painter, first clip": lambda: painters[0].naive(shown[0]),
            "Kornia reference, first clip": lambda: vsr("reference", 1),
        }
        rows += table_rows(environment.interleaved(one, 1, 1), f"{fair}, first clip", floor)
    agreement = f"the fair painter shows what vsr shows in {same:.1%} of the pixels"
    return [f"**{name}** ({agreement})\n", *TABLE, *rows, ""]


TABLE = (
    "| renderer | ms/clip, best | median | clips/s, best | x fair painter, best | median | times the floor |",
    "|---|---:|---:|---:|---:|---:|---:|",
)


def table_rows(taken: dict[str, list[float]], base: str, floor: float) -> list[str]:
    """Markdown rows; the ratio's median is over the repetitions, each beside its neighbour in time."""
    rows = []
    for name, seconds in taken.items():
        best, ratio = min(seconds), min(taken[base]) / min(seconds)
        ratios = [theirs / ours for theirs, ours in zip(taken[base], seconds, strict=True)]
        rows.append(
            f"| {name} | {best * 1e3:.1f} | {median(seconds) * 1e3:.1f} | {1 / best:.3g} "
            f"| {ratio:.3g} | {median(ratios):.3g} | {best / floor:.0f} |"
        )
    return rows


def memory(name: str, what: str, pool: int) -> float:
    """MiB that the process grew by at its largest beyond the output, in this fresh process."""
    recipe, bank = dataset(name, pool)
    render_clips(recipe, index=[0], num_frames=2, size=32, bank=bank)  # compiles and imports
    render_video(replace(recipe, duration=(2, 2)), size=32, bank=bank)
    gc.collect()
    before = psutil.Process().memory_info().rss
    environment.forget_peak()  # that of importing and compiling, which would hide rendering's
    out = render_video(recipe, bank=bank) if what == "video" else render_clips(recipe, index=range(32), bank=bank)
    return (environment.peak() - before - out.nbytes) / 2**20


def memory_rows(pool: int) -> list[str]:
    """Peak work memory as Markdown, each figure from a process of its own with one thread."""
    rows = ["| dataset | 32 clips, 16 x 224 x 224 | one video, 256 x 256 |", "|---|---:|---:|"]
    for name in DATASETS:
        cells = []
        for what in ("clips", "video"):
            command = [sys.executable, __file__, "--memory", name, what, "--pool", str(pool)]
            environ = {**os.environ, "NUMBA_NUM_THREADS": "1"}
            done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=True)
            cells.append(f"{float(done.stdout.split()[-1]):.1f} MiB")
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return rows


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description="Speed and memory of rendering, as Markdown.")
    parser.add_argument("--clips", type=int, default=8, help="clips per repetition (default: 8)")
    parser.add_argument("--repetitions", type=int, default=7, help="interleaved repetitions (default: 7)")
    parser.add_argument("--pool", type=int, default=512, help="textures (default: 512)")
    parser.add_argument("--quick", action="store_true", help="leave out the naive painter and the reference")
    parser.add_argument("--out", type=Path, help="a file to write the Markdown to as well")
    parser.add_argument("--memory", nargs=2, metavar=("DATASET", "WHAT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    set_threads(1, 1)
    cv2.setNumThreads(1)
    if args.memory:
        print(memory(*args.memory, args.pool))
        return
    recipe = load_recipe(DATASETS[0])
    nbytes, bandwidth = 3 * FRAMES * recipe.size**2, environment.copy_bandwidth()
    lines = [
        f"{environment.header()}\n",
        f"{FRAMES} x {recipe.size} x {recipe.size}, stride {STRIDE}, {recipe.num_objects} objects, one core "
        f"unless said; {args.clips} clips in a call, {args.repetitions} interleaved repetitions; {args.pool} "
        f"textures. The floor is writing a clip's {nbytes / 1e6:.1f} MB at {bandwidth / 1e9:.1f} GB/s: "
        f"{nbytes / bandwidth * 1e3:.2f} ms.\n",
    ]
    for name in DATASETS:
        lines += measure(name, args.clips, args.repetitions, not args.quick, args.pool, nbytes / bandwidth)
    if sys.platform == "linux":
        lines += ["Peak memory beyond the output, one worker with one thread:\n", *memory_rows(args.pool)]
    text = "\n".join(lines) + "\n"
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
