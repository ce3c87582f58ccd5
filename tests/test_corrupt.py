"""Corrupted sets: real processes, real files, and a real kill."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from fractions import Fraction

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from vsr.cli import main
from vsr.corruptions import Cell, cells, codec
from vsr.corruptions.codec import recode
from vsr.corruptions.pixel import perturb
from vsr.corruptions.temporal import order
from vsr.data.corrupted_set import read_corrupted
from vsr.data.decode import measure, read_frames
from vsr.errors import InputError
from vsr.export import write_mp4
from vsr.offline import corrupted, corrupted_sheet
from vsr.offline.corrupted import corrupt_videos

NAMES = ["jpeg", "gaussian_noise", "jumble", "reverse", "mpeg2"]
LEVELS = [1, 5]
CELLS = cells(NAMES, LEVELS)
VIDEOS = ["a/walk.mp4", "b/c/run.mp4", "swim.mp4"]
SEED = 3


def frames(number):
    """A textured picture that moves, uint8 (14, 35, 46, 3): an odd height, and not square."""
    picture = np.random.default_rng(number).integers(0, 256, (10, 14, 3), dtype=np.uint8).repeat(6, 0).repeat(6, 1)
    return np.stack([picture[t : t + 35, t : t + 46] for t in range(14)])


@pytest.fixture(scope="module")
def src(tmp_path_factory):
    """A folder of three videos, and of what is none."""
    folder = tmp_path_factory.mktemp("videos") / "clips"
    for number, name in enumerate([*VIDEOS, ".old/jump.mp4"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_mp4(frames(number), folder / name, Fraction(30000, 1001), lossless=True)
    (folder / "notes.txt").write_text("not a video")
    return folder


@pytest.fixture
def copy(src, tmp_path):
    """The same folder, to be changed."""
    return shutil.copytree(src, tmp_path / "clips")


@pytest.fixture(scope="module")
def made(src, tmp_path_factory):
    """A set that nothing interrupted."""
    folder = tmp_path_factory.mktemp("made") / "set"
    done = corrupt_videos(src, folder, NAMES, LEVELS, SEED, lossless=True, workers=1)
    assert (done.made, done.there, done.videos, done.unreadable) == (len(CELLS) * 3, 0, 3, {})
    assert done.passed_over == ["notes.txt"]
    assert done.size == sum(p.stat().st_size for p in folder.rglob("*.mp4"))
    return folder


def hashes(folder):
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("[!.]*.mp4")
    }


def lines(folder):
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def under(cell, video, index):
    """A whole video under a cell, by the functions that say what a cell is."""
    if cell.works_on == "order":
        return video[order(cell, len(video), index, SEED)]
    if cell.works_on == "file":
        return np.stack(list(recode(cell, video)))
    clip = torch.from_numpy(video).permute(3, 0, 1, 2)[None]
    return perturb(cell, clip, torch.tensor([index]), torch.tensor([0]), SEED)[0].permute(1, 2, 3, 0).numpy()


def test_every_file_shows_the_whole_video_under_its_cell(made):
    held = read_corrupted(made)
    for index, video in enumerate(VIDEOS):
        for cell in CELLS:
            path = held.file(video, cell)
            assert path == made / cell.perturbation / str(cell.severity) / f"{video}.mp4"
            assert np.array_equal(read_frames(path, np.arange), under(cell, frames(index), index))
    assert measure(path).fps == pytest.approx(30000 / 1001)


def test_the_manifest_says_what_was_made_of_what(made, src):
    header, *rest = lines(made)
    assert (header["schema"], header["seed"], header["source"], header["videos"]) == (1, SEED, "clips", VIDEOS)
    assert (header["perturbations"], header["severities"]) == (NAMES, LEVELS)
    assert header["encoding"].startswith("libx264rgb")
    sources = [line for line in rest if "file" not in line]
    for index, (line, name) in enumerate(zip(sources, VIDEOS, strict=True)):
        data = (src / name).read_bytes()
        assert (line["video"], line["index"], line["size"]) == (name, index, len(data))
        assert line["sha256"] == hashlib.sha256(data).hexdigest()
        assert (line["frames"], line["height"], line["width"]) == (14, 35, 46)
    files = {line["file"]: line["sha256"] for line in rest if "file" in line}
    assert files == hashes(made)
    assert {p.name for p in made.iterdir()} == {*NAMES, "manifest.jsonl"}


def test_a_second_run_does_nothing(made, src):
    before = {p: p.stat().st_mtime_ns for p in made.rglob("*")}
    done = corrupt_videos(src, made, NAMES, LEVELS, SEED, lossless=True, workers=1)
    assert (done.made, done.there) == (0, len(CELLS) * 3)
    assert {p: p.stat().st_mtime_ns for p in made.rglob("*")} == before


def test_a_killed_run_goes_on_where_it_was(made, src, tmp_path, capsys):
    folder = tmp_path / "set"
    words = ["corrupt", str(src), str(folder), "--perturbations", *NAMES, "--severities", "1", "5", "--lossless"]
    words += ["--seed", str(SEED), "--workers", "2"]
    manifest = folder / "manifest.jsonl"
    with subprocess.Popen([sys.executable, "-m", "vsr", *words], stderr=subprocess.PIPE) as command:
        until = time.monotonic() + 120
        while not manifest.exists() or manifest.read_bytes().count(b'"file"') < 4:
            assert command.poll() is None, command.stderr.read()
            assert time.monotonic() < until
            time.sleep(0.001)
        command.send_signal(signal.SIGSTOP)  # or it may be ready before its processes are found
        processes = psutil.Process(command.pid).children(recursive=True)
        command.send_signal(signal.SIGKILL)
    assert processes
    assert not psutil.wait_procs(processes, timeout=30)[1]  # they go with the command
    text = manifest.read_text().splitlines(keepends=True)
    done = [json.loads(line)["file"] for line in text[4:] if line.endswith("\n")]
    assert 4 <= len(done) < len(CELLS) * 3
    assert all(hashes(folder)[name] == hashes(made)[name] for name in done)  # whole files
    unlisted, lost, cut = done[:3]
    kept = [line for line in text if line.endswith("\n") and unlisted not in line]
    manifest.write_text("".join(kept) + '{"file": "jpe')  # as if killed before a line, and within the next
    (folder / "jpeg" / ".part-x.mp4").write_bytes(b"half")
    (folder / lost).unlink()
    (folder / cut).write_bytes((folder / cut).read_bytes()[:-100])
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("[!.]*.mp4") if p != folder / cut}
    main(words)
    out = capsys.readouterr().out
    assert f"{len(CELLS) * 3 - len(before)} files made, {len(before)} were there" in out
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert hashes(folder) == hashes(made)
    assert {line["file"]: line["sha256"] for line in lines(folder) if "file" in line} == hashes(made)
    assert not list(folder.rglob(".part-*"))


def test_files_are_small_without_lossless(src, made, tmp_path):
    corrupt_videos(src, tmp_path / "set", ["jumble"], [1], SEED, workers=1)
    held = read_corrupted(tmp_path / "set")
    cell = Cell("jumble", 1)
    for index, video in enumerate(VIDEOS):
        path = held.file(video, cell)
        read = read_frames(path, np.arange).astype(int)
        assert read.shape == (14, 34, 46, 3)  # colour is halved: an odd row is lost
        assert np.abs(read - under(cell, frames(index), index)[:, :34]).mean() < 20
    assert path.stat().st_size < read_corrupted(made).file(video, cell).stat().st_size


def test_what_does_not_fit_in_memory_comes_in_blocks(src, monkeypatch):
    path, video = src / VIDEOS[0], frames(0)
    monkeypatch.setattr(corrupted, "_MOST", video.nbytes // 3)
    monkeypatch.setattr(corrupted, "_held", None)  # the whole video is not asked for
    for cell in (Cell("jumble", 1), Cell("reverse", 1), Cell("mpeg2", 1)):
        shown = list(corrupted.corrupted(path, len(video), video.nbytes, cell, 0, SEED))
        assert np.array_equal(shown, under(cell, video, 0))


def test_a_video_too_large_for_pixels_is_named(src, tmp_path, monkeypatch):
    monkeypatch.setattr(corrupted, "_MOST", 1000)
    done = corrupt_videos(src, tmp_path / "set", ["jpeg"], [1], workers=1)
    assert done.made == 0
    assert sorted(done.unreadable) == VIDEOS
    assert "14 frames of 46 x 35 px are too large to perturb their pixels" in done.lines()[-1]


def test_a_video_that_cannot_be_read_is_named_and_added_when_mended(copy, tmp_path, capsys):
    good = (copy / VIDEOS[1]).read_bytes()
    (copy / VIDEOS[1]).write_bytes(good[: len(good) // 2])
    command = f"corrupt {copy} {tmp_path / 'set'} --perturbations freeze --severities 2 --workers 1"
    line, out = refused(capsys, command)
    assert f"1 of 3 videos in {copy} are left out, first {VIDEOS[1]}: mend them" in line
    assert "2 files made, 0 were there" in out
    assert f"{VIDEOS[1]}: not a readable video" in out
    held = read_corrupted(tmp_path / "set")
    assert held.file(VIDEOS[2], Cell("freeze", 2)).exists()
    with pytest.raises(InputError, match=rf"doesn't hold 1 of the videos, first {VIDEOS[1]} \(it couldn't be read\)"):
        held.file(VIDEOS[1], Cell("freeze", 2))
    (copy / VIDEOS[1]).write_bytes(good)
    main(command.split())
    assert "1 files made, 2 were there" in capsys.readouterr().out
    read = read_frames(read_corrupted(tmp_path / "set").file(VIDEOS[1], Cell("freeze", 2)), np.arange)
    assert len(read) == 14


def refused(capsys, words):
    with pytest.raises(SystemExit) as stopped:
        main(words.split())
    assert stopped.value.code == 2
    captured = capsys.readouterr()
    return captured.err.splitlines()[-1], captured.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("SRC DST --perturbations freez", "no perturbation 'freez'; did you mean 'freeze'?"),
        ("SRC DST --perturbations", "perturbations"),
        ("SRC DST --severities 1 6", "severity 6 is none of 1 .. 5"),
        ("SRC DST --severities mild", "mild"),
        ("SRC DST --seed -1", "seed -1 is outside"),
        ("SRC DST --workers 0", "0 workers can't work: give 1 or more"),
        ("SRC/none DST", "none: no such folder: give the folder of the videos"),
        ("EMPTY DST", "empty holds nothing and no video: give a folder with files that end in .3gp"),
        ("TEXT DST", "text holds 1 files, first a.txt, and no video"),
        ("SRC SRC/set", "clips/set lies in"),
        ("SRC /proc/none", "can't write /proc/none"),
        ("SRC SRC/notes.txt/set", "lies in"),
        ("SRC TEXT", "text holds a.txt and no manifest.jsonl: give a new or an empty folder as DST"),
        ("SRC/swim.mp4 DST", "swim.mp4 is a file: give a folder of videos, or for a sheet of this one"),
        ("SRC/none.mp4 sheet.png", "none.mp4: no such file"),
        ("SRC/swim.mp4 sheet.png --perturbations jpg", "no perturbation 'jpg'; did you mean 'jpeg'?"),
    ],
)
def test_bad_input_is_refused_in_one_line(words, message, src, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for folder in ("empty", "text"):
        (tmp_path / folder).mkdir()
    (tmp_path / "text" / "a.txt").touch()
    before = sorted(tmp_path.rglob("*"))
    for name, place in {"SRC": src, "EMPTY": "empty", "TEXT": "text", "DST": "set"}.items():
        words = words.replace(name, str(place))
    line, _ = refused(capsys, f"corrupt {words}")
    assert line.startswith("vsr: error:")
    assert message in line
    assert sorted(tmp_path.rglob("*")) == before


def test_a_missing_codec_is_named_at_once(src, tmp_path, monkeypatch):
    monkeypatch.setitem(codec._CODECS, "mpeg1", ("mpeg9video", 20))
    with pytest.raises(InputError, match="mpeg1 needs the encoder 'mpeg9video'"):
        corrupt_videos(src, tmp_path / "set", ["freeze", "mpeg1"])
    assert not (tmp_path / "set").exists()


def test_another_set_is_refused(made, copy):
    before = {p: p.stat().st_mtime_ns for p in made.rglob("*")}
    usual = {"perturbations": NAMES, "severities": LEVELS, "seed": SEED, "lossless": True}
    for change, difference in [
        ({"seed": 4}, r"with seed 3 where this has 4: give another DST, or the same seed"),
        ({"perturbations": ["jpeg"]}, r"with perturbations \['jpeg', 'g.* where this has \['jpeg'\]"),
        ({"severities": [1]}, r"with severities \[1, 5\] where this has \[1\]"),
        ({"lossless": False}, r"with encoding libx264rgb .* where this has libx264 "),
    ]:
        with pytest.raises(InputError, match=difference):
            corrupt_videos(copy, made, **{**usual, **change})
    (copy / "a" / "more.mp4").touch()
    with pytest.raises(InputError, match=r"made from 3 videos, and 4 are in clips, first difference a/more\.mp4"):
        corrupt_videos(copy, made, **usual)
    (copy / "a" / "more.mp4").unlink()
    with (copy / VIDEOS[0]).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(InputError, match=r"walk\.mp4 has changed since its files were made: give another DST"):
        corrupt_videos(copy, made, **usual)
    with pytest.raises(InputError, match=r"with source clips where this has other"):
        corrupt_videos(copy.rename(copy.parent / "other"), made, **usual)
    assert {p: p.stat().st_mtime_ns for p in made.rglob("*")} == before


def test_reading_refuses_what_does_not_match(made, tmp_path):
    folder = shutil.copytree(made, tmp_path / "set")
    held = read_corrupted(folder)
    cell = Cell("jpeg", 5)
    held.check_covers(VIDEOS)
    with pytest.raises(InputError, match=r"doesn't hold 2 of the videos, first a/wal\.mp4; did you mean 'a/walk\.mp4'"):
        held.check_covers([*VIDEOS, "a/wal.mp4", "b.mp4"])
    with pytest.raises(InputError, match=r"has no jpeg of severity 2, only jpeg 1, jpeg 5, .* mpeg2 5: write"):
        held.file(VIDEOS[0], Cell("jpeg", 2))
    with pytest.raises(InputError, match=r"doesn't hold 1 of the videos, first b\.mp4"):
        held.file("b.mp4", cell)
    unlisted = replace(held, written={})
    with pytest.raises(InputError, match=r"has no jpeg of severity 5 of a/walk\.mp4 yet: go on with"):
        unlisted.file(VIDEOS[0], cell)
    path = held.file(VIDEOS[0], cell)
    with path.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(InputError, match=r"walk\.mp4\.mp4 has \d+ bytes where its manifest has \d+: write it again"):
        held.file(VIDEOS[0], cell)
    path.unlink()
    with pytest.raises(InputError, match=r"walk\.mp4\.mp4 is missing: write it again"):
        held.file(VIDEOS[0], cell)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file or directory: give a folder that vsr corrupt has written"),
        ("", "is empty"),
        ('{"what": "videos", "schema": 1}\n', "is the manifest of videos, not of corrupted videos"),
        (
            '{"what": "corrupted videos", "schema": 9, "vsr": "7.1"}\n',
            "has schema 9, and this vsr reads 1: read it with",
        ),
        ("holiday\n", "line 1: not a line of a manifest"),
        ('HEADER{"file": 3}\n', "line 2: not a line of a manifest"),
    ],
)
def test_another_manifest_is_refused(text, message, made, tmp_path):
    if text is not None:
        header = (made / "manifest.jsonl").read_text().splitlines(keepends=True)[0]
        (tmp_path / "manifest.jsonl").write_text(text.replace("HEADER", header))
    with pytest.raises(InputError, match=message):
        read_corrupted(tmp_path)


def test_a_sheet_shows_a_video_under_every_cell(src, tmp_path, monkeypatch, capsys):
    drawn = {}
    whole = corrupted_sheet.sheet

    def sheet(rows, path, title, labels, columns):
        drawn.update(zip(labels, rows, strict=True), columns=columns)
        whole(rows, path, title, labels, columns)

    monkeypatch.setattr(corrupted_sheet, "sheet", sheet)
    names = ["jpeg", "freeze", "reverse", "mpeg1"]
    main(["corrupt", str(src / "swim.mp4"), str(tmp_path / "s.png"), "--perturbations", *names])
    assert "swim.mp4 under corruptions" in capsys.readouterr().out
    assert drawn.pop("columns") == [f"severity {level}" for level in range(1, 6)]
    video = frames(2)
    assert np.array_equal(drawn["clean"][0], video[7])
    assert list(drawn) == ["clean", *names]
    for name, row in drawn.items():
        assert row.shape == ({"clean": 2, "reverse": 1}.get(name, 5), 35, 46, 3)
    assert np.array_equal(drawn["mpeg1"][4], under(Cell("mpeg1", 5), video, 0)[7])
    assert np.array_equal(drawn["jpeg"][1], under(Cell("jpeg", 2), video, 0)[7])
    assert not np.array_equal(drawn["reverse"][0], drawn["clean"][1])
    with Image.open(tmp_path / "s.png") as image:
        assert image.width > 5 * 46
        assert image.height > 5 * 35


def test_real_clips(real_data, tmp_path):
    """As they come: AVI, of a rate that isn't round, upright from a display matrix, of odd sides."""
    (tmp_path / "clips").mkdir()
    names = ["nasa_13013_rotated.mp4", "testsrc2_odd_height_and_width_444.mp4"]
    for name in names:
        shutil.copy(real_data / "odd_videos" / name, tmp_path / "clips")
    corrupt_videos(tmp_path / "clips", tmp_path / "set", ["box_jumble", "mpeg1"], [2], lossless=True, workers=2)
    held = read_corrupted(tmp_path / "set")
    for index, name in enumerate(names):
        video = read_frames(tmp_path / "clips" / name, np.arange)
        cell = Cell("box_jumble", 2)
        read = read_frames(held.file(name, cell), np.arange)
        assert np.array_equal(read, video[order(cell, len(video), index, 0)])
        coded = read_frames(held.file(name, Cell("mpeg1", 2)), np.arange)
        assert np.array_equal(coded, np.stack(list(recode(Cell("mpeg1", 2), video))))
