import io

import av
import numpy as np
import pytest
from PIL import Image

from vsr.errors import InputError
from vsr.export import sheet, write_mp4, write_video


@pytest.fixture
def frames():
    """Ten frames in which a bright square moves right, 34 x 50 px."""
    video = np.full((10, 34, 50, 3), 40, np.uint8)
    for t in range(10):
        video[t, 10:20, 4 * t : 4 * t + 10] = (250, 200, 20)
    return video


def test_mp4_holds_the_frames(tmp_path, frames):
    write_video(frames, tmp_path / "a.mp4", fps=6.25)
    with av.open(tmp_path / "a.mp4") as video:
        assert float(video.streams.video[0].average_rate) == 6.25
        read = np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])
    assert read.shape == frames.shape
    assert np.abs(read.astype(int) - frames).mean() < 4


@pytest.mark.parametrize("lossless", [False, True])
def test_the_same_frames_give_the_same_bytes(lossless):
    random = np.random.default_rng(0)
    made = set()
    for seed in range(3):
        frames = np.random.default_rng(seed).integers(0, 256, (10, 4, 4, 3), dtype=np.uint8)
        frames = frames.repeat(8, axis=1).repeat(8, axis=2)
        for _ in range(10):
            junk = [np.full(random.integers(100, 400_000), random.integers(256), np.uint8) for _ in range(30)]
            del junk  # what is not initialised is then not the same
            file = io.BytesIO()
            write_mp4(frames, file, lossless=lossless)
            made.add(file.getvalue())
    assert len(made) == 3


def test_lossless_is_bit_by_bit(tmp_path, frames):
    write_mp4(frames[:, :33, :49], tmp_path / "a.mp4", lossless=True)
    with av.open(tmp_path / "a.mp4") as video:
        read = np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])
    assert np.array_equal(read, frames[:, :33, :49])


def test_odd_sides_lose_a_pixel_in_mp4_only(tmp_path, frames):
    for name, size in (("a.mp4", (48, 32)), ("a.gif", (49, 33))):
        write_video(frames[:, :33, :49], tmp_path / name)
        if name.endswith("gif"):
            assert Image.open(tmp_path / name).size == size
            assert Image.open(tmp_path / name).n_frames == 10
        else:
            with av.open(tmp_path / name) as video:
                assert (video.streams.video[0].width, video.streams.video[0].height) == size


def test_sheet_shows_every_frame_in_its_place(tmp_path, frames):
    sheet([frames, frames[::-1]], tmp_path / "s.png", labels=["there", "back"], columns=[str(t) for t in range(10)])
    picture = np.asarray(Image.open(tmp_path / "s.png").convert("RGB")).astype(int)
    yellow = (np.abs(picture - [250, 200, 20]).sum(-1) == 0).sum()
    assert yellow == 2 * sum((frames[t] == [250, 200, 20]).all(-1).sum() for t in range(10))


def test_a_file_is_whole_or_not_there(tmp_path, frames):
    with pytest.raises(InputError, match=r"can't write .*a.webm: give a file ending in"):
        write_video(frames, tmp_path / "a.webm")
    (tmp_path / "a.gif").write_bytes(b"old")
    with pytest.raises((TypeError, ValueError)):
        write_video(frames[..., [0, 1, 2, 0, 1]], tmp_path / "a.gif")  # Pillow gives up half way
    assert [p.name for p in tmp_path.iterdir()] == ["a.gif"]
    assert (tmp_path / "a.gif").read_bytes() == b"old"
