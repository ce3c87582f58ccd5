import hashlib
import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from vsr.latents import SHAPES, draw_words, latents, texture_frame
from vsr.recipe import PROGRESSION, Recipe, load_recipe, recipe_names
from vsr.rng import Stream, below, words


def test_a_video_is_the_same_alone_and_in_any_batch():
    recipe = load_recipe("acc_textures")
    batch = latents(recipe, 5, torch.tensor([8, 2, 9536]))
    for i, index in enumerate((8, 2, 9536)):
        for name, one, many in zip(batch._fields, latents(recipe, 5, torch.tensor([index])), batch, strict=True):
            assert torch.equal(one[0], many[i]), name


def test_consecutive_rungs_are_the_same_scene_with_one_thing_changed():
    affected = {
        "speed": {"speed"}, "shapes": {"shape", "angles"}, "rotation": {"rotation"}, "scaling": {"scaling"},
        "shear": {"shear"}, "acceleration": {"acceleration"}, "fill": set(), "num_videos": set(),
        "texture_source": set(), "texture_pool": {"texture"},
    }  # fmt: skip
    names, index = list(PROGRESSION), torch.arange(3)
    for before, after in pairwise(names):
        a, b = (latents(load_recipe(name), 0, index) for name in (before, after))
        changed = {name for name, x, y in zip(a._fields, a, b, strict=True) if not torch.equal(x, y)}
        assert changed == set().union(*(affected[field] for field in PROGRESSION[after])), f"{before} -> {after}"


def test_draws_have_not_changed():
    """A change here changes every dataset: the CHANGELOG must say so."""
    drawn = draw_words(0, torch.tensor([0, 1, 9536]), 500)
    digest = hashlib.sha256()
    for stream in sorted(drawn):
        digest.update(drawn[stream].numpy().astype("<u4").tobytes())
    assert digest.hexdigest()[:16] == "ebde043bf8ff3957"


GOLDEN = {  # the recipe's hash, and that of its look-ups
    "acc_dynamic_stylegan": ("5f421f5de0c06ae2", "2fd8223c2fa92493"),
    "acc_images": ("70532535fdefa2a1", "63d0d5920f347708"),
    "acc_images_150k_stylegan_150k": ("9fa56ea3c50083ef", "e622f95e25daec71"),
    "acc_images_150k_textures_150k": ("67d3d44c2eff82e3", "e622f95e25daec71"),
    "acc_images_300k": ("564eed2a222c69bd", "e622f95e25daec71"),
    "acc_images_300k_colored_background": ("cf6ae6c18381fcbb", "cfe767258d7b9149"),
    "acc_images_300k_image_background": ("03040315c5a7d2e5", "cfe767258d7b9149"),
    "acc_shapes": ("c0fc9ddefc6e0664", "e622f95e25daec71"),
    "acc_shapes_slow": ("9990b6ea0207abe2", "e622f95e25daec71"),
    "acc_stylegan": ("440b35d966e58f44", "e622f95e25daec71"),
    "acc_textures": ("0535090edb88b35a", "e622f95e25daec71"),
    "acc_textures_slow": ("59487a3d53970771", "e622f95e25daec71"),
    "dynamic_stylegan_highfreq_videos": ("a79a24126ac53d88", "2784c553756cc546"),
    "dynamic_stylegan_videos": ("2eabab3a400f5fdd", "2784c553756cc546"),
    "moving_circles": ("101116f901561cc5", "6861599a6cac91e8"),
    "moving_circles_slow": ("27335ef41344f55c", "6861599a6cac91e8"),
    "moving_shapes": ("afaf5848a90bfb83", "e622f95e25daec71"),
    "moving_shapes_slow": ("f2b8a7f350a5bb6a", "e622f95e25daec71"),
    "saturated_dynamic_stylegan": ("dde66fdf8ea6c97f", "2fd8223c2fa92493"),
    "saturated_images": ("5010aeb1221e4a8c", "63d0d5920f347708"),
    "saturated_images_150k_textures_150k": ("840ae03a6ccd267c", "e622f95e25daec71"),
    "saturated_images_300k": ("25b09060fd1f38e7", "e622f95e25daec71"),
    "saturated_images_300k_colored_background": ("7a42e1e68a0a92e9", "cfe767258d7b9149"),
    "saturated_images_300k_image_background": ("d5d5b8d9dcb6e7ee", "cfe767258d7b9149"),
    "saturated_textures": ("a7b2ab643632f80d", "e622f95e25daec71"),
    "saturated_textures_colored_background": ("3553a9f975a66bc0", "cfe767258d7b9149"),
    "static_circles": ("463267a9459adb21", "6861599a6cac91e8"),
    "transforming_shapes": ("5e7e0db20de593e6", "e622f95e25daec71"),
    "transforming_shapes_slow": ("d60119c602ff2832", "e622f95e25daec71"),
}


@pytest.mark.parametrize("name", recipe_names())
def test_no_dataset_has_changed(name):
    """Likewise: each dataset's recipe, and what integers and committed tables give for it."""
    recipe, index = load_recipe(name), torch.tensor([0, 1, 9536])
    scene = latents(recipe, 0, index)
    clip = words(Stream.CLIP, 0, index, 3)[:, 0]
    low, high = recipe.radius
    step = (scene.radius / recipe.size - low) / (high - low) * 199
    looked_up = (scene.duration, scene.shape, scene.color, scene.texture, step.round(), below(clip[:, 0], 100),
                 below(clip[:, 1], 10), below(clip[:, 2], 13))  # fmt: skip
    digest = hashlib.sha256(b"".join(t.numpy().astype("<i8").tobytes() for t in looked_up))
    assert (recipe.hash, digest.hexdigest()[:16]) == GOLDEN[name]


def test_values_lie_in_their_ranges_and_fill_them():
    recipe = load_recipe("acc_shapes")
    scene = latents(recipe, 1, torch.arange(40))

    def spans(values, low, high):
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high

    spans(scene.center, 0, 512)
    spans(scene.direction, -math.pi, math.pi)
    spans(scene.speed, 1.2, 3.0)
    spans(scene.acceleration, -0.06, 0.06)
    spans(scene.rotation, -math.pi / 100, math.pi / 100)
    spans(scene.scaling, -0.005, 0.005)
    spans(scene.shear, -0.005, 0.005)
    spans(scene.angles, 0, 2 * math.pi)
    assert scene.radius.min() == 25.6
    assert 100 < scene.radius.max() <= 256
    assert scene.duration.min() >= 100
    assert scene.duration.max() <= 200
    assert scene.duration.unique().numel() > 20
    assert scene.shape.unique().tolist() == list(range(6))
    assert (scene.angles.diff(dim=-1) >= 0).all()


def test_shapes_have_the_corners_they_should():
    scene = latents(Recipe("s", shapes="mixed"), 0, torch.arange(4))
    gaps = scene.angles.diff(dim=-1, append=scene.angles[..., :1] + 2 * math.pi)
    kind = {name: gaps[scene.shape == i] for i, name in enumerate(SHAPES[:-1])}
    quarter = torch.tensor(math.pi / 2, dtype=torch.float64)
    for name in ("square", "rotated square"):
        torch.testing.assert_close(kind[name], quarter.expand_as(kind[name]))
    square = scene.angles[scene.shape == SHAPES.index("square")]
    torch.testing.assert_close(square[:, 0], (quarter / 2).expand(len(square)))  # sides along the axes
    torch.testing.assert_close(kind["rectangle"][:, 0], kind["rectangle"][:, 2])
    torch.testing.assert_close(
        kind["rectangle"][:, 0] + kind["rectangle"][:, 1], 2 * quarter.expand(len(kind["rectangle"]))
    )
    assert (kind["triangle"][:, 2] == 0).all()
    assert (kind["quadrilateral"] > 0).all()


def test_a_background_lies_behind_the_same_objects():
    plain = Recipe("p", shapes="mixed", speed=(1.0, 2.0), rotation=(0.1, 0.2), texture_pool=1000)
    index = torch.tensor([3, 8])
    objects, scene = latents(plain, 5, index), latents(replace(plain, background="color"), 5, index)
    assert torch.equal(scene.duration, objects.duration)
    for name, with_it, without in zip(scene._fields[1:], scene[1:], objects[1:], strict=True):
        assert torch.equal(with_it[:, 1:], without), name
    assert (scene.shape[:, 0] == SHAPES.index("background")).all()
    assert (scene.radius[:, 0] == 128).all()
    assert (scene.center[:, 0] == 128 + 2**-12).all()
    for still in (scene.speed, scene.acceleration, scene.rotation, scene.scaling, scene.shear):
        assert (still[:, 0] == 0).all()
    word = words(Stream.BACKGROUND, 5, index)[:, 0]
    assert torch.equal(scene.color[:, 0], below(word[:, :3], 256).byte())
    assert torch.equal(scene.texture[:, 0], below(word[:, 3], 1000))
    alone = latents(replace(plain, background="color", num_objects=0), 5, index)
    assert torch.equal(alone.color, scene.color[:, :1])


def test_endless_sets_see_one_window_of_the_pool_after_the_other():
    recipe = Recipe("w", fill="texture", texture_pool=12, texture_window=4, epoch_size=10, background="texture")
    for first, videos in ((0, range(10)), (4, range(10, 20)), (8, range(20, 30)), (0, range(30, 40))):
        texture = latents(recipe, 0, torch.tensor(videos)).texture
        assert texture.unique().tolist() == list(range(first, first + 4))
        assert texture[:, 0].unique().numel() > 1


def test_dynamic_textures_are_shown_forth_and_back():
    assert texture_frame(4, torch.arange(10)).tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2, 3]
    assert texture_frame(1, torch.arange(3)).tolist() == [0, 0, 0]
    assert texture_frame(200, torch.tensor([[0, 199]])).tolist() == [[0, 199]]
