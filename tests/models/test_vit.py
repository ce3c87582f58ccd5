import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from vsr.errors import InputError
from vsr.models.masking import tube_mask
from vsr.models.vit import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    SIZES,
    Classifier,
    Decoder,
    MaskedAutoencoder,
    PatchEmbed,
    Size,
    sincos_table,
    size_named,
)

SMALL = Size(width=32, depth=2, heads=2, decoder_width=16, decoder_heads=2, decoder_depth=1)
CLIP = {"image_size": 32, "num_frames": 4, "patch_size": 8, "tubelet_size": 2}
GRID = (2, 4, 4)


pytestmark = pytest.mark.usefixtures("one_thread")


def clips(n: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, 4, 32, 32), dtype=torch.uint8)


def mask(n: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    return tube_mask(0, torch.arange(n), 0, GRID, 0.75)


@pytest.fixture
def mae() -> MaskedAutoencoder:
    torch.manual_seed(0)
    return noisy(MaskedAutoencoder(SMALL, **CLIP))


def noisy(network):
    """No bias left at 0 and no scale at 1, so that a forgotten one shows."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return network


class TestSizes:
    @pytest.mark.parametrize(
        ("name", "parameters", "tensors"),
        [
            ("small", 24_029_376, 218),
            ("base", 94_210_944, 218),
            ("large", 342_996_992, 478),
            ("huge", 692_487_296, 582),
        ],
    )
    def test_pretraining_counts(self, name, parameters, tensors):
        with torch.device("meta"):
            network = MaskedAutoencoder(SIZES[name])
        assert sum(p.numel() for p in network.parameters()) == parameters
        assert len(network.state_dict()) == tensors

    @pytest.mark.parametrize(
        ("name", "classes", "parameters", "tensors"),
        [
            ("base", 101, 86_304_869, 162),
            ("base", 51, 86_266_419, 162),
            ("base", 400, 86_534_800, 162),
            ("large", 101, 303_964_261, 318),
            ("large", 51, 303_913_011, 318),
            ("large", 400, 304_270_736, 318),
        ],
    )
    def test_finetuning_counts(self, name, classes, parameters, tensors):
        with torch.device("meta"):
            network = Classifier(SIZES[name], classes)
        assert sum(p.numel() for p in network.parameters()) == parameters
        assert len(network.state_dict()) == tensors

    def test_widths_divide_by_heads(self):
        for size in SIZES.values():
            assert size.width % size.heads == 0
            assert size.decoder_width % size.decoder_heads == 0

    def test_unknown_name(self):
        with pytest.raises(InputError, match=r"size 'bse' is unknown: choose tiny, .* or huge; did you mean 'base'\?"):
            size_named("bse")


class TestPositions:
    def test_spot_values(self):
        table = sincos_table(1568, 768)
        assert table.shape == (1568, 768)
        assert table.dtype == torch.float32
        assert table[0, :4].tolist() == [0, 1, 0, 1]
        for p, j in [(1567, 0), (1567, 1), (100, 6), (100, 767), (1234, 400)]:
            angle = p / 10000 ** (2 * (j // 2) / 768)
            assert table[p, j].item() == pytest.approx(math.cos(angle) if j % 2 else math.sin(angle), abs=1e-7)

    def test_not_in_the_state_dict(self, mae):
        assert {"encoder.patch_embed.position", "decoder_position"} <= dict(mae.named_buffers()).keys()
        assert not [
            name for name in mae.state_dict() if "position" in name or name.endswith((".mean", ".std", "k_bias"))
        ]

    @pytest.mark.parametrize(
        ("clip", "grid"),
        [
            ({"image_size": 48, "num_frames": 6, "patch_size": 12, "tubelet_size": 3}, (2, 4, 4)),
            ({"image_size": 40, "num_frames": 5, "patch_size": 8, "tubelet_size": 1}, (5, 5, 5)),
        ],
    )
    def test_follow_the_grid(self, clip, grid):
        mae, tokens = MaskedAutoencoder(SMALL, **clip), math.prod(grid)
        assert mae.encoder.patch_embed.grid == grid
        assert torch.equal(mae.encoder.patch_embed.position, sincos_table(tokens, SMALL.width))
        assert torch.equal(mae.decoder_position, sincos_table(tokens, SMALL.decoder_width))
        assert torch.equal(Classifier(SMALL, 5, **clip).patch_embed.position, sincos_table(tokens, SMALL.width))

    def test_default_device_is_followed(self):
        with torch.device("meta"):
            assert sincos_table(4, 8).is_meta


class TestPatchEmbed:
    def test_equals_the_convolution(self):
        embed, video = PatchEmbed(32, 32, 4, 8, 2), clips()
        mean, std = (torch.tensor(v).view(1, 3, 1, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        want = embed.proj((video / 255 - mean) / std).flatten(2).transpose(1, 2) + sincos_table(32, 32)
        torch.testing.assert_close(embed(video), want, atol=2e-5, rtol=0)
        torch.testing.assert_close(embed(video.float()), want, atol=2e-5, rtol=0)

    def test_gather_path_equals_boolean_mask(self):
        embed, video, (keep, _) = PatchEmbed(32, 32, 4, 8, 2), clips(), mask()
        visible = torch.zeros(2, 32, dtype=torch.bool).scatter(1, keep, True)
        torch.testing.assert_close(embed(video, keep), embed(video)[visible].view(2, -1, 32), atol=1e-5, rtol=0)

    def test_refuses_another_clip(self):
        embed = PatchEmbed(32, 32, 4, 8, 2)
        with pytest.raises(InputError, match=r"3 x 4 x 40 x 40 .* expects 3 x 4 x 32 x 32"):
            embed(torch.zeros(1, 3, 4, 40, 40))
        with pytest.raises(InputError, match="expects"):
            embed(torch.zeros(1, 3, 4, 32))

    def test_half_precision_weights(self):
        embed = PatchEmbed(32, 32, 4, 8, 2).to(torch.bfloat16)
        assert embed(clips()).dtype == torch.bfloat16


class TestMaskedAutoencoder:
    def test_names(self, mae):
        block = "norm1.weight norm1.bias attn.q_bias attn.v_bias attn.qkv.weight attn.proj.weight attn.proj.bias "
        block += "norm2.weight norm2.bias mlp.fc1.weight mlp.fc1.bias mlp.fc2.weight mlp.fc2.bias"
        want = {
            "encoder.patch_embed.proj.weight",
            "encoder.patch_embed.proj.bias",
            "encoder_to_decoder.weight",
        }
        want |= {
            "mask_token",
            "decoder.norm.weight",
            "decoder.norm.bias",
            "decoder.head.weight",
            "decoder.head.bias",
        }
        want |= {"encoder.norm.weight", "encoder.norm.bias"}
        want |= {f"encoder.blocks.{i}.{n}" for i in range(2) for n in block.split()}
        want |= {f"decoder.blocks.0.{n}" for n in block.split()}
        assert set(mae.state_dict()) == want

    def test_shape(self, mae):
        assert mae(clips(), *mask()).shape == (2, 24, 2 * 8 * 8 * 3)

    def test_order_of_tokens_does_not_matter(self, mae):
        """Positions carry it: shuffled visible tokens change nothing, masked ones permute the prediction."""
        video, (keep, masked) = clips(), mask()
        want = mae(video, keep, masked)
        shuffle = torch.randperm(masked.shape[1])
        got = mae(video, keep.flip(1), masked[:, shuffle])
        torch.testing.assert_close(got, want[:, shuffle], atol=1e-5, rtol=0)
        assert (want[:, 0] - want[:, 1]).abs().max() > 1e-3

    def test_prediction_sees_visible_tubes_only(self, mae):
        video, (keep, masked) = clips().float().requires_grad_(), mask()
        mae(video, keep, masked).square().sum().backward()
        moved = video.grad.abs().unfold(2, 2, 2).unfold(3, 8, 8).unfold(4, 8, 8).sum((1, 5, 6, 7)).flatten(1)  # (B, L)
        assert (moved.gather(1, masked) == 0).all()
        assert (moved.gather(1, keep) > 0).all()

    def test_every_parameter_learns(self, mae):
        mae(clips(), *mask()).square().sum().backward()
        assert [name for name, p in mae.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []

    def test_clips_do_not_mix(self, mae):
        video, (keep, masked) = clips(), mask()
        alone = mae(video[1:], keep[1:], masked[1:])
        torch.testing.assert_close(mae(video, keep, masked)[1:], alone, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("depth", [1, 3])
    def test_last_block_leaves_out_what_nobody_reads(self, depth):
        """Output and all gradients as if every token asked, in float64."""
        torch.manual_seed(0)
        decoder = noisy(Decoder(replace(SMALL, decoder_depth=depth), 12)).double()
        given = torch.randn(2, 32, SMALL.decoder_width, dtype=torch.float64, requires_grad=True)

        def plain(tokens):
            for block in decoder.blocks:
                tokens = block(tokens)
            return decoder.head(decoder.norm(tokens[:, -24:]))

        results = []
        for forward in (plain, lambda tokens: decoder(tokens, 24)):
            prediction = forward(given)
            of_what = [given, *decoder.parameters()]
            results.append([prediction, *torch.autograd.grad(prediction.square().sum(), of_what)])
        for want, got in zip(*results, strict=True):
            torch.testing.assert_close(got, want, atol=1e-12, rtol=1e-12)
            assert want.abs().max() > 1e-3

    def test_last_block_costs_less(self):
        with torch.device("meta"):
            decoder, given = Decoder(SMALL, 12), torch.empty(1, 32, SMALL.decoder_width)
            with FlopCounterMode(display=False) as counter:
                decoder(given, 24)
        d, masked, tokens = SMALL.decoder_width, 24, 32
        in_block = (2 * tokens + 10 * masked) * d**2 + 2 * masked * tokens * d
        assert counter.get_total_flops() == 2 * (in_block + masked * d * 12)

    def test_one_graph(self, mae):
        torch._dynamo.reset()
        video, (keep, masked) = clips(), mask()
        want = mae(video, keep, masked)
        names = set(mae.state_dict())
        mae.compile(backend="eager", fullgraph=True)
        torch.testing.assert_close(mae(video, keep, masked), want)
        assert set(mae.state_dict()) == names

    def test_initial_values(self):
        torch.manual_seed(0)
        mae = MaskedAutoencoder(SIZES["tiny"], **CLIP)
        assert mae.mask_token.abs().max() <= 0.02
        assert mae.mask_token.std() > 0.005
        qkv = mae.encoder.blocks[3].attn.qkv.weight  # xavier over the fused matrix
        assert qkv.abs().max().item() == pytest.approx(math.sqrt(6 / (192 + 3 * 192)), rel=1e-2)
        bound = 1 / math.sqrt(192)  # PyTorch's own for Linear
        assert mae.encoder_to_decoder.weight.abs().max().item() == pytest.approx(bound, rel=1e-2)
        assert mae.encoder.patch_embed.proj.bias.abs().max() > 0
        for name, parameter in mae.named_parameters():
            if name.endswith("bias") and "patch_embed" not in name:
                assert (parameter == 0).all(), name

    @pytest.mark.parametrize("network", [MaskedAutoencoder(SMALL, **CLIP), Classifier(SMALL, 5, **CLIP)])
    def test_norms_have_eps_1e_6(self, network):
        assert {m.eps for m in network.modules() if isinstance(m, nn.LayerNorm)} == {1e-6}


class TestClassifier:
    def test_names(self):
        names = {name.split(".")[0] for name in Classifier(SMALL, 5, **CLIP).state_dict()}
        assert names == {"patch_embed", "blocks", "fc_norm", "head"}

    def test_formula(self):
        network, video = noisy(Classifier(SMALL, 5, **CLIP)).eval(), clips()
        tokens = network.patch_embed(video)
        for block in network.blocks:
            tokens = block(tokens)
        torch.testing.assert_close(network(video), network.head(network.fc_norm(tokens.mean(1))))

    def test_initial_values(self):
        torch.manual_seed(0)
        network = Classifier(SIZES["tiny"], 50, **CLIP)
        assert network.head.weight.std().item() == pytest.approx(0.02 * 0.001, rel=0.05)
        assert network.blocks[2].mlp.fc1.weight.std().item() == pytest.approx(0.02, rel=0.02)
        assert (network.head.bias == 0).all()

    def test_drop_path_grows_linearly(self):
        network = Classifier(replace(SMALL, depth=5), 5, **CLIP, drop_path=0.2)
        rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in network.blocks]
        assert rates == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])

    def test_head_dropout_only_in_training(self):
        network, video = noisy(Classifier(SMALL, 5, **CLIP, head_dropout=0.5)), clips()
        network.head.weight.data.mul_(1000)
        assert not torch.equal(network(video), network(video))
        network.eval()
        assert torch.equal(network(video), network(video))

    def test_frames_that_do_not_fit(self):
        with pytest.raises(InputError, match="use 4 or 6 frames"):
            Classifier(SMALL, 5, image_size=32, num_frames=5, patch_size=8)
