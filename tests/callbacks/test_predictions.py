"""Tests of a classifier on real little videos: what is written about each, by one process and by two."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from corrupted_runs import ToldClips, small_answers, told_test
from lightning.pytorch import Trainer
from PIL import Image
from pyarrow import parquet
from test_cli import write_clip

from vsr.callbacks.predictions import COLUMNS, CORRUPTED_COLUMNS, confusion_picture
from vsr.callbacks.run_folder import wilson_interval
from vsr.cli import main
from vsr.data.clips import ActionClips
from vsr.modules import ActionClassifier

CLASSES = ["Jump, high", "Run #2", "Sit"]
SHAPE = {"num_frames": 4, "stride": 2, "size": 16, "global_batch_size": 4, "num_workers": 0}
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Five test videos, of which one is short, and a classifier that isn't indifferent."""
    folder = tmp_path_factory.mktemp("set")
    for seed in range(11):
        subset = "train" if seed < 6 else "test"
        write_clip(folder / "videos" / subset / CLASSES[seed % 3] / f"{seed}.avi", seed, frames=5 if seed == 8 else 20)
    data = ActionClips(str(folder / "videos"), "folders", **SHAPE)
    module = ActionClassifier(3, size="tiny", image_size=16, num_frames=4, patch_size=8, base_lr=1e-9)
    module.model.head.weight.data *= 1000
    trainer = Trainer(
        accelerator="cpu", max_steps=1, logger=False, enable_progress_bar=False, enable_model_summary=False,
        enable_checkpointing=False, use_distributed_sampler=False, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(folder / "tuned.ckpt")
    return folder


def words(place, *more):
    return [
        "test", "--config", "configs/finetune/folders.yaml", "--config", "configs/scale/laptop.yaml",
        "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false",
        "--trainer.enable_model_summary", "false", "--data.videos", str(place / "videos"),
        "--model.checkpoint", str(place / "tuned.ckpt"),
        *(word for key, value in SHAPE.items() for word in (f"--data.{key}", str(value))), *more,
    ]  # fmt: skip


def table(folder):
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def tested(place):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        main(words(place))
    return place / "runs/test/folders/default"


def expected(place):
    """Of each test video: label and probabilities, from every view, one view at a time."""
    module = ActionClassifier(3, size="tiny", image_size=16, num_frames=4, patch_size=8).eval()
    module.load_state_dict(torch.load(place / "tuned.ckpt", weights_only=True)["state_dict"])
    data = ActionClips(str(place / "videos"), "folders", **SHAPE, test_segments=5, test_crops=3)
    data.setup("test")
    found, views = {}, 0
    for decoded in data.test_dataloader():
        batch = data.on_after_batch_transfer(decoded, 0)
        for i, clip in enumerate(batch["video"]):
            with torch.no_grad():
                answer = module(clip[None])[0].softmax(0) * batch["weight"][i]
            video = int(batch["index"][i])
            found[video] = (int(batch["label"][i]), found.get(video, (0, 0))[1] + answer)
            views += 1
    assert 5 * 3 < views < 5 * 15
    return [found[k] for k in range(5)]


def test_every_video_has_a_row_with_the_mean_over_its_views(place, tested):
    rows = table(tested)
    assert list(rows[0]) == list(COLUMNS)
    assert [row["video"] for row in rows] == [str(p) for p in sorted((place / "videos/test").rglob("*.avi"))]
    for row, (label, probability) in zip(rows, expected(place), strict=True):
        predicted = int(probability.argmax())
        assert (int(row["label"]), row["class"]) == (label, CLASSES[label])
        assert (int(row["predicted"]), row["predicted_class"]) == (predicted, CLASSES[predicted])
        assert float(row["probability"]) == pytest.approx(float(probability[predicted]), abs=2e-5)
        assert int(row["rank"]) == 1 + int((probability > probability[label]).sum())
    assert len({row["probability"] for row in rows}) == 5


def test_the_parquet_table_has_every_probability(place, tested):
    """And else what the other has."""
    whole = parquet.read_table(tested / "predictions.parquet")
    assert json.loads(whole.schema.metadata[b"classes"]) == CLASSES
    assert whole.column_names == [*COLUMNS, "probabilities"]
    for row, other, (label, probability) in zip(whole.to_pylist(), table(tested), expected(place), strict=True):
        assert row.pop("probabilities") == pytest.approx(probability.tolist(), abs=2e-5)
        assert row["label"] == label
        assert f"{row.pop('probability'):.6f}" == other.pop("probability")
        assert {key: str(value) for key, value in row.items()} == other


def test_videos_under_corruptions_have_a_row_for_each(tmp_path):
    right, asked = small_answers()
    told_test(tmp_path, ToldClips(right, asked))
    rows, whole = table(tmp_path), parquet.read_table(tmp_path / "predictions.parquet").to_pylist()
    assert list(rows[0]) == list(CORRUPTED_COLUMNS)
    assert list(whole[0]) == [*CORRUPTED_COLUMNS, "probabilities"]
    shown = [("clean", 0), *sorted(asked, key=lambda cell: cell.number)]
    assert [c.perturbation for c in asked] != [name for name, _ in shown[1:]]
    for k, (row, other) in enumerate(zip(rows, whole, strict=True)):
        video, (name, severity) = k // len(shown), shown[k % len(shown)]
        assert (row["video"], row["perturbation"], row["severity"]) == (f"test/{video}.avi", name, str(severity))
        assert (other["video"], other["perturbation"], other["severity"]) == (f"test/{video}.avi", name, severity)
        column = 0 if name == "clean" else 1 + asked.index((name, severity))
        assert (row["rank"] == "1") == (row["label"] == row["predicted"]) == right[video, column]
        assert (row["label"], row["class"], row["probability"]) == (str(video % 3), CLASSES[video % 3], "0.500000")
        assert other["rank"] == 1 + (not right[video, column])
        assert other["probabilities"][other["predicted"]] == max(other["probabilities"]) == 0.5
    counts = np.zeros((3, 3), dtype=np.int64)
    for row in rows[:: len(shown)]:
        counts[int(row["label"]), int(row["predicted"])] += 1
    picture = np.asarray(Image.open(tmp_path / "pictures/confusion.png"))
    assert (picture == np.asarray(confusion_picture(counts, CLASSES))).all()
    assert json.loads((tmp_path / "results.json").read_text())["videos"] == 7


def test_results_count_videos_not_views(tested):
    rows, results = table(tested), json.loads((tested / "results.json").read_text())
    right = [row["rank"] == "1" for row in rows]
    assert results["videos"] == 5
    assert results["metrics"]["test_acc1"] == pytest.approx(np.mean(right))
    assert results["metrics"]["test_acc5"] == 1
    per_class = [np.mean([r for r, row in zip(right, rows, strict=True) if row["class"] == c]) for c in CLASSES]
    assert results["metrics"]["test_mean_class_acc"] == pytest.approx(np.mean(per_class))
    assert results["intervals"]["test_acc1"] == pytest.approx(wilson_interval(np.mean(right), 5))
    assert results["intervals"]["test_acc5"] == pytest.approx([0.5655, 1], abs=1e-4)
    assert np.asarray(Image.open(tested / "pictures/confusion.png")).std() > 10


@pytest.mark.slow
def test_two_processes_write_what_one_writes(place, tested):
    """Five videos: one process has three, the other two, and none is shown twice."""
    command = words(place, "--trainer.devices", "2", "--trainer.strategy", "ddp", "--run", "two")
    subprocess.run([sys.executable, "-m", "vsr", *command], cwd=place, check=True, timeout=300)
    folder = tested.parent / "two"
    alone, shared = table(tested), table(folder)
    for row in (*alone, *shared):
        row["probability"] = pytest.approx(float(row["probability"]), abs=2e-6)
    assert shared == alone
    results, others = (json.loads((f / "results.json").read_text()) for f in (tested, folder))
    for key in ("metrics", "videos"):
        assert others[key] == pytest.approx(results[key])


def test_limited_tests_say_how_many_videos_they_saw(place, monkeypatch):
    monkeypatch.chdir(place)
    main(words(place, "--trainer.limit_test_batches", "2", "--data.max_batch_per_device", "15", "--run", "part"))
    folder = place / "runs/test/folders/part"
    assert json.loads((folder / "results.json").read_text())["videos"] == len(table(folder)) == 2


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals(right, count, low, high):
    """Newcombe, "Two-sided confidence intervals for the single proportion", Stat. Med. 17, 1998, table I."""
    assert wilson_interval(right / count, count) == pytest.approx((low, high), abs=1e-4)


def test_the_picture_shows_shares_of_the_true_class():
    counts = np.array([[3, 1, 0], [0, 0, 0], [0, 0, 5]])
    picture = np.asarray(confusion_picture(counts, CLASSES)).astype(int)
    top, left = picture.shape[0] - 6 - 3 * 56, (picture.sum(2) == 3 * 70).argmax(1)[-8] + 1
    corner = [[tuple(picture[top + 56 * i + 4, left + 56 * j + 4]) for j in range(3)] for i in range(3)]
    full, none = (16, 60, 120), (255, 255, 255)
    assert (corner[2][2], corner[1], corner[2][:2]) == (full, [none] * 3, [none] * 2)
    assert full < corner[0][0] < corner[0][1] < none
    assert corner[0][2] == none


def test_many_classes_are_drawn_without_names():
    picture = confusion_picture(np.eye(400, dtype=np.int64), [f"a very long name {k}" for k in range(400)])
    assert max(picture.size) < 1000
    assert (np.asarray(picture) == (16, 60, 120)).all(2).sum() == 400 * 2 * 2
