import pytest
import torch

from vsr.data.batches import BatchPlan, EvalBatches, TrainBatches, Visits
from vsr.errors import InputError


@pytest.mark.parametrize(
    ("total", "most", "world", "device", "accumulation"),
    [
        (256, 64, 1, 64, 4),
        (256, 64, 8, 32, 1),
        (256, 300, 1, 256, 1),
        (256, 60, 1, 32, 8),
        (6, 4, 1, 3, 2),
        (6, 1, 2, 1, 3),
    ],
)
def test_plan_is_exact_and_has_the_fewest_accumulation_steps(total, most, world, device, accumulation):
    assert BatchPlan.of(total, most, world) == BatchPlan(total, device, accumulation, world)
    assert world * device * accumulation == total


def test_plan_refuses_what_cannot_be_shared():
    with pytest.raises(
        InputError, match=r"256 can't be shared equally by 6 devices: use 252 or 258 clips, or 4 devices"
    ):
        BatchPlan.of(256, 64, 6)
    with pytest.raises(InputError, match=r"global_batch_size 0"):
        BatchPlan.of(0, 64, 1)
    with pytest.raises(InputError, match=r"max_batch_per_device -1"):
        BatchPlan.of(8, -1, 1)


def test_samples_come_in_order_whatever_the_layout():
    """Step k holds k G .. k G + G - 1, over 1, 2 and 4 ranks, with and without accumulation, from any step on."""
    for world in (1, 2, 4):
        for most in (2, 8):
            plan = BatchPlan.of(8, most, world)
            ranks = [list(TrainBatches(plan, r, 5, lambda: 0)) for r in range(world)]
            assert all(
                len(batches) == 5 * plan.accumulation == len(TrainBatches(plan, 0, 5, lambda: 0)) for batches in ranks
            )
            for step in range(5):
                micro = slice(step * plan.accumulation, (step + 1) * plan.accumulation)
                seen = sorted(n for batches in ranks for batch in batches[micro] for n in batch)
                assert seen == list(range(step * 8, step * 8 + 8))
            resumed = list(TrainBatches(plan, 0, 5, lambda: 3))
            assert resumed == ranks[0][3 * plan.accumulation :]
            assert (
                next(iter(TrainBatches(plan, 0, 5, lambda: 5)))[0] == 40
            )  # the next epoch goes on, it does not repeat


def test_addresses():
    assert Visits(0, None)[123_456] == (123_456, 0)
    fixed = Visits(7, 10)
    epochs = [[fixed[n] for n in range(e * 10, e * 10 + 10)] for e in range(3)]
    for number, epoch in enumerate(epochs):
        assert sorted(index for index, _ in epoch) == list(range(10))
        assert {e for _, e in epoch} == {number}
    assert epochs[0] != [(i, 0) for i, _ in epochs[1]]


@pytest.mark.parametrize("world", [1, 2, 3])
def test_evaluation_takes_every_item_once(world):
    batches = [list(EvalBatches(10, 4, rank, world)) for rank in range(world)]
    assert sorted(n for rank in batches for batch in rank for n in batch) == list(range(10))
    assert [len(EvalBatches(10, 4, rank, world)) for rank in range(world)] == [len(rank) for rank in batches]


def test_no_process_is_left_without_a_video():
    assert [list(EvalBatches(2, 4, rank, 2)) for rank in range(2)] == [[[0]], [[1]]]
    for rank in range(3):
        with pytest.raises(InputError, match=r"2 to evaluate on can't be shared by 3 processes, .* run at most 2"):
            EvalBatches(2, 4, rank, 3)


def test_permutation_is_what_the_fixed_set_follows():
    from vsr.rng import permutation

    order = permutation(3, 2, 100)
    visits = Visits(3, 100)
    assert torch.equal(torch.tensor([visits[n][0] for n in range(200, 300)]), order)
