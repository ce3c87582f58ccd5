"""How many textures a second, and where a statistical one's time goes: ``python benchmarks/textures.py``."""

import time
from collections.abc import Callable
from functools import partial
from typing import get_args

import environment
import torch

from vsr.textures import statistical as model
from vsr.textures.pyramid import Border, Pyramid
from vsr.textures.stylegan import high_freq, oriented, walk

COUNT = {64: 32, 128: 16, 256: 8}  # textures on a CPU for each size in pixels; a GPU makes 32 times as many
STYLEGAN_COUNT = 64  # for each size; a GPU makes 32 times as many
FRAMES = 16  # of a walk


def seconds(function: Callable[[], object], device: torch.device) -> float:
    """The time of one call, after one to warm up."""
    for _ in range(2):
        if device.type == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        function()
        if device.type == "cuda":
            torch.cuda.synchronize()
    return time.perf_counter() - start


def shares(size: int, border: Border, device: torch.device) -> dict[str, float]:
    """The share of an iteration that each of its parts takes: one texture on a CPU, a chunk on a GPU."""
    index = torch.arange(2**20 // size**2 if device.type == "cuda" else 1, device=device)
    pyramid = Pyramid(size, border, device)
    magnitude, wavelets = model.spectrum_model(index, 0, size), model.wavelet_model(index, 0, size)
    stripes, noise, start = model.pixel_draws(index, 0, size)
    colours = model.colour_model(model.reference_image(index, 0, stripes, noise))
    image = model.impose_spectrum(256 * start, magnitude)
    bands = pyramid.build(image)

    def matching() -> None:
        for band, law in zip(bands[:-1], wavelets, strict=True):
            model.standardise(model.match(band.flatten(-2), law.marginal), law.std)
        model.impose_colours(image, colours.marginal)

    def repeat(function: Callable[[], object]) -> float:
        return seconds(lambda: [function() for _ in range(10)], device)

    times = {
        "spectrum": repeat(lambda: model.impose_spectrum(image, magnitude)),
        "pyramid": repeat(lambda: pyramid.reconstruct(pyramid.build(image))),
        "matching": repeat(matching),
    }
    return {name: t / sum(times.values()) for name, t in times.items()}


def stylegan(device: torch.device) -> None:
    """Print a line for each StyleGAN generator and size: textures, and frames of walks."""
    count = STYLEGAN_COUNT * (32 if device.type == "cuda" else 1)
    index, walks = torch.arange(count, device=device), torch.arange(count // FRAMES, device=device)
    frame = 4 * torch.arange(FRAMES, device=device).expand(len(walks), -1)
    print(f"\n{'size':>6} {'StyleGAN':>9} {'textures/s':>11} {'frames/s':>9} of walks of {FRAMES} frames, 4 apart")
    for size in (128, 256):
        for make in (oriented, high_freq):
            textures = count / seconds(partial(make, index, 0, size), device)
            frames = frame.numel() / seconds(partial(walk, walks, frame, 0, size, make.__name__), device)
            print(f"{size:>6} {make.__name__:>9} {textures:>11.2f} {frames:>9.2f}")


def main() -> None:
    """Print the machine, a line for each size and border, and the StyleGAN generators."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    gpu, threads = device.type == "cuda", torch.get_num_threads()
    print(f"{environment.header()}\n* device: {torch.cuda.get_device_name() if gpu else f'CPU, {threads} threads'}\n")
    print(f"{'size':>6} {'border':>9} {'textures/s':>11}   share of an iteration")
    for size, count in COUNT.items():
        index = torch.arange(32 * count if gpu else count, device=device)
        for border in get_args(Border):
            rate = len(index) / seconds(partial(model.statistical, index, 0, size, border=border), device)
            torch.set_num_threads(1)  # as each texture is made
            parts = shares(size, border, device).items()
            torch.set_num_threads(threads)
            print(f"{size:>6} {border:>9} {rate:>11.2f}   {', '.join(f'{part} {s:.0%}' for part, s in parts)}")
    stylegan(device)


if __name__ == "__main__":
    main()
