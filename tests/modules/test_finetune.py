from pathlib import Path

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.callbacks import LambdaCallback
from torch.utils.data import DataLoader

from vsr.errors import InputError
from vsr.modules import ActionClassifier, VideoMAE

CLIP = {"size": "tiny", "image_size": 32, "num_frames": 4, "patch_size": 16}
TASK = {**CLIP, "num_classes": 3}
QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


pytestmark = pytest.mark.usefixtures("one_thread")


def batch_of(numbers: list[int]) -> dict[str, torch.Tensor]:
    """Clips whose class is their brightest colour."""
    index = torch.tensor(numbers)
    label = index % 3
    video = torch.full((len(numbers), 3, 4, 32, 32), 40, dtype=torch.uint8)
    video[torch.arange(len(numbers)), label] += (100 + index % 7).to(torch.uint8)[:, None, None, None]
    weight = torch.ones(len(numbers))
    return {"video": video, "index": index, "epoch": torch.zeros_like(index), "label": label, "weight": weight}


class Colours(L.LightningDataModule):
    steps_per_epoch = 2

    def _loader(self):
        return DataLoader(range(12), batch_size=6, collate_fn=batch_of)

    train_dataloader = val_dataloader = test_dataloader = predict_dataloader = _loader


def fit(module: L.LightningModule, path: Path, **settings) -> L.Trainer:
    trainer = L.Trainer(**({"max_steps": 2} | QUIET | settings))
    trainer.fit(module, datamodule=Colours())
    trainer.save_checkpoint(path)
    return trainer


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("pretrained") / "last.ckpt"
    fit(VideoMAE(**CLIP, mask_ratio=0.5, seed=9, warmup=0), path)
    return path


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("finetuned") / "last.ckpt"
    fit(ActionClassifier(**TASK, warmup=0), path)
    return path


def stored(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


class TestFit:
    def test_learns_colours(self):
        plain = {"drop_path": 0.0, "label_smoothing": 0.0, "mixup": 0.0, "cutmix": 0.0}
        module = ActionClassifier(**TASK, **plain, base_lr=1e-3, layer_decay=1.0)
        trainer = L.Trainer(max_epochs=8, **QUIET)
        trainer.fit(module, datamodule=Colours())
        assert {"loss", "lr", "train_loss", "val_acc1", "val_acc5"} <= trainer.logged_metrics.keys()
        assert trainer.logged_metrics["val_acc1"] == 1
        assert trainer.logged_metrics["train_loss"] < 0.8  # ln 3 = 1.10 at the start
        results = trainer.test(module, datamodule=Colours(), verbose=False)[0]
        assert results == {"test_acc1": 1, "test_acc5": 1, "test_mean_class_acc": 1}

    def test_starts_from_the_encoder(self, pretrained, tmp_path):
        module = ActionClassifier(**TASK, checkpoint=str(pretrained), warmup=1)
        head = module.model.head.weight.clone()
        fit(module, tmp_path / "last.ckpt", max_steps=1, limit_train_batches=1)  # one step of rate 0
        source, got = stored(pretrained), module.model.state_dict()
        for name, tensor in got.items():
            if not name.startswith(("fc_norm", "head")):
                assert torch.equal(tensor, source[f"model.encoder.{name}"]), name
        assert torch.equal(module.model.head.weight, head)

    def test_resuming_does_not_read_the_checkpoint(self, pretrained, tmp_path):
        fit(ActionClassifier(**TASK, checkpoint=str(pretrained)), tmp_path / "last.ckpt")
        resumed = ActionClassifier(**TASK, checkpoint=str(tmp_path / "gone.ckpt"))
        trainer = L.Trainer(max_steps=2, **QUIET)
        trainer.fit(resumed, datamodule=Colours(), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
        state = stored(tmp_path / "last.ckpt")
        assert trainer.global_step == 2
        assert all(torch.equal(t, state[f"model.{name}"]) for name, t in resumed.model.state_dict().items())

    def test_from_scratch_all_learn(self):
        module, batch = ActionClassifier(**TASK, drop_path=0.0), batch_of([0, 1, 2])
        torch.nn.functional.cross_entropy(module(batch["video"]), batch["label"]).backward()
        assert [n for n, p in module.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []

    def test_smoothed_labels(self, monkeypatch):
        module, batch = ActionClassifier(**TASK, label_smoothing=0.1, mixup=0.0, cutmix=0.0), batch_of([0, 1, 2, 4])
        logits = torch.randn(4, 3)
        monkeypatch.setattr(module, "forward", lambda _: logits)
        monkeypatch.setattr(module, "log", lambda *_, **__: None)
        module._trainer = type("Trainer", (), {"optimizers": [torch.optim.SGD(module.parameters(), 0.1)]})()
        soft = torch.nn.functional.one_hot(batch["label"], 3) * 0.9 + 0.1 / 3
        want = -(soft * logits.log_softmax(1)).sum(1).mean()
        torch.testing.assert_close(module.training_step(batch), want)
        torch.testing.assert_close(module.train_loss.compute(), want)

    def test_missing_checkpoint(self, tmp_path):
        with pytest.raises(InputError, match="no such file"):
            fit(ActionClassifier(**TASK, checkpoint=str(tmp_path / "none.ckpt")), tmp_path / "last.ckpt")

    def test_another_size(self, pretrained, tmp_path):
        module = ActionClassifier(**(TASK | {"size": "small"}), checkpoint=str(pretrained))
        with pytest.raises(InputError, match=r"is width 192, depth 6; model is width 384, depth 12: give .*size tiny"):
            fit(module, tmp_path / "last.ckpt")


class TestEvaluation:
    @pytest.mark.parametrize("verb", ["validate", "test", "predict"])
    def test_needs_a_checkpoint(self, verb):
        with pytest.raises(InputError, match=f"vsr {verb} needs --model.init_args.checkpoint"):
            getattr(L.Trainer(**QUIET), verb)(ActionClassifier(**TASK), datamodule=Colours())

    @pytest.mark.parametrize("verb", ["validate", "test", "predict"])
    def test_refuses_an_encoder(self, verb, pretrained):
        module = ActionClassifier(**TASK, checkpoint=str(pretrained))
        with pytest.raises(InputError, match="this is a pre-training checkpoint, fine-tune it first with vsr fit"):
            getattr(L.Trainer(**QUIET), verb)(module, datamodule=Colours())

    @pytest.mark.parametrize("verb", ["validate", "test", "predict"])
    def test_loads_everything(self, verb, finetuned):
        module = ActionClassifier(**TASK, checkpoint=str(finetuned), seed=5)
        getattr(L.Trainer(**QUIET), verb)(module, datamodule=Colours())
        state = stored(finetuned)
        assert all(torch.equal(t, state[f"model.{name}"]) for name, t in module.model.state_dict().items())

    def test_another_number_of_classes(self, finetuned):
        module = ActionClassifier(**(TASK | {"num_classes": 4}), checkpoint=str(finetuned))
        with pytest.raises(InputError, match="knows 3 classes, the model 4"):
            L.Trainer(**QUIET).test(module, datamodule=Colours())

    def test_lightnings_own_path(self, finetuned):
        L.Trainer(**QUIET).test(ActionClassifier(**TASK), datamodule=Colours(), ckpt_path=finetuned, weights_only=True)

    def test_after_fit_the_weights_are_kept(self, pretrained, tmp_path):
        module = ActionClassifier(**TASK, checkpoint=str(pretrained), warmup=0)
        trainer = fit(module, tmp_path / "last.ckpt")
        head = module.model.head.weight.clone()
        trainer.test(module, datamodule=Colours(), verbose=False)
        assert torch.equal(module.model.head.weight, head)

    def test_accuracies(self, monkeypatch):
        """Of 6, 2, 1 videos of classes 0, 1, 2 all, one, none are right; 3 is guessed but has no videos."""
        label = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 2])
        right_0, right_1 = [0, 3, 4, 5, 6, 1, 2], [1, 0, 2, 3, 4, 5, 6]  # classes, most likely first
        wrong = [3, 0, 4, 5, 1, 6, 2]  # 1 is the fifth, 2 the last
        ranks = torch.tensor([right_0] * 6 + [right_1, wrong, wrong])
        logits = torch.zeros(9, 7).scatter(1, ranks, torch.arange(7, 0, -1.0).expand(9, 7))
        module = ActionClassifier(**(TASK | {"num_classes": 7}))
        module.start.fitted = True
        monkeypatch.setattr(module, "forward", lambda number: logits[number])
        parts = torch.arange(9).split(4)  # the last one is smaller
        batches = [{"video": n, "index": n, "label": label[n], "weight": torch.ones(len(n))} for n in parts]
        loader = DataLoader(batches, batch_size=None)
        results = L.Trainer(**QUIET).test(module, loader, verbose=False)[0]
        assert results["test_acc1"] == pytest.approx(7 / 9)
        assert results["test_acc5"] == pytest.approx(8 / 9)
        assert results["test_mean_class_acc"] == pytest.approx((1 + 0.5 + 0) / 3)

    def test_views_of_a_video_count_once(self, monkeypatch):
        """Three views of a video, two wrong by a little, the right one sure; one view of another, wrong."""
        logits = torch.tensor([[0.1, 0, 0], [0.1, 0, 0], [0, 9, 0], [0, 0, 1]])
        module = ActionClassifier(**TASK)
        module.start.fitted = True
        monkeypatch.setattr(module, "forward", lambda number: logits[number])
        batch = {
            "video": torch.arange(4), "index": torch.tensor([5, 5, 5, 6]), "label": torch.tensor([1, 1, 1, 0]),
            "weight": torch.tensor([1, 1, 1, 3]) / 3,
        }  # fmt: skip
        returned = []
        keep = LambdaCallback(on_test_batch_end=lambda *hook: returned.append(hook[2]))
        trainer = L.Trainer(callbacks=[keep], **QUIET)
        results = trainer.test(module, DataLoader([batch], batch_size=None), verbose=False)[0]
        assert results["test_acc1"] == results["test_mean_class_acc"] == 0.5
        (videos,) = returned
        assert videos["index"].tolist() == [5, 6]
        torch.testing.assert_close(videos["probability"][0], logits[:3].softmax(1).mean(0))

    def test_predictions(self, finetuned):
        module = ActionClassifier(**TASK, checkpoint=str(finetuned))
        batches = L.Trainer(**QUIET).predict(module, datamodule=Colours())
        assert torch.cat([b["index"] for b in batches]).tolist() == list(range(12))
        torch.testing.assert_close(torch.cat([b["probability"] for b in batches]).sum(1), torch.ones(12))


class TestConstruction:
    def test_defaults_are_the_papers(self):
        """Table 6."""
        with torch.device("meta"):
            h = ActionClassifier(101).hparams
        assert (h.base_lr, h.betas, h.weight_decay, h.global_batch_size) == (1e-3, (0.9, 0.95), 0.05, 256)
        assert (h.layer_decay, h.drop_path, h.head_dropout, h.label_smoothing) == (0.7, 0.2, 0.0, 0.1)
        assert (h.mixup, h.cutmix) == (0.8, 1.0)
        assert h.warmup * 100 == 5

    def test_groups(self):
        module = ActionClassifier(**TASK)
        module._trainer = L.Trainer(max_steps=10, **QUIET)
        groups = module.configure_optimizers()["optimizer"].param_groups
        scales = {g["name"]: g["lr_scale"] for g in groups}
        assert scales["layer_7_decay"] == 1
        assert scales["layer_0_decay"] == pytest.approx(0.7**7)

    @pytest.mark.parametrize("share", [{"drop_path": 1.0}, {"head_dropout": -0.1}, {"label_smoothing": 2}])
    def test_shares(self, share):
        with pytest.raises(InputError, match=f"{next(iter(share))} .* is not a share: give 0 or more, less than 1"):
            ActionClassifier(**TASK, **share)

    def test_too_few_classes(self):
        with pytest.raises(InputError, match="num_classes 1"):
            ActionClassifier(1, **CLIP)
