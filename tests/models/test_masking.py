import pytest
import torch

from vsr.errors import InputError
from vsr.models.masking import (
    denormalize,
    gather_tokens,
    masked_per_slice,
    normalized_target,
    patchify,
    token_grid,
    tube_mask,
    tube_statistics,
    unpatchify,
)

GRID = (8, 14, 14)  # 16 x 224 x 224


def addresses(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.arange(n), torch.zeros(n, dtype=torch.int64)


class TestTokenGrid:
    def test_default_clip(self):
        assert token_grid(16, 224, 16, 2) == GRID

    def test_names_the_nearest_sizes(self):
        with pytest.raises(InputError, match=r"image_size 230 px .* patch_size 16: use 224 or 240 px"):
            token_grid(16, 230, 16, 2)
        with pytest.raises(InputError, match=r"num_frames 15 frames .* tubelet_size 2: use 14 or 16 frames"):
            token_grid(15, 224, 16, 2)

    def test_size_below_one_patch(self):
        with pytest.raises(InputError, match=r"use 16 px$"):
            token_grid(16, 9, 16, 2)

    @pytest.mark.parametrize("sizes", [(0, 224, 16, 2), (16, -16, 16, 2), (16, 224, 0, 2), (16, 224, 16, 0)])
    def test_refuses_what_is_not_positive(self, sizes):
        with pytest.raises(InputError, match="not positive"):
            token_grid(*sizes)


class TestTubeMask:
    @pytest.mark.parametrize(("ratio", "visible", "masked"), [(0.75, 392, 1176), (0.9, 160, 1408)])
    def test_counts(self, ratio, visible, masked):
        keep, mask = tube_mask(0, *addresses(3), GRID, ratio)
        assert keep.shape == (3, visible)
        assert mask.shape == (3, masked)
        assert keep.dtype == mask.dtype == torch.int64

    def test_every_token_once_and_ascending(self):
        keep, mask = tube_mask(0, *addresses(5), GRID, 0.75)
        assert torch.equal(torch.cat((keep, mask), 1).sort(1).values, torch.arange(1568).expand(5, -1))
        assert (keep.diff(dim=1) > 0).all()
        assert (mask.diff(dim=1) > 0).all()

    def test_same_positions_in_every_slice(self):
        _, mask = tube_mask(0, *addresses(2), GRID, 0.75)
        slices = mask.view(2, 8, -1) - torch.arange(8)[:, None] * 196
        assert torch.equal(slices, slices[:, :1].expand_as(slices))

    def test_follows_from_the_address_alone(self):
        index, epoch = torch.tensor([5, 9, 5, 5]), torch.tensor([0, 0, 1, 0])
        keep, _ = tube_mask(7, index, epoch, GRID, 0.75)
        alone, _ = tube_mask(7, index[1:2], epoch[1:2], GRID, 0.75)
        assert torch.equal(keep[1:2], alone)
        assert torch.equal(keep[0], keep[3])
        assert not torch.equal(keep[0], keep[2])  # another epoch
        assert not torch.equal(keep[0], keep[1])  # another video
        assert not torch.equal(keep, tube_mask(8, index, epoch, GRID, 0.75)[0])  # another seed

    def test_one_epoch_for_all(self):
        index, epoch = addresses(3)
        assert torch.equal(tube_mask(0, index, epoch + 4, GRID, 0.5)[1], tube_mask(0, index, 4, GRID, 0.5)[1])

    def test_larger_ratio_hides_a_superset(self):
        small, large = (set(tube_mask(0, *addresses(1), GRID, r)[1][0].tolist()) for r in (0.5, 0.9))
        assert small < large

    def test_positions_are_hidden_equally_often(self):
        _, mask = tube_mask(0, *addresses(4000), (1, 3, 3), 0.34)
        share = torch.bincount(mask.flatten(), minlength=9) / 4000
        assert share == pytest.approx([1 / 3] * 9, abs=0.04)  # 5 sigma

    def test_is_this_mask(self):
        """A change of any word, key or order would change every address."""
        _, mask = tube_mask(3, torch.tensor([11]), torch.tensor([2]), (2, 3, 3), 0.5)
        assert mask.tolist() == [[2, 3, 4, 6, 11, 12, 13, 15]]

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    def test_same_on_the_gpu(self):
        index, epoch = addresses(16)
        assert torch.equal(
            tube_mask(0, index, epoch, GRID, 0.75)[0],
            tube_mask(0, index.cuda(), epoch.cuda(), GRID, 0.75)[0].cpu(),
        )

    @pytest.mark.parametrize("ratio", [0.0, 0.005, 1.0, -0.5, 1.5])
    def test_refuses_all_or_nothing(self, ratio):
        with pytest.raises(InputError, match=rf"mask_ratio {ratio} .* at least 0\.006 and less than 1"):
            tube_mask(0, *addresses(1), GRID, ratio)

    @pytest.mark.parametrize("ratio", [0.006, 0.9999])
    def test_range_it_names_works(self, ratio):
        assert 0 < masked_per_slice(ratio, GRID) < 196

    def test_refuses_one_tube(self):
        with pytest.raises(InputError, match="one tube"):
            masked_per_slice(0.5, (8, 1, 1))


class TestPatchify:
    def test_order(self):
        """Token (t, y, x), element ((p0, p1, p2), c): every pixel says where it came from."""
        video = torch.arange(3 * 4 * 6 * 8).view(1, 3, 4, 6, 8)
        tubes = patchify(video, patch_size=2, tubelet_size=2)
        assert tubes.shape == (1, 2 * 3 * 4, 2 * 2 * 2 * 3)
        for t, y, x, p0, p1, p2, c in [(0, 0, 0, 0, 0, 0, 1), (1, 2, 3, 1, 0, 1, 2), (0, 1, 2, 1, 1, 0, 0)]:
            token, element = (t * 3 + y) * 4 + x, ((p0 * 2 + p1) * 2 + p2) * 3 + c
            assert tubes[0, token, element] == video[0, c, 2 * t + p0, 2 * y + p1, 2 * x + p2]

    def test_inverse(self):
        video = torch.randint(0, 256, (2, 3, 4, 6, 6), dtype=torch.uint8)
        assert torch.equal(unpatchify(patchify(video, 3, 2), (2, 2, 2), 3, 2), video)

    def test_gather_equals_boolean_mask(self):
        tokens = torch.randn(2, 1568, 5)
        keep, _ = tube_mask(0, *addresses(2), GRID, 0.75)
        visible = torch.zeros(2, 1568, dtype=torch.bool).scatter(1, keep, True)
        assert torch.equal(gather_tokens(tokens, keep), tokens[visible].view(2, -1, 5))


class TestNormalizedTarget:
    @pytest.mark.parametrize("pixels", [512, 392])  # 392: 2 x 14 x 14, not a power of two
    def test_constant_tube_is_exactly_zero(self, pixels):
        levels = torch.arange(256, dtype=torch.uint8).view(1, 256, 1).expand(1, 256, pixels * 3)
        assert (normalized_target(levels) == 0).all()

    def test_mean_and_unbiased_deviation(self):
        tubes = torch.randint(0, 256, (2, 5, 1536), dtype=torch.uint8)
        target = normalized_target(tubes).view(2, 5, 512, 3)
        torch.testing.assert_close(target.mean(2), torch.zeros(2, 5, 3), atol=1e-5, rtol=0)
        torch.testing.assert_close(target.std(2, unbiased=True), torch.ones(2, 5, 3), atol=1e-5, rtol=0)
        assert ((target.std(2, unbiased=False) - 1).abs() > 5e-4).all()

    def test_formula_in_float64(self):
        """(x - mean) / (sqrt(var) + 1e-6) for pixels in 0..1; the eps matters in nearly constant tubes."""
        tubes = torch.full((1, 2, 1536), 77, dtype=torch.uint8)
        tubes[0, 0, 3] = 78
        x = tubes.double().view(1, 2, 512, 3) / 255
        want = (x - x.mean(2, keepdim=True)) / (x.var(2, unbiased=True, keepdim=True).sqrt() + 1e-6)
        torch.testing.assert_close(normalized_target(tubes)[0, 0], want.flatten(2)[0, 0].float(), rtol=1e-4, atol=1e-6)

    def test_each_channel_alone(self):
        tubes = torch.randint(0, 256, (1, 1, 512, 3))
        other = tubes.clone()
        other[..., 1] = 0
        a, b = (normalized_target(t.flatten(2).float()).view(512, 3) for t in (tubes, other))
        assert torch.equal(a[:, [0, 2]], b[:, [0, 2]])
        assert not torch.equal(a[:, 1], b[:, 1])

    def test_float32_without_gradient(self):
        tubes = torch.rand(1, 2, 1536, requires_grad=True)
        target = normalized_target(tubes)
        assert target.dtype == torch.float32
        assert not target.requires_grad

    def test_denormalize_inverts(self):
        tubes = torch.randint(0, 256, (2, 3, 1536), dtype=torch.uint8)
        torch.testing.assert_close(denormalize(normalized_target(tubes), tubes), tubes.float(), atol=1e-3, rtol=0)

    def test_statistics(self):
        mean, std = tube_statistics(torch.tensor([[[0, 10, 255, 4, 10, 255]]], dtype=torch.uint8))  # two pixels
        assert mean.flatten().tolist() == [2, 10, 255]
        assert std.flatten().tolist() == pytest.approx([8**0.5, 0, 0])
