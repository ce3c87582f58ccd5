import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from measures import kurtosis, measure_all
from PIL import Image

from vsr import rng
from vsr.errors import InputError
from vsr.textures.collapsed import Layer, by_sign, synthesise
from vsr.textures.network import (
    READ,
    SIDES,
    colours,
    draw,
    lanczos,
    layer_of_channel,
    phases,
    power_law,
    tied_noise,
    untied_noise,
    wavelets,
)
from vsr.textures.stylegan import high_freq, oriented, styles, walk, walked, walked_styles

DATA = Path(os.environ.get("VSR_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "textures"
FAMILIES = {"oriented": oriented, "high_freq": high_freq}


@pytest.fixture(params=FAMILIES)
def gold(request):
    """The arrays of one run of the original generator."""
    file = DATA / f"gold_sg_{request.param.replace('_', '')}.npz"
    if not file.is_file():
        pytest.skip(f"no {file}: arrays of an original run are not part of the project")
    with np.load(file) as arrays:
        return request.param, {name: torch.tensor(arrays[name])[None] for name in arrays.files}


class TestWavelets:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_forty_and_their_negatives(self, family):
        bank = wavelets(family)
        assert bank.shape == (40, 9)
        assert torch.equal(bank[20:], -bank[:20])

    def test_lengths_are_the_published_ones(self):
        edges, lines = (2.449, 2.141, 2.0, 2.141), (2.828, 1.981, 2.375, 1.981)
        expected = torch.tensor([*edges, *edges, *lines, *lines, 1, 3, 5**0.5, 3])
        torch.testing.assert_close(wavelets("oriented")[:20].norm(dim=1), expected, atol=6e-4, rtol=0)
        assert (wavelets("oriented")[:16].sum(dim=1).abs() < 1e-6).all()

    def test_an_edge_and_a_line_point_the_same_way(self):
        across = wavelets("oriented").view(40, 3, 3)
        assert torch.equal(across[0], torch.tensor([[1.0, 0, -1]]).expand(3, 3))
        assert torch.equal(across[4].sign(), torch.tensor([[-1.0], [0], [1]]).expand(3, 3))
        assert torch.equal(across[8].sign(), torch.tensor([[1.0, -1, 1]]).expand(3, 3))

    def test_high_frequency_has_32_kernels_of_signs(self):
        bank = wavelets("high_freq")
        assert len(bank.unique(dim=0)) == 32
        assert set(bank.unique().tolist()) == {-1, 0, 1}

    def test_the_original_run_has_the_same(self, gold):
        family, arrays = gold
        bank = wavelets(family)
        seen = set()
        for i in range(len(SIDES)):
            kernel = arrays[f"conv{i}_kernel"][0].flatten(1)  # times one factor for the whole convolution
            which = (F.normalize(kernel) @ F.normalize(bank).T).argmax(dim=1)
            factor = kernel.norm() / bank[which].norm()
            torch.testing.assert_close(kernel, factor * bank[which], atol=1e-6, rtol=0)
            seen |= set(which.tolist())
        assert len(seen) == len(bank.unique(dim=0))


class TestNoise:
    @pytest.mark.parametrize("side", [4, 64])
    def test_amplitude_is_a_power_of_the_frequency(self, side):
        exponent = torch.tensor([0.5, 1.0, 1.5])
        phase = 2 * math.pi * torch.rand(3, side, side // 2 + 1, generator=torch.Generator().manual_seed(0))
        noise = power_law(exponent, phase)
        amplitude = torch.fft.fft2(noise.double()).abs()
        f = torch.fft.fftfreq(side, dtype=torch.float64) * 2
        radius = torch.hypot(f[:, None], f).flatten()[1:]
        expected = radius ** -exponent[:, None].double()
        torch.testing.assert_close(amplitude.flatten(1)[:, 1:], expected, rtol=1e-4, atol=0)
        assert (amplitude[:, 0, 0] < 1e-4).all()

    def test_untied_maps_are_their_own_and_as_strong_as_told(self):
        phase = 2 * math.pi * torch.rand(2, sum(map(phases, SIDES)), generator=torch.Generator().manual_seed(1))
        exponent = torch.linspace(0.5, 1.5, 26).view(2, 13)
        strength = torch.linspace(0.1, 0.3, 26).view(2, 13)
        maps = untied_noise(phase, exponent, strength)
        assert [m.shape[1] for m in maps] == list(SIDES)
        spreads = torch.stack([noise.std(dim=(1, 2), correction=0) for noise in maps], dim=1)
        torch.testing.assert_close(spreads, strength)
        assert np.abs(np.corrcoef(maps[-1][0].flatten(), maps[-2][0].flatten())[0, 1]) < 0.2
        assert kurtosis(maps[-1][0].double().numpy()) == pytest.approx(3, abs=0.5)
        # each layer its own exponent, in order
        for row in range(2):
            for noise, alpha in zip(maps, exponent[row], strict=True):
                amplitude = torch.fft.fft2(noise[row]).abs()
                torch.testing.assert_close((amplitude[0, 1] / amplitude[0, 2]).log2(), alpha, atol=1e-3, rtol=0)

    def test_tied_map_is_averaged_down(self):
        phase = 2 * math.pi * torch.rand(30, phases(512), generator=torch.Generator().manual_seed(1))
        words = rng.words(rng.Stream.STYLEGAN_ENVELOPE, 0, torch.arange(30), elements=8)
        strength = torch.linspace(0.1, 0.3, 30 * 13).view(30, 13)
        maps = tied_noise(phase, torch.linspace(0.5, 1.5, 30), strength, words)
        maps = [map_ / x[:, None, None] for map_, x in zip(maps, strength.unbind(1), strict=True)]
        assert [m.shape[1] for m in maps] == list(SIDES)
        torch.testing.assert_close(maps[-1], maps[-2])
        torch.testing.assert_close(F.avg_pool2d(maps[-1], 4), maps[-5], atol=1e-6, rtol=1e-5)
        spreads = torch.stack([m.var(dim=(1, 2)).mean().sqrt() for m in maps[::2]])
        expected = torch.tensor([0.40, 0.55, 0.64, 0.72, 0.78, 0.84, 0.91])  # measured on the original
        torch.testing.assert_close(spreads, expected, atol=0.05, rtol=0)
        assert 8 < np.mean([kurtosis(m.double().numpy()) for m in maps[-1]]) < 18  # 12; 3 without the envelope

    @pytest.mark.parametrize(("source", "target"), [(4, 512), (5, 8)])
    def test_lanczos_equals_pillow(self, source, target):
        cells = np.random.default_rng(0).normal(size=(source, source)).astype(np.float32)
        expected = np.asarray(Image.fromarray(cells).resize((target, target), Image.Resampling.LANCZOS))
        rows = lanczos(source, target)
        np.testing.assert_allclose(rows @ torch.tensor(cells).double() @ rows.T, expected, atol=1e-5)


def plain_synthesis(constant, convolutions, noises, biases, colors):
    """StyleGAN2's skip generator with all its channels, in float64: what the compact form must equal.

    Args:
        constant: (B, C, R, R).
        convolutions: weights (B, O, I, 3, 3), modulated but not demodulated; every other one doubles the resolution.
        noises: (B, R, R) for each convolution.
        biases: (B, O) for each convolution, or None.
        colors: (B, 3, O) for every other convolution.
    """
    fir = torch.tensor([1.0, 3, 3, 1], dtype=torch.float64)
    fir = (fir[:, None] * fir / fir.sum() ** 2)[None, None]

    def spread(x):
        zeros = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
        zeros[..., ::2, ::2] = x
        return zeros

    def smooth(x, before, after):
        planes = F.pad(x.flatten(0, 1)[:, None], (before, after, before, after))
        return 4 * F.conv2d(planes, fir).unflatten(0, x.shape[:2])[:, :, 0]

    x, image = constant.double(), 0
    for i, weight in enumerate(convolutions):
        weight = weight.double()
        weight = weight / weight.square().sum(dim=(2, 3, 4), keepdim=True).sqrt()
        outputs = []
        for sample, w in zip(x, weight, strict=True):
            if i % 2:
                full = F.conv2d(F.pad(spread(sample[None])[:, :, :-1, :-1], (2, 2, 2, 2)), w.flip(2, 3))
                outputs.append(smooth(full, 1, 1)[0])
            else:
                outputs.append(F.conv2d(sample[None], w, padding=1)[0])
        x = torch.stack(outputs) + noises[i].double()[:, None]
        if biases is not None:
            x = x + biases[i].double()[..., None, None]
        x = math.sqrt(2) * x.relu()
        if i % 2 == 0:
            rgb = torch.einsum("bkc,bcyx->bkyx", colors[i // 2].double(), x)
            image = rgb if i == 0 else smooth(spread(image), 2, 1) + rgb
    return image


def taps(kernel, style, enlarges):
    """What a modulated and demodulated layer makes of its channels: it convolves where it enlarges, else correlates."""
    scaled = kernel * style[..., None]
    scaled = scaled / scaled.square().sum(dim=(1, 2), keepdim=True).sqrt()
    return scaled if enlarges else scaled.flip(2)


class TestCollapse:
    @pytest.mark.parametrize("with_biases", [True, False])
    def test_equals_plain_modulated_convolutions(self, with_biases):
        generator = torch.Generator().manual_seed(5)
        batch, channels, sides = 2, (24, 24, 20, 16, 24, 12, 18, 10), (4, 8, 8, 16, 16, 32, 32)

        def normal(*shape):
            return torch.randn(batch, *shape, generator=generator)

        constant = normal(channels[0], 4, 4)
        kernels = [normal(c, 9) for c in channels[:-1]]
        style = [1 + 0.7 * normal(c) for c in channels]
        factors = [normal(c) for c in channels[1:]]
        noises = [0.3 * normal(side, side) for side in sides]
        biases = [0.3 * normal(c) for c in channels[1:]]
        colors = [normal(3, c) for c in channels[1::2]]

        weights = [  # n_o w_i s_i
            n[:, :, None, None, None] * (k * s[..., None]).view(batch, 1, -1, 3, 3)
            for n, k, s in zip(factors, kernels, style[:-1], strict=True)
        ]
        expected = plain_synthesis(constant, weights, noises, biases if with_biases else None, colors)

        layers = []
        for i, noise in enumerate(noises):
            parts = [taps(kernels[i + 1], style[i + 1], i % 2 == 0)] if i + 1 < len(sides) else []
            parts += [colors[i // 2].mT] if i % 2 == 0 else []
            read = by_sign(torch.cat(parts, dim=2), factors[i].sign())
            layers.append(Layer(noise, biases[i] if with_biases else None, read))
        image = synthesise(constant, taps(kernels[0], style[0], False), layers)
        assert image.shape == (batch, 3, 32, 32)
        assert (image - expected).norm() < 2e-6 * expected.norm()

    def test_equals_an_original_run(self, gold):
        family, arrays = gold
        kernels = [arrays[f"conv{i}_kernel"].flatten(2) for i in range(len(SIDES))]
        style = [arrays[f"conv{i}_style"] for i in range(len(SIDES))]
        layers = []
        for i in range(len(SIDES)):
            parts = [taps(kernels[i + 1], style[i + 1], i % 2 == 0)] if i + 1 < len(SIDES) else []
            if i % 2 == 0:
                parts.append((arrays[f"rgb_after{i}_w"] * arrays[f"rgb_after{i}_style"][:, None]).mT)
            bias = arrays[f"conv{i}_bias"]
            assert bool(bias.any()) == (family == "oriented")
            read = by_sign(torch.cat(parts, dim=2), arrays[f"conv{i}_n"].sign())
            layers.append(Layer(arrays[f"conv{i}_noise"], bias if family == "oriented" else None, read))
        image = synthesise(arrays["const"], taps(kernels[0], style[0], False), layers)
        assert (image - arrays["img"]).norm() < 2e-5 * arrays["img"].norm()  # 5e-6 and 6e-7

    @pytest.mark.parametrize("family", FAMILIES)
    def test_no_precision_setting_matters(self, family):
        made = draw(torch.arange(1), 0, family)
        expected = made.image(styles(made))
        torch.set_float32_matmul_precision("medium")
        try:
            with torch.autocast("cpu", torch.bfloat16):
                again = draw(torch.arange(1), 0, family)
                assert torch.equal(again.image(styles(again)), expected)
        finally:
            torch.set_float32_matmul_precision("highest")


@pytest.fixture(scope="module")
def network():
    return draw(torch.arange(40), 0, "oriented")


class TestDraws:
    def test_architecture(self, network):
        assert list(READ) == [512] * 10 + [256, 256, 128, 128]
        assert list(SIDES) == [4, 8, 8, 16, 16, 32, 32, 64, 64, 128, 128, 256, 256]
        assert network.kernel.shape == (40, 5760, 9)
        assert [tuple(noise.shape) for noise in network.noise] == [(40, side, side) for side in SIDES]
        assert layer_of_channel(torch.device("cpu")).bincount().tolist() == list(READ)

    def test_normals(self, network):
        width = torch.tensor(READ)[layer_of_channel(torch.device("cpu"))]
        for name in ("constant", "latent", "style", "color"):
            values = getattr(network, name).double()
            values = (values * width[:, None].sqrt() if name == "color" else values).flatten()
            assert abs(values.mean()) < 5 / len(values) ** 0.5, name
            assert values.var() == pytest.approx(1, abs=5 * (2 / len(values)) ** 0.5), name
            assert kurtosis(values.numpy()) == pytest.approx(3, abs=5 * (24 / len(values)) ** 0.5), name

    def test_styles_spread_as_published(self, network):
        style = styles(network).double()
        assert style.mean() == pytest.approx(1, abs=0.005)
        assert style.std() == pytest.approx(0.72, abs=0.005)

    def test_signs_and_biases(self, network):
        assert set(network.sign.unique().tolist()) == {-1, 1}
        assert abs(network.sign.mean()) < 0.01
        assert network.bias.min() == pytest.approx(-0.2, abs=1e-4)
        assert network.bias.max() == pytest.approx(0.2, abs=1e-4)
        assert network.bias.std() == pytest.approx(0.4 / 12**0.5, rel=0.01)
        assert abs((network.bias * network.sign).mean()) < 0.001
        assert draw(torch.arange(1), 0, "high_freq").bias is None

    def test_oriented_has_5_to_40_wavelets_in_a_layer(self, network):
        bank = wavelets("oriented")
        which = torch.cdist(network.kernel.view(-1, 9), bank).argmin(dim=1).view(40, -1)
        assert torch.equal(bank[which], network.kernel)
        counts = torch.tensor([[len(part.unique()) for part in row.split(READ[:-1])] for row in which])
        assert counts.min() == 5
        assert counts.max() == 40
        assert counts.float().mean() == pytest.approx(22.5, abs=1.5)
        assert which.flatten().bincount().float().std() < 0.15 * which.numel() / 40  # none is preferred

    def test_high_frequency_takes_all_wavelets(self):
        kernel = draw(torch.arange(4), 0, "high_freq").kernel
        bank, times = wavelets("high_freq").unique(dim=0, return_counts=True)
        for part in kernel.split(READ[:-1], dim=1):
            seen, counts = part.flatten(0, 1).unique(dim=0, return_counts=True)
            assert torch.equal(seen, bank)
            expected = times / 40 * part.shape[1] * 4
            assert ((counts - expected).square() / expected).sum() < 70  # chi square of 31 degrees of freedom

    def test_noise_strengths(self):
        noise = draw(torch.arange(24), 0, "high_freq").noise
        strength = torch.stack([map_.std(dim=(1, 2), correction=0) for map_ in noise])
        assert strength.min() < 0.01
        assert 0.29 < strength.max() < 0.3
        assert strength.mean() == pytest.approx(0.15, abs=0.02)

    def test_colour_law(self):
        words = rng.words(rng.Stream.STYLEGAN_COLOURS, 0, torch.arange(4000), elements=2)
        mean, std = (x.view(-1, 3).double() for x in colours(words))
        np.testing.assert_allclose(mean.mean(dim=0), (0.483, 0.455, 0.401), atol=0.01)
        np.testing.assert_allclose(mean.std(dim=0), (0.145, 0.142, 0.161), rtol=0.05)
        np.testing.assert_allclose(std.mean(dim=0), (0.219, 0.213, 0.213), atol=0.005)
        np.testing.assert_allclose(std.std(dim=0), (0.063, 0.062, 0.069), rtol=0.05)
        assert np.abs(np.corrcoef(torch.cat((mean, std), dim=1).T) - np.eye(6)).max() < 0.06


@pytest.mark.parametrize("family", FAMILIES)
class TestTextures:
    def test_bytes(self, family):
        textures = FAMILIES[family](torch.arange(3), 5, 256)
        assert textures.shape == (3, 3, 256, 256)
        assert textures.dtype == torch.uint8
        network = draw(torch.arange(3), 5, family)
        mean = textures.double().mean(dim=(2, 3)) / 255
        np.testing.assert_allclose(mean, network.mean[..., 0, 0], atol=0.06)  # but for what was clipped

    def test_none(self, family):
        assert FAMILIES[family](torch.arange(0)).shape == (0, 3, 128, 128)

    def test_small_ones_are_resampled(self, family):
        index = torch.tensor([7])
        large, small = FAMILIES[family](index, 0, 256)[0].float(), FAMILIES[family](index, 0, 96)[0]
        for channel, result in zip(large, small, strict=True):
            expected = np.asarray(Image.fromarray(channel.numpy()).resize((96, 96), Image.Resampling.BICUBIC))
            np.testing.assert_allclose(result, expected.clip(0, 255), atol=0.51)  # rounded

    def test_alone_equals_in_a_batch(self, family):
        index = torch.tensor([7, 2**32 - 1, 0])
        together = FAMILIES[family](index, 3, 256)
        for i, k in enumerate(index):
            assert torch.equal(together[i], FAMILIES[family](k[None], 3, 256)[0])

    def test_threads_do_not_matter(self, family):
        before = torch.get_num_threads()
        try:
            textures = []
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                textures.append(FAMILIES[family](torch.arange(3), 3))
                assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)
        assert torch.equal(textures[0], textures[1])
        assert torch.equal(textures[0], textures[2])

    def test_many_at_once_differ_by_rounding(self, family, monkeypatch):
        index, frame = torch.arange(3), torch.tensor([[0, 3], [3, 0], [1, 2]])

        def make():
            return torch.cat((FAMILIES[family](index, 3)[:, None], walk(index, frame, 3, family=family)), dim=1)

        expected = make().int()
        for at_once in (2, 5):
            monkeypatch.setattr("vsr.textures.stylegan._AT_ONCE", {"cpu": at_once})
            difference = (expected - make().int()).abs()
            assert difference.float().mean() < 0.01
            assert difference.max() <= 2

    def test_seed_and_index_matter(self, family):
        make = FAMILIES[family]
        texture = make(torch.tensor([4]), 0, 64)
        assert torch.equal(texture, make(torch.tensor([4]), 0, 64))
        for index, seed in ((4, 1), (5, 0), (4, 2**63)):
            assert not torch.equal(texture, make(torch.tensor([index]), seed, 64))

    def test_leaves_the_global_generators_alone(self, family):
        before = torch.get_rng_state()
        walk(torch.arange(1), torch.tensor([[1]]), family=family)
        assert torch.equal(torch.get_rng_state(), before)

    @pytest.mark.parametrize("size", [0, 257])
    def test_size_out_of_range_is_named(self, family, size):
        with pytest.raises(InputError, match=f"texture size {size} is not possible: .* 1 to 256"):
            FAMILIES[family](torch.arange(1), 0, size)

    def test_gpu_differs_by_rounding(self, family, gpu):
        index = torch.arange(16)
        result = FAMILIES[family](index.to(gpu)).cpu().float()
        difference = (result - FAMILIES[family](index).float()).abs()
        assert difference.mean() < 0.1  # grey levels


class TestWalk:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_starts_at_the_texture_and_goes_as_far_as_measured(self, family):
        index, frame = torch.arange(4), torch.tensor([[0, 1, 16]] * 4)
        still = FAMILIES[family](index, 0, 256)
        assert torch.equal(walk(index[:1], frame[:1], 0, 256, family, delta=0.0)[0, 2], still[0])
        moved = []
        for delta in (0.02, 0.05, 0.1):
            frames = walk(index, frame, 0, 256, family, delta)
            assert torch.equal(frames[:, 0], still)
            moved.append((frames[:, 1:].float() - still[:, None]).abs().mean(dim=(0, 2, 3, 4)))
        assert (torch.stack(moved).diff(dim=0) > 0).all()
        # grey levels measured on 8 walks of the original's networks: from frame 0 to 1, from 0 to 16
        expected = {"oriented": [[2.6, 10], [6.0, 20], [10.4, 31]], "high_freq": [[1.4, 5.7], [3.4, 14], [6.5, 26]]}
        torch.testing.assert_close(torch.stack(moved), torch.tensor(expected[family]), rtol=0.5, atol=0)

    @pytest.mark.parametrize("family", FAMILIES)
    def test_a_frame_is_the_same_alone(self, family):
        index = torch.tensor([5, 9])
        frame = torch.tensor([[3, 0, 40, 12], [0, 1, 2, 3]])
        together = walk(index, frame, 1, 256, family)
        assert together.shape == (2, 4, 3, 256, 256)
        for i, t in ((0, 0), (0, 2), (1, 3)):
            alone = walk(index[i, None], frame[i, t, None, None], 1, 256, family)
            assert torch.equal(alone[0, 0], together[i, t])

    def test_latents_take_normal_steps(self):
        latent = draw(torch.arange(8), 0, "oriented").latent
        path = walked(latent, torch.arange(8), 0, 40, 0.1, 1.0)
        assert torch.equal(path[:, 0], latent)
        steps = path.diff(dim=1).double() / 0.1
        assert abs(steps.mean()) < 5 / steps.numel() ** 0.5
        assert steps.var() == pytest.approx(1, abs=0.01)
        assert kurtosis(steps.numpy()) == pytest.approx(3, abs=0.02)
        assert abs((steps[:, 1:] * steps[:, :-1]).mean()) < 0.005
        assert path[:, -1].var() == pytest.approx(1.4, abs=0.03)

    def test_variance_can_stay(self):
        latent = draw(torch.arange(8), 0, "oriented").latent
        path = walked(latent, torch.arange(8), 0, 40, 0.3, math.sqrt(1 - 0.3**2))
        np.testing.assert_allclose(path.var(dim=(0, 2, 3)), 1, atol=0.03)
        index, frame = torch.arange(1), torch.tensor([[1]])
        assert not torch.equal(walk(index, frame), walk(index, frame, preserve_variance=True))

    def test_styles_are_one_normal_matrix_times_the_latents(self):
        index = torch.tensor([6])
        network = draw(index, 2, "oriented")
        latent = torch.randn(1, 560, 14, 512, generator=torch.Generator().manual_seed(0))
        latent[:, 0] = network.latent
        style = walked_styles(network, latent, index, 2)[0].double()
        assert torch.equal(style[0].float(), styles(network)[0])
        w = F.leaky_relu(latent, 0.2)[0].double() / 512**0.5
        start = 0
        for layer, channels in enumerate(READ):
            seen = style[:, start : start + channels, : 1 + layer % 2].flatten(1) - 1
            matrix, *_ = torch.linalg.lstsq(w[:, layer], seen)
            assert (w[:, layer] @ matrix - seen).abs().max() < 1e-4
            assert abs(matrix.mean()) < 5 / matrix.numel() ** 0.5
            assert matrix.var() == pytest.approx(1, abs=0.03)
            start += channels

    def test_none(self):
        assert walk(torch.arange(0), torch.empty(0, 4, dtype=torch.int64)).shape == (0, 4, 3, 128, 128)
        assert walk(torch.arange(2), torch.empty(2, 0, dtype=torch.int64), 0, 64).shape == (2, 0, 3, 64, 64)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"delta": 1.5}, "delta 1.5 is not possible: use 0 to 1"),
            ({"frame": torch.tensor([[0, -2]])}, "frame -2 of a walk is not possible: they count from 0"),
            ({"frame": torch.zeros(2, 3).long()}, r"frames \(2, 3\) don't go with 1 walks"),
            ({"family": "sparse"}, "family 'sparse' is not known: use oriented or high_freq"),
            ({"size": 512}, "texture size 512 is not possible"),
        ],
    )
    def test_bad_arguments_are_named(self, arguments, message):
        with pytest.raises(InputError, match=message):
            walk(torch.arange(1), **{"frame": torch.tensor([[0]]), **arguments})


# Medians of 24 or 25 published images, then of 300 textures of another implementation, as JPEG files of 128 px.
MEASURED = {
    "oriented": {
        "slope": (3.34, 3.49),
        "gradient_kurtosis": (15.9, 16.2),
        "haar_kurtosis": ((16, 9.2, 5.4, 4.1), (18, 11, 6.6, 4.5)),
        "haar_std": ((0.028, 0.089, 0.191, 0.438), (0.029, 0.085, 0.201, 0.430)),
    },
    "high_freq": {
        "slope": (2.82, 2.74),
        "gradient_kurtosis": (4.1, 4.4),
        "haar_kurtosis": ((4.4, 4.0, 3.7, 3.2), (4.5, 4.2, 3.8, 3.2)),
        "haar_std": ((0.030, 0.065, 0.172, 0.437), (0.030, 0.078, 0.195, 0.485)),
    },
}


def shrink(textures):
    """To 128 px by Lanczos interpolation, as those measured were."""
    images = (Image.fromarray(texture.permute(1, 2, 0).numpy()) for texture in textures)
    small = [np.array(image.resize((128, 128), Image.Resampling.LANCZOS)) for image in images]
    return torch.tensor(np.stack(small)).permute(0, 3, 1, 2)


@pytest.fixture(scope="module")
def seen():
    """Statistics of 200 textures of each family, of different numbers, for the same would have the same colours."""
    index = torch.arange(200)
    return {
        "oriented": measure_all(shrink(oriented(index, 0, 256)), quality=95),
        "high_freq": measure_all(shrink(high_freq(index + 200, 0, 256)), quality=95),
    }


class TestStatistics:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_spectra(self, seen, family):
        published, other = MEASURED[family]["slope"]
        low, median, high = np.percentile(seen[family]["slope"], (25, 50, 75))
        assert median == pytest.approx(published, abs=0.4)
        assert median == pytest.approx(other, abs=0.15)
        quartiles = {"oriented": (2.84, 4.16), "high_freq": (2.35, 3.14)}[family]
        assert (low, high) == pytest.approx(quartiles, abs=0.2)

    @pytest.mark.parametrize("family", FAMILIES)
    @pytest.mark.parametrize("name", ["gradient_kurtosis", "haar_kurtosis", "haar_std"])
    def test_tails_and_bands(self, seen, family, name):
        published, other = MEASURED[family][name]
        median = np.median(seen[family][name], axis=0)
        np.testing.assert_allclose(median, published, rtol=0.4)  # 25 images leave much open
        np.testing.assert_allclose(median, other, rtol=0.2)

    def test_borders(self, seen):
        """As in the published images: gradients across the border over those inside, opposite borders' difference."""
        for family, rim, wrap in (("oriented", 2.72, 5.8), ("high_freq", 1.24, 2.2)):
            assert np.median(seen[family]["rim"]) == pytest.approx(rim, rel=0.2)
            assert np.median(seen[family]["wrap"]) == pytest.approx(wrap, rel=0.35)  # 24 images leave much open

    def test_directions(self, seen):
        assert np.median(seen["oriented"]["anisotropy"]) == pytest.approx(1.05, abs=0.3)
        assert np.median(seen["high_freq"]["anisotropy"]) == pytest.approx(0.15, abs=0.05)

    def test_channels_correlate(self, seen):
        assert np.mean(seen["oriented"]["abs_corr"]) == pytest.approx(0.60, abs=0.06)
        assert np.mean(seen["high_freq"]["abs_corr"]) == pytest.approx(0.41, abs=0.06)

    def test_colours(self, seen):
        mean = np.concatenate([s["mean"] for s in seen.values()])
        np.testing.assert_allclose(mean.mean(axis=0), (0.485, 0.457, 0.403), atol=0.025)  # standard error 0.007
        np.testing.assert_allclose(mean.std(axis=0), (0.132, 0.133, 0.147), atol=0.015)
        std = np.concatenate([s["std"] for s in seen.values()])
        np.testing.assert_allclose(std.mean(axis=0), (0.173, 0.180, 0.163), atol=0.015)
