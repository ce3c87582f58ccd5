"""The vision transformers of VideoMAE, from timm's BEiT blocks.

Architecture, initial values and parameter names are those of VideoMAE (Tong et al., NeurIPS 2022), so weights
can be exchanged name by name. Four things are done in another way with the same result: only the tubes that
are used get embedded, tokens are gathered by number (static shapes, one graph under ``torch.compile``),
attention is fused, and the last block of the decoder computes the masked tokens only.

Letters: B videos, C colour channels, T frames, H rows, W columns, L tokens, D width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from einops import rearrange
from timm.models import beit
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from vsr.errors import InputError, nearest
from vsr.models.masking import gather_tokens, patchify, token_grid

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CHANNELS = 3
HEAD_SCALE = 0.001
"""The classifier's head starts at this fraction of its drawn weights (VideoMAE's ``init_scale``)."""


@dataclass(frozen=True)
class Size:
    """How large a network is.

    Attributes:
        width: D of the encoder.
        depth: blocks of the encoder.
        heads: attention heads of the encoder.
        decoder_width: D of the decoder.
        decoder_heads: attention heads of the decoder.
        decoder_depth: blocks of the decoder.
    """

    width: int
    depth: int
    heads: int
    decoder_width: int
    decoder_heads: int
    decoder_depth: int


SizeName = Literal["tiny", "small", "base", "large", "huge"]

SIZES: dict[str, Size] = {
    "tiny": Size(192, 6, 3, 96, 3, 2),  # ours, for laptops; the others are VideoMAE's
    "small": Size(384, 12, 6, 192, 3, 4),
    "base": Size(768, 12, 12, 384, 6, 4),
    "large": Size(1024, 24, 16, 512, 8, 12),
    "huge": Size(1280, 32, 16, 640, 8, 12),
}
"""Decoder depths are those of VideoMAE's scripts; the paper doesn't say the one of its ViT-L."""


def size_named(name: str) -> Size:
    """The size called ``name``.

    Raises:
        InputError: there is none.
    """
    if name not in SIZES:
        known = list(SIZES)
        raise InputError(
            f"size {name!r} is unknown: choose {', '.join(known[:-1])} or {known[-1]}{nearest(name, known)}"
        )
    return SIZES[name]


def sincos_table(positions: int, width: int) -> Tensor:
    """The fixed position table: 1-D sines and cosines over the token number, interleaved.

    Channel j of token p is sin (j even) or cos (j odd) of ``p / 10000^(2 floor(j / 2) / width)``.

    Args:
        positions: L.
        width: D.

    Returns:
        float32 (L, D), computed in float64.
    """
    # On the CPU whatever the default device: not every accelerator has float64.
    token = torch.arange(positions, dtype=torch.float64, device="cpu")
    channel = torch.arange(width, dtype=torch.float64, device="cpu")
    angle = token[:, None] / 10000 ** (2 * (channel // 2) / width)
    table = torch.where(channel % 2 == 0, angle.sin(), angle.cos())
    return table.to(torch.float32).to(torch.get_default_device())


class Block(beit.Block):  # type: ignore[misc, unused-ignore]
    """timm's BEiT block, in which the last tokens alone can ask."""

    def forward(self, tokens: Tensor, asking: int | None = None) -> Tensor:
        """Attention and MLP.

        Args:
            tokens: (B, L, D).
            asking: how many tokens, from the end, are wanted; the others are only attended to. Null: all.

        Returns:
            (B, L, D), or its last ``asking`` tokens.
        """
        if asking is None:
            every: Tensor = super().forward(tokens)
            return every
        attn, normed, last = self.attn, self.norm1(tokens), tokens[:, -asking:]
        width = tokens.shape[-1]
        of_query, of_rest = attn.qkv.weight.split((width, 2 * width))
        query = F.linear(normed[:, -asking:], of_query, attn.q_bias)
        key_value = F.linear(normed, of_rest, torch.cat((attn.k_bias, attn.v_bias)))
        query = rearrange(query, "b l (heads d) -> b heads l d", heads=attn.num_heads)
        key, value = rearrange(key_value, "b l (two heads d) -> two b heads l d", two=2, heads=attn.num_heads)
        found = rearrange(F.scaled_dot_product_attention(query, key, value), "b heads l d -> b l (heads d)")
        last = last + self.drop_path1(attn.proj(found))
        wanted: Tensor = last + self.drop_path2(self.mlp(self.norm2(last)))
        return wanted


class Blocks(nn.ModuleList):
    """Pre-norm blocks with separate q and v biases (none for k), MLP ratio 4, exact GELU, LayerNorm eps 1e-6.

    Args:
        width: D.
        depth: number of blocks.
        heads: attention heads.
        drop_path: share of the samples for which the last block is left out; it grows linearly from 0.

    Attributes:
        checkpoint_activations: keep only what goes into a block, and compute the rest again for its gradient.
    """

    def __init__(self, width: int, depth: int, heads: int, drop_path: float = 0.0) -> None:
        super().__init__(
            Block(
                width,
                heads,
                qkv_bias=True,
                mlp_ratio=4.0,
                drop_path=drop_path * i / max(depth - 1, 1),
                norm_layer=partial(nn.LayerNorm, eps=1e-6),
            )
            for i in range(depth)
        )
        self.checkpoint_activations = False

    def forward(self, tokens: Tensor, asking: int | None = None) -> Tensor:
        """Tokens (B, L, D) after the last block; with ``asking``, the last so many of them."""
        for number, block in enumerate(self, start=1):
            wanted = asking if number == len(self) else None
            if self.checkpoint_activations:
                tokens = checkpoint(block, tokens, wanted, use_reentrant=False)
            else:
                tokens = block(tokens, wanted)
        return tokens


class PatchEmbed(nn.Module):
    """Video to tokens, positions added: the one place where pixels are normalised.

    Args:
        width: D.
        image_size: height and width of a frame, px.
        num_frames: T.
        patch_size: height and width of a tube, px.
        tubelet_size: frames of a tube.

    Attributes:
        proj: holds the weights in the shape of a Conv3d, (D, C, frames, rows, columns).
        grid: tokens ``(t, h, w)``.
    """

    position: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, width: int, image_size: int, num_frames: int, patch_size: int, tubelet_size: int) -> None:
        super().__init__()
        self.grid = token_grid(num_frames, image_size, patch_size, tubelet_size)
        self.clip_shape = (CHANNELS, num_frames, image_size, image_size)
        self.patch_size, self.tubelet_size = patch_size, tubelet_size
        kernel = (tubelet_size, patch_size, patch_size)
        self.proj = nn.Conv3d(CHANNELS, width, kernel_size=kernel, stride=kernel)
        t, h, w = self.grid
        self.register_buffer("position", sincos_table(t * h * w, width), persistent=False)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD), persistent=False)

    def forward(self, video: Tensor, idx_keep: Tensor | None = None) -> Tensor:
        """Embed the tubes ``idx_keep``, or all.

        Args:
            video: (B, C, T, H, W), uint8, or float in 0..255; RGB.
            idx_keep: int64 (B, K) token numbers.

        Returns:
            (B, K, D) or (B, L, D).

        Raises:
            InputError: the clip isn't of the shape the network was built for.
        """
        if tuple(video.shape[1:]) != self.clip_shape:
            built, got = (" x ".join(map(str, shape)) for shape in (self.clip_shape, video.shape[1:]))
            raise InputError(
                f"a clip is {got} (channels, frames, px, px), the model expects {built}: give model and data "
                "the same num_frames and image_size"
            )
        tubes = patchify(video, self.patch_size, self.tubelet_size)
        position = self.position
        if idx_keep is not None:
            tubes = gather_tokens(tubes, idx_keep)
            position = F.embedding(idx_keep, position)
        pixels = (tubes.reshape(*tubes.shape[:2], -1, CHANNELS) / 255 - self.mean) / self.std
        # Elements of a tube are ordered (frame, row, column, channel), the kernel's channel first.
        kernel = self.proj.weight.permute(0, 2, 3, 4, 1).flatten(1)
        return F.linear(pixels.flatten(-2).to(kernel.dtype), kernel, self.proj.bias) + position


class Encoder(nn.Module):
    """The part that is kept: patch embedding, blocks, LayerNorm.

    Args:
        size: the network's size.
        image_size: height and width of a frame, px.
        num_frames: T.
        patch_size: height and width of a tube, px.
        tubelet_size: frames of a tube.
        drop_path: share of the samples for which the last block is left out; it grows linearly from 0.
    """

    def __init__(
        self,
        size: Size,
        image_size: int,
        num_frames: int,
        patch_size: int,
        tubelet_size: int,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(size.width, image_size, num_frames, patch_size, tubelet_size)
        self.blocks = Blocks(size.width, size.depth, size.heads, drop_path)
        self.norm = nn.LayerNorm(size.width, eps=1e-6)
        self.head = nn.Identity()
        self.apply(_initialise(nn.init.xavier_uniform_))

    def forward(self, video: Tensor, idx_keep: Tensor | None = None) -> Tensor:
        """Encode the tubes ``idx_keep``, or all.

        Args:
            video: (B, C, T, H, W), uint8, or float in 0..255; RGB.
            idx_keep: int64 (B, K) token numbers.

        Returns:
            (B, K, D) or (B, L, D).
        """
        encoded: Tensor = self.head(self.norm(self.blocks(self.patch_embed(video, idx_keep))))
        return encoded


class Decoder(nn.Module):
    """Predicts the pixels of masked tubes.

    Args:
        size: the network's size.
        tube_elements: P C, elements of a tube.
    """

    def __init__(self, size: Size, tube_elements: int) -> None:
        super().__init__()
        self.blocks = Blocks(size.decoder_width, size.decoder_depth, size.decoder_heads)
        self.norm = nn.LayerNorm(size.decoder_width, eps=1e-6)
        self.head = nn.Linear(size.decoder_width, tube_elements)
        self.apply(_initialise(nn.init.xavier_uniform_))

    def forward(self, tokens: Tensor, num_masked: int) -> Tensor:
        """Predict the last ``num_masked`` of the tokens (B, L, D): (B, num_masked, P C)."""
        prediction: Tensor = self.head(self.norm(self.blocks(tokens, num_masked)))
        return prediction


class MaskedAutoencoder(nn.Module):
    """VideoMAE: encode the visible tubes, predict the masked ones.

    Args:
        size: the network's size.
        image_size: height and width of a frame, px.
        num_frames: T.
        patch_size: height and width of a tube, px.
        tubelet_size: frames of a tube.

    Raises:
        InputError: tubes don't fill the clip.
    """

    decoder_position: Tensor

    def __init__(
        self,
        size: Size,
        image_size: int = 224,
        num_frames: int = 16,
        patch_size: int = 16,
        tubelet_size: int = 2,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(size, image_size, num_frames, patch_size, tubelet_size)
        self.encoder_to_decoder = nn.Linear(size.width, size.decoder_width, bias=False)
        self.mask_token = nn.Parameter(torch.empty(1, 1, size.decoder_width))
        nn.init.trunc_normal_(self.mask_token, std=0.02, a=-0.02, b=0.02)
        self.decoder = Decoder(size, CHANNELS * tubelet_size * patch_size**2)
        t, h, w = self.encoder.patch_embed.grid
        self.register_buffer("decoder_position", sincos_table(t * h * w, size.decoder_width), persistent=False)

    def forward(self, video: Tensor, idx_keep: Tensor, idx_mask: Tensor) -> Tensor:
        """Predict the masked tubes.

        Tokens aren't put back into the video's order: their positions carry it, visible ones come first.

        Args:
            video: (B, C, T, H, W), uint8, or float in 0..255; RGB.
            idx_keep: int64 (B, L_visible), token numbers.
            idx_mask: int64 (B, L_masked), token numbers.

        Returns:
            (B, L_masked, P C), normalised pixels in the order of :func:`vsr.models.masking.patchify`; row k
            belongs to token ``idx_mask[:, k]``.
        """
        visible = self.encoder_to_decoder(self.encoder(video, idx_keep))
        visible = visible + F.embedding(idx_keep, self.decoder_position)
        masked = self.mask_token + F.embedding(idx_mask, self.decoder_position)
        prediction: Tensor = self.decoder(torch.cat((visible, masked), dim=1), idx_mask.shape[1])
        return prediction


class Classifier(nn.Module):
    """The fine-tuned network: blocks, mean over all tokens, LayerNorm, dropout, linear head.

    The encoder's last LayerNorm is replaced by ``fc_norm`` after the mean, as in VideoMAE.

    Args:
        size: the network's size.
        num_classes: K.
        image_size: height and width of a frame, px.
        num_frames: T.
        patch_size: height and width of a tube, px.
        tubelet_size: frames of a tube.
        drop_path: share of the samples for which the last block is left out; it grows linearly from 0.
        head_dropout: share of the features dropped before the head.

    Raises:
        InputError: tubes don't fill the clip.
    """

    def __init__(
        self,
        size: Size,
        num_classes: int,
        image_size: int = 224,
        num_frames: int = 16,
        patch_size: int = 16,
        tubelet_size: int = 2,
        drop_path: float = 0.0,
        head_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(size.width, image_size, num_frames, patch_size, tubelet_size)
        self.blocks = Blocks(size.width, size.depth, size.heads, drop_path)
        self.fc_norm = nn.LayerNorm(size.width, eps=1e-6)
        self.dropout = nn.Dropout(head_dropout)
        self.head = nn.Linear(size.width, num_classes)
        self.apply(_initialise(partial(nn.init.trunc_normal_, std=0.02)))
        with torch.no_grad():
            self.head.weight.mul_(HEAD_SCALE)
            self.head.bias.mul_(HEAD_SCALE)

    def forward(self, video: Tensor) -> Tensor:
        """Classify videos (B, C, T, H, W), uint8, or float in 0..255: logits (B, K)."""
        tokens: Tensor = self.blocks(self.patch_embed(video))
        logits: Tensor = self.head(self.dropout(self.fc_norm(tokens.mean(dim=1))))
        return logits


def _initialise(draw: Callable[[Tensor], Tensor]) -> Callable[[nn.Module], None]:
    """For ``Module.apply``: Linear weights by ``draw``, biases 0, LayerNorm 1 and 0; no convolutions."""

    def initialise(module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            draw(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)

    return initialise
