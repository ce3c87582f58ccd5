"""``vsr corrupt``: videos under the corruptions of UCF101-P, as files or on a sheet."""

from pathlib import Path

from vsr.errors import InputError


def corrupt(
    src: Path,
    dst: Path,
    perturbations: list[str] | None = None,
    severities: list[int] | None = None,
    seed: int = 0,
    lossless: bool = False,
    workers: int | None = None,
) -> None:
    """Write videos under the corruptions of UCF101-P to a folder, or show those of one video on a sheet.

    Whole videos are corrupted at full resolution and compressed again, as the benchmark does offline; vsr test corrupts
    the views that it shows. After a kill the same command goes on. Exit status 2 if a video can't be read.

    Args:
        src: the folder of the videos, at any depth, or a video for a sheet.
        dst: the folder that gets <perturbation>/<severity>/<path in src>.mp4 and a manifest; for a sheet a .png file.
        perturbations: names, such as freeze jpeg. Default: the 14 of the paper's figure 3; on a sheet all.
        severities: some of 1 to 5. Default: all.
        seed: of the random draws.
        lossless: exactly the corrupted RGB. Otherwise colour is halved, and an odd last row and column is lost.
        workers: processes. Default: one for each core.
    """
    from vsr.corruptions import FIGURE, PERTURBATIONS, SEVERITIES

    levels = severities if severities is not None else range(1, SEVERITIES + 1)
    if dst.suffix == ".png":
        from vsr.offline.corrupted_sheet import show_corruptions

        show_corruptions(src, dst, perturbations if perturbations is not None else PERTURBATIONS, levels, seed)
        print(f"{dst}: {src.name} under corruptions")
        return
    if src.is_file():
        raise InputError(f"{src} is a file: give a folder of videos, or for a sheet of this one a DST ending in .png")
    from vsr.offline.corrupted import corrupt_videos

    names = perturbations if perturbations is not None else FIGURE
    done = corrupt_videos(src, dst, names, levels, seed, lossless, workers)
    print("\n".join(f"{dst}: {line}" for line in done.lines()))
    if done.unreadable:
        raise InputError(
            f"{len(done.unreadable)} of {done.videos} videos in {src} are left out, first {min(done.unreadable)}: mend "
            "them, and the same command adds them"
        )
