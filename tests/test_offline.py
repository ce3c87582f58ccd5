"""Exports: real processes, real files, and a real kill."""

import hashlib
import io
import json
import signal
import subprocess
import sys
import tarfile
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from vsr.cli import main
from vsr.errors import InputError
from vsr.offline import export_textures, export_videos, items
from vsr.offline.folder import ItemFolder
from vsr.offline.workers import Made
from vsr.recipe import load_recipe
from vsr.render import render_video
from vsr.textures.images import _listed
from vsr.textures.statistical import statistical

COUNT = 60
TINY = "{name: tiny, size: 32, duration: [8, 10], num_objects: 5, shapes: mixed, speed: [1, 3], num_videos: 100}"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """The path of a recipe of tiny videos."""
    path = tmp_path_factory.mktemp("recipe") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def exported(recipe, tmp_path_factory):
    """An export that nothing interrupted."""
    folder = tmp_path_factory.mktemp("exported") / "videos"
    summary = export_videos(load_recipe(recipe), folder, COUNT, size=32, workers=1)
    assert (summary.made, summary.there) == (COUNT, 0)
    return folder


def manifest(folder):
    header, *lines = map(json.loads, (folder / "manifest.jsonl").read_text().splitlines())
    return header, lines


def hashes(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("0*.mp4")}


def decode(file):
    with av.open(file) as video:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])


def test_an_export_says_what_it_holds(exported, recipe):
    header, lines = manifest(exported)
    assert header["recipe"]["speed"] == [1, 3]
    assert (header["recipe_hash"], header["seed"], header["size"]) == (load_recipe(recipe).hash, 0, 32)
    assert sorted(line["index"] for line in lines) == list(range(COUNT))
    assert {line["file"]: line["sha256"] for line in lines} == hashes(exported)
    assert {p.name for p in exported.iterdir()} == {*hashes(exported), "manifest.jsonl", "videos.csv"}
    line = next(line for line in lines if line["index"] == 7)
    video = render_video(load_recipe(recipe), index=7, size=32).numpy()
    read = decode(exported / line["file"])
    assert line["frames"] == len(video) == len(read)
    assert np.abs(read.astype(int) - video).mean() < 10  # half the colours of 32 px
    assert np.abs(read.astype(int) - video[::-1]).mean() > 10


def test_the_list_is_what_videomae_reads(exported):
    lines = (exported / "videos.csv").read_text().splitlines()
    assert len(lines) == COUNT
    for number, line in enumerate(lines):
        path, first, frames = line.split(" ")  # both releases split at single spaces
        assert Path(path) == exported.resolve() / f"{number:08d}.mp4"
        assert (int(first), int(frames)) == (0, -1)


def test_a_killed_export_goes_on_where_it_was(exported, recipe, tmp_path, capsys):
    folder = tmp_path / "videos"
    words = ["render", str(recipe), "--count", str(COUNT), "--size", "32", "--out", str(folder)]
    lines = folder / "manifest.jsonl"
    with subprocess.Popen([sys.executable, "-m", "vsr", *words], stderr=subprocess.PIPE) as command:
        until = time.monotonic() + 120
        while not lines.exists() or lines.read_bytes().count(b"\n") < 10:
            assert command.poll() is None, command.stderr.read()
            assert time.monotonic() < until
            time.sleep(0.002)
        command.send_signal(signal.SIGSTOP)  # or it may be ready before its processes are found
        processes = psutil.Process(command.pid).children(recursive=True)
        command.send_signal(signal.SIGKILL)
    assert processes
    assert not psutil.wait_procs(processes, timeout=30)[1]  # they go with the command
    _, done = manifest_of_whole_lines(lines)
    assert 9 <= len(done) < COUNT
    assert {k: v for k, v in hashes(folder).items() if k in done} == done  # whole files
    taken_over, lost = sorted(done)[:2]
    text = [line for line in lines.read_text().splitlines(keepends=True) if taken_over not in line]
    lines.write_text("".join(text) + '{"file": "0000')  # as if killed before its line, and in the middle of the next
    (folder / ".part-x.mp4").write_bytes(b"half")
    (folder / lost).unlink()
    before = {p.name: p.stat().st_mtime_ns for p in folder.glob("0*.mp4")}
    main(words)
    summary = capsys.readouterr().out
    assert f"{COUNT - len(before)} videos made, {len(before)} were there" in summary
    assert {p.name: p.stat().st_mtime_ns for p in folder.glob("0*.mp4") if p.name in before} == before
    assert hashes(folder) == hashes(exported)
    assert {line["file"]: line["sha256"] for line in manifest(folder)[1]} == hashes(exported)
    assert len((folder / "videos.csv").read_text().splitlines()) == COUNT
    assert not list(folder.glob(".*"))


def manifest_of_whole_lines(file):
    header, *lines = map(json.loads, file.read_bytes().rpartition(b"\n")[0].splitlines())
    return header, {line["file"]: line["sha256"] for line in lines}


def test_lossless_shards_hold_what_was_rendered(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(items, "_VIDEOS_PER_SHARD", 4)
    tiny = load_recipe(recipe)
    summary = export_videos(tiny, tmp_path / "v", 10, first=90, seed=3, size=33, lossless=True, shards=True, workers=2)
    assert summary.made == 10
    names = ["000000.tar", "000001.tar", "000002.tar"]
    assert sorted(p.name for p in (tmp_path / "v").iterdir()) == [*names, "manifest.jsonl"]
    lines = manifest(tmp_path / "v")[1]
    listed = {line["file"]: line for line in lines if "file" in line}
    whole = {line["shard"]: line for line in lines if "file" not in line}
    assert [whole[name]["items"] for name in names] == [4, 4, 2]
    for shard, name in enumerate(names):
        data = (tmp_path / "v" / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == whole[name]["sha256"]
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            members = tar.getmembers()
            keys = [f"{n:08d}" for n in range(90 + 4 * shard, min(94 + 4 * shard, 100))]
            assert [m.name for m in members] == [key + end for key in keys for end in (".mp4", ".json")]
            assert {(m.mtime, m.uid, m.gid) for m in members} == {(0, 0, 0)}
            for key in keys:
                video, address = (tar.extractfile(f"{key}{end}").read() for end in (".mp4", ".json"))
                assert listed[f"{key}.mp4"]["shard"] == name
                assert hashlib.sha256(video).hexdigest() == listed[f"{key}.mp4"]["sha256"]
                address = json.loads(address)
                assert (address["recipe_hash"], address["seed"], address["index"]) == (tiny.hash, 3, int(key))
                rendered = render_video(tiny, seed=3, index=int(key), size=33).numpy()
                assert np.array_equal(decode(io.BytesIO(video)), rendered)


@pytest.fixture
def shards(tmp_path):
    """A folder of six items in shards of four, with files of one byte each; a function that goes on with it."""

    def go_on(stop_before=6):
        with ItemFolder(tmp_path / "s", {"what": "bytes"}, ".bin", range(6), 4) as folder:
            todo = list(folder.todo)
            for n in [n for n in todo if n < stop_before]:
                folder.place(n).parent.mkdir(exist_ok=True)
                folder.place(n).write_bytes(bytes([n]))
                folder.add(Made(n, True, {"sha256": hashlib.sha256(bytes([n])).hexdigest()}))
            if stop_before == 6:
                folder.finish()
        return todo

    go_on.folder = tmp_path / "s"
    return go_on


def test_a_finished_item_of_a_shard_is_kept_until_the_shard_is_there(shards):
    folder = shards.folder
    assert shards(stop_before=3) == [0, 1, 2, 3, 4, 5]
    assert sorted(p.name for p in (folder / ".parts").iterdir()) == [f"{n:08d}.bin" for n in range(3)]
    assert shards(stop_before=5) == [3, 4, 5]
    assert [p.name for p in (folder / ".parts").iterdir()] == ["00000004.bin"]
    first = (folder / "000000.tar").read_bytes()
    assert shards() == [5]
    assert sorted(p.name for p in folder.iterdir()) == ["000000.tar", "000001.tar", "manifest.jsonl"]
    assert shards() == []
    assert (folder / "000000.tar").read_bytes() == first


@pytest.mark.parametrize("in_place", [True, False])
def test_a_kill_around_the_writing_of_a_shard_loses_nothing(shards, in_place):
    folder = shards.folder
    shards(stop_before=4)
    first = (folder / "000000.tar").read_bytes()
    lines = (folder / "manifest.jsonl").read_text().splitlines(keepends=True)
    (folder / "manifest.jsonl").write_text("".join(lines[:-1]))  # the shard's own line is lost
    if not in_place:
        (folder / "000000.tar").unlink()
    for n in range(4):
        (folder / ".parts" / f"{n:08d}.bin").write_bytes(bytes([n]))
    assert shards() == [4, 5]
    assert (folder / "000000.tar").read_bytes() == first
    assert sorted((folder / "manifest.jsonl").read_text().splitlines()[:-1])[0] in "".join(lines)
    assert {line["shard"] for line in manifest(folder)[1] if "file" not in line} == {"000000.tar", "000001.tar"}
    assert not (folder / ".parts").exists()


def test_a_lost_shard_is_made_again(shards):
    shards()
    (shards.folder / "000000.tar").unlink()
    assert shards() == [0, 1, 2, 3]
    assert (shards.folder / "000000.tar").exists()
    assert len(manifest(shards.folder)[1]) == 6 + 2  # the same hashes: nothing new to say


def test_textured_videos_show_the_bank_that_the_processes_share(tmp_path):
    (tmp_path / "images").mkdir()
    for n in range(3):
        noise = np.random.default_rng(n).integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "images" / f"{n}.png")
    path = tmp_path / "textured.yaml"
    path.write_text(TINY.replace("num_videos: 100", "fill: texture, texture_size: 16, texture_pool: 500"))
    words = f"render {path} --count 3 --size 32 --lossless --texture_folder {tmp_path / 'images'} --out {tmp_path}/v"
    main(words.split())
    recipe = load_recipe(path).with_textures(3)
    recipe = replace(recipe, texture_folder=str(tmp_path / "images"), texture_source="images")
    for index in range(3):
        rendered = render_video(recipe, index=index, size=32).numpy()
        assert np.array_equal(decode(tmp_path / "v" / f"{index:08d}.mp4"), rendered)
    assert len(np.unique(rendered.reshape(-1, 3), axis=0)) > 6  # more than one colour for each of five objects


def test_textures_are_the_generators(tmp_path, capsys):
    words = ["textures", "statistical", "--count", "3", "--size", "64", "--seed", "5", "--out", str(tmp_path / "t")]
    main(words)
    assert "3 textures made, 0 were there" in capsys.readouterr().out
    made = statistical(torch.arange(3), 5, 64)
    for n in range(3):
        read = np.asarray(Image.open(tmp_path / "t" / f"{n:08d}.png"))
        assert np.array_equal(read, made[n].permute(1, 2, 0).numpy())
    assert sorted(p.name for p in (tmp_path / "t").iterdir())[3:] == ["manifest.jsonl"]
    main(words)
    assert "0 textures made, 3 were there" in capsys.readouterr().out


@contextmanager
def files_end_at(size):
    """The system refuses to write on beyond a size, as it does on a full disk, here and in the processes begun here."""
    mine = psutil.Process()
    _, hard = mine.rlimit(psutil.RLIMIT_FSIZE)
    try:
        for process in (mine, *mine.children()):
            process.rlimit(psutil.RLIMIT_FSIZE, (size, hard))
        yield
    finally:
        for process in (mine, *mine.children()):
            process.rlimit(psutil.RLIMIT_FSIZE, (hard, hard))


def test_a_full_place_is_named_and_keeps_what_is_done(recipe, tmp_path):
    named = r"can't write .*/v/0000000\d.mp4 \(File too large\).*; what is done stays, and the same command goes on"
    with files_end_at(4096), pytest.raises(InputError, match=named):
        export_videos(load_recipe(recipe), tmp_path / "v", 2, size=256, lossless=True, workers=1)
    assert [p.name for p in (tmp_path / "v").iterdir()] == ["manifest.jsonl"]


def refused(capsys, words):
    with pytest.raises(SystemExit) as stopped:
        main(words.split())
    assert stopped.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("render RECIPE --count 0", "count 0 makes nothing: set --count to 1 or more"),
        ("render RECIPE --count 101", "has, which is videos 0 .. 99: set --count to at most 100"),
        ("render RECIPE --count 11 --index 90", "set --count to at most 10"),
        ("render RECIPE --count 1 --index -1", "numbers go from 0"),
        ("render RECIPE --count 2 --clip", "--count writes whole videos"),
        (
            "render RECIPE --count 2 --size 33",
            "size 33 can't be written as yuv420p: give an even --size",
        ),
        ("render RECIPE --shards", "--shards is of many videos: add --count"),
        ("render RECIPE --lossless", "--lossless is of many videos: add --count"),
        ("render RECIPE --count 2 --out /proc/none", "can't write /proc/none"),
        ("render RECIPE --count 2 --out RECIPE", "tiny.yaml (File exists): give another --out"),
        ("textures statistical", "give --count"),
        ("textures statistical --count 0", "count 0 makes nothing"),
        ("textures statistical --count 2 --size 100", "texture size 100 is not possible"),
        ("textures oriented --count 2 --size 512", "StyleGAN textures have 1 to 256"),
        ("textures marble --count 2", "marble"),
    ],
)
def test_bad_input_is_refused_in_one_line(words, message, recipe, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    line = refused(capsys, words.replace("RECIPE", str(recipe)))
    assert line.startswith("vsr: error:")
    assert message.replace("give --count", "Give --count") in line
    assert not list(tmp_path.iterdir())


def test_a_folder_of_something_else_is_refused(exported, recipe, tmp_path):
    tiny, (header, _) = load_recipe(recipe), manifest(exported)
    before = {p.name: p.stat().st_mtime_ns for p in exported.iterdir()}
    for change, difference in [
        ({"seed": 1}, "seed 0 where this has 1"),
        ({"lossless": True}, "encoding libx264 .* where this has libx264rgb"),
        ({"shards": True}, "count None where this has 2"),
    ]:
        with pytest.raises(InputError, match=f"holds another export, with {difference}.*: give another --out"):
            export_videos(tiny, exported, 2, **{"size": 32, **change})
    with pytest.raises(InputError, match=r"another export, with"):
        export_textures("statistical", exported, 2)
    assert {p.name: p.stat().st_mtime_ns for p in exported.iterdir()} == before
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "holiday.mp4").touch()
    with pytest.raises(InputError, match=r"holds holiday.mp4 and no manifest.jsonl: give --out a new or an empty"):
        export_videos(tiny, tmp_path / "a", 2)
    (tmp_path / "a" / "manifest.jsonl").write_text("not mine\n")
    with pytest.raises(InputError, match=r"manifest.jsonl is not a manifest of vsr"):
        export_videos(tiny, tmp_path / "a", 2)
    with pytest.raises(InputError, match="has a space in its path"):
        export_videos(tiny, tmp_path / "a b", 2)
    assert header["schema"] == 1
    recipe_of_more = tmp_path / "more.yaml"
    recipe_of_more.write_text(TINY.replace("num_objects: 5", "num_objects: 6"))
    with pytest.raises(InputError, match=r"with recipe\.num_objects 5 where this has 6"):
        export_videos(load_recipe(recipe_of_more), exported, 2, size=32)


def test_a_folder_of_other_images_is_another_export(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "images/0.png")
    recipe = replace(
        load_recipe("acc_images"), num_objects=5, duration=(2, 2), texture_pool=1, texture_size=8,
        texture_folder=str(tmp_path / "images"),
    )  # fmt: skip
    export_videos(recipe, tmp_path / "out", 1, size=16, workers=1)
    Image.effect_noise((32, 32), 90).save(tmp_path / "images/0.png")
    _listed.cache_clear()  # as in another process
    with pytest.raises(InputError, match="another export, with textures"):
        export_videos(recipe, tmp_path / "out", 2, size=16, workers=1)
