import os
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from vsr.data import decode
from vsr.data.decode import count_frames, read_frames, turn
from vsr.errors import InputError

DATA = Path(os.environ.get("VSR_TEST_DATA", Path(__file__).parents[2] / "../shared/data"))
ODD = DATA / "odd_videos"
real_data = pytest.mark.skipif(not ODD.is_dir(), reason=f"no real videos in {DATA} (VSR_TEST_DATA)")

FRAMES = 40


def colour(number: int) -> tuple[int, int, int]:
    return 5 * number, 250 - 5 * number, 7


def write(
    path: Path,
    pictures: list[NDArray[np.uint8]],
    codec: str = "rawvideo",
    pixels: str = "bgr24",
    **options: Any,
) -> Path:
    with av.open(str(path), "w", **options) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixels
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def flat(height: int = 32, width: int = 48) -> list[NDArray[np.uint8]]:
    """Frame k all of colour(k)."""
    return [np.full((height, width, 3), colour(k), np.uint8) for k in range(FRAMES)]


def noise(count: int = FRAMES, height: int = 48, width: int = 64) -> list[NDArray[np.uint8]]:
    return list(np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("exact") / "a b#[1].avi", flat())


def all_of(count: int) -> NDArray[np.int64]:
    return np.arange(count)


def refusal(path: Path) -> str:
    """The error of reading a whole file; counting must give the same."""
    messages = []
    for read in (count_frames, lambda p: read_frames(p, all_of)):
        with pytest.raises(InputError) as caught:
            read(path)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert messages[0].startswith(f"{path}: ")
    assert "\n" not in messages[0]
    return messages[0]


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    handles = Path("/proc/self/fd")
    before = len(list(handles.iterdir())) if handles.is_dir() else 0
    yield
    if handles.is_dir():
        assert len(list(handles.iterdir())) <= before


def test_the_picked_frames_come_exactly_in_their_order_and_number(exact: Path) -> None:
    picked = [3, 3, 39, 0, 17]
    frames = read_frames(exact, lambda count: np.array(picked))
    assert frames.shape == (5, 32, 48, 3)
    assert frames.dtype == np.uint8
    assert frames.flags["C_CONTIGUOUS"]
    for frame, number in zip(frames, picked, strict=True):
        assert (frame == colour(number)).all()


def test_pick_is_told_the_number_of_frames(exact: Path) -> None:
    told = []
    read_frames(str(exact), lambda count: (told.append(count), np.array([0]))[1])
    assert told == [FRAMES] == [count_frames(exact)]


def test_nothing_behind_the_last_wanted_frame_is_decoded(exact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded, converted = [], []
    real_decode, real_upright = decode._decode, decode._upright
    monkeypatch.setattr(decode, "_decode", lambda p: (decoded.append(1) or frame for frame in real_decode(p)))
    monkeypatch.setattr(decode, "_upright", lambda *args: converted.append(1) or real_upright(*args))
    read_frames(exact, lambda count: np.array([4, 12]))
    assert (len(decoded), len(converted)) == (13, 2)


def test_where_fewer_frames_decode_they_are_picked_again(exact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "_count_packets", lambda path: FRAMES + 10)
    told = []
    frames = read_frames(exact, lambda count: (told.append(count), np.array([0, count - 1]))[1])
    assert told == [FRAMES + 10, FRAMES]
    assert (frames[1] == colour(FRAMES - 1)).all()


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "mpeg4"), ("a.mkv", "mpeg4"), ("a.ts", "mpeg2video"), ("a.mp4", "libx264")]
)
def test_frames_that_depend_on_others_come_right(tmp_path: Path, name: str, codec: str) -> None:
    path = write(tmp_path / name, flat(), codec, "yuv420p")
    assert count_frames(path) == FRAMES
    frames = read_frames(path, lambda count: np.array([0, 21, 39]))
    expected = np.array([colour(k) for k in (0, 21, 39)])[:, None, None]
    assert np.abs(frames.astype(int) - expected).max() < 12


@pytest.mark.parametrize(("height", "width"), [(31, 47), (1, 1), (33, 3)])
def test_odd_sizes_keep_every_pixel(tmp_path: Path, height: int, width: int) -> None:
    pictures = noise(3, height, width)
    assert np.array_equal(read_frames(write(tmp_path / "odd.avi", pictures), all_of), pictures)


def test_grey_video_has_three_equal_channels(tmp_path: Path) -> None:
    frames = read_frames(write(tmp_path / "grey.mkv", noise(3), "ffv1", "gray"), all_of)
    assert frames.shape == (3, 48, 64, 3)
    assert (frames == frames[..., :1]).all()
    assert frames.std() > 20


ONE = 1 << 16
TURNS = {  # a, b, c, d: what the picture becomes
    "upright": ((ONE, 0, 0, ONE), lambda p: p),
    "quarter": ((0, -ONE, ONE, 0), lambda p: np.rot90(p, 1)),
    "half": ((-ONE, 0, 0, -ONE), lambda p: np.rot90(p, 2)),
    "three quarters": ((0, ONE, -ONE, 0), lambda p: np.rot90(p, 3)),
    "mirrored": ((-ONE, 0, 0, ONE), np.fliplr),
    "upside down": ((ONE, 0, 0, -ONE), np.flipud),
    "transposed": ((0, ONE, ONE, 0), lambda p: p.swapaxes(0, 1)),
    "almost a quarter": ((900, -ONE, ONE, 900), lambda p: np.rot90(p, 1)),
}


@pytest.mark.parametrize("name", TURNS)
def test_the_display_matrix_turns_a_picture(name: str) -> None:
    (a, b, c, d), expected = TURNS[name]
    picture = noise(1, 5, 7)[0]
    matrix = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], np.int32)
    assert np.array_equal(turn(picture, matrix), expected(picture))


@pytest.mark.parametrize("name", ["upright", "quarter", "half", "three quarters", "mirrored"])
def test_videos_are_shown_upright(tmp_path: Path, name: str) -> None:
    (a, b, c, d), expected = TURNS[name]
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:16, :32], picture[:16, 32:], picture[16:, :32] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    path = write(tmp_path / "turned.mp4", [picture] * 2, "mpeg4", "yuv420p")
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40  # the matrix in the header of a track, version 0
    content[at : at + 36] = np.array([a, b, 0, c, d, 0, 0, 0, 1 << 30], ">i4").tobytes()
    path.write_bytes(content)
    frames = read_frames(path, all_of)
    wanted = expected(picture)
    assert frames.shape == (2, *wanted.shape)
    centres = np.s_[8::16, 16::32] if wanted.shape == (32, 64, 3) else np.s_[16::32, 8::16]
    assert np.abs(frames[1][centres].astype(int) - wanted[centres]).max() < 40


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty (0 bytes)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "git lfs pull"),
        (b"no video at all " * 50, "not a readable video"),
    ],
)
def test_files_that_are_no_videos_say_what_they_are(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "file.avi"
    path.write_bytes(content)
    assert words in refusal(path)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    assert "no such file" in refusal(tmp_path / "gone.avi")
    assert "no such file" in refusal(tmp_path)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, 8000, 800, "NONE", ""))
        sound.writeframes(bytes(1600))
    assert "has no video stream" in refusal(path)


@pytest.mark.parametrize(("name", "options"), [("a.avi", {}), ("a.mp4", {"options": {"movflags": "faststart"}})])
@pytest.mark.parametrize("share", [0.9, 0.5])
def test_files_that_are_cut_off_are_refused(tmp_path: Path, name: str, options: dict[str, Any], share: float) -> None:
    path = write(tmp_path / name, noise(), "mpeg4", "yuv420p", **options)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert "cut off or damaged at frame" in refusal(path)
    with pytest.raises(InputError, match="cut off"):  # although the first frame decodes
        read_frames(path, lambda count: np.array([0]))


def test_a_cut_mp4_without_its_index_is_not_readable(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", noise(), "mpeg4", "yuv420p")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert "not a readable video" in refusal(path)
    path.write_bytes(content[:-100])
    assert "not one frame decodes" in refusal(path)


def test_a_container_that_cant_tell_is_a_shorter_video(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", noise(), "mpeg4", "yuv420p")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    count = count_frames(path)
    assert 5 < count < FRAMES
    assert len(read_frames(path, all_of)) == count


def test_a_video_without_frames_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", noise(), "mpeg4", "yuv420p")
    path.write_bytes(path.read_bytes()[:1000])
    assert "not one frame decodes" in refusal(path)


def test_frames_that_change_size_are_refused(tmp_path: Path) -> None:
    small = write(tmp_path / "a.m2v", noise(5, 32, 48), "mpeg2video", "yuv420p")
    large = write(tmp_path / "b.m2v", noise(5, 64, 96), "mpeg2video", "yuv420p")
    joined = tmp_path / "c.m2v"
    joined.write_bytes(small.read_bytes() + large.read_bytes())
    with pytest.raises(InputError, match=r"c\.m2v: its frames change size"):
        read_frames(joined, all_of)


GOOD = {  # frames that decode, packets where they are more, height, width
    "SOX5yA1l24A.mp4": (332, 332, 256, 340),
    "SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0.avi": (74, 75, 240, 320),  # DivX, packed B-frames
    "h265_video.mp4": (10, 10, 128, 128),
    "hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi": (
        83,
        84,
        240,
        320,
    ),  # and metadata not UTF-8
    "nasa_13013_rotated.mp4": (17, 17, 480, 270),  # stored lying on its side
    "testsrc2_odd_height_and_width_444.mp4": (25, 25, 241, 321),
    "v_ApplyEyeMakeup_g01_c01.avi": (164, 164, 240, 320),
    "v_Archery_g03_c03.avi": (125, 125, 240, 320),
}
BAD = {
    "corrupted.mp4": "damaged after frame 28",
    "derived_lfs_pointer.avi": "git lfs pull",
    "derived_truncated_half.avi": "cut off or damaged at frame 120",
    "derived_zero_bytes.avi": "empty (0 bytes)",
}


@real_data
def test_every_odd_video_has_its_outcome_below() -> None:
    assert {path.name for path in ODD.iterdir()} == GOOD.keys() | BAD.keys()


@real_data
@pytest.mark.parametrize("name", GOOD)
def test_odd_videos_that_are_sound_are_read_to_the_last_frame(name: str) -> None:
    decodable, packets, height, width = GOOD[name]
    assert count_frames(ODD / name) == decodable
    told = []
    frames = read_frames(ODD / name, lambda count: (told.append(count), np.array([0, count - 1]))[1])
    assert told == [packets] if packets == decodable else [packets, decodable]
    assert frames.shape == (2, height, width, 3)
    assert frames[0].std() > 5


@real_data
@pytest.mark.parametrize("name", BAD)
def test_odd_videos_that_are_damaged_are_refused(name: str) -> None:
    assert BAD[name] in refusal(ODD / name)


@real_data
def test_damage_behind_the_last_wanted_frame_does_no_harm() -> None:
    assert read_frames(ODD / "corrupted.mp4", lambda count: np.array([0, 20])).shape == (2, 720, 1280, 3)
    with pytest.raises(InputError, match="damaged after frame 28"):
        read_frames(ODD / "corrupted.mp4", lambda count: np.array([0, 30]))
