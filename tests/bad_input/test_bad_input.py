"""Every case of the table: one line, exit status 2, nothing made that could be taken for a result."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from table import TABLE

from vsr.cli import main

pytestmark = pytest.mark.filterwarnings("ignore")
CASES = [
    pytest.param(case, id=f"{kind}-{number}") for kind, cases in TABLE.items() for number, case in enumerate(cases)
]


@pytest.fixture
def here(trained, tmp_path, monkeypatch):
    """A folder with all that cases may name; its checkpoints are links, as they are large."""
    for part in ("videos", "lists", "folders", "textures"):
        shutil.copytree(trained / part, tmp_path / part)
    (tmp_path / "made").symlink_to(trained / "made")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pattern(said):
    """A message as the table has it, as a regular expression."""
    return ".*".join(map(re.escape, said.split("…")))


@pytest.mark.parametrize("case", CASES)
def test_it_is_refused_in_one_line(case, here, capsys):
    for name, content in case.files.items():
        path = here / name
        path.parent.mkdir(parents=True, exist_ok=True)
        made = content(here) if callable(content) else content
        path.write_bytes(made.encode() if isinstance(made, str) else made)
    with pytest.raises(SystemExit) as stopped:
        main(shlex.split(case.words))
    shown = capsys.readouterr().err
    assert stopped.value.code == 2
    line, *notes = shown.partition("vsr: error: ")[2].splitlines()
    assert re.fullmatch(pattern(case.said), line), line
    assert all(note.startswith("Stopped at step ") for note in notes)  # what was saved, where training had begun
    assert "Traceback" not in shown
    assert not Path("hacked").exists()
    assert not [*Path("runs").rglob("*.ckpt"), *Path("runs").rglob("results.json")]


def test_there_are_enough():
    """Of each class; and every verb is given something."""
    assert sum(map(len, TABLE.values())) >= 150
    assert all(len(cases) >= 20 for cases in TABLE.values())
    verbs = {case.words.split()[0] for cases in TABLE.values() for case in cases}
    from vsr.cli import _VERBS
    from vsr.cli.stages import STAGES

    assert {*STAGES, "plan", "sweep", "doctor", *_VERBS} <= verbs
