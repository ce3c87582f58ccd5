"""Perturbations by video codecs: all frames of a video, compressed badly and decoded again.

The benchmark's names are off by a generation. Its code runs ``ffmpeg -c:v mpeg2video -q:v {20 s} -f vob`` for "MPEG-1",
which is MPEG-2 video, and ``ffmpeg -c:v mpeg4 -q:v {15 s} OUT.avi`` for "MPEG-2", which is MPEG-4 part 2. Their
quantisers end at 31, so that severities 2 to 5 are nearly one level: on the first 30 frames of UCF101's
``v_ApplyEyeMakeup_g01_c01`` the PSNR (of Y, U and V together) is 34.7, 32.3, 32.2, 32.1, 32.1 dB for ``mpeg1`` and
35.5, 31.6, 31.3, 31.2, 31.1 dB for ``mpeg2``. What still changes beyond 31 is how bits are weighed against distortion.

Here frames go through encoder and decoder in memory, on one thread (on many, FFmpeg cuts MPEG-2 pictures into slices).
From yuv420p to yuv420p that gives, bit by bit, the pixels of the ``ffmpeg`` command of the same version on the same
processor; others may round a few blocks otherwise. The command has yuv420p from the file; here frames come as RGB,
whose colour is halved for the codec.

Source: the benchmark's ``save_noise_dataset.py``.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import cast

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from vsr.corruptions import Cell
from vsr.errors import InputError

Frame = NDArray[np.uint8]
_CODECS = {"mpeg1": ("mpeg2video", 20), "mpeg2": ("mpeg4", 15)}  # and -q:v of severity 1
_LAMBDA = 118  # FFmpeg's FF_QP2LAMBDA: a quantiser as a Lagrange factor


def recode(cell: Cell, frames: Iterable[Frame]) -> Iterator[Frame]:
    """Compress frames and decode them again, one after the other: few are held at a time.

    The rate makes no difference at a constant quantiser, so none is asked for. An odd last row or column is
    repeated for the codec, which halves colour, and cut off again.

    Args:
        cell: one that works on files, ``mpeg1`` or ``mpeg2``; see the module for what these are.
        frames: uint8 (H, W, 3) each, RGB, all of one size.

    Returns:
        As many frames of the same size.

    Raises:
        InputError: at once: the cell works on something else, or FFmpeg lacks the codec. While frames are taken:
            their size changes, is one that the codec doesn't have, or another number of them comes out.
    """
    if cell.perturbation not in _CODECS:
        raise InputError(f"{cell.perturbation} is no codec: give one of {', '.join(_CODECS)}")
    name, quantiser = _CODECS[cell.perturbation]
    encoder, decoder = _coder(cell, name, "w"), _coder(cell, name, "r")
    encoder.options = _constant(quantiser * cell.severity)
    return _through(cell, encoder, decoder, frames)


def _constant(quantiser: int) -> dict[str, str]:
    """What ``ffmpeg -q:v`` does, as options of an encoder.

    The command also sets the quality of every frame, which PyAV can't. A rate control that may choose one Lagrange
    factor only, also for key frames, comes to the same bits.
    """
    factor = str(quantiser * _LAMBDA)
    return {"lmin": factor, "lmax": factor, "i_qfactor": "1"}


def _coder(cell: Cell, name: str, mode: str) -> VideoCodecContext:
    try:
        # PyAV's annotations want literals.
        coder = cast("VideoCodecContext", av.CodecContext.create(name, mode))  # type: ignore[call-overload]
    except av.codec.codec.UnknownCodecError as error:
        kind = {"w": "encoder", "r": "decoder"}[mode]
        raise InputError(
            f"{cell.perturbation} needs the {kind} {name!r}, which FFmpeg {av.ffmpeg_version_info} of PyAV lacks here: "
            "install PyAV's own wheel (pip install --force-reinstall av), or leave this perturbation out"
        ) from error
    coder.thread_count = 1
    return coder


def _through(
    cell: Cell, encoder: VideoCodecContext, decoder: VideoCodecContext, frames: Iterable[Frame]
) -> Iterator[Frame]:
    size: tuple[int, ...] = ()
    reformatter, name = VideoReformatter(), encoder.name  # PyAV 19 ends the process when a refused encoder is asked
    taken = given = 0
    try:
        for frame in frames:
            if not taken:
                size = frame.shape
                encoder.height, encoder.width = (side + side % 2 for side in size[:2])
                encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", Fraction(1, 25), Fraction(25)
            elif frame.shape != size:
                raise InputError(
                    f"{cell.perturbation}: frame {taken} has shape {frame.shape}, those before {size}: give frames of "
                    "one size"
                )
            even = np.pad(frame, ((0, size[0] % 2), (0, size[1] % 2), (0, 0)), mode="edge")
            rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(even))
            picture = reformatter.reformat(rgb, format="yuv420p", threads=1)
            picture.pts, picture.time_base = taken, encoder.time_base
            taken += 1
            for packet in encoder.encode(picture):
                for back in decoder.decode(packet):
                    yield _rgb(back, size, reformatter)
                    given += 1
        if taken:
            last = [back for packet in encoder.encode(None) for back in decoder.decode(packet)]
            for back in [*last, *decoder.decode(None)]:
                yield _rgb(back, size, reformatter)
                given += 1
    except av.FFmpegError as error:
        raise InputError(
            f"{cell.perturbation} can't code {size[1]} x {size[0]} px with {name} ({error.strerror}): "
            "resize them, or leave this perturbation out"
        ) from error
    if given != taken:
        raise InputError(
            f"{cell.perturbation}: {taken} frames went into {name} and {given} came out: this FFmpeg "
            f"({av.ffmpeg_version_info}) can't be used, install PyAV's own wheel"
        )


def _rgb(picture: av.VideoFrame, size: tuple[int, ...], reformatter: VideoReformatter) -> Frame:
    rgb = reformatter.reformat(picture, format="rgb24", threads=1).to_ndarray()
    return np.ascontiguousarray(rgb[: size[0], : size[1]]).astype(np.uint8, copy=False)
