"""What a sweep is made of: the stages, and the datasets of a list."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vsr.documents import read_yaml
from vsr.errors import InputError, nearest
from vsr.recipe import CONFIGS, NATURAL, Recipe, dataset_names, load_recipe, recipe_from_dict

SCRIPTS = next(p for p in (Path(__file__).parents[1] / "slurm", Path(__file__).parents[2] / "slurm") if p.is_dir())
"""The sbatch scripts: inside the package in a wheel, beside it in a checkout."""

STAGES: dict[str, str | None] = {
    "pretrain": None, "finetune": "pretrain", "probe": "pretrain", "test_ucf101p": "finetune", "analyze": None,
}  # fmt: skip
"""The stages, each a script of that name, and the one whose weights it needs."""

_NAME = re.compile(
    r"[A-Za-z0-9][A-Za-z0-9._-]*"
)  # what a run folder is called: nothing that means something to a shell


@dataclass(frozen=True)
class Dataset:
    """One line of a list.

    Attributes:
        line: as the scripts read it: a dataset's name, or the path of a config of ``vsr fit``.
        name: of the dataset, which run folders are called by.
        recipes: that its videos are rendered from; none of natural videos.
        natural: some of its videos are natural ones.
        single: it is one recipe, which is what can be analysed.
    """

    line: str
    name: str
    recipes: tuple[Recipe, ...]
    natural: bool
    single: bool

    @property
    def needs_images(self) -> bool:
        """Whether it shows images and doesn't say where they are."""
        return any(r.textured and "images" in r.sources and r.texture_folder is None for r in self.recipes)


def result_of(stage: str, dataset: str, on: str) -> str:
    """The file in a sweep's folder that says that a cell is done; the scripts have the same places.

    Args:
        stage: of :data:`STAGES`.
        dataset: its name.
        on: the natural videos, such as ``ucf101``.
    """
    return {
        "pretrain": f"pretrain/{dataset}/default/done",
        "finetune": f"test/{on}/{dataset}/results.json",
        "probe": f"probes/test/{on}/{dataset}/results.json",
        "test_ucf101p": f"test/{on}p/{dataset}/pictures/robustness.png",  # the last file; results.json comes before
        "analyze": f"analysis/{dataset}/properties.json",
    }[stage]


def read_list(path: Path) -> list[Dataset]:
    """The datasets of a list: one to a line, by name or as the path of a config; ``#`` begins a comment.

    ``slurm/sweep28.txt`` is the list that comes with vsr where there is no such file here.

    Raises:
        InputError: no such list, an unknown dataset (the nearest is suggested), one named twice, or a name that
            can't be a folder's and a shell's word.
    """
    own = SCRIPTS / path.name
    try:
        lines = (own if not path.exists() and path == Path("slurm", own.name) else path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"can't read the list {path}: give a text file with a dataset on each line") from error
    found: dict[str, Dataset] = {}
    for number, text in enumerate(lines, 1):
        line = text.partition("#")[0].strip()
        if not line:
            continue
        place = f"{path}, line {number}"
        dataset = _dataset(line, place)
        if dataset.name in found:
            raise InputError(f"{place}: {dataset.name!r} stands in the list twice, but has one run folder")
        found[dataset.name] = dataset
    if not found:
        raise InputError(f"{path} names no dataset: write one on each line, such as acc_shapes")
    return list(found.values())


def must_have_what_they_show(datasets: Iterable[Dataset], videos: str | None, images: bool) -> None:
    """Refuse datasets whose natural videos or images aren't given.

    Args:
        datasets: to pre-train on.
        videos: the folder of natural videos, if any.
        images: whether a folder of images is given.

    Raises:
        InputError: they aren't.
    """
    datasets = list(datasets)
    if not images and (bare := [d.name for d in datasets if d.needs_images]):
        raise InputError(
            f"{_some(bare)} show images: say where these are by `-- --texture_folder DIR`, or leave them out"
        )
    if videos is None and (bare := [d.name for d in datasets if d.natural]):
        raise InputError(f"{_some(bare)} have natural videos: say where these are by --videos, or leave them out")


def _dataset(line: str, place: str) -> Dataset:
    is_path = line.endswith((".yaml", ".yml"))
    name = Path(line).stem if is_path else line
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{place}: {line!r} can't be the name of a run folder: use letters, digits, '.', '_' and '-' alone"
        )
    path = Path(line) if is_path else CONFIGS / "pretrain" / f"{line}.yaml"
    if line.endswith(".yml"):
        raise InputError(f"{place}: {line} is taken for a config by its ending .yaml: rename it")
    if not path.is_file():
        known = [*dataset_names(), *NATURAL]
        raise InputError(f"{place}: no dataset {line!r}{nearest(line, known)}: give one of {', '.join(known)}, or the "
                         "path of a config of vsr fit")  # fmt: skip
    try:
        data: Mapping[str, Any] = read_yaml(path)["data"]["init_args"]
        parts = [data] if "recipe" in data else data.get("shares", [{}])
        recipes = tuple(_recipe(part["recipe"], place) for part in parts if part.get("recipe") is not None)
        own = recipes[0].name if "recipe" in data else data["name"]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(f"{place}: {line} is no config of pre-training: see those in configs/pretrain/") from error
    if own != name:
        raise InputError(
            f"{place}: {line} holds a dataset called {own!r}, by which its run folder goes: call both the same"
        )
    return Dataset(
        str(path.resolve()) if is_path else line, name, recipes, len(recipes) < len(parts), "recipe" in data
    )  # fmt: skip


def _recipe(content: Any, place: str) -> Recipe:
    return load_recipe(content) if isinstance(content, str) else recipe_from_dict(content, place)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
