"""A set of real little video files whose classes are colours, in UCF101's layout, and a quiet trainer."""

from pathlib import Path

import av
import lightning.pytorch as L
import numpy as np

from vsr.data.clips import ActionClips

CLIP = {"size": "tiny", "image_size": 16, "num_frames": 4, "patch_size": 8}
TASK = {**CLIP, "num_classes": 3, "global_batch_size": 6}
QUIET = {
    "accelerator": "cpu", "logger": False, "enable_progress_bar": False,
    "enable_model_summary": False, "use_distributed_sampler": False, "num_sanity_val_steps": 0,
}  # fmt: skip
CLASSES = ("Blue", "Green", "Red")


def write(path: Path, colour: int, seed: int) -> None:
    """Eight frames of noise, one colour brighter than the others."""
    pixels = np.random.default_rng(seed).integers(0, 90, (8, 24, 24, 3), dtype=np.uint8)
    pixels[..., colour] += 120
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 24, 24, "yuv420p"
        for picture in pixels:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def lay_out(root: Path) -> Path:
    """24 videos to train on, in groups of two, and six to test; returns their folder."""
    (root / "videos").mkdir(parents=True)
    (root / "classInd.txt").write_text("".join(f"{n} {name}\n" for n, name in enumerate(CLASSES, 1)))
    for label, name in enumerate(CLASSES):
        for n in range(10):
            file = f"{name}/v_{name}_g{n // 2:02}_c{n % 2:02}.avi"
            write(root / "videos" / file, label, 10 * label + n)
            with (root / f"{'train' if n < 8 else 'test'}list01.txt").open("a") as listed:
                listed.write(f"{file} {label + 1}\n" if n < 8 else f"{file}\n")
    return root / "videos"


def clips(videos: Path, **settings: object) -> ActionClips:
    """Their clips, for a probe."""
    usual = {"use": "probe", "size": 16, "num_frames": 4, "stride": 1, "global_batch_size": 6, "num_workers": 0}
    return ActionClips(str(videos), **(usual | settings))  # type: ignore[arg-type]


def trainer(folder: Path, **settings: object) -> L.Trainer:
    """One that keeps to its folder, and saves only where a callback does."""
    settings = QUIET | {"enable_checkpointing": "callbacks" in settings} | settings
    return L.Trainer(default_root_dir=folder, **settings)  # type: ignore[arg-type]
