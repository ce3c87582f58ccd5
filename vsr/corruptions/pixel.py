"""Perturbations of pixels: noise, blur, camera and JPEG on batches of uint8 clips, on the device they are on.

Parameters and order of operations are the benchmark's; every perturbation works on uint8 levels of 0 .. 255, never on
floats that a later step takes for 0 .. 1. (The paper's release gives floats of 0 .. 255 to torchvision's
``ToPILImage``, which multiplies them by 255: its noise, blur, rotations and JPEG run on negatives, 256 - v.)

What comes out follows from (seed, video, cell, view) alone, and but for JPEG it is bit-equal on every device: draws,
noise, camera, defocus and motion are integers, and zoom rounds alike everywhere. JPEG is libjpeg-turbo's, through
Pillow, on the CPU; another of its versions may show other levels.

On the CPU the loops are Numba's (:mod:`vsr.corruptions.loops_cpu`) and take, at 224 px, at most 0.5 MiB for each thread
beyond the output (JPEG: three times the clips). On a GPU they are torch's, one clip at a time or, where kernels are
small, four. Most is taken by noise, 420 MiB for four clips of 16 frames of 224 px; motion blur takes 200 MiB.

Source: Schiappa et al., CVPR 2023, ``core/video_perturb.py``.
"""

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vsr import rng
from vsr.corruptions import PERTURBATIONS, Cell, blur, camera, noise
from vsr.errors import InputError

_QUALITY = (25, 18, 15, 10, 7)


def perturb(cell: Cell, video: Tensor, index: Tensor, view: Tensor, seed: int) -> Tensor:
    """Corrupt the views of some videos.

    Args:
        cell: a perturbation that works on clips, at one severity.
        video: uint8 (B, 3, T, H, W), RGB in 0..255, after the crop.
        index: int64 (B,), the videos, each in [0, 2^32); on the video's device, as to copy it there may be to wait.
        view: int64 (B,), which view of each video, in [0, 2^16); likewise.
        seed: in [0, 2^64).

    Returns:
        uint8 (B, 3, T, H, W), on the video's device; the clips given are left alone.

    Raises:
        InputError: the cell is unknown or doesn't work on clips, or a tensor or the seed is not as above.
    """
    _check(cell, video, index, view)
    rng.check_seed(seed)
    video = video.contiguous()
    index, view = index.to(video.device), view.to(video.device)
    name = cell.perturbation
    if name.endswith("_noise"):
        return noise.add(cell, video, index, view, seed)
    if name in ("translate", "rotate", "static_rotate"):
        return camera.move(cell, video, index, view, seed)
    if name == "motion_blur":
        return blur.motion(cell, video, index, view, seed)
    if name == "jpeg":
        return _jpeg(video, _QUALITY[cell.severity - 1])
    return blur.defocus(cell, video) if name == "defocus_blur" else blur.zoom(cell, video)


def _check(cell: Cell, video: Tensor, index: Tensor, view: Tensor) -> None:
    """Refuse what can't be corrupted."""
    known = PERTURBATIONS.get(cell.perturbation)
    if known is None or known.works_on != "clip":
        clips = [name for name, p in PERTURBATIONS.items() if p.works_on == "clip"]
        raise InputError(f"{cell.perturbation!r} doesn't work on the pixels of clips: choose from {', '.join(clips)}")
    if cell.severity not in range(1, known.severities + 1):
        raise InputError(f"severity {cell.severity} of {cell.perturbation} is none of 1 .. {known.severities}")
    if video.dtype != torch.uint8:
        raise InputError(f"video is {video.dtype}: give uint8 levels of 0 .. 255, as perturbations are of them")
    if video.ndim != 5 or video.shape[1] != 3 or 0 in video.shape:
        raise InputError(f"video has shape {tuple(video.shape)}: give (B, 3, T, H, W), none of them 0")
    for what, numbers in (("index", index), ("view", view)):
        if numbers.dtype != torch.int64 or numbers.shape != video.shape[:1]:
            raise InputError(
                f"{what} is {numbers.dtype} of shape {tuple(numbers.shape)}: "
                f"give int64 of shape ({len(video)},), one for each clip"
            )


def _jpeg(video: Tensor, quality: int) -> Tensor:
    """Write and read every frame as JPEG, on the CPU, in as many threads as torch has: one copy there, one back."""
    frames = video.permute(0, 2, 3, 4, 1).flatten(0, 1).contiguous().cpu().numpy()

    def written(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        file = BytesIO()
        Image.fromarray(frame).save(file, "JPEG", quality=quality)
        return np.asarray(Image.open(file))

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # Pillow lets go of the interpreter while it works
        read = torch.from_numpy(np.stack(list(pool.map(written, frames)))).to(video.device)
    return read.view(len(video), -1, *read.shape[1:]).permute(0, 4, 1, 2, 3).contiguous()
