import json
from dataclasses import asdict, fields, replace
from itertools import pairwise

import pytest
import torch
import yaml

from vsr.errors import InputError
from vsr.recipe import CONFIGS, PROGRESSION, VARIANTS, Recipe, dataset_names, load_recipe, radius_table, recipe_names


def test_the_ladder_changes_what_it_says_and_nothing_else():
    names = list(PROGRESSION)
    for before, after in pairwise(names):
        a, b = asdict(load_recipe(before)), asdict(load_recipe(after))
        changed = {key for key in a if a[key] != b[key]} - {"name"}
        assert changed == PROGRESSION[after], f"{before} -> {after}"


def test_the_first_rung_is_the_defaults():
    assert load_recipe("static_circles") == Recipe("static_circles")


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_changes_what_it_says_and_nothing_else(name):
    base, fields = VARIANTS[name]
    a, b = asdict(load_recipe(base)), asdict(load_recipe(name))
    assert {key for key in a if a[key] != b[key]} - {"name"} == fields


def test_half_speed_is_half_the_speed():
    for name in ("moving_circles", "moving_shapes", "transforming_shapes", "acc_shapes", "acc_textures"):
        low, high = load_recipe(name).speed
        assert load_recipe(f"{name}_slow").speed == (low / 2, high / 2)


def test_there_are_34_datasets_and_each_is_another_one():
    """A recipe is known by its hash, a mixture by its shares, with the recipes' hashes."""
    contents = {}
    for name in dataset_names():
        path = CONFIGS / "pretrain" / f"{name}.yaml"
        data = yaml.safe_load(path.read_text())["data"]["init_args"]
        assert len(path.read_text().splitlines()) <= 15
        if name in recipe_names():
            assert load_recipe(name).name == name
            contents[name] = load_recipe(name).hash
        else:
            assert data["name"] == name
            shares = [s | {"recipe": load_recipe(s["recipe"]).hash} if "recipe" in s else s for s in data["shares"]]
            contents[name] = json.dumps(shares, sort_keys=True)
    assert len(contents) == len(set(contents.values())) == 34
    assert len(recipe_names()) == 29


def test_the_sweep_is_the_28():
    """The 34 less the mixtures with natural videos and less the saturated sets with a background."""
    path = CONFIGS.parent / "slurm" / "sweep28.txt"
    if not path.is_file():
        pytest.skip("slurm/ is in the repository, not in the package")
    names = path.read_text().split()
    left_out = {n for n in dataset_names() if "ucf101" in n or ("saturated" in n and "background" in n)}
    assert sorted(names) == sorted(set(dataset_names()) - left_out)
    assert len(names) == 28
    assert names[: len(PROGRESSION)] == list(PROGRESSION)


def test_equal_recipes_have_one_hash():
    assert Recipe("a", speed=(1, 2), texture_step=1).hash == Recipe("a", speed=(1.0, 2.0), texture_step=1.0).hash


def test_hash_follows_every_field_but_the_name():
    other = {
        "size": 128, "duration": (1, 2), "num_objects": 3, "radius": (0.2, 0.3), "shapes": "mixed", "speed": (0.0, 1.0),
        "acceleration": (0.0, 1.0), "rotation": (0.0, 1.0), "scaling": (0.0, 1.0), "shear": (0.0, 1.0),
        "fill": "texture", "saturation": "clamp", "background": "color", "texture_source": "stylegan_high_freq",
        "texture_pool": 5, "texture_size": 64, "texture_frames": 9, "texture_step": 0.1, "texture_steady": True,
        "texture_window": 1000, "num_videos": 7, "epoch_size": 8,
    }  # fmt: skip
    base = Recipe("a", texture_source="stylegan_oriented")  # the sources that texture_frames may have
    assert set(other) == {f.name for f in fields(Recipe)} - {"name", "texture_folder"}
    hashes = {replace(base, **{key: value}).hash for key, value in other.items()}
    assert len(hashes | {base.hash}) == len(other) + 1
    assert replace(base, name="b", texture_folder="x").hash == base.hash


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
    dynamic = load_recipe("acc_dynamic_stylegan")  # 256 walks of 200 frames: an image is a frame
    assert dynamic.with_textures(128, 64, 16) == replace(dynamic, texture_pool=8, texture_size=64, texture_frames=16)
    assert dynamic.with_textures(128) == replace(dynamic, texture_pool=1)
    assert dynamic.with_textures(10**6) == dynamic
    windowed = Recipe("w", fill="texture", texture_pool=100, texture_window=50)
    assert windowed.with_textures(60) == replace(windowed, texture_pool=60, texture_window=None)
    assert windowed.with_textures(100) == windowed
    with pytest.raises(InputError, match=r"texture_frames 0 is too small"):
        dynamic.with_textures(None, None, 0)
