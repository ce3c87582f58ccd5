"""Videos to files: mp4, gif, and png contact sheets. A file is whole or not there."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryFile
from typing import BinaryIO

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vsr.errors import InputError

Frames = NDArray[np.uint8]
_INK, _PAPER = (70, 70, 70), (255, 255, 255)
_GAP = 4  # px between the pictures of a sheet
UNFINISHED = ".part-"
"""How the names of unfinished files begin; what a killed process leaves."""

# Without mbtree, which gives small videos other bytes each time. Beside preset veryfast at crf 13, on textured and on
# plain videos of 256 px, this takes half the time for 1.3 and 1.4 times the bytes, at the same 40 and 43 dB of luma.
_H264: dict[str, object] = {"crf": "16", "preset": "ultrafast", "x264-params": "mbtree=0"}
# For pages: 100 kB for three seconds of 160 px, textured or plain, where ultrafast takes 280 at this crf.
_SMALL = _H264 | {"crf": "24", "preset": "veryfast"}
_EXACT: dict[str, object] = {"crf": "0", "preset": "ultrafast"}


def write_video(frames: Frames, path: str | Path, fps: float = 25, title: str = "") -> None:
    """Write frames as ``.mp4`` (H.264, yuv420p), ``.gif``, or ``.png`` (a contact sheet of up to 16 frames).

    Args:
        frames: uint8 (T, H, W, C), RGB.
        path: where to; its folder is made.
        fps: frames per second.
        title: the heading of a contact sheet.

    Raises:
        InputError: another file ending.
    """
    path = Path(path)
    if path.suffix not in (".mp4", ".gif", ".png"):
        raise InputError(f"can't write {path}: give a file ending in .mp4, .gif or .png")
    if path.suffix == ".png":
        shown = np.linspace(0, len(frames) - 1, min(16, len(frames))).round().astype(int)
        sheet([frames[shown]], path, title=title, columns=[f"frame {t}" for t in shown])
        return
    with whole(path) as part:
        if path.suffix == ".gif":
            write_gif(frames, part, fps)
        else:
            write_mp4(frames, part, fps)


def write_together(videos: dict[str, Frames], path: str | Path, fps: float = 25, title: str = "") -> None:
    """Write videos of one size and length: rows of a contact sheet (up to eight frames), or one beside the other.

    Args:
        videos: uint8 (T, H, W, C) each, by the names of the rows.
        path: a file as for :func:`write_video`.
        fps: frames per second.
        title: the heading of a contact sheet.

    Raises:
        InputError: another file ending.
    """
    if Path(path).suffix != ".png":
        write_video(np.concatenate(list(videos.values()), axis=2), path, fps)
        return
    length = len(next(iter(videos.values())))
    shown = np.linspace(0, length - 1, min(8, length)).round().astype(int)
    rows = [video[shown] for video in videos.values()]
    sheet(rows, path, title, labels=list(videos), columns=[f"frame {t}" for t in shown])


def sheet(
    rows: list[Frames],
    path: str | Path,
    title: str = "",
    labels: list[str] | None = None,
    columns: list[str] | None = None,
) -> None:
    """Write a contact sheet; see :func:`contact_sheet`.

    Args:
        rows: the frames of each row.
        path: the png file; its folder is made.
        title: a heading.
        labels: a name for each row.
        columns: a name for each frame.
    """
    canvas = contact_sheet(rows, title, labels, columns)
    with whole(Path(path)) as part:
        canvas.save(part)


def contact_sheet(
    rows: list[Frames], title: str = "", labels: list[str] | None = None, columns: list[str] | None = None
) -> Image.Image:
    """Draw a contact sheet: one row of frames per video.

    Args:
        rows: videos of one size, uint8 (T, H, W, C) each. A single video is broken into rows of eight.
        title: a heading.
        labels: a name for each row.
        columns: a name for each frame, written below it; once below all rows where there are several.
    """
    captions: list[list[str]] = [[]] * (len(rows) - 1) + [columns or []]
    if len(rows) == 1 and len(rows[0]) > 8:
        starts = range(0, len(rows[0]), 8)
        captions = [(columns or [])[s : s + 8] for s in starts]
        rows = [rows[0][s : s + 8] for s in starts]
    height, width = rows[0].shape[1:3]
    point = max(11, min(height // 12, 16))
    font = ImageFont.load_default(point)
    line = int(point * 1.5)
    left = max((int(font.getlength(label)) for label in labels or []), default=0) + (2 * _GAP if labels else 0)
    top = line * title.count("\n") + line + _GAP if title else _GAP
    tops = [top]
    for caption in captions:
        tops.append(tops[-1] + height + (line if caption else _GAP))
    columns_wide = max(len(row) for row in rows)
    canvas_width = max(
        left + columns_wide * (width + _GAP) + _GAP, int(max(map(font.getlength, title.split("\n")))) + 2 * _GAP
    )
    canvas = Image.new("RGB", (canvas_width, tops[-1] + _GAP), _PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.multiline_text((_GAP, _GAP), title, fill=_INK, font=font)
    for r, row in enumerate(rows):
        y = tops[r]
        if labels:
            draw.text((_GAP, y + height / 2), labels[r], fill=_INK, font=font, anchor="lm")
        for c, frame in enumerate(row):
            x = left + c * (width + _GAP) + _GAP
            canvas.paste(Image.fromarray(frame), (x, y))
        for c, name in enumerate(captions[r]):
            draw.text((left + c * (width + _GAP) + _GAP, y + height + 1), name, fill=_INK, font=font)
    return canvas


def write_gif(frames: Frames, file: Path | BinaryIO, fps: float = 25) -> None:
    """Encode frames, uint8 (T, H, W, C), as an animation that repeats for ever, to a path or a file in memory."""
    # Pillow's own choice of colours, median cut, takes far longer on clips of many colours.
    first, *rest = (Image.fromarray(frame).quantize(method=Image.Quantize.FASTOCTREE) for frame in frames)
    first.save(file, "GIF", save_all=True, append_images=rest, duration=round(1000 / fps), loop=0)


def write_mp4(
    frames: Iterable[Frames],
    file: Path | BinaryIO,
    fps: float | Fraction = 25,
    lossless: bool = False,
    small: bool = False,
) -> None:
    """Encode frames as H.264. One thread, so that the same frames give the same bytes.

    Args:
        frames: uint8 (T, H, W, C), RGB, or one (H, W, C) after the other, at least one.
        file: a path ending in .mp4, or a file in memory.
        fps: frames per second.
        lossless: RGB, bit by bit; or else yuv420p, which halves colour and loses an odd last row and column.
        small: take more time for fewer bytes, and lose a little more; not where lossless.
    """
    first = next(frames := iter(frames))
    height, width = first.shape[:2] if lossless else (side - side % 2 for side in first.shape[:2])
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264rgb" if lossless else "libx264", rate=Fraction(fps))
        stream.width, stream.height, stream.pix_fmt = width, height, "rgb24" if lossless else "yuv420p"
        stream.options = _EXACT if lossless else _SMALL if small else _H264
        stream.codec_context.thread_count = 1
        for frame in chain([first], frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]))
            container.mux(stream.encode(picture if lossless else picture.reformat(format="yuv420p", threads=1)))
        container.mux(stream.encode())


def encoding(lossless: bool) -> str:
    """In words what :func:`write_mp4` does."""
    name, options = ("libx264rgb rgb24", _EXACT) if lossless else ("libx264 yuv420p", _H264)
    return " ".join([name, *(f"{key}={value}" for key, value in options.items())])


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its name when the block ends well, and is removed when it doesn't.

    Raises:
        InputError: the file can't be written.
    """
    refused = f"can't write {path} ({{}}): give a place that can be written"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix=UNFINISHED, suffix=path.suffix, delete=False) as file:
            part = Path(file.name)
    except OSError as error:
        raise InputError(refused.format(error.strerror)) from error
    try:
        yield part
        part.chmod(0o644)
        part.replace(path)
    except OSError as error:
        if error.errno is None:  # not of the system: Pillow's
            raise
        raise InputError(refused.format(error.strerror)) from error
    finally:
        part.unlink(missing_ok=True)


def must_be_writable(out: Path) -> None:
    """Make the folder of ``--out``, before what is to be written there takes its time.

    Raises:
        InputError: it can't be made or written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise InputError(f"can't write to {out} ({error.strerror}): give --out a folder that can be written") from error
