"""One report: everything that is in it, gathered before a word is written."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from vsr.analysis.figure4 import Accuracies, published_accuracies, relate
from vsr.errors import InputError
from vsr.overview import recipes_of
from vsr.recipe import Recipe, dataset_names, recipe_from_dict
from vsr.report import notes
from vsr.report.cells import Cell, distinct
from vsr.report.charts import Dots, Scatter, dots_of_bars, dots_of_table, scatter
from vsr.report.films import INDEX, SEED, Film, Studio, film_of_file
from vsr.report.gallery import Entry, entry, groups
from vsr.report.runs import Found, Run, Test, dataset_of
from vsr.report.tables import Bar, Table, bars, figure2, other_tests, tables

_PICTURES, _LARGEST = 6, 1_500_000  # films of reconstructions in a page, and bytes of one


@dataclass(frozen=True)
class Report:
    """What is in a report.

    Attributes:
        found: what was read.
        tests: of different networks.
        tables: the paper's, then one of other datasets.
        figure2: as a table, and as dots.
        figure3: bars, and as dots.
        figure4: a scatter plot for each file of properties, and each kind of accuracies.
        others: tests in no cell.
        warnings: what isn't finished, is mixed or left out, by a heading.
        unlike: in what cells with a dagger differ from the paper.
        gallery: datasets by group; without a gallery those of the runs.
        reconstructions: of some runs, as films.
        film_seconds: how long the datasets' films took.
    """

    found: Found
    tests: list[Test]
    tables: list[Table]
    figure2: tuple[Table, Dots]
    figure3: tuple[list[Bar], Dots]
    figure4: list[Scatter]
    others: list[Test]
    warnings: dict[str, list[str]]
    unlike: list[str]
    gallery: dict[str, list[Entry]]
    reconstructions: list[tuple[Run, Film]]
    film_seconds: float

    @property
    def cells(self) -> list[Cell]:
        """All of the tables that have a published value."""
        return [cell for table in self.tables for cell in table.cells if cell.published is not None]

    @property
    def address(self) -> tuple[int, int]:
        """Data seed and index of what films show."""
        return SEED, INDEX

    def scores(self, dataset: str) -> list[Cell]:
        """A dataset's cells in all tables and figure 2 that are published or were run, each once."""
        every = [cell for table in [*self.tables, self.figure2[0]] for cell in table.rows.get(dataset, ())]
        known = [cell for cell in every if cell.published is not None or cell.tests]
        return list({cell.measure.field: cell for cell in known}.values())


def gather(found: Found, gallery: bool, texture_folder: Path | None) -> Report:
    """Fill tables and figures, note what has to be said, and make films.

    Args:
        found: what was read.
        gallery: films of all 34 datasets; or else of those that the runs have been trained on.
        texture_folder: images for them.
    """
    tests, repeated = distinct(found.tests)
    shown, second = tables(tests), figure2(tests)
    corrupted = bars(found.tests)
    every = [*shown, second]
    warnings = {
        "Not finished": notes.unfinished(found),
        "Mixed": notes.mixed(found, every),
        "Left out": notes.left_out(found, repeated, every),
    }
    studio = Studio(texture_folder)
    datasets = _gallery(studio) if gallery else {}
    shown_already = {entry.name for entries in datasets.values() for entry in entries}
    if trained := _datasets(found, studio, warnings["Left out"], shown_already):
        datasets["Other datasets of these runs" if gallery else "Datasets of these runs"] = trained
    pictures = _reconstructions(found, warnings["Left out"])
    return Report(
        found=found,
        tests=tests,
        tables=shown,
        figure2=(second, dots_of_table(second)),
        figure3=(corrupted, dots_of_bars(corrupted)),
        figure4=_figure4(found, shown),
        others=other_tests(tests, every),
        warnings={title: lines for title, lines in warnings.items() if lines},
        unlike=notes.unlike_paper(every),
        gallery=datasets,
        reconstructions=pictures,
        film_seconds=studio.seconds,
    )


def _gallery(studio: Studio) -> dict[str, list[Entry]]:
    bar = tqdm(total=len(dataset_names()), desc="films", unit="", leave=False)
    made: dict[str, list[Entry]] = {}
    for title, names in groups().items():
        for name in names:
            made.setdefault(title, []).append(entry(name, [studio.film(recipe) for recipe in recipes_of(name)]))
            bar.update()
    bar.close()
    return made


def _datasets(found: Found, studio: Studio, left_out: list[str], without: Set[str]) -> list[Entry]:
    """Those that something here was pre-trained on, as it was; the paper's first and in the paper's order."""
    origins = [run.provenance for run in found.runs] + [test.first for test in found.tests]
    recipes: dict[str, list[Recipe]] = {}
    for provenance in origins:
        name = dataset_of(provenance)
        if name is None or name in {*recipes, *without} or provenance.get("module") != "VideoMAE":
            continue
        parts = [provenance, *provenance.get("shares", [])]
        contents = [part["recipe"] for part in parts if "recipe" in part]
        if not contents:
            continue  # natural videos
        try:
            recipes[name] = [recipe_from_dict(content, f"the provenance of {name}") for content in contents]
        except InputError as error:
            left_out.append(f"films of {name}: {error}")
    entries = []
    known = [name for names in groups().values() for name in names]
    for name in sorted(recipes, key=lambda name: known.index(name) if name in known else len(known)):
        films: list[Film] = []
        for recipe in recipes[name]:
            try:
                films.append(studio.film(recipe))
            except InputError as error:
                left_out.append(f"a film of {name}: {error}")
        own = Entry(name, "A dataset of your own.", None, (), (), "", tuple(films))
        entries.append(entry(name, films) if name in known else own)
    return entries


def _figure4(found: Found, shown: Sequence[Table]) -> list[Scatter]:
    """Published accuracies, then ours where there are two or more, for each file of properties."""
    measured = {cell.dataset: cell.ours for table in shown for cell in table.cells if _is_main(cell)}
    ours = {name: value for name, value in measured.items() if value is not None}
    kinds = [published_accuracies(), Accuracies("ours, fine-tuned on UCF101", ours)]
    made = [
        scatter(relate(numbers, kind.percent), kind, str(folder))
        for folder, numbers in found.properties.items()
        for kind in kinds
    ]
    return [figure for figure in made if figure is not None]


def _is_main(cell: Cell) -> bool:
    return cell.measure.field == "ucf101_finetune_vitb"


def _reconstructions(found: Found, left_out: list[str]) -> list[tuple[Run, Film]]:
    """The last film of input, mask and reconstruction of some runs."""
    made: list[tuple[Run, Film]] = []
    for run, path in [(run, path) for run in found.runs if (path := run.picture) is not None][:_PICTURES]:
        if path.stat().st_size > _LARGEST:
            left_out.append(f"{path}: its {path.stat().st_size / 1e6:.1f} MB are too many for the page")
            continue
        try:
            made.append((run, film_of_file(path, f"Input, mask and reconstruction of {run.name}")))
        except InputError as error:
            left_out.append(str(error))
    return made
