"""Frames from video files, by PyAV: exact frame numbers, honest about damage, decoding no more than is needed.

Frames are numbered as they are shown, from 0: frame k is the k-th that plain decoding from the start gives. Headers
are not believed: packets are counted, and where fewer frames decode than there are packets (DivX files with packed
B-frames have one frame less), decoding wins.

All packets of a video are read, which costs little; few are decoded. Where a file's timestamps tell which packet
holds which frame, decoding begins at the key frame before the first wanted one, and frames that no other needs are
passed over. That is believed of H.264, HEVC, VP9 and AV1 in MP4 and Matroska, and of other codecs there if it is known
that every packet gives a frame. AVI has no timestamps: such files, like UCF101's, are decoded from their start, as is
any file of which decoding in the middle doesn't give what its timestamps promise.

A file that is cut off is refused, even if what is left of it decodes: half a video shows another action. AVI and MP4
files tell that they are cut off; Matroska and MPEG-TS files don't and are read as the shorter videos they have become.
"""

from __future__ import annotations  # av.Packet takes a type argument for type checkers only

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, cast

import av
import numpy as np
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vsr.errors import InputError

VIDEO_ENDINGS = (
    ".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts",
    ".vob", ".webm", ".wmv",
)  # fmt: skip
"""How the names of video files end, in small letters, where a folder has others beside them."""
METADATA: dict[str, Any] = {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}
"""To open HMDB51's files, which have metadata that is not UTF-8; PyAV 19 takes it as it is, without an option."""

_REMEDY = "copy or download it again, or take it off the list"
_KEPT = 64 * 2**20  # bytes of packets kept in memory; of larger files they are read a second time
_REORDER = 16  # frames by which B-frames change the order at most (H.264, HEVC)
_TIMED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")  # what FFmpeg calls MP4 and Matroska
_ONE_FRAME_A_PACKET = ("h264", "hevc", "vp9", "libdav1d")  # decoders; VP8, for one, has packets that show nothing
_SKIP = ("h264", "hevc")  # decoders that can be told for each packet whether its frame is wanted

Frames = dict[int, NDArray[np.uint8]]


class Measured(NamedTuple):
    """What decoding a whole video tells.

    Attributes:
        frames: how many decode.
        height: of the video as it is shown, px.
        width: likewise, px.
        fps: frames per second, as the file states it; 0 where it doesn't.
    """

    frames: int
    height: int
    width: int
    fps: float


def measure(path: str | Path) -> Measured:
    """Decode a whole video.

    Raises:
        InputError: it can't be read, is cut off or damaged, has no video, or its frames change size.
    """
    path = Path(path)
    count, sizes = 0, set()
    for frame in _decode(path):
        count += 1
        sizes.add((frame.height, frame.width) if abs(frame.rotation) % 180 != 90 else (frame.width, frame.height))
    if count == 0:
        raise _no_frames(path)
    if len(sizes) > 1:
        raise _sizes_change(path)
    with _open(path) as container:
        rate = container.streams.video[0].average_rate
    return Measured(count, *sizes.pop(), float(rate or 0))


def read_frames(
    path: str | Path, pick: Callable[[int], NDArray[np.int64]], count: int | None = None
) -> NDArray[np.uint8]:
    """The picked frames of a video, upright.

    Args:
        path: the video file.
        pick: given the number of frames in the file, the wanted ones (T,), each from 0 to that number less
            one, in any order and as often as wanted. It is called with ``count`` or the number of packets and, where
            the end comes before the last frame it picked, again with the number of frames that decoded.
        count: the number of frames, where it is known from decoding the file (:func:`measure`).

    Returns:
        uint8 (T, H, W, 3), RGB. The display matrix is applied (quarter turns and mirrors), so H and W are
        those of the video as it is shown.

    Raises:
        InputError: the file can't be read, is cut off, has no video, is damaged where it is decoded (before the last
            wanted frame), or its frames change size.
    """
    path = Path(path)
    with _open(path) as container:
        listed = _list_packets(path, container)
        if not listed.pts:
            raise _no_frames(path)
        wanted = pick(listed.shown if count is None else count)
        numbers = _numbers(container, listed, count)
        frames = None if numbers is None else _from_key_frame(path, container, listed, numbers, wanted)
        if frames is not None:
            return _stack(path, frames, wanted)
        kept = listed.packets if numbers is None else None  # else the decoder has begun in the middle
        again = _decode(path) if kept is None else _decode_packets(path, container, kept)
        with closing(again):
            frames, decoded = _keep(again, wanted)
    if decoded <= wanted.max():  # the end came sooner
        if decoded == 0:
            raise _no_frames(path)
        wanted = pick(decoded)
        with closing(_decode(path)) as again:
            frames, _ = _keep(again, wanted)
    return _stack(path, frames, wanted)


def every_frame(path: str | Path) -> Generator[NDArray[np.uint8]]:
    """All frames of a video in turn, upright, uint8 (H, W, 3), RGB.

    Raises:
        InputError: as :func:`read_frames`, when it is met.
    """
    path, reformatter, sizes = Path(path), VideoReformatter(), set()
    for frame in _decode(path):
        pixels = _upright(frame, reformatter)
        sizes.add(pixels.shape)
        if len(sizes) > 1:
            raise _sizes_change(path)
        yield pixels
    if not sizes:
        raise _no_frames(path)


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


class _Listed(NamedTuple):
    """The packets of a video, in the order of the file.

    Attributes:
        pts: the time each is shown, in the stream's units; None where the file doesn't say.
        keys: those that hold key frames, by their place.
        shown: how many are to be shown.
        packets: they themselves; None where they are too large to keep.
    """

    pts: list[int | None]
    keys: list[int]
    shown: int
    packets: list[av.Packet[VideoStream]] | None


def _list_packets(path: Path, container: InputContainer) -> _Listed:
    pts: list[int | None] = []
    keys: list[int] = []
    packets: list[av.Packet[VideoStream]] | None = []
    size = discarded = 0
    for number, packet in enumerate(_packets(path, container)):
        pts.append(packet.pts)
        if packet.is_keyframe:
            keys.append(number)
        discarded += packet.is_discard
        size += packet.size
        if size > _KEPT:
            packets = None
        if packets is not None:
            packets.append(packet)
    return _Listed(pts, keys, len(pts) - discarded, packets)


def _numbers(container: InputContainer, listed: _Listed, count: int | None) -> list[int] | None:
    """Which frame each packet holds, by the order of their times; None where that is not certain."""
    if container.format.name not in _TIMED:
        return None
    pts = [time for time in listed.pts if time is not None]
    if not len(set(pts)) == len(listed.pts) == listed.shown or listed.keys[:1] != [0]:
        return None
    numbers: list[int] = np.argsort(np.argsort(pts)).tolist()
    # A first packet that isn't shown first has frames before it that can't be decoded; times that begin anew in the
    # middle of a file put frames far from their packets.
    if numbers[0] != 0 or max(abs(number - place) for place, number in enumerate(numbers)) > _REORDER:
        return None
    sure = container.streams.video[0].codec_context.name in _ONE_FRAME_A_PACKET or count == len(pts)
    return numbers if sure else None


def _from_key_frame(
    path: Path, container: InputContainer, listed: _Listed, numbers: list[int], wanted: NDArray[np.int64]
) -> Frames | None:
    """The wanted frames by number, decoded from the key frame before the first of them; None where that fails."""
    left = set(wanted.tolist())
    start = max(place for place in listed.keys if numbers[place] <= min(left))
    if not left <= set(numbers[start:]):
        return None
    number_at = dict(zip(listed.pts, numbers, strict=True))
    context = _one_thread(container)
    skips = context.name in _SKIP
    reformatter = VideoReformatter()
    frames: Frames = {}
    begun = False
    try:
        for place, packet in chain(_from_place(path, container, listed, start), [(-1, None)]):
            if skips:  # an unwanted frame that no other is predicted from
                context.skip_frame = "DEFAULT" if packet is None or numbers[place] in left else "NONREF"
            for frame in context.decode(packet):
                number = number_at.get(frame.pts)
                if number is None or (number in left and frame.is_corrupt):
                    return None
                if number == numbers[start]:
                    begun = bool(frame.key_frame)  # what the container calls one may not be one
                if number in left and begun:
                    left.remove(number)
                    frames[number] = _upright(frame, reformatter)
            if not left:
                return frames
    except av.FFmpegError:
        pass  # decoding from the start will tell where the damage is
    return None


def _from_place(
    path: Path, container: InputContainer, listed: _Listed, start: int
) -> Iterator[tuple[int, av.Packet[VideoStream]]]:
    """The packets from a place on, with their places; of a large file, those that seeking to it finds."""
    if listed.packets is not None:
        yield from enumerate(listed.packets[start:], start)
        return
    places = {time: place for place, time in enumerate(listed.pts)}
    container.seek(cast("int", listed.pts[start]), stream=container.streams.video[0])
    for packet in _packets(path, container):
        if (place := places[packet.pts]) >= start:
            yield place, packet


def _one_thread(container: InputContainer) -> VideoCodecContext:
    """The decoder, set up. Frame threads may hang when decoding stops early, and the loader has its workers."""
    context = container.streams.video[0].codec_context
    context.thread_type, context.thread_count = "SLICE", 1
    return context


def _keep(decoded: Iterable[av.VideoFrame], wanted: NDArray[np.int64]) -> tuple[Frames, int]:
    """The wanted frames by number, and how many frames were decoded to get them."""
    numbers, last = set(wanted.tolist()), int(wanted.max())
    frames: Frames = {}
    # PyAV makes a pool of threads per frame by default; a forked worker that collects an old one hangs.
    reformatter = VideoReformatter()
    count = 0
    for number, frame in enumerate(decoded):
        count = number + 1
        if number in numbers:
            frames[number] = _upright(frame, reformatter)
        if number == last:
            break
    return frames, count


def _stack(path: Path, frames: Frames, wanted: NDArray[np.int64]) -> NDArray[np.uint8]:
    if len({frame.shape for frame in frames.values()}) > 1:
        raise _sizes_change(path)
    return np.stack([frames[number] for number in wanted.tolist()])


def _upright(frame: av.VideoFrame, reformatter: VideoReformatter) -> NDArray[np.uint8]:
    rgb = reformatter.reformat(frame, format="rgb24", threads=1)
    pixels = rgb.to_ndarray().astype(np.uint8, copy=False)
    side_data = cast("Mapping[str, bytes]", frame.side_data)  # PyAV's annotation knows one key only
    matrix = side_data.get("DISPLAYMATRIX")
    return pixels if matrix is None else turn(pixels, np.frombuffer(matrix, np.int32))


def _decode(path: Path) -> Generator[av.VideoFrame]:
    """Every frame of a file, in the order they are shown."""
    with _open(path) as container:
        yield from _decode_packets(path, container, _packets(path, container))


def _decode_packets(
    path: Path, container: InputContainer, packets: Iterable[av.Packet[VideoStream]]
) -> Generator[av.VideoFrame]:
    context = _one_thread(container)
    decoded = 0
    try:
        for packet in packets:
            for frame in context.decode(packet):
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
        container = av.open(str(path), **METADATA)
    except av.FFmpegError as error:
        raise InputError(f"{path}: {_trouble(path, error)}") from error
    with container:
        if not container.streams.video:
            raise InputError(f"{path}: has no video stream: {_REMEDY}")
        if cast("VideoCodecContext | None", container.streams.video[0].codec_context) is None:
            raise InputError(f"{path}: its codec is none that FFmpeg knows, or its header is damaged: {_REMEDY}")
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


def _sizes_change(path: Path) -> InputError:
    return InputError(f"{path}: its frames change size: convert it to one size, or take it off the list")
