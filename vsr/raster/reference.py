"""What a frame is, in plain Kornia: slow, obvious, on any device.

The pixel grid is taken into each object's unit frame by the inverse of its matrix, its outline is tested there, and the
batched masks are composited in painter's order: the highest object number wins. Only then is each pixel shaded.

Memory beyond the output: about 200 bytes x H x W x ``_CHUNK`` (77 MiB were measured at 224 px).
"""

import torch
from kornia.geometry.linalg import transform_points
from kornia.geometry.transform import invert_affine_transform
from torch import Tensor

from vsr.raster import MIN_AREA, Scene

_CHUNK = 8  # objects tested at a time


def draw(scene: Scene, out: Tensor, antialias: int = 1) -> None:
    """Draw every frame.

    Args:
        scene: T frames of B videos, ``antialias`` times as large as the output.
        out: uint8 (B, 3, T, H, W), overwritten; any strides.
        antialias: A: a pixel is the mean of A x A samples, rounded half up.
    """
    for video in range(out.shape[0]):
        for frame in range(out.shape[2]):
            top = _visible_in(scene, video, frame, out.shape[3] * antialias, out.shape[4] * antialias)
            samples = _shade(scene, video, frame, top).unflatten(1, (-1, antialias)).unflatten(3, (-1, antialias))
            out[video, :, frame] = (samples.sum(dim=(2, 4)) + antialias**2 // 2) // antialias**2


def visible(scene: Scene, out: Tensor) -> None:
    """The number of the object that each pixel shows, -1 where there is none.

    Args:
        scene: T frames of B videos.
        out: int32 (B, T, H, W), overwritten.
    """
    for video in range(out.shape[0]):
        for frame in range(out.shape[1]):
            out[video, frame] = _visible_in(scene, video, frame, *out.shape[2:])


def _visible_in(scene: Scene, video: int, frame: int, height: int, width: int) -> Tensor:
    """The same for one frame: int64 (H, W)."""
    matrices = scene.output_from_unit[video, frame]
    points = _pixel_centers(height, width, matrices)
    circle, edges = (outline[video] for outline in scene.outlines)
    top = torch.full((height * width,), -1, device=matrices.device)
    center, reach = matrices[:, :, 2], matrices[:, :, :2].norm(dim=-1)  # half the sides of the circle's image's box
    touches = ((center + reach > 0) & (center - reach < center.new_tensor([width, height]))).all(dim=-1)
    drawn = touches & (torch.linalg.det(matrices[:, :, :2]).abs() > MIN_AREA)
    for numbers in drawn.nonzero()[:, 0].split(_CHUNK):
        unit = _to_unit(matrices[numbers], points)  # n, H W, 2
        outside = torch.einsum("npk,nek->npe", unit, edges[numbers, :, :2]) > edges[numbers, None, :, 2]
        inside = torch.where(circle[numbers, None], (unit**2).sum(dim=-1) <= 1, ~outside.any(dim=-1))
        top = torch.cat((top[None], torch.where(inside, numbers[:, None], -1))).amax(dim=0)
    return top.view(height, width)


def _shade(scene: Scene, video: int, frame: int, top: Tensor) -> Tensor:
    """The colour plus texel each pixel shows: uint8 (3, H, W)."""
    number = top.clamp(min=0).flatten()
    shown = scene.color[video, number].int()
    if scene.textures is not None:
        height, width = top.shape
        points = _pixel_centers(height, width, scene.output_from_unit)
        side = scene.textures.shape[1]
        texel = torch.zeros_like(points, dtype=torch.int64)
        row = scene.texture[video, number]
        for one in top.unique().tolist():
            if one >= 0 and scene.texture[video, one] >= 0:
                unit = _to_unit(scene.output_from_unit[video, frame, one : one + 1], points[number == one])[0]
                texel[number == one] = ((unit + 1) * scene.texels[video, one]).floor().long().clamp(0, side - 1)
        read = scene.textures[row.clamp(min=0) + scene.frame[video, frame], texel[:, 1], texel[:, 0]]
        shown = shown + torch.where(row[:, None] >= 0, read, 0)
        shown = shown.clamp(max=255) if scene.clamp else shown % 256
    return torch.where(top.flatten()[:, None] >= 0, shown, 0).byte().T.reshape(3, *top.shape)


def _pixel_centers(height: int, width: int, like: Tensor) -> Tensor:
    """The sampled points (x, y), row by row: (H W, 2)."""
    y, x = (torch.arange(n, dtype=like.dtype, device=like.device) + 0.5 for n in (height, width))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).view(-1, 2)


def _to_unit(output_from_unit: Tensor, points: Tensor) -> Tensor:
    """Output points (P, 2) in the unit frame of n objects: (n, P, 2)."""
    inverse = invert_affine_transform(output_from_unit)
    bottom = inverse.new_tensor([0.0, 0.0, 1.0]).expand(len(inverse), 1, 3)
    unit: Tensor = transform_points(torch.cat((inverse, bottom), dim=1), points.expand(len(inverse), -1, -1))
    return unit
