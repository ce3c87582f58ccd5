"""What cases are given: a folder with sound videos, lists, textures and checkpoints, and ways to spoil files."""

import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import torch
from PIL import Image

from vsr.cli import main

TINY = (
    "--config configs/scale/laptop.yaml --trainer.max_steps 2 --trainer.accelerator cpu --data.size 16 "
    "--data.num_frames 4 --data.global_batch_size 4 --trainer.enable_progress_bar false"
)

Maker = Callable[[Path], bytes]
"""The content of a file, from the folder that it is to lie in."""


def lay_out(folder: Path) -> None:
    """Twelve little videos of two classes with lists in all four layouts, and three textures."""
    for name in ("lists", "textures"):
        (folder / name).mkdir(parents=True)
    (folder / "lists" / "classInd.txt").write_text("1 Jump\n2 Run\n")
    names = [f"{c}/v_{c}_{i}.avi" for c in ("Jump", "Run") for i in range(6)]
    for seed, name in enumerate(names):
        label, subset = seed // 6, "train" if seed % 6 < 4 else "test"
        for path in (folder / "videos" / name, folder / "folders" / subset / name):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(video(seed=seed))
        kind, file = name.split("/")
        lines = {
            f"{subset}list01.txt": f"{name} {label + 1}" if subset == "train" else name,
            f"{kind}_test_split1.txt": f"{file} {1 if subset == 'train' else 2}",
            f"{subset}.csv": f"{name} {label}",
        }
        for listed, line in lines.items():
            with (folder / "lists" / listed).open("a") as opened:
                opened.write(f"{line}\n")
    for seed in range(3):
        (folder / "textures" / f"{seed}.png").write_bytes(png(seed))


def train(folder: Path) -> None:
    """A pre-training checkpoint and a classifier's, of two steps each, in ``made/``; run in ``folder``."""
    main(f"fit --config configs/pretrain/static_circles.yaml {TINY}".split())
    (folder / "made").mkdir(exist_ok=True)
    last = "default/checkpoints/last.ckpt"
    (folder / "runs/pretrain/static_circles" / last).rename(folder / "made/pretrained.ckpt")
    main(
        f"fit --config configs/finetune/folders.yaml {TINY} --data.videos folders --data.num_workers 0 "
        "--data.stride 2 --model.checkpoint made/pretrained.ckpt".split()
    )
    (folder / "runs/finetune/folders" / last).rename(folder / "made/classifier.ckpt")


def video(
    codec: str = "mpeg4", form: str = "avi", frames: int = 20, height: int = 24, width: int = 32, seed: int = 0
) -> bytes:
    """A little video of noise."""
    shade = np.random.default_rng(seed).integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
    written = io.BytesIO()
    with av.open(written, "w", format=form) as container:
        stream = container.add_stream(codec, rate=25)
        layout = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.width, stream.height, stream.pix_fmt = width, height, layout
        for picture in shade:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture).reformat(format=layout, threads=1)))
        container.mux(stream.encode())
    return written.getvalue()


def sound() -> bytes:
    """A file with sound and no picture."""
    written = io.BytesIO()
    with av.open(written, "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux([*stream.encode(frame), *stream.encode()])
    return written.getvalue()


def png(seed: int = 0, side: int = 32) -> bytes:
    """A picture of noise."""
    written = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(written, "png")
    return written.getvalue()


def tar(**members: bytes) -> bytes:
    """An archive; ``__`` in a member's name is a point."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name.replace("__", "."))
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return written.getvalue()


def zipped(**members: bytes) -> bytes:
    """A zip archive, which isn't one of torch's."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return written.getvalue()


def gzipped(content: bytes) -> bytes:
    """Compressed."""
    return gzip.compress(content)


def saved(content: object) -> bytes:
    """What ``torch.save`` writes."""
    written = io.BytesIO()
    torch.save(content, written)
    return written.getvalue()


def safetensors(header: bytes) -> bytes:
    """A file of safetensors with this header and no numbers."""
    return struct.pack("<Q", len(header)) + header


def of(name: str, change: Callable[[bytes], bytes]) -> Maker:
    """A sound file of the folder, changed."""
    return lambda folder: change((folder / name).read_bytes())


def cut(share: float) -> Callable[[bytes], bytes]:
    """The first part."""
    return lambda content: content[: int(share * len(content))]


def checkpoint(name: str, change: Callable[[dict], object]) -> Maker:
    """A checkpoint of ``made/``, its content changed."""

    def make(folder: Path) -> bytes:
        content = torch.load(folder / "made" / name, weights_only=True)
        return saved(change(content))

    return make


class Case(NamedTuple):
    """One line of the table.

    Attributes:
        words: the command line after ``vsr``.
        said: what stands after ``vsr: error:``; ``…`` is any text.
        files: that are written first: names and contents.
    """

    words: str
    said: str
    files: Mapping[str, str | bytes | Maker] = {}
