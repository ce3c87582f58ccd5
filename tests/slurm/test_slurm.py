"""A sweep on a real Slurm: the scripts as they are; cells are hit by a signal, killed and cancelled, and go on.

A Slurm of one node is started for it, see cluster.py.
"""

import json
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from cluster import cluster, missing
from held import STEP
from trial import Trial, ask, idle, same, weights

from vsr.cli import main

CELLS = ["static_circles", "moving_circles", "moving_shapes", "acc_shapes"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=f"no {', '.join(missing())} here: apt-get install slurm-wlm munge"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def _slurm():
    """A Slurm that runs two tasks at a time."""
    with cluster(at_once=2) as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def trial(_slurm, tmp_path, monkeypatch):
    """A sweep in a folder whose name a shell would take apart."""
    held = [f"pretrain-{name}" for name in CELLS[:3]]
    made = Trial(tmp_path / "a sweep; $HOME 'n' all", CELLS, held)
    monkeypatch.chdir(made.folder)
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    return made


def test_a_sweep_survives_what_happens_to_its_cells(trial, capsys):
    """Four cells: one is hit by SIGUSR1, one killed, one cancelled, one left alone; all end as if nothing had been."""

    def said_by(*words):
        capsys.readouterr()
        main(list(words))
        return capsys.readouterr().out

    signalled, killed, cancelled, _ = CELLS
    said = said_by(*trial.submit)
    (pretrain,), (finetune,) = trial.submissions("pretrain"), trial.submissions("finetune")
    job = pretrain["job"]
    assert f"pretrain: job {job}, 4 cells" in said
    assert f"finetune: job {finetune['job']}, 4 cells, after job {job}" in said
    trial.process(f"pretrain-{signalled}")
    assert re.search(rf"{signalled} +running +waiting", said_by("sweep", "status", "sweep"))
    with pytest.raises(SystemExit):
        main(["sweep", "resubmit", "sweep", "--only", signalled])
    assert f"pretrain of {signalled} is running already: wait for it, or scancel it first" in capsys.readouterr().err
    trial.signal(f"pretrain-{signalled}", f"{job}_0")
    trial.kill(f"pretrain-{killed}")
    trial.cancel(f"pretrain-{cancelled}", f"{job}_2")
    said_by(*trial.submit)
    assert len(trial.submissions("pretrain")) == len(trial.submissions("finetune")) == 1  # given again, it does nothing

    alone = {name: trial.alone(name) for name in (signalled, killed, cancelled)}  # while Slurm is at work
    trial.until(idle)
    said = said_by("sweep", "status", "sweep")
    assert re.search(rf"{signalled} +done +done", said)
    assert re.search(rf"{killed} +failed +cancelled", said)
    assert re.search(rf"{cancelled} +(stopped|failed) +cancelled", said)  # failed: it was killed before it had saved
    assert "Restarts=1" in ask("scontrol", "show", "job", f"{job}_0")
    assert "JobState=CANCELLED" in ask("scontrol", "show", "job", f"{job}_2")

    assert "4 cells have failed" in said_by(*trial.submit)  # they are for resubmit
    assert "job" in said_by("sweep", "resubmit", "sweep")
    assert trial.submissions("pretrain")[1:][0]["tasks"] == trial.submissions("finetune")[1:][0]["tasks"] == [1, 2]
    trial.until(idle)
    assert "pretrain: 4 done\nfinetune: 4 done" in said_by("sweep", "status", "sweep")
    assert "nothing to start: all cells are done" in said_by("sweep", "resubmit", "sweep")

    for name, expected in alone.items():
        run = Path("sweep/pretrain") / name / "default"
        (part,) = json.loads((run / "provenance.json").read_text())["earlier_parts"]
        steps = {signalled: {STEP + 1}, killed: {STEP - 1}, cancelled: {STEP + 1, STEP - 1}}  # killed before it saved
        assert part["until_step"] in steps[name]
        assert same(expected, weights(run)), name
    for name in CELLS:
        results = json.loads(Path(f"sweep/test/folders/{name}/results.json").read_text())
        assert results["starts_from"]["provenance"]["starts_from"]["provenance"]["recipe"]["name"] == name
    log = Path(f"sweep/logs/pretrain-{job}_0.out").read_text()
    assert re.findall(r"^== .*, life (\d)", log, re.MULTILINE) == ["0", "1"]
