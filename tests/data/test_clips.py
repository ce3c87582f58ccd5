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

from vsr import rng
from vsr.data import Batch
from vsr.data.augment import ATTEMPTS, flip, multi_scale_box, random_resized_crop, resize_centre_crop, resized_crop
from vsr.data.batches import Visits
from vsr.data.clips import ActionClips, Clips, collate, views
from vsr.data.decode import read_frames
from vsr.data.lists import read_split
from vsr.data.sampling import centre_frames, pretrain_frames, train_frames
from vsr.errors import InputError

DATA = Path(os.environ.get("VSR_TEST_DATA", Path(__file__).parents[2] / "../shared/data"))
CLASSES = ["zoom", "turn", "fall"]
TRAIN, TEST = 12, 5
SHAPE = {"num_frames": 4, "stride": 2}


def write(path: Path, seed: int) -> None:
    """A noisy little video of 10 to 14 frames, upright or lying."""
    height, width = ((24, 32), (36, 20))[seed % 2]
    pictures = np.random.default_rng(seed).integers(0, 256, (10 + seed % 5, height, width, 3), dtype=np.uint8)
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
    usual = {"num_workers": 0, "size": 16, "global_batch_size": 4, **SHAPE}
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
        assert batch.keys() == {"video", "index", "epoch", "label"}
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
    for sample, shown in zip(samples, views(collate(samples, "pretrain"), 16), strict=True):
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
    assert [len(b["index"]) for b in seen] == [2, 2, 1]
    assert addresses(seen) == [(k, 0) for k in range(TEST)]
    assert torch.cat([b["label"] for b in seen]).tolist() == [0, 1, 2, 0, 1]
    for k, clip in enumerate(torch.cat([b["video"] for b in seen])):
        frames = read_frames(videos / CLASSES[k % 3] / f"t{k}.avi", lambda count: centre_frames(count, **SHAPE))
        assert torch.equal(clip, resize_centre_crop(torch.from_numpy(frames).permute(3, 0, 1, 2), 16))


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
        clips(videos, global_batch_size=256)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_frames": 0}, "num_frames 0"),
        ({"stride": -1}, "stride -1"),
        ({"size": 0}, "size 0"),
        ({"max_bad_share": 1.0}, "max_bad_share 1.0"),
        ({"global_batch_size": 0}, "global_batch_size 0"),
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


@pytest.mark.skipif(not (DATA / "jhmdb21").is_dir(), reason=f"no real clips in {DATA} (VSR_TEST_DATA)")
def test_real_clips_fill_a_batch() -> None:
    module = ActionClips(str(DATA / "jhmdb21/videos"), num_workers=0, global_batch_size=4, size=112, stride=2)
    assert (module.num_classes, module.steps_per_epoch) == (21, 166)
    batch = module.on_after_batch_transfer(next(iter(module.train_dataloader())), 0)
    assert batch["video"].shape == (4, 3, 16, 112, 112)
    assert all(clip.float().std() > 10 for clip in batch["video"])
