"""A sweep's folder: what the sweep is, and what has been submitted."""

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from vsr.checkout import commit
from vsr.errors import InputError
from vsr.sweep.cells import STAGES, Dataset, result_of

SCHEMA = 1
_MANIFEST = "sweep.json"
_IS_THE_SWEEP = ("datasets", "on", "videos", "lists", "options")


@dataclass(frozen=True)
class Submission:
    """Cells of one stage that went together.

    Attributes:
        stage: of :data:`~vsr.sweep.cells.STAGES`.
        tasks: numbers of the datasets, from 0; under Slurm those of the array's tasks.
        job: Slurm's number of the array; None for cells that were run here.
        after: the array that they wait for, if any.
        words: the command.
        commit: of the code.
        time: ISO 8601.
    """

    stage: str
    tasks: list[int]
    job: int | None
    after: int | None
    words: list[str]
    commit: str | None = field(default_factory=commit)
    time: str = field(default_factory=lambda: datetime.now().astimezone().isoformat(timespec="seconds"))


@dataclass
class Sweep:
    """What ``sweep.json`` holds.

    Attributes:
        folder: of the sweep, absolute.
        datasets: the list's lines.
        names: of the datasets.
        natural: those of them that need ``videos`` when they are pre-trained on.
        single: those that can be analysed.
        stages: in their order.
        on: the natural videos that it is tested on, as configs/finetune/ has them.
        videos, lists: where they are.
        options: of ``vsr``, by stage; under ``""`` those of every ``vsr fit`` and ``vsr test``.
        sbatch: further options of sbatch.
        at_once: tasks of an array that may run at a time, None: all.
        cwd: where commands are started.
        submissions: in the order of time.
    """

    folder: Path
    datasets: list[str]
    names: list[str]
    natural: list[str]
    single: list[str]
    stages: list[str]
    on: str
    videos: str | None
    lists: str | None
    options: dict[str, list[str]]
    sbatch: list[str]
    at_once: int | None
    cwd: str
    submissions: list[Submission] = field(default_factory=list)

    def cells(self) -> list[tuple[str, int]]:
        """Every stage with every dataset's number; mixtures aren't analysed."""
        numbers = range(len(self.names))
        return [(s, n) for s in self.stages for n in numbers if s != "analyze" or self.names[n] in self.single]

    def done(self, stage: str, task: int) -> bool:
        """Whether a cell's result is there."""
        return (self.folder / result_of(stage, self.names[task], self.on)).exists()

    def last(self, stage: str, task: int) -> Submission | None:
        """The last submission that has the cell."""
        return next((s for s in reversed(self.submissions) if s.stage == stage and task in s.tasks), None)

    def log(self, stage: str, task: int) -> Path | None:
        """What its script said in the last submission, if it has been submitted; the file may not be there."""
        last = self.last(stage, task)
        if last is None:
            return None
        end = f"{self.names[task]}" if last.job is None else f"{last.job}_{task}"
        return self.folder / "logs" / f"{stage}-{end}.out"

    def config(self, stage: str) -> str | None:
        """The config that a stage's script is told, if it is told one."""
        kind = {"finetune": "finetune", "test_ucf101p": "finetune", "probe": "probe"}.get(stage)
        return None if kind is None else f"configs/{kind}/{self.on}.yaml"

    def options_of(self, stage: str, natural: bool) -> list[str]:
        """A stage's options of ``vsr``.

        Args:
            stage: of the sweep.
            natural: its pre-training has natural videos.
        """
        words: list[str] = []
        if stage != "analyze":
            words += self.options.get("", [])
            if stage != "pretrain" or natural:
                words += ["--data.videos", self.videos] if self.videos is not None else []
                words += ["--data.lists", self.lists] if self.lists is not None else []
        return words + self.options.get(stage, [])

    def command(self, scripts: Path, stage: str, natural: bool) -> list[str]:
        """A stage's script, in the folder of scripts, and its arguments."""
        config = self.config(stage)
        words = [str(scripts / f"{stage}.sbatch"), str(self.folder / "list.txt")]
        return [*words, *([config] if config is not None else []), *self.options_of(stage, natural)]

    def add(self, submission: Submission) -> None:
        """Note what has been submitted, at once: a job that nobody remembers would run twice."""
        self.submissions.append(submission)
        self.write()

    def write(self) -> None:
        """Write the manifest whole or not at all."""
        content = {"schema": SCHEMA} | asdict(self) | {"folder": str(self.folder)}
        part = self.folder / f"{_MANIFEST}.part"
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        part.replace(self.folder / _MANIFEST)


def load(folder: Path) -> Sweep:
    """The sweep of a folder.

    Raises:
        InputError: it holds none, or one of another version.
    """
    path = folder / _MANIFEST
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("schema") != SCHEMA or content.keys() != {f.name for f in fields(Sweep)}:
            raise InputError(f"{path} is of another version of vsr: go on with that one, or give another folder")
        submissions = [Submission(**s) for s in content.pop("submissions")]
    except FileNotFoundError as error:
        raise InputError(f"there is no sweep in {folder}: vsr sweep submit LIST --out {folder} makes one") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is no manifest of a sweep: mend it, or give another folder") from error
    return Sweep(**content | {"folder": folder.resolve(), "submissions": submissions})


def begin(wanted: Sweep) -> Sweep:
    """The sweep of a folder if there is one and it is the wanted one, else the wanted one, not yet written.

    Raises:
        InputError: the folder holds another sweep, or something else; the difference is named.
    """
    if not (wanted.folder / _MANIFEST).exists():
        strange = [p.name for p in sorted(wanted.folder.iterdir())] if wanted.folder.is_dir() else []
        if strange := [name for name in strange if name not in (".lock", "plan.json")]:
            raise InputError(f"{wanted.folder} holds {strange[0]} and no sweep: give --out a folder of its own")
        return wanted
    there = load(wanted.folder)
    for name in _IS_THE_SWEEP:
        a, b = getattr(there, name), getattr(wanted, name)
        if a != b:
            raise InputError(
                f"{wanted.folder} holds another sweep, whose {name} are {_short(a)}, not {_short(b)}: give this one "
                "another folder by --out"
            )
    there.stages = [s for s in STAGES if s in {*there.stages, *wanted.stages}]
    there.sbatch, there.at_once, there.cwd = wanted.sbatch, wanted.at_once, wanted.cwd
    return there


def make(sweep: Sweep, datasets: list[Dataset]) -> None:
    """Make the folder, its list and its logs folder, or what is missing of them.

    Raises:
        InputError: they can't be made.
    """
    try:
        (sweep.folder / "logs").mkdir(parents=True, exist_ok=True)
        (sweep.folder / "list.txt").write_text("".join(f"{d.line}\n" for d in datasets), encoding="utf-8")
        sweep.write()
    except OSError as error:
        raise InputError(f"can't write to {sweep.folder} ({error.strerror}): give another folder by --out") from error


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a sweep's folder, so that no other command submits or runs its cells.

    Raises:
        InputError: another holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"another vsr sweep is at work on {folder}, and its cells are running: wait for it, or end it first"
            ) from error
        yield


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
