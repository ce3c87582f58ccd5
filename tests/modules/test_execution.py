"""Compiled, computed again, sharded: in each case the network learns what it learns without."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch._dynamo.utils import counters
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader

from vsr.data.synthetic import SyntheticVideos
from vsr.errors import InputError
from vsr.models.vit import SIZES, Block, Size
from vsr.modules import ActionClassifier, VideoMAE
from vsr.recipe import Recipe

SMALL = Size(width=32, depth=2, heads=2, decoder_width=16, decoder_heads=2, decoder_depth=2)
CLIP = {"size": "tiny", "image_size": 32, "num_frames": 4, "patch_size": 8}
STEPS = 3  # of an epoch


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setitem(SIZES, "tiny", SMALL)
    torch.manual_seed(0)


def batch(n: int, first: int = 0) -> dict[str, torch.Tensor]:
    """Noise that follows from its number."""
    clips = [
        torch.randint(0, 256, (3, 4, 32, 32), generator=torch.Generator().manual_seed(first + i)) for i in range(n)
    ]
    return {
        "video": torch.stack(clips).to(torch.uint8),
        "index": torch.arange(first, first + n),
        "epoch": torch.zeros(n, dtype=torch.int64),
        "label": torch.arange(n) % 5,
    }


class Noise(L.LightningDataModule):
    steps_per_epoch = STEPS

    def train_dataloader(self):
        return DataLoader(range(STEPS * 4), batch_size=4, collate_fn=lambda n: batch(len(n), n[0]))


def gradients(module: L.LightningModule, clips: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Loss and gradients of a batch."""
    if isinstance(module, VideoMAE):
        keep, masked = module.mask(clips["index"], clips["epoch"])
        loss = module.loss(module.model(clips["video"], keep, masked), clips["video"], masked)
    else:
        loss = torch.nn.functional.cross_entropy(module(clips["video"]), clips["label"])
    module.zero_grad()
    loss.backward()
    return {"loss": loss.detach()} | {name: p.grad.clone() for name, p in module.named_parameters()}


def quiet(**options) -> L.Trainer:
    return L.Trainer(accelerator="cpu", logger=False, use_distributed_sampler=False, enable_checkpointing=False,
                     enable_progress_bar=False, enable_model_summary=False, **options)  # fmt: skip


class TestCheckpointActivations:
    @pytest.mark.parametrize("kind", [VideoMAE, ActionClassifier])
    def test_same_gradients(self, kind):
        """With drop path, whose draws are repeated; each block runs twice."""
        own = {} if kind is VideoMAE else {"num_classes": 5, "drop_path": 0.5}
        results, runs = [], []
        for again in (False, True):
            module = kind(**CLIP, **own, checkpoint_activations=again)
            for part in module.modules():
                if isinstance(part, Block):
                    part.register_forward_pre_hook(lambda *_: runs[-1].append(1))
            runs.append([])
            torch.manual_seed(1)
            results.append(gradients(module, batch(4)))
        assert len(runs[1]) == 2 * len(runs[0]) > 0
        assert results[0].keys() == results[1].keys()
        for name, want in results[0].items():
            assert torch.equal(results[1][name], want), name


class TestCompile:
    @pytest.mark.slow
    def test_same_step_and_no_compilation_for_other_shapes(self):
        torch._dynamo.reset()
        counters.clear()
        module, clips = VideoMAE(**CLIP), batch(4)
        keys, want = set(module.state_dict()), gradients(module, clips)
        others = batch(3)
        pictures = module.reconstruct(others["video"], others["index"], others["epoch"])
        with torch.compiler.set_stance("default", force_backend="aot_eager"):
            module.compile_step()
            got = gradients(module, clips)
        for name, value in want.items():
            torch.testing.assert_close(got[name], value, atol=1e-6, rtol=1e-5)
        assert set(module.state_dict()) == keys
        assert counters["stats"]["unique_graphs"] == 2  # network, loss
        assert not counters["graph_break"]
        with torch.compiler.set_stance("fail_on_recompile"):
            again = module.reconstruct(others["video"], others["index"], others["epoch"])
        assert torch.equal(again.reconstruction, pictures.reconstruction)
        assert counters["stats"]["unique_graphs"] == 2

    @pytest.mark.slow
    def test_a_classifier_is_evaluated_uncompiled(self):
        torch._dynamo.reset()
        counters.clear()
        module, others = ActionClassifier(5, **CLIP, compile=True), batch(3)
        with torch.compiler.set_stance("default", force_backend="eager"):
            quiet(max_steps=2).fit(module, datamodule=Noise())
        assert counters["stats"]["unique_graphs"] == 1
        module.eval()
        with torch.no_grad(), torch.compiler.set_stance("fail_on_recompile"):
            assert module.predict_step(others)["probability"].shape == (3, 5)
        assert counters["stats"]["unique_graphs"] == 1

    @pytest.mark.slow
    @pytest.mark.skipif(not shutil.which("g++"), reason="needs g++, for Inductor on a CPU")
    def test_inductor(self):
        torch._dynamo.reset()
        module, clips = VideoMAE(**CLIP), batch(2)
        want = gradients(module, clips)
        module.compile_step()
        got = gradients(module, clips)
        for name, value in want.items():
            torch.testing.assert_close(got[name], value, atol=1e-6, rtol=1e-4)

    @pytest.mark.parametrize(("asked", "compiled"), [(None, False), (False, False), (True, True)])
    def test_where_it_is_wanted(self, asked, compiled, monkeypatch):
        """By default not on a CPU."""
        done = []
        monkeypatch.setattr(VideoMAE, "compile_step", lambda self: done.append(self))
        quiet(max_steps=1).fit(VideoMAE(**CLIP, compile=asked), datamodule=Noise())
        assert bool(done) == compiled


class Spread(VideoMAE):
    """Says at the end what it saw, and that the encoder can be called alone."""

    def on_fit_start(self):
        super().on_fit_start()
        self.seen = []

    def losses(self, *given):
        losses = super().losses(*given)
        self.seen += losses.tolist()
        return losses

    def on_train_end(self):
        one = batch(1)
        assert self.reconstruct(one["video"], one["index"], one["epoch"]).video.shape == one["video"].shape
        assert self.model.encoder(one["video"]).shape == (1, 32, 32)


def train(out: Path, devices: int, steps: int, resumed: Path | None = None) -> list[float]:
    module = Spread(**CLIP, global_batch_size=4, base_lr=0.1, warmup=0.0, checkpoint_activations=devices > 1)
    strategy = ModelParallelStrategy(save_distributed_checkpoint=False) if devices > 1 else "auto"
    trainer = quiet(max_steps=steps, devices=devices, strategy=strategy)
    recipe = Recipe("r", num_objects=20, epoch_size=4 * 10)
    data = SyntheticVideos(recipe, num_frames=4, size=32, global_batch_size=4, max_batch_per_device=2)
    trainer.fit(module, datamodule=data, ckpt_path=resumed)
    assert all(isinstance(p, DTensor) == (devices > 1) for p in module.parameters())
    trainer.save_checkpoint(out)
    return module.seen


@pytest.mark.slow
def test_two_shards_learn_what_one_device_learns(tmp_path):
    """Same losses, same weights; each layout goes on from the other's checkpoint, one plain file."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    env = os.environ | {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    logs = [(tmp_path / f"{rank}.log").open("w+") for rank in range(2)]
    command = [sys.executable, "-W", "ignore", __file__, str(tmp_path)]
    processes = [
        subprocess.Popen(command, stdout=log, stderr=log, env=env | {"LOCAL_RANK": str(rank)})
        for rank, log in enumerate(logs)
    ]
    try:
        ended = [process.wait(timeout=900) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert ended == [0, 0], "\n".join(Path(log.name).read_text()[-3000:] for log in logs)
    found = {n: torch.load(tmp_path / f"{n}.ckpt", weights_only=True) for n in ("1", "2", "1-2", "2-1")}
    alone = found["1"]
    start = VideoMAE(**CLIP).state_dict()
    assert alone["state_dict"].keys() == start.keys()
    assert max((alone["state_dict"][name] - start[name]).abs().max() for name in start) > 1e-3
    for name, one, other in [("2", found["2"], alone), ("2-1", found["2-1"], found["1-2"])]:
        assert one.keys() == other.keys()
        assert one["state_dict"].keys() == other["state_dict"].keys() == start.keys()
        for key, tensor in one["state_dict"].items():
            assert type(tensor) is torch.Tensor
            assert torch.equal(tensor, other["state_dict"][key]), (name, key)  # the sum of two has one order
    losses = [torch.load(tmp_path / f"losses-{devices}-{rank}.pt") for devices, rank in ((1, 0), (2, 0), (2, 1))]
    dealt = torch.tensor(losses[1:]).view(2, -1, 2).transpose(0, 1).flatten()
    assert torch.equal(dealt, torch.tensor(losses[0]))


def test_a_classifier_is_not_sharded():
    module = ActionClassifier(5, **CLIP)
    module._device_mesh = object()  # as ModelParallelStrategy leaves it
    with pytest.raises(InputError, match=r"leave out configs/scale/fsdp2\.yaml"):
        module.configure_model()


if __name__ == "__main__":
    torch.set_num_threads(1)
    SIZES["tiny"] = SMALL
    folder, rank = Path(sys.argv[1]), os.environ["LOCAL_RANK"]
    if rank == "0":
        train(folder / "1-half.ckpt", 1, STEPS)
        torch.save(train(folder / "1.ckpt", 1, 2 * STEPS), folder / "losses-1-0.pt")
    train(folder / "2-half.ckpt", 2, STEPS)
    torch.save(train(folder / "2.ckpt", 2, 2 * STEPS), folder / f"losses-2-{rank}.pt")
    train(folder / "1-2.ckpt", 2, 2 * STEPS, folder / "1-half.ckpt")
    torch.distributed.destroy_process_group()
    if rank == "0":
        train(folder / "2-1.ckpt", 1, 2 * STEPS, folder / "2-half.ckpt")
