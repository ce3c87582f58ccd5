import math

import pytest
import torch

from vsr import rng
from vsr.errors import InputError

ONES = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # Random123's kat_vectors, philox4x32 10
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ONES,) * 4, (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_published_vectors(counter, key, expected):
    assert tuple(rng.philox(torch.tensor(counter), key).tolist()) == expected


def test_words_are_the_same_alone_and_in_any_batch():
    index, epoch = torch.tensor([9, 3, 70_000]), torch.tensor([0, 5, 2])
    batch = rng.words(rng.Stream.RADIUS, 2**40 + 1, index, epoch, elements=7)
    assert batch.shape == (3, 7, 4)
    for i in range(3):
        alone = rng.words(rng.Stream.RADIUS, 2**40 + 1, index[i : i + 1], int(epoch[i]), elements=11)
        assert torch.equal(alone[0, :7], batch[i])


def test_words_depend_on_every_part_of_the_address():
    one = torch.tensor([1])
    draws = [
        rng.words(rng.Stream.RADIUS, 0, one),
        rng.words(rng.Stream.SPEED, 0, one),
        rng.words(rng.Stream.RADIUS, 1, one),
        rng.words(rng.Stream.RADIUS, 2**32, one),
        rng.words(rng.Stream.RADIUS, 0, one + 1),
        rng.words(rng.Stream.RADIUS, 0, one, 1),
        rng.words(rng.Stream.RADIUS, 0, one, elements=2)[:, 1:],
    ]
    assert len({tuple(d.flatten().tolist()) for d in draws}) == len(draws)


def test_streams_have_numbers_of_their_own():
    assert len({int(s) for s in rng.Stream}) == len(rng.Stream.__members__)


def test_uniform_is_exact_and_below_one():
    extremes = rng.uniform(torch.tensor([0, ONES, 1 << 8]))
    assert extremes.tolist() == [0.0, 1 - 2.0**-24, 2.0**-24]
    many = rng.uniform(rng.words(rng.Stream.RADIUS, 0, torch.arange(100), elements=250))
    assert abs(many.double().mean().item() - 0.5) < 4 * (1 / 12 / many.numel()) ** 0.5


def test_words_by_stream_are_those_of_each():
    index = torch.tensor([9, 3])
    numbers = {rng.Stream.SPEED: 3, rng.Stream.RADIUS: 1, rng.Stream.COLOR: 5}
    drawn = rng.words_by_stream(numbers, 2**40 + 1, index)
    assert list(drawn) == list(numbers)
    for stream, n in numbers.items():
        assert torch.equal(drawn[stream], rng.words(stream, 2**40 + 1, index, elements=n))


def test_normal_is_finite_and_normal():
    extremes = rng.normal(torch.tensor([[0, 0], [ONES, ONES], [ONES, 0], [0, ONES]]))
    assert extremes.abs().max() < 5.8
    assert extremes[2, 0] == pytest.approx((48 * math.log(2)) ** 0.5)
    values = rng.normal(rng.words(rng.Stream.RADIUS, 0, torch.arange(200), elements=250)).double()
    n = values.numel()
    assert abs(values.mean()) < 4 / n**0.5
    assert values.var().item() == pytest.approx(1, abs=4 * (2 / n) ** 0.5)
    assert (values**4).mean().item() == pytest.approx(3, abs=4 * (96 / n) ** 0.5)
    assert (values.abs() > 2).double().mean().item() == pytest.approx(0.0455, abs=0.003)
    pairs = torch.stack(values.chunk(2, dim=-1)).flatten(1)
    assert abs((pairs[0] * pairs[1]).mean()) < 4 / (n / 2) ** 0.5


def test_below_covers_its_range():
    values = rng.below(rng.words(rng.Stream.SHAPE, 0, torch.arange(50), elements=30), 6)
    assert values.unique().tolist() == list(range(6))
    assert rng.below(torch.tensor([0, ONES]), 7).tolist() == [0, 6]


def test_permutation_holds_each_video_once_and_changes_with_epoch_and_seed():
    first = rng.permutation(0, 0, 9537)
    assert torch.equal(first.sort().values, torch.arange(9537))
    assert not torch.equal(first, rng.permutation(0, 1, 9537))
    assert not torch.equal(first, rng.permutation(1, 0, 9537))
    assert torch.equal(first, rng.permutation(0, 0, 9537))


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seed_out_of_range_is_refused(seed):
    with pytest.raises(InputError, match=f"seed {seed} is outside"):
        rng.words(rng.Stream.RADIUS, seed, torch.tensor([0]))
