"""Does a long run grow, and does a data module that is started and stopped leave anything behind?

    python benchmarks/load.py                            # 10,000 steps and 1,000 starts: about a quarter of an hour
    python benchmarks/load.py --steps 500 --starts 5     # a minute
    python benchmarks/load.py --out FILE                 # keep the Markdown

The steps are those of ``vsr fit`` under the laptop overlay, at 16 px: textures that are made and replaced window by
window, rendering, the tiny network, checkpoints, pictures, loggers. The starts are of a data module with two processes
that decode, each stopped amid an epoch. Exit status 1 if resident memory grows by more than 50 MiB after the first
tenth, if more files are open in the last tenth than in the first (by the median, as one may be open for a moment
when it is looked), or if a process outlives its data module.
"""

import argparse
import csv
import gc
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import environment
import psutil
from lightning.pytorch import Callback

GROWTH = 50  # MiB that resident memory may grow by
RUN = [
    "fit", "--config", "configs/pretrain/acc_textures.yaml", "--config", "configs/scale/laptop.yaml",
    "--config", "load.yaml", "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false",
]  # fmt: skip
SMALL = """
data:
  init_args:
    size: 16
    num_frames: 4
    global_batch_size: 2
    recipe: {num_videos: null, epoch_size: 256, num_objects: 50, texture_pool: 32, texture_window: 8}
"""
"""``load.yaml``: windows of 8 textures, another one every 128 steps."""


class Reading(NamedTuple):
    """What a process has at a moment.

    Attributes:
        done: steps, or starts.
        memory: resident, MiB.
        files: open file descriptors.
        threads: of the process.
        processes: that it has started and that are there.
    """

    done: int
    memory: float
    files: int
    threads: int
    processes: int

    @classmethod
    def now(cls, done: int) -> "Reading":
        """Of this process."""
        me = psutil.Process()
        files = me.num_fds() if hasattr(me, "num_fds") else me.num_handles()
        return cls(done, me.memory_info().rss / 2**20, files, me.num_threads(), len(me.children(recursive=True)))


class Meter(Callback):
    """Writes a reading down every so many steps.

    Args:
        path: of the CSV file.
        every: steps.
    """

    def __init__(self, path: str, every: int) -> None:
        self.path, self.every, self._read = Path(path), every, -1

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Read, where it is due."""
        step = trainer.global_step
        if step % self.every == 0 and step != self._read:
            self._read = step
            with self.path.open("a", newline="") as file:
                csv.writer(file).writerow(Reading.now(step))


def trained(steps: int, folder: Path) -> list[Reading]:
    """Readings of a run in this process, a hundred of them."""
    from vsr.cli import main as vsr

    table, every = folder / "readings.csv", max(steps // 100, 1)
    (folder / "load.yaml").write_text(SMALL, encoding="utf-8")
    with chdir(folder):
        vsr([*RUN, "--trainer.max_steps", str(steps), "--trainer.callbacks+=load.Meter",
             "--trainer.callbacks.path", str(table), "--trainer.callbacks.every", str(every)])  # fmt: skip
    with table.open(newline="") as file:
        rows = [[float(word) for word in row] for row in csv.reader(file)]
    return [Reading(int(row[0]), row[1], *map(int, row[2:])) for row in rows]


def started(starts: int, folder: Path) -> Iterator[tuple[Reading, list[int]]]:
    """Start a data module, take a batch, stop it: a reading after each, and the processes that are still there."""
    import av
    import numpy as np

    from vsr.data.clips import ActionClips

    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 24, 24, 3), dtype=np.uint8)
    for number, frames in enumerate(noise):
        place = folder / "videos" / ("train", "val")[number % 2] / f"class{number % 4 // 2}" / f"{number}.avi"
        place.parent.mkdir(parents=True, exist_ok=True)
        with av.open(place, "w") as container:
            stream = container.add_stream("mpeg4", rate=25)
            stream.width, stream.height, stream.pix_fmt = 24, 24, "yuv420p"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
            container.mux(stream.encode())
    for number in range(1, starts + 1):
        data = ActionClips(
            str(folder / "videos"),
            layout="folders",
            size=16,
            num_frames=4,
            stride=1,
            global_batch_size=2,
            num_workers=2,
        )
        data.setup("fit")
        loader = data.train_dataloader()
        batches = iter(loader)
        data.on_after_batch_transfer(next(batches), 0)
        workers = psutil.Process().children()
        assert len(workers) == 2
        data.teardown("fit")
        del data, loader, batches
        gc.collect()
        yield Reading.now(number), [worker.pid for worker in psutil.wait_procs(workers, timeout=10)[1]]


class Growth(NamedTuple):
    """What became more.

    Attributes:
        memory: MiB, the largest reading after the first tenth less the first of these.
        files: open ones, the median of the last tenth less that of the first.
        most: files that were ever open.
    """

    memory: float
    files: float
    most: int

    @classmethod
    def over(cls, readings: list[Reading]) -> "Growth":
        """Over all readings."""
        files, tenth = [r.files for r in readings], max(len(readings) // 10, 1)
        settled = [r.memory for r in readings[len(readings) // 10 :]]
        return cls(max(settled) - settled[0], median(files[-tenth:]) - median(files[:tenth]), max(files))

    @property
    def flat(self) -> bool:
        """Whether that is nothing to speak of."""
        return self.memory <= GROWTH and self.files <= 0

    def __str__(self) -> str:
        """In words."""
        return (
            f"memory grew by {self.memory:.1f} MiB after the first tenth (largest reading less the first), open files "
            f"by {self.files:g} (median of the last tenth less that of the first; {self.most} at the most)"
        )


def table(what: str, readings: list[Reading]) -> list[str]:
    """Ten rows of them, and the first."""
    shown = sorted({readings[0], *(readings[max(k * len(readings) // 10 - 1, 0)] for k in range(1, 11))})
    rows = [f"| {r.done:,} | {r.memory:,.1f} | {r.files} | {r.threads} | {r.processes} |" for r in shown]
    return [
        f"| {what} | resident memory, MiB | open files | threads | processes |",
        "|---:|---:|---:|---:|---:|",
        *rows,
    ]


def main() -> None:
    """Run, measure, print and keep."""
    parser = argparse.ArgumentParser(description="Whether long runs grow, as Markdown.")
    parser.add_argument("--steps", type=int, default=10_000, help="training steps (default: 10,000)")
    parser.add_argument("--starts", type=int, default=1_000, help="starts of a data module (default: 1,000)")
    parser.add_argument("--out", type=Path, help="a file to write the Markdown to as well")
    args = parser.parse_args()
    lines, fine = [f"{environment.header()}\n"], True
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        readings, left = [], []
        for reading, there in started(args.starts, folder):
            readings.append(reading)
            left += there
        growth = Growth.over(readings)
        fine &= not left and growth.flat
        lines += [
            f"A data module with two processes that decode, started {args.starts:,} times, stopped amid an epoch: "
            f"{len(left)} processes left behind; {growth}.\n",
            *table("starts", readings),
        ]
        readings = trained(args.steps, folder)
        growth = Growth.over(readings)
        fine &= growth.flat
        lines += [
            f"\n`vsr {' '.join(RUN)}`, {args.steps:,} steps, {len(readings)} readings: {growth}.\n",
            *table("steps", readings),
        ]
    lines += [f"\n{'Flat' if fine else 'NOT flat'}: at most {GROWTH} MiB, no file and no process more."]
    text = "\n".join(lines) + "\n"
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding="utf-8")
    sys.exit(not fine)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
