"""A tiny sweep on a Slurm, and what may happen to its cells."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from test_cli import write_clip

ROOT = Path(__file__).parents[2]
OVERLAYS = ["--config", "configs/scale/laptop.yaml", "--config", "tiny.yaml"]
TINY = """
trainer: {max_steps: 6, enable_progress_bar: false, accelerator: cpu, log_every_n_steps: 1}
data:
  init_args: {size: 16, num_frames: 4, global_batch_size: 4, max_batch_per_device: 2}
checkpoints: {every_n_steps: 2}
max_textures: 2
texture_folder: images
"""


class Trial:
    """A sweep of pre-training, fine-tuning and tests of a list of datasets in ``folder/sweep``.

    Args:
        folder: is made; becomes the working folder.
        datasets: the list.
        held: fits that wait before a step for being hit, such as ``pretrain-acc_shapes``.
    """

    submit = (
        "sweep", "submit", "list.txt", "--out", "sweep", "--on", "folders", "--videos", "videos", *OVERLAYS,
        "--", "pretrain", "--trainer.callbacks+=held.Held",
        "--", "finetune", "--trainer.callbacks+=held.Held", "--data.num_workers", "0", "--data.stride", "2",
        "--data.test_segments", "1", "--data.test_crops", "1",
    )  # fmt: skip

    def __init__(self, folder: Path, datasets: list[str], held: list[str]) -> None:
        from PIL import Image

        self.folder, self.hold = folder, folder / "hold"
        self.hold.mkdir(parents=True)
        (folder / "images").mkdir()
        for n in range(3):
            noise = np.random.default_rng(n).integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / "images" / f"{n}.png")
        for n in range(8):
            write_clip(folder / "videos" / ("train", "test")[n // 4] / f"class{n % 2}" / f"{n}.avi", n)
        (folder / "list.txt").write_text("\n".join(datasets))
        (folder / "tiny.yaml").write_text(TINY)
        for fit in held:
            (self.hold / fit).touch()

    def environment(self) -> Mapping[str, str]:
        """That the jobs need."""
        path = f"{ROOT}:{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}"
        few = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
        return {"PYTHONPATH": path, "VSR_TEST_HOLD": str(self.hold)} | few

    def reached(self, fit: str) -> bool:
        """Whether a fit is held."""
        return (self.hold / f"{fit}.here").exists()

    def process(self, fit: str) -> int:
        """Its process, once it is held."""
        self.until(lambda: self.reached(fit))
        return int((self.hold / f"{fit}.here").read_text())

    def let_go(self, fit: str) -> None:
        """Let it go on."""
        for path in (self.hold / fit, self.hold / f"{fit}.here", self.hold / f"{fit}.told"):
            path.unlink(missing_ok=True)

    def hit(self, fit: str, *words: str) -> None:
        """Have Slurm signal a held fit; it is let go when the signal has come, or has killed it."""
        process = Path(f"/proc/{self.process(fit)}")
        ask(*words)
        self.until(lambda: (self.hold / f"{fit}.told").exists() or not process.exists())
        self.let_go(fit)

    def signal(self, fit: str, task: str) -> None:
        """Send a held fit SIGUSR1 as Slurm does, before a time limit.

        To the step: of a whole task scancel 22.05 believes that it wasn't sent, and sends it again and again.
        """
        self.hit(fit, "scancel", "--signal=USR1", f"{task}.0")

    def kill(self, fit: str) -> None:
        """Kill a held fit."""
        os.kill(self.process(fit), signal.SIGKILL)
        self.let_go(fit)

    def cancel(self, fit: str, task: str) -> None:
        """Cancel a held fit's task."""
        self.hit(fit, "scancel", task)

    def submissions(self, stage: str) -> list[dict[str, object]]:
        """Those of a stage, from the manifest."""
        content = json.loads((self.folder / "sweep" / "sweep.json").read_text())
        return [s for s in content["submissions"] if s["stage"] == stage]

    def until(self, ready: Callable[[], bool], seconds: float = 600) -> None:
        """Wait; what Slurm and the cells said, if it takes too long."""
        end = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > end:
                logs = sorted((self.folder / "sweep" / "logs").glob("*.out"))
                raise TimeoutError("\n".join([ask("squeue"), *(f"== {p.name}\n{p.read_text()[-1500:]}" for p in logs)]))
            time.sleep(0.2)

    def alone(self, dataset: str) -> dict[str, torch.Tensor]:
        """The weights of a pre-training of the same, that nothing happens to."""
        return self.fit_alone(f"pretrain/{dataset}/default", "--config", f"configs/pretrain/{dataset}.yaml", *OVERLAYS)

    def fit_alone(self, run: str, *words: str) -> dict[str, torch.Tensor]:
        """The weights of a run in a process of its own, with as many threads as a job has: sums depend on them."""
        command = [sys.executable, "-m", "vsr", "fit", *words, "--trainer.default_root_dir", "alone"]
        subprocess.run(command, cwd=self.folder, env=os.environ | self.environment(), check=True)
        return weights(self.folder / "alone" / run)


def weights(run: Path) -> dict[str, torch.Tensor]:
    """Of a run folder's last checkpoint."""
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether weights are equal, bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def ask(*words: str) -> str:
    """What a command of Slurm's says."""
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()


def idle() -> bool:
    """Whether Slurm's queue is empty."""
    return not ask("squeue", "-h")
