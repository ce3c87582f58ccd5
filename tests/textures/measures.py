"""Statistics of textures that tests compare with the published images; all of those are JPEG files."""

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image


def kurtosis(x: NDArray[np.float64]) -> float:
    x = x - x.mean()
    return float((x**4).mean() / (x**2).mean() ** 2)


def measure(texture: torch.Tensor, quality: int) -> dict[str, NDArray[np.float64]]:
    """Statistics of one texture, uint8 (3, N, N), saved as JPEG."""
    file = io.BytesIO()
    Image.fromarray(texture.permute(1, 2, 0).numpy()).save(file, "jpeg", quality=quality)
    rgb = np.asarray(Image.open(file)) / 255
    y = rgb @ (0.299, 0.587, 0.114)
    n = len(y)

    window = np.hanning(n + 1)[:n]
    power = np.abs(np.fft.fft2((y - y.mean()) * np.outer(window, window))) ** 2
    f = np.fft.fftfreq(n, 1 / n)
    radius = np.rint(np.hypot(f[:, None], f)).astype(int).ravel()
    radial = np.bincount(radius, power.ravel()) / np.bincount(radius)
    k = np.arange(3, 45)
    slope = -np.polyfit(np.log(k), np.log(radial[k]), 1)[0]

    haar = []
    mean = y
    for _ in range(4):
        a, b, c, d = mean[::2, ::2], mean[::2, 1::2], mean[1::2, ::2], mean[1::2, 1::2]
        haar.append(((a - b + c - d) / 2, (a + b - c - d) / 2))
        mean = (a + b + c + d) / 2

    corr = np.corrcoef(rgb.reshape(-1, 3).T)
    dx, dy = np.diff(y, axis=1), np.diff(y, axis=0)
    a, b = np.abs(dx), np.abs(dy)
    rim = np.concatenate((a[:, :2], a[:, -2:], b[:2].T, b[-2:].T), axis=None).mean()
    interior = np.concatenate((a[2:-2, 2:-2], b[2:-2, 2:-2]), axis=None).mean()
    wrap = (np.abs(y[0] - y[-1]).mean() + np.abs(y[:, 0] - y[:, -1]).mean()) / (a.mean() + b.mean())
    return {
        "slope": slope,
        "gradient_kurtosis": np.array(kurtosis(dx)),
        "haar_kurtosis": np.array([np.mean([kurtosis(band) for band in bands]) for bands in haar]),
        "haar_std": np.array([np.mean([band.std() for band in bands]) for bands in haar]),
        "abs_corr": np.abs(corr[[0, 0, 1], [1, 2, 2]]),
        "mean": rgb.mean(axis=(0, 1)),
        "std": rgb.std(axis=(0, 1)),
        "rim": rim / interior,  # of gradients across the border
        "wrap": wrap,
        "anisotropy": np.abs(np.log((dx**2).mean() / (dy**2).mean())),
    }


def measure_all(textures: torch.Tensor, quality: int) -> dict[str, NDArray[np.float64]]:
    """The same of each of (n, 3, N, N), the first axis of each result."""
    measured = [measure(texture, quality) for texture in textures]
    return {name: np.array([m[name] for m in measured]) for name in measured[0]}
