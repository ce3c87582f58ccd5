"""Steps that are not finite: real runs of a tiny network whose losses or gradients are poisoned at known clips."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch.utils.data import DataLoader

from vsr.data.clips import ActionClips
from vsr.data.mixture import Share, VideoMixture
from vsr.data.synthetic import SyntheticVideos
from vsr.errors import InputError
from vsr.modules import ActionClassifier, VideoMAE
from vsr.modules.optim import parameter_groups, warmup_cosine
from vsr.recipe import load_recipe

CLIP = {"size": "tiny", "image_size": 24, "num_frames": 2, "patch_size": 8}
FEW = {"num_frames": 2, "size": 24, "global_batch_size": 4}
PEAK = 3e-4 * 4 / 256
QUIET = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
}


pytestmark = pytest.mark.usefixtures("one_thread")


class Poisoned(VideoMAE):
    """Meets bad clips: ``bad(batch)`` says which, ``kind`` what comes of them."""

    kind = "nan"

    def bad(self, batch):
        return torch.zeros_like(batch["index"], dtype=torch.bool)

    def training_step(self, batch):
        self.now = self.bad(batch)
        return super().training_step(batch)

    def losses(self, prediction, video, idx_mask):
        if self.kind == "gradient":  # alone; the losses are finite
            prediction.register_hook(lambda grad: grad.where(~self.now[:, None, None], torch.inf))
        losses = super().losses(prediction, video, idx_mask)
        if self.kind == "nan":
            return losses * torch.where(self.now, torch.nan, 1)
        return losses + torch.where(self.now, torch.inf, 0) if self.kind == "inf" else losses  # its gradient is finite


class History(L.Callback):
    """Everything a step could change, after each of them."""

    def __init__(self):
        self.steps, self.gradients = [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == len(self.steps):  # within an accumulation
            return
        state = {name: p.detach().clone() for name, p in pl_module.named_parameters()}
        for number, moments in trainer.optimizers[0].state_dict()["state"].items():
            state |= {f"{number}.{name}": tensor.clone() for name, tensor in moments.items()}
        self.steps.append(state)
        self.gradients.append(torch.cat([p.grad.flatten() for p in pl_module.parameters()]).double().norm())

    def unchanged(self, step: int) -> bool:
        before, after = self.steps[step - 1 : step + 1]
        return before.keys() == after.keys() and all(torch.equal(after[name], t) for name, t in before.items())


def run(bad, kind="nan", steps=5, most=None, data=None, module=None, callbacks=(), trainer=None, **model):
    """Train for so many steps: step k has the clips 4 k .. 4 k + 3."""
    module = module or Poisoned(**CLIP, global_batch_size=4, warmup=0, **model)
    module.bad, module.kind = bad, kind
    data = data or SyntheticVideos(load_recipe("moving_circles"), max_batch_per_device=most, **FEW)
    history = History()
    settings = {"accelerator": "cpu", "max_steps": steps, "callbacks": [history, *callbacks]} | QUIET | (trainer or {})
    trainer = L.Trainer(**settings)
    try:
        trainer.fit(module, datamodule=data)
    finally:
        module.history, module.seen_by = history, trainer
    return module


def clips(*numbers):
    return lambda batch: torch.isin(batch["index"], torch.tensor(numbers))


def said(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "vsr.modules.guard"]


class TestSkipping:
    @pytest.mark.parametrize("kind", ["nan", "inf", "gradient"])
    def test_changes_nothing(self, kind, caplog):
        module = run(clips(9, 11), kind)
        history = module.history
        assert [history.unchanged(step) for step in (1, 2, 3, 4)] == [False, True, False, False]
        assert all(t.isfinite().all() for state in history.steps for t in state.values())
        assert module.seen_by.global_step == 5
        assert module.seen_by.lr_scheduler_configs[0].scheduler.last_epoch == 5
        assert module.seen_by.logged_metrics["skipped_steps"] == 1
        assert module.seen_by.logged_metrics["grad_norm"] > 0
        show = "vsr render moving_circles --seed 0 --index 9 --epoch 0 --num_frames 2 --stride 4 --size 24 --clip"
        clip = "its loss is not finite: moving_circles index 9 epoch 0, moving_circles index 11 epoch 0"
        gradient = "step 2 skipped, its gradient is not finite though all losses are"
        assert said(caplog) == [gradient if kind == "gradient" else f"step 2 skipped, {clip} (the first: {show})"]

    def test_the_very_first_step(self):
        start = Poisoned(**CLIP)
        first = run(clips(0)).history.steps[0]
        assert all(torch.equal(first[name], p) for name, p in start.named_parameters())
        assert not any(t.any() for name, t in first.items() if name.endswith((".step", ".exp_avg", ".exp_avg_sq")))

    def test_the_rest_is_as_without_the_step(self):
        """To the bit: the guard alters nothing in good steps, and the schedule goes on in bad ones."""
        module, data = VideoMAE(**CLIP), SyntheticVideos(load_recipe("moving_circles"), **FEW)
        optimizer = torch.optim.AdamW(parameter_groups(module.model, 0.05), betas=(0.9, 0.95), fused=True)
        for step in (0, 1, 3, 4):
            index, epoch = torch.arange(4 * step, 4 * step + 4), torch.zeros(4, dtype=torch.int64)
            video, (keep, masked) = data.render(index, epoch, "cpu"), module.mask(index, epoch)
            optimizer.zero_grad()
            module.loss(module.model(video, keep, masked), video, masked).backward()
            for group in optimizer.param_groups:
                group["lr"] = PEAK * (warmup_cosine(step, 5, 0, PEAK, 1e-5 * 4 / 256) / PEAK)
            optimizer.step()
        trained = run(clips(9)).history.steps[-1]
        assert all(torch.equal(trained[name], p) for name, p in module.named_parameters())

    def test_one_bad_micro_batch_of_two(self, caplog):
        module = run(clips(8), most=2)
        assert module.seen_by.accumulate_grad_batches == 2
        assert [module.history.unchanged(step) for step in (1, 2, 3)] == [False, True, False]
        assert len(said(caplog)) == 1
        assert "moving_circles index 8 epoch 0 (the first" in said(caplog)[0]

    def test_many_clips_are_counted(self, caplog):
        data = SyntheticVideos(load_recipe("moving_circles"), **FEW | {"global_batch_size": 12})
        run(lambda batch: batch["index"] >= 0, data=data, steps=1)
        assert "index 7 epoch 0 and 4 more (the first: " in said(caplog)[0]

    def test_an_optimiser_that_cannot_skip_ends_the_run(self, caplog):
        class Plain(Poisoned):
            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), lr=0.1)

        with pytest.raises(InputError, match=r"step 2 spoilt the weights.*use a fused one"):
            run(clips(9), module=Plain(**CLIP))
        assert "step 2 spoilt the weights, its loss" in said(caplog)[0]


class TestClipping:
    def test_scales_gradients_to_the_norm(self):
        free, module = run(clips(), steps=1), run(clips(), steps=1, clip_grad=0.01)
        norm = module.seen_by.logged_metrics["grad_norm"]
        assert norm == free.seen_by.logged_metrics["grad_norm"] > 0.01
        assert free.history.gradients[0].item() == pytest.approx(norm.item(), rel=1e-5)
        assert module.history.gradients[0].item() == pytest.approx(0.01, rel=1e-3)

    def test_leaves_smaller_gradients_alone(self):
        free, module = run(clips(), steps=2), run(clips(), steps=2, clip_grad=1e3)
        assert all(torch.equal(module.history.steps[-1][n], t) for n, t in free.history.steps[-1].items())

    def test_skips_while_it_clips(self):
        assert run(clips(9), "gradient", clip_grad=0.01).history.unchanged(2)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"clip_grad": 0.0}, "clip_grad 0.0 is no norm"),
            ({"clip_grad": float("nan")}, "clip_grad nan is no norm"),
            ({"max_skipped_steps": 0}, "max_skipped_steps 0 is not positive"),
        ],
    )
    def test_refuses(self, arguments, message):
        with pytest.raises(InputError, match=message):
            VideoMAE(**CLIP, **arguments)
        with pytest.raises(InputError, match=message):
            ActionClassifier(3, **CLIP, **arguments)

    def test_refuses_the_trainers_clipping(self):
        with pytest.raises(InputError, match=r"gradient_clip_val 0.5 .*give --model.clip_grad 0.5"):
            run(clips(), trainer={"gradient_clip_val": 0.5})

    def test_refuses_float16(self):
        with pytest.raises(InputError, match=r"give --trainer.precision bf16-mixed, or 32-true"):
            run(clips(), trainer={"plugins": [MixedPrecision("16-mixed", "cpu")]})


class Fails(L.Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 3:
            raise KeyError("disk")


class TestEnding:
    def test_so_many_in_a_row(self):
        module = Poisoned(**CLIP, max_skipped_steps=3)
        with pytest.raises(InputError, match=r"^steps 2 to 4 were all skipped.*before step 2.* --model.clip_grad 1"):
            run(lambda batch: batch["index"] >= 8, module=module, steps=20)
        assert module.seen_by.global_step == 5  # a step late
        weights = dict(module.named_parameters())
        assert all(torch.equal(p, module.history.steps[1][name]) for name, p in weights.items())

    def test_a_good_step_starts_the_count_again(self):
        module = run(clips(4, 8, 16, 20), module=Poisoned(**CLIP, max_skipped_steps=3), steps=7)
        assert module.guard.skipped == 4
        assert module.seen_by.global_step == 7

    def test_at_the_last_step(self):
        module = Poisoned(**CLIP, max_skipped_steps=2)
        with pytest.raises(InputError, match="steps 3 to 4 were all skipped"):
            run(clips(12, 16), module=module)

    def test_the_last_step_is_reported(self, caplog):
        run(clips(19))
        assert len(said(caplog)) == 1
        assert "step 4 skipped" in said(caplog)[0]

    def test_what_another_error_ends_is_reported(self, caplog):
        with pytest.raises(KeyError, match="disk"):
            run(clips(9), callbacks=[Fails()])
        assert len(said(caplog)) == 1
        assert "step 2 skipped" in said(caplog)[0]

    def test_a_second_run_starts_anew(self):
        module = run(clips(16), module=Poisoned(**CLIP, max_skipped_steps=2))
        assert run(clips(0), module=module).guard.skipped == 1


class Labelled(L.LightningDataModule):
    steps_per_epoch = 3

    def train_dataloader(self):
        def batch(numbers):
            index = torch.tensor(numbers)
            video = torch.full((len(index), 3, 2, 24, 24), 40, dtype=torch.uint8)
            video += index.to(torch.uint8).view(-1, 1, 1, 1, 1)
            return {"video": video, "index": index, "epoch": torch.zeros_like(index), "label": index % 3}

        return DataLoader(range(12), batch_size=4, collate_fn=batch)


class Misled(ActionClassifier):
    def training_step(self, batch):
        self.now = self.bad(batch)
        return super().training_step(batch)

    def forward(self, video):
        return super().forward(video) * torch.where(self.now, torch.nan, 1)[:, None]


class TestFineTuning:
    def test_skips_and_names(self, caplog):
        module = run(clips(5), data=Labelled(), module=Misled(3, **CLIP, warmup=0), steps=3)
        assert [module.history.unchanged(step) for step in (1, 2)] == [True, False]
        assert said(caplog) == ["step 1 skipped, its loss is not finite: index 5 epoch 0"]
        assert module.seen_by.logged_metrics["train_loss"].isfinite()

    def test_ends(self):
        with pytest.raises(InputError, match="steps 1 to 2 were all skipped"):
            run(clips(4, 8), data=Labelled(), module=Misled(3, **CLIP, max_skipped_steps=2), steps=3)

    def test_names_the_file(self, tmp_path):
        for name in ("a.avi", "b.avi"):
            (tmp_path / name).touch()
        for subset in ("train", "val", "test"):
            (tmp_path / f"{subset}.csv").write_text("a.avi 0\nb.avi 1\n")
        data = ActionClips(str(tmp_path), "csv", name="mine", global_batch_size=2)
        assert data.where(1, 3) == ("mine index 1 epoch 3", str(tmp_path / "b.avi"))


class TestAddresses:
    def test_of_mixtures(self, caplog):
        """The third clip of the second share."""
        data = VideoMixture([Share(0.5, "static_circles"), Share(0.5, "moving_shapes")], "both", num_workers=0, **FEW)
        run(lambda batch: (batch["index"] == 2) & (batch["share"] == 1), data=data, steps=3)
        (line,) = said(caplog)
        assert line.startswith("step 1 skipped, its loss is not finite: moving_shapes index 2 epoch 0 (the first: ")

    def test_the_command_shows_the_clip(self, tmp_path, capsys):
        from vsr.cli import main

        data = SyntheticVideos(load_recipe("moving_circles"), seed=5, **FEW)
        words, command = data.where(7, 0)
        assert words == "moving_circles index 7 epoch 0"
        main([*command.split()[1:], "--out", str(tmp_path / "clip.png")])
        assert "2 frames of 24 x 24 px" in capsys.readouterr().out

    def test_textures_belong_to_it(self):
        data = SyntheticVideos(load_recipe("acc_textures"), max_textures=2, texture_size=64, **FEW)
        assert data.where(7, 0)[1].endswith("--size 24 --max_textures 2 --texture_size 64 --clip")


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def train_beside(folder: Path, name: str, bad, steps: int, **model) -> None:
    """One of two processes, each with two of a step's four clips."""
    end = ""
    module = Poisoned(**CLIP, global_batch_size=4, warmup=0, **model)
    try:
        run(bad, "inf", module=module, steps=steps, trainer={"devices": 2, "strategy": "ddp"})
    except InputError as error:
        end = f"{module.global_step}: {error}"
    steps = [module.history.unchanged(step) for step in range(1, len(module.history.steps))]
    weights = torch.cat([p.detach().flatten() for p in module.parameters()])
    torch.save({"end": end, "unchanged": steps, "weights": weights}, folder / f"{name}-{module.global_rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two real processes: what each found at its end, and what it said."""
    folder = tmp_path_factory.mktemp("two")
    command, ports = [sys.executable, "-W", "ignore", __file__, str(folder)], [free_port(), free_port()]
    logs = [(folder / f"{rank}.log").open("w+") for rank in range(2)]
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
    assert ended == [0, 0], "\n".join(said)[-3000:]
    found = {path.stem: torch.load(path, weights_only=True) for path in folder.glob("*.pt")}
    return found, [[line for line in text.splitlines() if " skipped, " in line] for text in said]


@pytest.mark.slow
class TestTwoProcesses:
    """The second has clips 2 and 3 of every four; its loss is infinite, its gradient isn't."""

    def test_skip_together(self, two):
        first, second = two[0]["one-0"], two[0]["one-1"]
        assert first["unchanged"] == second["unchanged"] == [False, True, False]
        assert torch.equal(first["weights"], second["weights"])
        assert first["weights"].isfinite().all()

    def test_each_names_its_own_clips(self, two):
        first, second = two[1]
        assert first == []
        assert [line.split(" (")[0] for line in second] == [
            f"step {step} skipped, its loss is not finite: moving_circles index {index} epoch 0"
            for step, index in ((2, 11), (2, 11), (3, 15))
        ]

    def test_end_together(self, two):
        first, second = two[0]["row-0"], two[0]["row-1"]
        assert first["end"] == second["end"]
        assert first["end"].startswith("4: steps 2 to 3 were all skipped")
        assert torch.equal(first["weights"], second["weights"])


class TestOnGpu:
    def test_nothing_waits(self, gpu, caplog):
        """Neither a good step nor a bad one; what comes before the steps may."""

        class Strict(L.Callback):
            def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
                torch.cuda.set_sync_debug_mode("error" if trainer.global_step >= 2 else "default")

            def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
                torch.cuda.set_sync_debug_mode("default")

        for data, module in ((Labelled(), Misled(3, **CLIP, compile=False)), (None, Poisoned(**CLIP, compile=False))):
            module = run(
                lambda batch: batch["index"] == 9, data=data, module=module, steps=3 if data else 5,
                callbacks=[Strict()], trainer={"accelerator": "gpu", "devices": 1, "precision": "bf16-mixed"},
            )  # fmt: skip
            assert module.guard.skipped == 1
        assert all("index 9 epoch 0" in line for line in said(caplog))
        assert len(said(caplog)) == 2


if __name__ == "__main__":
    torch.set_num_threads(1)
    to, *ports = sys.argv[1:]
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": ports[0]}
    train_beside(Path(to), "one", clips(11), steps=4)
    os.environ["MASTER_PORT"] = ports[1]
    train_beside(Path(to), "row", clips(11, 15), steps=9, max_skipped_steps=2)
