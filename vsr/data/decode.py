"""Frames from video files, by PyAV: exact frame numbers, honest about damage.

Frames are numbered as they are shown, from 0. Headers are not believed: packets are counted, and where fewer
frames decode than there are packets (DivX files with packed B-frames have one frame less), decoding wins. A
file that is cut off is refused, even if what is left of it decodes: half a video shows another action. AVI
and MP4 files tell that they are cut off; Matroska and MPEG-TS files don't and are read as the shorter videos
they have become.
"""

from __future__ import annotations  # av.Packet takes a type argument for type checkers only

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vsr.errors import InputError

_REMEDY = "copy or download it again, or take it off the list"


def count_frames(path: str | Path) -> int:
    """The frames that decode, counted by decoding the whole file.

    Raises:
        InputError: the file can't be read, is cut off or damaged, or has no video.
    """
    count = sum(1 for _ in _decode(Path(path)))
    if count == 0:
        raise _no_frames(Path(path))
    return count


def read_frames(path: str | Path, pick: Callable[[int], NDArray[np.int64]]) -> NDArray[np.uint8]:
    """The picked frames of a video, upright, decoding no further than the last of them.

    Args:
        path: the video file.
        pick: given the number of frames in the file, the wanted ones (T,), each from 0 to that number less
            one, in any order and as often as wanted. It is called with the number of packets and, where the
            end comes before the last frame it picked, again with the number of frames that decoded.

    Returns:
        uint8 (T, H, W, 3), RGB. The display matrix is applied (quarter turns and mirrors), so H and W are
        those of the video as it is shown.

    Raises:
        InputError: the file can't be read, is cut off, has no video, is damaged before the last wanted frame
            (what lies behind it isn't looked at), or its frames change size.
    """
    path = Path(path)
    count = _count_packets(path)
    if count == 0:
        raise _no_frames(path)
    wanted = pick(count)
    frames, decoded = _keep(path, wanted)
    if decoded <= wanted.max():  # the end came sooner
        if decoded == 0:
            raise _no_frames(path)
        wanted = pick(decoded)
        frames, _ = _keep(path, wanted)
    if len({frame.shape for frame in frames.values()}) > 1:
        raise InputError(f"{path}: its frames change size: convert it to one size, or take it off the list")
    return np.stack([frames[number] for number in wanted.tolist()])


def turn(frame: NDArray[np.uint8], matrix: NDArray[np.int32]) -> NDArray[np.uint8]:
    """A frame as it is shown: the nearest of the eight quarter turns and mirrors to a display matrix.

    Args:
        frame: uint8 (H, W, C).
        matrix: int32 (9,), row by row a, b, u, c, d, v, x, y, w in fixed point; a stored point (x, y),
            y downwards, is shown at (a x + c y, b x + d y).

    Returns:
        uint8 (H, W, C) or (W, H, C).

    Source: FFmpeg, ``libavutil/display.h``.
    """
    a, b, _, c, d = matrix.tolist()[:5]
    if abs(b) + abs(c) > abs(a) + abs(d):
        frame, a, d = frame.swapaxes(0, 1), c, b
    return frame[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _keep(path: Path, wanted: NDArray[np.int64]) -> tuple[dict[int, NDArray[np.uint8]], int]:
    """The wanted frames by number, and how many frames were decoded to get them."""
    numbers, last = set(wanted.tolist()), int(wanted.max())
    frames: dict[int, NDArray[np.uint8]] = {}
    # PyAV makes a pool of threads per frame by default; a forked worker that collects an old one hangs.
    reformatter = VideoReformatter()
    decoded = 0
    for number, frame in enumerate(_decode(path)):
        decoded = number + 1
        if number in numbers:
            frames[number] = _upright(frame, reformatter)
        if number == last:
            break
    return frames, decoded


def _upright(frame: av.VideoFrame, reformatter: VideoReformatter) -> NDArray[np.uint8]:
    rgb = reformatter.reformat(frame, format="rgb24", threads=1)
    pixels = rgb.to_ndarray().astype(np.uint8, copy=False)
    side_data = cast("Mapping[str, bytes]", frame.side_data)  # PyAV's annotation knows one key only
    matrix = side_data.get("DISPLAYMATRIX")
    return pixels if matrix is None else turn(pixels, np.frombuffer(matrix, np.int32))


def _count_packets(path: Path) -> int:
    with _open(path) as container:
        return sum(not packet.is_discard for packet in _packets(path, container))


def _decode(path: Path) -> Iterator[av.VideoFrame]:
    decoded = 0
    with _open(path) as container:
        context = container.streams.video[0].codec_context
        # Frame threads may hang when decoding stops early; one thread: the loader has its workers.
        context.thread_type, context.thread_count = "SLICE", 1
        try:
            for packet in _packets(path, container):
                for frame in packet.decode():
                    yield frame
                    decoded += 1
            yield from context.decode(None)
        except av.FFmpegError as error:
            raise InputError(f"{path}: damaged after frame {decoded} ({error.strerror}): {_REMEDY}") from error


def _packets(path: Path, container: InputContainer) -> Iterator[av.Packet[VideoStream]]:
    """The packets of the first video stream, without those of no content."""
    number = 0
    try:
        for packet in container.demux(container.streams.video[0]):
            if packet.is_corrupt:  # FFmpeg marks a packet so when the file ends within it
                raise InputError(f"{path}: cut off or damaged at frame {number}: {_REMEDY}")
            if packet.size:
                yield packet
                number += 1
    except av.FFmpegError as error:
        raise InputError(f"{path}: damaged after frame {number} ({error.strerror}): {_REMEDY}") from error


@contextmanager
def _open(path: Path) -> Iterator[InputContainer]:
    """An open container with a video stream; it is closed whatever happens."""
    try:
        # HMDB51 has files whose metadata is not UTF-8.
        container = av.open(str(path), metadata_errors="ignore")
    except av.FFmpegError as error:
        raise InputError(f"{path}: {_trouble(path, error)}") from error
    with container:
        if not container.streams.video:
            raise InputError(f"{path}: has no video stream: {_REMEDY}")
        yield container


def _trouble(path: Path, error: av.FFmpegError) -> str:
    """Why a file can't be opened, and the remedy."""
    if not path.is_file():
        return "no such file: check the path"
    with path.open("rb") as file:
        start = file.read(40)
    if not start:
        return f"empty (0 bytes): {_REMEDY}"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the video itself: fetch it with 'git lfs pull'"
    return f"not a readable video ({error.strerror}): {_REMEDY}"


def _no_frames(path: Path) -> InputError:
    return InputError(f"{path}: not one frame decodes: {_REMEDY}")
