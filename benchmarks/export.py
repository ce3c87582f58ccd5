"""How many videos a second are written to disk, and what drawing and encoding take: ``python benchmarks/export.py``.

Whole videos of 256 x 256 px, as ``vsr render NAME --count`` writes them, by all cores, the start of the processes
included, the making of textures not. Drawing and encoding are also measured apart, by one core on a few of them.
"""

import argparse
import tempfile
import time
from pathlib import Path

import environment
import numba
import torch

from vsr.export import write_mp4
from vsr.offline import export_videos
from vsr.recipe import Recipe, load_recipe
from vsr.render import render_video
from vsr.textures.bank import TextureBank

POOL = 64  # textures: their making is not what is measured
ALONE = 4  # videos drawn and encoded by one core


def row(name: str, recipe: Recipe, count: int, lossless: bool) -> str:
    """One line of the table."""
    bank = TextureBank(recipe) if recipe.textured else None
    if bank is not None:
        bank.fill()
    with tempfile.TemporaryDirectory() as folder:
        done = export_videos(recipe, folder, count, lossless=lossless)
        size = sum(file.stat().st_size for file in Path(folder).glob("*.mp4")) / count / 1e6
        drawn = encoded = frames = 0.0
        render_video(recipe, bank=bank)  # compiles
        for index in range(ALONE):
            start = time.perf_counter()
            video = render_video(recipe, index=index, bank=bank).numpy()
            drawn += time.perf_counter() - start
            start = time.perf_counter()
            write_mp4(video, Path(folder) / "one.mp4", lossless=lossless)
            encoded += time.perf_counter() - start
            frames += len(video)
    cells = (done.made / done.seconds, 1e3 * drawn / frames, 1e3 * encoded / frames, size)
    return " | ".join([f"| {name}", *(f"{cell:.2f}" for cell in cells)]) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=48, help="videos of each kind")
    count = parser.parse_args().count
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    textured = load_recipe("acc_textures").with_textures(POOL)
    print(environment.header(), "", f"{count} videos of each kind, {POOL} textures", "", sep="\n")
    print("| videos | videos/s, all cores | drawing, ms/frame, 1 core | encoding, ms/frame, 1 core | MB a video |")
    print("|---|---:|---:|---:|---:|")
    for lossless in (False, True):
        how = "lossless" if lossless else "H.264"
        print(row(f"acc_shapes, {how}", load_recipe("acc_shapes"), count, lossless), flush=True)
        print(row(f"acc_textures, {how}", textured, count, lossless), flush=True)


if __name__ == "__main__":
    main()
