"""Linear probing: what linear heads can read from an encoder that stays as it is."""

from collections.abc import Mapping
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import lightning.pytorch as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional as F

from vsr.errors import InputError
from vsr.models.exchange import load_frozen, load_probe
from vsr.models.probe import LinearProbeNetwork, Norm
from vsr.models.vit import SizeName, size_named
from vsr.modules.accuracy import Accuracy, FiniteMean
from vsr.modules.frozen import can_keep, keep
from vsr.modules.guard import StepGuard
from vsr.modules.mixup import mix, mix_words
from vsr.modules.optim import Optimisation, highest_rate, parameter_groups
from vsr.modules.start import Start

SKIPPED = 10
"""So many skipped steps in a row end a probe's run, as those of the other stages."""


class Head(NamedTuple):
    """One of the heads that are trained at once, and how good it is.

    Attributes:
        base_lr: its peak learning rate for 256 videos.
        weight_decay: its own.
        right: held-out videos that it is right about.
        videos: held-out videos.
        chosen: whether it is the best, the first of those that are as good.
    """

    base_lr: float
    weight_decay: float
    right: int
    videos: int
    chosen: bool


class LinearProbe(L.LightningModule):
    """Linear heads on a frozen encoder. Defaults are the paper's (arXiv 2410.24213, table 7), with one head.

    A feature is the mean over the tokens of a whole clip; a BatchNorm without learned scale and a linear head follow.
    Nothing else learns: D K + K parameters a head, 77,669 for ViT-B and UCF101.

    With the data's ``use: probe`` clips are those of validation, every one goes through the encoder once, and all
    training is on the features that are kept (:mod:`vsr.data.features`), a whole global batch at a time. With ``use:
    finetune`` clips are augmented and go through the encoder in every step, as in the paper's code; BatchNorm's
    statistics are then of a micro-step.

    With lists for ``base_lr`` and ``weight_decay`` there is a head for every pair, and all learn at once from the same
    batches, each as if it were alone. The best on the held-out training videos (``--data.held_out``) answers; it is
    chosen anew for every checkpoint, so that ``val_acc1``, which is the chosen head's, is a little too good.

    What ``checkpoint`` must be depends on the verb: for ``fit`` anything with an encoder, for ``validate``, ``test``
    and ``predict`` a whole probe. A run that resumes (``--ckpt_path``) doesn't read it.

    Logged: ``loss`` (the mean over the heads) and ``lr`` (the highest) at each step, ``train_loss``, and what
    :class:`~vsr.modules.accuracy.Accuracy` and :class:`~vsr.modules.guard.StepGuard` log.

    Args:
        num_classes: K.
        checkpoint: weights to load, strictly: a checkpoint of ``vsr fit``, a file of VideoMAE's own code or its
            DeepSpeed folder, or a Hugging Face folder; null: probe an untrained encoder.
        size: network; "base" and "large" are the paper's, "tiny" is ours for laptops.
        image_size: height and width of a frame, px; a multiple of ``patch_size``.
        num_frames: frames in a clip; a multiple of ``tubelet_size``.
        patch_size: height and width of a tube, px.
        tubelet_size: frames of a tube.
        norm: "pretrained": tokens after the encoder's own last LayerNorm, as it was pre-trained (ours); "fresh": a
            LayerNorm without learned scale after the mean, the encoder's own left out (the paper's code).
        drop_path: share of the clips for which the frozen encoder's last block is left out in training, growing
            linearly from 0 (the paper's code: 0.2, by oversight it seems; table 7 has none).
        head_dropout: share of the features dropped before the BatchNorm, 0..1 (the paper's code: 0.5).
        label_smoothing: 0..1 (the paper's code: 0.1).
        mixup: alpha of mixup, 0..1; 0: none (the paper's code: 0.8). See :func:`~vsr.modules.mixup.mix`.
        cutmix: alpha of CutMix, 0..1; 0: none (the paper's code: 1.0).
        base_lr: peak learning rate for 256 videos, scaled by ``global_batch_size``, or several (table 7: 1e-2). It
            falls to 0 in a cosine.
        weight_decay: of AdamW, not on biases, or several (table 7: 0).
        betas: of AdamW (not printed; what the paper's code runs: 0.9, 0.999).
        warmup: share of all steps in which the rate rises from 0, 0..1 (not printed; the paper's code: 5 of 100
            epochs).
        global_batch_size: videos per optimiser step, all devices and accumulation steps together (the paper's code:
            256).
        seed: of the initial heads, of an untrained encoder and of mixing, in [0, 2^64).

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(
        self,
        num_classes: int,
        checkpoint: str | None = None,
        size: SizeName = "base",
        image_size: int = 224,
        num_frames: int = 16,
        patch_size: int = 16,
        tubelet_size: int = 2,
        norm: Norm = "pretrained",
        drop_path: float = 0.0,
        head_dropout: float = 0.0,
        label_smoothing: float = 0.0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        base_lr: float | list[float] = 1e-2,
        weight_decay: float | list[float] = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        warmup: float = 0.05,
        global_batch_size: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if num_classes < 2:
            raise InputError(f"num_classes {num_classes} leaves nothing to tell apart: give 2 or more")
        if global_batch_size < 2:
            raise InputError(f"global_batch_size {global_batch_size} leaves BatchNorm no statistics: give 2 or more")
        shares = {"drop_path": drop_path, "head_dropout": head_dropout, "label_smoothing": label_smoothing}
        for name, share in shares.items():
            if not 0 <= share < 1:
                raise InputError(f"{name} {share} is not a share: give 0 or more, less than 1")
        for name, alpha in {"mixup": mixup, "cutmix": cutmix}.items():
            if not 0 <= alpha <= 1:
                raise InputError(f"{name} {alpha} is not in 0 .. 1: give more than 0, up to 1, or 0 for none")
        rates, decays = _several("base_lr", base_lr), _several("weight_decay", weight_decay)
        self.settings = list(product(rates, decays))
        for rate, decay in self.settings:  # each in its range
            Optimisation(rate, 0.0, decay, betas, warmup, global_batch_size)
        self.optimisation = Optimisation(max(rates), 0.0, 0.0, betas, warmup, global_batch_size)
        self.guard = StepGuard(None, SKIPPED)
        self.checkpoint, self.label_smoothing, self.seed = checkpoint, label_smoothing, seed
        self.mixup, self.cutmix, self.num_classes = mixup, cutmix, num_classes
        self._needs_clips = {"drop_path": drop_path, "mixup": mixup, "cutmix": cutmix}
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.model = LinearProbeNetwork(
                size_named(size), num_classes, len(self.settings), image_size, num_frames, patch_size, tubelet_size,
                norm, drop_path, head_dropout,
            )  # fmt: skip
        self.start = Start(
            checkpoint,
            partial(load_frozen, self.model.encoder),
            partial(load_probe, self.model),
            "a linear probe: give runs/probe/…/checkpoints/last.ckpt",
        )
        self._keeps = False
        self._right, self._videos = [0] * len(self.settings), 0
        self.train_loss, self.accuracy = FiniteMean(), Accuracy(num_classes)
        # BatchNorm sees to its own buffers, the others are constants: broadcasting them would be waste, and a deadlock
        # where ranks have unequal batches.
        self._ddp_params_and_buffers_to_ignore = [name for name, _ in self.named_buffers()]

    def forward(self, video: Tensor) -> Tensor:
        """Logits (B, K) of videos (B, C, T, H, W), uint8, by the chosen head."""
        logits: Tensor = self.model(video)
        return logits

    @property
    def heads(self) -> list[Head]:
        """The heads and how good they were when one was last chosen."""
        chosen = int(self.model.chosen)
        return [
            Head(rate, decay, right, self._videos, number == chosen)
            for number, ((rate, decay), right) in enumerate(zip(self.settings, self._right, strict=True))
        ]

    def setup(self, stage: str) -> None:
        """Find out whether features can be kept.

        Raises:
            InputError: several heads can't be compared, or clips are to be changed that are encoded once.
        """
        if stage != "fit":
            return
        self._keeps = can_keep(self.trainer, whole_batches=True)
        held_out = getattr(getattr(self.trainer, "datamodule", None), "held_out", 0.0)
        if len(self.settings) > 1 and not (self._keeps and held_out):
            raise InputError(
                f"{len(self.settings)} heads are compared on held-out features: give --data.use probe and "
                "--data.held_out 0.1, or one base_lr and one weight_decay"
            )
        for name, value in self._needs_clips.items():
            if self._keeps and value:
                raise InputError(
                    f"{name} {value} changes clips in every step, but with --data.use probe each is encoded once: give "
                    f"--data.use finetune, or --model.{name} 0"
                )

    def on_fit_start(self) -> None:
        """Keep features."""
        if self._keeps:
            keep(self, self.model.encoder, self.model.encoder.pooled, f"pooled {self.hparams['norm']}")

    def on_validation_start(self) -> None:
        """While fitting choose the head."""
        self.choose()

    def training_step(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The heads' cross-entropies, added, so that none has a part in another's gradient."""
        target = batch["label"]
        if "feature" in batch:
            feature = batch["feature"]
        else:
            video = batch["video"]
            if self.mixup or self.cutmix:
                words = mix_words(self.seed, batch["index"], batch["epoch"])
                video, target = mix(video, target, self.num_classes, self.mixup, self.cutmix, words)
            feature = self.model.encoder.pooled(video)
        if len(feature) * self.trainer.world_size < 2:
            raise InputError("a micro-step of one clip leaves BatchNorm no statistics: raise max_batch_per_device")
        logits = self.model.answers(feature).transpose(1, 2)  # (B, K, H)
        targets = target.unsqueeze(-1).expand(*target.shape, logits.shape[2])
        with torch.autocast(logits.device.type, enabled=False):
            losses = F.cross_entropy(logits, targets, reduction="none", label_smoothing=self.label_smoothing)
        self.guard.see(losses.mean(dim=1), batch)
        self.train_loss.update(losses.detach().mean(dim=1))
        self.log("train_loss", self.train_loss, on_step=False, on_epoch=True)
        self.log("lr", highest_rate(self.trainer), on_step=True, on_epoch=False)
        return losses.mean(dim=0).sum()

    def validation_step(self, batch: Mapping[str, Tensor]) -> None:
        """Count what the chosen head has right among the first one and the first five."""
        feature = batch["feature"] if "feature" in batch else self.model.encoder.pooled(batch["video"])
        answers = self.model.answers(feature)
        logits = answers.index_select(1, self.model.chosen.view(1)).squeeze(1)
        self.accuracy.validate(self, logits, batch["label"])

    def test_step(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Count the videos that are right; what is returned says :meth:`vsr.modules.accuracy.Accuracy.test`."""
        return self.accuracy.test(self, self(batch["video"]).softmax(dim=1), batch)

    def on_test_epoch_end(self) -> None:
        """Mean of the classes' accuracies, over the classes that have videos."""
        self.accuracy.finish_test(self)

    def predict_step(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``index`` int64 (B,) and ``probability`` float32 (B, K) of each clip."""
        return {"index": batch["index"], "probability": self(batch["video"]).softmax(dim=1)}

    @torch.no_grad()
    def choose(self) -> None:
        """Let the head answer that is right about most held-out videos, the first of those that are as good.

        Every process goes over all features, so that all choose the same. Without held-out features there is nothing to
        choose between.
        """
        data: Any = getattr(self.trainer, "datamodule", None)
        if not self._keeps or not data.held_out:
            return
        training, right, videos = self.model.training, torch.zeros(len(self.settings), dtype=torch.int64), 0
        self.model.eval()
        for feature, label in data.kept_features("val"):
            said = self.model.answers(feature.to(self.device)).argmax(dim=2).cpu()
            right += (said == label[:, None]).sum(dim=0)
            videos += len(label)
        self.model.train(training)
        self._right, self._videos = right.tolist(), videos
        self.model.chosen.fill_(self._right.index(max(self._right)))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Choose: the checkpoint's ``chosen`` is the network's own tensor, so it is changed with it."""
        self.choose()
        checkpoint["state_dict"]["model.chosen"] = self.model.chosen

    def on_train_end(self) -> None:
        """Choose the head that stays."""
        self.choose()

    def teardown(self, stage: str) -> None:
        """Features are gone."""
        self._keeps = False

    def configure_callbacks(self) -> list[L.Callback]:
        """What loads the checkpoint, and the guard over steps that are not finite."""
        return [self.start, self.guard]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW for the heads, each with its own rate and weight decay; warm-up and a cosine over the whole run."""
        highest, groups = self.optimisation.base_lr, []
        for number, (head, (rate, decay)) in enumerate(zip(self.model.heads, self.settings, strict=True)):
            for group in parameter_groups(head, decay):
                groups.append({**group, "name": f"head_{number}_{group['name']}", "lr_scale": rate / highest})
        return self.optimisation.configure_groups(self.trainer, groups)


def _several(name: str, given: float | list[float]) -> list[float]:
    values = given if isinstance(given, list) else [given]
    if not values or len(set(values)) < len(values):
        raise InputError(f"{name} {given} names no or equal values: give one, or several that differ")
    return values
