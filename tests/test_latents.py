import hashlib
import math
from itertools import pairwise

import pytest
import torch

from vsr.latents import SHAPES, draw_words, latents
from vsr.recipe import PROGRESSION, Recipe, dataset_names, load_recipe
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
        "texture_pool": {"texture"},
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
    "acc_images": ("3849c4aeba4aedef", "757f25598ff81fb4"),
    "acc_shapes": ("c081f7bb78669b59", "e622f95e25daec71"),
    "acc_stylegan": ("96fb226777f42665", "e622f95e25daec71"),
    "acc_textures": ("2beaa6ad7afc8a5d", "e622f95e25daec71"),
    "moving_circles": ("be6dad4d9e097612", "6861599a6cac91e8"),
    "moving_shapes": ("718a2ccaec2898ac", "e622f95e25daec71"),
    "static_circles": ("7a0d075db9585265", "6861599a6cac91e8"),
    "transforming_shapes": ("ff258bccb75bfdb0", "e622f95e25daec71"),
}


@pytest.mark.parametrize("name", dataset_names())
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
    assert scene.shape.unique().tolist() == list(range(len(SHAPES)))
    assert (scene.angles.diff(dim=-1) >= 0).all()


def test_shapes_have_the_corners_they_should():
    scene = latents(Recipe("s", shapes="mixed"), 0, torch.arange(4))
    gaps = scene.angles.diff(dim=-1, append=scene.angles[..., :1] + 2 * math.pi)
    kind = {name: gaps[scene.shape == i] for i, name in enumerate(SHAPES)}
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
