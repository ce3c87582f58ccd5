"""Lists, manifests and states."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vsr.errors import InputError
from vsr.recipe import dataset_names
from vsr.signals import AGAIN
from vsr.sweep import local
from vsr.sweep.cells import STAGES, must_have_what_they_show, read_list
from vsr.sweep.folder import Submission, Sweep, alone, begin, load, make
from vsr.sweep.slurm import Queued
from vsr.sweep.state import State, states, table

LISTS = Path(__file__).parents[2] / "slurm"


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def listed(*lines):
    Path("list.txt").write_text("\n".join(lines))
    return read_list(Path("list.txt"))


def a_sweep(*names, stages=("pretrain", "finetune"), **other):
    chosen = listed(*names)
    values = {
        "folder": Path("sweep").resolve(), "datasets": [d.line for d in chosen], "names": [d.name for d in chosen],
        "natural": [d.name for d in chosen if d.natural], "single": [d.name for d in chosen if d.single],
        "stages": [s for s in STAGES if s in stages], "on": "ucf101", "videos": None, "lists": None, "options": {},
        "sbatch": [], "at_once": None, "cwd": str(Path.cwd()),
    }  # fmt: skip
    sweep = Sweep(**values | other)
    make(sweep, chosen)
    return sweep


def finish(sweep, stage, task):
    result = sweep.folder / local_result(sweep, stage, task)
    result.parent.mkdir(parents=True, exist_ok=True)
    result.touch()


def local_result(sweep, stage, task):
    from vsr.sweep.cells import result_of

    return result_of(stage, sweep.names[task], sweep.on)


def test_the_28_and_all_34_are_lists():
    assert len(read_list(LISTS / "sweep28.txt")) == len(read_list(Path("slurm/sweep28.txt"))) == 28
    every = listed(*dataset_names(), "ucf101  # natural", "", "# and", "kinetics400")
    assert len(every) == 36
    natural = {d.name for d in every if d.natural}
    assert natural == {n for n in dataset_names() if "ucf101" in n} | {"ucf101", "kinetics400"}
    assert {d.name for d in every if not d.single} == natural | {
        "acc_shapes_static_images_5pct",
        "acc_shapes_stylegan_5pct",
    }
    with pytest.raises(InputError, match=r"acc_images, .* and .* more show images: say where these are"):
        must_have_what_they_show(every, "videos", images=False)
    with pytest.raises(InputError, match="have natural videos: say where these are by --videos"):
        must_have_what_they_show(every, None, images=True)
    must_have_what_they_show(every, "videos", images=True)


def test_a_list_may_name_configs_of_ones_own():
    config = "data: {class_path: SyntheticVideos, init_args: {recipe: {name: NAME, num_objects: 3}}}"
    Path("my folder").mkdir()
    Path("my folder/mine.yaml").write_text(config.replace("NAME", "mine"))
    (mine,) = listed("my folder/mine.yaml")
    assert (mine.name, mine.line) == ("mine", str(Path("my folder/mine.yaml").resolve()))
    Path("other.yaml").write_text(config.replace("NAME", "mine"))
    with pytest.raises(InputError, match="holds a dataset called 'mine'"):
        listed("other.yaml")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("acc_shape", "line 2: no dataset 'acc_shape'; did you mean 'acc_shapes'?"),
        ("static_circles", "'static_circles' stands in the list twice"),
        ("a;reboot", "can't be the name of a run folder"),
        ("$(reboot)", "can't be the name of a run folder"),
        ("../acc_shapes", "can't be the name of a run folder"),
        ("-rf", "can't be the name of a run folder"),
        ("a b", "can't be the name of a run folder"),
        ("none.yaml", "no dataset 'none.yaml'"),
        ("list.txt.yaml", "is no config of pre-training"),
    ],
)
def test_lists_that_are_refused(line, message):
    Path("list.txt.yaml").write_text("data: 3")
    with pytest.raises(InputError) as refused:
        listed("static_circles", line)
    assert message in str(refused.value)


def test_two_sweeps_in_one_folder_are_refused():
    first = a_sweep("acc_shapes", "static_circles", options={"": ["--config", "configs/scale/laptop.yaml"]})
    assert begin(first).names == first.names
    for other in ({"options": {}}, {"on": "hmdb51"}, {"datasets": ["acc_shapes"]}):
        wanted = Sweep(**{name: getattr(first, name) for name in first.__dataclass_fields__} | other)
        with pytest.raises(InputError, match=f"holds another sweep, whose {next(iter(other))} are"):
            begin(wanted)
    wider = Sweep(
        **{n: getattr(first, n) for n in first.__dataclass_fields__} | {"stages": ["probe"], "sbatch": ["-x"]}
    )
    assert begin(wider).stages == ["pretrain", "finetune", "probe"]
    assert begin(wider).sbatch == ["-x"]
    (first.folder / "sweep.json").unlink()
    with pytest.raises(InputError, match=r"holds list\.txt and no sweep"):
        begin(first)
    with pytest.raises(InputError, match="there is no sweep in"):
        load(first.folder)
    for content in ("[]", "{", '{"schema": 2}'):
        (first.folder / "sweep.json").write_text(content)
        with pytest.raises(InputError, match=r"sweep\.json is"):
            load(first.folder)


def test_one_command_at_a_time():
    Path("sweep").mkdir()
    with alone(Path("sweep")), pytest.raises(InputError, match="another vsr sweep is at work on"), alone(Path("sweep")):
        pass
    with alone(Path("sweep")):
        pass


def test_states_are_those_of_run_folders_and_of_slurm():
    sweep = a_sweep("static_circles", "moving_circles", "moving_shapes", "acc_shapes")
    assert set(states(sweep, {}).values()) == {State.MISSING}
    sweep.add(Submission("pretrain", [0, 1, 2, 3], 10, None, []))
    sweep.add(Submission("finetune", [0, 1, 2, 3], 11, 10, []))
    sweep = load(sweep.folder)  # the manifest has it all
    finish(sweep, "pretrain", 0)
    for task, said in (
        (1, "== life 0\nvsr: error: no room\n"),
        (2, "== life 0\nvsr: error: old\n== life 1\nstopped and saved; x\n"),
    ):
        (sweep.folder / "logs" / f"pretrain-10_{task}.out").write_text(said)
    queued = {
        (10, 3): Queued("RUNNING", "None"), (11, 0): Queued("PENDING", "Resources"),
        (11, 1): Queued("PENDING", "DependencyNeverSatisfied"), (11, 2): Queued("PENDING", "Dependency"),
        (11, 3): Queued("PENDING", "Dependency"), (9, 1): Queued("RUNNING", "None"),
    }  # fmt: skip
    found = states(sweep, queued)
    assert [found["pretrain", n] for n in range(4)] == ["done", "failed", "stopped", "running"]
    assert [found["finetune", n] for n in range(4)] == ["queued", "cancelled", "cancelled", "waiting"]
    said = table(sweep, found)
    assert "pretrain: 1 done, 1 running, 1 failed, 1 stopped" in said
    assert "pretrain moving_circles: vsr: error: no room (in " in said
    assert "pretrain moving_shapes: stopped and saved; x (in " in said


SCRIPT = """
name=$(sed -n "$((VSR_CELL + 1))p" "$1")
echo "== $name"
trap 'echo stopped and saved; exit 75' TERM
case $name in
    static_circles) exit 3 ;;
    moving_circles) [ -e once ] || { touch once; exit 75; } ;;
    acc_shapes) while [ -e hold ]; do sleep 0.05; done ;;
esac
mkdir -p "$(dirname "$VSR_RUNS/RESULT")"
touch "$VSR_RUNS/RESULT"
"""


@pytest.fixture
def scripts(tmp_path, monkeypatch):
    """Scripts that end at once: one fails, one is stopped once, one waits while there is a file."""
    places = {"pretrain": "pretrain/$name/default/done", "finetune": "test/ucf101/$name/results.json"}
    (tmp_path / "scripts").mkdir()
    for stage, place in places.items():
        (tmp_path / "scripts" / f"{stage}.sbatch").write_text(SCRIPT.replace("RESULT", place))
    monkeypatch.setattr(local, "SCRIPTS", tmp_path / "scripts")
    return tmp_path / "scripts"


@pytest.mark.usefixtures("scripts")
def test_the_local_queue_keeps_the_order_and_leaves_out_what_has_failed(capfd):
    sweep = a_sweep("static_circles", "moving_circles", "acc_shapes")
    left = local.run_here(sweep, sweep.cells(), ["0", "1"])
    assert left == [("pretrain", 0), ("finetune", 0)]
    said = capfd.readouterr().out
    assert "pretrain static_circles: failed with status 3, see " in said
    assert "pretrain moving_circles: stopped by a signal, goes on" in said
    assert "finetune acc_shapes: done" in said
    found = states(load(sweep.folder), {})
    assert [found["pretrain", n] for n in range(3)] == ["failed", "done", "done"]
    assert [found["finetune", n] for n in range(3)] == ["missing", "done", "done"]
    assert not local.running_now(sweep)


def test_a_stopped_local_queue_stops_its_cells(scripts):
    sweep = a_sweep("acc_shapes")
    Path("hold").touch()
    code = (
        "import sys; from pathlib import Path; from vsr.sweep import local; from vsr.sweep.folder import load; "
        "local.SCRIPTS = Path(sys.argv[1]); sweep = load(Path('sweep')); local.run_here(sweep, sweep.cells(), [''])"
    )
    process = subprocess.Popen([sys.executable, "-c", code, scripts], stderr=subprocess.PIPE, text=True)
    log = sweep.folder / "logs" / "pretrain-acc_shapes.out"
    while not (log.exists() and "==" in log.read_text()):
        assert process.poll() is None
        time.sleep(0.05)
    while not local.running_now(sweep):
        time.sleep(0.05)
    assert states(load(sweep.folder), {}, local.running_now(sweep))["pretrain", 0] is State.RUNNING
    os.kill(process.pid, signal.SIGTERM)
    assert "vsr sweep resubmit" in process.communicate(timeout=60)[1]
    assert process.returncode == AGAIN
    sweep = load(sweep.folder)
    assert states(sweep, {}, local.running_now(sweep))["pretrain", 0] is State.STOPPED
    Path("hold").unlink()
    assert local.run_here(sweep, sweep.cells(), [""]) == []
    commands = [s["words"] for s in json.loads((sweep.folder / "sweep.json").read_text())["submissions"]]
    assert len(commands) == 3
    assert commands[0] == commands[1] == ["bash", *sweep.command(scripts, "pretrain", natural=False)]
