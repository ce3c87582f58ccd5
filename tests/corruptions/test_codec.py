"""Codecs: against the ffmpeg command of the benchmark, where it is installed, and on their own."""

import shutil
import subprocess

import av
import numpy as np
import pytest

from vsr.corruptions import Cell, codec
from vsr.corruptions.codec import recode
from vsr.data.decode import read_frames
from vsr.errors import InputError

CELLS = [Cell(name, severity) for name in ("mpeg1", "mpeg2") for severity in range(1, 6)]


@pytest.fixture(scope="module")
def clip():
    """A textured picture that moves, uint8 (30, 48, 64, 3)."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (20, 30, 3)).repeat(6, axis=0).repeat(6, axis=1)
    picture = (coarse + rng.integers(0, 30, coarse.shape)).clip(0, 255).astype(np.uint8)
    return np.stack([picture[t : t + 48, 2 * t : 2 * t + 64] for t in range(30)])


def recoded(cell, frames):
    return np.stack(list(recode(cell, frames)))


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


@pytest.fixture(scope="module")
def ffmpeg(tmp_path_factory):
    """The command, on one thread, given yuv420p pictures: what it writes with some options."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("no ffmpeg command here")

    def run(cell, video, options):
        name, ending = {"mpeg1": ("mpeg2video", "vob"), "mpeg2": ("mpeg4", "avi")}[cell.perturbation]
        out = tmp_path_factory.mktemp("ffmpeg") / f"out.{ending}"
        command = f"ffmpeg -v error -threads 1 -f rawvideo -pix_fmt yuv420p -s {video.shape[2]}x{video.shape[1]} -r 25"
        command += f" -i - -c:v {name} {options} -threads 1 -f {ending} {out}"
        pictures = [av.VideoFrame.from_ndarray(frame).reformat(format="yuv420p").to_ndarray() for frame in video]
        subprocess.run(command.split(), input=b"".join(picture.tobytes() for picture in pictures), check=True)
        return out

    return run


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: f"{c.perturbation}-{c.severity}")
def test_pixels_are_those_of_the_benchmarks_command(cell, ffmpeg, real_data):
    video = read_frames(real_data / "odd_videos" / "v_Archery_g03_c03.avi", lambda n: np.arange(24))
    quality = cell.severity * (20 if cell.perturbation == "mpeg1" else 15)
    file = ffmpeg(cell, video, f"-q:v {quality}")
    ours = ffmpeg(cell, video, " ".join(f"-{key} {value}" for key, value in codec._constant(quality).items()))
    assert packets(file) == packets(ours)  # in one version of FFmpeg, to the bit
    differs = recoded(cell, video) != read_frames(file, np.arange)
    assert differs.mean() < 0.005  # PyAV's version may round otherwise


def packets(file):
    with av.open(str(file)) as container:
        return [bytes(packet) for packet in container.demux(video=0)]


def test_severities_saturate(clip):
    for name in ("mpeg1", "mpeg2"):
        kept = [psnr(recoded(Cell(name, severity), clip), clip) for severity in range(1, 6)]
        assert 15 < kept[0] < 30
        assert kept[0] > kept[1] + 0.5
        assert max(kept[1:]) - min(kept[1:]) < 0.8


@pytest.mark.parametrize("name", ["mpeg1", "mpeg2"])
@pytest.mark.parametrize("length", [0, 1, 2, 13, 30])
def test_as_many_frames_come_out_in_order(name, length, clip):
    frames = list(recode(Cell(name, 1), clip[:length]))
    assert len(frames) == length
    for number, frame in enumerate(frames):
        assert (frame.dtype, frame.shape) == (np.uint8, clip.shape[1:])
        assert int(np.argmin([np.abs(frame.astype(int) - other).mean() for other in clip])) == number


@pytest.mark.parametrize("name", ["mpeg1", "mpeg2"])
def test_frames_come_one_by_one(name, clip):
    taken = 0

    def frames():
        nonlocal taken
        for frame in clip:
            taken += 1
            yield frame

    for given, _ in enumerate(recode(Cell(name, 3), frames()), 1):
        assert taken <= given + 2


@pytest.mark.parametrize("cell", CELLS[::3])
def test_an_odd_row_and_column_are_repeated_and_cut_off(cell, clip):
    odd = clip[:, :47, :63]
    even = np.pad(odd, ((0, 0), (0, 1), (0, 1), (0, 0)), mode="edge")
    frames = recoded(cell, odd)
    assert frames.shape == odd.shape
    assert np.array_equal(frames, recoded(cell, even)[:, :47, :63])


def test_the_same_frames_give_the_same_frames(clip):
    assert np.array_equal(recoded(CELLS[4], clip), recoded(CELLS[4], clip))


def test_bad_input_is_refused(clip, monkeypatch):
    with pytest.raises(InputError, match="freeze is no codec: give one of mpeg1, mpeg2"):
        recode(Cell("freeze", 1), clip)
    with pytest.raises(InputError, match=r"mpeg1: frame 1 has shape \(40, 64, 3\), those before \(48, 64, 3\)"):
        list(recode(Cell("mpeg1", 1), [clip[0], clip[1, :40]]))
    with pytest.raises(InputError, match="mpeg1 can't code 4096 x 2 px with mpeg2video"):
        list(recode(Cell("mpeg1", 1), [np.zeros((2, 4096, 3), np.uint8)]))
    monkeypatch.setitem(codec._CODECS, "mpeg1", ("mpeg9video", 20))
    with pytest.raises(InputError, match=r"mpeg1 needs the encoder 'mpeg9video', which FFmpeg .* lacks here: install"):
        recode(Cell("mpeg1", 1), clip)


def test_a_lost_frame_is_noticed(clip, monkeypatch):
    class Deaf:
        def decode(self, packet):
            return []

    coder = codec._coder
    monkeypatch.setattr(codec, "_coder", lambda cell, name, mode: coder(cell, name, mode) if mode == "w" else Deaf())
    with pytest.raises(InputError, match="mpeg2: 5 frames went into mpeg4 and 0 came out"):
        list(recode(Cell("mpeg2", 1), clip[:5]))
