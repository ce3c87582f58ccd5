"""Odd, damaged and endless files where they are used: trained on, tested on, in lists; and the memory they take."""

import importlib
import logging
import shutil
import sys
from functools import partial
from pathlib import Path

import av
import numpy as np
import psutil
import pytest
from test_clips import lay_out, write

from vsr.data.clips import ActionClips
from vsr.data.decode import measure, read_frames
from vsr.data.decoded import Clips
from vsr.data.lists import Item
from vsr.data.sampling import train_frames
from vsr.errors import InputError

BAD = {
    "corrupted.mp4": "damaged after frame 28",
    "derived_lfs_pointer.avi": "a Git LFS pointer",
    "derived_truncated_half.avi": "cut off or damaged at frame 120",
    "derived_zero_bytes.avi": r"empty \(0 bytes\)",
}
GOOD = {
    "SOX5yA1l24A.mp4", "SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0.avi", "h265_video.mp4",
    "hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi", "nasa_13013_rotated.mp4",
    "testsrc2_odd_height_and_width_444.mp4", "v_ApplyEyeMakeup_g01_c01.avi", "v_Archery_g03_c03.avi",
}  # fmt: skip


@pytest.fixture
def odd(real_data: Path, tmp_path: Path) -> Path:
    """All odd videos as a training list of two classes, damaged and sound, and one of them for testing."""
    for path in sorted((real_data / "odd_videos").iterdir()):
        place = tmp_path / "train" / ("odd" if path.name in BAD else "sound")
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    for name in ("odd", "sound"):
        (tmp_path / "test" / name).mkdir(parents=True)
    shutil.copy(real_data / "odd_videos" / "h265_video.mp4", tmp_path / "test" / "sound")
    return tmp_path


def clips(folder: Path, **settings) -> ActionClips:
    usual = {"layout": "folders", "num_workers": 0, "size": 32, "num_frames": 8, "stride": 4, "global_batch_size": 4}
    return ActionClips(str(folder), **usual | settings)


def test_training_shows_the_sound_ones_and_counts_the_others(odd: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Two epochs of twelve files: every sound one is shown, each other is logged once and another shown for it."""
    data = clips(odd, max_bad_share=0.34)
    data.setup("fit")
    names = {index: Path(data.path("train", index)).name for index in range(12)}
    assert set(names.values()) == GOOD | BAD.keys()
    shown = set()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            for batch in data.train_dataloader():
                made = data.on_after_batch_transfer(batch, 0)
                shown |= {names[index] for index in made["index"].tolist()}
                assert made["video"].shape == (4, 3, 8, 32, 32)
    assert shown - BAD.keys() == GOOD
    assert {Path(path).name for path in data.unreadable} == BAD.keys()
    said = [record.getMessage() for record in caplog.records if record.name == "vsr.data.decoded"]
    assert len(said) == len(BAD)
    assert all(any(name in line for line in said) for name in BAD)


def test_training_stops_where_they_are_too_many(odd: Path) -> None:
    data = clips(odd, max_bad_share=0.1)
    data.setup("fit")
    with pytest.raises(InputError, match=r"2 of 12 training videos can't be read, more than max_bad_share 0\.1"):
        [data.on_after_batch_transfer(batch, 0) for batch in data.train_dataloader()]


def alone(odd: Path, name: str) -> ActionClips:
    """One file to be tested on, in seven views along it."""
    found = next((odd / "train").rglob(name))
    (odd / "test/sound/h265_video.mp4").unlink()
    shutil.copy(found, odd / "test" / found.parent.name)
    data = clips(odd, test_segments=7)
    data.setup("test")
    return data


@pytest.mark.parametrize("name", BAD)
def test_a_test_stops_at_a_damaged_one(odd: Path, name: str) -> None:
    data = alone(odd, name)
    with pytest.raises(InputError, match=BAD[name]) as stopped:
        data.on_after_batch_transfer(next(iter(data.test_dataloader())), 0)
    assert name in str(stopped.value)
    assert "\n" not in str(stopped.value)


@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_test_shows_a_sound_one(odd: Path, name: str) -> None:
    data = alone(odd, name)
    batch = data.on_after_batch_transfer(next(iter(data.test_dataloader())), 0)
    assert batch["video"].shape[1:] == (3, 8, 32, 32)
    assert batch["video"].float().std() > 5
    assert batch["weight"].sum() == pytest.approx(1)


@pytest.mark.parametrize("subset", ["val", "test"])
@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("zoom/t0.avi 0\nturn/t1.avi\n", r"line 2: 'turn/t1\.avi' is not like 'path label'"),
        ("zoom/t0.avi 3\n", "line 1: label 3 is out of range 0 to 2"),
        ("\n", "list of split 1 is empty"),
    ],
    ids=["no label", "label out of range", "empty"],
)
def test_a_list_to_evaluate_on_needs_labels(tmp_path: Path, subset: str, lines: str, said: str) -> None:
    videos = lay_out(tmp_path)
    train = [line.split() for line in (tmp_path / "trainlist01.txt").read_text().splitlines()]
    (tmp_path / "train.csv").write_text("".join(f"{path} {int(number) - 1}\n" for path, number in train))
    (tmp_path / "classes.txt").write_text("zoom\nturn\nfall\n")
    (tmp_path / f"{subset}.csv").write_text(lines)
    with pytest.raises(InputError, match=rf"{subset}.*{said}"):
        clips(videos, layout="csv", lists=str(tmp_path)).setup("test" if subset == "test" else "validate")


def peak() -> float:
    """MiB that this process had in memory at most since the last call; Linux only."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**10


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_a_video_longer_than_memory(tmp_path: Path, codec: str) -> None:
    """Its 20,000 frames would be 176 MiB; clips of it, and counting its frames, take less than 24 MiB."""
    path, long, side = tmp_path / ("a.avi" if codec == "mpeg4" else "a.mp4"), 20_000, (48, 64)
    grain = np.random.default_rng(0).integers(0, 32, (40, *side, 3), dtype=np.uint8)
    pictures = [av.VideoFrame.from_ndarray(g, format="rgb24").reformat(format="yuv420p", threads=1) for g in grain]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"preset": "ultrafast"} if codec == "libx264" else {})
        (stream.height, stream.width), stream.pix_fmt = side, "yuv420p"
        for number in range(long):
            pictures[number % 40].pts = number
            container.mux(stream.encode(pictures[number % 40]))
        container.mux(stream.encode())
    peak()
    before = peak()
    frames = {
        use: Clips([Item(path, 0)], use, 0, 16, 4, 32, segments=10, crops=3)[0]["video"].shape[1]
        for use in ("train", "test")
    }
    assert frames == {"train": 16, "test": 160}
    assert measure(path).frames == long
    assert peak() - before < 24


def test_reading_real_videos_leaks_nothing(real_data: Path) -> None:
    """A tenth of what benchmarks/decode.py does: 30 MiB over 2,000 clips would be 3 over these 200."""
    files = sorted((real_data / "jhmdb21" / "videos").rglob("*.avi"))[::116]
    assert len(files) >= 8
    process, before = psutil.Process(), 0

    def decode(numbers: range) -> None:
        for number in numbers:
            read_frames(files[number % len(files)], partial(train_frames, word=number * 2654435761 % 2**32))

    decode(range(100))  # caches are full
    before = process.memory_info().rss
    decode(range(200))
    assert process.memory_info().rss - before < 3 * 2**20


def test_the_benchmark_goes_on_without_torchcodec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    for name in ("torchcodec", "torchcodec.decoders"):
        monkeypatch.setitem(sys.modules, name, None)  # as if it weren't installed
    monkeypatch.delitem(sys.modules, "decode", raising=False)
    benchmark = importlib.import_module("decode")
    write(tmp_path / "a.avi", 1, count=80)
    every = benchmark.readers(tmp_path / "a.avi")
    assert list(every) == ["vsr", "plain PyAV"]
    assert "torchcodec: not installed, left out" in capsys.readouterr().out
    assert benchmark.row("made", [tmp_path / "a.avi"], 1, every).count("|") == 4
