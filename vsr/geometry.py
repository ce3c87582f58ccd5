"""Latents and time to matrices and outlines.

Convention: a matrix is named ``to_from_from`` (``unit_from_output`` takes output pixels to an object's unit frame), is
2 x 3 and acts on column vectors (x, y, 1). Pixel (i, j) of the output samples the point (j + 0.5, i + 0.5). An object's
unit frame has its circle at radius 1 around (0, 0).

All of it is float64; renderers go down to float32 pixel by pixel. So a video does not depend on the batch it is in.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vsr.latents import SHAPES, Latents


class Outlines(NamedTuple):
    """What an object's unit frame has inside it, for all of a video.

    Attributes:
        circle: bool (B, N), the unit circle itself.
        edges: float64 (B, N, 4, 3), otherwise: inside where x nx + y ny <= d for all four (nx, ny, d), (nx, ny) of
            length 1.
    """

    circle: Tensor
    edges: Tensor


def outlines(latents: Latents) -> Outlines:
    """The convex outline of every object, as four half-planes whose normals have length 1.

    A background's is the square around the unit circle, for its radius is half the frame's side.
    """
    here = latents.angles
    there = here.roll(-1, dims=-1)
    there = torch.where(torch.arange(4, device=here.device) == 3, there + 2 * math.pi, there)
    middle, half = (here + there) / 2, (there - here) / 2
    background = latents.shape[..., None] == SHAPES.index("background")
    distance = torch.where(background, 1.0, half.cos())
    return Outlines(latents.shape == 0, torch.stack((middle.cos(), middle.sin(), distance), dim=-1))


def frame_from_unit(latents: Latents, time: Tensor) -> Tensor:
    """Where each object is: T(x(t)) R(w t) S(1 + s t) Sh(k t) scaled by its radius.

    x(t) = x0 + (v t + a t^2 / 2) (cos, sin)(direction). The shear is the release's [[1, kx t], [ky t, 1]], not
    Kornia's, and every factor is linear in t, not compounded (the paper's release).

    Args:
        latents: of B videos with N objects.
        time: int64 or float64 (B, T), frames since the video's start.

    Returns:
        float64 (B, T, N, 2, 3), unit frame -> frame, px.
    """
    t = time.double()[:, :, None]
    at = Latents(*(field[:, None] for field in latents))
    way = at.speed * t + at.acceleration * t * t / 2
    cos, sin = (at.rotation * t).cos(), (at.rotation * t).sin()
    sx, sy = (at.radius[..., None] * (1 + at.scaling * t[..., None])).unbind(-1)
    kx, ky = (at.shear * t[..., None]).unbind(-1)
    # R S = [[sx cos, -sy sin], [sx sin, sy cos]]; times Sh = [[1, kx], [ky, 1]]
    a, b, c, d = sx * cos, -sy * sin, sx * sin, sy * cos
    x = at.center[..., 0] + way * at.direction.cos()
    y = at.center[..., 1] + way * at.direction.sin()
    rows = (torch.stack((a + b * ky, a * kx + b, x), dim=-1), torch.stack((c + d * ky, c * kx + d, y), dim=-1))
    return torch.stack(rows, dim=-2)


def crop_boxes(frame_size: int | tuple[int, int], size: int | None) -> Tensor:
    """The boxes that MultiScaleCrop may show (VideoMAE's, after TSN).

    Width and height are 1, 0.875, 0.75 or 0.66 of the frame's short side and at most one step apart (10 pairs); a side
    within 3 px of ``size`` becomes ``size``. A box stands at one of 13 places, on quarter steps of the room that it
    leaves: corners, centre, edge middles, quarter points.

    Args:
        frame_size: side of a square frame, or (height, width), px.
        size: side of the output, px. None: the only box is the whole frame.

    Returns:
        float64 (10, 13, 4), or (1, 1, 4): x, y, width, height, frame px.
    """
    height, width = (frame_size, frame_size) if isinstance(frame_size, int) else frame_size
    if size is None:
        return torch.tensor([[[0, 0, width, height]]], dtype=torch.float64)
    sides = [int(min(height, width) * scale) for scale in (1, 0.875, 0.75, 0.66)]
    size = min(size, height, width)  # the release's boxes may pass the edge of frames that are 1 or 2 px smaller
    sides = [size if abs(side - size) < 3 else side for side in sides]
    pairs = [(w, h) for i, h in enumerate(sides) for j, w in enumerate(sides) if abs(i - j) <= 1]
    places = [(0, 0), (4, 0), (0, 4), (4, 4), (2, 2), (0, 2), (4, 2), (2, 4), (2, 0), (1, 1), (3, 1), (1, 3), (3, 3)]
    extent = torch.tensor(pairs)[:, None]
    corner = (torch.tensor((width, height)) - extent) // 4 * torch.tensor(places)
    return torch.cat((corner, extent.expand_as(corner)), dim=-1).double()


def output_from_frame(box: Tensor, size: int) -> Tensor:
    """The camera that shows a box of the frame as a ``size`` x ``size`` output.

    Args:
        box: float64 (B, 4): x, y, width, height of the box, frame px.
        size: side of the output, px.

    Returns:
        float64 (B, 2, 3), frame -> output.
    """
    x, y, width, height = box.unbind(-1)
    zero = torch.zeros_like(x)
    rows = (
        torch.stack((size / width, zero, -x * size / width), dim=-1),
        torch.stack((zero, size / height, -y * size / height), dim=-1),
    )
    return torch.stack(rows, dim=-2)


def compose(c_from_b: Tensor, b_from_a: Tensor) -> Tensor:
    """``c_from_a`` of two affine matrices (..., 2, 3)."""
    c_from_a = c_from_b[..., :2] @ b_from_a
    c_from_a[..., 2] += c_from_b[..., 2]
    return c_from_a


def invert(b_from_a: Tensor) -> Tensor:
    """``a_from_b`` of affine matrices (..., 2, 3); infinite or NaN where there is no inverse."""
    a, b, c, d = b_from_a[..., :2].flatten(-2).unbind(-1)
    linear = torch.stack((torch.stack((d, -b), dim=-1), torch.stack((-c, a), dim=-1)), dim=-2)
    linear = linear / (a * d - b * c)[..., None, None]
    return torch.cat((linear, -linear @ b_from_a[..., 2:]), dim=-1)
