"""Fine-tuning: the whole network learns to name the action in a video."""

from collections.abc import Mapping
from functools import partial

import lightning.pytorch as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional as F

from vsr.errors import InputError
from vsr.models.cost import training_flops
from vsr.models.exchange import load_classifier, load_encoder
from vsr.models.vit import Classifier, SizeName, size_named
from vsr.modules.accuracy import Accuracy, FiniteMean
from vsr.modules.execution import compile_in_place, compiles, recompute_blocks, uncompiled
from vsr.modules.guard import StepGuard
from vsr.modules.mixup import mix, mix_words
from vsr.modules.optim import Optimisation, highest_rate
from vsr.modules.start import Start


class ActionClassifier(L.LightningModule):
    """A fine-tuned video classifier. Defaults are the paper's (arXiv 2410.24213, table 6).

    What ``checkpoint`` must be depends on the verb: for ``fit`` an encoder to start from, for ``validate``,
    ``test`` and ``predict`` a whole classifier. A run that resumes (``--ckpt_path``) doesn't read it.

    Logged: ``loss`` and ``lr`` (each step), ``train_loss`` (of the clips whose loss is finite), and what
    :class:`~vsr.modules.accuracy.Accuracy` and :class:`~vsr.modules.guard.StepGuard` log.

    Args:
        num_classes: K.
        checkpoint: weights to load, strictly: a checkpoint of ``vsr fit``, a file of VideoMAE's own code or its
            DeepSpeed folder, or a Hugging Face folder; null: train from scratch.
        size: network; "base" and "large" are the paper's, "tiny" is ours for laptops.
        image_size: height and width of a frame, px; a multiple of ``patch_size``.
        num_frames: frames in a clip; a multiple of ``tubelet_size``.
        patch_size: height and width of a tube, px.
        tubelet_size: frames of a tube.
        drop_path: share of the clips for which the last block is left out, growing linearly from 0 (table 6:
            0.2).
        head_dropout: share of the features dropped before the head, 0..1 (table 6: 0.0; the release: 0.5).
        label_smoothing: 0..1 (table 6: 0.1).
        mixup: alpha of mixup, 0..1; 0: none (table 6: 0.8). See :func:`~vsr.modules.mixup.mix`.
        cutmix: alpha of CutMix, 0..1; 0: none (table 6: 1.0). With both, each has half of the micro-batches (VideoMAE's
            code; not printed). A micro-batch of one clip isn't mixed.
        layer_decay: each layer learns this much slower than the one above (table 6: 0.7).
        base_lr: peak learning rate for 256 videos, scaled by ``global_batch_size`` (table 6: 1e-3).
        min_lr: learning rate at the end for 256 videos, scaled likewise (VideoMAE's scripts: 1e-5; not
            printed).
        weight_decay: of AdamW, not on biases and norms (table 6: 0.05).
        betas: of AdamW (table 6: 0.9, 0.95; the release: 0.9, 0.999).
        warmup: share of all steps in which the rate rises from 0, 0..1 (table 6: 5 of 100 epochs).
        global_batch_size: videos per optimiser step, all devices and accumulation steps together (table 6:
            256).
        clip_grad: gradients of a larger total norm are scaled down to it; null: no clipping, as in the paper.
        max_skipped_steps: a step whose loss or gradient is not finite is skipped; so many in a row end the run.
        compile: compile the network in place when training starts; null: on CUDA only. Evaluation comes in other
            shapes and runs uncompiled.
        checkpoint_activations: keep only what goes into each block and compute the rest again for its gradient:
            less memory, more time, the same result.
        seed: of the initial weights (from scratch all, else those of the head) and of mixing, in [0, 2^64).

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
        drop_path: float = 0.2,
        head_dropout: float = 0.0,
        label_smoothing: float = 0.1,
        mixup: float = 0.8,
        cutmix: float = 1.0,
        layer_decay: float = 0.7,
        base_lr: float = 1e-3,
        min_lr: float = 1e-5,
        weight_decay: float = 0.05,
        betas: tuple[float, float] = (0.9, 0.95),
        warmup: float = 0.05,
        global_batch_size: int = 256,
        clip_grad: float | None = None,
        max_skipped_steps: int = 10,
        compile: bool | None = None,
        checkpoint_activations: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if num_classes < 2:
            raise InputError(f"num_classes {num_classes} leaves nothing to tell apart: give 2 or more")
        shares = {"drop_path": drop_path, "head_dropout": head_dropout, "label_smoothing": label_smoothing}
        for name, share in shares.items():
            if not 0 <= share < 1:
                raise InputError(f"{name} {share} is not a share: give 0 or more, less than 1")
        for name, alpha in {"mixup": mixup, "cutmix": cutmix}.items():
            if not 0 <= alpha <= 1:
                raise InputError(f"{name} {alpha} is not in 0 .. 1: give more than 0, up to 1, or 0 for none")
        if not 0 < layer_decay <= 1:
            raise InputError(f"layer_decay {layer_decay} is not in 0 .. 1: give more than 0, up to 1, or 1 for none")
        self.checkpoint, self.label_smoothing, self.layer_decay = checkpoint, label_smoothing, layer_decay
        self.mixup, self.cutmix, self.num_classes, self.seed = mixup, cutmix, num_classes, seed
        self.optimisation = Optimisation(base_lr, min_lr, weight_decay, betas, warmup, global_batch_size)
        self.guard = StepGuard(clip_grad, max_skipped_steps)
        self._network = partial(
            Classifier,
            size_named(size),
            num_classes,
            image_size,
            num_frames,
            patch_size,
            tubelet_size,
            drop_path=drop_path,
            head_dropout=head_dropout,
        )
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.model = self._network()
        if checkpoint_activations:
            recompute_blocks(self.model)
        self.start = Start(
            checkpoint,
            partial(load_encoder, self.model),
            partial(load_classifier, self.model),
            "a fine-tuned classifier: give runs/…/checkpoints/last.ckpt of a fine-tuning run",
        )
        self.train_loss, self.accuracy = FiniteMean(), Accuracy(num_classes)
        # Buffers are constants: broadcasting them would be waste, and a deadlock where ranks have unequal
        # batches.
        self._ddp_params_and_buffers_to_ignore = [name for name, _ in self.named_buffers()]

    def forward(self, video: Tensor) -> Tensor:
        """Logits (B, K) of videos (B, C, T, H, W), uint8."""
        logits: Tensor = self.model(video)
        return logits

    @property
    def flops_per_clip(self) -> int:
        """FLOP of one clip's forward and backward pass, see :func:`vsr.models.cost.training_flops`."""
        shape = self.model.patch_embed.clip_shape
        return training_flops(self._network, lambda: torch.empty(1, *shape, dtype=torch.uint8))

    def configure_model(self) -> None:
        """Refuse a strategy that shards, which only pre-training can use.

        Raises:
            InputError: the strategy is ``ModelParallelStrategy``.
        """
        if self.device_mesh is not None:
            raise InputError(
                "a classifier can't be sharded by ModelParallelStrategy: leave out configs/scale/fsdp2.yaml; "
                "--model.checkpoint_activations true saves memory, too"
            )

    def on_fit_start(self) -> None:
        """Compile if wanted."""
        if compiles(self):
            compile_in_place(self.model)

    def training_step(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Cross-entropy with mixed and smoothed labels, in float32 whatever the precision."""
        video, target = batch["video"], batch["label"]
        if self.mixup or self.cutmix:
            words = mix_words(self.seed, batch["index"], batch["epoch"])
            video, target = mix(video, target, self.num_classes, self.mixup, self.cutmix, words)
        logits = self(video)
        with torch.autocast(logits.device.type, enabled=False):
            losses = F.cross_entropy(logits.float(), target, reduction="none", label_smoothing=self.label_smoothing)
        self.guard.see(losses, batch)
        loss = losses.mean()
        self.train_loss.update(losses.detach())
        self.log("train_loss", self.train_loss, on_step=False, on_epoch=True)
        self.log("lr", highest_rate(self.trainer), on_step=True, on_epoch=False)
        return loss

    @uncompiled
    def validation_step(self, batch: Mapping[str, Tensor]) -> None:
        """Count what is right among the first one and the first five."""
        self.accuracy.validate(self, self(batch["video"]).float(), batch["label"])

    @uncompiled
    def test_step(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Count the videos that are right; what is returned says :meth:`vsr.modules.accuracy.Accuracy.test`."""
        return self.accuracy.test(self, self(batch["video"]).float().softmax(dim=1), batch)

    def on_test_epoch_end(self) -> None:
        """Mean of the classes' accuracies, over the classes that have videos."""
        self.accuracy.finish_test(self)

    @uncompiled
    def predict_step(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``index`` int64 (B,) and ``probability`` float32 (B, K) of each clip."""
        return {"index": batch["index"], "probability": self(batch["video"]).float().softmax(dim=1)}

    def configure_callbacks(self) -> list[L.Callback]:
        """What loads the checkpoint, and the guard over steps that are not finite."""
        return [self.start, self.guard]

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with layer decay, warm-up and cosine over the whole run."""
        return self.optimisation.configure(self.trainer, self.model, self.layer_decay)
