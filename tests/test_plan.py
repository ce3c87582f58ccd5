"""``vsr plan``, on real runs of a tiny network."""

import copy
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from test_cli import TINY, clips, data_options, run  # noqa: F401

from vsr.data.clips import ActionClips
from vsr.data.synthetic import SyntheticVideos
from vsr.modules import ActionClassifier, VideoMAE
from vsr.plan import Plan, Pool, Rehearsal, advice, comparison, duration, largest_batch, table, texture_pool
from vsr.recipe import Recipe

pytestmark = pytest.mark.filterwarnings("ignore")
PLAN = Plan(
    dataset="d", device="GPU", precision="bf16-mixed", steps=1000, global_batch_size=256, devices=8, at_hand=8,
    wanted=32, clips=32, micro_steps=10, training=160.0, drawing=400.0, together=128.0, decoded=False, optimiser=0.05,
    flops=10**12, matmul=4e14, peak=20 * 2**30, memory=40 * 2**30, largest=60, refused=None,
    pools=(Pool(count=100, seconds=0.5, nbytes=2**30), Pool(count=10, seconds=1.0, nbytes=2**30)), texture_cache=None,
    checkpoint=10**9,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def rehearsed(now=None, seconds=30.0, devices=1, recipe=None, **trainer):
    """A rehearsal of 3 steps of 8 clips, the module before it, and the module after."""
    recipe = recipe or Recipe("r", num_objects=5, epoch_size=100)
    data = SyntheticVideos(recipe, num_frames=4, size=32, global_batch_size=8, max_batch_per_device=4)
    module = VideoMAE("tiny", 32, 4, patch_size=8, global_batch_size=8)
    before = copy.deepcopy(module.state_dict())
    rehearsal = Rehearsal(seconds, devices, **({} if now is None else {"now": now}))
    trainer = Trainer(
        max_steps=3, accelerator="cpu", devices=1, callbacks=[rehearsal], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False, **trainer,
    )  # fmt: skip
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == 0
    return rehearsal.plan, before, module.state_dict()


def test_it_says_what_a_run_takes_and_writes_nothing(capsys):
    run("plan", "--config", "configs/pretrain/acc_textures.yaml", *TINY, "--texture_cache", "kept")
    said = capsys.readouterr().out
    rows = {line[2:18].strip(): line[18:].strip() for line in said.splitlines() if line.startswith("  ")}
    for row, unit in {
        "training alone": "clips/s", "rendering alone": "clips/s", "together": "of the time for rendering",
        "utilisation": "a matrix product here", "memory": "resident at most", "textures": "2 at ",
        "checkpoint": "weights and two moments", "total": "for 2 steps of 4 clips", "timed": "of 4 clips",
    }.items():  # fmt: skip
        assert unit in rows[row]
    assert "less those in kept" in rows["textures"]
    assert "configs/scale/eight-gpu.yaml" in said
    assert "laptop.yaml" not in said  # it is part of what was given
    if not torch.cuda.is_available():
        assert said.count("needs a GPU, this machine has none") == 2
        assert "On this machine: as given" in said
    assert not list(Path().iterdir())


def test_options_overrule_the_overlays(capsys):
    words = ["--trainer.max_steps", "3", "--data.global_batch_size", "2", "--data.size", "16", "--data.num_frames", "4"]
    words += [
        "--max_textures",
        "2",
        "--model.size",
        "tiny",
        "--model.patch_size",
        "8",
        "--trainer.precision",
        "32-true",
    ]
    run("plan", "--config=configs/pretrain/acc_shapes.yaml", *words)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    given, laptop = (next(line for line in lines if name in line) for name in ("given", "configs/scale/laptop.yaml"))
    assert given[2:4] == laptop[1:3] == ["3", "2"]


def test_fine_tuning_is_planned_too(clips, capsys):  # noqa: F811
    before = sorted(Path().rglob("*"))
    place = [*data_options(clips, "folders"), "--data.num_workers", "2", "--data.stride", "2"]
    run("plan", "--config", "configs/finetune/folders.yaml", *TINY, *place)
    said = capsys.readouterr().out
    assert "decoding alone" in said
    assert "for 2 steps of 4 clips" in said
    assert sorted(Path().rglob("*")) == before


def test_clips_that_cannot_be_decoded_are_refused(clips, capsys):  # noqa: F811
    for path in (clips / "folders").rglob("*.avi"):
        path.write_bytes(b"no video")
    place = [*data_options(clips, "folders"), "--data.num_workers", "0", "--data.stride", "2"]
    run("plan", "--config", "configs/finetune/folders.yaml", *TINY, *place, expect=2)
    assert "can't be read" in capsys.readouterr().err


TEXTURED = Recipe("t", num_objects=5, epoch_size=100, fill="texture", texture_pool=5000, texture_size=64)


@pytest.mark.parametrize(
    ("precision", "devices", "recipe", "size"), [("32-true", 1, None, 4), ("bf16-mixed", 4, TEXTURED, 2)]
)
def test_weights_stay_as_they_are(precision, devices, recipe, size):
    plan, before, after = rehearsed(precision=precision, devices=devices, recipe=recipe)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (plan.precision, plan.devices, plan.steps, plan.global_batch_size) == (precision, devices, 3, 8)
    assert (plan.clips, plan.wanted, plan.refused) == (size, size, None)
    assert min(plan.training, plan.drawing, plan.together, plan.optimiser, plan.flops, plan.matmul) > 0
    assert plan.checkpoint > 2.5 * sum(value.nbytes for value in before.values())  # and two moments
    if recipe:
        (pool,) = plan.pools
        assert (pool.count, pool.nbytes) == (5000, 5000 * 64 * 64 * 3)  # as the run has them, not the few that are made
        assert pool.seconds > 0


def test_a_slow_machine_times_less(monkeypatch):
    """A clock that leaps at every look at it stands for a slow machine."""
    step, passes, looks = VideoMAE.training_step, [], count()
    monkeypatch.setattr(
        VideoMAE, "training_step", lambda self, batch: passes.append(len(batch["video"])) or step(self, batch)
    )
    plan, _, _ = rehearsed(now=lambda: 8.0 * next(looks))
    assert passes == [1]
    assert (plan.clips, plan.micro_steps, plan.training, plan.drawing, plan.together) == (1, 0, 1 / 8, 1 / 8, 1 / 16)
    passes.clear()
    rehearsed(now=lambda: 0.0001 * next(looks))
    assert len(passes) > 20
    assert max(passes) == 4


def test_no_time_for_one_clip(monkeypatch):
    passes = []
    monkeypatch.setattr(VideoMAE, "training_step", lambda self, batch: passes.append(1))
    plan, _, _ = rehearsed(seconds=0.0)
    assert not passes
    assert plan.clips == 0
    assert plan.training == pytest.approx(plan.matmul / plan.flops)
    assert "at most" in table(plan)
    assert "resident before training" in table(plan)
    assert "total            at least" in table(plan)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(5, "5 seconds"), (100, "1.7 minutes"), (7200, "2.0 hours"), (2e5, "2.3 days"), (1e8, "3.2 years")],
)
def test_durations_are_in_units_a_person_would_use(seconds, words):
    assert duration(seconds) == words


def test_the_pool_or_the_windows_that_are_shown_are_counted():
    pool = Recipe("t", fill="texture", texture_pool=100, texture_size=64, epoch_size=10)
    windows = replace(pool, texture_window=20)
    assert [texture_pool(recipe, 25).count for recipe in (pool, windows)] == [100, 60]
    assert texture_pool(windows, 25).nbytes == 2 * 20 * 64 * 64 * 3  # the window that is shown and the next


def test_totals_follow_from_what_was_measured():
    assert PLAN.texture_seconds == 60
    assert PLAN.seconds == pytest.approx(60 + 1000 * (256 / (128 * 8) + 0.05))
    assert PLAN.utilisation == pytest.approx(0.4)
    assert PLAN.share == pytest.approx(0.2)
    assert replace(PLAN, together=170.0).share == 0
    assert replace(PLAN, together=80.0).share == pytest.approx(0.2)  # drawing alone takes no more of that time
    assert PLAN.fits
    assert not replace(PLAN, peak=39 * 2**30).fits  # beside two GiB of textures
    assert not replace(PLAN, refused=64).fits


def test_the_table_reads_well():
    said = table(PLAN)
    assert "timed            10 micro-steps of 32 clips\n" in said
    assert "together         128 clips/s, 20% of the time for rendering\n" in said
    assert "utilisation      40%: training does 160.0 TFLOP/s, a matrix product here 400.0 TFLOP/s" in said
    assert "20.0 GiB allocated at most, and 2.0 GiB of textures, of 40.0 GiB; the largest max_batch" in said
    assert "60 seconds: 100 at 0.5 s each and 10 at 1 s each" in said
    assert "6.0 minutes for 1,000 steps of 256 clips on 8 devices, predicted from one" in said
    assert "2 micro-steps of 16 clips, where the run has 32" in table(replace(PLAN, clips=16, micro_steps=2))


def test_the_longest_training_within_a_week_is_recommended():
    year, day = replace(PLAN, steps=10**8), replace(PLAN, steps=10**5)
    hour = replace(PLAN, steps=10**4, devices=1)
    assert "--config day.yaml" in advice(year, {"day.yaml": day, "hour.yaml": hour, "gone.yaml": "needs a GPU: none"})
    assert "--config hour.yaml" in advice(year, {"day.yaml": replace(day, at_hand=1), "hour.yaml": hour})
    assert "--config hour.yaml" in advice(year, {"day.yaml": replace(day, refused=32), "hour.yaml": hour})
    assert "as given" in advice(day, {"hour.yaml": hour})
    assert "as given" in advice(year, {})
    assert "Nothing of this fits" in advice(replace(day, refused=32), {})
    rows = comparison(year, {"day.yaml": replace(day, at_hand=1), "gone.yaml": "needs a GPU: none"}).splitlines()
    assert "predicted from one of 8 devices, of which 1 here" in rows[2]
    assert rows[3].endswith("needs a GPU")


@pytest.mark.parametrize(
    ("peaks", "memory", "fits"),
    [
        ({1: 110, 2: 120}, 200, 10),
        ({8: 180, 1: 110, 2: 125}, 209, 10),
        ({0: 100, 4: 140}, 100, 0),
        ({0: 100, 4: 140}, 50, 0),
        ({1: 100, 2: 100}, 150, 2),
        ({1: 100, 2: 100}, 50, 0),
    ],
)
def test_the_largest_batch_that_fits(peaks, memory, fits):
    assert largest_batch(peaks, memory) == fits


def test_one_micro_step_says_nothing_of_others():
    with pytest.raises(ValueError, match="two micro-steps"):
        largest_batch({1: 100}, 200)


def test_repeated_augmentation_is_planned_in_clips(clips):  # noqa: F811
    """Of four videos in a step each is shown twice."""
    data = ActionClips(str(clips / "folders"), "folders", num_frames=4, stride=2, size=16, global_batch_size=4,
                       max_batch_per_device=4, num_workers=0, num_sample=2)  # fmt: skip
    module, rehearsal = ActionClassifier(2, None, "tiny", 16, 4, 8, global_batch_size=4), Rehearsal(5.0)
    Trainer(
        max_steps=2, accelerator="cpu", devices=1, callbacks=[rehearsal], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False, limit_val_batches=0,
    ).fit(module, datamodule=data)  # fmt: skip
    plan = rehearsal.plan
    assert (plan.wanted, plan.clips, plan.global_batch_size) == (4, 4, 8)
