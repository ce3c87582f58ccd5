"""``vsr demo``: all of it is there, twice is no more work, and no display is no failure."""

import importlib
import webbrowser

import pytest

from vsr.cli import main

demo = importlib.import_module("vsr.cli.demo")  # vsr.cli's own demo is the verb
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")


@pytest.fixture(autouse=True)
def _no_display(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(demo.sys, "platform", "linux")


@pytest.mark.slow
def test_everything_is_there_and_made_once(tmp_path, monkeypatch, capsys):
    tiny = " --data.size 16 --data.num_frames 4 --trainer.max_steps 2 --max_textures 2"
    tiny += " --trainer.enable_progress_bar false"
    monkeypatch.setattr(demo, "_SMALL", demo._SMALL + tiny)
    main(["demo", "--out", "shown"])
    said = capsys.readouterr().out
    run = tmp_path / "shown" / "runs" / "pretrain" / "acc_textures" / "demo"
    assert (run / "done").exists()
    assert (tmp_path / "shown" / "progression.png").stat().st_size > 100_000
    page = (tmp_path / "shown" / "report" / "index.html").read_text(encoding="utf-8")
    assert "acc_textures" in page
    assert "not run" in page
    assert "No display here: open file://" in said.splitlines()[-1]
    assert "1/3" in said
    assert "2/3" in said
    before = (run / "checkpoints" / "last.ckpt").stat().st_mtime_ns
    main(["demo", "--out", "shown"])
    again = capsys.readouterr().out
    assert "1/3" not in again
    assert "2/3" not in again
    assert (run / "checkpoints" / "last.ckpt").stat().st_mtime_ns == before


def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path, capsys):
    (tmp_path / "taken").write_text("a file")
    for out in ("taken", "/proc/none"):
        with pytest.raises(SystemExit) as stopped:
            main(["demo", "--out", out])
        assert stopped.value.code == 2
        line = capsys.readouterr().err.splitlines()[-1]
        assert f"can't write to {out}" in line
        assert "give --out a folder that can be written" in line


def test_a_browser_is_opened_only_where_someone_sees_it(tmp_path, monkeypatch):
    page, opened = tmp_path / "a page.html", []

    def browser(answer):
        def open_page(address):
            opened.append(address)
            if answer is None:
                raise webbrowser.Error("could not locate runnable browser")
            return answer

        monkeypatch.setattr(webbrowser, "open", open_page)

    browser(True)
    assert demo._shown(page).startswith("No display here")
    assert not opened
    monkeypatch.setenv("DISPLAY", ":0")
    assert demo._shown(page).startswith("Opened file://")
    assert opened == [page.as_uri()]
    for answer in (False, None):
        browser(answer)
        assert demo._shown(page) == f"No browser to open it here: open {page.as_uri()} in one."
