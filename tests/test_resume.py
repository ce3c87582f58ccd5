"""A run that was stopped goes on as if it hadn't been: by the same command, in real processes, after a real kill -9."""

import hashlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback
from test_cli import write_clip

from vsr.cli import main

COMMAND = [
    "fit", "--config", "configs/pretrain/acc_shapes.yaml", "--config", "configs/scale/laptop.yaml",
    "--trainer.accelerator", "cpu", "--trainer.max_steps", "8", "--trainer.enable_progress_bar", "false",
    "--trainer.enable_model_summary", "false", "--trainer.log_every_n_steps", "1", "--data.size", "16",
    "--data.num_frames", "4", "--data.global_batch_size", "4", "--data.max_batch_per_device", "2",
    "--data.recipe.epoch_size", "12", "--checkpoints.every_n_steps", "2",
]  # fmt: skip
"""Eight steps of two micro-batches, three steps to an epoch, a checkpoint at every other step."""
TWO = ["--trainer.devices", "2", "--trainer.strategy", "ddp", "--data.max_batch_per_device", "1"]
FOLDER = Path("runs/pretrain/acc_shapes/default")
LAST = FOLDER / "checkpoints" / "last.ckpt"
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")


class Visits(Callback):
    """Writes down what is trained on, clip by clip: step, address, pixels and mask, learning rate, epoch.

    Args:
        path: of the file that it is added to.
        stop: raise an error at this step.
    """

    def __init__(self, path: str, stop: int = -1) -> None:
        self.path, self.stop = Path(path), stop

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        step = trainer.global_step
        if step == self.stop:
            raise RuntimeError("stop here")
        kept, _ = pl_module.mask(batch["index"], batch["epoch"])
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        with self.path.open("a") as file:
            for index, epoch, video, mask in zip(batch["index"], batch["epoch"], batch["video"], kept, strict=True):
                seen = hashlib.sha256(video.numpy().tobytes() + mask.numpy().tobytes()).hexdigest()
                file.write(f"{step} {index} {epoch} {seen} {rate} {trainer.current_epoch}\n")


def visiting(path, stop=-1):
    return ["--trainer.callbacks+=test_resume.Visits", "--trainer.callbacks.path", str(path),
            "--trainer.callbacks.stop", str(stop)]  # fmt: skip


def visits(folder, *parts):
    """What was trained on in parts of a run, each from the step at which the next went on taken away."""
    lines = []
    for part in parts:
        new = (folder / part).read_text().splitlines()
        first = int(new[0].split()[0])
        lines = [line for line in lines if int(line.split()[0]) < first] + new
    return lines


def leaves(content, name=""):
    """Every value in a checkpoint, by its place."""
    if isinstance(content, dict | list | tuple):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        return {key: value for k, part in items for key, value in leaves(part, f"{name}/{k}").items()}
    return {name: content}


def must_be_equal(checkpoint, other):
    """Weights, optimiser, schedule and counters, bit for bit; only the second may tell of earlier parts."""
    one, two = (leaves(torch.load(path, weights_only=True)) for path in (checkpoint, other))
    two = {name: value for name, value in two.items() if "/earlier_parts/" not in name}
    assert one.keys() == two.keys()
    tensors = [name for name, value in one.items() if isinstance(value, torch.Tensor)]
    assert sum("exp_avg" in name for name in tensors) > 20
    for name, value in one.items():
        same = torch.equal(value, two[name]) if name in tensors else value == two[name]
        assert same, f"{name} differs"


@pytest.fixture
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(Path(__file__).parent)


def train(*words, stop=-1, visits="visits"):
    if stop == -1:
        main([*COMMAND, *words, *visiting(visits)])
        return ""
    with pytest.raises(RuntimeError, match="stop here") as stopped:
        main([*COMMAND, *words, *visiting(visits, stop)])
    return "\n".join(stopped.value.__notes__)


@pytest.mark.parametrize(
    "length", [["--trainer.max_steps", "8"], ["--trainer.max_steps", "-1", "--trainer.max_epochs", "3"]]
)
@pytest.mark.usefixtures("_here")
def test_a_stopped_run_goes_on_bit_for_bit(length, tmp_path):
    train("--run", "whole", *length, visits="whole")
    for stop in (5, 7):  # the checkpoint is then amid an epoch, and at the end of one
        run = ["--run", str(stop), *length, "--ckpt_path", "last"]
        folder, first, second = FOLDER.with_name(str(stop)), f"{stop}-first", f"{stop}-second"
        last = folder / "checkpoints" / "last.ckpt"
        assert train(*run, stop=stop, visits=first) == (
            f"Stopped at step {stop}. Saved is step {stop - 1}, in {last}: go on with the same command and "
            "--ckpt_path last."
        )
        assert not (folder / "done").exists()
        train(*run, visits=second)
        assert visits(tmp_path, first, second) == visits(tmp_path, "whole")
        must_be_equal(FOLDER.with_name("whole") / "checkpoints" / "last.ckpt", last)
        assert (folder / "done").exists()
        parts = json.loads((folder / "provenance.json").read_text())["earlier_parts"]
        assert [part["until_step"] for part in parts] == [stop - 1]


@pytest.mark.usefixtures("_here")
def test_a_run_goes_on_in_other_micro_batches_and_longer(tmp_path, caplog):
    train("--run", "whole", "--trainer.max_steps", "10", visits="whole")
    train("--trainer.max_steps", "4", visits="first")
    with caplog.at_level("INFO"):
        free = ["--data.max_batch_per_device", "4", "--model.clip_grad", "1", "--model.max_skipped_steps", "3"]
        train("--trainer.max_steps", "10", "--ckpt_path", "last", *free, visits="second")
    assert "was to have 4 steps and now has 10: from step 4 on" in caplog.text
    assert visits(tmp_path, "second") == [v for v in visits(tmp_path, "whole") if int(v.split()[0]) >= 4]
    assert [v.split()[1] for v in visits(tmp_path, "first", "second")] == [str(n) for n in range(40)]
    logged = [line.split(",")[-1] for line in (FOLDER / "metrics.csv").read_text().splitlines()[1:]]
    assert logged == ["4", "5", "6", "7", "8", "9"]


@pytest.mark.usefixtures("_here")
def test_a_finished_run_is_left_as_it_is():
    train("--trainer.max_steps", "2")
    before = {p: p.read_bytes() for p in FOLDER.rglob("*") if p.suffix in (".ckpt", ".json")}
    train("--trainer.max_steps", "2", "--ckpt_path", "last")
    assert {p: p.read_bytes() for p in FOLDER.rglob("*") if p.suffix in (".ckpt", ".json")} == before
    assert (FOLDER / "done").exists()


@pytest.mark.usefixtures("_here")
def test_checkpoints_that_no_run_can_go_on_from_are_refused(tmp_path, capsys):
    def refused(*words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main([*COMMAND, *map(str, words)])
        assert stopped.value.code == 2
        said = [line for line in capsys.readouterr().err.splitlines() if "vsr: error:" in line]
        assert len(said) == 1
        return said[0]

    train("--trainer.max_steps", "4")
    own = ["--ckpt_path", "last"]
    said = refused(
        *own, "--data.recipe.speed", "[1.2,2.0]", "--model.mask_ratio", "0.9", "--data.seed", "1",
        "--data.global_batch_size", "8", "--model.size", "small", "--data.stride", "3",
    )  # fmt: skip
    assert "is of another run: " in said
    for difference in (
        "recipe.speed [1.2, 3.0] there, [1.2, 2.0]", "mask_ratio 0.75 there, 0.9", "data_seed 0 there, 1",
        "global_batch_size 4 there, 8", 'size "tiny" there, "small"', "clip.stride 4 there, 3",
    ):  # fmt: skip
        assert f"{difference} here" in said
    assert "there is no such checkpoint" in refused("--ckpt_path", "nowhere.ckpt", "--run", "other")
    assert "already holds a run" in refused("--ckpt_path", tmp_path / "other.ckpt")

    content = torch.load(LAST, weights_only=True)
    content["provenance"]["module"] = "ActionClassifier"
    torch.save(content, "tuned.ckpt")
    assert "is a checkpoint of ActionClassifier, but this run trains VideoMAE" in refused(
        "--ckpt_path", "tuned.ckpt", "--run", "other"
    )
    torch.save({"state_dict": content["state_dict"]}, "weights.ckpt")
    assert "it is no checkpoint of vsr fit" in refused("--ckpt_path", "weights.ckpt", "--run", "other")
    assert not FOLDER.with_name("other").exists()

    shutil.copy(LAST, "whole.ckpt")
    LAST.write_bytes(LAST.read_bytes()[:-100_000])
    before = LAST.with_name("previous.ckpt")
    assert (
        f"{LAST}: it is damaged or cut short; the one before it is whole: go on from its step 2 with "
        f"--ckpt_path {before}"
    ) in refused(*own)
    train("--trainer.max_steps", "4", "--ckpt_path", str(before))  # what it says goes
    must_be_equal("whole.ckpt", LAST)
    assert torch.load(before, weights_only=True)["global_step"] == 2  # not the damaged one
    LAST.unlink()
    train("--trainer.max_steps", "4", *own)  # from the previous one, not from the beginning
    LAST.write_bytes(b"")
    before.write_bytes(b"")
    assert "and so is" in refused(*own)


@pytest.mark.usefixtures("_here")
def test_fine_tuning_goes_on_without_the_weights_it_started_from(tmp_path, capsys):
    train("--trainer.max_steps", "1")
    Path("weights.ckpt").hardlink_to(LAST)
    for n in range(8):
        write_clip(tmp_path / "videos" / ("train", "test")[n // 4] / f"class{n % 2}" / f"{n}.avi", n)
    stage = [
        "fit", "--config", "configs/finetune/folders.yaml", *COMMAND[3:-6], "--checkpoints.every_n_steps", "2",
        "--data.videos", "videos", "--data.stride", "2", "--data.num_workers", "0",
        "--model.checkpoint", "weights.ckpt",
    ]  # fmt: skip
    finetuned = Path("runs/finetune/folders")
    main([*stage, "--trainer.max_steps", "2"])
    Path("weights.ckpt").unlink()
    main([*stage, "--trainer.max_steps", "4", "--ckpt_path", "last"])
    origin = json.loads((finetuned / "default" / "provenance.json").read_text())
    assert origin["starts_from"]["provenance"]["recipe"]["name"] == "acc_shapes"
    assert origin["total_steps"] == 4
    with pytest.raises(SystemExit):
        main([*stage, "--run", "other", "--ckpt_path", str(LAST)])
    said = capsys.readouterr().err.splitlines()[-1]
    assert "a checkpoint of VideoMAE, but this run trains ActionClassifier" in said
    assert "to start from these weights give them as --model.checkpoint" in said


def start(folder, path, *words):
    folder.mkdir(exist_ok=True)
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    with (folder / f"{path}.log").open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "vsr", *COMMAND, *words, *visiting(folder / path)],
            cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def killed(folder, path, *words):
    """Start a run and kill it, with all its processes, when some step in its middle shows."""
    step = secrets.choice((3, 4, 5))
    print(f"{folder.name}: killed at step {step}")
    process = start(folder, path, *words)
    try:
        until = time.monotonic() + 900
        while not ((folder / path).exists() and f"\n{step} " in (folder / path).read_text()):
            assert process.poll() is None, (folder / f"{path}.log").read_text()
            assert time.monotonic() < until
            time.sleep(0.01)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ended(folder, path, process):
    assert process.wait(timeout=900) == 0, (folder / f"{path}.log").read_text()


@pytest.mark.slow
def test_a_killed_run_goes_on(tmp_path):
    """Bit for bit in its own layout; with the same samples in another."""
    whole, same, split, merged = (tmp_path / name for name in ("whole", "same", "split", "merged"))
    alone = start(whole, "all")
    killed(same, "first")
    ended(whole, "all", alone)
    shutil.copytree(same, split)
    processes = start(same, "second", "--ckpt_path", "last"), start(split, "second", "--ckpt_path", "last", *TWO)
    for folder, process in zip((same, split), processes, strict=True):
        ended(folder, "second", process)
    killed(merged, "first", *TWO)
    ended(merged, "second", start(merged, "second", "--ckpt_path", "last"))

    assert visits(same, "first", "second") == visits(whole, "all")
    must_be_equal(whole / LAST, same / LAST)
    for other in (split, merged):
        assert sorted(visits(other, "first", "second")) == sorted(visits(whole, "all"))
        assert not list(other.rglob("*.part"))
