"""Ground truth is true: it explains the pixels it comes with."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import vsr
from vsr.latents import SHAPES, latents
from vsr.recipe import Recipe, load_recipe
from vsr.textures.bank import TextureBank
from vsr.truth import Truth

CLIP = {"index": [3, 8], "epoch": [1, 0], "num_frames": 3, "stride": 2, "size": 96}


def truth_of(recipe: Recipe, **options) -> Truth:
    return vsr.render_truth(recipe, seed=4, **(CLIP | options))


def fetch(image: Tensor, flow: Tensor) -> Tensor:
    """What an image (B, C, H, W) shows where the flow (B, 2, H, W) leads: nearest pixel."""
    height, width = image.shape[2:]
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    at = torch.stack((x, y)) + flow
    grid = at.permute(0, 2, 3, 1) / torch.tensor([width, height]) * 2 - 1
    return F.grid_sample(image.float(), grid, mode="nearest", align_corners=False)


def inner(number: Tensor, by: int = 2) -> Tensor:
    """Pixels (B, H, W) that show the same object as all their neighbours."""
    around = number.float()[:, None]
    return (-F.max_pool2d(-around, 2 * by + 1, 1, by) == F.max_pool2d(around, 2 * by + 1, 1, by))[:, 0]


def test_the_clips_are_those_of_training():
    recipe = load_recipe("acc_shapes")
    assert torch.equal(truth_of(recipe).video, vsr.render_clips(recipe, seed=4, **CLIP))


@pytest.mark.parametrize("renderer", ["fused", "reference"])
def test_every_pixel_has_the_colour_of_its_object(renderer):
    recipe = load_recipe("acc_shapes")
    truth = truth_of(recipe, renderer=renderer)
    color = latents(recipe, 4, torch.tensor(CLIP["index"])).color
    for video, number, palette in zip(truth.video, truth.object, color, strict=True):
        shown = torch.where(number[..., None] >= 0, palette[number.long().clamp(min=0)], 0)
        assert torch.equal(video.permute(1, 2, 3, 0), shown)


def test_flow_warps_a_frame_to_the_next():
    truth = truth_of(load_recipe("acc_shapes"))
    for frame in range(2):
        flow, seen = truth.flow(frame)
        warped = fetch(truth.video[:, :, frame + 1], flow)
        sure = seen & inner(truth.object[:, frame])
        assert sure.float().mean() > 0.5
        assert (warped == truth.video[:, :, frame])[sure[:, None].expand_as(warped)].all()
        moved = flow[(truth.object[:, frame] >= 0)[:, None].expand_as(flow)]
        assert moved.abs().mean() > 1  # px in two frames of the video


def test_flow_warps_textures_too():
    """A texture's smooth slope is found again where the flow leads, to a texel."""
    recipe = replace(load_recipe("acc_textures"), texture_pool=4, texture_size=64)
    bank = TextureBank(recipe)
    slope = torch.arange(64, dtype=torch.uint8) * 2
    texture = torch.stack((slope.expand(64, 64), slope[:, None].expand(64, 64), slope.expand(64, 64)))
    bank.generate = lambda some: texture.expand(len(some), 1, 3, 64, 64)
    truth = truth_of(recipe, bank=bank)
    flow, seen = truth.flow(0)
    warped = fetch(truth.video[:, :, 1], flow)
    sure = (seen & inner(truth.object[:, 0]) & (truth.object[:, 0] >= 0))[:, None].expand_as(warped)
    difference = (warped - truth.video[:, :, 0]).abs()[sure]
    assert sure.float().mean() > 0.4
    assert difference.max() <= 2 * 2  # a nearest pixel is at most 0.7 px off, a texel is 2 levels


def test_a_point_that_is_hidden_or_gone_is_not_seen():
    truth = truth_of(load_recipe("acc_shapes"), stride=12)
    flow, seen = truth.flow(0)
    y, x = torch.meshgrid(torch.arange(96) + 0.5, torch.arange(96) + 0.5, indexing="ij")
    at = torch.stack((x, y)) + flow
    outside = ((at < 0) | (at >= 96)).any(dim=1)
    assert outside.any()
    assert not (seen & outside).any()
    there = fetch(truth.object[:, 1:2].float(), flow)[:, 0]
    hidden = ~outside & (there != truth.object[:, 0])
    assert hidden.any()
    assert not (seen & hidden).any()
    assert seen.float().mean() > 0.3


def test_velocity_is_how_far_an_object_goes_in_a_frame():
    truth = truth_of(load_recipe("acc_shapes"), stride=1, num_frames=4)
    center = truth.output_from_unit[..., 2]
    gone = center.diff(dim=1)
    mean = (truth.velocity[:, 1:] + truth.velocity[:, :-1]) / 2  # exact: acceleration is constant
    torch.testing.assert_close(gone, mean)
    torch.testing.assert_close(truth.velocity.diff(dim=1), truth.acceleration[:, None].expand(-1, 3, -1, -1))
    torch.testing.assert_close(truth.time.diff(dim=1), torch.ones(2, 3, dtype=torch.int64))


def test_static_circles_have_none():
    truth = truth_of(load_recipe("static_circles"))
    flow, seen = truth.flow(1)
    assert flow.abs().max() < 1e-4
    assert seen.all()
    assert truth.velocity.abs().max() == 0
    assert [SHAPES[k] for k in truth.shape.unique()] == ["circle"]


def test_depth_counts_the_objects_in_front():
    truth = truth_of(replace(load_recipe("acc_shapes"), num_objects=7))
    assert torch.equal(truth.depth, 6 - truth.object)
    assert truth.depth.max() == 7  # the background lies behind all seven
    assert truth.depth.min() >= 0


def test_a_flow_without_a_next_frame_is_refused():
    with pytest.raises(IndexError, match=r"frame 2 of 3 has no next"):
        truth_of(load_recipe("acc_shapes")).flow(2)


def test_pictures_show_what_is_known(tmp_path):
    truth = truth_of(load_recipe("acc_shapes"))
    pictures = truth.pictures(1)
    assert list(pictures) == ["clip", "objects", "depth", "flow"]
    assert {(p.shape, p.dtype) for p in pictures.values()} == {((3, 96, 96, 3), torch.uint8)}
    assert torch.equal(pictures["clip"], truth.video[1].permute(1, 2, 3, 0))
    colors = pictures["objects"].flatten(0, 2).unique(dim=0)
    assert len(truth.object[1].unique()) >= len(colors) > 20
    assert (pictures["flow"][2] == 255).all()  # the last frame has none
    assert (pictures["flow"][0] < 200).any()


def test_a_background_is_no_object():
    plain = replace(load_recipe("acc_shapes"), num_objects=30)
    clip = {"index": [4], "num_frames": 2, "stride": 20, "size": 64}
    truth, expected = vsr.render_truth(replace(plain, background="color"), **clip), vsr.render_truth(plain, **clip)
    assert (truth.video != expected.video).any()
    assert (truth.object == -1).any()
    for name, with_it, without in zip(truth._fields[1:], truth[1:], expected[1:], strict=True):
        assert torch.equal(with_it, without), name
    for with_it, without in zip(truth.flow(), expected.flow(), strict=True):
        assert torch.equal(with_it, without)
