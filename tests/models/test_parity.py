"""Same weights, same pixels: transformers' VideoMAE and ours say the same in float32.

``pytest tests/models/test_parity.py -rP`` prints the differences.
"""

import pytest
import torch
from torch import Tensor, nn

from vsr.models.masking import gather_tokens, normalized_target, patchify, tube_mask
from vsr.models.vit import IMAGENET_MEAN, IMAGENET_STD, SIZES, Classifier, MaskedAutoencoder, Size

transformers = pytest.importorskip("transformers")

CLASSES, WITHIN = 101, 1e-5
GRIDS = [  # size, frames, px, patch px, tubelet frames, clips
    ("small", 16, 112, 16, 2, 2),
    ("small", 8, 96, 8, 4, 2),
    ("base", 16, 112, 16, 2, 1),
    ("base", 8, 96, 16, 2, 1),
    pytest.param("base", 16, 224, 16, 2, 1, marks=pytest.mark.slow),
]
NAMES = {  # theirs to ours
    "videomae.embeddings.patch_embeddings.projection": "encoder.patch_embed.proj",
    "videomae.encoder.layer": "encoder.blocks",
    "videomae.layernorm": "encoder.norm",
    "decoder.decoder_layers": "decoder.blocks",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "attention.output.dense": "attn.proj",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "attention.attention.": "attn.",
    "classifier": "head",
}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def noisy(network: nn.Module) -> nn.Module:
    """No bias left at 0 and no scale at 1, so that a forgotten one shows."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return network.eval()


def clips(frames: int, px: int, count: int) -> tuple[Tensor, Tensor]:
    """Videos as ours takes them, uint8 (B, C, T, H, W), and as theirs does, normalised (B, T, C, H, W)."""
    video = torch.randint(0, 256, (count, 3, frames, px, px), dtype=torch.uint8)
    mean, std = (torch.tensor(v).view(1, 1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return video, (video.transpose(1, 2) / 255 - mean) / std


def transplanted(kind: type, ours: nn.Module, size: Size, frames: int, px: int, patch: int, tubelet: int) -> nn.Module:
    """Their network of the same shape, with our weights, their default eps made ours."""
    config = transformers.VideoMAEConfig(
        image_size=px, patch_size=patch, num_frames=frames, tubelet_size=tubelet, num_labels=CLASSES,
        hidden_size=size.width, num_hidden_layers=size.depth, num_attention_heads=size.heads,
        intermediate_size=4 * size.width, decoder_hidden_size=size.decoder_width,
        decoder_num_hidden_layers=size.decoder_depth, decoder_num_attention_heads=size.decoder_heads,
        decoder_intermediate_size=4 * size.decoder_width, layer_norm_eps=1e-6, attn_implementation="eager",
        # True would take the last norm out of the encoder, which pre-training has and the classifier has not
        use_mean_pooling=kind is transformers.VideoMAEForVideoClassification,
    )  # fmt: skip
    with torch.device("meta"):
        theirs = kind(config).eval()
    for module in theirs.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6
    state = {f"encoder.{n}" if n.startswith(("patch_embed", "blocks")) else n: t for n, t in ours.state_dict().items()}
    weights = {name: matching(name, state) for name in theirs.state_dict()}
    assert sum(t.numel() for t in weights.values()) == sum(p.numel() for p in ours.parameters())
    theirs.load_state_dict(weights, strict=True, assign=True)
    biases = [p for n, p in theirs.named_parameters() if n.endswith(("query.bias", "value.bias", "q_bias", "v_bias"))]
    assert len(biases) == 2 * len([n for n in state if n.endswith("q_bias")]) > 0
    assert all(p.abs().min() > 0 for p in biases)  # they were read as zeros once
    return theirs


def matching(name: str, ours: dict[str, Tensor]) -> Tensor:
    """Our tensor for one of their names."""
    for theirs, here in NAMES.items():
        name = name.replace(theirs, here)
    stem, _, last = name.rpartition(".")
    block, _, part = stem.rpartition(".")
    if part in ("query", "key", "value"):
        if last == "bias":
            return ours[f"{block}.{part[0]}_bias"]
        return ours[f"{block}.qkv.weight"].chunk(3)[("query", "key", "value").index(part)]
    return ours[name]


@torch.no_grad()
@pytest.mark.parametrize(("name", "frames", "px", "patch", "tubelet", "count"), GRIDS)
def test_pretraining(name, frames, px, patch, tubelet, count):
    ours = noisy(MaskedAutoencoder(SIZES[name], px, frames, patch, tubelet))
    theirs = transplanted(transformers.VideoMAEForPreTraining, ours, SIZES[name], frames, px, patch, tubelet)
    video, pixels = clips(frames, px, count)
    keep, masked = tube_mask(0, torch.arange(count), 0, ours.encoder.patch_embed.grid, 0.75)
    hidden = torch.zeros(count, keep.shape[1] + masked.shape[1], dtype=torch.bool).scatter(1, masked, True)
    got, want = ours(video, keep, masked), theirs(pixels, bool_masked_pos=hidden)
    loss = nn.functional.mse_loss(got, normalized_target(gather_tokens(patchify(video, patch, tubelet), masked)))
    off, off_loss = (got - want.logits).abs().max().item(), (loss - want.loss).abs().item()
    print(f"{name} {frames} x {px}^2, tubes {tubelet} x {patch}^2: logits {off:.1e}, loss {off_loss:.1e}")
    assert want.logits.std() > 0.1  # so that the bound says something
    assert max(off, off_loss) < WITHIN


@torch.no_grad()
@pytest.mark.parametrize(("name", "frames", "px", "patch", "tubelet", "count"), GRIDS)
def test_classifier(name, frames, px, patch, tubelet, count):
    ours = noisy(Classifier(SIZES[name], CLASSES, px, frames, patch, tubelet))
    nn.init.normal_(ours.head.weight, std=0.02)  # drawn at a thousandth of it
    theirs = transplanted(transformers.VideoMAEForVideoClassification, ours, SIZES[name], frames, px, patch, tubelet)
    video, pixels = clips(frames, px, count)
    want = theirs(pixels).logits
    off = (ours(video) - want).abs().max().item()
    print(f"{name} {frames} x {px}^2, tubes {tubelet} x {patch}^2: classifier {off:.1e}")
    assert want.std() > 0.1
    assert off < WITHIN
