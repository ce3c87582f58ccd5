"""One run on 1, 2 or 4 devices: the same gradients, weights and learning rate, by real processes over gloo.

``pytest tests/modules/test_layouts.py -rP`` prints how far the layouts are apart.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer

from vsr.data.synthetic import SyntheticVideos
from vsr.models.vit import SIZES, Size
from vsr.modules import VideoMAE
from vsr.recipe import Recipe

GLOBAL, STEPS = 8, 10
LAYOUTS = {"4x1": (4, 2), "2x2": (2, 2), "1x4": (1, 2), "1x1": (1, 8)}
"""Devices x accumulation steps: the devices, and the most clips that one takes at once."""


class PlainDescent(VideoMAE):
    """Moves the weights by the gradient itself: Adam's first steps go by its sign, and warm up from rate 0."""

    def configure_optimizers(self):
        self.peak = super().configure_optimizers()["optimizer"].defaults["lr"]
        self.start = self.copied()
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def copied(self):
        return {name: p.detach().clone() for name, p in self.named_parameters()}

    def on_before_optimizer_step(self, optimizer):
        if self.global_step == 0:
            self.gradient = {name: p.grad.clone() for name, p in self.named_parameters()}

    def on_train_end(self):
        if self.global_rank == 0:
            trainer = self.trainer
            layout = f"{trainer.world_size}x{trainer.accumulate_grad_batches}"
            result = {"start": self.start, "gradient": self.gradient, "end": self.copied(), "peak": self.peak}
            torch.save(result, Path(trainer.default_root_dir) / f"{layout}.pt")


def train(folder: Path, devices: int, most: int) -> None:
    recipe = Recipe("r", num_objects=20, speed=(1.0, 3.0), epoch_size=GLOBAL * STEPS)
    data = SyntheticVideos(recipe, num_frames=2, size=24, global_batch_size=GLOBAL, max_batch_per_device=most)
    module = PlainDescent("tiny", 24, 2, patch_size=8, global_batch_size=GLOBAL)
    trainer = Trainer(
        # float32 stores a weight of 1 to 6e-8: 6e-6 of how far the weights move here, were their gradients equal
        max_epochs=1, precision="64-true", accelerator="cpu", devices=devices, default_root_dir=folder, logger=False,
        strategy="ddp" if devices > 1 else "auto", use_distributed_sampler=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What each layout learned, and what was said: four processes together, two of them, one alone."""
    folder = tmp_path_factory.mktemp("layouts")
    command, ports = [sys.executable, "-W", "ignore", __file__, str(folder)], [free_port(), free_port()]
    logs = [(folder / f"{rank}.log").open("w+") for rank in range(4)]
    env = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen([*command, *ports], stderr=log, stdout=log, env=env | {"LOCAL_RANK": str(rank)})
        for rank, log in enumerate(logs)
    ]
    try:
        ended = [process.wait(timeout=900) for process in processes]
    finally:
        for process in processes:
            process.kill()
    said = [Path(log.name).read_text() for log in logs]
    assert ended == [0] * 4, "\n".join(said)[-3000:]
    return {name: torch.load(folder / f"{name}.pt", weights_only=True) for name in LAYOUTS}, "\n".join(said)


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def flat(tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([t.flatten() for t in tensors.values()])


@pytest.mark.slow
def test_layouts_learn_the_same(trained):
    """Gradients of the first step to rounding, weights after ten steps to far less than they moved."""
    results, _ = trained
    one = results.pop("1x4")
    gradient, movement = flat(one["gradient"]), flat(one["end"]) - flat(one["start"])
    assert gradient.dtype == torch.float64
    assert movement.abs().max() > 1e-3
    for name, other in results.items():
        of_gradient = ((flat(other["gradient"]) - gradient).abs().max() / gradient.abs().max()).item()
        of_movement = ((flat(other["end"]) - flat(one["end"])).abs().max() / movement.abs().max()).item()
        print(f"{name} against 1x4: {of_gradient:.1e} of the gradient, {of_movement:.1e} of the movement")
        assert torch.equal(flat(other["start"]), flat(one["start"]))
        assert of_gradient < 1e-13
        assert of_movement < 1e-9


@pytest.mark.slow
def test_layouts_have_one_rate_and_say_it_once(trained):
    results, said = trained
    assert {result["peak"] for result in results.values()} == {3e-4 * GLOBAL / 256}
    batches = [line.split(";")[0] for line in said.splitlines() if line.startswith("global batch")]
    assert batches == [
        "global batch 8 = 4 devices x 1 micro-batch of 2",
        "global batch 8 = 2 devices x 2 micro-batches of 2",
        "global batch 8 = 1 device x 4 micro-batches of 2",
        "global batch 8 = 1 device x 1 micro-batch of 8",
    ]


if __name__ == "__main__":
    torch.set_num_threads(1)
    SIZES["tiny"] = Size(width=32, depth=2, heads=2, decoder_width=16, decoder_heads=2, decoder_depth=1)
    folder, *ports = sys.argv[1:]
    for devices, most in LAYOUTS.values():
        if int(os.environ["LOCAL_RANK"]) < devices:  # Lightning starts none where LOCAL_RANK is set
            if devices > 1:
                os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": ports.pop()}
            train(Path(folder), devices, most)
            if devices > 1:
                torch.distributed.destroy_process_group()
