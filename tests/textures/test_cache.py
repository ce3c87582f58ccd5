import hashlib
import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from vsr.errors import InputError
from vsr.recipe import Recipe
from vsr.textures import bank as bank_module
from vsr.textures import cache as cache_module
from vsr.textures.bank import TextureBank
from vsr.textures.cache import BLOCK, TextureCache

RECIPE = Recipe("t", fill="texture", texture_source="stylegan_oriented", texture_pool=10, texture_size=16)
FILL = """
import hashlib, sys
from vsr.recipe import Recipe
from vsr.textures.bank import TextureBank
recipe = Recipe("t", fill="texture", texture_source="stylegan_oriented", texture_pool=10, texture_size=16)
bank = TextureBank(recipe, seed=3, cache=sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
bank.fill()
print(hashlib.sha256(bank.textures[bank.row].numpy().tobytes()).hexdigest())
"""
WRITE = """
import sys, time
import numpy as np
from vsr.recipe import Recipe
from vsr.textures.cache import TextureCache
recipe = Recipe("t", fill="texture", texture_source="stylegan_oriented", texture_pool=10, texture_size=16)
def pieces():
    yield np.zeros((5, 1, 16, 16, 3), np.uint8)
    print("writing", flush=True)
    time.sleep(60)
TextureCache(sys.argv[1], "stylegan_oriented", recipe, 3, "cpu").write(0, 10, pieces())
"""


def start(code, *arguments):
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdin=pipe, stdout=pipe, text=True)


def cache_of(place, recipe=RECIPE, seed=3):
    return TextureCache(place, recipe.sources[0], recipe, seed, "cpu")


def block(length, start=0, frames=1):
    return np.random.default_rng(start).integers(0, 256, (length, frames, 16, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def pool():
    """The textures of the recipe, made without a cache."""
    bank = TextureBank(RECIPE, seed=3)
    bank.fill()
    return bank.textures[bank.row]


@pytest.fixture
def small_blocks(monkeypatch):
    """Four textures in a block, made two at a time."""
    monkeypatch.setattr(cache_module, "BLOCK", 4)
    monkeypatch.setattr(bank_module, "BLOCK", 4)
    monkeypatch.setattr(bank_module, "_AT_ONCE", {"cpu": 2})


def unmakeable(monkeypatch, bank, allowed=()):
    """Let a bank generate no texture but the allowed ones."""
    generate = bank.generate
    monkeypatch.setattr(bank, "generate", lambda t: generate(t) if set(t.tolist()) <= set(allowed) else 1 / 0)


def test_a_block_comes_back_as_it_was_written(tmp_path):
    cache = cache_of(tmp_path)
    assert cache.read(2, BLOCK) is None
    full, last = block(BLOCK), block(7, start=1)
    cache.write(2, BLOCK, np.split(full, 4))
    cache.write(3, 7, [last[:3], last[3:].transpose(0, 1, 3, 2, 4).copy().transpose(0, 1, 3, 2, 4)])
    again = cache_of(tmp_path)
    assert np.array_equal(again.read(2, BLOCK), full)
    assert isinstance(again.read(2, BLOCK), np.memmap)
    assert np.array_equal(again.read(3, 7), last)
    assert again.read(3, 8) is None
    assert np.array_equal(again.read(2, 9)[:9], full[:9])  # the last block of a pool that was larger before
    assert sorted(f.name for f in cache.folder.iterdir()) == ["000002-1024.npy", "000003-7.npy"]


def test_whatever_changes_pixels_has_a_folder_of_its_own(tmp_path, monkeypatch):
    dynamic = replace(RECIPE, texture_frames=2)
    caches = [
        cache_of(tmp_path),
        cache_of(tmp_path, seed=4),
        cache_of(tmp_path, replace(RECIPE, texture_size=32)),
        cache_of(tmp_path, replace(RECIPE, texture_source="stylegan_high_freq")),
        cache_of(tmp_path, dynamic),
        cache_of(tmp_path, replace(dynamic, texture_step=0.1)),
        cache_of(tmp_path, replace(dynamic, texture_steady=True)),
        TextureCache(tmp_path, "stylegan_oriented", RECIPE, 3, "cuda"),
    ]
    monkeypatch.setitem(cache_module.VERSIONS, "stylegan_oriented", 2)
    caches.append(cache_of(tmp_path))
    assert len({c.folder for c in caches}) == len(caches)
    monkeypatch.undo()
    # A step that nothing takes changes nothing, nor do the pool or what objects do with it.
    same = replace(RECIPE, texture_step=0.1, texture_pool=99, background="texture", num_objects=1, name="u")
    assert cache_of(tmp_path, same).folder == caches[0].folder


@pytest.mark.parametrize(
    "content",
    [b"", b"no npy file", "truncated", "other shape", "other type", "other order"],
    ids=lambda c: c if isinstance(c, str) else f"{len(c)} bytes",
)
def test_a_faulty_file_is_logged_once_and_made_again(tmp_path, caplog, pool, content):
    cache = cache_of(tmp_path)
    file = cache.folder / "000000-10.npy"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content == "truncated":
        cache.write(0, 10, [pool.numpy()[:, None]])
        os.truncate(file, file.stat().st_size - 1)
    elif content == "other shape":
        np.save(file, block(10, frames=2))
    elif content == "other type":
        np.save(file, block(10).astype(np.int16))
    else:
        np.save(file, block(10)[:9])
    bank = TextureBank(RECIPE, seed=3, cache=tmp_path)
    bank.make(torch.tensor([1]))
    bank.fill()
    assert torch.equal(bank.textures[bank.row], pool)
    assert len(caplog.messages) == 1
    assert "000000-10.npy can't be used" in caplog.text
    # A look at texture 1 did not complete the block; the pool did.
    assert np.array_equal(cache_of(tmp_path).read(0, 10)[:, 0], pool.numpy())


def test_a_pool_is_read_where_it_was_made_before(tmp_path, pool, small_blocks, monkeypatch):
    bank = TextureBank(RECIPE, seed=3, cache=tmp_path)
    bank.make(torch.tensor([9, 4, 5, 6, 7]))  # a block that is complete, and a part of one
    files = sorted(f.name for f in cache_of(tmp_path).folder.iterdir())
    assert files == ["000001-4.npy"]
    bank.fill()
    files = sorted(f.name for f in cache_of(tmp_path).folder.iterdir())
    assert files == ["000000-4.npy", "000001-4.npy", "000002-2.npy"]
    for ask in (TextureBank.fill, lambda bank: bank.make(torch.tensor([3, 9, 0]))):
        again = TextureBank(RECIPE, seed=3, cache=tmp_path)
        unmakeable(monkeypatch, again)
        ask(again)
        made = again.row >= 0
        assert torch.equal(again.textures[again.row[made]], pool[made])
    smaller = TextureBank(replace(RECIPE, texture_pool=7), seed=3, cache=tmp_path)
    unmakeable(monkeypatch, smaller)
    smaller.fill()
    assert torch.equal(smaller.textures, pool[:7])
    larger = TextureBank(replace(RECIPE, texture_pool=11), seed=3, cache=tmp_path)
    unmakeable(monkeypatch, larger, allowed=(8, 9, 10))
    larger.fill()
    assert torch.equal(larger.textures[larger.row][:10], pool)
    assert cache_of(tmp_path).read(2, 3) is not None


def test_sources_have_blocks_of_their_own_numbers(tmp_path, pool, small_blocks, monkeypatch):
    sources = ("stylegan_high_freq", "stylegan_oriented")
    mixed = replace(RECIPE, texture_source=sources, texture_pool=10)
    TextureBank(mixed, seed=3, cache=tmp_path).fill()
    alone = TextureBank(replace(RECIPE, texture_pool=5), seed=3, cache=tmp_path)
    unmakeable(monkeypatch, alone)
    alone.fill()
    assert torch.equal(alone.textures, pool[:5])
    again = TextureBank(mixed, seed=3, cache=tmp_path)
    unmakeable(monkeypatch, again)
    again.fill()
    assert torch.equal(again.textures[again.row[torch.arange(1, 10, 2)]], pool[:5])


def test_windows_are_kept_and_read(tmp_path, pool, small_blocks, monkeypatch):
    recipe = replace(RECIPE, texture_window=5, epoch_size=4)
    for round in range(2):
        bank = TextureBank(recipe, seed=3, cache=tmp_path)
        if round:
            unmakeable(monkeypatch, bank)
        for first in range(0, 12, 2):
            bank.show(torch.arange(first, first + 2))
            position = first // 4 * 5 % 10 + torch.arange(5)
            assert torch.equal(bank.textures[bank.row[position]], pool[position])
        assert len(list(cache_of(tmp_path).folder.glob("*.npy"))) == 3  # one across the windows' boundary


def test_dynamic_textures_are_kept(tmp_path, monkeypatch):
    recipe = replace(RECIPE, texture_pool=2, texture_frames=2)
    bank = TextureBank(recipe, seed=3, cache=tmp_path)
    bank.fill()
    again = TextureBank(recipe, seed=3, cache=tmp_path)
    unmakeable(monkeypatch, again)
    again.fill()
    assert torch.equal(bank.textures, again.textures)


def test_two_processes_may_fill_the_same_cache(tmp_path, pool):
    fillers = [start(FILL, tmp_path) for _ in range(2)]
    for filler in fillers:
        assert filler.stdout.readline() == "ready\n"
    digests = []
    for filler in fillers:
        filler.stdin.write("\n")
        filler.stdin.flush()
    for filler in fillers:
        digests.append(filler.communicate(timeout=120)[0].strip())
        assert filler.returncode == 0
    assert digests == 2 * [hashlib.sha256(pool.numpy().tobytes()).hexdigest()]
    assert [f.name for f in cache_of(tmp_path).folder.iterdir()] == ["000000-10.npy"]
    assert np.array_equal(cache_of(tmp_path).read(0, 10)[:, 0], pool.numpy())


def test_a_writer_that_is_killed_leaves_no_block(tmp_path, pool, caplog):
    writer = start(WRITE, tmp_path)
    assert writer.stdout.readline() == "writing\n"
    writer.kill()
    writer.wait(timeout=60)
    cache = cache_of(tmp_path)
    (left,) = cache.folder.iterdir()
    assert left.suffix == ".tmp"
    assert cache.read(0, 10) is None
    bank = TextureBank(RECIPE, seed=3, cache=tmp_path)
    bank.fill()
    assert torch.equal(bank.textures, pool)
    assert np.array_equal(cache.read(0, 10)[:, 0], pool.numpy())
    assert caplog.messages == []
    assert left.exists()  # its writer might have been alive
    yesterday = time.time() - 25 * 3600
    os.utime(left, (yesterday, yesterday))
    cache_of(tmp_path)
    assert not left.exists()


def test_a_cache_that_can_not_be_written_is_logged_once_and_does_without(tmp_path, pool, small_blocks, caplog):
    bank = TextureBank(RECIPE, seed=3, cache=tmp_path)
    cache_of(tmp_path).folder.rmdir()
    bank.fill()
    assert torch.equal(bank.textures, pool)
    assert len(caplog.messages) == 1
    assert "000000-4.npy can't be kept" in caplog.text


def test_a_cache_where_there_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"texture cache .*file can't be used .*: give another folder, or none"):
        TextureBank(RECIPE, cache=tmp_path / "file")
