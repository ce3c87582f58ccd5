"""The documentation is built as a whole, warnings are errors, and nothing in it is fetched."""

import re
import shutil
from pathlib import Path

import pytest
from sphinx.cmd.build import main as build

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")  # of Sphinx
def test_the_documentation_builds(tmp_path, monkeypatch):
    for folder in ("docs", "notebooks"):  # what is generated stays out of the checkout
        unwanted = shutil.ignore_patterns("_build", "reference", *(["notebooks"] if folder == "docs" else []))
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=unwanted)
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    site = tmp_path / "docs" / "_build" / "html"
    assert build(["-q", "-W", "--keep-going", str(tmp_path / "docs"), str(site)]) == 0
    pages = {page.relative_to(site).as_posix(): page.read_text(encoding="utf-8") for page in site.rglob("*.html")}
    assert "render_clips" in pages["reference/vsr.html"]
    assert "px/frame" in pages["reference/vsr.html"]
    assert pages["notebooks/01_progression.html"].count("<img") >= 3
    fetched = r'<(?:script|img|link|iframe)[^>]+(?:src|href)="(?:https?:)?//[^"]+"'
    assert not [found for page in pages.values() for found in re.findall(fetched, page)]
