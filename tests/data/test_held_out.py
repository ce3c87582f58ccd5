"""Which videos are held out, and what that changes in a data module."""

from pathlib import Path

import pytest
import torch
from test_clips import TRAIN, addresses, batches, clips, lay_out

from vsr import rng
from vsr.data.held_out import hold_out
from vsr.data.lists import Item, read_split
from vsr.errors import InputError


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("set"))


def items(*classes: list[int]) -> list[Item]:
    """Videos of classes, each with groups of so many videos, one class after the other."""
    return [
        Item(Path(f"{label}/{group}/{n}"), label, group=f"g{group}")
        for label, groups in enumerate(classes)
        for group, count in enumerate(groups)
        for n in range(count)
    ]


def test_whole_groups_of_every_class_near_the_share() -> None:
    every = items([4] * 10, [1, 2, 3, 4, 5, 6, 7, 8], [3, 3])
    kept, held = hold_out(every, 0.25, seed=5)
    assert sorted(kept + held) == list(range(len(every)))
    assert kept == sorted(kept)
    assert held == sorted(held)
    sides = [{(every[n].label, every[n].group) for n in side} for side in (kept, held)]
    assert not sides[0] & sides[1]
    counts = [sum(every[n].label == label for n in held) for label in range(3)]
    assert counts[0] in (8, 12)  # of 40: two groups or three
    assert abs(counts[1] - 9) <= 4  # of 36, and groups of up to 8
    assert counts[2] == 3  # one of two


def test_it_is_drawn_at_seed_and_class() -> None:
    every = items([2] * 8, [2] * 8)
    names = sorted(f"g{n}" for n in range(8))
    words = rng.words(rng.Stream.HELD_OUT, 7, torch.tensor([1]), 0, 2).flatten()
    first = names[int(words.argsort(stable=True)[0])]
    assert {every[n].group for n in hold_out(every, 0.125, 7)[1] if every[n].label == 1} == {first}
    assert hold_out(every, 0.5, 7) == hold_out(every, 0.5, 7)
    assert len({tuple(hold_out(every, 0.5, seed)[1]) for seed in range(5)}) > 1


@pytest.mark.parametrize(("share", "counts"), [(0.01, [2, 5]), (0.99, [6, 5])])
def test_some_on_both_sides_of_each_class(share: float, counts: list[int]) -> None:
    """Of four groups of two at least one and at most three; one of two; of a single group none."""
    held = hold_out(items([2] * 4, [5, 5], [6]), share, 0)[1]
    every = items([2] * 4, [5, 5], [6])
    assert [sum(every[n].label == label for n in held) for label in range(3)] == [*counts, 0]


def test_videos_without_a_group_are_on_their_own() -> None:
    alone = [Item(Path(str(n)), 0) for n in range(10)]
    assert len(hold_out(alone, 0.3, 0)[1]) == 3


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_no_share(share: float) -> None:
    with pytest.raises(InputError, match=f"held_out {share} is not a share: give 0 or more, less than 1"):
        hold_out(items([1, 1]), share, 0)


def test_nothing_to_hold_out() -> None:
    with pytest.raises(InputError, match=r"held_out 0\.5 holds out nothing"):
        hold_out(items([3], [4]), 0.5, 0)


@pytest.mark.parametrize(("layout", "videos", "groups"), [("ucf101", 9537, 1818), ("hmdb51", 3570, 1433)])
def test_the_published_lists_tell_recordings_apart(real_data: Path, layout: str, videos: int, groups: int) -> None:
    """UCF101 has 25 groups a class, 18 of them in a training list; no recording of HMDB51 is on two lists."""
    train, test = (
        read_split(layout, real_data, real_data / "lists" / layout, 1, subset, must_exist=False)[1]
        for subset in ("train", "test")
    )
    assert len(train) == videos
    recordings = [{(item.label, item.group) for item in found} for found in (train, test)]
    assert all(item.group is not None for item in train + test)
    assert len(recordings[0]) == groups
    assert not recordings[0] & recordings[1]
    share = len(hold_out(train, 0.1, 0)[1]) / videos
    assert 0.08 < share < 0.14


def test_an_index_is_a_place_in_the_whole_list(videos: Path) -> None:
    whole, part = (clips(videos, held_out=share, global_batch_size=3) for share in (0.0, 0.25))
    whole.setup("fit")
    part.setup("fit")
    trained, validated = ([i for i, _ in addresses(batches(part, stage))] for stage in ("train", "val"))
    assert sorted(trained + validated) == list(range(TRAIN))
    assert len(validated) == part.num_videos("val") == 3
    assert part.num_videos("train") == 9
    assert part.steps_per_epoch == 3
    shown = {i: v for b in batches(whole) for i, v in zip(b["index"].tolist(), b["video"], strict=True)}
    for batch in batches(part):  # the clips are those of the whole list
        for index, video in zip(batch["index"].tolist(), batch["video"], strict=True):
            assert video.equal(shown[index])
    assert part.path("val", validated[0]) == part.where(validated[0], 0)[1] == whole.path("train", validated[0])


def test_validation_is_on_the_held_out_videos_or_the_list(videos: Path) -> None:
    for held_out, stage, count in ((0.25, "fit", 3), (0.25, "validate", 3), (0.0, "fit", 5), (0.0, "validate", 5)):
        module = clips(videos, held_out=held_out)
        module.setup(stage)
        assert sum(len(b["index"]) for b in batches(module, "val")) == count


def test_a_probe_is_trained_on_the_clips_of_validation(videos: Path) -> None:
    probe, whole = clips(videos, use="probe"), clips(videos, held_out=0.9, global_batch_size=2)
    probe.setup("fit")
    whole.setup("fit")
    assert probe.val_dataloader() == []
    central = {i: v for b in batches(whole, "val") for i, v in zip(b["index"].tolist(), b["video"], strict=True)}
    epochs = [batches(probe), batches(probe)]
    for shown in epochs:
        found = {i: v for b in shown for i, v in zip(b["index"].tolist(), b["video"], strict=True)}
        assert sorted(found) == list(range(TRAIN))
        assert all(found[i].equal(central[i]) for i in central)


def test_what_cannot_be(videos: Path) -> None:
    with pytest.raises(InputError, match=r"held_out 0\.1 is for labelled clips: leave it out for pre-training"):
        clips(videos, use="pretrain", held_out=0.1)
    with pytest.raises(InputError, match="num_sample 2 is of fine-tuning: leave it out with use probe"):
        clips(videos, use="probe", num_sample=2)
    with pytest.raises(InputError, match="more than the 9 videos of the training list: use 9 or fewer"):
        clips(videos, held_out=0.25, global_batch_size=12).setup("fit")
