"""What README and documentation tell people to type, and the numbers they show, hold."""

import functools
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
    parts = [part for block in blocks(page, "sh") for line in block.splitlines() for part in line.split("&&")]
    words = [shlex.split(part, comments=True) for part in parts]
    return [word[word.index(start) + 1 :] for word in words for start in ("vsr", ".venv/bin/vsr") if start in word]


@pytest.fixture
def asked(monkeypatch):
    """Verbs that only note what they were asked for: their options are parsed as ever."""
    noted = []
    for name, verb in list(cli._VERBS.items()):

        @functools.wraps(verb)
        def note(*args, name=name, **options):
            noted.append(name)

        monkeypatch.setitem(cli._VERBS, name, note)
        if getattr(cli, name.replace("-", "_"), None) is verb:
            monkeypatch.setattr(cli, name.replace("-", "_"), note)
    return noted


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_is_understood(page, asked, tmp_path, monkeypatch, capsys):
    found = commands(page)
    assert found or page.name in ("differences.md", "faq.md", "index.md")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "glass.yaml").write_text("name: glass\n")
    for words in found:
        asked.clear()
        if words[0] in STAGES:
            words = ["fit" if words[0] == "plan" else words[0], *words[1:]]
            words += [] if "--help" in words or "--data.help" in words else ["--print_config"]
            with pytest.raises(SystemExit) as stopped:
                cli.main(words)
            assert stopped.value.code == 0, (words, capsys.readouterr().err)
        elif words[0] == "<verb>":
            continue
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
