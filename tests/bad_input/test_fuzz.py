"""Random bad input: 200 cases of each kind, the same in every run; with VSR_FUZZ=2000 so many, other ones each time.

Whatever is given is read, or refused in one line that says where: nothing else is raised, nothing takes more than ten
seconds of the processor's time or 1 GiB. Files whose bytes are changed are read in a process of their own (see
``mutated``), so that a crash of the interpreter is seen.
"""

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from bounds import bounded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vsr.cli import main
from vsr.data.lists import read_split
from vsr.errors import InputError
from vsr.recipe import CONFIGS, Recipe, load_recipe, recipe_from_dict
from vsr.render import render_clips

NUMBER = int(os.environ.get("VSR_FUZZ", "200"))
FUZZ = settings(
    max_examples=NUMBER, deadline=None, derandomize=NUMBER <= 200, database=None, print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip
ODD = [
    0,
    1,
    -1,
    2**31,
    2**63,
    -(2**63),
    10**30,
    0.1,
    1e-300,
    1e300,
    float("nan"),
    float("inf"),
    "",
    "a",
    "images",
    "walk",
]
WORDS = [
    "texture",
    "saturated",
    "color",
    "mixed",
    "circles",
    "statistical",
    "stylegan_oriented",
    "black",
    "clamp",
    "../a",
]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.floats(-3, 3),
    st.sampled_from([*ODD, *WORDS]),
    st.text(max_size=5),
)
JUNK = st.recursive(
    SCALARS,
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=3), some, max_size=2),
    max_leaves=5,
)
PAIRS = st.tuples(st.floats(-2, 2), st.floats(-2, 2)).map(list) | st.tuples(st.integers(0, 9), st.integers(0, 300)).map(
    list
)
FIELDS = [f.name for f in fields(Recipe)]


def one_line(error):
    said = str(error)
    assert "\n" not in said
    assert len(said) < 2000


@pytest.mark.usefixtures("one_thread")
@FUZZ
@given(st.dictionaries(st.sampled_from([*FIELDS, "sped"]) | st.text(max_size=3), JUNK | PAIRS, max_size=4))
def test_recipes(content):
    """What is taken for a recipe can be drawn, where that needs no textures and few objects."""
    with bounded():
        try:
            recipe = recipe_from_dict({"name": "a", "num_objects": 3} | content, "here")
            if not recipe.textured and recipe.background != "walk" and recipe.num_objects < 100:
                render_clips(recipe, index=[0], num_frames=1, size=8)
        except InputError as error:
            one_line(error)


TOKENS = [*FIELDS, *WORDS, "name: a", "recipe", "data", "init_args", "shares", "class_path", "ActionClips",
          "VideoMixture",
          "videos", "lists", ":", ": ", "- ", "\n", "\n  ", "[", "]", "{", "}", ",", "&a ", "*a", "!!", "!!binary",
          "<<",
          "'", '"', "|", ">", "#", "? ", "---\n", "...", "%YAML 1.1\n", "\t", "~", "null", ".inf", "0x", "1e9", "1:2",
          "2020-01-01", "\u2028", "\x00", "\ufeff", "é"]  # fmt: skip
PARTS = st.lists(st.sampled_from(TOKENS) | st.text(max_size=3), max_size=30).map("".join)


@st.composite
def spoilt(draw):
    """A config of vsr's with a few stretches in the place of others."""
    text = draw(st.sampled_from(sorted(CONFIGS.rglob("*.yaml")))).read_text(encoding="utf-8")
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(PARTS) + text[at + draw(st.integers(0, 20)) :]
    return text


@FUZZ
@given(
    st.one_of(PARTS.map(str.encode), spoilt().map(lambda t: t.encode("utf-8", "surrogatepass")), st.binary(max_size=50))
)
def test_yaml(tmp_path, capsys, text):
    """Read as a recipe, and as a config whose videos are to be checked (there are none)."""
    path = tmp_path / "a.yaml"
    path.write_bytes(text)
    with bounded():
        try:
            load_recipe(path)
        except InputError as error:
            one_line(error)
        with pytest.raises(SystemExit) as stopped:
            main(["check-data", str(path), "--videos", str(tmp_path / "none"), "--out", str(tmp_path / "m.csv")])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


LINES = st.lists(
    st.lists(
        st.sampled_from(["Jump", "Run", "/", "v_Jump_0", ".avi", " ", "\t", ",", "0", "1", "2", "9" * 30, "-1", "..",
          "\n",
                         "\r\n", "\x00", "\ufeff", "é", "\udcff", "²"]) | st.text(max_size=2),
        max_size=8,
    ).map("".join),
    max_size=6,
).map("\n".join)  # fmt: skip
FILES = ["classInd.txt", "trainlist01.txt", "testlist01.txt", "Jump_test_split1.txt", "Run_test_split1.txt",
          "train.csv",
         "val.csv", "test.csv", "classes.txt"]  # fmt: skip


@FUZZ
@given(st.data())
def test_lists(world, tmp_path_factory, data):
    """One or two of the lists of a sound set are others."""
    lists = tmp_path_factory.mktemp("lists")
    for path in (world / "lists").iterdir():
        (lists / path.name).write_bytes(path.read_bytes())
    for name in data.draw(st.lists(st.sampled_from(FILES), min_size=1, max_size=2)):
        content = data.draw(LINES.map(lambda text: text.encode("utf-8", "surrogateescape")) | st.binary(max_size=40))
        (lists / name).write_bytes(content)
    with bounded():
        for layout in ("ucf101", "hmdb51", "csv"):
            for subset in ("train", "val", "test"):
                for must_exist in (True, False):
                    try:
                        classes, items = read_split(layout, world / "videos", lists, 1, subset, must_exist)
                    except InputError as error:
                        one_line(error)
                    else:
                        assert items
                        assert all(0 <= item.label < len(classes) for item in items)


@pytest.mark.parametrize("kind", ["videos", "checkpoints"])
def test_files_with_bytes_changed(kind):
    """A case that kills or hangs the process is the last that it prints."""
    first = 0 if NUMBER <= 200 else int.from_bytes(os.urandom(3), "big")
    command = [sys.executable, str(Path(__file__).parent / "mutated.py"), kind, str(first), str(NUMBER)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f"{lines[-1:]}, exit status {done.returncode}: {done.stderr[-2000:]}"
    assert [line for line in lines if not line.endswith(" well")] == []
    assert len(lines) > NUMBER
