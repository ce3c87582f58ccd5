"""A table's cell: the published accuracy beside those of one's own tests, and how far the two are of the same thing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import mean, stdev
from typing import Any

import yaml
from scipy import stats

from vsr.published import Result
from vsr.recipe import CONFIGS, NATURAL, PROGRESSION, VARIANTS, Recipe, dataset_names, load_recipe
from vsr.report.runs import Test, dataset_of

CONFIDENCE = 0.95
PRETRAINING = {"base": (118_400, 256), "large": (236_800, 128)}
"""Steps and clips a step of the paper's pre-training, by the network's size: 3,200 epochs of 9,537 videos (table 5, and
9.3 for ViT-L)."""


TUNING = {"ActionClassifier": (100, 256), "LinearProbe": (100, None)}
"""Epochs of the paper's fine-tuning and probing, and videos a step where they are printed (tables 6 and 7)."""


@dataclass(frozen=True)
class Measure:
    """What a column of the paper is of.

    Attributes:
        field: of :class:`~vsr.published.Result`.
        label: in words.
        module: what was trained and tested.
        layout: of the videos it was tested on.
        size: of the network.
        classes: of the test.
        videos: in the test list; None: it varies, as some have been taken off the net.
    """

    field: str
    label: str
    module: str
    layout: str
    size: str
    classes: int
    videos: int | None


MEASURES = {
    measure.field: measure
    for measure in (
        Measure("ucf101_finetune_vitb", "UCF101, fine-tuned, ViT-B", "ActionClassifier", "ucf101", "base", 101, 3783),
        Measure("hmdb51_finetune_vitb", "HMDB51, fine-tuned, ViT-B", "ActionClassifier", "hmdb51", "base", 51, 1530),
        Measure("ucf101_linear_probe_vitb", "UCF101, linear probe, ViT-B", "LinearProbe", "ucf101", "base", 101, 3783),
        Measure("ucf101_finetune_vitl", "UCF101, fine-tuned, ViT-L", "ActionClassifier", "ucf101", "large", 101, 3783),
        Measure("k400_finetune_vitb", "Kinetics-400, fine-tuned, ViT-B", "ActionClassifier", "csv", "base", 400, None),
    )
}


@dataclass(frozen=True)
class Cell:
    """One accuracy of the paper, and ours.

    Attributes:
        dataset: that was pre-trained on.
        measure: which accuracy.
        published: %, or None.
        tests: ours; none: not run. All have one setting.
        unlike: in what that differs from the published one.
        others: tests of the same measure in other settings, which aren't counted in.
    """

    dataset: str
    measure: Measure
    published: float | None
    tests: tuple[Test, ...] = ()
    unlike: tuple[str, ...] = ()
    others: tuple[Test, ...] = ()

    @property
    def ours(self) -> float | None:
        """The mean over our tests, %."""
        return mean(test.accuracy for test in self.tests) if self.tests else None

    @property
    def difference(self) -> float | None:
        """Ours less the published one, points."""
        return None if self.ours is None or self.published is None else self.ours - self.published

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval, %: of a single test Wilson's, over videos; of several Student's, of their mean."""
        if self.ours is None:
            return None
        if len(self.tests) == 1:
            return self.tests[0].interval
        values = [test.accuracy for test in self.tests]
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * stdev(values) / len(values) ** 0.5
        return max(0.0, self.ours - half), min(100.0, self.ours + half)

    @property
    def seeds(self) -> int:
        """How many different pairs of data seeds, of pre-training and of fine-tuning, the tests have."""
        return len({tuple(link.get("data_seed") for link in test.chain[1:]) for test in self.tests})


def cell(dataset: str, measure: Measure, result: Result | None, tests: Iterable[Test]) -> Cell:
    """The cell of a dataset.

    Of tests in several settings those are shown that differ least from the paper's, then the more numerous.

    Args:
        dataset: that was pre-trained on.
        measure: which accuracy.
        result: what the paper reports of the dataset, if it does.
        tests: all of ours.
    """
    published = None if result is None else getattr(result, measure.field)
    groups: dict[str, list[Test]] = {}
    for test in tests:
        if test.pretrained == dataset and _is_of(test, measure):
            groups.setdefault(repr(setting(test)), []).append(test)
    if not groups:
        return Cell(dataset, measure, published)
    best = min(groups.values(), key=lambda group: (len(unlike(group[0], measure)), -len(group)))
    others = tuple(test for group in groups.values() if group is not best for test in group)
    return Cell(dataset, measure, published, tuple(best), unlike(best[0], measure), others)


def distinct(tests: Sequence[Test]) -> tuple[list[Test], dict[str, str]]:
    """Tests of different networks: of a checkpoint that was tested twice on the same videos only one.

    A test without corruptions goes before one with them, whose clean videos give the same accuracy.

    Returns:
        Those, and of the others the names, each with that of the test it repeats.
    """
    kept: dict[str, Test] = {}
    repeated = {}
    for test in sorted(tests, key=lambda test: "cells" in test.results):
        seen = repr((test.chain[1:], test.checkpoints, test.results["metrics"], test.results.get("split")))
        if seen in kept and "cells" not in test.results:
            repeated[str(test.folder)] = str(kept[seen].folder)
        kept.setdefault(seen, test)
    return list(kept.values()), repeated


def setting(test: Test) -> dict[str, Any]:
    """What of one network's training and test may not differ from another's if they are averaged."""
    network = {key: test.network.get(key) for key in ("size", "patch_size")}
    trained = [
        {key: link.get(key) for key in ("module", "clip", "global_batch_size", "total_steps", "layout", "split")}
        | {"content": content(link)}
        for link in test.chain[1:]
    ]
    tested = {key: test.results.get(key) for key in ("module", "clip", "layout", "split", "videos", "classes")}
    data = (test.config.get("data") or {}).get("init_args") or {}
    tested |= {key: data.get(key) for key in ("test_segments", "test_crops")}
    return {"network": network, "trained": trained, "tested": tested}


def content(provenance: Mapping[str, Any]) -> tuple[Any, ...]:
    """What a run was trained on, as a value to compare: hashes of recipes, and shares."""
    if "recipe_hash" in provenance:
        return (provenance["recipe_hash"],)
    shares = provenance.get("shares") or ()
    return tuple((share["weight"], share.get("recipe_hash") or share.get("layout")) for share in shares)


@cache
def shipped(dataset: str) -> tuple[Any, ...] | None:
    """:func:`content` of a run on one of the 34 datasets as they come with vsr; None of others."""
    if dataset in PROGRESSION or dataset in VARIANTS:
        return (load_recipe(dataset).hash,)
    if dataset not in dataset_names():
        return None
    config = yaml.safe_load((CONFIGS / "pretrain" / f"{dataset}.yaml").read_text(encoding="utf-8"))
    shares = config["data"]["init_args"]["shares"]
    return tuple(
        (share["weight"], load_recipe(share["recipe"]).hash if "recipe" in share else share["layout"])
        for share in shares
    )


def recipe_change(provenance: Mapping[str, Any]) -> str | None:
    """In what the recipe of a run departs from the dataset that comes with vsr under its name; None: in nothing."""
    name = dataset_of(dict(provenance))
    known = None if name is None else shipped(name)
    if known is None or content(provenance) == known:
        return None
    own = provenance.get("recipe")
    if own is None or not (name in PROGRESSION or name in VARIANTS):
        return "other shares or recipes than the dataset's"
    usual = load_recipe(str(name))
    changed = []
    for field in Recipe.__dataclass_fields__:
        mine, theirs = _plain(own.get(field)), _plain(getattr(usual, field))
        if field not in ("name", "texture_folder") and mine != theirs:
            changed.append(f"{field} {mine} instead of {theirs}")
    return "; ".join(changed) or f"recipe {provenance['recipe_hash']} of another vsr"


def unlike(test: Test, measure: Measure) -> tuple[str, ...]:
    """In what a test's network, training and videos differ from those of the paper."""
    found, network, last = [], test.network, test.results
    if network.get("size") != measure.size:
        found.append(f"network {network.get('size') or 'unknown'} instead of {measure.size}")
    if network.get("patch_size", 16) != 16:
        found.append(f"patches of {network['patch_size']} px instead of 16")
    clip = last.get("clip") or {}
    if (clip.get("num_frames"), clip.get("size")) != (16, 224):
        found.append(f"clips of {clip.get('num_frames')} frames of {clip.get('size')} px instead of 16 of 224")
    if last.get("split") not in (1, None):
        found.append(f"split {last['split']} instead of 1")
    if last["classes"] != measure.classes or (measure.videos is not None and last["videos"] != measure.videos):
        listed = f"{measure.classes} classes" if measure.videos is None else f"{measure.videos:,} of {measure.classes}"
        found.append(f"{last['videos']:,} test videos of {last['classes']} classes instead of {listed}")
    if measure.layout != "csv" and (change := _tuning_change(test.chain[1] if test.checkpoints else {})) is not None:
        found.append(change)  # of Kinetics-400 the paper prints no settings
    if test.first.get("module") == "VideoMAE":
        if (change := recipe_change(test.first)) is not None:
            found.append(change)
        steps, batch = test.first.get("total_steps"), test.first.get("global_batch_size")
        usual = PRETRAINING[measure.size]
        if (steps, batch) != usual and dataset_of(test.first) not in NATURAL:
            known = "unknown" if steps is None else f"{steps:,}"
            found.append(f"{known} pre-training steps of {batch} clips instead of {usual[0]:,} of {usual[1]}")
    return tuple(found)


def _tuning_change(provenance: Mapping[str, Any]) -> str | None:
    """In what the length of a fine-tuning or a probe differs from the paper's; None: in nothing."""
    epochs, usual = TUNING.get(str(provenance.get("module")), (None, None))
    steps, batch, videos = (provenance.get(key) for key in ("total_steps", "global_batch_size", "videos"))
    if epochs is None:
        return None
    if batch and videos and steps == epochs * (videos // batch) and usual in (batch, None):
        return None
    known = "unknown" if steps is None else f"{steps:,}"
    of = f"{epochs} epochs" + ("" if usual is None else f" in steps of {usual}")
    return f"{known} fine-tuning or probing steps of {batch} videos instead of {of}"


def _is_of(test: Test, measure: Measure) -> bool:
    """Whether a test is one of a measure: by task and, where there are several, by the network's size."""
    last = test.results
    if (last.get("module"), last.get("layout")) != (measure.module, measure.layout):
        return False
    if measure.layout == "csv" and last["classes"] != measure.classes:
        return False  # lists of paths and labels are of any videos
    large = test.network.get("size") == "large"
    return large == (measure.size == "large")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
