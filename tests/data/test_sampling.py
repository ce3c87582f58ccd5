import numpy as np
import pytest

from vsr.data.sampling import centre_frames, crop_offsets, pretrain_frames, train_frames, view_frames
from vsr.errors import InputError

LAST_WORD = 2**32 - 1


def spread(count: int) -> list[int]:
    return [i * 2**32 // count for i in range(count)]


def test_train_frames_of_a_short_video_are_the_released_ones() -> None:
    expected = [0, 4, 8, 13, 17, 22, 26, 31, 35, 39, 39, 39, 39, 39, 39, 39]
    assert train_frames(40, 12345).tolist() == expected


def test_train_frames_take_steps_a_little_over_the_stride_and_end_before_the_window_does() -> None:
    frames = train_frames(100, 0)
    assert frames.tolist() == [0, 4, 8, 12, 17, 21, 25, 29, 34, 38, 42, 46, 51, 55, 59, 63]
    assert set(np.diff(frames)) == {4, 5}
    assert frames.dtype == np.int64


def test_train_frames_start_anywhere_but_in_the_last_window() -> None:
    starts = {int(train_frames(100, word)[0]) for word in spread(1000)}
    assert starts == set(range(36))  # 0 .. T - 1 - S
    assert train_frames(100, LAST_WORD)[-1] == 98


def test_train_frames_of_a_video_just_longer_than_the_clip() -> None:
    assert train_frames(64, 7)[-1] == 63
    assert train_frames(65, LAST_WORD).tolist() == train_frames(65, 0).tolist()


def test_centre_frames_lie_in_the_middle() -> None:
    frames = centre_frames(180)  # end = (64 + 180) // 2 = 122
    assert (frames[0], frames[-1]) == (58, 121)
    assert frames.tolist() == (train_frames(100, 0) + 58).tolist()
    assert centre_frames(40).tolist() == train_frames(40, 0).tolist()


def test_pretrain_frames_start_in_every_window() -> None:
    assert {int(pretrain_frames(100, word)[0]) for word in spread(1000)} == set(range(37))
    assert pretrain_frames(100, 0).tolist() == list(range(0, 64, 4))


@pytest.mark.parametrize(
    ("length", "expected"),
    [(61, [*range(0, 57, 4), 56]), (40, [*range(0, 37, 4), *[36] * 6]), (62, [*range(0, 61, 4)])],
)
def test_pretrain_frames_repeat_the_last_one_reached(length: int, expected: list[int]) -> None:
    for word in (0, 2**31, LAST_WORD):
        assert pretrain_frames(length, word).tolist() == expected


@pytest.mark.parametrize("length", range(1, 140, 3))
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_pretrain_frames_follow_the_rule_step_by_step(length: int, stride: int) -> None:
    word = 0x9E3779B9
    start = word * max(length - 16 * stride + 1, 1) >> 32
    expected = [start]
    for _ in range(15):
        i = expected[-1]
        expected.append(i + stride if i + 1 + stride < length else i)
    assert pretrain_frames(length, word, 16, stride).tolist() == expected


def test_view_frames_start_where_the_released_ones_do() -> None:
    views = view_frames(180, 5)
    assert views[:, 0].tolist() == [0, 28, 56, 84, 116]
    assert (np.diff(views, axis=1) == 4).all()
    assert views.shape == (5, 16)


@pytest.mark.parametrize("length", [1, 40, 61, 64])
def test_view_frames_of_a_short_video_are_all_the_same(length: int) -> None:
    views = view_frames(length, 5)
    every = list(range(0, length, 4))
    assert views.tolist() == [every + [every[-1]] * (16 - len(every))] * 5


@pytest.mark.parametrize(
    ("height", "width", "crops", "expected"),
    [
        (240, 320, 3, [0, 37, 74]),  # UCF101: 224 x 298, step 37
        (320, 240, 3, [0, 37, 74]),
        (240, 426, 3, [0, 86, 173]),  # 224 x 397, step 86.5
        (256, 256, 3, [0, 0, 0]),
        (240, 320, 1, [37]),
        (100, 1000, 2, [0, 2016]),
    ],
)
def test_squares_are_spread_along_the_longer_side(height: int, width: int, crops: int, expected: list[int]) -> None:
    assert crop_offsets(height, width, 224, crops) == expected


def test_one_view_is_the_middle_and_ten_cover_the_video() -> None:
    assert view_frames(180, 1)[:, 0].tolist() == [14 * 4]
    views = view_frames(300, 10, stride=2)
    assert (views[0, 0], views[-1, -1]) == (0, 298)


@pytest.mark.parametrize("length", range(1, 200, 7))
@pytest.mark.parametrize("stride", [1, 2, 4, 7])
def test_all_frames_exist_and_ascend(length: int, stride: int) -> None:
    word = 0xDEADBEEF
    clips = [
        train_frames(length, word, 16, stride),
        centre_frames(length, 16, stride),
        pretrain_frames(length, word, 16, stride),
        *view_frames(length, 3, 16, stride),
    ]
    for clip in clips:
        assert len(clip) == 16
        assert clip.min() >= 0
        assert clip.max() < length
        assert (np.diff(clip) >= 0).all()


def test_what_is_not_positive_is_named() -> None:
    with pytest.raises(InputError, match="stride 0"):
        train_frames(10, 0, 16, 0)
    with pytest.raises(InputError, match="length 0"):
        centre_frames(0)
    with pytest.raises(InputError, match="views 0"):
        view_frames(10, 0)
    with pytest.raises(InputError, match="crops 0"):
        crop_offsets(10, 10, 10, 0)
