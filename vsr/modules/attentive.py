"""Attentive probing: what one learned query can find among the tokens of an encoder that stays as it is."""

from collections.abc import Mapping
from functools import partial

import lightning.pytorch as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional as F

from vsr.errors import InputError
from vsr.models.exchange import load_frozen, load_probe
from vsr.models.probe import AttentiveProbeNetwork
from vsr.models.vit import SizeName, size_named
from vsr.modules.accuracy import Accuracy, FiniteMean
from vsr.modules.frozen import can_keep, keep
from vsr.modules.guard import StepGuard
from vsr.modules.optim import Optimisation, highest_rate
from vsr.modules.probe import SKIPPED
from vsr.modules.start import Start


class AttentiveProbe(L.LightningModule):
    """Cross-attention pooling and a linear head on a frozen encoder. The paper (arXiv 2410.24213) has no such probe.

    Defaults are those of V-JEPA's attentive probe (Bardes et al., 2024; configs/evals of facebookresearch/jepa) on
    Kinetics-400: AdamW, a cosine from 1e-3 to 0 for 256 clips, weight decay 0.01, 20 epochs, no warm-up. It trains on
    augmented clips, ours on those of validation: with the data's ``use: probe`` every clip goes through the encoder
    once, and its tokens are kept in half precision (:mod:`vsr.data.features`; 2.4 MB a clip for ViT-B). With ``use:
    finetune`` clips are augmented and go through the encoder in every step.

    Arguments, checkpoints and what is logged are as of :class:`~vsr.modules.probe.LinearProbe`, with one head. Features
    are tokens after the encoder's own last LayerNorm.

    Args:
        num_classes: K.
        checkpoint: weights to load, strictly; null: probe an untrained encoder.
        size: network; "base" and "large" are the paper's, "tiny" is ours for laptops.
        image_size: height and width of a frame, px; a multiple of ``patch_size``.
        num_frames: frames in a clip; a multiple of ``tubelet_size``.
        patch_size: height and width of a tube, px.
        tubelet_size: frames of a tube.
        base_lr: peak learning rate for 256 videos, scaled by ``global_batch_size``; it falls to 0 in a cosine.
        weight_decay: of AdamW, not on biases and norms.
        betas: of AdamW.
        warmup: share of all steps in which the rate rises from 0, 0..1.
        global_batch_size: videos per optimiser step, all devices and accumulation steps together.
        seed: of the initial pooling and head, and of an untrained encoder, in [0, 2^64).

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
        base_lr: float = 1e-3,
        weight_decay: float = 0.01,
        betas: tuple[float, float] = (0.9, 0.999),
        warmup: float = 0.0,
        global_batch_size: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if num_classes < 2:
            raise InputError(f"num_classes {num_classes} leaves nothing to tell apart: give 2 or more")
        self.checkpoint = checkpoint
        self.optimisation = Optimisation(base_lr, 0.0, weight_decay, betas, warmup, global_batch_size)
        self.guard = StepGuard(None, SKIPPED)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.model = AttentiveProbeNetwork(
                size_named(size), num_classes, image_size, num_frames, patch_size, tubelet_size
            )
        self.start = Start(
            checkpoint,
            partial(load_frozen, self.model.encoder),
            partial(load_probe, self.model),
            "an attentive probe: give runs/attentive/…/checkpoints/last.ckpt",
        )
        self._keeps = False
        self.train_loss, self.accuracy = FiniteMean(), Accuracy(num_classes)
        # Buffers are constants: broadcasting them would be waste, and a deadlock where ranks have unequal batches.
        self._ddp_params_and_buffers_to_ignore = [name for name, _ in self.named_buffers()]

    def forward(self, video: Tensor) -> Tensor:
        """Logits (B, K) of videos (B, C, T, H, W), uint8."""
        logits: Tensor = self.model(video)
        return logits

    def setup(self, stage: str) -> None:
        """Find out whether features can be kept."""
        if stage == "fit":
            self._keeps = can_keep(self.trainer, whole_batches=False)

    def on_fit_start(self) -> None:
        """Keep tokens."""
        if self._keeps:
            keep(self, self.model.encoder, lambda video: self.model.encoder.tokens(video).half(), "tokens")

    def _logits(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Of kept tokens or of clips, float32 (B, K)."""
        logits = self.model.answer(batch["feature"]) if "feature" in batch else self(batch["video"])
        return logits.float()

    def training_step(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy, in float32 whatever the precision."""
        logits = self._logits(batch)
        with torch.autocast(logits.device.type, enabled=False):
            losses = F.cross_entropy(logits, batch["label"], reduction="none")
        self.guard.see(losses, batch)
        loss = losses.mean()
        self.train_loss.update(losses.detach())
        self.log("train_loss", self.train_loss, on_step=False, on_epoch=True)
        self.log("lr", highest_rate(self.trainer), on_step=True, on_epoch=False)
        return loss

    def validation_step(self, batch: Mapping[str, Tensor]) -> None:
        """Count what is right among the first one and the first five."""
        self.accuracy.validate(self, self._logits(batch), batch["label"])

    def test_step(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Count the videos that are right; what is returned says :meth:`vsr.modules.accuracy.Accuracy.test`."""
        return self.accuracy.test(self, self._logits(batch).softmax(dim=1), batch)

    def on_test_epoch_end(self) -> None:
        """Mean of the classes' accuracies, over the classes that have videos."""
        self.accuracy.finish_test(self)

    def predict_step(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``index`` int64 (B,) and ``probability`` float32 (B, K) of each clip."""
        return {"index": batch["index"], "probability": self._logits(batch).softmax(dim=1)}

    def configure_callbacks(self) -> list[L.Callback]:
        """What loads the checkpoint, and the guard over steps that are not finite."""
        return [self.start, self.guard]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW for pooling and head, and a cosine over the whole run."""
        return self.optimisation.configure(self.trainer, self.model)
