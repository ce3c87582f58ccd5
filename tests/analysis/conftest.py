"""Videos whose frames can be told apart, as files."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch


@pytest.fixture(scope="session")
def write() -> Callable[..., Path]:
    """Write uint8 (T, H, W, 3) to a file, losslessly but for rounding between colour spaces."""

    def to(path: Path, frames: np.ndarray) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264rgb", rate=25, options={"crf": "0"})
            stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "rgb24"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
            container.mux(stream.encode())
        return path

    return to


@pytest.fixture(scope="session")
def numbered() -> Callable[..., np.ndarray]:
    """Frames of noise in colour whose first pixel is their number."""

    def frames(count: int, height: int = 80, width: int = 96, seed: int = 0) -> np.ndarray:
        pixels = np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
        pixels[:, height // 2, width // 2] = np.arange(count)[:, None]
        return pixels

    return frames


@pytest.fixture(scope="session")
def films(tmp_path_factory, write, numbered) -> Path:
    """Six videos, two of them in a folder of their own, one shorter than a clip, one larger."""
    folder = tmp_path_factory.mktemp("films") / "natural"
    for number in range(4):
        write(folder / f"{number}.mp4", numbered(24, seed=number))
    write(folder / "deep" / "short.mkv", numbered(9, seed=4))
    write(folder / "deep" / "large.mp4", numbered(20, 300, 400, seed=5))
    (folder / "notes.txt").write_text("no video")
    return folder


@pytest.fixture(scope="session")
def stub_i3d(tmp_path_factory) -> Path:
    """A TorchScript file that is called as I3D's is; it gives mean and extremes of what it sees, and its shape."""

    class Stub(torch.nn.Module):
        def forward(
            self, x: torch.Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False
        ) -> torch.Tensor:
            if rescale or resize or not return_features:
                raise RuntimeError("flags")
            first = x.mean(dim=[3, 4]).flatten(1)
            return torch.cat([first, x.amin(dim=[1, 2, 3, 4])[:, None], x.amax(dim=[1, 2, 3, 4])[:, None]], dim=1)

    path = tmp_path_factory.mktemp("weights") / "i3d_torchscript.pt"
    with pytest.warns((DeprecationWarning, FutureWarning)):
        torch.jit.script(Stub()).save(str(path))
    return path
