import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from vsr.analysis.figure4 import caption, own_accuracies, plot, published_accuracies, relate
from vsr.analysis.measure import Number
from vsr.errors import InputError


def numbers(values, name="fid") -> list[Number]:
    return [Number(dataset, name, x, None, "", 9, "frames", 0, "made up") for dataset, x in values.items()]


def points(xs) -> dict[str, float]:
    return {f"d{k}": float(x) for k, x in enumerate(xs)}


class TestRelation:
    def test_correlates_and_predicts(self):
        xs, ys = points([1, 2, 3, 4, 5]), points([70, 78, 77, 85, 88])
        (found,) = relate(numbers(xs | {"new": 2.5, "far": 9.0}), ys)
        r = np.corrcoef(list(xs.values()), list(ys.values()))[0, 1]
        assert found.r == pytest.approx(r)
        ends = np.tanh(np.arctanh(r) + np.array([-1, 1]) * stats.norm.ppf(0.975) / np.sqrt(2))
        assert found.interval == pytest.approx(tuple(ends))
        assert found.beyond == ("far",)
        x, low, high = found.predictions["new"]
        assert (x, (low + high) / 2) == (2.5, pytest.approx(66.7 + 4.3 * 2.5))
        assert found.predictions["far"][2] == 100.0
        assert "paper -0.72" in caption(found)

    def test_prediction_intervals_hold_what_they_promise(self):
        rng, held = np.random.default_rng(0), 0
        for _ in range(400):
            xs = rng.uniform(0, 1, 9)
            ys = 60 + 20 * xs + rng.normal(0, 2, 9)
            (found,) = relate(numbers(points(xs)), dict(list(points(ys).items())[:8]))
            _, low, high = found.predictions["d8"]
            held += low <= ys[8] <= high
        assert 0.92 < held / 400 < 0.98

    def test_says_what_it_can_not_know(self):
        (two,) = relate(numbers(points([1, 2])), points([70, 80]))
        assert two.r is None
        assert caption(two) == "2 datasets with an accuracy: r needs 3 or more"
        (three,) = relate(numbers(points([1, 2, 4])), points([70, 80, 75]))
        assert three.interval is None
        assert "no interval" in caption(three)
        (same,) = relate(numbers(points([2, 2, 2])), points([70, 80, 75]))
        assert "the same value" in caption(same)
        assert relate(numbers({"a": None}), {"a": 1.0}) == []

    def test_is_plotted(self, tmp_path):
        found = relate(
            numbers(points([1, 2, 3, 4]) | {"new": 2.0}) + numbers(points([4, 2, 1, 3]), "fvd"), points([1, 2, 3, 5])
        )
        figure = plot(found, "made up")
        assert [axes.get_xlabel() for axes in figure.axes] == ["FID", "FVD"]
        figure.savefig(tmp_path / "figure4.png")


def test_published_accuracies():
    found = published_accuracies().percent
    assert found["static_circles"] == 67.8
    assert "kinetics400" not in found


class TestOwnAccuracies:
    def run(self, folder: Path, accuracy, dataset, module="ActionClassifier", tested="ucf101"):
        first = {"module": "VideoMAE", "recipe": {"name": dataset}}
        tuned = {"module": module, "dataset": tested, "starts_from": {"provenance": first}}
        content = {"metrics": {"test_acc1": accuracy}, "module": module, "dataset": tested}
        folder.mkdir(parents=True)
        text = json.dumps(content | {"starts_from": {"checkpoint": "x", "provenance": tuned}})
        (folder / "results.json").write_text(text)

    def test_are_read(self, tmp_path):
        self.run(tmp_path / "a", 0.5, "acc_shapes")
        self.run(tmp_path / "b" / "c", 0.25, "mine")
        (tmp_path / "results.json").write_text('{"metrics": {"val_acc1": 0.1}}')
        found = own_accuracies(tmp_path)
        assert found.percent == {"acc_shapes": 50.0, "mine": 25.0}
        assert found.source.endswith("tested on ActionClassifier on ucf101")

    def test_are_of_one_kind(self, tmp_path):
        with pytest.raises(InputError, match=r"has no results\.json of vsr test"):
            own_accuracies(tmp_path)
        self.run(tmp_path / "a", 0.5, "acc_shapes")
        self.run(tmp_path / "b", 0.4, "moving_shapes", tested="hmdb51")
        with pytest.raises(InputError, match=r"tests on ActionClassifier on ucf101 and ActionClassifier on hmdb51"):
            own_accuracies(tmp_path)
        self.run(tmp_path / "c", 0.4, "acc_shapes")
        with pytest.raises(InputError, match="two tests of 'acc_shapes'"):
            own_accuracies(tmp_path)
