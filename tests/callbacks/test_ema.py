"""Averaged weights: of which steps, who sees them, and that a run goes on as if it hadn't been stopped."""

import json
from pathlib import Path

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.utils.data import DataLoader

from vsr.callbacks import Checkpoints, Draws, WeightAverage
from vsr.callbacks.checkpoints import WholeCheckpoints
from vsr.cli import main
from vsr.data.batches import BatchPlan, TrainBatches
from vsr.data.resume import recount
from vsr.errors import InputError
from vsr.modules import ActionClassifier, LinearProbe

TINY = {"size": "tiny", "image_size": 16, "num_frames": 2, "patch_size": 8, "num_classes": 2}
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


def batch_of(numbers):
    index = torch.tensor(numbers)
    video = torch.randint(0, 256, (len(numbers), 3, 2, 16, 16), generator=torch.Generator().manual_seed(numbers[0]))
    return {
        "video": video.to(torch.uint8), "index": index, "epoch": torch.zeros_like(index), "label": index % 2,
        "weight": torch.ones(len(numbers)),
    }  # fmt: skip


class Clips(L.LightningDataModule):
    """Clips in micro-batches of two; two of those are a step, three steps an epoch. Twelve for validation."""

    seed, steps_per_epoch, plan = 0, 3, BatchPlan(4, 2, 2, 1)

    def train_dataloader(self):
        recount(self.trainer, self.plan.accumulation, self.steps_per_epoch)
        batches = TrainBatches(self.plan, 0, self.steps_per_epoch, lambda: self.trainer.global_step)
        return DataLoader(range(99), batch_sampler=batches, collate_fn=batch_of)

    def val_dataloader(self):
        return DataLoader(range(12), batch_size=2, collate_fn=batch_of)

    test_dataloader = val_dataloader


class Watch(Callback):
    """Keeps the weights that are shown to each micro-batch, those that each step ends with, and spoils a step."""

    def __init__(self, spoil=None):
        self.spoil, self.trained, self.validated, self.tested = spoil, {}, [], []
        self.spoilt = None

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.spoil:
            self.spoilt = pl_module.model.head.bias.register_hook(lambda gradient: gradient * torch.inf)
            self.spoil = None

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.trained[trainer.global_step] = weights_of(pl_module)
        if self.spoilt and trainer.global_step in self.trained:
            self.spoilt.remove()

    def on_save_checkpoint(self, trainer, pl_module, checkpoint):
        checkpoint["provenance"] = {}

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self.validated.append((trainer.global_step, weights_of(pl_module)))

    def on_test_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        self.tested.append(weights_of(pl_module))


def weights_of(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def equal(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def fit(folder, steps=9, ckpt=None, decay=0.7, spoil=None, average=True, module=None, **trainer):
    watch = Watch(spoil)
    module = module or ActionClassifier(**TINY, warmup=0.5, base_lr=0.1)
    settings = {
        "max_steps": steps, "accumulate_grad_batches": 2, "default_root_dir": folder, "accelerator": "cpu",
        "logger": False, "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0,
        "plugins": [WholeCheckpoints()], "enable_checkpointing": True,
    }  # fmt: skip
    callbacks = [Draws(), watch, Checkpoints(2), *([WeightAverage(decay)] if average else [])]
    run = L.Trainer(**settings | trainer, callbacks=callbacks)
    run.fit(module, datamodule=Clips(), ckpt_path=ckpt)
    return run, module, watch


def saved(folder, name="last.ckpt"):
    return torch.load(folder / "checkpoints" / name, weights_only=True)


def averaged(first, trained, decay, steps):
    """The average after so many steps, in float64, from the weights that each of them ended with."""
    found = {name: tensor.double() for name, tensor in first.items()}
    for step in range(1, steps + 1):
        found = {name: decay * tensor + (1 - decay) * trained[step][name].double() for name, tensor in found.items()}
    return found


def must_be_close(got, expected):
    for name, tensor in expected.items():
        torch.testing.assert_close(got[name].double(), tensor, rtol=1e-5, atol=1e-7)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Nine steps of two micro-batches."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, *fit(folder)


def test_it_moves_once_a_step_from_the_weights_before_the_first(whole):
    folder, _, module, watch = whole
    first = ActionClassifier(**TINY).state_dict()
    after = {steps: averaged(first, watch.trained, 0.7, steps) for steps in (3, 6, 8, 9)}
    assert [step for step, _ in watch.validated] == [3] * 6 + [6] * 6 + [9] * 6
    for step, seen in watch.validated:
        must_be_close(seen, after[step])
    must_be_close(saved(folder, "previous.ckpt")["state_dict"], after[8])
    must_be_close(module.state_dict(), after[9])
    assert equal(saved(folder)["state_dict"], module.state_dict())
    for name, step in (("previous.ckpt", 8), ("last.ckpt", 9)):
        assert equal(saved(folder, name)["current_model_state"], watch.trained[step])
    assert not equal(watch.trained[9], module.state_dict())


def test_what_learns_does_not_notice(whole, tmp_path):
    _, _, plain = fit(tmp_path, average=False)
    watch = whole[3]
    assert all(equal(plain.trained[step], watch.trained[step]) for step in range(1, 10))


def test_tests_see_it_after_fit_and_from_a_checkpoint(whole, tmp_path, monkeypatch):
    folder, trainer, module, watch = whole
    monkeypatch.setattr(watch, "validated", [])  # what the run itself saw is another test's
    average = weights_of(module)
    trainer.test(module, datamodule=Clips(), verbose=False)
    trainer.validate(module, datamodule=Clips(), verbose=False)
    trainer.save_checkpoint(tmp_path / "checkpoints" / "last.ckpt")
    other = ActionClassifier(**TINY, checkpoint=str(folder / "checkpoints" / "last.ckpt"))
    trainer.test(other, datamodule=Clips(), verbose=False)
    assert all(equal(seen, average) for seen in [*watch.tested, watch.validated[-1][1]])
    assert equal(saved(tmp_path)["state_dict"], average)
    assert equal(saved(tmp_path)["current_model_state"], watch.trained[9])


@pytest.mark.parametrize("stop", [4, 6])
def test_a_run_that_ended_goes_on_bit_for_bit(whole, tmp_path, stop):
    """Amid an epoch and at the end of one; the module held the average when the checkpoint was written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vsr.modules.optim.total_steps", lambda trainer: 9)  # the schedule of the whole run
        fit(tmp_path, stop)
    fit(tmp_path, ckpt=tmp_path / "checkpoints" / "last.ckpt")
    one, other = saved(whole[0]), saved(tmp_path)
    assert one["global_step"] == other["global_step"] == 9
    for key in ("state_dict", "current_model_state"):
        assert equal(one[key], other[key])


def test_a_skipped_step_leaves_it_finite(tmp_path):
    _, module, watch = fit(tmp_path, 3, spoil=1)
    assert module.guard.skipped == 1
    assert equal(watch.trained[1], watch.trained[2])
    assert all(tensor.isfinite().all() for tensor in module.state_dict().values())
    must_be_close(module.state_dict(), averaged(ActionClassifier(**TINY).state_dict(), watch.trained, 0.7, 3))


def test_it_begins_with_the_checkpoints_encoder(whole, tmp_path):
    """They are loaded when the average has been set up already."""
    path = whole[0] / "checkpoints" / "last.ckpt"
    module = ActionClassifier(**TINY, checkpoint=str(path), seed=4, warmup=1.0)
    fit(tmp_path, 1, module=module, decay=0.999, limit_train_batches=2)  # one step of rate 0
    weights, source = module.state_dict(), saved(whole[0])["state_dict"]
    encoder = [name for name in weights if not name.startswith(("model.head", "model.fc_norm"))]
    assert all(torch.equal(weights[name], source[name]) for name in encoder)


def test_constants_and_running_statistics_are_copied_exactly(tmp_path):
    """Of a frozen part with a batch norm, as a linear probe has: an average of equal numbers must not drift."""

    class Probe(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.frozen = torch.nn.Linear(5, 4).requires_grad_(False)
            self.norm, self.head = torch.nn.BatchNorm1d(4, affine=False), torch.nn.Linear(4, 2)

        def training_step(self, batch, batch_idx):
            return self.head(self.norm(self.frozen(batch))).square().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.head.parameters(), 0.1)

    module = Probe()
    before = weights_of(module)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    watch = Watch()
    loader = DataLoader(torch.rand(40, 5), batch_size=8)
    trainer = L.Trainer(max_steps=5, callbacks=[watch, WeightAverage(0.9)], enable_checkpointing=False, **quiet)
    trainer.fit(module, loader)
    after = module.state_dict()
    for name, tensor in watch.trained[5].items():
        assert torch.equal(after[name], tensor) != name.startswith("head"), name
    assert torch.equal(after["frozen.weight"], before["frozen.weight"])
    assert after["norm.num_batches_tracked"] == 5


def test_a_compiled_network_is_averaged_too(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "compile", lambda part, **_: object.__setattr__(part, "compiled", True))
    module = ActionClassifier(**TINY, warmup=0.5, base_lr=0.1, compile=True)
    _, _, watch = fit(tmp_path, 2, module=module)
    assert module.model.compiled
    fit(tmp_path / "again", 2, module=module)  # a compiled module is copied
    must_be_close(saved(tmp_path)["state_dict"], averaged(ActionClassifier(**TINY).state_dict(), watch.trained, 0.7, 2))


def test_what_it_refuses_and_says(tmp_path, caplog):
    for decay in (0.0, 1.0, -1.0):
        with pytest.raises(InputError, match=f"decay {decay} makes no average"):
            WeightAverage(decay)
    sharded = L.Trainer(accelerator="cpu", strategy=ModelParallelStrategy(), logger=False)
    with pytest.raises(InputError, match="spread over devices can't be averaged"):
        WeightAverage().setup(sharded, ActionClassifier(**TINY), "fit")
    with caplog.at_level("INFO"):
        fit(tmp_path, 2, decay=0.99)
    assert "After 2 steps an average of decay 0.99 still has 98% of the weights before the first" in caplog.text
    assert "--trainer.callbacks.decay 0.9." in caplog.text


def test_it_waits_for_no_device(gpu, tmp_path):
    module = ActionClassifier(**TINY, compile=False)
    average = WeightAverage(0.9)

    class Strict(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            torch.cuda.set_sync_debug_mode("default")

        def on_before_zero_grad(self, trainer, pl_module, optimizer):
            torch.cuda.set_sync_debug_mode("error" if trainer.global_step else "default")

    trainer = L.Trainer(
        accelerator="gpu", devices=1, max_steps=3, callbacks=[average, Strict()], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(module, datamodule=Clips())
    assert next(average._network.parameters()).is_cuda


class TestOverlay:
    """``configs/preset/ema.yaml``."""

    WORDS = (
        "fit", "--config", "configs/pretrain/acc_shapes.yaml", "--config", "configs/scale/laptop.yaml",
        "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false", "--data.size", "16",
        "--data.num_frames", "4", "--data.global_batch_size", "2", "--data.recipe.epoch_size", "8",
        "--checkpoints.every_n_steps", "2",
    )  # fmt: skip
    EMA = ("--config", "configs/preset/ema.yaml")

    @pytest.fixture(autouse=True)
    def _here(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)

    def test_a_run_with_it(self, capsys):
        """It adds to the callbacks of the stage; a run with it can't go on without it; convert gives the average."""
        words = [*self.WORDS, "--trainer.max_steps", "2"]
        main([*words, *self.EMA, "--trainer.callbacks.decay", "0.5"])
        folder = Path("runs/pretrain/acc_shapes")
        assert json.loads((folder / "default/provenance.json").read_text())["ema_decay"] == 0.5
        config = (folder / "default/config.yaml").read_text()
        assert all(f"callbacks.{name}" in config for name in ("Throughput", "WeightAverage"))
        with pytest.raises(SystemExit):
            main([*words, "--ckpt_path", "last"])
        assert "ema_decay 0.5 there, null here" in capsys.readouterr().err
        more = ["--trainer.callbacks.decay", "0.5", "--trainer.max_steps", "4", "--ckpt_path", "last"]
        main([*self.WORDS, *self.EMA, *more])
        main(
            [
                "convert",
                str(folder / "default/checkpoints/last.ckpt"),
                "averaged.pth",
                "--to",
                "videomae",
                "--verify",
                "false",
            ]
        )
        converted = torch.load("averaged.pth", weights_only=True)["model"]
        stored = saved(folder / "default")
        name = "encoder.blocks.0.attn.qkv.weight"
        assert torch.equal(converted[name], stored["state_dict"][f"model.{name}"])
        assert not torch.equal(converted[name], stored["current_model_state"][f"model.{name}"])


def test_heads_that_are_compared_are_not_averaged(tmp_path):
    module = LinearProbe(3, size="tiny", image_size=16, num_frames=2, patch_size=8, base_lr=[0.1, 1.0])
    with pytest.raises(InputError, match="the heads of a linear probe are compared as they learn"):
        WeightAverage(0.9).setup(L.Trainer(accelerator="cpu", logger=False), module, "fit")
