from dataclasses import asdict, fields, replace
from itertools import pairwise

import pytest
import torch

from vsr.errors import InputError
from vsr.recipe import PROGRESSION, Recipe, dataset_names, load_recipe, radius_table


def test_the_ladder_changes_what_it_says_and_nothing_else():
    names = list(PROGRESSION)
    for before, after in pairwise(names):
        a, b = asdict(load_recipe(before)), asdict(load_recipe(after))
        changed = {key for key in a if a[key] != b[key]} - {"name"}
        assert changed == PROGRESSION[after], f"{before} -> {after}"


def test_the_first_rung_is_the_defaults():
    assert load_recipe("static_circles") == Recipe("static_circles")


def test_every_recipe_has_its_own_hash_and_its_file_name():
    recipes = [load_recipe(name) for name in dataset_names()]
    assert len({r.hash for r in recipes}) == len(recipes)
    assert [r.name for r in recipes] == dataset_names()


def test_hash_follows_every_field_but_the_name():
    base = Recipe("a")
    other = {
        "size": 128, "duration": (1, 2), "num_objects": 3, "radius": (0.2, 0.3), "shapes": "mixed", "speed": (0.0, 1.0),
        "acceleration": (0.0, 1.0), "rotation": (0.0, 1.0), "scaling": (0.0, 1.0), "shear": (0.0, 1.0),
        "fill": "images", "texture_pool": 5, "texture_size": 64, "texture_folder": "x",
        "num_videos": 7, "epoch_size": 8,
    }  # fmt: skip
    assert set(other) == {f.name for f in fields(Recipe)} - {"name"}
    hashes = {Recipe("a", **{key: value}).hash for key, value in other.items()}
    assert len(hashes | {base.hash}) == len(other) + 1
    assert Recipe("b").hash == base.hash


def test_radius_law_has_the_stated_density():
    ends, radii = radius_table(0.1, 1.0)
    assert ends[-1] == 2**24
    assert (ends.diff() >= 0).all()
    weights = radii**-3 - 1
    expected = (weights / weights.sum()).cumsum(0)
    torch.testing.assert_close(ends.double() / 2**24, expected, atol=2**-23, rtol=0)


def test_radius_law_of_a_single_radius():
    ends, radii = radius_table(0.25, 0.25)
    assert (radii == 0.25).all()
    assert ends[-1] == 2**24


def test_a_recipe_file_may_hold_only_the_fields(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: mine\nspeed: [1, 2]\n")
    assert load_recipe(path) == Recipe("mine", speed=(1.0, 2.0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\nsped: [1, 2]", r"unknown recipe key 'sped'; did you mean 'speed'\?"),
        ("name: a\nshapes: circle", r"shapes 'circle' is not in circles, mixed; did you mean 'circles'\?"),
        ("name: a\nspeed: fast", r"recipe.speed.*fast"),
        ("name: a\nspeed: [3, 1]", r"speed \[3.0, 1.0\] is reversed: write \[1.0, 3.0\]"),
        ("name: a\nnum_objects: 0", r"num_objects 0 leaves the frame empty"),
        ("name: a\nnum_objects: 1.5", r"num_objects.*1.5"),
        ("name: a\nradius: [0, 1]", r"radius \[0.0, 1.0\] must be above 0"),
        ("name: a\nduration: [0, 5]", r"duration \[0, 5\] must be at least 1 frame"),
        ("name: a\nnum_videos: 0", r"num_videos 0 must be at least 1, or null"),
        ("name: a\ntexture_pool: 0", r"texture_pool 0 is too small"),
        ("name: a\ntexture_pool: 3000000000", r"texture_pool 3000000000 is more than the 2\^31"),
        ("speed: [1, 2]", r"the recipe has no name"),
        ("- 1\n- 2", r"holds no recipe"),
        ("name: [", r"is not a YAML file"),
    ],
)
def test_bad_recipes_are_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_recipe(path)
    assert "\n" not in str(caught.value)


def test_unknown_datasets_get_the_nearest_name():
    with pytest.raises(InputError, match=r"no dataset 'acc_shape'; did you mean 'acc_shapes'\?"):
        load_recipe("acc_shape")
    with pytest.raises(InputError, match=r"no recipe file nowhere.yaml"):
        load_recipe("nowhere.yaml")


def test_index_outside_a_set_is_refused():
    fixed, endless = Recipe("f", num_videos=10), Recipe("e")
    fixed.check_index(torch.tensor([0, 9]))
    endless.check_index(torch.tensor([2**32 - 1]))
    for recipe, index in ((fixed, 10), (fixed, -1), (endless, -1), (endless, 2**32)):
        with pytest.raises(InputError, match=f"index {index} is outside"):
            recipe.check_index(torch.tensor([3, index]))


def test_textures_can_be_scaled_down_but_not_away():
    textured = load_recipe("acc_textures")
    assert textured.with_textures(7, 64) == replace(textured, texture_pool=7, texture_size=64)
    assert textured.with_textures(10**7, None) == textured
    assert load_recipe("acc_shapes").with_textures(7, 64) == load_recipe("acc_shapes")
    with pytest.raises(InputError, match=r"texture_pool 0 is too small"):
        textured.with_textures(0, None)
    with pytest.raises(InputError, match=r"texture_size 0 is too small"):
        textured.with_textures(None, 0)
