"""The report of a test under corruptions: its numbers by hand, its files, and what it refuses."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from corrupted_runs import Told, ToldClips, small_answers, told_test
from matplotlib.colors import to_rgb
from PIL import Image

from vsr.callbacks.robustness import averages, paired_interval, results, right_answers, scores
from vsr.callbacks.robustness_report import COLOURS, FILES, chart, page, unlike_published
from vsr.callbacks.run_folder import wilson_interval
from vsr.corruptions import FIGURE, PERTURBATIONS, cells
from vsr.errors import InputError
from vsr.published import figure3
from vsr.sweep.cells import result_of

pytestmark = pytest.mark.filterwarnings("ignore")
ASKED = cells(["shot_noise", "gaussian_noise", "zoom_blur"], [1, 3])
RIGHT = np.array([
    # clean, shot 1, shot 3, gaussian 1, gaussian 3, zoom 1, zoom 3
    [1, 1, 0, 1, 0, 1, 1],
    [1, 1, 1, 1, 0, 1, 1],
    [1, 0, 0, 0, 0, 1, 1],
    [0, 0, 1, 0, 0, 1, 0],
], dtype=bool)  # fmt: skip


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    told_test(folder, ToldClips(*small_answers()))
    return folder


def table(folder):
    with (folder / "robustness.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_scores_of_four_videos_are_those_by_hand():
    every = {(s.perturbation, s.severity): s for s in scores(RIGHT, ASKED)}
    assert list(every)[:4] == [("clean", 0), ("shot_noise", 1), ("shot_noise", 3), ("shot_noise", None)]
    clean, shot, mean = (every[key] for key in (("clean", 0), ("shot_noise", 1), ("zoom_blur", None)))
    assert clean[:6] == ("clean", "", 0, 4, 3, 0.75)
    assert (clean.relative, clean.absolute, clean.change, clean.change_low, clean.change_high) == (1, 1, 0, 0, 0)
    assert shot[:6] == ("shot_noise", "noise", 1, 4, 2, 0.5)
    assert (shot.low, shot.high) == wilson_interval(0.5, 4)
    assert (shot.relative, shot.absolute, shot.change) == (pytest.approx(2 / 3), 0.75, -0.25)
    # of the videos' changes 0, 0, -1, 0: -1 / 6 and 1.96 sqrt(1 + 1 - 1 / 6) / 6
    assert (shot.change_low, shot.change_high) == pytest.approx((-1 / 6 - 0.44231, -1 / 6 + 0.44231), abs=1e-5)
    # right at both, both, both, one of two severities
    assert mean[:6] == ("zoom_blur", "blur", None, 4, 3.5, 0.875)
    assert (mean.relative, mean.absolute) == (pytest.approx(7 / 6), 1.125)
    # of the changes 0, 0, 0, 1/2: 1/2 / 6 and 1.96 sqrt(1/4 + 1 - 1/4 / 6) / 6
    assert (mean.change_low, mean.change_high) == pytest.approx((1 / 12 - 0.35908, 1 / 12 + 0.35908), abs=1e-5)


def test_a_category_is_the_mean_of_its_perturbations_means():
    found = averages(scores(RIGHT, ASKED))
    assert list(found) == ["noise", "blur", "all"]
    # shot: (2 + 2) / 8, gaussian: (2 + 0) / 8; zoom 7 / 8; clean 3 / 4
    assert found["noise"] == (2, pytest.approx(3 / 8), pytest.approx(1 / 2), pytest.approx(1 - 3 / 8))
    assert found["all"] == (3, pytest.approx(13 / 24), pytest.approx(13 / 18), pytest.approx(1 - 5 / 24))


def test_nothing_is_relative_to_an_accuracy_of_nothing():
    right = RIGHT.copy()
    right[:, 0] = False
    every = scores(right, ASKED)
    assert {s.relative for s in every} == {a.relative for a in averages(every).values()} == {None}
    assert every[1].absolute == 1.5
    assert "| noise | 2 | 37.5 | – | 1.375 |" in page(every, "ours", [])
    assert json.dumps(results(every)).count('"relative": null') == 9 + 3


def test_intervals_of_paired_changes():
    """Agresti, "Categorical Data Analysis", matched pairs: approval by 1600 people, 150 lost and 86 won."""
    change = np.repeat([-1.0, 1.0, 0.0], [150, 86, 1364])
    assert paired_interval(change) == pytest.approx((-0.059, -0.022), abs=1e-3)
    low, high = paired_interval(np.zeros(3))
    assert low == -high
    assert 0.3 < high < 0.5


def told_rows(right, asked):
    columns = [0, *(cell.number for cell in asked)]
    kind = [("video", "i8"), ("cell", "i4"), ("right", "?")]
    rows = [(v, c, right[v, k]) for k, c in enumerate(columns) for v in range(len(right))]
    return np.random.default_rng(0).permutation(np.array(rows, dtype=kind))


def test_answers_are_sorted_by_video_and_cell():
    assert (right_answers(told_rows(RIGHT, ASKED), ASKED, 4) == RIGHT).all()


@pytest.mark.parametrize(
    ("change", "listed", "said"),
    [
        (lambda r: r[~((r["video"] == 2) & (r["cell"] == ASKED[3].number))], 4,
         "of 4 videos under gaussian_noise at severity 3: 1 missing and 0 double: every"),
        (lambda r: np.concatenate([r, r[(r["cell"] == ASKED[0].number) & (r["video"] < 3)]]), 4,
         "of 4 videos under shot_noise at severity 1: 0 missing and 3 double: every"),
        (lambda r: r[r["cell"] != 0], 0, "under clean videos: 4 missing and 0 double"),
        (lambda r: r[r["video"] != 1], 4, "under clean videos: 1 missing and 0 double, and 6 other cells likewise"),
        (lambda r: r[:0], 0, "of 0 videos under no cell"),
    ],
)  # fmt: skip
def test_a_missing_or_double_answer_is_refused(change, listed, said):
    rows = change(told_rows(RIGHT, ASKED))
    with pytest.raises(InputError, match=said):
        right_answers(rows, ASKED, listed)


def test_limited_tests_are_of_the_videos_that_were_shown():
    rows = told_rows(RIGHT, ASKED)
    assert (right_answers(rows[rows["video"] != 1], ASKED, 0) == RIGHT[[0, 2, 3]]).all()


def test_a_test_writes_its_report(reported):
    right, _ = small_answers()
    rows, found = table(reported), json.loads((reported / "results.json").read_text())
    assert [(r["perturbation"], r["severity"]) for r in rows] == [
        ("clean", "0"),
        *((name, level) for name in ("zoom_blur", "gaussian_noise") for level in ("2", "5", "mean")),
        ("reverse", "1"), ("reverse", "mean"), *(("mpeg1", level) for level in ("2", "5", "mean")),
    ]  # fmt: skip
    single = [r for r in rows if r["severity"] != "mean"]
    assert [float(r["acc1"]) for r in single] == pytest.approx(right.mean(axis=0), abs=1e-5)
    assert {r["videos"] for r in rows} == {"7"}
    assert (found["schema"], found["videos"]) == (2, 7)
    for row in rows[1:]:
        cell = found["cells"][row["perturbation"]][row["severity"]]
        for key in ("acc1", "relative", "absolute", "change"):
            assert cell[key] == pytest.approx(float(row[key]), abs=1e-5)
        assert cell["interval"] == pytest.approx([float(row["low"]), float(row["high"])], abs=1e-5)
    assert list(found["categories"]) == ["blur", "noise", "temporal", "digital", "all"]


def test_the_page_has_the_figure_beside_it_and_says_what_was_not_run(reported):
    text = (reported / "robustness.md").read_text()
    rows = {line.split(" | ")[0][2:]: line.split(" | ")[1:] for line in text.splitlines() if line.startswith("| ")}
    perturbations = [name for name in rows if name in PERTURBATIONS]
    assert perturbations == [*FIGURE, "mpeg1"]
    for name, bars in figure3().items():
        assert [float(word.strip(" |")) for word in rows[name][-3:]] == list(bars)
    right, _ = small_answers()
    assert rows["zoom_blur"][1] == f"{100 * right[:, 1].mean():.1f}"
    assert rows["gaussian_noise"][0] == rows["freeze"][5] == "not run"
    assert rows["reverse"][1:5] == ["–"] * 4
    assert "±0.05" in text
    assert "severity not stated" in text
    assert "They are of another network and other data than ours." in text
    assert "7 videos of told" in text


def test_only_the_published_network_on_the_published_videos_is_the_same():
    asked, right = cells(["reverse"]), np.ones((3783, 2), dtype=bool)
    data, module = ToldClips(right, asked), Told("base", 224, 16, 16)
    assert unlike_published(scores(right, asked), module, data) == []
    assert unlike_published(scores(right[1:], asked), module, data) == ["other data"]
    assert unlike_published(scores(right, asked), Told(), data) == ["another network"]


def test_the_chart_shows_every_bar(reported):
    right, asked = small_answers()
    picture = np.asarray(Image.open(reported / FILES[2]).convert("RGB")).astype(int)
    assert picture.shape == (640, 1600, 3)
    for colour in COLOURS.values():
        assert (np.abs(picture - np.multiply(to_rgb(colour), 255)).max(axis=2) < 2).sum() > 1000
    every = scores(right, asked)
    strong, mean, *published = (c for c in chart(every, "ours", []).axes[0].containers if hasattr(c, "patches"))
    highest = {s.perturbation: 100 * s.acc1 for s in every if s.severity is not None}
    assert [bar.get_height() for bar in strong] == pytest.approx(list(highest.values()))
    several = [100 * s.acc1 for s in every if s.severity is None and s.perturbation != "reverse"]
    assert [bar.get_height() for bar in mean] == pytest.approx(several)
    for place, bars in enumerate(published):
        assert [bar.get_height() for bar in bars] == [heights[place] for heights in figure3().values()]
    names = ["clean", *FIGURE, "mpeg1"]
    assert [round(bar.get_x() + bar.get_width() / 2 + 0.25) for bar in strong] == [names.index(n) for n in highest]
    ends = np.array([line.get_ydata() for line in strong.errorbar.lines[1]][:2]).T
    assert ends[0] == pytest.approx([100 * every[0].low, 100 * every[0].high])


@pytest.mark.slow
def test_two_processes_report_what_one_does(reported, tmp_path):
    """The rows of each video are spread over both; one has a row more."""
    command = [sys.executable, "-W", "ignore", str(Path(__file__).with_name("corrupted_runs.py")), str(tmp_path), "2"]
    subprocess.run(command, check=True, timeout=300)
    for name in ("robustness.csv", "robustness.md", "predictions.csv", "predictions.parquet", "results.json"):
        assert (tmp_path / name).read_bytes() == (reported / name).read_bytes()


def test_a_refused_report_leaves_none_behind(tmp_path):
    right, asked = small_answers()
    told_test(tmp_path, ToldClips(right, asked))
    with pytest.raises(InputError, match=r"of 7 videos under .* 1 missing and 0 double"):
        told_test(tmp_path, ToldClips(right, asked, rows=range(1, right.size)))
    assert not any((tmp_path / name).exists() for name in FILES)
    assert "cells" not in json.loads((tmp_path / "results.json").read_text())


def test_other_tests_have_no_report(tmp_path):
    told_test(tmp_path, ToldClips(np.ones((4, 1), dtype=bool), None))
    assert not any((tmp_path / name).exists() for name in FILES)
    assert json.loads((tmp_path / "results.json").read_text())["videos"] == 4


def test_a_sweep_takes_only_a_reported_test_for_done(tmp_path):
    """One that was refused, or killed before its report, has a results.json, too."""
    right, asked = small_answers()
    folder = tmp_path / "test" / "ucf101p" / "acc_shapes"
    done = tmp_path / result_of("test_ucf101p", "acc_shapes", "ucf101")
    with pytest.raises(InputError, match="no robustness is reported"):
        told_test(folder, ToldClips(right, asked, rows=range(1, right.size)))
    assert not done.exists()
    told_test(folder, ToldClips(right, asked))
    assert done.exists()
    assert done.name == Path(FILES[-1]).name
