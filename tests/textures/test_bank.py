from dataclasses import replace

import psutil
import pytest
import torch

from vsr.errors import InputError
from vsr.recipe import Recipe, load_recipe
from vsr.textures.bank import TextureBank
from vsr.textures.statistical import statistical
from vsr.textures.stylegan import oriented

RECIPE = Recipe("t", fill="statistical", texture_pool=40, texture_size=64)


def test_textures_are_the_same_however_they_are_made():
    whole, bits = TextureBank(RECIPE, seed=3), TextureBank(RECIPE, seed=3)
    whole.fill()
    assert whole.complete
    assert whole.textures.shape == (40, 64, 64, 3)
    for wanted in ([7], [39, 7, 7], [[0, 12], [3, 39]]):
        bits.make(torch.tensor(wanted))
    assert (bits.row >= 0).sum() == 5
    assert not bits.complete
    seen = torch.tensor([0, 3, 7, 12, 39])
    assert torch.equal(whole.textures[whole.row[seen]], bits.textures[bits.row[seen]])
    other = TextureBank(RECIPE, seed=4)
    other.make(seen[:1])
    assert not torch.equal(other.textures[0], whole.textures[0])


def test_a_texture_is_made_once(monkeypatch):
    bank = TextureBank(RECIPE)
    asked = []
    monkeypatch.setattr(bank, "generate", lambda t: asked.extend(t.tolist()) or torch.zeros(len(t), 3, 64, 64).byte())
    bank.make(torch.tensor([5, 5, 2]))
    bank.make(torch.tensor([2, 9]))
    assert sorted(asked) == [2, 5, 9]


def test_a_pool_that_does_not_fit_is_refused_with_one_that_does(monkeypatch):
    recipe = load_recipe("acc_textures")
    free = psutil.virtual_memory()._replace(available=2**30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    with pytest.raises(
        InputError, match=r"takes 13.7 GiB, more than 75% of the 1.0 GiB free on cpu: set --max_textures"
    ) as e:
        TextureBank(recipe).fill()
    fits = int(str(e.value).split("--max_textures to ")[1].split()[0])
    small = TextureBank(replace(recipe, texture_pool=fits))
    assert 0.7 * 2**30 < small.nbytes <= 0.75 * 2**30


def test_a_recipe_of_plain_colours_has_no_bank():
    with pytest.raises(InputError, match=r"has no textures: its fill is 'color'"):
        TextureBank(load_recipe("acc_shapes"))


def test_each_fill_has_its_generator():
    wanted = torch.tensor([5, 2])
    for fill, generator in (("statistical", statistical), ("stylegan_oriented", oriented)):
        made = TextureBank(replace(RECIPE, fill=fill), seed=3).generate(wanted)
        assert torch.equal(made, generator(wanted, 3, 64))
