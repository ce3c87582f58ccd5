import json
import logging
import os
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from torchvision.transforms.v2 import functional as TF

from vsr import rng
from vsr.cli import main
from vsr.data import Batch
from vsr.data.augment import (
    ATTEMPTS,
    erase,
    erased_box,
    flip,
    multi_scale_box,
    random_resized_crop,
    resize_centre_crop,
    resized_crop,
)
from vsr.data.batches import Visits
from vsr.data.check import VideoSet, check_videos
from vsr.data.clips import ActionClips
from vsr.data.decode import read_frames
from vsr.data.decoded import Clips, View, collate, show
from vsr.data.lists import Item, read_split
from vsr.data.manifest import read_manifest, write_manifest
from vsr.data.randaugment import DRAWN, drawn_operations, rand_augment
from vsr.data.sampling import centre_frames, crop_offsets, pretrain_frames, train_frames, view_frames
from vsr.errors import InputError
from vsr.recipe import NATURAL

DATA = Path(os.environ.get("VSR_TEST_DATA", Path(__file__).parents[2] / "../shared/data"))
CLASSES = ["zoom", "turn", "fall"]
TRAIN, TEST = 12, 5
SHAPE = {"num_frames": 4, "stride": 2}


def write(path: Path, seed: int, count: int | None = None, size: tuple[int, int] | None = None) -> None:
    """A noisy little video of 10 to 14 frames, upright or lying."""
    height, width = size or ((24, 32), (36, 20))[seed % 2]
    shape = (count or 10 + seed % 5, height, width, 3)
    pictures = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame.reformat(format="yuv420p", threads=1)))
        container.mux(stream.encode())


def lay_out(root: Path) -> Path:
    train = [f"{CLASSES[k % 3]}/v{k}.avi" for k in range(TRAIN)]
    test = [f"{CLASSES[k % 3]}/t{k}.avi" for k in range(TEST)]
    for seed, name in enumerate([*train, *test]):
        write(root / "videos" / name, seed)
    (root / "classInd.txt").write_text("".join(f"{n} {name}\n" for n, name in enumerate(CLASSES, 1)))
    (root / "trainlist01.txt").write_text("".join(f"{n} {CLASSES.index(n.split('/')[0]) + 1}\n" for n in train))
    (root / "testlist01.txt").write_text("".join(f"{n}\n" for n in test))
    return root / "videos"


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("set"))


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """The set with two training videos and one for testing damaged: v4, v5 and t3."""
    folder = lay_out(tmp_path)
    for name in ("turn/v4.avi", "fall/v5.avi", "zoom/t3.avi"):
        (folder / name).write_bytes((folder / name).read_bytes()[:-700])
    return folder


def clips(videos: Path, **settings: Any) -> ActionClips:
    usual = {"num_workers": 0, "size": 16, "global_batch_size": 4, "rand_augment": None, "erasing": 0.0, **SHAPE}
    return ActionClips(str(videos), **(usual | settings))


def pretend_trainer(rank: int = 0, world_size: int = 1, global_step: int = 0) -> Any:
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    return SimpleNamespace(global_rank=rank, world_size=world_size, global_step=global_step, strategy=strategy)


def batches(module: ActionClips, stage: str = "train") -> list[Batch]:
    iterator = iter(getattr(module, f"{stage}_dataloader")())
    try:
        return [module.on_after_batch_transfer(batch, 0) for batch in iterator]
    finally:
        if module.num_workers:  # left to the garbage collector, workers take 5 s to go
            iterator._shutdown_workers()


def addresses(many: list[Batch]) -> list[tuple[int, int]]:
    return [pair for b in many for pair in zip(b["index"].tolist(), b["epoch"].tolist(), strict=True)]


def expected_clip(module: ActionClips, index: int, epoch: int, path: Path) -> torch.Tensor:
    """Training clip (index, epoch), from the parts."""

    def words(stream: rng.Stream, elements: int = 1) -> torch.Tensor:
        return rng.words(stream, module.seed, torch.tensor([index]), epoch, elements)[0]

    word = int(words(rng.Stream.FRAMES)[0, 0])
    frames = read_frames(path, lambda count: train_frames(count, word, **SHAPE))
    clip = random_resized_crop(
        torch.from_numpy(frames).permute(3, 0, 1, 2), 16, words(rng.Stream.RESIZED_CROP, ATTEMPTS)
    )
    return flip(clip) if rng.uniform(words(rng.Stream.FLIP))[0, 0] < 0.5 else clip


def test_what_the_model_needs_is_known_at_once(videos: Path) -> None:
    module = clips(videos, global_batch_size=5)
    assert module.classes == CLASSES
    assert (module.num_classes, module.steps_per_epoch) == (3, 2)
    assert module.name == "clips"
    assert clips(videos, name="ucf101").name == "ucf101"


def test_training_shows_the_addressed_clips_in_the_stated_order(videos: Path) -> None:
    module = clips(videos, seed=3)
    module.setup("fit")
    seen = batches(module)
    visits = Visits(3, TRAIN)
    assert addresses(seen) == [visits[n] for n in range(TRAIN)]
    flips = 0
    for batch in seen:
        assert batch.keys() == {"video", "index", "epoch", "label", "view", "weight"}
        assert batch["view"].tolist() == [0] * 4
        assert batch["weight"].tolist() == [1.0] * 4
        assert batch["video"].shape == (4, 3, 4, 16, 16)
        assert batch["video"].dtype == torch.uint8
        assert batch["index"].dtype == batch["epoch"].dtype == batch["label"].dtype == torch.int64
        for clip, index, label in zip(batch["video"], batch["index"].tolist(), batch["label"].tolist(), strict=True):
            assert label == index % 3
            path = videos / CLASSES[index % 3] / f"v{index}.avi"
            assert torch.equal(clip, expected_clip(module, index, 0, path))
            flips += bool(rng.uniform(rng.words(rng.Stream.FLIP, 3, torch.tensor([index])))[0, 0, 0] < 0.5)
    assert 0 < flips < TRAIN


def test_pre_training_shows_true_steps_through_one_of_the_fixed_boxes_unflipped(videos: Path) -> None:
    items = read_split("ucf101", videos, None, 1, "train")[1]
    dataset, visits = Clips(items, "pretrain", 3, 4, 2, 16, 0), Visits(3, TRAIN)
    numbers = range(TRAIN - 2, TRAIN + 6)  # into the second epoch
    samples = [dataset[n] for n in numbers]
    assert [(s["index"], s["epoch"]) for s in samples] == [visits[n] for n in numbers]
    for sample, shown in zip(samples, show(collate(samples, "pretrain"), 4, 16, 3), strict=True):
        address = torch.tensor([sample["index"]]), sample["epoch"]
        word = int(rng.words(rng.Stream.FRAMES, 3, *address)[0, 0, 0])
        path = items[sample["index"]].path
        frames = read_frames(path, lambda count: pretrain_frames(count, word, **SHAPE))  # noqa: B023
        video = torch.from_numpy(frames).permute(3, 0, 1, 2)
        box = multi_scale_box(*video.shape[-2:], 16, rng.words(rng.Stream.CLIP, 3, *address)[0, 0])
        assert torch.equal(shown, resized_crop(video, box, 16))


def test_batch_size_and_ranks_do_not_change_what_is_shown(videos: Path) -> None:
    whole = clips(videos)
    whole.setup("fit")
    expected = {address: clip for b in batches(whole) for address, clip in zip(addresses([b]), b["video"], strict=True)}
    shown = {}
    for rank in (0, 1):
        module = clips(videos, max_batch_per_device=1)
        module.trainer = pretend_trainer(rank, 2)
        module.setup("fit")
        assert module.trainer.accumulate_grad_batches == 2
        many = batches(module)
        assert [len(b["index"]) for b in many] == [1] * 6
        shown |= {address: clip for b in many for address, clip in zip(addresses([b]), b["video"], strict=True)}
    assert shown.keys() == expected.keys()
    assert all(torch.equal(shown[address], expected[address]) for address in expected)


def test_training_goes_on_at_the_trainers_step_and_in_its_epoch(videos: Path) -> None:
    module = clips(videos, seed=3)
    module.trainer = pretend_trainer(global_step=4)
    module.setup("fit")
    visits = Visits(3, TRAIN)
    seen = batches(module)
    assert addresses(seen) == [visits[n] for n in range(16, 24)]
    index, epoch = addresses(seen)[0]
    assert epoch == 1
    path = videos / CLASSES[index % 3] / f"v{index}.avi"
    assert torch.equal(seen[0]["video"][0], expected_clip(module, index, 1, path))


@pytest.mark.parametrize("stage", ["val", "test"])
def test_validation_shows_the_middle_of_every_test_video_once(videos: Path, stage: str) -> None:
    module = clips(videos, max_batch_per_device=2)
    module.setup({"val": "validate", "test": "test"}[stage])
    seen = batches(module, stage)
    assert all(batch["weight"].tolist() == [1.0] * len(batch["index"]) for batch in seen)
    assert [len(b["index"]) for b in seen] == [2, 2, 1]
    assert addresses(seen) == [(k, 0) for k in range(TEST)]
    assert torch.cat([b["label"] for b in seen]).tolist() == [0, 1, 2, 0, 1]
    for k, clip in enumerate(torch.cat([b["video"] for b in seen])):
        middle = centre_frames if stage == "val" else lambda count, **shape: view_frames(count, 1, **shape)[0]
        frames = read_frames(videos / CLASSES[k % 3] / f"t{k}.avi", lambda count: middle(count, **SHAPE))  # noqa: B023
        assert torch.equal(clip, resize_centre_crop(torch.from_numpy(frames).permute(3, 0, 1, 2), 16))


def test_validation_may_show_random_clips_always_the_same(videos: Path) -> None:
    module = clips(videos, val_frames="random", seed=5)
    module.setup("fit")
    seen, again = batches(module, "val"), batches(module, "val")
    shown = torch.cat([b["video"] for b in seen])
    assert torch.equal(shown, torch.cat([b["video"] for b in again]))
    for k, clip in enumerate(shown):
        word = int(rng.words(rng.Stream.FRAMES, 5, torch.tensor([k]))[0, 0, 0])
        frames = read_frames(videos / CLASSES[k % 3] / f"t{k}.avi", lambda count: train_frames(count, word, **SHAPE))  # noqa: B023
        assert torch.equal(clip, resize_centre_crop(torch.from_numpy(frames).permute(3, 0, 1, 2), 16))


def test_repeated_augmentation_shows_the_same_frames_through_other_crops(videos: Path) -> None:
    once, module = clips(videos, seed=3), clips(videos, seed=3, num_sample=3, max_batch_per_device=7)
    for one in (once, module):
        one.setup("fit")
    assert (module.plan.device_size, module.plan.accumulation) == (2, 2)  # of 4 videos: 7 clips are 2 videos
    assert module.steps_per_epoch == once.steps_per_epoch
    seen, alone = batches(module), batches(once)
    visits = Visits(3, TRAIN)
    assert addresses(seen) == [visits[n] for n in range(TRAIN) for _ in range(3)]
    assert torch.cat([b["view"] for b in seen]).tolist() == [0, 1, 2] * TRAIN
    assert torch.cat([b["weight"] for b in seen]).sum().item() == pytest.approx(TRAIN)
    video = torch.cat([b["video"] for b in seen]).view(TRAIN, 3, 3, 4, 16, 16)
    assert torch.equal(video[:, 0], torch.cat([b["video"] for b in alone]))  # the first is what one alone would be
    assert not torch.equal(video[:, 1], video[:, 2])
    for n in (0, 7):
        index, epoch = visits[n]
        address = torch.tensor([index]), epoch
        word = int(rng.words(rng.Stream.FRAMES, 3, *address)[0, 0, 0])
        frames = read_frames(
            videos / CLASSES[index % 3] / f"v{index}.avi",
            lambda count: train_frames(count, word, **SHAPE),  # noqa: B023
        )
        words = rng.words(rng.Stream.RESIZED_CROP, 3, *address, 3 * ATTEMPTS)[0, 2 * ATTEMPTS :]
        clip = random_resized_crop(torch.from_numpy(frames).permute(3, 0, 1, 2), 16, words)
        clip = flip(clip) if rng.uniform(rng.words(rng.Stream.FLIP, 3, *address, 3))[0, 2, 0] < 0.5 else clip
        assert torch.equal(video[n, 2], clip)


def test_fine_tuning_clips_are_augmented_and_erased_by_their_addresses(videos: Path) -> None:
    """Each view from the parts: RandAugment on the frames, crop, flip, then a box of the finished clip erased."""
    module = clips(videos, seed=3, num_sample=2, rand_augment=7.0, erasing=0.5)
    module.setup("fit")
    seen, again = batches(module), batches(module)
    video = torch.cat([b["video"] for b in seen]).unflatten(0, (TRAIN, 2))
    assert torch.equal(video, torch.cat([b["video"] for b in again]).unflatten(0, (TRAIN, 2)))
    augmented = erased = 0
    for n in range(TRAIN):
        index, epoch = Visits(3, TRAIN)[n]
        address, drawn = (torch.tensor([index]), torch.tensor([epoch])), 1 + ATTEMPTS
        word = int(rng.words(rng.Stream.FRAMES, 3, *address)[0, 0, 0])
        path = videos / CLASSES[index % 3] / f"v{index}.avi"
        frames = torch.from_numpy(read_frames(path, lambda count: train_frames(count, word, **SHAPE)))  # noqa: B023
        assert not torch.equal(video[n, 0], video[n, 1])
        for k in range(2):
            operations = drawn_operations(
                rng.words(rng.Stream.RAND_AUGMENT, 3, *address, 2 * DRAWN)[0].chunk(2)[k], 7.0
            )
            words = rng.words(rng.Stream.RESIZED_CROP, 3, *address, 2 * ATTEMPTS)[0].chunk(2)[k]
            clip = random_resized_crop(rand_augment(frames.permute(3, 0, 1, 2), operations), 16, words)
            clip = flip(clip) if rng.uniform(rng.words(rng.Stream.FLIP, 3, *address, 2))[0, k, 0] < 0.5 else clip
            box = erased_box(16, 16, rng.words(rng.Stream.ERASING, 3, *address, 2 * drawn)[0].chunk(2)[k], 0.5)
            clip = clip if box is None else erase(clip, box, 3, *address, k)
            assert torch.equal(video[n, k], clip)
            augmented, erased = augmented + bool(operations), erased + (box is not None)
    assert TRAIN < augmented <= 2 * TRAIN
    assert 0 < erased < 2 * TRAIN


def test_only_fine_tuning_clips_are_augmented(videos: Path) -> None:
    for use, stage in (("finetune", "val"), ("finetune", "test"), ("pretrain", "train")):
        plain, module = clips(videos, use=use), clips(videos, use=use, rand_augment=9.0, erasing=1.0)
        for one in (plain, module):
            one.setup({"val": "validate", "test": "test", "train": "fit"}[stage])
        for one, other in zip(batches(plain, stage), batches(module, stage), strict=True):
            assert torch.equal(one["video"], other["video"])


def test_augmentation_is_on_unless_it_is_switched_off(videos: Path) -> None:
    """Table 6, and VideoMAE's scripts."""
    module = ActionClips(str(videos), global_batch_size=4)
    dataset = module.train_dataloader().dataset
    assert isinstance(dataset, Clips)
    assert (dataset.rand_augment, dataset.erasing) == (9.0, 0.25)


def test_a_video_is_decoded_once_for_all_its_views(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []

    def counted(path: Path, *args: Any) -> Any:
        read.append(path)
        return read_frames(path, *args)

    monkeypatch.setattr("vsr.data.decoded.read_frames", counted)
    module = clips(videos, num_sample=2, test_segments=3, test_crops=3)
    for stage, epochs in (("fit", "train"), ("test", "test")):
        module.setup(stage)
        read.clear()
        batches(module, epochs)
        assert len(read) == len(set(read)) == {"train": TRAIN, "test": TEST}[epochs]


def test_testing_shows_every_view_as_released_code_cuts_it(videos: Path) -> None:
    module = clips(videos, stride=1, max_batch_per_device=13, test_segments=3, test_crops=2)
    module.setup("test")
    seen = batches(module, "test")
    assert [len(b["index"].unique()) for b in seen] == [2, 2, 1]  # 13 clips are two videos of 6
    assert addresses(seen) == sorted(addresses(seen))
    shown = {
        (int(b["index"][j]), int(b["view"][j])): (b["video"][j], float(b["weight"][j]))
        for b in seen
        for j in range(len(b["view"]))
    }
    for k in range(TEST):
        every = torch.from_numpy(read_frames(videos / CLASSES[k % 3] / f"t{k}.avi", np.arange))
        segments = view_frames(len(every), 3, 4, 1)
        assert len({tuple(row) for row in segments.tolist()}) == 3
        for s, frames in enumerate(segments):
            small = TF.resize(every[frames].permute(0, 3, 1, 2), [16], antialias=False)
            spare = max(small.shape[-2:]) - 16
            for c, begin in enumerate((0, spare)):
                cut = small[..., begin : begin + 16] if small.shape[-1] > 16 else small[..., begin : begin + 16, :]
                clip, weight = shown[k, s * 2 + c]
                assert torch.equal(clip, cut.transpose(0, 1))
                assert weight == pytest.approx(1 / 6)


def test_equal_views_of_short_and_of_square_videos_are_made_once(tmp_path: Path) -> None:
    folder = lay_out(tmp_path)
    write(folder / "zoom/t0.avi", 20, count=6, size=(24, 24))  # frames 0, 2, 4 and 4 again
    write(folder / "turn/t1.avi", 21, count=11, size=(24, 24))
    write(folder / "fall/t2.avi", 22, count=6, size=(24, 32))
    module = clips(folder, test_segments=4, test_crops=3)
    module.setup("test")
    views: dict[int, dict[int, float]] = {}
    for batch in batches(module, "test"):
        for index, view, weight in zip(batch["index"], batch["view"], batch["weight"], strict=True):
            views.setdefault(int(index), {})[int(view)] = round(float(weight), 6)
    assert views[0] == {0: 1.0}
    assert views[1] == {0: 0.5, 6: 0.25, 9: 0.25}  # frames 0, 2, …, 10: segments begin at 0, 0, 1 and 2 of them
    assert views[2] == {c: round(1 / 3, 6) for c in range(3)}
    assert all(sum(weights.values()) == pytest.approx(1, abs=1e-5) for weights in views.values())


def test_long_videos_have_the_views_of_the_table(tmp_path: Path) -> None:
    path = tmp_path / "long.avi"
    write(path, 3, count=180, size=(24, 32))
    dataset = Clips([Item(path, 0)], "test", 0, 16, 4, 18, segments=5, crops=3)
    sample = dataset[0]
    assert sample["video"].shape == (3, 45, 24, 32)  # 0, 4, …, 176, each once
    assert [view.first for view in sample["views"][::3]] == [0, 7, 14, 21, 29]  # frames 0, 28, 56, 84, 116
    assert [view.offset for view in sample["views"][:3]] == crop_offsets(24, 32, 18, 3) == [0, 3, 6]
    assert show(collate([sample], "test"), 16, 18, 0).shape == (15, 3, 16, 18, 18)
    assert sample["views"][4] == View(first=7, offset=3, number=4, weight=1 / 15)


def test_pre_training_on_natural_videos_has_no_labels_and_nothing_to_validate_on(videos: Path) -> None:
    module = clips(videos, use="pretrain", seed=3)
    module.setup("fit")
    seen = batches(module)
    assert addresses(seen) == [Visits(3, TRAIN)[n] for n in range(TRAIN)]
    assert all(batch.keys() == {"video", "index", "epoch"} for batch in seen)
    assert not module.val_dataloader()
    items = read_split("ucf101", videos, None, 1, "train")[1]
    samples = [Clips(items, "pretrain", 3, 4, 2, 16)[n] for n in range(4)]
    assert torch.equal(seen[0]["video"], show(collate(samples, "pretrain"), 4, 16, 3))


def test_a_manifest_changes_no_clip_and_a_wrong_one_does_no_harm(videos: Path, tmp_path: Path) -> None:
    check_videos([VideoSet(str(videos), "ucf101", None, 1, ("train",), 7)], tmp_path / "m.csv", 1)
    entries = read_manifest(tmp_path / "m.csv")
    write_manifest([entry._replace(frames=entry.frames + 3) for entry in entries.values()], tmp_path / "wrong.csv")
    shown = []
    for manifest in (None, "m.csv", "wrong.csv"):
        module = clips(videos, manifest=manifest and str(tmp_path / manifest))
        module.setup("fit")
        assert manifest is None or module._items["train"][0].known_frames() in (10, 13)
        shown.append(torch.cat([b["video"] for b in batches(module)]))
    assert torch.equal(shown[0], shown[1])
    assert shown[2].shape == shown[0].shape
    (tmp_path / "other.csv").write_text((tmp_path / "m.csv").read_text().replace("/v", "/w"))
    with pytest.raises(InputError, match=r"other\.csv names no readable video"):
        clips(videos, manifest=str(tmp_path / "other.csv"))


def test_two_ranks_share_the_test_videos_without_repeating_any(videos: Path) -> None:
    seen = []
    for rank in (0, 1):
        module = clips(videos)
        module.trainer = pretend_trainer(rank, 2)
        module.setup("test")
        seen += addresses(batches(module, "test"))
    assert sorted(seen) == [(k, 0) for k in range(TEST)]


def test_the_number_of_workers_does_not_change_what_is_shown(videos: Path) -> None:
    alone, helped = clips(videos), clips(videos, num_workers=2)
    for module in (alone, helped):
        module.setup("fit")
    for one, other in zip(batches(alone), batches(helped), strict=True):
        assert torch.equal(one["video"], other["video"])
        assert torch.equal(one["index"], other["index"])


def test_what_a_worker_is_sent_can_be_pickled(videos: Path) -> None:
    module = clips(videos)
    loader = module.train_dataloader()
    dataset, collate = pickle.loads(pickle.dumps((loader.dataset, loader.collate_fn)))
    assert isinstance(dataset, Clips)
    assert collate([dataset[0]])["use"] == "train"


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_training_video_is_counted_and_the_next_one_shown(
    damaged: Path, caplog: pytest.LogCaptureFixture, workers: int
) -> None:
    module = clips(damaged, max_bad_share=0.17, num_workers=workers)  # 2 of 12
    module.setup("fit")
    with caplog.at_level(logging.WARNING):
        seen = batches(module) + batches(module)
    order = [index for index, _ in addresses(seen)]
    visits = Visits(0, TRAIN)
    assert order == [6 if visits[n][0] in (4, 5) else visits[n][0] for n in range(TRAIN)] * 2
    assert {int(i): int(v) for b in seen for i, v in zip(b["index"], b["label"], strict=True)}[6] == 6 % 3
    shown = [clip for b in seen for i, clip in zip(b["index"], b["video"], strict=True) if i == 6]
    assert len(shown) == 6
    assert all(torch.equal(clip, expected_clip(module, 6, 0, damaged / "zoom/v6.avi")) for clip in shown)
    assert {Path(path).name for path in module.unreadable} == {"v4.avi", "v5.avi"}
    assert len(caplog.records) == 2  # once per file, although each was met in both epochs
    assert "v4.avi" in caplog.text
    assert "at most 2" in caplog.text


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("share", [0.0, 0.1])
def test_too_many_unreadable_training_videos_stop_the_run(damaged: Path, share: float, workers: int) -> None:
    module = clips(damaged, max_bad_share=share, num_workers=workers)
    module.setup("fit")
    with pytest.raises(
        InputError, match=rf"of 12 training videos can't be read, more than max_bad_share {share}"
    ) as caught:
        batches(module)
    assert "\n" not in str(caught.value)
    assert "v5.avi" in str(caught.value) or "v4.avi" in str(caught.value)
    if share:
        assert "v5.avi" in str(caught.value)
        assert "v4.avi" in str(caught.value)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("stage", ["val", "test"])
def test_an_unreadable_video_for_testing_stops_the_run_in_one_line(damaged: Path, stage: str, workers: int) -> None:
    module = clips(damaged, max_bad_share=0.5, num_workers=workers)
    module.setup({"val": "validate", "test": "test"}[stage])
    with pytest.raises(InputError, match=r"t3\.avi: cut off or damaged") as caught:
        batches(module, stage)
    assert "\n" not in str(caught.value)
    assert type(caught.value) is InputError


def test_a_list_smaller_than_the_batch_says_which_batch_fits(videos: Path) -> None:
    with pytest.raises(InputError, match=r"global_batch_size 256 is more than the 12 .* use 12 or fewer"):
        clips(videos, global_batch_size=256).setup("fit")
    clips(videos, global_batch_size=256).setup("test")  # which takes no batches


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_frames": 0}, "num_frames 0"),
        ({"stride": -1}, "stride -1"),
        ({"size": 0}, "size 0"),
        ({"max_bad_share": 1.0}, "max_bad_share 1.0"),
        ({"global_batch_size": 0}, "global_batch_size 0"),
        ({"num_sample": 0}, "num_sample 0"),
        ({"test_crops": 0}, "test_crops 0"),
        ({"rand_augment": 11.0}, "rand_augment 11.0 is no magnitude"),
        ({"rand_augment": -1.0}, "rand_augment -1.0"),
        ({"erasing": 1.5}, "erasing 1.5 is not a share"),
        ({"num_sample": 2, "use": "pretrain"}, "num_sample 2 is of fine-tuning"),
        ({"num_sample": 9}, "max_batch_per_device 8 is less than the num_sample 9"),
        ({"layout": "ucf11"}, "did you mean 'ucf101'"),
        ({"split": 2}, "split 2"),
    ],
)
def test_values_out_of_range_are_named(videos: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        clips(videos, **settings)


class Recorder(LightningModule):
    """Trains one number and remembers the batches."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.trained: list[Batch] = []
        self.validated: list[Batch] = []

    def training_step(self, batch: Batch, _: int) -> torch.Tensor:
        self.trained.append(batch)
        return (self.weight - batch["video"].float().mean()) ** 2

    def validation_step(self, batch: Batch, _: int) -> None:
        self.validated.append(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-6)


def test_a_trainer_is_served_from_step_to_step(videos: Path) -> None:
    module, model = clips(videos, max_batch_per_device=2, seed=3), Recorder()
    trainer = Trainer(
        accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(model, datamodule=module)
    visits = Visits(3, TRAIN)
    assert trainer.accumulate_grad_batches == 2
    assert trainer.global_step == 2 * module.steps_per_epoch == 6
    assert addresses(model.trained) == [visits[n] for n in range(2 * TRAIN)]
    assert addresses(model.validated) == [(k, 0) for k in range(TEST)] * 2
    assert model.trained[0]["video"].shape == (2, 3, 4, 16, 16)


def test_a_run_goes_on_amid_an_epoch_with_another_batch_per_device(videos: Path, tmp_path: Path) -> None:
    def fit(steps: int, most: int, ckpt: Path | None = None) -> tuple[Trainer, list[tuple[int, int]]]:
        module, model = clips(videos, max_batch_per_device=most), Recorder()
        trainer = Trainer(
            accelerator="cpu", max_steps=steps, logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, use_distributed_sampler=False, limit_val_batches=0,
        )  # fmt: skip
        trainer.fit(model, datamodule=module, ckpt_path=ckpt)
        return trainer, addresses(model.trained)

    first, before = fit(5, 1)
    first.save_checkpoint(tmp_path / "half.ckpt")
    _, after = fit(9, 2, tmp_path / "half.ckpt")
    assert before + after == [Visits(0, TRAIN)[n] for n in range(3 * TRAIN)]


TINY = [
    "--config", "configs/scale/laptop.yaml", "--trainer.max_steps", "2", "--trainer.enable_progress_bar", "false",
    "--trainer.enable_model_summary", "false", "--trainer.accelerator", "cpu", "--data.size", "16",
    "--data.num_frames", "4", "--data.global_batch_size", "4", "--data.num_workers", "0",
]  # fmt: skip
quiet = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")


@quiet
@pytest.mark.parametrize("name", NATURAL)
def test_the_papers_natural_baselines_are_pre_trained(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    place = ["--data.videos", str(videos)]
    if name == "kinetics400":
        (tmp_path / "train.csv").write_text((videos.parent / "trainlist01.txt").read_text())
        place += ["--data.lists", str(tmp_path)]
    main(["fit", "--config", f"configs/pretrain/{name}.yaml", *TINY, *place])
    made = json.loads((tmp_path / "runs/pretrain" / name / "default/provenance.json").read_text())
    assert made["natural_videos"] == f"12 training videos of {name}"
    assert made["natural_images"] == "none"
    assert (tmp_path / "runs/pretrain" / name / "default/done").is_file()


@quiet
def test_a_classifier_is_fine_tuned_on_repeated_samples(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    preset = ["--config", "configs/preset/finetune-release-ucf101.yaml"]
    config = ["--config", "configs/finetune/ucf101.yaml", *preset, *TINY, "--data.videos", str(videos)]
    main(["fit", *config])
    assert (tmp_path / "runs/finetune/ucf101/default/done").is_file()


@pytest.mark.skipif(not (DATA / "jhmdb21").is_dir(), reason=f"no real clips in {DATA} (VSR_TEST_DATA)")
def test_real_clips_fill_a_batch() -> None:
    module = ActionClips(str(DATA / "jhmdb21/videos"), num_workers=0, global_batch_size=4, size=112, stride=2)
    assert (module.num_classes, module.steps_per_epoch) == (21, 166)
    batch = module.on_after_batch_transfer(next(iter(module.train_dataloader())), 0)
    assert batch["video"].shape == (4, 3, 16, 112, 112)
    assert all(clip.float().std() > 10 for clip in batch["video"])


def test_augmentation_is_part_of_what_clips_are_made_from(videos):
    """So that a run doesn't go on with another."""
    for other in ({"num_sample": 2}, {"rand_augment": 9.0}, {"erasing": 0.25}):
        assert clips(videos, **other).provenance() != clips(videos).provenance()
    assert "num_sample" not in clips(videos, use="probe").provenance()
