"""The benchmark's perturbations as its authors write them: one frame after the other, with PIL, SciPy, OpenCV,
scikit-image and, where it is installed, ImageMagick. Frames are uint8 (H, W, 3); ``random`` is a NumPy generator."""

import ctypes
import math
from io import BytesIO

import cv2
import numpy as np
import torch
from PIL import Image
from scipy.ndimage import zoom
from skimage.util import random_noise

from vsr import rng
from vsr.corruptions import Cell, address


def uint8(share):
    return np.uint8(np.clip(share, 0, 1) * 255)


def gaussian_noise(frame, severity, random):
    x = frame / 255.0
    return uint8(x + random.normal(size=x.shape, scale=(0.08, 0.12, 0.18, 0.26, 0.38)[severity - 1]))


def speckle_noise(frame, severity, random):
    x = frame / 255.0
    return uint8(x + x * random.normal(size=x.shape, scale=(0.15, 0.2, 0.25, 0.3, 0.35)[severity - 1]))


def shot_noise(frame, severity, random):
    c = (250, 100, 50, 30, 15)[severity - 1]
    return uint8(random.poisson(frame / 255.0 * c) / c)


def impulse_noise(frame, severity, random):
    amount = (0.03, 0.06, 0.09, 0.17, 0.27)[severity - 1]
    return uint8(random_noise(frame / 255.0, mode="s&p", amount=amount, rng=random))


def disk(radius, alias_blur):
    side, ksize = (8, (3, 3)) if radius <= 8 else (radius, (5, 5))
    x, y = np.meshgrid(np.arange(-side, side + 1), np.arange(-side, side + 1))
    aliased = np.array(x**2 + y**2 <= radius**2, dtype=np.float32)
    aliased /= aliased.sum()
    return cv2.GaussianBlur(aliased, ksize=ksize, sigmaX=alias_blur)


def defocus_blur(frame, severity, random=None):
    kernel = disk(*((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))[severity - 1])
    x = frame / 255.0
    return uint8(np.stack([cv2.filter2D(np.ascontiguousarray(x[..., c]), -1, kernel) for c in range(3)], axis=-1))


def clipped_zoom(x, factor):
    """The offline version, which crops height and width each by itself."""
    sides = x.shape[:2]
    crops = [math.ceil(n / factor) for n in sides]
    top, left = ((n - crop) // 2 for n, crop in zip(sides, crops, strict=True))
    large = zoom(x[top : top + crops[0], left : left + crops[1]], (factor, factor, 1), order=1)
    top, left = ((n - side) // 2 for n, side in zip(large.shape[:2], sides, strict=True))
    return large[top : top + sides[0], left : left + sides[1]]


def zoom_blur(frame, severity, random=None):
    factors = np.arange(
        *((1, 1.11, 0.01), (1, 1.16, 0.01), (1, 1.21, 0.02), (1, 1.26, 0.02), (1, 1.31, 0.03))[severity - 1]
    )
    x = (frame / 255.0).astype(np.float32)
    out = np.zeros_like(x)
    for factor in factors:
        out += clipped_zoom(x, factor)
    return np.uint8(np.clip((x + out) / (len(factors) + 1), 0, 1) * 255.0)


MOTION = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))


def motion_blur(frame, severity, random=None, angle=None):
    """ImageMagick's own, through a PNG."""
    from wand.api import library
    from wand.image import Image as WandImage

    library.MagickMotionBlurImage.argtypes = (ctypes.c_void_p, ctypes.c_double, ctypes.c_double, ctypes.c_double)
    angle = random.uniform(-45, 45) if angle is None else angle
    file = BytesIO()
    Image.fromarray(frame).save(file, format="PNG")
    with WandImage(blob=file.getvalue()) as image:
        library.MagickMotionBlurImage(image.wand, *MOTION[severity - 1], angle)
        blurred = cv2.imdecode(np.frombuffer(image.make_blob(), np.uint8), cv2.IMREAD_UNCHANGED)
    assert blurred.dtype == np.uint8
    return np.repeat(blurred[..., None], 3, axis=-1) if blurred.ndim == 2 else blurred[..., 2::-1]


def motion_loop(frame, severity, angle):
    """What ImageMagick 6 does, from its source, in 16 bits and back."""
    radius, sigma = MOTION[severity - 1]
    kernel = [math.exp(-i * i / (2 * sigma**2)) for i in range(2 * radius + 1)]
    down, right = (len(kernel) * f(math.radians(angle)) for f in (math.sin, math.cos))
    length = math.hypot(down, right)
    height, width = frame.shape[:2]
    total = np.zeros(frame.shape)
    for i, weight in enumerate(kernel):
        y = (np.arange(height) + math.ceil(i * down / length - 0.5)).clip(0, height - 1)
        x = (np.arange(width) + math.ceil(i * right / length - 0.5)).clip(0, width - 1)
        total += weight / sum(kernel) * 257.0 * frame[y][:, x]
    return np.uint8(np.floor(total + 0.5) // 257)


def jpeg(frame, severity, random=None):
    file = BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=(25, 18, 15, 10, 7)[severity - 1])
    return np.array(Image.open(file))


def static_rotate(frame, severity, random=None):
    return np.array(Image.fromarray(frame).rotate((7.5, 15, 30, 45, 90)[severity - 1]))


def rotate(frame, severity, random=None, degrees=None):
    most = 6 * severity + 1
    degrees = random.integers(-most, most + 1) if degrees is None else degrees
    return np.array(Image.fromarray(frame).rotate(int(degrees)))


def translate(frame, severity, random=None, offset=None):
    """Of one frame; a clip has one offset."""
    down, right = random.integers(0, 8 * severity, 2) if offset is None else offset
    moved = np.zeros_like(frame)
    shown = frame[down:, right:]
    moved[: shown.shape[0], : shown.shape[1]] = shown
    return moved


def draws(cell: Cell, frames: int, index: int, view: int, seed: int) -> list[dict]:
    """What vsr draws for each frame, as arguments of the functions above."""
    blocks = -(-frames // 4)
    words = rng.words(rng.Stream.CORRUPTION, seed, torch.tensor([index]), address(cell.number, view), blocks).flatten()
    words, most = words[:frames], 6 * cell.severity + 1
    if cell.perturbation == "rotate":
        return [{"degrees": degrees} for degrees in (rng.below(words, 2 * most + 1) - most).tolist()]
    if cell.perturbation == "motion_blur":
        return [{"angle": angle} for angle in ((rng.below(words, 4096) + 0.5) * 90 / 4096 - 45).tolist()]
    if cell.perturbation == "translate":
        return [{"offset": rng.below(words[:2], 8 * cell.severity).tolist()}] * frames
    return [{}] * frames
