import os
import wave
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from vsr.data import decode
from vsr.data.decode import METADATA, measure, read_frames, turn
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
    options: dict[str, str] | None = None,
    first: int = 0,
    uneven: bool = False,
    **container_options: Any,
) -> Path:
    """Frame k is shown at first + k frames of 1/25 s, or unevenly."""
    with av.open(str(path), "w", **container_options) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixels
        for k, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = first + (k * (k + 3) // 2 if uneven else k), Fraction(1, 25)
            container.mux(stream.encode(frame))
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
    for read in (measure, lambda p: read_frames(p, all_of)):
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
    assert told == [FRAMES] == [measure(exact).frames]


def test_nothing_behind_the_last_wanted_frame_is_decoded(exact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded, converted = [], []
    real_decode, real_upright = decode._decode_packets, decode._upright
    counted = lambda *args: (decoded.append(1) or frame for frame in real_decode(*args))  # noqa: E731
    monkeypatch.setattr(decode, "_decode_packets", counted)
    monkeypatch.setattr(decode, "_upright", lambda *args: converted.append(1) or real_upright(*args))
    read_frames(exact, lambda count: np.array([4, 12]))
    assert (len(decoded), len(converted)) == (13, 2)


def test_where_fewer_frames_decode_they_are_picked_again(exact: Path) -> None:
    told = []
    frames = read_frames(exact, lambda count: (told.append(count), np.array([0, count - 1]))[1], FRAMES + 10)
    assert told == [FRAMES + 10, FRAMES]
    assert (frames[1] == colour(FRAMES - 1)).all()


def test_a_whole_video_is_measured(tmp_path: Path, exact: Path) -> None:
    assert measure(exact) == (FRAMES, 32, 48, 25.0)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "mpeg4"), ("a.mkv", "mpeg4"), ("a.ts", "mpeg2video"), ("a.mp4", "libx264")]
)
def test_frames_that_depend_on_others_come_right(tmp_path: Path, name: str, codec: str) -> None:
    path = write(tmp_path / name, flat(), codec, "yuv420p")
    assert measure(path).frames == FRAMES
    frames = read_frames(path, lambda count: np.array([0, 21, 39]))
    expected = np.array([colour(k) for k in (0, 21, 39)])[:, None, None]
    assert np.abs(frames.astype(int) - expected).max() < 12


X264 = {"g": "8", "bf": "3", "preset": "veryfast", "b-pyramid": "normal"}
X265 = "keyint=8:bframes=3:log-level=none"
MADE: dict[str, tuple[str, str, dict[str, Any]]] = {  # file: where decoding begins, codec, its options
    "b.mp4": ("key frame", "libx264", {"options": X264}),
    "b.mkv": ("key frame", "libx264", {"options": X264}),
    "b.avi": ("start", "libx264", {"options": X264}),  # its times are made up, and wrong
    "b.ts": ("start", "libx264", {"options": X264}),
    "no-b.avi": ("start", "libx264", {"options": {"g": "8", "bf": "0"}}),
    "late.mp4": ("key frame", "libx264", {"options": X264, "first": 50}),
    "uneven.mp4": ("key frame", "libx264", {"options": X264, "uneven": True}),
    "uneven.mkv": ("key frame", "libx264", {"options": X264, "uneven": True}),
    "one-key.mp4": ("key frame", "libx264", {"options": X264 | {"g": "250"}}),
    "open-gop.mp4": ("key frame", "libx264", {"options": {"x264-params": "open-gop=1:keyint=8:bframes=3"}}),
    "refreshed.mkv": ("key frame, then start", "libx264", {"options": {"x264-params": "intra-refresh=1:keyint=10"}}),
    "closed.mp4": ("key frame", "libx265", {"options": {"x265-params": X265 + ":open-gop=0"}}),
    "open.mp4": ("key frame", "libx265", {"options": {"x265-params": X265 + ":open-gop=1"}}),
    "hidden.webm": ("key frame", "libvpx-vp9", {"options": {"g": "8", "lag-in-frames": "8", "auto-alt-ref": "1"}}),
    "hidden8.webm": ("start", "libvpx", {"options": {"g": "8", "lag-in-frames": "8", "auto-alt-ref": "1"}}),
    "av1.mp4": ("key frame", "libsvtav1", {"options": {"g": "8", "preset": "12", "svtav1-params": "lp=1"}}),
    "divx.avi": ("start", "mpeg4", {"options": {"g": "8", "bf": "2"}}),
    "divx.mp4": ("start", "mpeg4", {"options": {"g": "8", "bf": "2"}}),
    "dvd.ts": ("start", "mpeg2video", {"options": {"g": "8", "bf": "2"}}),
}


def drifting(count: int = FRAMES, height: int = 48, width: int = 64) -> list[NDArray[np.uint8]]:
    """A smooth picture that moves, with a cut: what encoders predict from."""
    y, x = np.mgrid[0:height, 0:width]
    frames = [np.stack([(x + 3 * k) * 2, (y + 2 * k) * 3, (x - y + k) * 2], -1) % 256 for k in range(count)]
    return [(frame if k < 21 else 255 - frame).astype(np.uint8) for k, frame in enumerate(frames)]


def plainly(path: Path) -> list[NDArray[np.uint8]]:
    """Every frame up to the first that is damaged, decoded from the start with nothing of ours but the turning."""
    frames: list[NDArray[np.uint8]] = []
    with av.open(str(path), **METADATA) as container:
        try:
            for frame in container.decode(video=0):
                rgb = frame.reformat(format="rgb24", threads=1).to_ndarray()
                matrix = frame.side_data.get("DISPLAYMATRIX")
                frames.append(rgb if matrix is None else turn(rgb, np.frombuffer(matrix, np.int32)))
        except av.FFmpegError:
            pass
    return frames


@pytest.fixture
def jumps(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each time that decoding began at a key frame, whether it succeeded."""
    made: list[bool] = []
    real = decode._from_key_frame

    def counted(*args: Any) -> Any:
        frames = real(*args)
        made.append(frames is not None)
        return frames

    monkeypatch.setattr(decode, "_from_key_frame", counted)
    return made


@pytest.mark.parametrize("kept", [True, False], ids=["", "large"])
@pytest.mark.parametrize("name", MADE)
def test_frames_are_those_of_plain_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jumps: list[bool], name: str, kept: bool
) -> None:
    begins, codec, settings = MADE[name]
    path = write(tmp_path / name, drifting(), codec, "yuv420p", **settings)
    if not kept:
        monkeypatch.setattr(decode, "_KEPT", 100)  # bytes: packets are read again
    expected = plainly(path)
    assert len(expected) == FRAMES
    last = FRAMES - 1
    for k in range(0, FRAMES, 3 if kept else 7):
        picked = [k, min(k + 5, last), min(k + 2, last)]
        for frame, number in zip(read_frames(path, lambda count: np.array(picked)), picked, strict=True):  # noqa: B023
            assert np.array_equal(frame, expected[number]), (k, number)
    assert {"key frame": all(jumps), "start": not jumps, "key frame, then start": {*jumps} == {True, False}}[begins]


def test_frames_before_the_key_frame_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.mp4", drifting(), "libx264", "yuv420p", options={"g": "10", "bf": "0"})
    content = path.read_bytes()
    with av.open(str(path)) as container:
        packet = next(p for k, p in enumerate(container.demux(video=0)) if k == 5)
    path.write_bytes(content.replace(bytes(packet), bytes(len(bytes(packet)))))
    with pytest.raises(InputError, match="damaged after frame 5"):
        read_frames(path, lambda count: np.array([0, 9]))
    assert read_frames(path, lambda count: np.array([10, 19])).shape == (2, 48, 64, 3)


@pytest.mark.parametrize("codec", ["libx264", "libvpx-vp9", "mpeg4"])
def test_what_a_container_wrongly_calls_a_key_frame_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jumps: list[bool], codec: str
) -> None:
    path = write(tmp_path / "a.mkv", drifting(), codec, "yuv420p", options={"g": "30", "bf": "0"})
    expected = plainly(path)
    real = decode._list_packets
    monkeypatch.setattr(decode, "_list_packets", lambda *args: real(*args)._replace(keys=[0, 6, 30]))
    frames = read_frames(path, lambda count: np.array([9, 12]), FRAMES)
    assert np.array_equal(frames, [expected[9], expected[12]])
    assert jumps == [False]


def test_a_manifests_count_lets_other_codecs_begin_at_a_key_frame(tmp_path: Path, jumps: list[bool]) -> None:
    path = write(tmp_path / "divx.mp4", drifting(), "mpeg4", "yuv420p", options={"g": "8", "bf": "2"})
    expected = plainly(path)
    for k in range(0, FRAMES, 3):
        assert np.array_equal(read_frames(path, lambda count: np.array([k]), FRAMES)[0], expected[k])  # noqa: B023
    assert jumps == [True] * 14


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


@pytest.mark.parametrize(
    ("name", "options"), [("a.avi", {}), ("a.mp4", {"container_options": {"movflags": "faststart"}})]
)
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
    count = measure(path).frames
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


@pytest.mark.slow
def test_memory_does_not_grow(tmp_path: Path) -> None:
    paths = [
        write(tmp_path / name, drifting(), codec, "yuv420p", options={"g": "8"})
        for name, codec in (("a.mp4", "libx264"), ("a.avi", "mpeg4"), ("a.webm", "libvpx-vp9"))
    ]
    process = psutil.Process()
    for number in range(2200):
        if number == 200:  # caches are full
            before = process.memory_info().rss
        read_frames(paths[number % 3], lambda count: np.arange(number % 20, number % 20 + 16))  # noqa: B023
    assert process.memory_info().rss - before < 30 * 2**20


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
    assert measure(ODD / name).frames == decodable
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
@pytest.mark.parametrize("name", GOOD)
def test_odd_videos_give_the_frames_of_plain_decoding(name: str) -> None:
    expected = plainly(ODD / name)
    for k in range(0, len(expected), max(len(expected) // 12, 1)):
        picked = [k, len(expected) - 1] if k % 2 else [k]
        frames = read_frames(ODD / name, lambda count: np.array(picked))  # noqa: B023
        assert all(np.array_equal(f, expected[number]) for f, number in zip(frames, picked, strict=True))


@real_data
def test_real_clips_give_the_frames_of_plain_decoding() -> None:
    files = sorted((DATA / "jhmdb21" / "videos").rglob("*.avi"))[::60]
    for path in files:
        expected = plainly(path)
        picked = [len(expected) - 1, len(expected) // 2, 1]
        frames = read_frames(path, lambda count: np.array(picked))  # noqa: B023
        assert all(np.array_equal(f, expected[number]) for f, number in zip(frames, picked, strict=True))


@real_data
def test_damage_behind_the_last_wanted_frame_does_no_harm() -> None:
    assert read_frames(ODD / "corrupted.mp4", lambda count: np.array([0, 20])).shape == (2, 720, 1280, 3)
    with pytest.raises(InputError, match="damaged after frame 28"):
        read_frames(ODD / "corrupted.mp4", lambda count: np.array([0, 30]))
