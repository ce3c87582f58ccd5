import logging
from dataclasses import replace

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from vsr.errors import InputError
from vsr.recipe import Recipe, load_recipe
from vsr.textures import bank as bank_module
from vsr.textures import cache as cache_module
from vsr.textures.bank import TextureBank
from vsr.textures.images import ImagePool
from vsr.textures.statistical import statistical
from vsr.textures.stylegan import high_freq, oriented, walk

RECIPE = Recipe("t", fill="texture", texture_pool=10, texture_size=64)
STYLEGAN = replace(RECIPE, texture_source="stylegan_oriented", texture_size=16, texture_pool=12)
WINDOWED = replace(STYLEGAN, texture_window=4, epoch_size=6)


def image_folder(folder, count):
    for k in range(count):
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (20, 30, 3), np.uint8)).save(folder / f"{k:03}.png")
    return str(folder)


def held(bank, position):
    """The textures at pool positions, (n, F, S, S, 3)."""
    rows = bank.row[position][:, None] + torch.arange(bank.recipe.texture_frames)
    assert (bank.row[position] >= 0).all()
    return bank.textures[rows]


@pytest.fixture(scope="module")
def whole():
    """The pool of the windowed recipe without its window."""
    bank = TextureBank(replace(WINDOWED, texture_window=None), seed=3)
    bank.fill()
    return held(bank, torch.arange(12))


def test_textures_are_the_same_however_they_are_made():
    whole, bits = TextureBank(RECIPE, seed=3), TextureBank(RECIPE, seed=3)
    whole.fill()
    assert whole.complete
    assert whole.textures.shape == (10, 64, 64, 3)
    for wanted in ([7], [9, 7, 7], [[0, 7], [3, 9]]):
        bits.make(torch.tensor(wanted))
    assert (bits.row >= 0).sum() == 4
    assert not bits.complete
    seen = torch.tensor([0, 3, 7, 9])
    assert torch.equal(held(whole, seen), held(bits, seen))
    assert torch.equal(held(whole, seen), bits.generate(seen).permute(0, 1, 3, 4, 2))
    other = TextureBank(RECIPE, seed=4)
    other.make(seen[:1])
    assert not torch.equal(other.textures[0], whole.textures[0])


def test_a_texture_is_made_once(monkeypatch):
    bank = TextureBank(RECIPE)
    asked = []
    monkeypatch.setattr(
        bank, "generate", lambda t: asked.extend(t.tolist()) or torch.zeros(len(t), 1, 3, 64, 64).byte()
    )
    bank.make(torch.tensor([5, 5, 2]))
    bank.make(torch.tensor([2, 9]))
    assert sorted(asked) == [2, 5, 9]


def test_what_was_made_before_a_failure_stays_right(monkeypatch):
    bank = TextureBank(STYLEGAN, seed=3)
    generate = bank.generate
    monkeypatch.setattr(bank_module, "_AT_ONCE", {"cpu": 4})
    monkeypatch.setattr(bank, "generate", lambda t: generate(t) if t[0] < 8 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        bank.fill()
    assert not bank.complete
    monkeypatch.setattr(bank, "generate", generate)
    bank.fill()
    assert bank.complete
    seen = torch.tensor([0, 7, 8, 11])
    assert torch.equal(held(bank, seen)[:, 0], oriented(seen, 3, 16).permute(0, 2, 3, 1))


def test_each_source_has_its_generator():
    wanted = torch.tensor([5, 2])
    for source, generator, size in (
        ("statistical", statistical, 64), ("stylegan_oriented", oriented, 16), ("stylegan_high_freq", high_freq, 16)
    ):  # fmt: skip
        made = TextureBank(replace(RECIPE, texture_source=source, texture_size=size), seed=3).generate(wanted)
        assert torch.equal(made, generator(wanted, 3, size)[:, None])


def test_sources_share_a_pool_in_turn(tmp_path):
    sources = ("images", "stylegan_high_freq", "stylegan_oriented")
    folder = image_folder(tmp_path, 5)
    recipe = replace(STYLEGAN, texture_source=sources, texture_pool=11, texture_folder=folder)
    bank = TextureBank(recipe, seed=3)
    bank.fill()
    images = ImagePool(folder, 3)
    makers = (lambda k: images.read(k, 16), lambda k: high_freq(k, 3, 16), lambda k: oriented(k, 3, 16))
    for source, make in enumerate(makers):
        position = torch.arange(source, 11, 3)
        expected = make(position // 3)
        assert torch.equal(held(bank, position)[:, 0], expected.permute(0, 2, 3, 1)), sources[source]
    mixed = torch.tensor([10, 0, 4, 2])
    assert torch.equal(bank.generate(mixed).permute(0, 1, 3, 4, 2), held(bank, mixed))
    entries = bank.manifest()
    assert [(e["source"], e["count"]) for e in entries] == list(zip(sources, (4, 4, 3), strict=True))
    assert entries[0]["images"] == images.manifest()
    digest = entries[1].pop("hash")
    assert entries[1] == {"source": sources[1], "count": 4, "seed": 3, "licence": "generated"}
    others = [TextureBank(recipe, 4).manifest(), TextureBank(replace(recipe, texture_size=32), 3).manifest()]
    assert len({digest, entries[2]["hash"], *(entry[1]["hash"] for entry in others)}) == 4
    assert TextureBank(recipe, 3).manifest()[1]["hash"] == digest


def test_the_frames_of_a_dynamic_texture_stand_one_after_the_other():
    for source, family, steady in (("stylegan_oriented", "oriented", False), ("stylegan_high_freq", "high_freq", True)):
        recipe = replace(
            STYLEGAN, texture_source=source, texture_pool=3, texture_frames=2, texture_step=0.2, texture_steady=steady
        )
        bank = TextureBank(recipe, seed=3)
        wanted = torch.tensor([2, 0])
        for k in wanted:
            bank.make(k)
        frames = torch.arange(2).expand(2, -1)
        expected = walk(wanted, frames, 3, 16, family, delta=0.2, preserve_variance=steady)
        assert torch.equal(held(bank, wanted), expected.permute(0, 1, 3, 4, 2))
        assert bank.nbytes == 3 * 2 * 3 * 16 * 16


@pytest.mark.parametrize("batch", [1, 4, 5, 6])
def test_windows_show_what_a_whole_pool_would(whole, batch, monkeypatch):
    monkeypatch.setattr(bank_module, "_AT_ONCE", {"cpu": 1})  # so that windows ahead are made bit by bit
    bank = TextureBank(WINDOWED, seed=3)
    assert bank.nbytes == 8 * 3 * 16 * 16
    assert not bank.complete
    for first in range(0, 4 * 6, batch):  # three windows, and the first again, in the other half
        index = torch.arange(first, first + batch)
        bank.show(index)
        assert bank.complete
        assert len(bank.textures) == 8
        windows = (index // 6).unique()
        resident = set()
        for window in windows.tolist():
            position = window * 4 % 12 + torch.arange(4)
            assert torch.equal(held(bank, position), whole[position])
            assert bank.row[position].tolist() == [window % 2 * 4 + k for k in range(4)]
            resident |= set(position.tolist())
        ahead = [p for p in (bank.row >= 0).nonzero()[:, 0].tolist() if p not in resident]
        assert torch.equal(held(bank, torch.tensor(ahead, dtype=torch.int64)), whole[ahead])
        assert len(ahead) <= 4
        if len(windows) == 1:
            share = -(-4 * (int(index.max()) % 6 + 1) // 6)
            first_ahead = (int(windows[0]) + 1) * 4 % 12
            assert ahead[:share] == list(range(first_ahead, first_ahead + share))


def test_the_next_window_is_whole_before_a_batch_across_the_boundary(monkeypatch):
    monkeypatch.setattr(bank_module, "_AT_ONCE", {"cpu": 1})
    bank = TextureBank(WINDOWED, seed=3)
    bank.show(torch.arange(0, 4))
    asked = []
    monkeypatch.setattr(bank, "generate", lambda t: asked.extend(t.tolist()))
    bank.show(torch.arange(4, 8))
    assert asked == []


@pytest.mark.parametrize("start", [4, 13, 21])
def test_a_run_goes_on_in_the_middle_of_an_epoch(whole, start):
    bank = TextureBank(WINDOWED, seed=3)
    for first in (start, start + 3):
        index = torch.arange(first, first + 3)
        bank.show(index)
        for window in (index // 6).unique().tolist():
            position = window * 4 % 12 + torch.arange(4)
            assert torch.equal(held(bank, position), whole[position])


def test_leaps_between_windows_leave_them_right(whole):
    bank = TextureBank(WINDOWED, seed=3)
    bank.make(torch.tensor([7]))  # a look at one texture before a run starts
    for window in (0, 3, 2, 4, 4):
        bank.show(torch.tensor([window * 6 + 2]))
        position = window * 4 % 12 + torch.arange(4)
        assert torch.equal(held(bank, position), whole[position])
        resident = (bank.row >= 0).nonzero()[:, 0]
        assert torch.equal(held(bank, resident), whole[resident])
    bank.show(torch.empty(0, dtype=torch.int64))
    bank.make(torch.arange(4, 8))  # resident: nothing to do
    with pytest.raises(InputError, match=r"texture 0 of 't' is outside the windows that are resident"):
        bank.make(torch.tensor([5, 0]))


def test_dynamic_textures_come_in_windows():
    recipe = replace(WINDOWED, texture_pool=4, texture_window=2, texture_frames=2)
    bank, whole = TextureBank(recipe, seed=3), TextureBank(replace(recipe, texture_window=None), seed=3)
    whole.fill()
    for first in range(0, 9, 3):
        bank.show(torch.arange(first, first + 3))
        position = first // 6 * 2 % 4 + torch.arange(2)
        assert torch.equal(held(bank, position), held(whole, position))
    assert len(bank.textures) == 2 * 2 * 2


def test_a_batch_over_more_than_two_windows_is_refused():
    bank = TextureBank(WINDOWED)
    for index in ([5, 6, 12], [0, 13]):
        with pytest.raises(InputError, match=r"show 3 windows .* use smaller batches, or a larger epoch_size than 6"):
            bank.show(torch.tensor(index))


def test_showing_videos_makes_the_whole_pool_where_there_are_no_windows():
    for window in (None, 2):
        bank = TextureBank(replace(STYLEGAN, texture_pool=2, texture_window=window))
        bank.show(torch.tensor([5000]))
        assert bank.complete
        assert len(bank.textures) == 2


def test_a_pool_that_does_not_fit_is_refused_with_one_that_does(monkeypatch):
    recipe = replace(load_recipe("acc_textures"), num_videos=None, texture_frames=1)
    free = psutil.virtual_memory()._replace(available=2**30)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    with pytest.raises(
        InputError, match=r"takes 13.7 GiB, more than 75% of the 1.0 GiB free on cpu: set --max_textures"
    ) as e:
        TextureBank(recipe).fill()
    fits = int(str(e.value).split("--max_textures to ")[1].split()[0])
    assert 0.7 * 2**30 < TextureBank(recipe.with_textures(fits)).nbytes <= 0.75 * 2**30

    windowed = replace(recipe, texture_source="stylegan_oriented", texture_window=50_000, texture_frames=2)
    message = (
        r"two windows of 50000 textures take 9.2 GiB, .* --max_textures to (\d+) or fewer, or texture_window to (\d+)"
    )
    for ask in (TextureBank.fill, lambda bank: bank.show(torch.tensor([0]))):
        with pytest.raises(InputError, match=message) as e:
            ask(TextureBank(windowed))
    words = str(e.value).replace(",", "").split()
    fits, window = int(words[words.index("--max_textures") + 2]), int(words[words.index("texture_window") + 2])
    assert 0.7 * 2**30 < TextureBank(windowed.with_textures(fits)).nbytes <= 0.75 * 2**30
    assert 0.3 * 2**30 < TextureBank(replace(windowed, texture_window=window)).nbytes <= 0.75 * 2**30


def test_a_recipe_of_plain_colours_has_no_bank():
    for recipe in (load_recipe("acc_shapes"), Recipe("t", fill="texture", num_objects=0, background="color")):
        with pytest.raises(InputError, match=r"has no textures: its fill is '\w+' and its background '\w+'"):
            TextureBank(recipe)
    assert TextureBank(Recipe("t", background="texture")).recipe.fill == "color"


def test_images_that_are_too_few_are_refused_with_the_pool_that_would_do(tmp_path):
    recipe = replace(RECIPE, texture_source="images")
    with pytest.raises(InputError, match=r"give texture_folder, .*vsr fit: --texture_folder; vsr render: --texture_f"):
        TextureBank(recipe)
    folder = image_folder(tmp_path, 4)
    for sources, most in (("images", 4), (("images", "statistical"), 8)):
        recipe = replace(recipe, texture_source=sources, texture_pool=most + 1, texture_folder=folder)
        with pytest.raises(InputError, match=rf"more than the 4 in .* --max_textures\) to {most} or fewer"):
            TextureBank(recipe)
        bank = TextureBank(replace(recipe, texture_pool=most))
        bank.fill()
        assert bank.complete


def test_what_takes_long_is_announced(monkeypatch, caplog):
    bank = TextureBank(replace(STYLEGAN, texture_pool=5), seed=3)
    monkeypatch.setattr(bank_module, "_AT_ONCE", {"cpu": 1})
    now = iter((0.0, 400.0))  # s, after the first and the second texture
    monkeypatch.setattr(bank, "_clock", lambda: next(now))
    with caplog.at_level(logging.WARNING):
        bank.fill()
    expected = "making 3 textures of 't' will take about 20 minutes on cpu: --max_textures 1 takes about 10"
    assert caplog.messages == [expected]
    caplog.clear()
    TextureBank(replace(STYLEGAN, texture_pool=3), seed=3).fill()
    assert caplog.messages == []


def test_a_gpu_shows_windows_as_it_shows_a_whole_pool(gpu, tmp_path, monkeypatch):
    for module in (bank_module, cache_module):
        monkeypatch.setattr(module, "BLOCK", 4)
    whole = TextureBank(replace(WINDOWED, texture_window=None), 3, gpu)
    whole.fill()
    streams = [torch.cuda.current_stream(gpu), torch.cuda.Stream(gpu)]
    for round in range(2):  # the second time from the cache
        bank, seen = TextureBank(WINDOWED, 3, gpu, tmp_path), []
        if round:
            monkeypatch.setattr(bank, "generate", None)
        for first in range(0, 24, 3):
            position = (first // 6 * 4 % 12 + torch.arange(4)).to(gpu)
            torch.cuda.synchronize(gpu)  # the position is there for any stream
            with torch.cuda.stream(streams[first % 2]):
                bank.show(torch.arange(first, first + 3))
                seen.append((position, bank.textures[bank.row[position]]))
        torch.cuda.synchronize(gpu)
        for position, shown in seen:  # a GPU may round differently in larger batches
            assert (shown.float() - whole.textures[whole.row[position]].float()).abs().mean() < 1
        if not round:
            bank._writing.result()
