"""The documentation is built as a whole, warnings are errors, and nothing in it is fetched."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_documentation_builds(tmp_path):
    """In a process of its own: Sphinx imports modules a second time, and the first ones' enums are no longer equal."""
    for folder in ("docs", "notebooks"):  # what is generated stays out of the checkout
        unwanted = shutil.ignore_patterns("_build", "reference", *(["notebooks"] if folder == "docs" else []))
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=unwanted)
    site = tmp_path / "docs" / "_build" / "html"
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", tmp_path / "docs", site]
    done = subprocess.run(command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = {page.relative_to(site).as_posix(): page.read_text(encoding="utf-8") for page in site.rglob("*.html")}
    assert "render_clips" in pages["reference/vsr.html"]
    assert "px/frame" in pages["reference/vsr.html"]
    assert pages["notebooks/01_progression.html"].count("<img") >= 3
    fetched = r'<(?:script|img|link|iframe)[^>]+(?:src|href)="(?:https?:)?//[^"]+"'
    assert not [found for page in pages.values() for found in re.findall(fetched, page)]
