"""Attention keys and their PCA, beside attention written out and NumPy's SVD."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from vsr.analysis import keys
from vsr.analysis.pictures import run_labels
from vsr.errors import InputError
from vsr.models.exchange import convert, read_weights
from vsr.models.vit import SIZES, Classifier, MaskedAutoencoder

CLIP = {"image_size": 32, "num_frames": 4, "patch_size": 8, "tubelet_size": 2}
WIDTH, HEADS, TOKENS = 192, 3, 16
pytestmark = pytest.mark.usefixtures("one_thread")


def network(kind=MaskedAutoencoder):
    """With weights and biases that are all other than zero, as a trained one's are."""
    torch.manual_seed(0)
    made = kind(SIZES["tiny"], *([5] if kind is Classifier else []), **CLIP)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made.eval()


def saved(made, path, shape=CLIP):
    state = {f"model.{name}": tensor for name, tensor in made.state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": shape}, path)
    return path


@pytest.fixture
def checkpoint(tmp_path):
    return saved(network(), tmp_path / "last.ckpt")


def windows(count=3) -> Tensor:
    return torch.randint(0, 256, (count, 3, 2, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


class TestKeys:
    def test_they_are_what_the_last_attention_compares_with(self, checkpoint):
        """Queries, keys and values by hand, heads apart, must give what the block's attention gives."""
        encoder = keys.window_encoder(read_weights(checkpoint))
        attention, seen = encoder.blocks[-1].attn, {}
        attention.register_forward_hook(lambda _, given, output: seen.update(given=given[0], output=output))
        with torch.no_grad():
            encoder(windows())
        query, key, value = (seen["given"] @ part.T for part in attention.qkv.weight.split(WIDTH))
        query, value = query + attention.q_bias, value + attention.v_bias
        found = []
        for head in range(HEADS):
            q, k, v = (t[..., head * WIDTH // HEADS : (head + 1) * WIDTH // HEADS] for t in (query, key, value))
            found.append(torch.softmax(q @ k.mT / (WIDTH / HEADS) ** 0.5, dim=-1) @ v)
        output = F.linear(torch.cat(found, dim=-1), attention.proj.weight, attention.proj.bias)
        torch.testing.assert_close(output, seen["output"], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(keys.attention_keys(encoder, windows()), key)

    def test_however_many_windows_go_in_at_once(self, checkpoint):
        encoder = keys.window_encoder(read_weights(checkpoint))
        many = windows(70)
        expected = torch.cat([keys.attention_keys(encoder, window) for window in many.split(7)])
        torch.testing.assert_close(keys.attention_keys(encoder, many), expected)

    def test_positions_are_those_of_the_first_tubes(self, checkpoint):
        encoder = keys.window_encoder(read_weights(checkpoint))
        assert torch.equal(encoder.patch_embed.position, network().encoder.patch_embed.position[:TOKENS])
        assert not torch.equal(encoder.patch_embed.position, network().encoder.patch_embed.position[TOKENS:])

    @pytest.mark.parametrize("to", ["videomae", "hf"])
    @pytest.mark.parametrize("kind", [MaskedAutoencoder, Classifier])
    def test_every_layout_and_a_classifier_have_them(self, kind, to, tmp_path):
        own = saved(network(kind), tmp_path / "own.ckpt")
        convert(own, tmp_path / "other", to, verify=False)
        one, other = (keys.window_encoder(read_weights(path)) for path in (own, tmp_path / "other"))
        assert torch.equal(keys.attention_keys(one, windows()), keys.attention_keys(other, windows()))

    def test_an_encoder_that_is_not_whole_is_refused(self, tmp_path):
        made = network()
        del made.encoder.blocks[5].attn.qkv
        path = saved(made, tmp_path / "part.ckpt")
        with pytest.raises(InputError, match=r"part\.ckpt lacks blocks\.5\.attn\.qkv\.weight"):
            keys.window_encoder(read_weights(path))

    def test_on_a_gpu(self, checkpoint, gpu):
        encoder = keys.window_encoder(read_weights(checkpoint))
        expected = keys.attention_keys(encoder, windows())
        found = keys.moments([keys.attention_keys(encoder.to(gpu), windows())])
        assert found.mean.device.type == keys.principal_axes(found).device.type == "cuda"
        # TF32 is allowed there.
        torch.testing.assert_close(found.mean.cpu(), expected.double().mean(dim=(0, 1)), atol=1e-2, rtol=1e-2)


def test_windows_slide_by_a_frame():
    video = torch.arange(5 * 4 * 6).reshape(1, 5, 4, 6).expand(3, -1, -1, -1)
    found = keys.sliding_windows(video, 2)
    assert found.shape == (4, 3, 2, 4, 6)
    for first in range(4):
        assert torch.equal(found[first], video[:, first : first + 2])


class TestComponents:
    def vectors(self, count=500, width=12) -> Tensor:
        """Of uneven variance, far from zero."""
        draws = np.random.default_rng(0).normal(size=(count, width)) * np.linspace(1, 4, width)
        return torch.from_numpy(draws @ np.random.default_rng(1).normal(size=(width, width)) + 100)

    def test_they_are_those_of_the_singular_value_decomposition(self):
        vectors = self.vectors()
        found = keys.moments(part.reshape(1, -1, 12) for part in vectors.float().split([1, 299, 200]))
        axes = keys.principal_axes(found)
        centred = vectors.float().double().numpy()
        centred -= centred.mean(axis=0)
        _, singular, right = np.linalg.svd(centred, full_matrices=False)
        right *= np.sign(right[np.arange(12), np.abs(right).argmax(axis=1)])[:, None]
        np.testing.assert_allclose(axes, right[:3], atol=1e-9)
        np.testing.assert_allclose(keys.explained(found, axes), (singular**2 / (singular**2).sum())[:3], rtol=1e-9)
        scores = keys.project(vectors.float()[None], found, axes)
        np.testing.assert_allclose(scores[0], centred @ right[:3].T, atol=1e-3)

    def test_the_largest_entry_of_each_axis_is_positive(self):
        for sign in (1, -1):
            axes = keys.principal_axes(keys.moments([sign * self.vectors()]))
            assert (axes.gather(1, axes.abs().argmax(1, keepdim=True)) > 0).all()

    @pytest.mark.parametrize("directions", [0, 2])
    def test_fewer_than_three_directions_are_refused(self, directions):
        flat = torch.zeros(50, 12)
        flat[:, :directions] = torch.randn(50, directions, generator=torch.Generator().manual_seed(0))
        with pytest.raises(InputError, match="50 keys of width 12 differ in fewer than 3 directions"):
            keys.principal_axes(keys.moments([flat]))

    def test_turned_and_swapped_components_are_found_again(self):
        scores = torch.randn(400, 3, generator=torch.Generator().manual_seed(0))
        other = scores[:, [2, 0, 1]] * torch.tensor([-1.0, 1.0, -3.0]) + 7
        order, sign = keys.matched(other, scores)
        assert order == [1, 2, 0]
        assert sign.tolist() == [1, -1, -1]

    def test_colours_span_the_range_of_each_window_and_channel(self):
        scores = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
        scores[1, :, 2] = 5.0  # constant
        colours = keys.as_colours(scores, 2, 3)
        assert (colours.shape, colours.dtype) == ((2, 2, 3, 3), torch.uint8)
        assert (colours[1, ..., 2] == 0).all()
        for window, channel in ((0, 0), (0, 1), (0, 2), (1, 0), (1, 1)):
            given = scores[window, :, channel].numpy()
            expected = np.round(255 * (given - given.min()) / (given.max() - given.min()))
            assert colours[window, ..., channel].flatten().tolist() == expected.tolist()


class TestLabels:
    def test_what_differs_between_paths(self, tmp_path):
        def of(*paths):
            return run_labels([tmp_path / path for path in paths])

        runs = [f"runs/pretrain/{name}/default/checkpoints/last.ckpt" for name in ("static_circles", "acc_shapes")]
        assert of(*runs) == ["static_circles", "acc_shapes"]
        assert of(runs[0]) == ["static_circles"]
        assert of("a/vit_b.pth") == ["vit_b"]
        other = runs[0].replace("last", "previous")
        assert of(runs[0], other) == ["last", "previous"]
        assert of(runs[0], other, runs[1]) == ["static_circles/last", "static_circles/previous", "acc_shapes/last"]
        assert of("a/x.ckpt", "hf") == ["a/x.ckpt", "hf"]

    def test_a_checkpoint_given_twice_is_refused(self, tmp_path):
        with pytest.raises(InputError, match="given twice"):
            run_labels([tmp_path / "a", tmp_path / "b", tmp_path / "a"])
