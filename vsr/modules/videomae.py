"""Pre-training: predict the masked tubes of a video from the visible ones."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import lightning.pytorch as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional as F

from vsr.errors import InputError
from vsr.models.cost import training_flops
from vsr.models.masking import (
    denormalize,
    gather_tokens,
    masked_per_slice,
    normalized_target,
    patchify,
    tube_mask,
    unpatchify,
)
from vsr.models.vit import MaskedAutoencoder, SizeName, size_named
from vsr.modules.execution import (
    compile_in_place,
    compiles,
    recompute_blocks,
    renumber_optimizer_state,
    shard,
    uncompiled,
)
from vsr.modules.guard import StepGuard
from vsr.modules.optim import Optimisation, highest_rate

GREY = 128


class Reconstruction(NamedTuple):
    """Three pictures of the same clips, uint8 (B, C, T, H, W).

    Attributes:
        video: the input.
        masked: the input, masked tubes grey.
        reconstruction: the input, masked tubes predicted. A prediction is normalised; it is shown with the
            true mean and standard deviation of its own tube and colour channel, which captions must say.
    """

    video: Tensor
    masked: Tensor
    reconstruction: Tensor


class VideoMAE(L.LightningModule):
    """VideoMAE (Tong et al., NeurIPS 2022). Defaults are the paper's (arXiv 2410.24213, table 5).

    Masks follow from the address of each clip, the initial weights from ``seed``; neither depends on the
    batch size, the devices or a resumption.

    Logged at each step: ``loss``, ``lr`` and what :class:`~vsr.modules.guard.StepGuard` logs.

    Args:
        size: network; "base" and "large" are the paper's, "tiny" is ours for laptops.
        image_size: height and width of a frame, px; a multiple of ``patch_size``.
        num_frames: frames in a clip; a multiple of ``tubelet_size`` (table 5: 16).
        patch_size: height and width of a tube, px.
        tubelet_size: frames of a tube.
        mask_ratio: share of the tubes that is hidden, 0..1 (table 5: 0.75).
        decoder_depth: blocks of the decoder; null: that of the size (4, for large and huge 12, as in
            VideoMAE's scripts; the paper doesn't say).
        base_lr: peak learning rate for 256 clips, scaled by ``global_batch_size`` (table 5: 3e-4).
        min_lr: learning rate at the end for 256 clips, scaled likewise (VideoMAE's scripts: 1e-5; not
            printed).
        weight_decay: of AdamW, not on biases, norms and the mask token (table 5: 0.05).
        betas: of AdamW (table 5: 0.9, 0.95).
        warmup: share of all steps in which the rate rises from 0, 0..1 (table 5: 40 of 3,200 epochs).
        global_batch_size: clips per optimiser step, all devices and accumulation steps together (table 5:
            256).
        clip_grad: gradients of a larger total norm are scaled down to it; null: no clipping, as in the paper.
        max_skipped_steps: a step whose loss or gradient is not finite is skipped; so many in a row end the run.
        compile: compile the network in place when training starts; null: on CUDA only. Pictures, features and
            evaluation come in other shapes and run uncompiled.
        checkpoint_activations: keep only what goes into each block and compute the rest again for its gradient:
            less memory, more time, the same result.
        seed: of the masks and the initial weights, in [0, 2^64).

    Raises:
        InputError: an argument is out of its range.
    """

    def __init__(
        self,
        size: SizeName = "base",
        image_size: int = 224,
        num_frames: int = 16,
        patch_size: int = 16,
        tubelet_size: int = 2,
        mask_ratio: float = 0.75,
        decoder_depth: int | None = None,
        base_lr: float = 3e-4,
        min_lr: float = 1e-5,
        weight_decay: float = 0.05,
        betas: tuple[float, float] = (0.9, 0.95),
        warmup: float = 40 / 3200,
        global_batch_size: int = 256,
        clip_grad: float | None = None,
        max_skipped_steps: int = 10,
        compile: bool | None = None,
        checkpoint_activations: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.mask_ratio, self.seed = mask_ratio, seed
        self.patch_size, self.tubelet_size = patch_size, tubelet_size
        self.optimisation = Optimisation(base_lr, min_lr, weight_decay, betas, warmup, global_batch_size)
        self.guard = StepGuard(clip_grad, max_skipped_steps)
        network = size_named(size)
        if decoder_depth is not None:
            if decoder_depth < 1:
                raise InputError(f"decoder_depth {decoder_depth} is not positive: give 1 or more")
            network = replace(network, decoder_depth=decoder_depth)
        self._network = partial(MaskedAutoencoder, network, image_size, num_frames, patch_size, tubelet_size)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.model = self._network()
        if checkpoint_activations:
            recompute_blocks(self.model)
        self.grid = self.model.encoder.patch_embed.grid
        masked_per_slice(mask_ratio, self.grid)  # an unusable ratio is refused here, not at the first step
        # Buffers are constants: broadcasting them would be waste, and a deadlock where ranks have unequal
        # batches.
        self._ddp_params_and_buffers_to_ignore = [name for name, _ in self.named_buffers()]

    def configure_model(self) -> None:
        """Shard the network where the strategy is ``ModelParallelStrategy``."""
        shard(self, self.model)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """See to it that another layout can go on from it, sharded or not."""
        renumber_optimizer_state(self, checkpoint)

    def on_fit_start(self) -> None:
        """Compile what a step computes, where that is wanted."""
        if compiles(self):
            self.compile_step()

    def compile_step(self) -> None:
        """Compile network and loss in place, for one shape of batch."""
        compile_in_place(self.model)
        self.losses = torch.compile(type(self).losses.__get__(self), dynamic=False)  # type: ignore[method-assign]

    @property
    def flops_per_clip(self) -> int:
        """FLOP of one clip's forward and backward pass, see :func:`vsr.models.cost.training_flops`."""
        embed, hidden = self.model.encoder.patch_embed, masked_per_slice(self.mask_ratio, self.grid) * self.grid[0]
        return training_flops(
            self._network,
            lambda: torch.empty(1, *embed.clip_shape, dtype=torch.uint8),
            lambda: torch.empty(1, math.prod(self.grid) - hidden, dtype=torch.int64),
            lambda: torch.empty(1, hidden, dtype=torch.int64),
        )

    def training_step(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Mean squared error over the masked tubes of a batch (``video``, ``index``, ``epoch``)."""
        idx_keep, idx_mask = self.mask(batch["index"], batch["epoch"])
        prediction = self.model(batch["video"], idx_keep, idx_mask)
        losses = self.losses(prediction, batch["video"], idx_mask)
        self.guard.see(losses, batch)
        loss = losses.mean()
        self.log("lr", highest_rate(self.trainer), on_step=True, on_epoch=False)
        return loss

    def mask(self, index: Tensor, epoch: Tensor | int) -> tuple[Tensor, Tensor]:
        """``idx_keep`` and ``idx_mask`` of clips, by their addresses; see :func:`tube_mask`."""
        return tube_mask(self.seed, index, epoch, self.grid, self.mask_ratio)

    def loss(self, prediction: Tensor, video: Tensor, idx_mask: Tensor) -> Tensor:
        """The mean of :meth:`losses`."""
        return self.losses(prediction, video, idx_mask).mean()

    def losses(self, prediction: Tensor, video: Tensor, idx_mask: Tensor) -> Tensor:
        """Mean squared error over masked tokens and their elements, in float32 at least whatever the precision.

        Args:
            prediction: (B, L_masked, P C).
            video: uint8 (B, C, T, H, W).
            idx_mask: int64 (B, L_masked), token numbers.

        Returns:
            (B,), of each clip.
        """
        with torch.autocast(video.device.type, enabled=False):
            tubes = gather_tokens(patchify(video, self.patch_size, self.tubelet_size), idx_mask)
            precise = prediction.to(torch.promote_types(prediction.dtype, torch.float32))
            return F.mse_loss(precise, normalized_target(tubes).to(precise), reduction="none").mean(dim=(1, 2))

    @uncompiled
    @torch.no_grad()
    def reconstruct(self, video: Tensor, index: Tensor, epoch: Tensor | int) -> Reconstruction:
        """What the network makes of clips, under the masks of their addresses.

        Predictions are shown with their tube's OWN mean and standard deviation, so colour and contrast of
        each masked tube come from the answer, and only the structure inside from the network. Captions must
        say so.

        Args:
            video: uint8 (B, C, T, H, W).
            index: int64 (B,).
            epoch: int64 (B,) or one number for all.
        """
        idx_keep, idx_mask = self.mask(index, epoch)
        prediction = self.model(video, idx_keep, idx_mask)
        tubes = patchify(video, self.patch_size, self.tubelet_size)
        pixels = denormalize(prediction, gather_tokens(tubes, idx_mask)).round().clamp(0, 255).to(torch.uint8)
        where = idx_mask[..., None].expand_as(pixels)

        def picture(masked: Tensor) -> Tensor:
            return unpatchify(tubes.scatter(1, where, masked), self.grid, self.patch_size, self.tubelet_size)

        return Reconstruction(video, picture(torch.full_like(pixels, GREY)), picture(pixels))

    def configure_callbacks(self) -> StepGuard:
        """The guard over steps that are not finite."""
        return self.guard

    @uncompiled
    @torch.no_grad()
    def features(self, video: Tensor) -> Tensor:
        """What the encoder makes of whole clips, nothing hidden: the mean over all its tokens.

        Args:
            video: uint8 (B, C, T, H, W).

        Returns:
            float32 (B, D).
        """
        encoded: Tensor = self.model.encoder(video)
        return encoded.float().mean(dim=1)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW, warm-up and cosine over the whole run."""
        return self.optimisation.configure(self.trainer, self.model)
