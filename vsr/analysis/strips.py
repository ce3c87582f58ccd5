"""Several pictures of the same videos: one below the other on a sheet, side by side in motion."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFont

from vsr.analysis.footage import Footage
from vsr.export import Frames, contact_sheet, whole, write_video

_COLUMNS = 6  # frames of a row
_SIDE = 128  # px: smaller pictures are enlarged to at least this, by a whole factor


class Strip(NamedTuple):
    """What is shown of one video.

    Attributes:
        source: the video.
        first: number of the first frame that is shown.
        fps: frames per second.
        rows: by the name of each row, as many frames each, uint8 (T, S, S, C).
    """

    source: Footage
    first: int
    fps: float
    rows: dict[str, Frames]


def write_strips(strips: Sequence[Strip], out: Path, kind: str, title: str, said: dict[str, str]) -> list[Path]:
    """Write ``<kind>.png``, some frames of all rows, and ``<kind>-<video>.mp4``, all frames of each video.

    Args:
        strips: with the same rows.
        out: a folder, made if need be.
        kind: how the names of files begin.
        title: of the sheet.
        said: what the sheet says in the place of a row's name.

    Returns:
        The files.

    Raises:
        InputError: one can't be written.
    """
    sheets: list[Image.Image] = []
    for strip in strips:
        length = len(next(iter(strip.rows.values())))
        shown = np.linspace(0, length - 1, min(_COLUMNS, length)).round().astype(int)
        labels = [said.get(name, name) for name in strip.rows]
        columns = [f"frame {strip.first + t}" for t in shown]
        frames = [row[shown] for row in strip.rows.values()]
        # A single row would be broken into shorter ones; there are always several.
        sheets.append(contact_sheet(frames, _heading(strip, title if not sheets else ""), labels, columns))
    files = [out / f"{kind}.png"]
    with whole(files[0]) as part:
        _stacked(sheets).save(part)
    names = [_file_name(strip.source) for strip in strips]
    for n, strip in enumerate(strips):
        number = f"-{n}" if names.count(names[n]) > 1 else ""
        files.append(out / f"{kind}-{names[n]}{number}.mp4")
        write_video(_beside(strip.rows), files[-1], strip.fps)
    return files


def side_for(sizes: Iterable[int]) -> int:
    """At what height and width (px) to show pictures of these sizes: the largest, times a whole number."""
    largest = max(sizes)
    return largest * -(-_SIDE // largest)


def enlarged(frames: Frames, side: int) -> Frames:
    """Square frames (T, S, S, C) with the values of their nearest pixels: uint8 (T, side, side, C)."""
    nearest = np.arange(side) * frames.shape[1] // side
    return frames[:, nearest][:, :, nearest]


def squares(frames: Frames, side: int) -> Frames:
    """Whole frames (T, H, W, C) for people to look at, squashed as the network is shown them: (T, side, side, C)."""
    size = (side, side)
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS)) for frame in frames])


def _heading(strip: Strip, title: str) -> str:
    name = strip.source.name if isinstance(strip.source, Path) else str(strip.source)
    return f"{title}\n\n{name}" if title else name


def _file_name(source: Footage) -> str:
    return source.stem if isinstance(source, Path) else f"{source.recipe.name}-{source.index}"


def _stacked(pictures: list[Image.Image]) -> Image.Image:
    """One below the other, on white."""
    height = sum(picture.height for picture in pictures)
    canvas = Image.new("RGB", (max(picture.width for picture in pictures), height), "white")
    top = 0
    for picture in pictures:
        canvas.paste(picture, (0, top))
        top += picture.height
    return canvas


def _beside(rows: dict[str, Frames]) -> Frames:
    """Side by side, each below its name, in rows of eight: uint8 (T, H, W, C)."""
    moments = zip(*rows.values(), strict=True)
    names = [_fitted(name, next(iter(rows.values())).shape[1]) for name in rows]
    return np.stack([np.asarray(contact_sheet([np.stack(now)], columns=names)) for now in moments])


def _fitted(name: str, width: int) -> str:
    """A name that is not wider than its picture (px): what is too much is left out in its middle."""
    font, left_out = ImageFont.load_default(max(11, min(width // 12, 16))), 0  # as contact sheets are written
    while font.getlength(fitted := _without_middle(name, left_out)) > width:
        left_out += 1
    return fitted


def _without_middle(name: str, letters: int) -> str:
    start = (len(name) - letters) // 2
    return f"{name[:start]}…{name[start + letters :]}" if letters else name
