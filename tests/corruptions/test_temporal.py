import numpy as np
import pytest

from vsr.corruptions import PERTURBATIONS, Cell
from vsr.corruptions.temporal import order
from vsr.errors import InputError

NAMES = [name for name, p in PERTURBATIONS.items() if p.works_on == "order"]
CELLS = [Cell(name, s) for name in NAMES for s in range(1, PERTURBATIONS[name].severities + 1)]


def shown(name, severity, length, index=0, seed=0):
    return order(Cell(name, severity), length, index, seed)


@pytest.mark.parametrize("cell", CELLS, ids=lambda c: f"{c.perturbation}-{c.severity}")
@pytest.mark.parametrize("length", [1, 2, 3, 16, 33, 100])
def test_every_place_shows_a_frame_whatever_the_length(cell, length):
    places = order(cell, length, 5, 0)
    assert (places.dtype, places.shape) == (np.int64, (length,))
    assert 0 <= places.min() <= places.max() < length
    assert np.array_equal(places, order(cell, length, 5, 0))


@pytest.mark.parametrize(
    ("length", "counts"),
    [(100, [40, 20, 10, 5, 1]), (46, [18, 9, 4, 2, 1]), (30, [12, 6, 3, 2, 1]), (3, [1, 1, 1, 2, 1])],
)
def test_frozen_frames_begin_where_they_are_and_are_held(length, counts):
    for severity, count in enumerate(counts, 1):
        places = shown("freeze", severity, length)
        held, first = np.unique(places, return_index=True)
        assert len(held) == count
        assert np.array_equal(first[1:], held[1:])  # each from its own place on
        assert first[0] == 0  # but the first one, which is shown from the start
        assert (np.diff(places) >= 0).all()


def test_a_frozen_frame_is_any_with_the_same_probability():
    counts = np.bincount([shown("freeze", 5, 10, index)[0] for index in range(500)], minlength=10)
    assert ((counts - 50) ** 2 / 50).sum() < 27.9  # chi-square, 9 degrees of freedom: 0.001


@pytest.mark.parametrize(("severity", "segment"), [(1, 32), (2, 16), (3, 8), (4, 4), (5, 2)])
def test_jumble_stays_within_segments(severity, segment):
    places = shown("jumble", severity, 70)
    assert not np.array_equal(places, np.arange(70))
    for start in range(0, 70, segment):
        assert sorted(places[start : start + segment]) == list(range(start, min(start + segment, 70)))
    moved = np.abs(places - np.arange(70)).max()
    assert segment // 2 <= moved < segment  # nor within smaller ones


@pytest.mark.parametrize(("severity", "size"), [(1, 4), (2, 9), (3, 16), (4, 25), (5, 36)])
def test_box_jumble_moves_whole_segments(severity, size):
    segments = [list(range(start, min(start + size, 190))) for start in range(0, 190, size)]
    left = {tuple(segment) for segment in segments}
    places = shown("box_jumble", severity, 190).tolist()
    assert places != list(range(190))
    while places:
        segment = next(s for s in left if s[0] == places[0])
        assert tuple(places[: len(segment)]) == segment
        left.remove(segment)
        places = places[len(segment) :]
    assert not left


def test_a_short_last_segment_may_come_anywhere():
    first = {shown("box_jumble", 1, 10, index)[0] for index in range(40)}
    assert first == {0, 4, 8}


def test_short_sequences():
    for severity, size in enumerate([4, 9, 16, 25, 36], 1):
        assert np.array_equal(shown("box_jumble", severity, size), np.arange(size))  # one segment
    assert sorted(shown("jumble", 1, 20)) == list(range(20))
    assert not np.array_equal(shown("jumble", 1, 20), np.arange(20))  # shuffled as a whole
    assert shown("sampling", 5, 32).tolist() == shown("reverse_sampling", 5, 32).tolist() == [0] * 32


def test_what_is_not_drawn():
    assert shown("reverse", 1, 5).tolist() == [4, 3, 2, 1, 0]
    assert shown("sampling", 1, 7).tolist() == [0, 0, 2, 2, 4, 4, 6]
    assert shown("sampling", 2, 7).tolist() == [0, 0, 0, 0, 4, 4, 4]
    assert shown("reverse_sampling", 2, 7).tolist() == [4, 4, 4, 0, 0, 0, 0]
    for severity in range(1, 6):
        assert len(set(shown("sampling", severity, 64))) == 64 // 2**severity


@pytest.mark.parametrize("name", ["freeze", "jumble", "box_jumble"])
def test_draws_follow_from_seed_video_and_cell(name):
    addresses = [(0, 0), (1, 0), (0, 1), (0, 2**64 - 1)]
    orders = [shown(name, 2, 200, index, seed) for index, seed in addresses]
    assert len({places.tobytes() for places in orders}) == len(orders)


def test_addresses_are_kept():
    """As they were when this was first released: a change here is another data set."""
    assert shown("jumble", 3, 8, index=7, seed=1).tolist() == [5, 7, 1, 6, 4, 2, 0, 3]
    assert shown("box_jumble", 1, 18, index=7, seed=1)[::4].tolist() == [8, 12, 4, 16, 2]
    assert np.unique(shown("freeze", 2, 30, index=7, seed=1)).tolist() == [3, 5, 6, 10, 20, 25]


def test_bad_input_is_refused():
    with pytest.raises(InputError, match="jpeg doesn't change the order of frames: give one of freeze"):
        shown("jpeg", 1, 10)
    with pytest.raises(InputError, match="freeze of a sequence of 0 frames is not possible"):
        shown("freeze", 1, 0)
    with pytest.raises(InputError, match="seed -1"):
        shown("freeze", 1, 10, seed=-1)
