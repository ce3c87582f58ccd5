"""The run folders below some folders, as they are on disk: what was trained and tested, and what can't be read."""

import csv
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from vsr.analysis.measure import Number
from vsr.analysis.report import SCHEMA as PROPERTIES
from vsr.documents import read_yaml
from vsr.errors import InputError

SCHEMAS = (1, 2)
"""Of ``results.json``: those that are understood here. 2 added what a test under corruptions found."""
FROM_SCRATCH = "random_init"
_OWN = {"checkpoints", "pictures"}  # parts of a run folder: no runs in them


@dataclass(frozen=True)
class Run:
    """A training run: of ``vsr fit``.

    Attributes:
        folder: where.
        name: ``stage/dataset/run``, or the folder where several have that name.
        provenance: its ``provenance.json``.
        config: its ``config.yaml``, or nothing where that can't be read.
        done: whether it ended by itself.
        metrics: by name, the steps and values that ``metrics.csv`` has, those of earlier parts first.
    """

    folder: Path
    name: str
    provenance: dict[str, Any]
    config: dict[str, Any]
    done: bool
    metrics: dict[str, list[tuple[int, float]]]

    @property
    def steps(self) -> tuple[int, int | None]:
        """Optimiser steps done, as far as they were logged, and planned."""
        logged = max((step for points in self.metrics.values() for step, _ in points), default=-1)
        planned = self.provenance.get("total_steps")
        return (planned if self.done and planned else logged + 1), planned

    @property
    def picture(self) -> Path | None:
        """Its last film of input, mask and reconstruction, if there is one."""
        return max(self.folder.glob("pictures/step-*.mp4"), default=None)


@dataclass(frozen=True)
class Test:
    """A test: of ``vsr test``.

    Attributes:
        folder: where.
        name: as of :class:`Run`.
        results: its ``results.json``.
        config: its ``config.yaml``, or nothing where that can't be read.
    """

    folder: Path
    name: str
    results: dict[str, Any]
    config: dict[str, Any]

    @property
    def accuracy(self) -> float:
        """Top-1, in %."""
        return 100 * float(self.results["metrics"]["test_acc1"])

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval of it, in %, as the test wrote it."""
        found = self.results.get("intervals", {}).get("test_acc1")
        return None if found is None else (100 * found[0], 100 * found[1])

    @cached_property
    def chain(self) -> list[dict[str, Any]]:
        """Provenances, from the test itself back to the first training."""
        links = [self.results]
        while (start := links[-1].get("starts_from")) is not None:
            links.append(start["provenance"] or {})
        return links

    @property
    def first(self) -> dict[str, Any]:
        """The provenance of the first training: the pre-training, if there was one."""
        return self.chain[-1]

    @property
    def checkpoints(self) -> list[str]:
        """The checkpoint that was tested, and those that it came from."""
        return [link["starts_from"]["checkpoint"] for link in self.chain[:-1]]

    @property
    def pretrained(self) -> str | None:
        """The dataset that the network was pre-trained on, ``random_init``, or None where that isn't known."""
        return FROM_SCRATCH if self.first.get("module") not in ("VideoMAE", None) else dataset_of(self.first)

    @property
    def network(self) -> dict[str, Any]:
        """The model's settings, as ``config.yaml`` has them."""
        settings: dict[str, Any] = ((self.config.get("model") or {}).get("init_args")) or {}
        return settings

    @property
    def commits(self) -> dict[str, None]:
        """The code that tested and trained it, in this order; a version where there is no commit."""
        return dict.fromkeys(code_of(link) for link in self.chain if "vsr" in link)


@dataclass(frozen=True)
class Found:
    """All that lies below some folders.

    Attributes:
        folders: which.
        runs: trainings.
        tests: tests with an accuracy.
        properties: what ``vsr analyze`` measured, by the folder it lies in.
        unread: what is left out, and why.
    """

    folders: tuple[Path, ...]
    runs: tuple[Run, ...]
    tests: tuple[Test, ...]
    properties: dict[Path, tuple[Number, ...]]
    unread: dict[str, str]

    def run_of(self, test: Test, checkpoint: str) -> Run | None:
        """The run that wrote a checkpoint that a test came from, if it is among these; the nearest of that name."""
        name, place = run_name(Path(checkpoint).parent.parent), _root(test.folder)
        found = [run for run in self.runs if run_name(run.folder) == name]
        near = [run for run in found if _root(run.folder) == place]
        return (near or found)[0] if len(near or found) == 1 else None


def find(folders: Sequence[Path]) -> Found:
    """Search folders, at any depth, for runs, tests and properties of datasets.

    What is damaged or of another version is left out and named, so that one bad file doesn't hide a sweep's results.

    Raises:
        InputError: one of them is not a folder.
    """
    runs, tests, properties, unread = [], [], {}, {}
    for folder in dict.fromkeys(folder for root in folders for folder in _walk(root)):
        name = str(folder)
        try:
            if (folder / "results.json").is_file():
                results = _results(folder / "results.json")
                if "test_acc1" in results["metrics"]:
                    tests.append(Test(folder, run_name(folder), results, _config(folder)))
            elif (folder / "provenance.json").is_file():
                provenance, done = _object(folder / "provenance.json"), (folder / "done").exists()
                runs.append(Run(folder, run_name(folder), provenance, _config(folder), done, _metrics(folder)))
            elif (folder / "config.yaml").is_file() and folder.parent.parent.name == "test":
                raise _Unreadable("a test without results.json: it was stopped, or is still running")
            if (folder / "properties.json").is_file():
                name = str(folder / "properties.json")
                properties[folder] = _numbers(folder / "properties.json")
        except _Unreadable as error:
            unread[name] = str(error)
    names = [run.name for run in runs] + [test.name for test in tests]
    told_apart = [replace(run, name=str(run.folder)) if names.count(run.name) > 1 else run for run in runs]
    tested = [replace(test, name=str(test.folder)) if names.count(test.name) > 1 else test for test in tests]
    return Found(tuple(folders), tuple(told_apart), tuple(tested), properties, unread)


def run_name(folder: Path) -> str:
    """``stage/dataset/run`` of a run folder."""
    return "/".join(folder.resolve().parts[-3:])


def _root(folder: Path) -> Path:
    """The folder of all runs that a run folder lies in."""
    return (folder.resolve() / "../../..").resolve()


def dataset_of(provenance: dict[str, Any]) -> str | None:
    """The name of what a run was trained on."""
    name = provenance.get("dataset") or (provenance.get("recipe") or {}).get("name")
    return None if name is None else str(name)


def code_of(provenance: dict[str, Any]) -> str:
    """The commit of the code, or its version where it ran from an installed package."""
    return str(provenance.get("commit") or f"version {provenance.get('vsr', 'unknown')}")


class _Unreadable(Exception):
    """Why a folder is left out."""


def _walk(root: Path) -> Iterator[Path]:
    """A folder and those in it, by name; links to folders aren't followed."""
    if not root.is_dir():
        raise InputError(f"no folder {root}: give folders with runs, such as runs")
    for place, folders, _ in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in _OWN)
        yield Path(place)


def _object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _Unreadable(f"{path.name} can't be read ({_line(error)})") from error
    if not isinstance(content, dict):
        raise _Unreadable(f"{path.name} is damaged: it holds no object")
    return content


def _schema(path: Path, content: dict[str, Any], known: Sequence[int]) -> None:
    schema = content.get("schema")
    if not isinstance(schema, int) or schema not in known:
        newer = isinstance(schema, int) and schema > max(known)
        remedy = "a newer vsr wrote it: report with that one" if newer else "it is damaged"
        raise _Unreadable(f"{path.name} has schema {schema}, of which {max(known)} is the newest known here: {remedy}")


def _results(path: Path) -> dict[str, Any]:
    """Those of a test or a validation, with all that is read of them."""
    content = _object(path)
    _schema(path, content, SCHEMAS)
    try:
        test = Test(path.parent, "", content, {})
        if "test_acc1" in content["metrics"]:
            _ = (test.accuracy, test.interval, test.checkpoints, test.pretrained, test.commits, int(content["videos"]))
            _ = (int(content["classes"]), [(link.get("clip") or {}).get("size") for link in test.chain])
            for levels in content.get("cells", {}).values():
                _ = {int(k): (float(s["acc1"]), *map(float, s["interval"])) for k, s in levels.items() if k != "mean"}
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise _Unreadable(f"{path.name} is damaged: {type(error).__name__} {_line(error)}") from error
    if not 0 <= test.accuracy <= 100 if "test_acc1" in content["metrics"] else False:
        raise _Unreadable(f"{path.name} is damaged: an accuracy of {test.accuracy} %")
    return content


def _numbers(path: Path) -> tuple[Number, ...]:
    content = _object(path)
    _schema(path, content, (PROPERTIES,))
    try:
        return tuple(Number(**number) for number in content["numbers"])
    except (KeyError, TypeError) as error:
        raise _Unreadable(f"{path.name} is damaged: {type(error).__name__} {_line(error)}") from error


def _config(folder: Path) -> dict[str, Any]:
    try:
        content = read_yaml(folder / "config.yaml")
    except InputError:
        return {}
    return content if isinstance(content, dict) else {}


def _metrics(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What was logged. Rows that a killed process left half written are passed over."""
    found: dict[str, list[tuple[int, float]]] = {}
    earlier = sorted(folder.glob("metrics-*.csv"), key=lambda path: (len(path.name), path.name))
    for path in [*earlier, folder / "metrics.csv"]:
        if not path.is_file():
            continue
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            for row in csv.DictReader(file):
                for name, value in row.items():
                    try:
                        point = (int(row["step"]), float(value))
                    except (KeyError, TypeError, ValueError):
                        continue
                    found.setdefault(name, []).append(point)
    return found


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
