"""How rendered videos move, from what the renderer knows of them: exact, nothing is estimated from pixels."""

import torch
from torch import Tensor

from vsr.truth import Truth

MOTION: dict[str, tuple[str, str]] = {
    "speed": ("px/frame", "mean speed of the centres of the objects that are visible"),
    "acceleration": ("px/frame²", "mean size of their acceleration"),
    "flow": ("px/frame", "mean length of the optical flow over all pixels; backgrounds stand still"),
    "visible_objects": ("objects", "objects of which a frame shows a pixel or more"),
    "coverage": ("share", "pixels that show an object"),
    "occlusion": ("share", "pixels of objects whose point is hidden by another object in the next frame"),
}
"""Statistics of motion: unit and meaning."""


def motion(truth: Truth) -> Tensor:
    """The statistics :data:`MOTION` of each clip's first frame, or of its way to the second.

    Args:
        truth: clips of B videos with 2 frames or more, one video frame apart, at the videos' own size.

    Returns:
        float64 (B, 6), in the order of :data:`MOTION`. NaN for what a video without a visible object doesn't have.
    """
    shown = truth.object[:, 0].long()
    videos, height, width = shown.shape
    # The background's number, -1, has the first place.
    visible = torch.zeros(videos, truth.shape.shape[1] + 1, dtype=torch.bool, device=shown.device)
    visible = visible.scatter_(1, shown.flatten(1) + 1, True)[:, 1:]
    count, covered = visible.sum(dim=1), (shown >= 0).sum(dim=(1, 2))
    flow, seen = truth.flow(0)
    y, x = (torch.arange(n, device=shown.device) + 0.5 for n in (height, width))
    column, row = flow[:, 0] + x, flow[:, 1] + y[:, None]
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    hidden = (inside & ~seen & (shown >= 0)).sum(dim=(1, 2))
    return torch.stack(
        (
            (truth.velocity[:, 0].norm(dim=-1) * visible).sum(dim=1) / count,
            (truth.acceleration.norm(dim=-1) * visible).sum(dim=1) / count,
            flow.double().norm(dim=1).mean(dim=(1, 2)).round(decimals=9),  # objects that stand still have rounding only
            count.double(),
            covered.double() / (height * width),
            hidden.double() / covered,
        ),
        dim=1,
    )
