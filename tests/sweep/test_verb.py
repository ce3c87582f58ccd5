"""``vsr sweep``, through the same ``main`` that users call; a real sweep of one dataset, here. Slurm: tests/slurm."""

import json
import os
import sys
from pathlib import Path

import pytest

from vsr.cli import main

TINY = """
trainer: {max_steps: 2, enable_progress_bar: false, accelerator: cpu}
data:
  init_args: {size: 16, num_frames: 4, global_batch_size: 4}
"""
OVERLAYS = ["--config", "configs/scale/laptop.yaml", "--config", "tiny.yaml"]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(TINY)
    Path("one.txt").write_text("moving_circles\n")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # not Numba's, which may not change once it runs in this process


def refused(*words, capsys):
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    assert stopped.value.code == 2
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vsr: error:")]
    return said


@pytest.mark.slow
def test_a_sweep_without_slurm(capsys, monkeypatch):
    monkeypatch.setattr(sys.modules["vsr.cli.sweep"], "_SECONDS", 1.0)  # vsr.cli.sweep is the function
    stages = ["--stages", "pretrain", "analyze", *OVERLAYS]
    more = ["--", "analyze", "--videos", "2", "--frames", "2"]
    main(["sweep", "plan", "one.txt", *stages, *more])
    said = capsys.readouterr().out
    assert "pretrain  1      not measured" in said
    assert "Add --measure" in said
    main(["sweep", "plan", "one.txt", *stages, "--measure", *more])
    said = capsys.readouterr().out
    assert "vsr plan can't time it" in said
    assert " MB" in said
    assert "without analyze" in said
    assert "measured 20" in said
    kept = json.loads(Path("sweeps/one/plan.json").read_text())
    assert kept[0]["hours"] > 0
    main(["sweep", "plan", "one.txt", *stages, *more, "--", "pretrain", "--trainer.max_steps", "3"])
    assert "pretrain  1      not measured" in capsys.readouterr().out  # that was of another run

    main(["sweep", "submit", "one.txt", "--local", *stages, *more])
    said = capsys.readouterr().out
    assert "2 cells run here, 1 at a time" in said
    assert Path("sweeps/one/pretrain/moving_circles/default/done").exists()
    assert Path("sweeps/one/analysis/moving_circles/properties.json").exists()
    main(["sweep", "submit", "one.txt", "--local", *stages, *more])
    assert "nothing to start: all cells are done" in capsys.readouterr().out
    main(["sweep", "status", "sweeps/one"])
    assert "pretrain: 1 done\nanalyze: 1 done" in capsys.readouterr().out

    assert "holds another sweep, whose options are" in refused(
        "sweep", "submit", "one.txt", "--local", *stages, *more, "--", "--data.seed", "1", capsys=capsys
    )
    config = Path("sweeps/one/pretrain/moving_circles/default/config.yaml")
    config.write_text(config.read_text().replace("global_batch_size: 4", "global_batch_size: 8"))
    said = refused("sweep", "submit", "one.txt", "--local", *stages, *more, capsys=capsys)
    assert "default is of another run: data.init_args.global_batch_size 8 there, 4 here" in said
    assert len(json.loads(Path("sweeps/one/sweep.json").read_text())["submissions"]) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("sumbit one.txt", "no vsr sweep 'sumbit'; did you mean 'submit'?"),
        ("submit none.txt", "can't read the list none.txt"),
        ("submit unknown.txt", "unknown.txt, line 1: no dataset 'acc_shape'; did you mean 'acc_shapes'?"),
        ("submit one.txt --stages pretain", "no stage 'pretain'; did you mean 'pretrain'?"),
        ("submit one.txt --stages finetune --videos .", "finetune needs pretrain, which moving_circles has"),
        ("submit one.txt --on ucf10", "no config file configs/finetune/ucf10.yaml; did you mean"),
        ("submit one.txt --videos none", "--videos none: there is no such folder"),
        ("submit one.txt --at_once 0", "--at_once 0 lets nothing run"),
        ("submit one.txt --out 50%", "Slurm reads '%' in the name of a log as its own"),
        ("submit one.txt --config none.yaml", "no config file none.yaml"),
        ("submit one.txt --stages pretrain --local -- --trainer.max_step 3", "did you mean 'max_steps'?"),
        ("submit one.txt -- pretain --data.seed 3", "no stage 'pretain' after --; did you mean 'pretrain'?"),
        ("submit one.txt -- --run mine", "--run is what the sweep sets for each of its cells"),
        ("submit one.txt -- sbatch --array=3", "--array=3 is what the sweep sets for each of its cells"),
        ("submit one.txt --local -- sbatch --time=1", "options after `-- sbatch`, but no sbatch runs"),
        ("submit images.txt", "acc_images show images: say where these are by `-- --texture_folder DIR`"),
        ("submit natural.txt", "acc_shapes_ucf101_25pct have natural videos: say where these are by --videos"),
        ("submit one.txt --out held", "held holds notes and no sweep: give --out a folder of its own"),
        ("submit one.txt --out busy --local --stages pretrain", "another vsr sweep is at work on"),
        ("status .", "there is no sweep in ."),
        ("resubmit .", "there is no sweep in ."),
        ("status . -- --data.seed 3", "takes no options after --"),
    ],
)
def test_bad_input_is_refused_before_anything_is_submitted(words, message, capsys):
    from vsr.sweep.folder import alone

    Path("unknown.txt").write_text("acc_shape\n")
    Path("images.txt").write_text("acc_shapes\nacc_images\n")
    Path("natural.txt").write_text("acc_shapes_ucf101_25pct\n")
    Path("held").mkdir()
    Path("held/notes").touch()
    with alone(Path("busy").resolve()):
        assert message in refused("sweep", *words.split(), capsys=capsys)
    assert not Path("sweeps").exists()
    assert not list(Path().rglob("sweep.json"))


def test_without_a_working_slurm_sbatch_says_so(capsys, monkeypatch, tmp_path):
    """It is installed here, but knows no cluster; and it isn't there at all."""
    Path("bin").mkdir()
    for program in ("sbatch", "squeue"):
        Path("bin", program).write_text(
            "#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact controller' >&2; exit 1\n"
        )
        Path("bin", program).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    said = refused("sweep", "submit", "one.txt", "--stages", "pretrain", *OVERLAYS, capsys=capsys)
    assert "Slurm's sbatch refuses: slurm_load_jobs error: Unable to contact controller" in said
    assert "run the cells here by --local" in said
    assert json.loads(Path("sweeps/one/sweep.json").read_text())["submissions"] == []


def test_help(capsys):
    main(["sweep"])
    assert "vsr sweep resubmit FOLDER" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["sweep", "submit", "--help"])
    said = capsys.readouterr().out
    assert "--at_once" in said
    assert "--options" not in said
