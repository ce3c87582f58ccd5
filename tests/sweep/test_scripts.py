"""What the sbatch scripts do with their words, their task and how a run ends; no Slurm, which tests/slurm has."""

import shutil
import subprocess
from pathlib import Path

import pytest

SLURM = Path(__file__).parents[2] / "slurm"
PROGRAM = """#!/usr/bin/env bash
printf '%s\\0' "$@" >>"$SAID"; printf '\\n' >>"$SAID"
[ -z "${MAKES:-}" ] || { mkdir -p "$(dirname "$MAKES")"; touch "$MAKES"; }
exit "${STATUS:-0}"
"""
SCONTROL = """#!/usr/bin/env bash
if [ "$1" = show ]; then echo "JobId=7 ArrayTaskId=1 JobState=$STATE Reason=None"; else echo "$@" >>"$SAID.scontrol"; fi
"""
SRUN = """#!/usr/bin/env bash
[ "$1" = --wait=60 ] && exec "${@:2}"
"""


@pytest.fixture
def script(tmp_path):
    """Runs a script with programs that write down what they are told, in a folder whose name a shell would expand."""
    here = tmp_path / "runs $(touch x) 'of' a;b *"
    programs = tmp_path / "bin"
    here.mkdir()
    programs.mkdir()
    for name, text in {"python": PROGRAM, "srun": SRUN, "scontrol": SCONTROL}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    for name in ("bash", "sed", "basename", "dirname", "date", "hostname", "mkdir", "touch", "env"):
        (programs / name).symlink_to(shutil.which(name))

    def run(name, *words, **environment):
        (tmp_path / "said").unlink(missing_ok=True)
        env = {
            "PATH": str(programs), "SAID": str(tmp_path / "said"), "VSR_SLURM": str(SLURM),
            "VSR_RUNS": str(here), "VSR_CELL": "1", "HOME": "home",
        }  # fmt: skip
        done = subprocess.run(
            ["bash", SLURM / f"{name}.sbatch", *words],
            cwd=tmp_path,
            env=env | environment,
            capture_output=True,
            text=True,
        )
        said = (tmp_path / "said").read_text().splitlines() if (tmp_path / "said").exists() else []
        return done, [line.rstrip("\0").split("\0") for line in said]

    (tmp_path / "my list").write_text("acc_shapes\nmoving_circles\n/a b/$mine.yaml\n../up\na;reboot\n$(reboot)\n")
    run.here, run.folder, run.programs = here, tmp_path, programs
    return run


ARRAY = {"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "6", "SLURM_ARRAY_TASK_ID": "1", "STATE": "RUNNING"}


def test_words_arrive_as_they_were_given(script):
    done = script.here / "pretrain" / "moving_circles" / "default" / "done"
    words = ["--config", "an overlay; $HOME.yaml", "--data.recipe.speed", "[1, 2]", "--x", "*"]
    ran, said = script("pretrain", "my list", *words, MAKES=str(done))
    assert ran.returncode == 0, ran.stderr
    assert said == [
        ["-m", "vsr", "fit", "--config", "configs/pretrain/moving_circles.yaml", *words, "--trainer.default_root_dir",
         str(script.here), "--run", "default", "--ckpt_path", "last", "--trainer.devices", "1",
         "--trainer.num_nodes", "1"]
    ]  # fmt: skip
    assert "moving_circles, life 0" in ran.stdout
    ran, said = script("pretrain", "my list", *words)
    assert (ran.returncode, said) == (0, [])  # there is nothing left to do
    assert "trained already" in ran.stdout
    assert not list(script.folder.rglob("x"))


def test_as_many_processes_as_gpus(script):
    done = script.here / "pretrain" / "moving_circles" / "default" / "done"
    ran, said = script(
        "pretrain", "my list", MAKES=str(done), SLURM_NTASKS_PER_NODE="8", SLURM_JOB_NUM_NODES="2", **ARRAY
    )
    assert ran.returncode == 0, ran.stderr
    assert said[0][-4:] == ["--trainer.devices", "8", "--trainer.num_nodes", "2"]


def test_fine_tuning_is_followed_by_its_test(script):
    weights = script.here / "pretrain" / "moving_circles" / "default" / "checkpoints" / "last.ckpt"
    done = script.here / "finetune" / "ucf101" / "moving_circles" / "done"
    results = script.here / "test" / "ucf101" / "moving_circles" / "results.json"
    words = ["my list", "configs/finetune/ucf101.yaml", "--data.videos", "a b"]
    ran, (fit,) = script("finetune", *words, MAKES=str(done), STATUS="1")
    assert ran.returncode == 1
    assert fit[2] == "fit"
    assert fit[fit.index("--model.checkpoint") + 1] == str(weights)
    assert fit[fit.index("--data.videos") + 1] == "a b"
    ran, (test,) = script("finetune", *words, MAKES=str(results))
    assert ran.returncode == 0, ran.stderr
    assert test[2] == "test"
    assert test[test.index("--model.checkpoint") + 1] == str(done.with_name("checkpoints") / "last.ckpt")
    ran, said = script("finetune", *words)
    assert said == []


@pytest.mark.parametrize(
    ("cell", "line"), [("3", "../up"), ("4", "a;reboot"), ("5", "$(reboot)"), ("6", ""), ("x", None)]
)
def test_a_line_that_is_no_dataset_is_refused(script, cell, line):
    for name in ("pretrain", "analyze"):
        ran, said = script(name, "my list", VSR_CELL=cell)
        assert (ran.returncode, said) == (2, [])
        assert (f"names no dataset: '{line}'" if line is not None else "which line of the list?") in ran.stderr


def test_a_list_that_is_not_there_is_refused(script):
    ran, said = script("pretrain", "no list")
    assert (ran.returncode, said) == (2, [])
    assert "no list no list: give a file" in ran.stderr


@pytest.mark.parametrize("status", ["75", "138"])
def test_a_stopped_task_goes_back_into_the_queue(script, status):
    requeued = script.folder / "said.scontrol"
    ran, _ = script("pretrain", "my list", STATUS=status, **ARRAY)
    assert ran.returncode == 75
    assert requeued.read_text() == "requeue 6_1\n"  # 7, the task's own number, may be the whole array's
    requeued.unlink()
    script("pretrain", "my list", STATUS=status, SLURM_JOB_ID="7", STATE="RUNNING")
    assert requeued.read_text() == "requeue 7\n"
    requeued.unlink()
    for state in ("CANCELLED", "COMPLETING", "PREEMPTED"):  # a cancelled task that is put back would live again
        ran, _ = script("pretrain", "my list", STATUS=status, **ARRAY | {"STATE": state})
        assert ran.returncode == 75
        assert "was cancelled" in ran.stdout
    (script.programs / "scontrol").unlink()
    ran, _ = script("pretrain", "my list", STATUS=status, **ARRAY)
    assert ran.returncode == 75
    assert "vsr sweep resubmit takes this cell up" in ran.stderr
    assert not requeued.exists()


def test_a_failed_task_does_not(script):
    for status in ("1", "2", "137"):
        ran, _ = script("pretrain", "my list", STATUS=status, **ARRAY)
        assert ran.returncode == int(status)
    ran, _ = script("pretrain", "my list", **ARRAY)
    assert ran.returncode == 2  # it ended well, but elsewhere
    assert "its dataset must be called moving_circles" in ran.stderr
    for status in ("75", "138"):  # it would be cut again
        ran, _ = script("analyze", "my list", STATUS=status, **ARRAY)
        assert ran.returncode == int(status)
    assert not (script.folder / "said.scontrol").exists()


def test_the_scripts_ask_slurm_for_what_requeueing_needs():
    for name in ("pretrain", "finetune", "probe", "test_ucf101p", "analyze"):
        asked = [line for line in (SLURM / f"{name}.sbatch").read_text().splitlines() if line.startswith("#SBATCH ")]
        assert "#SBATCH --requeue" in asked
        assert "#SBATCH --open-mode=append" in asked
        assert ("#SBATCH --signal=SIGUSR1@120" in asked) == (name in ("pretrain", "finetune", "probe"))
        assert not any("B:" in line for line in asked)
