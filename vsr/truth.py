"""What is known of a rendered clip: which object each pixel shows, how it moves, and so the optical flow."""

from typing import NamedTuple

import torch
from torch import Tensor

from vsr.geometry import compose, invert
from vsr.rng import Stream, below, words


class Truth(NamedTuple):
    """Clips of B videos with N objects each, and their ground truth. Lengths are px of the clip, not of the frame.

    Attributes:
        video: uint8 (B, C, T, H, W), the clips.
        object: int32 (B, T, H, W), the number of the object that each pixel shows, -1 for the background. Objects are
            painted in order: of two, the one with the higher number lies in front.
        shape: int64 (B, N), position in :data:`vsr.latents.SHAPES`.
        velocity: float64 (B, T, N, 2), (x, y) px per frame of the video.
        acceleration: float64 (B, N, 2), px per frame of the video squared.
        output_from_unit: float64 (B, T, N, 2, 3), each object's unit frame -> clip (see :mod:`vsr.geometry`).
        time: int64 (B, T), the frames of the video that the clip shows.
    """

    video: Tensor
    object: Tensor
    shape: Tensor
    velocity: Tensor
    acceleration: Tensor
    output_from_unit: Tensor
    time: Tensor

    @property
    def depth(self) -> Tensor:
        """int32 (B, T, H, W): how many objects of the video lie in front of the one that is shown; N: background."""
        return self.shape.shape[1] - 1 - self.object

    def flow(self, frame: int = 0) -> tuple[Tensor, Tensor]:
        """Where what a frame shows has gone in the next frame of the clip.

        A point of an object keeps its place in the object's unit frame, so the flow is exact (affine per object). The
        background stands still.

        Args:
            frame: which frame of the clip, 0 .. T - 2.

        Returns:
            float32 (B, 2, H, W), (dx, dy) in px, of every pixel's centre; bool (B, H, W), whether the same point is
            seen there: not hidden, and not outside.

        Raises:
            IndexError: the clip has no such frame, or none after it.
        """
        if not 0 <= frame < self.time.shape[1] - 1:
            raise IndexError(f"frame {frame} of {self.time.shape[1]} has no next: flow needs 0 .. T - 2")
        height, width = self.object.shape[2:]
        here, there = self.object[:, frame], self.object[:, frame + 1]
        next_from_this = compose(self.output_from_unit[:, frame + 1], invert(self.output_from_unit[:, frame]))
        still = torch.eye(2, 3, dtype=torch.float64, device=here.device).expand(len(here), 1, 2, 3)
        of_number = torch.cat((next_from_this, still), dim=1)  # the background's number, -1, is the last
        y, x = (torch.arange(n, dtype=torch.float64, device=here.device) + 0.5 for n in (height, width))
        point = torch.stack((*torch.meshgrid(x, y, indexing="xy"), torch.ones_like(here[0], dtype=torch.float64)))
        video = torch.arange(len(here), device=here.device)[:, None, None]
        gone = torch.einsum("bhwik,khw->bihw", of_number[video, here.long()], point)
        column, row = gone.floor().long().unbind(1)
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        found = there[video, row.clamp(0, height - 1), column.clamp(0, width - 1)]
        return (gone - point[:2]).float(), inside & (found == here)

    def pictures(self, clip: int = 0) -> dict[str, Tensor]:
        """One clip and its ground truth, to look at: uint8 (T, H, W, C) each.

        Objects have colours of their own, what lies in front is light. The flow's hue is its direction and its
        saturation its length (torchvision's ``flow_to_image``); the last frame has none.
        """
        from torchvision.utils import flow_to_image  # torchvision takes a second to import

        objects = self.shape.shape[1]
        number = self.object[clip].long()
        color = below(words(Stream.COLOR, 0, number.new_zeros(1), elements=objects)[0, :, :3], 200) + 55
        depth = (255 * (1 - self.depth[clip] / objects)).byte()
        flow = torch.stack([self.flow(t)[0][clip] for t in range(len(number) - 1)])
        hue = flow_to_image(torch.cat((flow, torch.zeros_like(flow[:1]))))
        return {
            "clip": self.video[clip].permute(1, 2, 3, 0),
            "objects": torch.where(number[..., None] >= 0, color[number.clamp(min=0)], 0).byte(),
            "depth": depth[..., None].expand(-1, -1, -1, 3),
            "flow": hue.permute(0, 2, 3, 1),
        }
