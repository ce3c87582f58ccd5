"""How many clips a second are decoded, by one thread: ``python benchmarks/decode.py``.

A clip is 16 frames, 4 apart, at a random place: what fine-tuning reads. Ours is compared with a plain PyAV reader,
which decodes the whole video and picks frames, and with torchcodec where it is installed (one thread, exact mode, a
decoder for each clip, as a loader has it). All give the frames in RGB. The videos are made: H.264 as Kinetics-400
is kept, MPEG-4 in AVI as UCF101 is; ``--videos`` adds a folder of others. Also: how much the process grows over many
decodes.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import av
import environment
import numpy as np
import psutil
from numpy.typing import NDArray

from vsr.data.decode import METADATA, measure, read_frames
from vsr.data.sampling import train_frames

environment.PACKAGES = ("av", "torchcodec", "numpy")
CLIPS = 6  # per file and repetition
MADE = {  # codec, its options, frames, height, width
    "H.264, 10 s, a key frame every 250.mp4": ("libx264", {"g": "250"}, 300, 256, 340),
    "H.264, 10 s, a key frame every 12.mp4": ("libx264", {"g": "12"}, 300, 256, 340),
    "H.264, 1 min, a key frame every 250.mp4": ("libx264", {"g": "250"}, 1500, 256, 340),
    "MPEG-4, 7 s, one key frame.avi": ("mpeg4", {"g": "600", "bf": "2"}, 180, 240, 320),
}
Pick = Callable[[int], NDArray[np.int64]]


def make(path: Path, codec: str, options: dict[str, str], frames: int, height: int, width: int) -> Path:
    """A smooth picture that moves, with noise and a cut every 4 s."""
    rng = np.random.default_rng(0)
    grain = rng.integers(-6, 7, (2 * height, 2 * width, 3))
    y, x = np.mgrid[0:height, 0:width]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for k in range(frames):
            scene = k // 100 + 1
            channels = [np.sin((x * scene + 3 * k) / 23), np.sin((y + 2 * k) / (9 + scene)), np.sin((x - y + k) / 31)]
            top, left = rng.integers(0, (height, width))
            picture = 127 + 110 * np.stack(channels, -1) + grain[top : top + height, left : left + width]
            frame = av.VideoFrame.from_ndarray(picture.clip(0, 255).astype(np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def plain(path: Path, pick: Pick) -> NDArray[np.uint8]:
    """Everything is decoded, then frames are picked."""
    with av.open(str(path), **METADATA) as container:
        context = container.streams.video[0].codec_context
        context.thread_type, context.thread_count = "SLICE", 1
        frames = list(container.decode(video=0))
        wanted = pick(len(frames)).tolist()
        known = {number: frames[number].reformat(format="rgb24", threads=1).to_ndarray() for number in set(wanted)}
        return np.stack([known[number] for number in wanted])


def with_torchcodec(path: Path, pick: Pick) -> NDArray[np.uint8]:
    """By torchcodec."""
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(str(path), num_ffmpeg_threads=1, dimension_order="NHWC")
    return decoder.get_frames_at(pick(len(decoder)).tolist()).data.numpy()


def readers(path: Path) -> dict[str, Callable[[Path, Pick], NDArray[np.uint8]]]:
    """By name; torchcodec if it can read a file."""
    found = {"vsr": read_frames, "plain PyAV": plain}
    try:
        with_torchcodec(path, lambda count: np.array([0]))
    except ModuleNotFoundError:
        print("* torchcodec: not installed, left out")
    except (RuntimeError, OSError) as error:
        print(f"* torchcodec: can't be used, left out ({str(error).splitlines()[0]})")
    else:
        found["torchcodec"] = with_torchcodec
    return found


def row(name: str, files: list[Path], repetitions: int, every: dict[str, Callable[..., NDArray[np.uint8]]]) -> str:
    """One line of the table."""
    words = np.random.default_rng(1).integers(0, 2**32, CLIPS).tolist()
    jobs = [(path, partial(train_frames, word=word)) for path in files for word in words]

    def all_clips(read: Callable[..., NDArray[np.uint8]]) -> None:
        for path, pick in jobs:
            read(path, pick)

    path, pick = jobs[0]
    for read in every.values():
        assert (
            np.array_equal(read(path, pick), plain(path, pick)) or read is with_torchcodec
        )  # may convert colours otherwise
    taken = environment.interleaved(
        {reader: partial(all_clips, read) for reader, read in every.items()}, repetitions, len(jobs)
    )
    return " | ".join([f"| {name}", *(f"{1 / median(times):.1f}" for times in taken.values())]) + " |"


def growth(files: list[Path], decodes: int) -> float:
    """MiB by which this process grows over so many clips, after as many as fill its caches."""
    process = psutil.Process()
    for number in range(decodes + 200):
        if number == 200:
            before = process.memory_info().rss
        read_frames(files[number % len(files)], partial(train_frames, word=number * 2654435761 % 2**32))
    return (process.memory_info().rss - before) / 2**20


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, help="a folder of other videos; 20 of them are read")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--decodes", type=int, default=2000, help="clips over which growth is measured")
    arguments = parser.parse_args()
    print(environment.header())
    with tempfile.TemporaryDirectory() as folder:
        made = {name: make(Path(folder) / name, *settings) for name, settings in MADE.items()}
        every = readers(next(iter(made.values())))
        print("", "Clips per second, median.", "", sep="\n")
        print(f"| videos | {' | '.join(every)} |", f"|---|{'---:|' * len(every)}", sep="\n")
        for name, path in made.items():
            print(row(name[:-4], [path], arguments.repetitions, every), flush=True)
        files = [path for name, path in made.items() if "1 min" not in name]
        if arguments.videos is not None:
            found = sorted(p for p in arguments.videos.rglob("*") if p.is_file())
            some = found[:: max(len(found) // 20, 1)][:20]
            frames = sorted(measure(path).frames for path in some)
            name = f"{arguments.videos.name}, {len(some)} of {frames[0]} to {frames[-1]} frames"
            print(row(name, some, arguments.repetitions, every), flush=True)
            files += some
        print(
            "",
            f"Over {arguments.decodes} clips the process grew by {growth(files, arguments.decodes):.1f} MiB.",
            sep="\n",
        )


if __name__ == "__main__":
    main()
