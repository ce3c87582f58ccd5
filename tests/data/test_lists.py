import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vsr.data import lists
from vsr.data.lists import Item, read_split
from vsr.errors import InputError

DATA = Path(os.environ.get("VSR_TEST_DATA", Path(__file__).parents[2] / "../shared/data"))
real_data = pytest.mark.skipif(not (DATA / "lists").is_dir(), reason=f"no real lists in {DATA} (VSR_TEST_DATA)")

Tree = Callable[[dict[str, str]], Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Writes files: path to content; a path that ends in / is an empty folder."""

    def write(files: dict[str, str]) -> Path:
        for name, content in files.items():
            path = tmp_path / name
            if name.endswith("/"):
                path.mkdir(parents=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8", newline="")
        return tmp_path

    return write


def read(root: Path, layout: Any, subset: Any = "train", split: int = 1, where: str | None = "lists") -> Any:
    """Classes, and items as (path below videos, label)."""
    classes, items = read_split(layout, root / "videos", where and root / where, split, subset)
    return classes, [(item.path.relative_to(root / "videos").as_posix(), item.label) for item in items]


def error(root: Path, layout: Any, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(root, layout, *args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


UCF101 = {
    "lists/classInd.txt": "1 Zumba\r\n2 Archery\r\n",  # not alphabetical
    "lists/trainlist01.txt": "Archery/v_a b.avi 2\r\nZumba/z.avi 1\r\n\r\n",
    "lists/trainlist02.txt": "Zumba/z.avi 1\n",
    "lists/testlist01.txt": "Zumba/t.avi\r\n",
    "videos/Archery/v_a b.avi": "",
    "videos/Zumba/z.avi": "",
    "videos/Zumba/t.avi": "",
}


def test_ucf101_keeps_the_order_of_the_index_and_of_the_list(tree: Tree) -> None:
    root = tree(UCF101)
    assert read(root, "ucf101") == (["Zumba", "Archery"], [("Archery/v_a b.avi", 1), ("Zumba/z.avi", 0)])
    assert read(root, "ucf101", split=2)[1] == [("Zumba/z.avi", 0)]
    assert read(root, "ucf101", "test")[1] == [("Zumba/t.avi", 0)]


def test_ucf101_class_names_may_differ_in_case_as_the_published_ones_do(tree: Tree) -> None:
    changes = {"lists/testlist01.txt": "zumbA/v_Zumba.avi\n", "videos/zumbA/v_Zumba.avi": ""}
    assert read(tree(UCF101 | changes), "ucf101", "test")[1] == [("zumbA/v_Zumba.avi", 0)]


def test_ucf101_and_hmdb51_validate_on_the_test_list(tree: Tree) -> None:
    root = tree(UCF101 | {f"hmdb/{name}": text for name, text in HMDB51.items()})
    assert read(root, "ucf101", "val") == read(root, "ucf101", "test")
    assert read(root / "hmdb", "hmdb51", "val") == read(root / "hmdb", "hmdb51", "test")


@pytest.mark.parametrize(
    ("changes", "subset", "words"),
    [
        (
            {"lists/trainlist01.txt": "Zumba/z.avi 2\n"},
            "train",
            ["trainlist01.txt, line 1", "Zumba is number 1"],
        ),
        (
            {"lists/trainlist01.txt": "\nArchary/v_a b.avi 2\n"},
            "train",
            ["trainlist01.txt, line 2", "'Archary'", "classInd.txt", "did you mean 'Archery'?"],
        ),
        (
            {"lists/trainlist01.txt": "Zumba/z.avi\n"},
            "train",
            ["trainlist01.txt, line 1", "'Class/file.avi 1'"],
        ),
        ({"lists/testlist01.txt": "t.avi\n"}, "test", ["testlist01.txt, line 1", "'t.avi'"]),
        ({"lists/trainlist01.txt": "\n"}, "train", ["train list of split 1 is empty"]),
        ({"lists/classInd.txt": "1 Zumba\n3 Archery\n"}, "train", ["classInd.txt, line 2", "'2 Name'"]),
        ({"lists/classInd.txt": "1 Zumba\n2 zumba\n"}, "train", ["classInd.txt", "twice"]),
        (
            {"lists/trainlist01.txt": "Zumba/z.avi 1\nZumba/lost.avi 1\nArchery/gone.avi 2\n"},
            "train",
            ["2 of 3 videos are missing", "Zumba/lost.avi", "trainlist01.txt, line 2"],
        ),
    ],
)
def test_ucf101_errors(tree: Tree, changes: dict[str, str], subset: str, words: list[str]) -> None:
    message = error(tree(UCF101 | changes), "ucf101", subset)
    for word in words:
        assert word in message


def test_a_missing_index_and_an_unknown_split_are_named(tree: Tree) -> None:
    root = tree(UCF101)
    assert "split 4" in error(root, "ucf101", split=4)
    assert "choose one of 1, 2" in error(root, "ucf101", split=4)
    (root / "lists/classInd.txt").unlink()
    assert "classInd.txt: no such file" in error(root, "ucf101")


HMDB51 = {
    "lists/climb_stairs_test_split1.txt": "b#&[x] y.avi 1 \nc.avi 2 \n",
    "lists/climb_test_split1.txt": "a(1)!.avi 1 \nt.avi 2 \nu.avi 0 \n",
    "lists/climb_test_split2.txt": "t.avi 1 \n",
    "lists/climb_stairs_test_split2.txt": "c.avi 0 \n",
    "videos/climb_stairs/b#&[x] y.avi": "",
    "videos/climb_stairs/c.avi": "",
    "videos/climb/a(1)!.avi": "",
    "videos/climb/t.avi": "",
}


def test_hmdb51_sorts_by_class_and_knows_train_test_and_unused(tree: Tree) -> None:
    root = tree(HMDB51)  # by file name, climb_stairs_test… would come before climb_test…
    expected = [("climb/a(1)!.avi", 0), ("climb_stairs/b#&[x] y.avi", 1)]
    assert read(root, "hmdb51") == (["climb", "climb_stairs"], expected)
    assert read(root, "hmdb51", "test")[1] == [("climb/t.avi", 0), ("climb_stairs/c.avi", 1)]
    assert read(root, "hmdb51", split=2)[1] == [("climb/t.avi", 0)]


def test_hmdb51_errors(tree: Tree) -> None:
    root = tree(HMDB51)
    assert "choose one of 1, 2" in error(root, "hmdb51", split=3)
    (root / "lists/climb_stairs_test_split2.txt").unlink()  # or climb_stairs' label would go to another class
    assert "climb_stairs_test_split2.txt: no such file" in error(root, "hmdb51", split=2)
    (root / "lists/climb_test_split1.txt").write_text("a(1)!.avi 3 \n")
    assert "climb_test_split1.txt, line 1: 'a(1)!.avi 3'" in error(root, "hmdb51")
    assert "no such file" in error(root, "hmdb51", where="videos")


@pytest.mark.parametrize(
    ("layout", "name", "group"),
    [
        ("ucf101", "b/v_b_g08_c01.avi", "g08"),
        ("ucf101", "b/holiday.avi", None),
        ("hmdb51", "b/Big_b_fish_b_f_cm_np1_fr_med_12.avi", "Big_b_fish"),
        ("hmdb51", "b/Big_b_fish_u_nm_np2_le_goo_0.avi", None),  # not of this class
        ("csv", "b/v_b_g08_c01.avi", None),
    ],
)
def test_what_a_video_was_cut_from(tree: Tree, layout: Any, name: str, group: str | None) -> None:
    file = name.split("/")[1]
    lists = {
        "lists/classInd.txt": "1 b\n", "lists/trainlist01.txt": f"{name} 1\n", "lists/b_test_split1.txt": f"{file} 1\n",
        "lists/train.csv": f"{name} 0\n",
    }  # fmt: skip
    root = tree({f"videos/{name}": "", **lists})
    (item,) = read_split(layout, root / "videos", root / "lists", 1, "train")[1]
    assert item.group == group


CSV = {
    "lists/train.csv": "b/x y.mp4 2\na, b.mp4,0\nb/z.mp4, 1\n",
    "lists/val.csv": "v.mp4 4\n",
    "videos/b/x y.mp4": "",
    "videos/b/z.mp4": "",
    "videos/a, b.mp4": "",
    "videos/v.mp4": "",
}


def test_csv_takes_the_label_after_the_last_separator(tree: Tree) -> None:
    root = tree(CSV)
    classes, items = read(root, "csv")
    assert items == [("b/x y.mp4", 2), ("a, b.mp4", 0), ("b/z.mp4", 1)]
    assert classes == ["0", "1", "2", "3", "4"]  # the largest label is in val.csv


def test_csv_paths_may_be_absolute_and_classes_named(tree: Tree, tmp_path: Path) -> None:
    away = tmp_path / "elsewhere" / "w.mp4"
    away.parent.mkdir()
    away.touch()
    root = tree({"videos/train.csv": f"{away} 1\n", "videos/classes.txt": "walk\nrun far\n"})
    classes, items = read_split("csv", root / "videos", None, 1, "train")
    assert classes == ["walk", "run far"]
    assert items == [Item(away, 1)]


def test_csv_val_and_test_stand_in_for_each_other_and_say_so(tree: Tree, caplog: pytest.LogCaptureFixture) -> None:
    root = tree(CSV)
    assert read(root, "csv", "val")[1] == [("v.mp4", 4)]
    assert not caplog.records
    assert read(root, "csv", "test")[1] == [("v.mp4", 4)]
    assert "test.csv is missing, val.csv stands in" in caplog.text
    (root / "lists/val.csv").unlink()
    assert "test.csv: no such file: provide it (or val.csv)" in error(root, "csv", "test")
    (root / "lists/train.csv").unlink()
    assert "train.csv: no such file" in error(root, "csv")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lists/train.csv": "v.mp4 0\nv.mp4 one\n"}, ["train.csv, line 2", "'v.mp4 one'"]),
        ({"lists/train.csv": "v.mp4 -1\n"}, ["train.csv, line 1", "'v.mp4 -1'"]),
        ({"lists/train.csv": "v.mp4\n"}, ["train.csv, line 1"]),
        ({"lists/train.csv": ""}, ["train list of split 1 is empty"]),
        ({"lists/train.csv": "v.mp4 0\n w.mp4 0\n"}, ["1 of 2 videos are missing", "w.mp4", "line 2"]),
        (
            {"lists/classes.txt": "walk\nrun\n"},
            ["train.csv, line 1", "label 2 is out of range 0 to 1", "classes.txt"],
        ),
    ],
)
def test_csv_errors(tree: Tree, changes: dict[str, str], words: list[str]) -> None:
    message = error(tree(CSV | changes), "csv")
    for word in words:
        assert word in message


FOLDERS = {
    "videos/train/walk/b.mp4": "",
    "videos/train/walk/a [1].mp4": "",
    "videos/train/.cache/x": "",
    "videos/train/jump/c.mp4": "",
    "videos/train/jump/.hidden": "",
    "videos/test/walk/d.mp4": "",
}


def test_folders_are_read_in_alphabetical_order(tree: Tree, caplog: pytest.LogCaptureFixture) -> None:
    root = tree(FOLDERS)
    expected = [("train/jump/c.mp4", 0), ("train/walk/a [1].mp4", 1), ("train/walk/b.mp4", 1)]
    assert read(root, "folders", where=None) == (["jump", "walk"], expected)
    assert read(root, "folders", "test", where=None)[1] == [("test/walk/d.mp4", 1)]
    assert not caplog.records
    assert read(root, "folders", "val", where=None)[1] == [("test/walk/d.mp4", 1)]
    assert "val is missing, test stands in" in caplog.text


def test_classes_that_differ_only_in_case_are_refused(tree: Tree) -> None:
    message = error(tree(FOLDERS | {"videos/train/Walk/e.mp4": ""}), "folders", where=None)
    assert "the classes 'Walk' and 'walk' differ only in case" in message
    root = tree(CSV | {"lists/classes.txt": "a\nb\nc\nB\nd\n"})
    assert "'b' and 'B' differ only in case" in error(root, "csv")


def test_a_missing_video_may_be_asked_for(tree: Tree) -> None:
    root = tree(UCF101)
    (root / "videos/Zumba/z.avi").unlink()
    assert "1 of 2 videos are missing" in error(root, "ucf101")
    items = read_split("ucf101", root / "videos", root / "lists", 1, "train", must_exist=False)[1]
    assert [item.path.name for item in items] == ["v_a b.avi", "z.avi"]


def test_folders_errors(tree: Tree) -> None:
    root = tree(FOLDERS | {"videos/test/wolk/e.mp4": ""})
    assert "did you mean 'walk'?" in error(root, "folders", "test", where=None)
    assert "split 2" in error(root, "folders", split=2, where=None)
    assert "leave lists out" in error(root, "folders", where="videos")
    (root / "videos/train").rename(root / "videos/training")
    assert "train/<class>/<video>" in error(root, "folders", where=None)


def test_wrong_names_and_places_are_named(tree: Tree) -> None:
    root = tree(UCF101)
    assert "did you mean 'ucf101'?" in error(root, "ucf11")
    assert "did you mean 'train'?" in error(root, "ucf101", "training")
    assert "lists: no such folder" in error(root, "ucf101", where="nowhere/lists")
    (root / "videos").rename(root / "films")
    assert "videos: no such folder" in error(root, "ucf101")


@pytest.mark.parametrize(
    ("layout", "files", "folder"),
    [("ucf101", UCF101, "ucfTrainTestlist"), ("hmdb51", HMDB51, "testTrainMulti_7030_splits")],
)
def test_lists_are_found_where_they_are_unpacked(tree: Tree, layout: Any, files: dict[str, str], folder: str) -> None:
    for place in (f"in/{folder}", "flat"):  # in a folder of their own beside the videos, or loose there
        top = place.split("/")[0]
        moved = {k.replace("lists", place, 1).replace("videos", f"{top}/videos", 1): v for k, v in files.items()}
        root = tree(moved)
        assert read(root / top, layout, where=None)[1]


@real_data
def test_the_published_lists_have_their_published_sizes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(lists, "_check_videos", lambda entries, videos: None)
    sizes = {}
    for layout, split, subset in [
        ("ucf101", 1, "train"),
        ("ucf101", 1, "test"),
        ("hmdb51", 1, "train"),
        ("hmdb51", 3, "test"),
    ]:
        classes, items = read_split(layout, tmp_path, DATA / "lists" / layout, split, subset)
        sizes[layout, split, subset] = (len(classes), len(items))
        assert {item.label for item in items} == set(range(len(classes)))
        assert all(item.path.parent.name.lower() == classes[item.label].lower() for item in items)
    assert sizes == {
        ("ucf101", 1, "train"): (101, 9537),
        ("ucf101", 1, "test"): (101, 3783),
        ("hmdb51", 1, "train"): (51, 3570),
        ("hmdb51", 3, "test"): (51, 1530),
    }


@real_data
def test_jhmdb21_is_the_same_set_in_both_of_its_layouts() -> None:
    for subset, size in (("train", 665), ("test", 257)):
        ucf = read_split("ucf101", DATA / "jhmdb21/videos", None, 1, subset)
        hmdb = read_split("hmdb51", DATA / "jhmdb21/videos", None, 1, subset)
        assert ucf[0] == hmdb[0]
        assert len(ucf[0]) == 21
        assert len(ucf[1]) == size
        assert set(ucf[1]) == {item._replace(group=None) for item in hmdb[1]}  # whose names tell recordings apart
