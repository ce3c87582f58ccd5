"""Linear probes: exactly the heads learn, each as if alone, and the best on held-out videos answers."""

from pathlib import Path

import lightning.pytorch as L
import pytest
import torch
from small_videos import TASK, clips, lay_out, trainer

from vsr.callbacks import Checkpoints, Heads
from vsr.errors import InputError
from vsr.models.vit import SIZES, Classifier, MaskedAutoencoder
from vsr.modules import AttentiveProbe, LinearProbe

GRID = {"base_lr": [1e-30, 0.5, 0.1], "weight_decay": [0.0, 0.1]}
pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    return lay_out(tmp_path_factory.mktemp("set"))


def saved(path: Path, network: torch.nn.Module) -> str:
    torch.save({"state_dict": {f"model.{name}": t for name, t in network.state_dict().items()}}, path)
    return str(path)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> str:
    torch.manual_seed(4)
    network = MaskedAutoencoder(SIZES["tiny"], 16, 4, 8)
    torch.nn.init.normal_(network.encoder.norm.bias, std=0.1)
    return saved(tmp_path_factory.mktemp("pretrained") / "last.ckpt", network)


def fit(module: L.LightningModule, data: L.LightningDataModule, folder: Path, **settings) -> L.Trainer:
    run = trainer(folder, **({"max_epochs": 6} | settings))
    run.fit(module, datamodule=data)
    return run


def stored(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


class TestWhatLearns:
    def test_the_head_and_nothing_else(self, videos, pretrained, tmp_path):
        module = LinearProbe(**TASK, checkpoint=pretrained, warmup=0)
        before = {name: t.clone() for name, t in module.state_dict().items()}
        run = fit(module, clips(videos), tmp_path)
        learn = {p for group in run.optimizers[0].param_groups for p in group["params"]}
        assert {n for n, p in module.named_parameters() if p in learn} == {
            "model.heads.0.weight", "model.heads.0.bias",
        }  # fmt: skip
        assert {n for n, p in module.named_parameters() if p.requires_grad} == {
            "model.heads.0.weight", "model.heads.0.bias",
        }  # fmt: skip
        source = torch.load(pretrained)["state_dict"]
        changed = {n for n, t in module.state_dict().items() if not torch.equal(t, before[n])}
        for name, tensor in module.state_dict().items():
            if name.startswith("model.encoder."):
                assert torch.equal(tensor, source[name]), name
                changed.discard(name)
        assert changed == {
            "model.heads.0.weight", "model.heads.0.bias", "model.batch_norm.running_mean",
            "model.batch_norm.running_var", "model.batch_norm.num_batches_tracked",
        }  # fmt: skip

    def test_how_many(self):
        with torch.device("meta"):
            one, grid = LinearProbe(101), LinearProbe(101, base_lr=[0.1, 0.2], weight_decay=[0.0, 0.1])
        assert sum(p.numel() for p in one.parameters() if p.requires_grad) == 77_669
        assert sum(p.numel() for p in grid.parameters() if p.requires_grad) == 4 * 77_669

    def test_the_encoder_stays_in_evaluation_mode(self):
        module = LinearProbe(**TASK, head_dropout=0.5)
        for mode in (True, False):
            module.train(mode)
            assert module.model.dropout.training is mode
            assert not any(part.training for part in module.model.encoder.modules())

    def test_a_head_beside_others_learns_as_if_alone(self, videos, pretrained, tmp_path):
        together = LinearProbe(**TASK, **GRID, checkpoint=pretrained)
        fit(together, clips(videos, held_out=0.25), tmp_path)
        for number in (0, 3, 4):
            rate, decay = together.settings[number]
            alone = LinearProbe(**TASK, base_lr=rate, weight_decay=decay, checkpoint=pretrained)
            run = fit(alone, clips(videos, held_out=0.25), tmp_path)
            for got, want in zip(
                together.model.heads[number].parameters(), alone.model.heads[0].parameters(), strict=True
            ):
                torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-6)
            group = run.optimizers[0].param_groups[0]
            assert (group["weight_decay"], group["initial_lr"]) == (decay, pytest.approx(rate * 6 / 256))
        assert not torch.equal(together.model.heads[2].weight, together.model.heads[3].weight)

    def test_the_paper_s_code(self, videos, pretrained, tmp_path):
        """Augmented clips through a frozen encoder that drops blocks in training; still only the head learns."""
        quirks = {"drop_path": 0.5, "head_dropout": 0.5, "label_smoothing": 0.1, "mixup": 0.8, "cutmix": 1.0}
        module = LinearProbe(**TASK, **quirks, norm="fresh", checkpoint=pretrained, warmup=0)
        assert "model.encoder.norm.weight" not in module.state_dict()
        data = clips(videos, use="finetune", num_sample=2, max_batch_per_device=12)
        run = fit(module, data, tmp_path, max_epochs=2)
        assert module.model.encoder.training
        assert run.logged_metrics["train_loss"].isfinite()
        source = torch.load(pretrained)["state_dict"]
        for name, tensor in module.state_dict().items():
            if name.startswith("model.encoder."):
                assert torch.equal(tensor, source[name]), name
        assert module.model.heads[0].weight.abs().max() > 1e-4
        feature = module.model.encoder.eval().pooled(torch.zeros(2, 3, 4, 16, 16, dtype=torch.uint8))
        torch.testing.assert_close(feature.mean(1), torch.zeros(2), atol=1e-6, rtol=0)
        torch.testing.assert_close(feature.std(1, correction=0), torch.ones(2), atol=1e-3, rtol=0)

    def test_an_untrained_encoder_is_seeded(self):
        one, same, other = (LinearProbe(**TASK, seed=seed) for seed in (1, 1, 2))
        weights = [m.model.encoder.blocks[0].attn.qkv.weight for m in (one, same, other)]
        assert torch.equal(weights[0], weights[1])
        assert not torch.equal(weights[0], weights[2])


class TestTheChosenHead:
    def test_it_answers_and_its_checkpoint_is_all_that_a_test_needs(self, videos, pretrained, tmp_path):
        module, data = LinearProbe(**TASK, **GRID, checkpoint=pretrained), clips(videos, held_out=0.25)
        run = fit(module, data, tmp_path, max_epochs=20, callbacks=[Checkpoints()])
        heads = module.heads
        assert [h[:2] for h in heads] == [(r, d) for r in GRID["base_lr"] for d in GRID["weight_decay"]]
        assert {h.videos for h in heads} == {6}
        best = max(h.right for h in heads)
        assert [n for n, h in enumerate(heads) if h.chosen] == [[h.right for h in heads].index(best)]
        assert run.logged_metrics["val_acc1"] == best / 6
        assert best == 6  # colours are easy
        path = str(tmp_path / "checkpoints" / "last.ckpt")
        fresh = LinearProbe(**TASK, checkpoint=path, seed=8)
        views = {"test_segments": 2, "test_crops": 2}
        results = trainer(tmp_path).test(fresh, datamodule=clips(videos, **views), verbose=False)[0]
        assert results == {"test_acc1": 1, "test_acc5": 1, "test_mean_class_acc": 1}
        assert len(fresh.model.heads) == 1
        chosen = module.model.heads[int(module.model.chosen)].weight
        assert torch.equal(fresh.model.heads[0].weight, chosen)
        video = torch.randint(0, 256, (2, 3, 4, 16, 16), dtype=torch.uint8)
        torch.testing.assert_close(fresh.eval()(video), module.eval()(video))
        counted = trainer(tmp_path).validate(
            LinearProbe(**TASK, checkpoint=path), datamodule=clips(videos), verbose=False
        )
        assert counted[0]["val_acc1"] == 1

    @pytest.mark.parametrize("length", [{"max_steps": 7}, {"max_steps": 6}, {"max_epochs": 2}])
    def test_every_checkpoint_has_its_own_whatever_is_validated(self, length, videos, pretrained, tmp_path):
        module = LinearProbe(**TASK, **GRID, checkpoint=pretrained, warmup=0)
        never = {"check_val_every_n_epoch": 1000, "max_epochs": -1, "callbacks": [Checkpoints(every_n_steps=2)]}
        fit(module, clips(videos, held_out=0.25), tmp_path, **(never | length))
        assert module.heads[0].videos == 6
        assert [h.right for h in module.heads][int(module.model.chosen)] == max(h.right for h in module.heads)
        state = stored(tmp_path)
        assert state["model.chosen"] == module.model.chosen
        assert state["model.chosen"] != 0  # the slowest head knows the least

    def test_of_equal_ones_the_first(self, videos, pretrained, tmp_path):
        module = LinearProbe(**TASK, base_lr=[0.4, 0.5], checkpoint=pretrained)
        fit(module, clips(videos, held_out=0.25), tmp_path, max_epochs=20)
        assert [h.right for h in module.heads] == [6, 6]
        assert int(module.model.chosen) == 0

    @pytest.mark.parametrize("data", [{}, {"use": "finetune", "held_out": 0.25}])
    def test_nothing_to_compare_on(self, data, videos, tmp_path):
        message = r"6 heads are compared on held-out features: give --data.use probe and --data.held_out 0.1"
        with pytest.raises(InputError, match=message):
            fit(LinearProbe(**TASK, **GRID), clips(videos, **data), tmp_path)


class TestRuns:
    def test_a_resumed_run_ends_as_one_that_went_through(self, videos, pretrained, tmp_path):
        settings = {**TASK, **GRID, "checkpoint": pretrained}
        whole = LinearProbe(**settings)
        fit(whole, clips(videos, held_out=0.25), tmp_path / "whole", max_steps=9)

        class Stop(L.Callback):
            def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
                if trainer.global_step == 5:
                    raise RuntimeError("stop here")

        callbacks = [Checkpoints(every_n_steps=4), Stop()]
        with pytest.raises(RuntimeError, match="stop here"):
            fit(LinearProbe(**settings), clips(videos, held_out=0.25), tmp_path, max_steps=9, callbacks=callbacks)
        resumed = LinearProbe(**(settings | {"checkpoint": "gone.ckpt"}))
        run = trainer(tmp_path, max_steps=9)
        last = tmp_path / "checkpoints" / "last.ckpt"
        run.fit(resumed, datamodule=clips(videos, held_out=0.25), ckpt_path=last, weights_only=True)
        assert run.global_step == 9
        for name, tensor in whole.state_dict().items():
            assert torch.equal(tensor, resumed.state_dict()[name]), name
        assert whole.heads == resumed.heads

    def test_two_processes_learn_what_one_does(self, videos, pretrained, tmp_path):
        """They share the encoder's work; batches and BatchNorm's statistics are the same, and so is the choice."""
        one, two = (LinearProbe(**TASK, **GRID, checkpoint=pretrained) for _ in range(2))
        for module, name, devices in ((one, "one", {}), (two, "two", {"devices": 2, "strategy": "ddp_fork"})):
            fit(module, clips(videos, held_out=0.25), tmp_path / name, callbacks=[Checkpoints(), Heads()], **devices)
        for name, tensor in stored(tmp_path / "one").items():
            torch.testing.assert_close(stored(tmp_path / "two")[name], tensor, rtol=1e-4, atol=1e-5, msg=name)
        tables = [(tmp_path / name / "heads.csv").read_text() for name in ("one", "two")]
        assert tables[0] == tables[1]
        assert tables[0].count("\n") == 7
        assert not list(tmp_path.rglob("features*"))

    def test_features_make_no_difference(self, videos, pretrained, tmp_path):
        """A data module that keeps nothing trains the same head from clips."""
        kept, data = LinearProbe(**TASK, checkpoint=pretrained), clips(videos)
        fit(kept, data, tmp_path)
        shown, data = LinearProbe(**TASK, checkpoint=pretrained), clips(videos, max_batch_per_device=6)
        data.expect_features = lambda _: False
        fit(shown, data, tmp_path)
        torch.testing.assert_close(kept.model.heads[0].weight, shown.model.heads[0].weight, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("change", [{"drop_path": 0.2}, {"mixup": 0.8}, {"cutmix": 1.0}])
    def test_what_changes_clips_needs_clips(self, change, videos, tmp_path):
        (name,) = change
        with pytest.raises(InputError, match=f"{name} .* changes clips in every step, .*: give --data.use finetune"):
            fit(LinearProbe(**TASK, **change), clips(videos), tmp_path)


class TestWrongCheckpoints:
    @pytest.fixture(scope="class")
    def classifier(self, tmp_path_factory):
        return saved(tmp_path_factory.mktemp("classifier") / "last.ckpt", Classifier(SIZES["tiny"], 3, 16, 4, 8))

    def attentive(self, folder):
        return saved(folder / "attentive.ckpt", AttentiveProbe(**TASK).model)

    def linear(self, folder, **settings):
        return saved(folder / "linear.ckpt", LinearProbe(**TASK, **settings).model)

    def refused(self, verb, module, videos, folder, message):
        with pytest.raises(InputError, match=message) as caught:
            getattr(trainer(folder, max_epochs=1), verb)(module, datamodule=clips(videos))
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("verb", ["test", "validate"])
    def test_a_probe_must_be_one(self, verb, videos, pretrained, classifier, tmp_path):
        for path, message in (
            (pretrained, "this is a pre-training checkpoint, fit the probe first with vsr fit"),
            (classifier, "this is a fine-tuned classifier, test it with its own configs/finetune/"),
            (self.attentive(tmp_path), "this is an attentive probe, test it with configs/probe/attentive.yaml"),
            (None, f"vsr {verb} needs --model.init_args.checkpoint with a linear probe"),
        ):
            self.refused(verb, LinearProbe(**TASK, checkpoint=path), videos, tmp_path, message)
        module = AttentiveProbe(**TASK, checkpoint=self.linear(tmp_path))
        self.refused(verb, module, videos, tmp_path, "this is a linear probe, test it with configs/probe/")

    def test_another_norm(self, videos, tmp_path):
        module = LinearProbe(**TASK, checkpoint=self.linear(tmp_path, norm="fresh"))
        self.refused("test", module, videos, tmp_path, "norm fresh: give --model.norm fresh")
        module = LinearProbe(**TASK, norm="fresh", checkpoint=self.linear(tmp_path))
        self.refused("test", module, videos, tmp_path, "norm pretrained: give --model.norm pretrained")

    def test_other_classes_and_sizes(self, videos, tmp_path):
        path = self.linear(tmp_path)
        module = LinearProbe(**(TASK | {"num_classes": 4}), checkpoint=path)
        self.refused("test", module, videos, tmp_path, "knows 3 classes, the model 4")
        module = LinearProbe(**(TASK | {"size": "small"}), checkpoint=path)
        self.refused("test", module, videos, tmp_path, "give --model.init_args.size tiny")

    def test_a_classifier_has_no_last_norm(self, videos, classifier, tmp_path):
        message = "is of a classifier without the encoder's last LayerNorm.* or --model.norm fresh"
        for kind in (LinearProbe, AttentiveProbe):
            self.refused("fit", kind(**TASK, checkpoint=classifier), videos, tmp_path, message)
        module = LinearProbe(**TASK, norm="fresh", checkpoint=classifier)
        fit(module, clips(videos), tmp_path, max_epochs=1)
        source = torch.load(classifier)["state_dict"]
        assert torch.equal(module.model.encoder.blocks[5].mlp.fc1.weight, source["model.blocks.5.mlp.fc1.weight"])


class TestConstruction:
    def test_defaults_are_the_papers(self):
        """Table 7."""
        with torch.device("meta"):
            h = LinearProbe(101).hparams
        assert (h.base_lr, h.weight_decay, h.warmup * 100) == (1e-2, 0.0, 5)
        assert (h.drop_path, h.head_dropout, h.label_smoothing, h.mixup, h.cutmix) == (0, 0, 0, 0, 0)

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"num_classes": 1}, "num_classes 1 leaves nothing"),
            ({"global_batch_size": 1}, "global_batch_size 1 leaves BatchNorm no statistics"),
            ({"base_lr": []}, r"base_lr \[\] names no or equal values"),
            ({"weight_decay": [0.1, 0.1]}, r"weight_decay \[0.1, 0.1\] names no or equal values"),
            ({"base_lr": [0.1, -1.0]}, "base_lr -1.0 .* gives no learning rate"),
            ({"weight_decay": [0.0, -1.0]}, r"weight_decay -1.0 is negative"),
            ({"head_dropout": 1.0}, "head_dropout 1.0 is not a share"),
            ({"mixup": 1.5}, "mixup 1.5 is not in 0 .. 1"),
        ],
    )
    def test_ranges(self, wrong, message):
        with pytest.raises(InputError, match=message):
            LinearProbe(**(TASK | wrong))
