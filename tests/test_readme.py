"""What README and documentation tell people to type, and the numbers they show, hold."""

import functools
import importlib
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from vsr import cli
from vsr.published import results
from vsr.recipe import PROGRESSION

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NAMES = [page.name for page in PAGES]
STAGES = ("fit", "validate", "test", "plan")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")


def blocks(page, language):
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.S | re.M)


def commands(page):
    """The words of every vsr command of a page's shell blocks, without ``vsr``."""
    lines = [line for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()]
    parts = [part for line in lines for part in line.split("&&")]
    words = [shlex.split(part, comments=True) for part in parts]
    return [word[word.index(start) + 1 :] for word in words for start in ("vsr", ".venv/bin/vsr") if start in word]


@pytest.fixture
def asked(monkeypatch):
    """Verbs that only note that they were asked: their options are parsed as ever."""
    noted = []

    def noting(name, verb):
        @functools.wraps(verb)
        def note(*args, **options):
            noted.append(name)

        return note

    for name, verb in list(cli._VERBS.items()):
        monkeypatch.setitem(cli._VERBS, name, noting(name, verb))
        if getattr(cli, name.replace("-", "_"), None) is verb:  # where vsr.cli asks which verb it is
            monkeypatch.setattr(cli, name.replace("-", "_"), cli._VERBS[name])
    sweeps = importlib.import_module("vsr.cli.sweep")  # vsr.cli's own sweep is the verb
    for action in ("plan_sweep", "submit_sweep", "status_of", "resubmit"):
        monkeypatch.setattr(sweeps, action, noting("sweep", getattr(sweeps, action)))
    monkeypatch.setattr(cli, "doctor", noting("doctor", cli.doctor))
    return noted


@functools.cache
def understood(words):
    """Whether a stage takes these options, and the files that they name; pages share commands."""
    with pytest.raises(SystemExit) as stopped:
        cli.main([*words, *([] if "--data.help" in words else ["--print_config"])])
    return stopped.value.code == 0


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_is_understood(page, asked, tmp_path, monkeypatch, capsys):
    found = commands(page)
    assert found or page.name in ("differences.md", "faq.md", "index.md", "scaling.md")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "glass.yaml").write_text("name: glass\n")
    for words in found:
        asked.clear()
        if words[0] in STAGES:
            stage = "fit" if words[0] == "plan" else words[0]
            assert understood((stage, *words[1:])), (words, capsys.readouterr().err)
        else:
            cli.main(words)
            assert asked == [words[0]]


def test_short_commands_of_the_readme_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    short = [w for w in commands(ROOT / "README.md") if w[:2] == ["render", "acc_shapes"] and "--index" in w]
    assert len(short) >= 3
    for words in short:
        cli.main([*words, "--size", "32"])
        assert Path(words[words.index("--out") + 1]).stat().st_size > 500


def test_the_python_of_the_readme_runs():
    (block,) = blocks(ROOT / "README.md", "python")
    lines = [line for line in block.splitlines() if "cuda" not in line]
    assert len(lines) >= 6
    here = {}
    exec("\n".join(lines), here)
    assert here["clips"].shape == (8, 3, 16, 224, 224)
    assert here["video"].shape[1:] == (256, 256, 3)
    assert here["flow"].shape == (8, 2, 224, 224)


def test_both_commands_stand_alone_on_their_line():
    """CI takes the second from there."""
    text = (ROOT / "README.md").read_text()
    (test,) = re.findall(r"^(python.* pytest)$", text, re.M)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"\.\[(\w+)\]", text)) <= set(extras)
    assert ".[dev]" in test
    assert "docs" in re.findall(r"\.\[(\w+)\]", text)


def test_the_map_has_every_room():
    rooms = {path.relative_to(ROOT / "vsr").parts[0] for path in (ROOT / "vsr").rglob("*.py")}
    rooms = {room if room.endswith(".py") else f"{room}/" for room in rooms if not room.startswith("__")}
    (start,) = re.findall(r"^## The rooms\n(.*?)^## ", (ROOT / "README.md").read_text(), re.S | re.M)
    assert rooms == set(re.findall(r"`(\w+(?:/|\.py))`", start))


def test_the_table_has_the_published_numbers():
    text = (ROOT / "README.md").read_text()
    for name in PROGRESSION:
        (row,) = re.findall(rf"^\| \[`{name}`\].*$", text, re.M)
        told = results()[name]
        cells = [cell.strip() for cell in row.split("|")]
        assert cells[3:6] == [str(told.ucf101_finetune_vitb), str(told.hmdb51_finetune_vitb), "not run"]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_file_that_is_named_exists(page):
    text = page.read_text(encoding="utf-8")
    links = [link.split("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    for link in filter(None, links):
        at = page.parent / link
        assert at.exists() or (ROOT / link).exists(), link
    for name in re.findall(r"configs/[\w/.{},-]+\.yaml", text):
        first, _, rest = name.partition("{")
        several = [f"{first}{part}{rest.partition('}')[2]}" for part in rest.partition("}")[0].split(",")]
        for one in several if rest else [name]:
            assert one == "configs/pretrain/NAME.yaml" or (ROOT / one).exists(), one
