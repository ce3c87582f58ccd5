"""Whatever the scene, the renderers agree, except for pixels that lie on an outline or a texel border."""

import os
from dataclasses import replace

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from vsr import geometry
from vsr.latents import latents
from vsr.raster import Scene, fused_cpu, reference
from vsr.recipe import Recipe
from vsr.render import _scene

ODD = ("degenerate", "flat", "point", "outside", "huge", "copied", "mirrored")
SIDE = 64  # texels
FAST = torch.cuda.is_available() or "VSR_COMPILED_KERNELS" in os.environ  # Triton's interpreter is slow
COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True}


@st.composite
def recipes(draw: st.DrawFn, most_objects: int = 2000) -> Recipe:
    """Any recipe within the paper's ranges, and well beyond."""

    def span(least: float, most: float) -> tuple[float, float]:
        low, high = sorted(draw(st.tuples(st.floats(least, most), st.floats(least, most))))
        return low, high

    smallest = draw(st.sampled_from([0.001, 0.01, 0.1, 0.5]))
    return Recipe(
        "any",
        size=draw(st.sampled_from([64, 256])),
        num_objects=draw(st.integers(1, most_objects)),
        radius=(smallest, smallest * draw(st.floats(1, 8))),
        shapes=draw(st.sampled_from(["circles", "mixed"])),
        speed=span(0, 9),
        acceleration=span(-0.2, 0.2),
        rotation=span(-1, 1),
        scaling=span(-0.02, 0.02),
        shear=span(-0.05, 0.05),
        fill=draw(st.sampled_from(["color", "texture"])),
        texture_size=SIDE,
        texture_pool=16,
    )


@st.composite
def scenes(draw: st.DrawFn, sizes: st.SearchStrategy[int], most_objects: int, most_work: float) -> tuple[Scene, int]:
    """A scene of one video with two frames, a share of its objects made odd, and its size in px."""
    size = draw(sizes)
    recipe = draw(recipes(most_objects))
    recipe = replace(recipe, num_objects=max(1, min(recipe.num_objects, int(most_work / size**2))))
    drawn = latents(recipe, draw(st.integers(0, 2**64 - 1)), torch.tensor([draw(st.integers(0, 2**32 - 1))]))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    share, odd = draw(st.sampled_from([0.0, 0.3, 1.0])), draw(st.lists(st.sampled_from(ODD), unique=True))
    chosen = torch.rand(recipe.num_objects, generator=generator) < share
    kind = torch.randint(max(1, len(odd)), (recipe.num_objects,), generator=generator)
    of = {name: chosen & (kind == odd.index(name)) if name in odd else torch.zeros_like(chosen) for name in ODD}
    drawn.angles[:, of["degenerate"]] = drawn.angles[:, of["degenerate"], :1]  # all corners in one place
    time = torch.tensor([[0, draw(st.integers(1, 199))]])
    scene = _scene(recipe, drawn, time, geometry.crop_boxes(recipe.size, None)[0], size)
    m = scene.output_from_unit
    m[:, :, of["flat"], :, 1] = m[:, :, of["flat"], :, 0]
    m[:, :, of["point"], :, :2] = 0
    m[:, :, of["outside"], :, 2] += 1e4
    m[:, :, of["huge"], :, :2] *= 1e3
    m[:, :, of["copied"]] = m[:, :, :1].clone()  # the same place and extent: only the order decides
    m[:, :, of["mirrored"], :, 0] *= -1
    if recipe.textured:
        scene = scene._replace(textures=telling_textures())
    return scene, size


def telling_textures() -> Tensor:
    """Texel (y, x) of texture k is (x, y, k), so a pixel says what it was given."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    return torch.stack([torch.stack((x, y, torch.full_like(x, k)), dim=-1) for k in range(16)]).to(torch.uint8)


def drawn_by(renderer, scene: Scene, size: int) -> tuple[Tensor, Tensor]:
    """What pixels show, int (2, 3, H, W), and which object, int (2, H, W)."""
    out, top = (
        torch.full((1, 3, 2, size, size), 99, dtype=torch.uint8),
        torch.empty(1, 2, size, size, dtype=torch.int32),
    )
    renderer.draw(scene, out)
    renderer.visible(scene, top)
    return out[0].transpose(0, 1).int(), top[0].long()


def unit_point(scene: Scene, frame: Tensor, number: Tensor, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel centres in the unit frames of objects, float64 (P, 2), and how far float32 may be off there."""
    inverse = geometry.invert(scene.output_from_unit[0, frame, number])
    point = torch.stack((x + 0.5, y + 0.5, torch.ones_like(x)), dim=-1).double()
    terms = inverse * point[:, None]
    return terms.sum(dim=-1), 1e-6 * (1 + terms.abs().sum(dim=(-1, -2)))


def assert_agree(scene: Scene, size: int, fused: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> None:
    """Tops differ on outlines only, and texels on their borders only."""
    shown, top = fused
    frame, y, x = (top != expected[1]).nonzero(as_tuple=True)
    higher = torch.maximum(top, expected[1])[frame, y, x]  # one says it covers the pixel, one that it doesn't
    unit, error = unit_point(scene, frame, higher, y, x)
    circle, edges = (outline[0, higher] for outline in scene.outlines)
    beyond = ((edges[..., :2] @ unit[..., None])[..., 0] - edges[..., 2]).amax(dim=-1)
    beyond = torch.where(circle, (unit**2).sum(dim=-1) - 1, beyond)
    assert (beyond.abs() <= 4 * error * (1 + unit.norm(dim=-1))).all()
    assert (shown[(top < 0)[:, None].expand_as(shown)] == 0).all()

    frame, y, x = ((top == expected[1]) & (shown != expected[0]).any(dim=1)).nonzero(as_tuple=True)
    if scene.textures is None:
        assert len(frame) == 0
        return
    number = top[frame, y, x]
    unit, error = unit_point(scene, frame, number, y, x)
    scale = scene.texels[0, number]
    texel = (unit + 1) * scale[:, None]
    got = shown[frame, :, y, x]
    slack = (4 * error * scale)[:, None]
    low, high = ((texel + side).floor().clamp(0, SIDE - 1) for side in (-slack, slack))
    assert ((low <= got[:, :2]) & (got[:, :2] <= high)).all()
    assert torch.equal(got[:, 2], scene.texture[0, number].int())


@settings(max_examples=50, **COMMON)
@given(scenes(st.one_of(st.integers(16, 64), st.integers(65, 512)), most_objects=2000, most_work=3e6))
def test_fused_equals_reference(case):
    scene, size = case
    assert_agree(scene, size, drawn_by(fused_cpu, scene, size), drawn_by(reference, scene, size))


@settings(max_examples=60 if FAST else 6, **COMMON)
@given(
    scenes(st.one_of(st.integers(16, 64), st.integers(65, 512)), most_objects=2000, most_work=3e6)
    if FAST
    else scenes(st.integers(16, 64), most_objects=40, most_work=4e4)
)
def test_the_cuda_renderer_equals_reference(cuda, case):
    pytest.importorskip("triton", reason="Triton comes with torch on Linux")
    from vsr.raster import fused_cuda

    scene, size = case
    moved = Scene(*(t.to(cuda) if isinstance(t, Tensor) else t for t in scene))
    moved = moved._replace(outlines=geometry.Outlines(*(t.to(cuda) for t in scene.outlines)))
    out = torch.full((1, 3, 2, size, size), 99, dtype=torch.uint8, device=cuda)
    top = torch.empty(1, 2, size, size, dtype=torch.int32, device=cuda)
    fused_cuda.draw(moved, out)
    fused_cuda.visible(moved, top)
    drawn = out[0].transpose(0, 1).int().cpu(), top[0].long().cpu()
    assert_agree(scene, size, drawn, drawn_by(reference, scene, size))
