"""What stands in the report: of real tiny runs, and of copies of them that are varied."""

import csv
import itertools
import json
import re
import shlex
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from statistics import mean, stdev

import pytest
from scipy import stats
from tiny_runs import NASTY

from vsr.analysis.figure4 import published_accuracies, relate
from vsr.analysis.measure import Number
from vsr.analysis.report import write_report as write_properties
from vsr.callbacks.run_folder import RESULTS_SCHEMA
from vsr.cli import main
from vsr.published import Result, figure3, results
from vsr.recipe import CONFIGS, PROGRESSION, VARIANTS, dataset_names
from vsr.report import write_report
from vsr.report.cells import MEASURES, shipped, unlike
from vsr.report.gallery import entry, groups
from vsr.report.runs import SCHEMAS, find

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
UCF101 = MEASURES["ucf101_finetune_vitb"].label


def rows(out: Path, name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((out / f"{name}.csv").read_text(encoding="utf-8").splitlines()))


def row(out: Path, name: str, dataset: str, measure: str = UCF101) -> dict[str, str]:
    (found,) = (r for r in rows(out, name) if r["dataset"] == dataset and r["measure"] == measure)
    return found


class Page(HTMLParser):
    """The elements of a page with their attributes, its text, and the tables' heads."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def every(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def report(real_runs, tmp_path_factory) -> Path:
    """The folder that ``vsr report`` writes of the real runs."""
    out = tmp_path_factory.mktemp("report")
    main(["report", str(real_runs), "--out", str(out)])
    return out


class TestRealRuns:
    def test_a_cell_has_published_ours_difference_and_interval(self, report, real_runs):
        made = json.loads((real_runs / "test/ucf101/default/results.json").read_text())
        found = row(report, "table1", "acc_shapes")
        ours = 100 * made["metrics"]["test_acc1"]
        assert (found["published"], found["runs"]) == ("88.1", "1")
        assert float(found["ours"]) == pytest.approx(ours)
        assert float(found["difference"]) == pytest.approx(ours - 88.1, abs=1e-3)
        low, high = (100 * end for end in made["intervals"]["test_acc1"])
        assert (float(found["low"]), float(found["high"])) == pytest.approx((low, high), abs=1e-3)
        for what in (
            "network tiny instead of base", "clips of 4 frames of 16 px instead of 16 of 224",
            "4 test videos of 2 classes instead of 3,783 of 101", "2 pre-training steps of 4 clips instead of 118,400",
        ):  # fmt: skip
            assert what in found["differs_from_paper"]
        line = f"| `acc_shapes` | 88.1 | {ours:.1f} † | {ours - 88.1:+.1f} | 1 | [{low:.1f}, {high:.1f}] |"
        assert line.replace("-", "−") in (report / "report.md").read_text(encoding="utf-8").replace("-", "−")

    def test_cells_that_were_not_run_say_so(self, report):
        for found in rows(report, "table1"):
            assert (found["ours"] == "not run") == (found["dataset"] != "acc_shapes" or found["measure"] != UCF101)
        assert "| `static_circles` | 67.8 | not run | – | 0 | – |" in (report / "report.md").read_text()
        assert "not run" in Page(report / "index.html").text

    def test_every_published_number_is_there(self, report):
        tables = [path.stem for path in report.glob("table*.csv")]
        assert sorted(tables) == sorted(f"table{n}" for n in (1, 2, 3, 4, 9, 10, 11, 12))
        shown = {
            (r["dataset"], r["measure"], float(r["published"]))
            for n in [*tables, "figure2"]
            for r in rows(report, n)
            if r["published"]
        }
        known = {
            (name, MEASURES[field].label, getattr(result, field))
            for name, result in results().items()
            for field in Result._fields[2:]
            if getattr(result, field) is not None
        }
        assert shown == known
        bars = {
            (r["corruption"], r["dataset"]): float(r["published"]) for r in rows(report, "figure3") if r["published"]
        }
        assert bars["freeze", "acc_stylegan"] == figure3()["freeze"].stylegan_crops == 26.36
        assert len(bars) == 45

    def test_a_dataset_of_ones_own_and_its_probe(self, report):
        probe = row(report, "own", NASTY, MEASURES["ucf101_linear_probe_vitb"].label)
        assert (probe["published"], probe["difference"], probe["runs"]) == ("", "", "1")
        assert float(probe["ours"]) in (0, 25, 50, 75, 100)

    def test_corruptions_are_in_figure_3(self, report, real_runs):
        made = json.loads((real_runs / "test/ucf101p/default/results.json").read_text())["cells"]["jpeg"]
        (found,) = (r for r in rows(report, "figure3") if r["corruption"] == "jpeg" and r["dataset"] == "acc_shapes")
        assert (float(found["ours"]), found["severity"]) == (pytest.approx(100 * made["3"]["acc1"]), "3")
        assert float(found["ours_mean"]) == pytest.approx(100 * made["mean"]["acc1"])
        assert float(found["low"]) == pytest.approx(100 * made["3"]["interval"][0], abs=1e-3)
        (found,) = (r for r in rows(report, "figure3") if r["corruption"] == "jpeg" and r["dataset"] == "acc_images")
        assert (found["published"], found["ours"]) == ("52.38", "not run")

    def test_the_same_network_tested_clean_and_corrupted_counts_once(self, report):
        assert row(report, "table1", "acc_shapes")["runs"] == "1"
        assert "counted once" not in (report / "report.md").read_text()

    def test_every_run_is_listed(self, report, real_runs):
        listed = {r["name"]: r for r in rows(report, "runs")}
        folders = {path.parent for name in ("results.json", "provenance.json") for path in real_runs.rglob(name)}
        assert set(listed) == {str(folder.relative_to(real_runs)) for folder in folders}
        assert listed["pretrain/acc_shapes/default"]["steps"] == listed["pretrain/acc_shapes/default"]["planned"] == "2"
        assert listed["pretrain/acc_shapes/default"]["done"] == "True"
        assert listed["test/ucf101/linear"]["trained_on"] == NASTY

    def test_doubt_about_half_the_speed_stands_beside_the_table(self, report):
        for text in ((report / "report.md").read_text(), Page(report / "index.html").text):
            said = text[text.index("Table 9") : text.index("Table 10")]
            assert "5 of 5 rows (84.9, 88.3, 88.3, 88.6, 90.9)" in said
            assert "what figure 2 gives for ViT-L" in said

    def test_names_do_no_harm(self, report):
        page, written = Page(report / "index.html"), (report / "report.md").read_text(encoding="utf-8")
        assert NASTY in page.text
        assert not any("onerror" in attributes or attributes.get("src") == "x" for _, attributes in page.elements)
        outside = re.sub(r"`[^`\n]*`", "", written)  # between back quotes, HTML is text
        assert "onerror" in written
        assert "<img" not in outside
        assert not any("`id`" in line for line in written.splitlines())
        own = [line for line in written.splitlines() if line.startswith("| ") and "onerror" in line]
        assert own
        assert {len(re.split(r"(?<!\\)\|", line)) for line in own} <= {8}
        assert not list(report.rglob("pwned"))

    def test_the_page_needs_nothing_else(self, report):
        page, source = Page(report / "index.html"), (report / "index.html").read_text(encoding="utf-8")
        assert not page.every("script")
        for tag, attributes in page.elements:
            for key in ("src", "href", "poster", "srcset"):
                place = attributes.get(key) or "#"
                assert place.startswith(("data:", "#")), (tag, place[:80])
        assert "url(" not in source
        assert "@import" not in source

    def test_the_page_can_be_read_aloud(self, report):
        page = Page(report / "index.html")
        assert page.every("html")[0]["lang"] == "en"
        assert len(page.every("caption")) == len(page.every("table"))
        assert all(head.get("scope") for head in page.every("th"))
        assert all(picture.get("alt") for picture in page.every("img"))
        assert all(film.get("aria-label") for film in page.every("video"))
        levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
        assert levels[0] == 1
        assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


class TestSeveralRuns:
    def test_seeds_are_averaged_with_students_interval(self, runs, further, tmp_path):
        first = json.loads((runs / "test/ucf101/default/results.json").read_text())["metrics"]["test_acc1"]
        further("one", 0.75, seed=1)
        further("two", 0.25, seed=2)
        write_report(runs, tmp_path / "out")
        found, values = row(tmp_path / "out", "table1", "acc_shapes"), [100 * first, 75.0, 25.0]
        assert found["runs"] == "3"
        assert float(found["ours"]) == pytest.approx(mean(values), abs=1e-3)
        half = stats.t(2).ppf(0.975) * stdev(values) / 3**0.5
        assert float(found["low"]) == pytest.approx(max(0, mean(values) - half), abs=1e-3)
        assert float(found["high"]) == pytest.approx(min(100, mean(values) + half), abs=1e-3)
        assert "different pairs of data seeds" not in (tmp_path / "out/report.md").read_text()

    def test_runs_of_one_seed_are_named(self, runs, further, tmp_path):
        further("again", 1.0)
        write_report(runs, tmp_path / "out")
        said = "2 tests with 1 different pair of data seeds, so not independent: test/ucf101/again, test/ucf101/default"
        assert said in (tmp_path / "out/report.md").read_text()

    def test_a_repeated_test_counts_once(self, runs, tmp_path):
        shutil.copytree(runs / "test/ucf101/default", runs / "test/ucf101/copy")
        write_report(runs, tmp_path / "out")
        assert row(tmp_path / "out", "table1", "acc_shapes")["runs"] == "1"
        assert "and is counted once" in (tmp_path / "out/report.md").read_text()

    def test_settings_are_not_mixed_and_the_papers_goes_first(self, runs, further, tmp_path):
        further("tiny", 0.0, seed=1)
        further("base", 0.75, seed=1, size="base")
        write_report(runs, tmp_path / "out")
        found = row(tmp_path / "out", "table1", "acc_shapes")
        assert (found["ours"], found["runs"]) == ("75", "1")
        assert "network" not in found["differs_from_paper"]
        written = (tmp_path / "out/report.md").read_text()
        assert "test/ucf101/default, test/ucf101/tiny: also UCF101, fine-tuned, ViT-B after acc_shapes" in written
        assert "test/ucf101/tiny" in written[written.index("## Other tests") :]

    def test_other_views_are_another_setting(self, runs, further, tmp_path):
        folder = further("one_view", 0.0, seed=1)
        config = (folder / "config.yaml").read_text()
        (folder / "config.yaml").write_text(re.sub(r"test_segments: \d+", "test_segments: 1", config))
        write_report(runs, tmp_path / "out")
        assert row(tmp_path / "out", "table1", "acc_shapes")["runs"] == "1"

    def test_a_shorter_fine_tuning_is_not_the_papers(self, runs, further, tmp_path):
        folder = further("short", 0.5)
        made = json.loads((folder / "results.json").read_text())
        for steps, alike in ((2, False), (100 * (9537 // 256), True)):
            made["starts_from"]["provenance"] |= {"total_steps": steps, "global_batch_size": 256, "videos": 9537}
            (folder / "results.json").write_text(json.dumps(made))
            (test,) = (test for test in find([runs]).tests if test.name == "test/ucf101/short")
            said = "2 fine-tuning or probing steps of 256 videos instead of 100 epochs in steps of 256"
            assert (said not in unlike(test, MEASURES["ucf101_finetune_vitb"])) == alike

    def test_a_network_corrupted_in_two_tests_is_one(self, runs, tmp_path):
        first, second = runs / "test/ucf101p/default", runs / "test/ucf101p/more"
        shutil.copytree(first, second)
        for folder, level, accuracy in ((first, "2", 0.75), (second, "5", 0.25)):
            made = json.loads((folder / "results.json").read_text())
            score = {"acc1": accuracy, "interval": [accuracy - 0.1, accuracy + 0.1]}
            (folder / "results.json").write_text(json.dumps(made | {"cells": {"jpeg": {level: score, "mean": score}}}))
        write_report(runs, tmp_path / "out")
        found = {b["corruption"]: b for b in rows(tmp_path / "out", "figure3") if b["dataset"] == "acc_shapes"}
        assert (found["jpeg"]["ours"], found["jpeg"]["severity"], found["jpeg"]["ours_mean"]) == ("25", "5", "50")
        assert (found["clean"]["tests"], found["jpeg"]["tests"], found["jpeg"]["low"]) == ("1", "1", "15")

    def test_a_test_may_lie_anywhere(self, runs):
        found = find([runs])
        test = replace(found.tests[0], folder=Path("/results"))
        assert found.run_of(test, "elsewhere/finetune/ucf101/default/checkpoints/last.ckpt") is not None

    def test_a_large_network_is_in_figure_2_only(self, runs, further, tmp_path):
        further("large", 0.75, size="large")
        write_report(runs, tmp_path / "out")
        assert row(tmp_path / "out", "table1", "acc_shapes")["runs"] == "1"
        assert row(tmp_path / "out", "figure2", "acc_shapes", MEASURES["ucf101_finetune_vitl"].label)["ours"] == "75"

    def test_lists_of_other_videos_are_not_kinetics(self, runs, further, tmp_path):
        further("lists", 0.75, layout="csv", classes=7)
        further("k400", 0.25, layout="csv", classes=400)
        write_report(runs, tmp_path / "out")
        found = {cell["dataset"]: cell for cell in rows(tmp_path / "out", "table4")}
        assert set(found) == {"random_init", "acc_images", "kinetics400"}
        written = (tmp_path / "out/report.md").read_text()
        others = written[written.index("## Other tests") :]
        assert "test/ucf101/lists" in others
        assert "test/ucf101/k400" in others  # pre-trained on a dataset that table 4 doesn't have

    def test_from_scratch_and_of_unknown_origin(self, runs, further, tmp_path):
        for name, accuracy, start in (
            ("scratch", 0.25, None),
            ("foreign", 0.75, {"checkpoint": "x.pth", "provenance": {}}),
        ):
            folder = further(name, accuracy)
            made = json.loads((folder / "results.json").read_text())
            made["starts_from"]["provenance"]["starts_from"] = start
            (folder / "results.json").write_text(json.dumps(made))
        write_report(runs, tmp_path / "out")
        assert row(tmp_path / "out", "table1", "random_init")["ours"] == "25"
        assert "`unknown: x.pth`" in (tmp_path / "out/report.md").read_text()

    def test_unfinished_runs_are_named_and_what_comes_from_them(self, runs, tmp_path):
        (runs / "pretrain/acc_shapes/default/done").unlink()
        provenance = runs / "pretrain/acc_shapes/default/provenance.json"
        provenance.write_text(json.dumps(json.loads(provenance.read_text()) | {"total_steps": 1000}))
        shutil.copytree(runs / "test/ucf101/default", runs / "test/ucf101/stopped")
        (runs / "test/ucf101/stopped/results.json").unlink()
        write_report(runs, tmp_path / "out")
        for text in ((tmp_path / "out/report.md").read_text(), Page(tmp_path / "out/index.html").text):
            assert "pretrain/acc_shapes/default is not finished: 2 of 1,000 steps were logged" in text
            assert (
                "test/ucf101/default tests a network that comes from pretrain/acc_shapes/default, which is not" in text
            )
            assert "test/ucf101/stopped: a test without results.json" in text

    def test_mixed_code_and_recipes_are_named(self, runs, further, tmp_path):
        for file in [*runs.rglob("results.json"), *runs.rglob("provenance.json")]:
            file.write_text(re.sub('"commit": [^,]*', '"commit": "abc"', file.read_text()))
        further("later", 0.5, seed=5, commit="0123456789ab-dirty")
        odd = runs / "pretrain/acc_shapes/odd"
        shutil.copytree(runs / "pretrain/acc_shapes/default", odd)
        made = json.loads((odd / "provenance.json").read_text())
        made["recipe"]["num_objects"], made["recipe_hash"] = 7, "0" * 16
        (odd / "provenance.json").write_text(json.dumps(made))
        write_report(runs, tmp_path / "out")
        written = (tmp_path / "out/report.md").read_text()
        assert re.search("Different code ran: abc by .*; 0123456789ab-dirty by test/ucf101/later\n", written)
        assert "changes that were not committed: test/ucf101/later" in written
        assert "num_objects 7 instead of 500: pretrain/acc_shapes/odd" in written
        assert "as it comes with vsr: pretrain/acc_shapes/default" in written

    def test_runs_of_one_name_are_told_apart(self, runs, tmp_path):
        Path(shutil.copytree(runs, tmp_path / "more") / "pretrain/acc_shapes/default/done").unlink()
        page = write_report([runs, tmp_path / "more"], tmp_path / "out")
        written = (tmp_path / "out/report.md").read_text()
        assert f"{tmp_path}/more/pretrain/acc_shapes/default is not finished" in written
        assert f"{tmp_path}/more/test/ucf101/default tests a network that comes from {tmp_path}/more" in written
        assert f"{runs}/test/ucf101/default tests a network" not in written
        assert page == tmp_path / "out/index.html"


def test_figure_4_comes_from_properties(runs, tmp_path):
    names = ["static_circles", "moving_circles", "acc_shapes", "acc_textures"]
    numbers = [Number(name, "fid", 9.0 - k, None, "", 9, "frames", 0, "made up") for k, name in enumerate(names)]
    known = published_accuracies()
    write_properties(runs / "measured", numbers, {}, relate(numbers, known.percent), known)
    write_report(runs, tmp_path / "out")
    (found,) = rows(tmp_path / "out", "figure4")
    r = stats.pearsonr([9, 8, 7, 6], [known.percent[name] for name in names]).statistic
    assert found["correlation"].startswith(f"r = {r:+.2f}")
    assert "paper -0.72" in found["correlation"]
    page = Page(tmp_path / "out/index.html")
    assert sum(attributes.get("class") == "dot" for attributes in page.every("circle")) == 4


class TestBadInput:
    def refused(self, capsys, *words: object) -> str:
        with pytest.raises(SystemExit) as stopped:
            main(["report", *map(str, words)])
        assert stopped.value.code == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if "vsr: error:" in line]
        assert len(lines) == 1
        return lines[0]

    def test_no_runs(self, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        assert "no folder runs here: give folders with runs, or --gallery" in self.refused(capsys)
        assert "no folder nowhere: give folders with runs" in self.refused(capsys, "nowhere")
        (tmp_path / "runs").mkdir()
        assert "no runs in runs: give folders that vsr fit or vsr test has written" in self.refused(capsys)
        (tmp_path / "runs/results.json").write_text("{")
        assert "no runs that can be read (runs: results.json can't be read" in self.refused(capsys)
        assert not (tmp_path / "report").exists()

    def test_a_place_that_can_not_be_written(self, runs, capsys):
        assert "can't write to /proc/none" in self.refused(capsys, runs, "--out", "/proc/none")
        taken = runs / "test/ucf101/default/results.json"
        assert f"can't write to {taken}" in self.refused(capsys, runs, "--out", taken)

    def test_texture_folder_that_is_not_there(self, tmp_path, capsys):
        said = self.refused(capsys, "--gallery", "--texture_folder", "nowhere", "--out", tmp_path / "out")
        assert "texture folder nowhere does not exist" in said

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ('{"schema": 2, "metr', "results.json can't be read"),
            ("[]", "results.json is damaged: it holds no object"),
            ("{}", "results.json has schema None"),
            ('{"schema": 99}', "results.json has schema 99, of which 2 is the newest known here: a newer vsr wrote it"),
            ('{"schema": 2}', "results.json is damaged: KeyError 'metrics'"),
            ('{"schema": 2, "metrics": {"test_acc1": "x"}}', "results.json is damaged"),
            ('{"schema": 2, "metrics": {"test_acc1": 7}, "videos": 1, "classes": 2}', "an accuracy of 700.0 %"),
            ('{"schema": 2, "metrics": {"test_acc1": NaN}, "videos": 1, "classes": 2}', "an accuracy of nan %"),
            ('{"schema": 2, "metrics": {"test_acc1": 0.5}, "videos": 1, "classes": 2, "starts_from": 3}', "is damaged"),
            ('{"schema": 2, "metrics": {"test_acc1": 0.5}, "videos": 1}', "is damaged: KeyError 'classes'"),
            (
                '{"schema": 2, "metrics": {"test_acc1": 0.5}, "videos": 1, "classes": 2, '
                '"cells": {"jpeg": {"5": {"acc1": 0.5}}}}',
                "is damaged: KeyError 'interval'",
            ),
        ],
    )
    def test_damaged_and_newer_results_are_left_out_and_named(self, runs, tmp_path, content, message):
        (runs / "test/ucf101/linear/results.json").write_text(content)
        found = find([runs])
        assert [test.name for test in found.tests] == ["test/ucf101/default", "test/ucf101p/default"]
        assert message in found.unread[str(runs / "test/ucf101/linear")]

    def test_other_damaged_files(self, runs, tmp_path):
        (runs / "pretrain/acc_shapes/default/provenance.json").write_text("oops")
        (runs / "finetune/ucf101/default/metrics.csv").write_bytes(b"step,loss\n0,1.0\n1,\xff\n2")
        (runs / "test/ucf101/default/config.yaml").write_text("a: [")
        (runs / "properties.json").write_text('{"schema": 1, "numbers": [{"dataset": 3}]}')
        write_report(runs, tmp_path / "out")
        written = (tmp_path / "out/report.md").read_text()
        assert "pretrain/acc_shapes/default: provenance.json can't be read" in written
        assert "properties.json: properties.json is damaged" in written
        assert "network unknown instead of base" in row(tmp_path / "out", "table1", "acc_shapes")["differs_from_paper"]

    def test_schemas_are_those_that_are_written(self):
        assert max(SCHEMAS) == RESULTS_SCHEMA


class TestGallery:
    @pytest.mark.parametrize("name", dataset_names())
    def test_an_entry_is_what_the_config_says(self, name):
        found = entry(name)
        command = shlex.split(found.command)
        assert command[:4] == ["vsr", "fit", "--config", f"configs/pretrain/{name}.yaml"]
        assert (CONFIGS / "pretrain" / f"{name}.yaml").is_file()
        assert found.claim.endswith(".")
        assert ("--texture_folder" in command) == ("images" in name)
        assert ("--data.videos" in command) == ("ucf101" in name)
        fields = PROGRESSION.get(name) or VARIANTS.get(name, (None, frozenset()))[1]
        assert {change.field for change in found.changes} == set(fields)
        assert all(change.before != change.after for change in found.changes)
        assert bool(found.shares) == (name not in PROGRESSION and name not in VARIANTS)
        assert shipped(name) is not None

    def test_all_34_are_shown_once(self):
        shown = [name for names in groups().values() for name in names]
        assert sorted(shown) == dataset_names()
        assert shown[: len(PROGRESSION)] == list(PROGRESSION)

    def test_changes_in_words(self):
        words = {change.field: (change.before, change.after) for change in entry("acc_textures").changes}
        assert words == {"fill": ("color", "texture"), "num_videos": ("endless", "9,537")}
        assert entry("moving_circles").changes[0].after == "1.2 to 3 px/frame"
        assert entry("acc_shapes_ucf101_25pct").shares == ("75 % acc_shapes", "25 % natural videos of UCF101")
