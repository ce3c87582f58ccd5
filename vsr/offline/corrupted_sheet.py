"""One video under many corruptions, on one sheet."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vsr.corruptions import Cell, cells
from vsr.corruptions.codec import recode
from vsr.corruptions.pixel import perturb
from vsr.corruptions.temporal import order
from vsr.data.decode import every_frame, measure, read_frames
from vsr.export import sheet

_WIDTH = 240  # of a picture, px
_ACROSS, _DOWN = 4, 2  # small frames in a picture of time
_PAPER, _CLEAN, _MARK = (255, 255, 255), (200, 200, 200), (31, 90, 160)

Frame = NDArray[np.uint8]


def show_corruptions(
    video: str | Path, out: str | Path, perturbations: Iterable[str], severities: Iterable[int], seed: int = 0
) -> None:
    """Write a contact sheet: a row for each perturbation, a column for each severity.

    Where pixels change, the middle frame is shown, corrupted at full resolution (as a clip of this one frame: its draws
    aren't those of the whole video). Where time changes, eight evenly spaced places of the video are shown, each with
    the number of the frame that stands there, over a graph of all places (to the right) and frames (upwards).

    Args:
        video: the file.
        out: the png file.
        perturbations: names.
        severities: 1 .. 5.
        seed: of the draws; the video's index is 0.

    Raises:
        InputError: a perturbation or severity is unknown, the video can't be read or the sheet can't be written.
    """
    video = Path(video)
    levels = list(severities)
    wanted = cells(perturbations, levels)
    count, height, width, _ = measure(video)
    size = (min(width, _WIDTH), max(round(height * min(width, _WIDTH) / width), 1))
    middle = read_frames(video, lambda frames: np.array([frames // 2]), count)[0]
    rows = {"clean": [_shrunk(middle, size), _time(video, np.arange(count), size)]}
    for cell in wanted:
        rows.setdefault(cell.perturbation, []).append(_picture(video, middle, count, cell, seed, size))
    across = max(len(row) for name, row in rows.items() if name != "clean")
    sheet(
        [np.stack(row) for row in rows.values()],
        out,
        title=f"{video.name}: frame {count // 2} of {count}, severities from left to right\n"
        "Where time changes: eight frames with their numbers, and which frame (upwards) stands where (to the right)",
        labels=list(rows),
        columns=[f"severity {level}" for level in levels[:across]],
    )


def _picture(video: Path, middle: Frame, count: int, cell: Cell, seed: int, size: tuple[int, int]) -> Frame:
    if cell.works_on == "order":
        return _time(video, order(cell, count, 0, seed), size)
    if cell.works_on == "file":
        return _shrunk(next(islice(recode(cell, every_frame(video)), count // 2, None)), size)
    clip = torch.from_numpy(middle).permute(2, 0, 1)[None, :, None]
    perturbed = perturb(cell, clip, torch.tensor([0]), torch.tensor([0]), seed)
    return _shrunk(perturbed[0, :, 0].permute(1, 2, 0).contiguous().numpy(), size)


def _time(video: Path, shown: NDArray[np.int64], size: tuple[int, int]) -> Frame:
    """What an order does: some frames with their numbers above, a graph of all below."""
    width, height = size
    small = width // _ACROSS, height // (2 * _DOWN)
    picture = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(max(small[1] // 4, 9))
    numbers = shown[np.linspace(0, len(shown) - 1, _ACROSS * _DOWN).round().astype(int)]
    frames = read_frames(video, lambda _: numbers, len(shown))
    for place, (number, frame) in enumerate(zip(numbers, frames, strict=True)):
        corner = place % _ACROSS * small[0], place // _ACROSS * small[1]
        picture.paste(Image.fromarray(_shrunk(frame, small)), corner)
        where = corner[0] + 2, corner[1] + small[1] - 2
        draw.text(where, str(number), fill="white", font=font, anchor="ls", stroke_width=1, stroke_fill="black")
    top, last = _DOWN * small[1] + 3, max(len(shown) - 1, 1)

    def mark(place: int, number: int) -> tuple[float, float]:
        return 3 + place / last * (width - 7), height - 4 - number / last * (height - 4 - top)

    draw.line([mark(0, 0), mark(last, last)], fill=_CLEAN)
    for place, number in enumerate(shown.tolist()):
        x, y = mark(place, number)
        draw.rectangle([x - 1, y - 1, x + 1, y + 1], fill=_MARK)
    return np.asarray(picture)


def _shrunk(frame: Frame, size: tuple[int, int]) -> Frame:
    return np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS))
