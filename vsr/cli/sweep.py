"""``vsr sweep``: every dataset of a list through the same stages."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsr.cli.stages import resolve_configs
from vsr.cli.sweep_fits import fits_of, must_be_possible
from vsr.cli.typed import run_verb
from vsr.errors import InputError, nearest

if TYPE_CHECKING:
    from vsr.sweep.cells import Dataset
    from vsr.sweep.estimate import Measured
    from vsr.sweep.folder import Sweep

_HELP = """usage: vsr sweep plan LIST [options]        cells, device-hours and disk
       vsr sweep submit LIST [options]      start it: as job arrays under Slurm, else here, one cell after the other
       vsr sweep status FOLDER              how far every cell is
       vsr sweep resubmit FOLDER            start what has failed or is missing, and what waits for it

Takes every dataset of LIST through the same stages. Without --stages: pre-training, then fine-tuning and its test.
Everything is in the sweep's own folder, --out.

For example:
  vsr sweep submit slurm/sweep28.txt --videos UCF-101 --lists ucfTrainTestlist -- --texture_folder ImageNet

After -- stand options of vsr fit and vsr test, for all stages; after another -- and a stage's name those for this one;
after -- sbatch those of Slurm:
  … -- --data.num_workers 8 -- finetune --trainer.max_epochs 50 -- sbatch --partition=gpu --time=12:00:00

See vsr sweep submit --help for the options."""
_OWN = {
    "--array", "-a", "--output", "-o", "--dependency", "-d",  # of sbatch
    "--run", "--ckpt_path", "--trainer.default_root_dir", "--trainer.devices", "--trainer.num_nodes",
    "--model.checkpoint", "--data.name",
}  # fmt: skip
_SECONDS = 15.0  # of measuring a fit


def sweep(words: list[str]) -> None:
    """Take every dataset of a list through pre-training, fine-tuning and tests: plan, submit, status, resubmit."""
    actions: dict[str, Callable[..., None]] = {
        "plan": plan_sweep,
        "submit": submit_sweep,
        "status": status_of,
        "resubmit": resubmit,
    }
    if not words or words[0] in ("-h", "--help"):
        print(_HELP)
        return
    if words[0] not in actions:
        raise InputError(f"no vsr sweep {words[0]!r}{nearest(words[0], list(actions))}: it has {', '.join(actions)}")
    own = words.index("--") if "--" in words else len(words)
    fixed: dict[str, Any] = {}
    if words[0] in ("plan", "submit"):
        fixed["options"] = _segments(words[own:])
    elif own < len(words):
        raise InputError(f"vsr sweep {words[0]} takes no options after --: those of vsr sweep submit hold")
    run_verb(f"sweep {words[0]}", actions[words[0]], _configs_together(words[1:own]), **fixed)


def plan_sweep(
    datasets: Path,
    options: dict[str, list[str]],
    out: Path | None = None,
    stages: list[str] | None = None,
    on: str = "ucf101",
    videos: Path | None = None,
    lists: Path | None = None,
    config: list[str] | None = None,
    measure: bool = False,
) -> None:
    """Say what a sweep will take: cells, device-hours, disk. What has not been measured is said not to be.

    Args:
        datasets: the list, a dataset on each line.
        options: after --, see vsr sweep --help.
        out: the sweep's folder. Default: sweeps/ and the list's name.
        stages: some of pretrain, finetune, probe, test_ucf101p and analyze. Default: pretrain finetune.
        on: which natural videos: a config of configs/finetune/ and configs/probe/.
        videos: their folder.
        lists: the folder of their lists.
        config: overlays for all stages, such as configs/scale/one-gpu.yaml.
        measure: time every fit on this machine as vsr plan does, some seconds each, and keep the figures in the folder.
    """
    from vsr.sweep import estimate
    from vsr.sweep.folder import begin

    chosen, wanted = _wanted(datasets, options, out, stages, on, videos, lists, config)
    asked = begin(wanted)
    fits = {(stage, task): words for (stage, task), words in fits_of(asked).items() if stage != "probe"}
    measured = estimate.read(asked.folder)
    if measure:
        for (stage, task), words in fits.items():
            cell = estimate.cell_of(stage, asked.names[task])
            if cell in measured and measured[cell].words == words:
                continue
            print(f"measuring {cell}", flush=True)
            measured[cell] = _measured(cell, words)
            estimate.write(asked.folder, measured.values())
    print(f"{len(chosen)} datasets in {asked.folder}")
    print(estimate.table(asked, fits, measured))
    if not measure and any(estimate.cell_of(s, asked.names[n]) not in measured for s, n in fits):
        print("Add --measure to time training on this machine.")


def submit_sweep(
    datasets: Path,
    options: dict[str, list[str]],
    out: Path | None = None,
    stages: list[str] | None = None,
    on: str = "ucf101",
    videos: Path | None = None,
    lists: Path | None = None,
    config: list[str] | None = None,
    at_once: int | None = None,
    local: bool = False,
) -> None:
    """Start a sweep: as job arrays where there is Slurm, else here. Given again, it starts what is not yet submitted.

    Args:
        datasets: the list, a dataset on each line.
        options: after --, see vsr sweep --help.
        out: the sweep's folder. Default: sweeps/ and the list's name.
        stages: some of pretrain, finetune, probe, test_ucf101p and analyze. Default: pretrain finetune.
        on: which natural videos: a config of configs/finetune/ and configs/probe/.
        videos: their folder.
        lists: the folder of their lists.
        config: overlays for all stages, such as configs/scale/one-gpu.yaml.
        at_once: tasks of an array that Slurm may run at a time. Default: all.
        local: run the cells here, one at a time on each GPU, or on the CPU, also where there is Slurm.
    """
    from vsr.sweep.folder import alone, begin, make

    chosen, wanted = _wanted(datasets, options, out, stages, on, videos, lists, config, at_once)
    must_be_possible(begin(wanted), chosen, local)
    with alone(wanted.folder):
        asked = begin(wanted)
        make(asked, chosen)
        _start(asked, local, again=False)


def status_of(folder: Path) -> None:
    """Say how far every cell of a sweep is: from its run folders, and from Slurm's queue.

    Args:
        folder: the sweep's.
    """
    from vsr.sweep.folder import load
    from vsr.sweep.local import running_now
    from vsr.sweep.state import states, table

    asked = load(folder)
    print(table(asked, states(asked, _queue(asked), running_now(asked))))


def resubmit(folder: Path, only: list[str] | None = None, local: bool = False) -> None:
    """Start those cells of a sweep that have failed or are missing, and those that wait for them, as it was submitted.

    Args:
        folder: the sweep's.
        only: some of its datasets.
        local: run the cells here, also where there is Slurm.
    """
    from vsr.sweep.folder import alone, load

    with alone(folder) if (folder / "sweep.json").exists() else nullcontext():
        asked = load(folder)
        for name in only or ():
            if name not in asked.names:
                raise InputError(f"{folder} has no dataset {name!r}{nearest(name, asked.names)}: see its list.txt")
        (asked.folder / "logs").mkdir(exist_ok=True)
        _start(asked, local, again=True, only=only)


def _start(asked: "Sweep", local: bool, again: bool, only: list[str] | None = None) -> None:
    """Start the cells that are to be started, under Slurm or here, and say which."""
    from vsr.checkout import commit
    from vsr.sweep import slurm
    from vsr.sweep.cells import STAGES
    from vsr.sweep.local import devices, run_here
    from vsr.sweep.state import ALIVE, State, states

    under_slurm = slurm.available() and not local
    queued = _queue(asked)
    found = states(asked, queued)
    tasks = [n for n, name in enumerate(asked.names) if only is None or name in only]
    cells = [(s, n) for s, n in found if n in tasks and found[s, n] not in ALIVE | {State.DONE}]
    alive = [(s, n) for s, n in found if n in tasks and found[s, n] in ALIVE]
    if only and alive and not cells:
        stage, task = alive[0]
        raise InputError(
            f"{stage} of {asked.names[task]} is {found[alive[0]]} already: wait for it, or scancel it first"
        )
    failed = []
    if not again:
        failed = [cell for cell in cells if found[cell] is not State.MISSING]
        cells = [cell for cell in cells if found[cell] is State.MISSING]
    ready = {cell for cell, state in found.items() if state in ALIVE | {State.DONE}}
    chosen = []
    for stage, task in cells:  # in the stages' order, so that what needs a cell comes after it
        needed = STAGES[stage]
        if needed is None or (needed, task) in ready or asked.done(needed, task):
            chosen.append((stage, task))
            ready.add((stage, task))
    cells = chosen
    if alive:
        print(f"{len(alive)} cells are running or in the queue already")
    if failed:
        print(f"{len(failed)} cells have failed, what needs them is left out: vsr sweep resubmit {asked.folder}")
    before = next((s.commit for s in asked.submissions), commit())
    if cells and before != commit():
        print(f"the code is another than at first: {before} then, {commit()} now")
    if not cells:
        print("nothing to start" if alive or failed else "nothing to start: all cells are done")
    elif under_slurm:
        for new in slurm.submit(asked, cells, queued):
            after = f", after job {new.after}" if new.after is not None else ""
            print(f"{new.stage}: job {new.job}, {len(new.tasks)} cells{after}")
        print(f"vsr sweep status {asked.folder} says how far it is")
    else:
        on = devices()
        print(f"{len(cells)} cells run here, {len(on)} at a time, logs in {asked.folder / 'logs'}", flush=True)
        if left := run_here(asked, cells, on):
            raise InputError(
                f"{len(left)} of {len(cells)} cells have not been done: see vsr sweep status {asked.folder}, then "
                f"vsr sweep resubmit {asked.folder}"
            )


def _queue(asked: "Sweep") -> dict[Any, Any]:
    from vsr.sweep import slurm

    return slurm.queue() if any(s.job is not None for s in asked.submissions) else {}


def _segments(words: list[str]) -> dict[str, list[str]]:
    """The options after each ``--``, by the stage that they are for; those of all stages under ``""``.

    Raises:
        InputError: no such stage, or an option that the sweep sets itself.
    """
    from vsr.sweep.cells import STAGES

    found: dict[str, list[str]] = {}
    segments: list[list[str]] = []
    for word in words:
        if word == "--":
            segments.append([])
        else:
            segments[-1].append(word)
    for segment in filter(None, segments):
        stage = "" if segment[0].startswith("-") else segment[0]
        known = [*STAGES, "sbatch"]
        if stage and stage not in known:
            raise InputError(
                f"no stage {stage!r} after --{nearest(stage, known)}: give one of {', '.join(known)}, then its "
                "options, or options of all stages"
            )
        options = segment[1:] if stage else segment
        if own := [word for word in options if word.partition("=")[0] in _OWN]:
            raise InputError(f"{own[0]} is what the sweep sets for each of its cells: leave it out")
        if stage not in ("sbatch", "analyze"):
            resolve_configs(options)
        found[stage] = found.get(stage, []) + options
    return found


def _configs_together(words: list[str]) -> list[str]:
    """``--config a --config b`` as ``--config a b``."""
    rest: list[str] = []
    configs: list[str] = []
    taking = False
    for word in words:
        if word == "--config" or word.startswith("--config="):
            taking = True
            configs += [word.removeprefix("--config=")] if "=" in word else []
        elif taking and not word.startswith("-"):
            configs.append(word)
        else:
            taking = False
            rest.append(word)
    return [*rest, "--config", *configs] if configs else rest


def _wanted(
    datasets: Path,
    options: dict[str, list[str]],
    out: Path | None,
    stages: list[str] | None,
    on: str,
    videos: Path | None,
    lists: Path | None,
    config: list[str] | None,
    at_once: int | None = None,
) -> "tuple[list[Dataset], Sweep]":
    """The datasets and the sweep that was asked for.

    Raises:
        InputError: something of it isn't possible anywhere.
    """
    from vsr.sweep.cells import STAGES, read_list
    from vsr.sweep.folder import Sweep

    chosen = read_list(datasets)
    names = stages if stages is not None else ["pretrain", "finetune"]
    for name in names:
        if name not in STAGES:
            raise InputError(f"no stage {name!r}{nearest(name, list(STAGES))}: give some of {', '.join(STAGES)}")
    if at_once is not None and at_once < 1:
        raise InputError(f"--at_once {at_once} lets nothing run: give 1 or more")
    folder = (out or Path("sweeps") / datasets.stem).resolve()
    if bad := next((c for c in "%\\\n" if c in str(folder)), None):
        raise InputError(f"--out {folder}: Slurm reads {bad!r} in the name of a log as its own: give another folder")
    for place, option in ((videos, "--videos"), (lists, "--lists")):
        if place is not None and not place.is_dir():
            raise InputError(f"{option} {place}: there is no such folder; check the path")
    overlays = [word for c in config or [] for word in ("--config", c)]
    resolve_configs([*overlays, "--config", f"configs/finetune/{on}.yaml"])
    if "probe" in names:
        resolve_configs(["--config", f"configs/probe/{on}.yaml"])
    options = dict(options)
    sbatch = options.pop("sbatch", [])
    common = overlays + options.pop("", [])
    return chosen, Sweep(
        folder=folder,
        datasets=[d.line for d in chosen],
        names=[d.name for d in chosen],
        natural=[d.name for d in chosen if d.natural],
        single=[d.name for d in chosen if d.single],
        stages=[s for s in STAGES if s in names],
        on=on,
        videos=str(videos.resolve()) if videos is not None else None,
        lists=str(lists.resolve()) if lists is not None else None,
        options={"": common, **options},
        sbatch=sbatch,
        at_once=at_once,
        cwd=str(Path.cwd()),
    )


def _measured(cell: str, words: list[str]) -> "Measured":
    from datetime import datetime

    from vsr.cli.plan import measured
    from vsr.sweep.estimate import Measured

    plan = measured(words, _SECONDS)
    note = "at least: there was no time for a clip" if plan.clips == 0 else ""
    note = note or (f"predicted from one of {plan.devices} devices" if plan.devices > 1 else "")
    return Measured(
        cell, words, plan.seconds / 3600, plan.devices, plan.checkpoint, f"{plan.device}, {plan.precision}", note,
        datetime.now().astimezone().isoformat(timespec="seconds"),
    )  # fmt: skip
