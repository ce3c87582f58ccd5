"""``vsr report``: the paper's tables and figures, filled with one's own runs."""

from pathlib import Path

from vsr.errors import InputError


def report(
    runs: list[Path],
    out: Path = Path("report"),
    gallery: bool = False,
    texture_folder: Path | None = None,
) -> None:
    """Put your runs beside the paper's tables and figures: Markdown, CSV, and one HTML page with plots and films.

    Args:
        runs: before all options: folders with run folders at any depth, and with what vsr analyze has written. Default:
            runs, if there is such a folder.
        out: the folder that gets index.html, report.md and the CSV files.
        gallery: show all 34 datasets, each with its claim, recipe, command and published numbers. Needs no runs.
        texture_folder: images, or tar archives of them, for the films of datasets that show images.
    """
    from vsr.report import write_report

    folders = runs or [folder for folder in [Path("runs")] if folder.is_dir()]
    if not folders and not gallery:
        raise InputError("no folder runs here: give folders with runs, or --gallery")
    page = write_report(folders, out, gallery, texture_folder)
    print(f"{page}: {page.stat().st_size / 1e6:.1f} MB, and the same as {out / 'report.md'} and CSV files")
