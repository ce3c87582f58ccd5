import math

import pytest
import torch
from kornia.geometry.conversions import angle_to_rotation_matrix, rad2deg

from vsr import geometry
from vsr.latents import latents
from vsr.recipe import Recipe, load_recipe


def test_motion_is_that_of_an_accelerated_point():
    recipe = load_recipe("acc_shapes")
    scene = latents(recipe, 0, torch.arange(2))
    time = torch.tensor([[0, 10, 99], [5, 50, 60]])
    place = geometry.frame_from_unit(scene, time)[..., 2]
    assert torch.equal(place[0, 0], scene.center[0])
    t = time[:, :, None].double()
    way = scene.speed[:, None] * t + 0.5 * scene.acceleration[:, None] * t**2
    heading = torch.stack((scene.direction.cos(), scene.direction.sin()), -1)[:, None]
    torch.testing.assert_close(place, scene.center[:, None] + way[..., None] * heading)


def test_matrix_is_rotation_times_scale_times_shear():
    """R from Kornia, whose angles are degrees and, y being down, of the other sense."""
    scene = latents(load_recipe("acc_shapes"), 3, torch.tensor([7]))
    t = 42.0
    turn = angle_to_rotation_matrix(rad2deg(-scene.rotation[0] * t))
    scale = torch.diag_embed(1 + scene.scaling[0] * t)
    kx, ky = (scene.shear[0] * t).unbind(-1)
    shear = torch.stack((torch.stack((torch.ones_like(kx), kx), -1), torch.stack((ky, torch.ones_like(kx)), -1)), -2)
    expected = scene.radius[0][:, None, None] * (turn @ scale @ shear)
    found = geometry.frame_from_unit(scene, torch.tensor([[t]]))[0, 0, :, :, :2]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("size", [64, 224, 256, 257, 258, 300])
def test_boxes_lie_in_the_frame(size):
    boxes = geometry.crop_boxes(256, size)
    assert boxes.min() >= 0
    assert (boxes[..., :2] + boxes[..., 2:]).max() <= 256


def test_static_circles_do_not_move():
    scene = latents(load_recipe("static_circles"), 0, torch.tensor([0]))
    matrices = geometry.frame_from_unit(scene, torch.tensor([[0, 99]]))
    assert torch.equal(matrices[:, 0], matrices[:, 1])


def test_outlines_hold_their_corners_and_their_middle():
    scene = latents(Recipe("s", shapes="mixed"), 0, torch.arange(3))
    edges = geometry.outlines(scene).edges
    corners = torch.stack((scene.angles.cos(), scene.angles.sin()), -1)
    side = torch.einsum("bnek,bnck->bnec", edges[..., :2], corners) - edges[..., None, 2]
    assert side.max() < 1e-12  # every corner is inside or on every edge
    assert (side.abs() < 1e-12).sum(-1).min() >= 1  # every edge passes through a corner
    middle = torch.einsum("bnek,bnk->bne", edges[..., :2], corners.mean(-2)) - edges[..., 2]
    assert middle.max() <= 1e-12


def test_camera_shows_its_box():
    box = torch.tensor([[10.0, 20.0, 100.0, 50.0]], dtype=torch.float64)
    camera = geometry.output_from_frame(box, 200)[0]
    corner, opposite = (camera @ torch.tensor([x, y, 1.0], dtype=torch.float64) for x, y in ((10, 20), (110, 70)))
    assert corner.tolist() == [0, 0]
    assert opposite.tolist() == [200, 200]


def test_composition_applies_the_right_matrix_first():
    generator = torch.Generator().manual_seed(0)
    second, first = (torch.randn(2, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    point = torch.tensor([0.3, -2.0, 1.0], dtype=torch.float64)
    once = torch.cat((first @ point, point[2:]))
    torch.testing.assert_close(geometry.compose(second, first) @ point, second @ once)


def test_crops_have_every_pair_of_sides_at_every_place_inside_the_frame():
    boxes = geometry.crop_boxes(256, 224)
    assert boxes.shape == (10, 13, 4)
    pairs = {tuple(wh) for wh in boxes[:, 0, 2:].tolist()}
    sides = [256.0, 224.0, 192.0, 168.0]  # 0.66 of 256 is cut to 168
    assert pairs == {(w, h) for i, w in enumerate(sides) for j, h in enumerate(sides) if abs(i - j) <= 1}
    assert (boxes[..., :2] >= 0).all()
    assert (boxes[..., :2] + boxes[..., 2:] <= 256).all()
    smallest = boxes[(boxes[..., 2] == 168) & (boxes[..., 3] == 168)][:, :2]
    corners, middles, quarters = {(0, 0), (4, 0), (0, 4), (4, 4)}, {(2, 2), (0, 2), (4, 2), (2, 4), (2, 0)}, {
        (1, 1), (3, 1), (1, 3), (3, 3)
    }  # fmt: skip
    assert {(x / 22, y / 22) for x, y in smallest.tolist()} == corners | middles | quarters


def test_without_a_crop_the_box_is_the_frame():
    assert geometry.crop_boxes(256, None).tolist() == [[[0, 0, 256, 256]]]
    assert geometry.crop_boxes((240, 320), None).tolist() == [[[0, 0, 320, 240]]]


def test_crops_of_a_frame_that_is_not_square_have_sides_of_its_short_side_and_stand_all_over_it():
    lying, upright = geometry.crop_boxes((240, 320), 112), geometry.crop_boxes((320, 240), 112)
    assert lying[..., 2:].unique().tolist() == [158.0, 180.0, 210.0, 240.0]
    middle, right = lying[0, 4], lying[0, 1]
    assert middle.tolist() == [40, 0, 240, 240]
    assert right.tolist() == [80, 0, 240, 240]
    mirrored = {tuple(box) for box in upright.flatten(0, 1)[:, [1, 0, 3, 2]].tolist()}
    assert mirrored == {tuple(box) for box in lying.flatten(0, 1).tolist()}
    assert torch.equal(geometry.crop_boxes((256, 256), 224), geometry.crop_boxes(256, 224))


@pytest.mark.parametrize(("size", "side"), [(223, 223.0), (226, 226.0), (227, 224.0)])
def test_a_side_within_three_pixels_of_the_output_becomes_it(size, side):
    widths = geometry.crop_boxes(256, size)[..., 2].unique().tolist()
    assert side in widths
    assert (224.0 in widths) == (side == 224.0)


def test_invert_undoes_a_matrix():
    matrix = torch.randn(5, 4, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    identity = torch.eye(2, 3, dtype=torch.float64).expand_as(matrix)
    torch.testing.assert_close(geometry.compose(geometry.invert(matrix), matrix), identity)


def test_everything_follows_time_smoothly():
    scene = latents(load_recipe("acc_shapes"), 0, torch.tensor([0]))
    matrices = geometry.frame_from_unit(scene, torch.arange(150)[None])[0]
    turned = matrices.diff(dim=0)[..., :2].abs().amax() / scene.radius.max()
    assert turned < math.pi / 100 * 2 * 2 + 0.03
