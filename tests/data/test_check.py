"""``vsr check-data``: what it finds in real files, and that training can use it."""

import os
import shutil
from pathlib import Path

import pytest
from test_clips import lay_out, write

from vsr.cli import main
from vsr.data import check
from vsr.data.check import VideoSet, check_videos, summary
from vsr.data.decode import measure
from vsr.data.lists import read_split
from vsr.data.manifest import Entry, read_manifest, with_known_frames, write_manifest
from vsr.errors import InputError

DATA = Path(os.environ.get("VSR_TEST_DATA", Path(__file__).parents[2] / "../shared/data"))


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """The set of twelve videos for training and five for testing: v4 cut off, t3 gone, v1 of four frames."""
    folder = lay_out(tmp_path)
    (folder / "turn/v4.avi").write_bytes((folder / "turn/v4.avi").read_bytes()[:-700])
    (folder / "zoom/t3.avi").unlink()
    write(folder / "turn/v1.avi", 1, count=4)
    return folder


def of(folder: Path, span: int = 7) -> list[VideoSet]:
    return [VideoSet(str(folder), "ucf101", None, 1, ("train", "val", "test"), span)]


def test_every_file_is_decoded_and_every_trouble_is_listed(damaged: Path, tmp_path: Path) -> None:
    out = tmp_path / "made" / "manifest.csv"
    checked = check_videos(of(damaged), out, 2)
    assert len(checked.entries) == 17
    assert {entry.path for entry in checked.unreadable} == {"turn/v4.avi", "zoom/t3.avi"}
    entries = read_manifest(out)
    assert list(entries) == sorted(entries)
    assert entries["zoom/t3.avi"] == Entry(
        "zoom/t3.avi", 0, 0, 0, 0, 0.0, 0.0, "val test", "no such file: check the path"
    )
    assert "cut off" in entries["turn/v4.avi"].trouble
    assert entries["turn/v1.avi"].trouble == "short: 4 frames, a clip spans 7: frames are repeated"
    good = entries["zoom/v0.avi"]
    assert good == Entry("zoom/v0.avi", (damaged / "zoom/v0.avi").stat().st_size, 10, 24, 32, 25.0, 0.4, "train", "")
    for name, entry in entries.items():
        assert not entry.frames or entry.frames == measure(damaged / name).frames
    said = summary(checked, out)
    assert "turn/v4.avi: cut off" in said[0]
    assert said[1] == "zoom/t3.avi: no such file: check the path (val test)"
    assert said[2:5] == [
        "17 videos, 0 known from before; 2 can't be read",
        "1 shorter than a clip, which repeats frames then; the shortest, turn/v1.avi, has 4 frames",
        "4 to 14 frames, median 12; 2 frame sizes, 8 of them 32 x 24 px",
    ]


def test_what_was_read_is_not_read_again_unless_it_has_changed(
    damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "manifest.csv"
    check_videos(of(damaged), out, 1)
    write(damaged / "zoom/t3.avi", 5)
    write(damaged / "zoom/v0.avi", 1)
    jobs: list[str] = []

    def here(some: list[tuple[str, Path, str, int]], _: int) -> list[Entry]:
        jobs.extend(job[0] for job in some)
        return [check._check(*job) for job in some]

    monkeypatch.setattr(check, "_in_parallel", here)
    checked = check_videos(of(damaged, span=12), out, 1)
    assert sorted(jobs) == ["turn/v4.avi", "zoom/t3.avi", "zoom/v0.avi"]
    assert checked.kept == 14
    entries = read_manifest(out)
    assert entries["zoom/t3.avi"].frames == 10
    assert "a clip spans 12" in entries["turn/v1.avi"].trouble  # of this call


def test_what_was_read_before_a_stop_is_kept(damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(some: list[tuple[str, Path, str, int]], _: int):
        yield check._check(*some[0])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(check, "_in_parallel", stopped)
        with pytest.raises(KeyboardInterrupt):
            check_videos(of(damaged), tmp_path / "manifest.csv", 1)
    assert len(read_manifest(tmp_path / "manifest.csv")) == 1
    assert check_videos(of(damaged), tmp_path / "manifest.csv", 1).kept == 1


def test_odd_names_and_moved_folders_keep_their_lines(tmp_path: Path) -> None:
    names = ["a b#&[1].avi", 'comma, "quoted".avi', os.fsdecode(b"caf\xe9.avi")]
    folder = tmp_path / "videos" / "train" / "walk"
    for k, name in enumerate(names):
        write(folder / name, k)
    sets = [VideoSet(str(tmp_path / "videos"), "folders", None, 1, ("train",), 7)]
    check_videos(sets, tmp_path / "m.csv", 1)
    (tmp_path / "videos").rename(tmp_path / "moved")
    items = read_split("folders", tmp_path / "moved", None, 1, "train")[1]
    known = with_known_frames(items, read_manifest(tmp_path / "m.csv"), str(tmp_path / "moved"))
    assert sorted(item.path.name for item in known) == sorted(names)
    assert all(item.known_frames() == measure(item.path).frames for item in known)


def test_a_file_that_changed_since_is_not_known(tmp_path: Path) -> None:
    write(tmp_path / "train/walk/a.avi", 1)
    items = read_split("folders", tmp_path, None, 1, "train")[1]
    check_videos([VideoSet(str(tmp_path), "folders", None, 1, ("train",), 7)], tmp_path / "m.csv", 1)
    (known,) = with_known_frames(items, read_manifest(tmp_path / "m.csv"), str(tmp_path))
    assert known.known_frames() == 11
    write(tmp_path / "train/walk/a.avi", 2)
    assert known.known_frames() is None
    (tmp_path / "train/walk/a.avi").unlink()
    assert known.known_frames() is None


def test_what_is_no_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file: make it with vsr check-data"):
        read_manifest(tmp_path / "gone.csv")
    write_manifest([Entry("a", 1, 2, 3, 4, 5.0, 6.0, "train", "")], tmp_path / "m.csv")
    with (tmp_path / "m.csv").open("a") as file:
        file.write("b,1\n")
    with pytest.raises(InputError, match=r"m\.csv, line 3: not a line of a manifest"):
        read_manifest(tmp_path / "m.csv")


class TestVerb:
    """``vsr check-data CONFIG``."""

    def test_status_and_manifest(
        self, damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        words = ["--videos", str(damaged), "--num_workers", "1"]
        with pytest.raises(SystemExit) as stopped:
            main(["check-data", "configs/finetune/ucf101.yaml", *words])
        assert stopped.value.code == 1
        said = capsys.readouterr().out
        assert "zoom/t3.avi: no such file" in said
        assert "2 can't be read" in said
        assert "15 shorter than a clip" in said  # of 61 frames
        assert "manifest.csv" in said
        shutil.copy(damaged / "zoom/v0.avi", damaged / "turn/v4.avi")
        main(["check-data", "configs/pretrain/ucf101.yaml", *words, "--out", "pretrain.csv"])
        assert len(read_manifest(tmp_path / "pretrain.csv")) == 12  # the training list only

    def test_a_mixtures_natural_share(self, tmp_path: Path) -> None:
        videos = lay_out(tmp_path)
        config = "configs/pretrain/acc_shapes_ucf101_25pct.yaml"
        main(["check-data", config, "--videos", str(videos), "--out", str(tmp_path / "m.csv"), "--num_workers", "1"])
        assert len(read_manifest(tmp_path / "m.csv")) == 12

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (["configs/pretrain/acc_shapes.yaml"], "has no natural videos"),
            (["configs/finetune/ucf101.yaml"], "names no videos: give --videos"),
            (["configs/finetune/ucf11.yaml"], "did you mean 'configs/finetune/ucf101.yaml'?"),
            (["configs/scale/laptop.yaml"], "has no data block with a class_path"),
            (["configs/finetune/ucf101.yaml", "--videos", "/nowhere/at/all"], "/nowhere/at/all: no such folder"),
        ],
    )
    def test_errors(self, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as stopped:
            main(["check-data", *words])
        assert stopped.value.code == 2
        assert said in capsys.readouterr().err


@pytest.mark.skipif(not (DATA / "odd_videos").is_dir(), reason=f"no real videos in {DATA} (VSR_TEST_DATA)")
def test_odd_videos_are_listed_with_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    shutil.copytree(DATA / "odd_videos", tmp_path / "train" / "odd")
    checked = check_videos([VideoSet(str(tmp_path), "folders", None, 1, ("train",), 61)], tmp_path / "m.csv", 2)
    bad = {Path(entry.path).name: entry.trouble for entry in checked.unreadable}
    assert {name: trouble.split(":")[0] for name, trouble in bad.items()} == {
        "corrupted.mp4": "damaged after frame 28 (Invalid data found when processing input)",
        "derived_lfs_pointer.avi": "a Git LFS pointer, not the video itself",
        "derived_truncated_half.avi": "cut off or damaged at frame 120",
        "derived_zero_bytes.avi": "empty (0 bytes)",
    }
    short = {Path(entry.path).name: entry.frames for entry in checked.short}
    assert short == {"h265_video.mp4": 10, "nasa_13013_rotated.mp4": 17, "testsrc2_odd_height_and_width_444.mp4": 25}
    rotated = next(entry for entry in checked.entries if "rotated" in entry.path)
    assert (rotated.height, rotated.width) == (480, 270)
