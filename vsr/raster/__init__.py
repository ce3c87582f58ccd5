"""From matrices to pixels: two renderers with one meaning.

``reference`` is plain Kornia and says what a frame is; ``fused_cpu`` (Numba) and ``fused_cuda`` (Triton) are fast. Each
has ``draw`` and ``visible``, which take a :class:`Scene` into an output.

Convention: pixel (i, j) shows the point (j + 0.5, i + 0.5) of the output. It shows the object with the highest number
whose outline holds that point (objects are painted in order, so the last covers), or black. What an object shows is
its colour plus its texel, if it has one: (floor(ty), floor(tx)) with (tx, ty) = (unit + 1) * texels, clamped to the
texture: its texture's corner.
"""

from typing import NamedTuple

from torch import Tensor

from vsr.geometry import Outlines


class Scene(NamedTuple):
    """T frames of B videos with N objects each.

    Attributes:
        output_from_unit: float64 (B, T, N, 2, 3), each object's unit frame -> output, px.
        outlines: of the objects, the same in all frames.
        color: uint8 (B, N, 3), the object's own; black where it shows its texture as it is.
        texture: int64 (B, N), the object's row in ``textures``, -1 where it has no texture.
        texels: float64 (B, N), texels per unit of the object's unit frame.
        frame: int64 (B, T), added to the rows: which frame of dynamic textures is shown.
        clamp: where colour plus texel pass 255: stay there, or go on at 0.
        textures: uint8 (K, S, S, 3), or None where no object has one.
    """

    output_from_unit: Tensor
    outlines: Outlines
    color: Tensor
    texture: Tensor
    texels: Tensor
    frame: Tensor
    clamp: bool
    textures: Tensor | None

    def videos(self, some: slice) -> "Scene":
        """The same for some of the videos."""
        outlines = Outlines(*(t[some] for t in self.outlines))
        of_them = (self.color[some], self.texture[some], self.texels[some], self.frame[some])
        return Scene(self.output_from_unit[some], outlines, *of_them, self.clamp, self.textures)


MIN_AREA = 1e-9
"""An object whose matrix has a smaller determinant, px^2, has no area and is not drawn."""
