"""Which videos a set has and what they show: split lists of UCF101 and HMDB51, VideoMAE's CSV files, folders.

Class order is part of a result: a fine-tuned head is only worth something with the order it was trained in,
so every layout has one stated order and nothing is guessed from what happens to be on the disk.
"""

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from vsr.errors import InputError, nearest

Layout = Literal["ucf101", "hmdb51", "csv", "folders"]
Subset = Literal["train", "val", "test"]

_STANDS_IN: dict[Subset, Subset] = {"val": "test", "test": "val"}

_DIGITS = 6  # of a label: a million classes are more than any set has

logger = logging.getLogger(__name__)


class Item(NamedTuple):
    """One labelled video.

    Attributes:
        path: the video file.
        label: its class, an index into the list of classes.
        frames: how many decode, from a manifest; None where none says.
        size: the bytes that the file had then.
        group: the videos of a class that have the same were cut from one recording, as far as their names tell; None:
            the video is on its own.
    """

    path: Path
    label: int
    frames: int | None = None
    size: int | None = None
    group: str | None = None

    def known_frames(self) -> int | None:
        """``frames``, where the file still has its size."""
        if self.frames is None:
            return None
        try:
            return self.frames if self.path.stat().st_size == self.size else None
        except OSError:
            return None


class _Entry(NamedTuple):
    """An item and the place that names it, for messages."""

    path: Path
    label: int
    place: str


_Read = tuple[list[str], list[_Entry]]


def read_split(
    layout: Layout, videos: str | Path, lists: str | Path | None, split: int, subset: Subset, must_exist: bool = True
) -> tuple[list[str], list[Item]]:
    """The classes of a set of videos and the labelled files of one subset, in the order of its list.

    Args:
        layout: how lists and videos are laid out:

            * ``ucf101``: ``lists/classInd.txt`` (``1 Name``), ``trainlist01.txt`` (``Class/file.avi 1``),
              ``testlist01.txt`` (``Class/file.avi``). Classes in the order of ``classInd.txt``; the label is
              the folder's. There is no validation list: ``val`` is the test list, nothing is selected on it.
            * ``hmdb51``: ``lists/<class>_test_split1.txt``, lines ``file.avi 1`` (1 train, 2 test, 0 unused),
              videos in ``videos/<class>/``. Classes in alphabetical order; ``val`` is the test list as above.
            * ``csv``: ``lists/train.csv``, ``val.csv``, ``test.csv``, lines ``path label``; the label stands
              after the last space or comma, so paths may hold both. Paths are relative to ``videos`` or
              absolute. Class names are the lines of ``lists/classes.txt`` or, without it, 0, 1, … up to the
              largest label in the three files. Where ``val.csv`` or ``test.csv`` is missing, the other stands
              in for it, which is logged.
            * ``folders``: ``videos/<subset>/<class>/*`` (hidden files aside), classes in alphabetical order
              of ``videos/train``. Where ``val`` or ``test`` is missing, the other stands in, which is logged.
        videos: the folder of the videos.
        lists: the folder of the lists, or None for where it usually is: ``ucfTrainTestlist`` (ucf101) or
            ``testTrainMulti_7030_splits`` (hmdb51) beside ``videos``, or else the folder that holds
            ``videos``; for csv ``videos`` itself. The layout ``folders`` has no lists.
        split: 1, 2 or 3 for the three splits of ucf101 and hmdb51; 1 for the others.
        subset: ``train``, ``val`` or ``test``.
        must_exist: refuse a list that names missing videos; all are looked up before any is decoded.

    Raises:
        InputError: a list is missing, empty or has a bad line, a class is not in the index, a label is out of
            range, the split is unknown, or videos are missing.

    Source: Soomro et al., "UCF101", CRCV-TR-12-01; Kuehne et al., "HMDB", ICCV 2011; Tong et al., "VideoMAE".
    """
    for value, known in ((layout, list(get_args(Layout))), (subset, list(get_args(Subset)))):
        if value not in known:
            raise InputError(f"{value!r} is none of {', '.join(known)}{nearest(value, known)}")
    videos = Path(videos)
    if not videos.is_dir():
        raise InputError(f"videos {videos}: no such folder: give the folder that holds the videos")
    if layout in ("csv", "folders") and split != 1:
        raise InputError(f"split {split}: the layout {layout} has only one: set split to 1")
    if layout == "folders" and lists is not None:
        raise InputError(f"lists {lists}: the layout folders has none: leave lists out")
    where = Path(lists) if lists is not None else _usual_place(layout, videos)
    if not where.is_dir():
        raise InputError(f"lists {where}: no such folder: give the folder that holds the lists of {layout}")
    readers: dict[Layout, Callable[[Path, Path, int, Subset], _Read]] = {
        "ucf101": _ucf101, "hmdb51": _hmdb51, "csv": _csv, "folders": _folders,
    }  # fmt: skip
    classes, entries = readers[layout](videos, where, split, subset)
    spelled: dict[str, str] = {}
    for name in classes:
        if spelled.setdefault(name.lower(), name) != name:
            raise InputError(
                f"{where}: the classes {spelled[name.lower()]!r} and {name!r} differ only in case, which not every "
                "file system can tell apart: rename one"
            )
    if twice := next((name for name in spelled.values() if classes.count(name) > 1), None):
        raise InputError(f"{where}: the class {twice!r} is named twice: name each once")
    if not entries:
        raise InputError(f"{where}: the {subset} list of split {split} is empty: check it and the layout ({layout})")
    if must_exist:
        _check_videos(entries, videos)
    return classes, [Item(entry.path, entry.label, group=_group(layout, entry.path)) for entry in entries]


def _group(layout: Layout, path: Path) -> str | None:
    """The recording a video was cut from: ``v_Class_g08_c01.avi``, ``<recording>_<class>_f_cm_np1_fr_med_0.avi``."""
    patterns = {
        "ucf101": r"v_.+_(g\d+)_c\d+",
        "hmdb51": rf"(.+)_{re.escape(path.parent.name)}_[fhul]_[cn]m_np\d+_(?:ba|fr|le|ri)_(?:bad|goo|med)_\d+",
    }
    found = re.fullmatch(patterns[layout], path.stem) if layout in patterns else None
    return found[1] if found else None


def _usual_place(layout: Layout, videos: Path) -> Path:
    if layout in ("csv", "folders"):
        return videos
    beside = videos.parent / {"ucf101": "ucfTrainTestlist", "hmdb51": "testTrainMulti_7030_splits"}[layout]
    return beside if beside.is_dir() else videos.parent


def _ucf101(videos: Path, lists: Path, split: int, subset: Subset) -> _Read:
    kind = "train" if subset == "train" else "test"
    file = lists / f"{kind}list{split:02d}.txt"
    if not file.is_file():
        known = sorted(
            int(found[1]) for p in lists.iterdir() if (found := re.fullmatch(rf"{kind}list(\d\d)\.txt", p.name))
        )
        raise _unknown_split(split, known, file)
    index = lists / "classInd.txt"
    classes: list[str] = []
    for place, line in _lines(index, "it names the classes, one a line, like '1 ApplyEyeMakeup'"):
        match = re.fullmatch(r"(\d+)\s+(.+)", line)
        if not match or match[1].lstrip("0") != str(len(classes) + 1):
            raise InputError(f"{place}: {line!r} is not '{len(classes) + 1} Name': number the classes from 1")
        classes.append(match[2])
    # By lower case: the published index says HandStandPushups, the published lists HandstandPushups.
    label_of = {name.lower(): label for label, name in enumerate(classes)}
    if len(label_of) < len(classes):
        raise InputError(f"{index}: names a class twice: correct the index")
    entries = []
    pattern = re.compile(r"([^/]+)/(.+?)\s+(\d+)" if kind == "train" else r"([^/]+)/(.+?)(?:\s+(\d+))?")
    for place, line in _lines(file):
        match = pattern.fullmatch(line)
        if not match:
            example = "Class/file.avi 1" if kind == "train" else "Class/file.avi"
            raise InputError(f"{place}: {line!r} is not like '{example}': correct the line")
        name, rest, number = match.groups()
        if name.lower() not in label_of:
            raise InputError(f"{place}: class {name!r} is not in {index}{nearest(name, classes)}: correct either")
        label = label_of[name.lower()]
        if number is not None and number.lstrip("0") != str(label + 1):  # it may have more digits than int takes
            raise InputError(f"{place}: {name} is number {label + 1} in {index}, not {number:.20}: correct either")
        entries.append(_Entry(videos / name / rest, label, place))
    return classes, entries


def _hmdb51(videos: Path, lists: Path, split: int, subset: Subset) -> _Read:
    wanted = "1" if subset == "train" else "2"
    found = [match for p in lists.iterdir() if (match := re.fullmatch(r"(.+)_test_split(\d+)\.txt", p.name))]
    classes = sorted({match[1] for match in found})  # of all splits: a lost file must not shift the labels
    if split not in {int(match[2]) for match in found}:
        raise _unknown_split(split, sorted({int(m[2]) for m in found}), lists / f"<class>_test_split{split}.txt")
    entries = []
    for label, name in enumerate(classes):
        file = lists / f"{name}_test_split{split}.txt"
        lines = list(_lines(file))
        if not lines:
            raise InputError(f"{file}: empty: get it again, or remove the class's lists of all splits")
        for place, line in lines:
            match = re.fullmatch(r"(.+?)\s+([012])", line)
            if not match:
                raise InputError(f"{place}: {line!r} is not like 'file.avi 1' (1, 2 or 0): correct the line")
            if match[2] == wanted:
                entries.append(_Entry(videos / name / match[1], label, place))
    return classes, entries


def _csv(videos: Path, lists: Path, split: int, subset: Subset) -> _Read:
    files = {name: file for name in get_args(Subset) if (file := lists / f"{name}.csv").is_file()}
    read = {name: list(_csv_rows(file, videos)) for name, file in files.items()}
    if (lists / "classes.txt").is_file():
        classes = [line for _, line in _lines(lists / "classes.txt")]
    else:
        classes = [str(n) for n in range(1 + max((row.label for rows in read.values() for row in rows), default=-1))]
    rows = read.get(_present(subset, lists, [*files], ".csv"), [])
    for row in rows:
        if row.label >= len(classes):
            raise InputError(
                f"{row.place}: label {row.label} is out of range 0 to {len(classes) - 1} "
                f"({lists / 'classes.txt'} has {len(classes)} classes): correct either"
            )
    return classes, rows


def _csv_rows(file: Path, videos: Path) -> Iterator[_Entry]:
    for place, line in _lines(file):
        match = re.fullmatch(r"(.*[^\s,])[\s,]+(\d+)", line)
        if not match:
            raise InputError(f"{place}: {line!r} is not like 'path label' with a label of 0 or more: correct the line")
        if len(match[2]) > _DIGITS:
            raise InputError(f"{place}: label {match[2][:20]}… is the number of no class: number them from 0")
        yield _Entry(videos / match[1], int(match[2]), place)


def _folders(videos: Path, lists: Path, split: int, subset: Subset) -> _Read:
    present = [name for name in get_args(Subset) if (videos / name).is_dir()]
    if "train" not in present:
        raise InputError(
            f"{videos / 'train'}: no such folder: the layout is train/<class>/<video>, test/<class>/<video>"
        )
    folder = videos / _present(subset, videos, present, "")
    classes = sorted(p.name for p in (videos / "train").iterdir() if _is_class(p))
    entries = []
    for found in sorted(filter(_is_class, folder.iterdir())):
        if found.name not in classes:
            raise InputError(
                f"{found}: no such class in {videos / 'train'}{nearest(found.name, classes)}: rename either"
            )
        files = sorted(p for p in found.iterdir() if not p.name.startswith(".") and p.is_file())
        entries += [_Entry(file, classes.index(found.name), str(found)) for file in files]
    return classes, entries


def _is_class(folder: Path) -> bool:
    return folder.is_dir() and not folder.name.startswith(".")


def _present(subset: Subset, place: Path, present: list[Subset], suffix: str) -> Subset:
    """The subset to read: the one asked for or, where val or test is missing, the other of the two."""
    other = _STANDS_IN.get(subset)
    if subset in present:
        return subset
    if other is None or other not in present:
        choice = f" (or {other}{suffix})" if other else ""
        raise InputError(f"{place / (subset + suffix)}: no such {'file' if suffix else 'folder'}: provide it{choice}")
    logger.warning("%s is missing, %s%s stands in for it", place / (subset + suffix), other, suffix)
    return other


def _lines(file: Path, purpose: str = "") -> Iterator[tuple[str, str]]:
    """Every line that is not blank, stripped, with its place ("file, line 3")."""
    if not file.is_file():
        raise InputError(f"{file}: no such file: {purpose or 'it lists the videos'}")
    # A byte-order mark is dropped; bytes that are not UTF-8 are kept as they are in file names.
    text = file.read_text(encoding="utf-8-sig", errors="surrogateescape")
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"{file}, line {number}", line.strip()


def _unknown_split(split: int, known: list[int], file: Path) -> InputError:
    if not known:
        return InputError(f"{file}: no such file: set lists to the folder that holds the split lists")
    return InputError(f"split {split}: no {file}: choose one of {', '.join(map(str, known))}")


def _check_videos(entries: list[_Entry], videos: Path) -> None:
    """Looks every video up, one listing per folder: 240,000 single ones take minutes on a network disk."""
    names = {
        folder: {p.name for p in folder.iterdir()} if folder.is_dir() else set()
        for folder in {entry.path.parent for entry in entries}
    }
    missing = [entry for entry in entries if entry.path.name not in names[entry.path.parent]]
    if missing:
        first = missing[0]
        raise InputError(
            f"{len(missing)} of {len(entries)} videos are missing, first {first.path} ({first.place}): "
            f"put them there, or set videos (now {videos}) to the folder that holds them"
        )
