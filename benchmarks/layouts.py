"""What loss does a run log on 1, 2 and 4 processes?

    python benchmarks/layouts.py               # 10 steps each, by real processes over gloo, on the CPU
    python benchmarks/layouts.py --out FILE    # keep the Markdown

The same ``vsr fit`` in three layouts of one global batch: the loss of each step, from the run's own ``metrics.csv``.
It is the mean over the global batch: the columns agree to what float32 adds up differently. That gradients and weights
agree is asserted by tests/modules/test_layouts.py, in float64. Nothing is timed.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import environment

DEVICES = (1, 2, 4)
SHAPE = [
    "--config", "configs/pretrain/acc_shapes.yaml", "--config", "configs/scale/laptop.yaml",
    "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false",
    "--trainer.log_every_n_steps", "1", "--data.size", "32", "--data.num_frames", "4", "--data.global_batch_size", "8",
    "--data.max_batch_per_device", "2",
]  # fmt: skip


def curve(folder: Path, devices: int, steps: int) -> list[float]:
    """Loss of each step of a run on so many processes."""
    words = [*SHAPE, "--trainer.max_steps", str(steps), "--run", str(devices)]
    if devices > 1:
        words += ["--trainer.devices", str(devices), "--trainer.strategy", "ddp"]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "vsr", "fit", *words], cwd=folder, capture_output=True, text=True,
        check=False, env=os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(done.stderr)
    (metrics,) = (folder / "runs/pretrain/acc_shapes" / str(devices)).glob("metrics*.csv")
    with metrics.open() as file:
        rows = [row for row in csv.DictReader(file) if row["loss"]]
    if [int(row["step"]) for row in rows] != list(range(steps)):
        raise SystemExit(f"{metrics} doesn't hold each step once")
    return [float(row["loss"]) for row in rows]


def main() -> None:
    """Run, print and keep."""
    parser = argparse.ArgumentParser(description="Loss curves on 1, 2 and 4 processes, as Markdown.")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--out", type=Path, help="a file to write the Markdown to as well")
    args = parser.parse_args()
    header = environment.header()
    with tempfile.TemporaryDirectory() as folder:
        curves = {devices: curve(Path(folder), devices, args.steps) for devices in DEVICES}
    apart = max(abs(a - b) / a for d in DEVICES[1:] for a, b in zip(curves[1], curves[d], strict=True))
    lines = [
        f"{header}\n",
        f"ViT tiny on acc_shapes, 4 x 32 x 32, float32, global batch 8 by at most 2 clips a process: 4, 2 and 1 "
        f"micro-steps. The logged loss, the mean over the global batch. At most {apart:.1e} of it apart.\n",
        f"| step | {' | '.join(f'processes: {d}' for d in DEVICES)} |",
        f"|---:|{'---:|' * len(DEVICES)}",
        *(f"| {k} | {' | '.join(f'{curves[d][k]:.7f}' for d in DEVICES)} |" for k in range(args.steps)),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
