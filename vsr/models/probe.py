"""Networks that read a frozen encoder: linear heads on the mean of its tokens, attention over all of them.

Letters: B videos, L tokens, D width, K classes, H heads.
"""

from functools import partial
from typing import Literal

import torch
from timm.layers import AttentionPoolLatent
from torch import Tensor, nn
from torch.nn import functional as F

from vsr.models.vit import HEAD_SCALE, Encoder, Size

Norm = Literal["pretrained", "fresh"]
"""What normalises a feature: the encoder's own last LayerNorm, as it was pre-trained, before the mean over tokens; or a
LayerNorm without learned scale after the mean, as the paper's code has it, which drops the encoder's own."""


class FrozenEncoder(Encoder):
    """An encoder that stays as it is: without gradients, and in evaluation mode whatever mode is asked for.

    Args:
        size: the network's size.
        image_size: height and width of a frame, px.
        num_frames: T.
        patch_size: height and width of a tube, px.
        tubelet_size: frames of a tube.
        norm: what normalises features.
        drop_path: share of the samples for which the last block is left out in training, the one thing that training
            mode then changes: a quirk of the paper's code.
    """

    def __init__(
        self,
        size: Size,
        image_size: int,
        num_frames: int,
        patch_size: int,
        tubelet_size: int,
        norm: Norm = "pretrained",
        drop_path: float = 0.0,
    ) -> None:
        super().__init__(size, image_size, num_frames, patch_size, tubelet_size, drop_path)
        self.fresh, self.drops = norm == "fresh", drop_path > 0
        if self.fresh:
            self.register_module("norm", nn.Identity())
        self.requires_grad_(False)
        self.train()

    def train(self, mode: bool = True) -> "FrozenEncoder":
        """Evaluation mode; with drop path, the mode asked for."""
        super().train(mode and self.drops)
        return self

    @torch.no_grad()
    def tokens(self, video: Tensor) -> Tensor:
        """All tokens of whole clips: uint8 (B, C, T, H, W) to (B, L, D)."""
        encoded: Tensor = self(video)
        return encoded

    @torch.no_grad()
    def pooled(self, video: Tensor) -> Tensor:
        """The mean over all tokens of whole clips: uint8 (B, C, T, H, W) to float32 (B, D)."""
        mean = self(video).float().mean(dim=1)
        return F.layer_norm(mean, mean.shape[1:], eps=1e-6) if self.fresh else mean


class BatchNorm(nn.BatchNorm1d):
    """BatchNorm of features that need no gradient, by the statistics of a micro-step on all devices together.

    So several devices learn what one learns, bit by bit, and know the same running statistics without sending them.
    (torch's ``SyncBatchNorm`` does so on CUDA only.)
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (B, D); B is the same on all devices."""
        world = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        if world == 1 or not self.training:
            return super().forward(input)
        parts = [torch.empty_like(input) for _ in range(world)]
        torch.distributed.all_gather(parts, input.contiguous())
        return super().forward(torch.cat(parts)).chunk(world)[torch.distributed.get_rank()]


class LinearProbeNetwork(nn.Module):
    """A frozen encoder, BatchNorm without learned scale, and linear heads that have nothing to do with each other.

    All heads start alike, as a classifier's does: weights drawn with a standard deviation of 0.02, a thousandth of
    them, biases 0.

    Args:
        size: the network's size.
        num_classes: K.
        heads: H.
        image_size: height and width of a frame, px.
        num_frames: T.
        patch_size: height and width of a tube, px.
        tubelet_size: frames of a tube.
        norm: what normalises features.
        drop_path: of the encoder, see there.
        head_dropout: share of the features dropped before the BatchNorm.

    Attributes:
        chosen: int64 (), the head that answers.

    Raises:
        InputError: tubes don't fill the clip.
    """

    chosen: Tensor

    def __init__(
        self,
        size: Size,
        num_classes: int,
        heads: int,
        image_size: int,
        num_frames: int,
        patch_size: int,
        tubelet_size: int,
        norm: Norm = "pretrained",
        drop_path: float = 0.0,
        head_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder = FrozenEncoder(size, image_size, num_frames, patch_size, tubelet_size, norm, drop_path)
        self.dropout = nn.Dropout(head_dropout)
        self.batch_norm = BatchNorm(size.width, eps=1e-6, affine=False)
        first = _head(size.width, num_classes)
        self.heads = nn.ModuleList(nn.Linear(size.width, num_classes) for _ in range(heads))
        for head in self.heads:
            head.load_state_dict(first.state_dict())
        self.register_buffer("chosen", torch.zeros((), dtype=torch.int64))

    def forward(self, video: Tensor) -> Tensor:
        """What the chosen head says of videos (B, C, T, H, W): logits (B, K)."""
        return self.answers(self.encoder.pooled(video)).index_select(1, self.chosen.view(1)).squeeze(1)

    def answers(self, feature: Tensor) -> Tensor:
        """What every head says of features (B, D): logits (B, H, K), float32 whatever the precision."""
        with torch.autocast(feature.device.type, enabled=False):
            normed = self.batch_norm(self.dropout(feature.float()))
            weight = torch.cat([head.weight for head in self.heads])  # type: ignore[misc]  # nn.Linear
            bias = torch.cat([head.bias for head in self.heads])  # type: ignore[misc]
            logits: Tensor = F.linear(normed, weight, bias).unflatten(1, (len(self.heads), -1))
            return logits

    def keep_one(self) -> None:
        """Leave one head, to be loaded."""
        self.heads = self.heads[:1]
        self.chosen.zero_()


class AttentiveProbeNetwork(nn.Module):
    """A frozen encoder, attention of one learned query to all its tokens, and a linear head.

    The query's answer goes through an MLP with a residual connection, as in a block.

    Args:
        size: the network's size.
        num_classes: K.
        image_size: height and width of a frame, px.
        num_frames: T.
        patch_size: height and width of a tube, px.
        tubelet_size: frames of a tube.

    Raises:
        InputError: tubes don't fill the clip.

    Source: the attentive probe of Bardes et al., "Revisiting Feature Prediction for Learning Visual Representations
    from Video" (V-JEPA), 2024, whose block also adds the query to its answer.
    """

    def __init__(
        self, size: Size, num_classes: int, image_size: int, num_frames: int, patch_size: int, tubelet_size: int
    ) -> None:
        super().__init__()
        self.encoder = FrozenEncoder(size, image_size, num_frames, patch_size, tubelet_size)
        norm = partial(nn.LayerNorm, eps=1e-6)
        self.pool = AttentionPoolLatent(size.width, num_heads=size.heads, norm_layer=norm)
        self.head = _head(size.width, num_classes)

    def forward(self, video: Tensor) -> Tensor:
        """Classify videos (B, C, T, H, W): logits (B, K)."""
        return self.answer(self.encoder.tokens(video))

    def answer(self, tokens: Tensor) -> Tensor:
        """Classify by tokens (B, L, D), in any precision: logits (B, K)."""
        logits: Tensor = self.head(self.pool(tokens.float()))
        return logits


def _head(width: int, num_classes: int) -> nn.Linear:
    head = nn.Linear(width, num_classes)
    nn.init.trunc_normal_(head.weight, std=0.02)
    nn.init.zeros_(head.bias)
    with torch.no_grad():
        head.weight.mul_(HEAD_SCALE)
    return head
