"""How long ``vsr analyze`` takes and what it finds: ``python benchmarks/analyze.py``.

One dataset with 1,000 videos of 10 frames, as the command has it by default, without networks; then the table of
the datasets named, against a folder of natural videos where one is given, beside the read-off values of the paper's
figure 4. Textures are made as they are seen: ``--max_textures`` bounds that. Further options go to the second command.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import environment

from vsr.cli import main as vsr

environment.PACKAGES = ("torch", "numba", "kornia", "numpy")
READ_OFF = {  # figure 4 of arXiv 2410.24213, on the authors' page; colours: their distance to natural videos
    "static_circles": {"spectrum_exponent": 1.42, "colour_mean": 6.30, "fid": 376.4, "fvd": 3650.0},
    "moving_circles": {"spectrum_exponent": 1.42, "colour_mean": 6.24, "fid": 361.8, "fvd": 4738.0},
}
SHOWN = ("spectrum_exponent", "colour_mean", "pixels_volume", "pixels_effective_rank", "fid", "fvd", "visible_objects",
         "occlusion")  # fmt: skip


def analyze(out: Path, datasets: list[str], *options: str) -> tuple[float, dict[tuple[str, str], float | None]]:
    """Seconds of one command, and the values by dataset and property."""
    start = time.perf_counter()
    vsr(["analyze", *datasets, "--out", str(out), *options])
    seconds = time.perf_counter() - start
    numbers = json.loads((out / "properties.json").read_text(encoding="utf-8"))["numbers"]
    return seconds, {(number["dataset"], number["property"]): number["value"] for number in numbers}


def main() -> None:
    """Print the time and the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ["static_circles", "moving_circles", "moving_shapes", "transforming_shapes", "acc_shapes"]
    parser.add_argument("--datasets", nargs="+", default=names)
    parser.add_argument("--against", type=Path, help="a folder of natural videos")
    parser.add_argument("--videos", type=int, default=200, help="of each dataset of the table")
    parser.add_argument("--max_textures", type=int, default=1000)
    arguments, more = parser.parse_known_args()
    print(environment.header(), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        seconds, _ = analyze(Path(folder) / "thousand", ["acc_shapes"])
        print(f"\n1,000 videos of acc_shapes, 10 frames each: {seconds:.0f} s\n", flush=True)
        options = ["--videos", str(arguments.videos), "--max_textures", str(arguments.max_textures), *more]
        if arguments.against is not None:
            options += ["--against", str(arguments.against)]
        seconds, values = analyze(Path(folder) / "table", arguments.datasets, *options)
    print(f"\n{arguments.videos} videos each: {seconds:.0f} s. In brackets: the paper's figure 4, read off.\n")
    print(f"| dataset | {' | '.join(SHOWN)} |", f"|---|{'---:|' * len(SHOWN)}", sep="\n")
    for dataset in dict.fromkeys(dataset for dataset, _ in values):
        cells = []
        for name in SHOWN:
            value, read_off = values[dataset, name], READ_OFF.get(dataset, {}).get(name)
            cells.append(("–" if value is None else f"{value:.4g}") + (f" ({read_off:g})" if read_off else ""))
        print(f"| {dataset} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
