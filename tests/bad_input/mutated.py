"""Video files and checkpoints with bytes changed, read in a process of their own, so that a crash is seen.

``python mutated.py videos 0 200`` reads 200 files and prints a line for each: its number and what came of it. Case n is
always the same: ``python mutated.py videos 57 1`` reads the 57th alone, and ``--keep DIR`` leaves its file there.
"""

import argparse
import io
import sys
import tempfile
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from bounds import SECONDS, bounded, stop_in
from given import video

from vsr.errors import InputError

EXTREMES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x80\0\0\0", b"\0\0\0\x80")
FORMS = (
    ("mpeg4", "avi"), ("mjpeg", "avi"), ("libx264", "mp4"), ("libx264", "matroska"), ("mpeg2video", "mpegts"),
    ("libvpx", "webm"),
)  # fmt: skip
ENDINGS = {"avi": "avi", "mp4": "mp4", "matroska": "mkv", "mpegts": "ts", "webm": "webm"}

Read = Callable[[Path], None]
Cases = tuple[list[tuple[str, bytes]], Read]
"""Names and sound contents of files, of which a case changes one, and what is done with it."""


def mutate(content: bytes, dice: np.random.Generator) -> bytes:
    """A few changes, half of them near the ends, where headers and indices stand."""
    data = bytearray(content)
    for _ in range(dice.integers(1, 5)):
        end = len(data)
        if end == 0:
            break
        near = min(end, 2048)
        at = int(
            dice.choice([dice.integers(end), dice.integers(near), end - 1 - dice.integers(near)], p=[0.5, 0.3, 0.2])
        )
        span = int(dice.choice([1, 4, 16, 256, max(1, end // 4)]))
        match dice.integers(8):
            case 0:
                data[at] ^= 1 << int(dice.integers(8))
            case 1:
                data[at] = int(dice.integers(256))
            case 2:
                del data[at:]
            case 3:
                del data[at : at + span]
            case 4:
                data[at:at] = dice.bytes(span)
            case 5:
                data[at:at] = data[at : at + span]
            case 6:
                data[at : at + 4] = dice.choice(EXTREMES)
            case 7:
                data[at : at + span] = bytes(len(data[at : at + span]))
    return bytes(data)


def videos() -> Cases:
    """Files of six kinds, measured, and read as training and testing read them."""
    from vsr.data.decode import every_frame, measure, read_frames

    def pick(count: int) -> np.ndarray:
        return np.linspace(0, count - 1, 8).astype(np.int64)

    def read(path: Path) -> None:
        for attempt in (measure, lambda path: read_frames(path, pick), lambda path: [*every_frame(path)]):
            try:
                attempt(path)
            except InputError as error:
                must_be_one_line(error, path)

    return [(f"a.{ENDINGS[form]}", video(codec, form)) for codec, form in FORMS], read


def checkpoints() -> Cases:
    """A checkpoint of vsr fit, in torch's format and its old one, and a Hugging Face folder's two files."""
    import torch
    from safetensors.torch import save

    from vsr.callbacks.checkpoints import read_checkpoint
    from vsr.models.exchange.load import load_encoder
    from vsr.models.exchange.read import read_weights
    from vsr.modules import ActionClassifier, VideoMAE

    module = VideoMAE("tiny", image_size=16, num_frames=4, patch_size=8, global_batch_size=4)
    # All elements of a tensor share one number: its shape is the real one, the file is small.
    state = {name: t.new_full((1,) * t.ndim, 0.5).expand(t.shape) for name, t in module.state_dict().items()}
    content = {
        "state_dict": state, "optimizer_states": [{"state": {0: {"step": torch.tensor(2.0)}}}], "lr_schedulers": [{}],
        "loops": {}, "global_step": 2, "hyper_parameters": {"size": "tiny", "image_size": 16, "num_frames": 4},
        "provenance": {"module": "VideoMAE", "recipe": {"name": "a"}}, "pytorch-lightning_version": "2.6.4",
    }  # fmt: skip
    new, old = io.BytesIO(), io.BytesIO()
    torch.save(content, new)
    torch.save(content, old, _use_new_zipfile_serialization=False)
    model = ActionClassifier(2, None, "tiny", 16, 4, patch_size=8).model

    def read(path: Path) -> None:
        for attempt in (read_checkpoint, read_weights, lambda path: load_encoder(model, path)):
            try:
                attempt(path)
            except InputError as error:
                must_be_one_line(error, path)

    small = {name: torch.zeros(2, 3) for name in ("videomae.encoder.layer.0.attention.attention.q_bias", "a")}
    config = (
        b'{"model_type": "videomae", "image_size": 16, "num_frames": 4, "hidden_size": 192, "id2label": {"0": "a"}}'
    )
    files = [("a.ckpt", new.getvalue()), ("a.ckpt", old.getvalue()), ("inside.ckpt", new.getvalue())]
    return [*files, ("model.safetensors", save(small)), ("config.json", config)], read


def inside(archive: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """A zip archive with its pickle changed and the check sums right: without that no change would get past them."""
    written = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(written, "w") as new:
        for name in old.namelist():
            part = old.read(name)
            new.writestr(name, change(part) if name.endswith("data.pkl") else part)
    return written.getvalue()


def must_be_one_line(error: InputError, path: Path) -> None:
    """It says which file, in a line that can be read."""
    said = str(error)
    assert "\n" not in said, said
    assert len(said) < 1000, said
    assert path.name in said or path.parent.name in said, said


def main() -> None:
    """Read so many cases."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("videos", "checkpoints"))
    parser.add_argument("first", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    sound, read = {"videos": videos, "checkpoints": checkpoints}[asked.kind]()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(-len(sound), asked.first + asked.count):
            if -1 < number < asked.first:
                continue
            name, content = sound[number % len(sound)]
            dice = np.random.default_rng([number % 2**32, len(asked.kind)])
            if number < 0:
                changed = content  # untouched ones first: what they take is start-up
            elif name == "inside.ckpt":
                changed = inside(content, lambda part, dice=dice: mutate(part, dice))
            else:
                changed = mutate(content, dice)
            where = Path(folder if asked.keep is None else asked.keep) / f"case{number}"
            where.mkdir(parents=True, exist_ok=True)
            path = where / name
            if name in ("model.safetensors", "config.json"):
                for other, whole in sound[-2:]:
                    (where / other).write_bytes(whole)
                path.write_bytes(changed)
                path = where
            else:
                path.write_bytes(changed)
            print(number, end=" ", flush=True)
            stop_in(600 if number < 0 else SECONDS)
            try:
                if number < 0:
                    read(path)
                else:
                    with bounded():
                        read(path)
                print("well", flush=True)
            except BaseException as error:
                place = traceback.extract_tb(error.__traceback__)[-1]
                print(
                    type(error).__name__,
                    " ".join(str(error).split())[:300],
                    f"{place.filename}:{place.lineno}",
                    flush=True,
                )
                if asked.count == 1:
                    traceback.print_exc(file=sys.stdout)


if __name__ == "__main__":
    main()
