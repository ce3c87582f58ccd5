"""The paper's tables and figures 2 and 3, filled with one's own tests."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from vsr.published import Bars, Result, figure3, results
from vsr.recipe import PROGRESSION
from vsr.report.cells import MEASURES, Cell, cell, setting
from vsr.report.runs import FROM_SCRATCH, Test, dataset_of

_TITLES = {
    "1": "The progression",
    "2": "Natural images",
    "3": "Textures and videos that change",
    "4": "Kinetics-400",
    "9": "Half the speed",
    "10": "Other pools and backgrounds",
    "11": "Mixed with natural videos",
    "12": "Saturated textures",
}
_FIELDS = {
    "1": ("ucf101_finetune_vitb", "hmdb51_finetune_vitb", "ucf101_linear_probe_vitb"),
    "4": ("k400_finetune_vitb",),
}
_SEVERITY = 5
FIGURE3 = {"acc_images": "image_crops", "acc_stylegan": "stylegan_crops", "ucf101": "ucf101_pretrain"}
"""The datasets of figure 3, with the fields of their bars."""


@dataclass(frozen=True)
class Table:
    """A table of the paper, or a figure as one.

    Attributes:
        key: such as ``table1``.
        title: a heading.
        rows: datasets, and the cells of each, one for each measure.
        notes: what has to be said beside it.
    """

    key: str
    title: str
    rows: dict[str, tuple[Cell, ...]]
    notes: tuple[str, ...] = ()

    @property
    def cells(self) -> list[Cell]:
        """All of them."""
        return [cell for row in self.rows.values() for cell in row]


class Bar(NamedTuple):
    """One bar of figure 3.

    Attributes:
        corruption: its name, or ``clean``.
        dataset: that was pre-trained on.
        published: accuracy, %, read off, or None.
        ours: at the highest severity that was run, %, or None; the mean over tests.
        interval: of a single test, Wilson's 95 % interval; else None.
        average: likewise over the severities that each of them was run at.
        severity: that highest one.
        tests: how many networks; several tests of one count once.
    """

    corruption: str
    dataset: str
    published: float | None
    ours: float | None
    interval: tuple[float, float] | None
    average: float | None
    severity: int | None
    tests: int

    @property
    def difference(self) -> float | None:
        """Ours less the published one, points."""
        return None if self.ours is None or self.published is None else self.ours - self.published


def tables(tests: Sequence[Test]) -> list[Table]:
    """Tables 1-4 and 9-12, then one of datasets that the paper doesn't have, where such were tested.

    A dataset that stands in several tables of the paper is shown in the first of them.

    Args:
        tests: of different networks.
    """
    published = results()
    found = []
    for number, title in _TITLES.items():
        measures = [MEASURES[field] for field in _FIELDS.get(number, ("ucf101_finetune_vitb",))]
        names = [name for name, result in published.items() if _stands_in(result, number)]
        rows = {name: tuple(cell(name, m, published[name], tests) for m in measures) for name in names}
        found.append(Table(f"table{number}", f"Table {number}: {title}", rows, _doubts(number, published, names)))
    own = dict.fromkeys(t.pretrained for t in tests if t.pretrained is not None and t.pretrained not in published)
    rows = {name: tuple(cell(name, m, None, tests) for m in MEASURES.values()) for name in own}
    rows = {name: cells for name, cells in rows.items() if any(cell.tests for cell in cells)}
    return [*found, Table("own", "Datasets that the paper does not have", rows)] if rows else found


def figure2(tests: Sequence[Test]) -> Table:
    """The progression with both networks, fine-tuned on UCF101."""
    published = results()
    measures = [MEASURES["ucf101_finetune_vitb"], MEASURES["ucf101_finetune_vitl"]]
    names = [FROM_SCRATCH, *PROGRESSION, "ucf101"]
    rows = {name: tuple(cell(name, measure, published[name], tests) for measure in measures) for name in names}
    return Table("figure2", "Figure 2: the progression, ViT-B and ViT-L", rows)


def bars(tests: Sequence[Test]) -> list[Bar]:
    """Figure 3: accuracies under corruptions, those of the paper's three datasets, then those of others.

    Of several tests of a dataset in different settings those are taken that are most numerous.
    """
    corrupted = [test for test in tests if test.results.get("cells") and test.pretrained is not None]
    datasets = list(dict.fromkeys([*FIGURE3, *(str(test.pretrained) for test in corrupted)]))
    found = []
    read_off = figure3()
    for dataset in datasets:
        groups: dict[str, list[Test]] = {}
        for test in corrupted:
            if test.pretrained == dataset:
                groups.setdefault(repr(setting(test)), []).append(test)
        chosen = max((_networks(group) for group in groups.values()), key=len, default=[])
        run = dict.fromkeys(name for network in chosen for name in network.cells)
        for name in dict.fromkeys([*read_off, *run]):
            found.append(_bar(name, dataset, read_off.get(name), chosen))
    return found


class _Network(NamedTuple):
    """A network that was tested under corruptions, in one test or several.

    Attributes:
        test: one of them.
        cells: the scores of all of them, by corruption and severity.
    """

    test: Test
    cells: dict[str, dict[int, dict[str, Any]]]


def _networks(tests: Iterable[Test]) -> list[_Network]:
    """The networks of some tests: one that was tested with one severity after the other is still one."""
    found: dict[str, _Network] = {}
    for test in tests:
        network = found.setdefault(repr((test.chain[1:], test.checkpoints)), _Network(test, {}))
        for name, levels in test.results["cells"].items():
            scores = {int(level): score for level, score in levels.items() if level != "mean"}
            network.cells.setdefault(name, {}).update(scores)
    return list(found.values())


def _bar(corruption: str, dataset: str, published: Bars | None, networks: Sequence[_Network]) -> Bar:
    field = FIGURE3.get(dataset)
    known = getattr(published, field) if published is not None and field is not None else None
    if corruption == "clean":
        plain = [(network.test.accuracy, network.test.interval) for network in networks]
        value = sum(a for a, _ in plain) / len(plain) if plain else None
        interval = plain[0][1] if len(plain) == 1 else None
        return Bar(corruption, dataset, known, value, interval, value, None, len(plain))
    run = [scores for network in networks if (scores := network.cells.get(corruption))]
    if not run:
        return Bar(corruption, dataset, known, None, None, None, None, 0)
    highest = max(level for scores in run for level in scores)
    shown = [scores for scores in run if highest in scores]
    levels = set.intersection(*map(set, shown))  # an average is of the same severities in each
    ours = sum(100 * scores[highest]["acc1"] for scores in shown) / len(shown)
    average = sum(100 * scores[level]["acc1"] for scores in shown for level in levels) / (len(shown) * len(levels))
    interval = None
    if len(shown) == 1:
        low, high = shown[0][highest]["interval"]
        interval = (100 * low, 100 * high)
    return Bar(corruption, dataset, known, ours, interval, average, highest, len(shown))


def other_tests(tests: Sequence[Test], shown: Iterable[Table]) -> list[Test]:
    """Tests that are in no cell: of other tasks or probes, in other settings, or of weights of unknown origin."""
    used = {id(test) for table in shown for cell in table.cells for test in cell.tests}
    return [test for test in tests if id(test) not in used]


def origin(test: Test) -> str:
    """What a test's network was pre-trained on, in words."""
    return test.pretrained or f"unknown: {test.checkpoints[-1] if test.checkpoints else dataset_of(test.first)}"


def _stands_in(result: Result, number: str) -> bool:
    return result.k400_finetune_vitb is not None if number == "4" else result.table == int(number)


def _doubts(number: str, published: dict[str, Result], names: Sequence[str]) -> tuple[str, ...]:
    """What is odd about published values, found by looking at them."""
    if number == "9":
        same = [n for n in names if _vitb(published[n]) == published[n.removesuffix("_slow")].ucf101_finetune_vitl]
        if same:
            values = ", ".join(f"{published[name].ucf101_finetune_vitb:.1f}" for name in same)
            return (
                f"Read the published values with doubt: in {len(same)} of {len(names)} rows ({values}) they equal, "
                "digit by digit, what figure 2 gives for ViT-L pre-trained at full speed on the same dataset. One of "
                "the two may have been printed in the other's place, so no difference here says anything about speed.",
            )
    if number == "10":
        twin, name = "dynamic_stylegan_videos", "dynamic_stylegan_highfreq_videos"
        if _vitb(published[name]) == _vitb(published[twin]):
            return (f"{name} has the value that table 3 prints for {twin}, {_vitb(published[twin]):.1f}.",)
    return ()


def _vitb(result: Result) -> float | None:
    return result.ucf101_finetune_vitb
