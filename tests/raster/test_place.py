"""The fused renderers' own draws and geometry are those of ``vsr.latents`` and ``vsr.geometry``, for every dataset.

Draws and look-ups are equal, float64 values to rounding.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from vsr import geometry, render, rng_cpu
from vsr.raster import place_cpu
from vsr.recipe import load_recipe, recipe_names
from vsr.rng import Stream, below, uniform, words

SEED = 2**63 + 12345
SIZE, FRAMES, STRIDE = 224, 2, 9
INDEX, EPOCH = torch.tensor([5000]), torch.tensor([3])


def expected(name):
    """What the definition gives: recipe, latents, times, box, scene, and which objects touch the frame."""
    recipe = load_recipe(name)
    drawn, time, box = render._clips(recipe, SEED, INDEX, EPOCH, FRAMES, STRIDE, SIZE, True)
    scene = render._scene(recipe, drawn, time, box, SIZE)
    center, reach = scene.output_from_unit[..., 2], scene.output_from_unit[..., :2].norm(dim=-1)
    touches = ((center + reach > 0) & (center - reach < SIZE)).all(dim=-1)
    return recipe, drawn, time, box, scene, touches


@pytest.mark.parametrize("seed", [0, 1, SEED, 2**64 - 1])
@pytest.mark.parametrize(
    ("stream", "video", "clip", "n"), [(Stream.ANGLE, 9536, 0, 6), (Stream.CLIP, 2**32 - 1, 3199, 2**31)]
)
def test_draws_on_the_cpu_are_bit_equal(seed, stream, video, clip, n):
    expected = words(stream, seed, torch.tensor([video]), clip, 64)[0]
    for element in (0, 1, 63):
        block = rng_cpu.words(np.uint64(seed), int(stream), element, video, clip)
        assert list(map(int, block)) == expected[element].tolist()
        word = np.uint64(block[0])
        assert rng_cpu.uniform(word) == float(uniform(expected[element, 0]))
        assert rng_cpu.below(word, n) == int(below(expected[element, 0], n))


@pytest.mark.parametrize("name", recipe_names())
def test_objects_on_the_cpu(name):
    recipe, drawn, time, box, scene, touches = expected(name)
    span = (FRAMES - 1) * STRIDE + 1
    placed = place_cpu.place_clips(recipe, SEED, INDEX.numpy(), EPOCH.numpy(), span, SIZE)
    count = int(placed.counts[0])
    kept = torch.from_numpy(placed.number[0, :count])
    assert torch.equal(kept, kept.unique())  # in painter's order
    gone = torch.ones(recipe.num_drawn, dtype=torch.bool)
    gone[kept] = False
    assert not touches[0, :, gone].any()
    assert gone.float().mean() > 0.3 or recipe.num_objects == 0  # what is never in view is not placed

    motion = torch.from_numpy(placed.motion[0, :count])
    fields = (drawn.radius, *drawn.center.unbind(-1), drawn.direction.cos(), drawn.direction.sin(), drawn.speed)
    fields += (drawn.acceleration, drawn.rotation, *drawn.scaling.unbind(-1), *drawn.shear.unbind(-1))
    fields = torch.stack(fields, dim=-1)[0, kept]
    objects = slice(recipe.num_drawn - recipe.num_objects, None)  # a background goes no way
    torch.testing.assert_close(motion[objects], fields[objects], rtol=1e-14, atol=1e-14)
    assert torch.equal(torch.from_numpy(placed.view), torch.cat((time[:, :1].double(), box), dim=1))
    assert torch.equal(torch.from_numpy(placed.color[0, :count]), scene.color[0, kept])
    assert torch.equal(torch.from_numpy(placed.texture[0, :count]), scene.texture[0, kept])
    circle = torch.from_numpy(placed.circle[0, :count])
    assert torch.equal(circle, drawn.shape[0, kept] == 0)
    edges = torch.from_numpy(placed.edges[0, :count])[~circle]
    torch.testing.assert_close(edges, scene.outlines.edges[0, kept][~circle], rtol=0, atol=1e-14)
    for frame in range(FRAMES):
        matrices = np.empty((count, 2, 3))
        place_cpu.matrices_at(placed.motion[0], float(time[0, frame]), placed.view[0, 1:], SIZE, SIZE, matrices)
        found, there = torch.from_numpy(matrices), touches[0, frame, kept]
        exact = scene.output_from_unit[0, frame, kept]
        torch.testing.assert_close(found[there], exact[there], rtol=1e-13, atol=1e-11)
        skipped = (found[:, :, :2] == 0).all(dim=(1, 2))
        assert not (skipped & there).any()


@pytest.mark.parametrize("name", recipe_names())
def test_objects_on_cuda(cuda, name):
    place_cuda = pytest.importorskip("vsr.raster.place_cuda", reason="Triton comes with torch for CUDA")
    from vsr.raster import placed_cuda

    recipe, _, _, _, scene, touches = expected(name)
    placed = placed_cuda.Placed.empty(1, FRAMES, recipe.num_drawn, SIZE, SIZE, cuda)
    rows = torch.arange(recipe.texture_pool, device=cuda) if recipe.textured else None
    tables = place_cuda.tables(recipe, SIZE, cuda)
    place_cuda.place_clips(recipe, tables, SEED, INDEX.to(cuda), EPOCH.to(cuda), STRIDE, SIZE, rows, placed)
    placed = placed_cuda.Placed(*(t.cpu() for t in placed))

    bits = placed.near[..., None] >> torch.arange(32) & 1  # (1, T, tiles, words, 32), front to back
    near = bits.flatten(-2)[..., : recipe.num_drawn].flip(-1).bool()
    columns = -(-SIZE // placed_cuda.TILE_W)
    center, reach = scene.output_from_unit[..., 2], scene.output_from_unit[..., :2].norm(dim=-1)
    for axis, side in enumerate((placed_cuda.TILE_W, placed_cuda.TILE_H)):
        tiles = near[:, :, :columns] if axis == 0 else near[:, :, columns:]
        first = side * torch.arange(tiles.shape[2])[:, None]
        low, high = ((center + way * reach)[:, :, None, :, axis] for way in (-1, 1))
        overlap = torch.minimum(high - first, first + side - low)  # px
        assert tiles[(overlap > 1e-6) & touches[:, :, None]].all()
        assert not tiles[(overlap < -1e-6) | ~touches[:, :, None]].any()
    inverse = geometry.invert(scene.output_from_unit).flatten(-2)
    where = touches[:, :, :, None].expand_as(inverse)
    torch.testing.assert_close(placed.matrix[where], inverse[where].float(), rtol=2e-6, atol=2e-6)
    row, texels, color, outline = placed.look.unbind(-1)
    rgb = scene.color.int()
    assert torch.equal(color, rgb[..., 0] | rgb[..., 1] << 8 | rgb[..., 2] << 16)
    if recipe.textured:
        assert torch.equal(row.long(), scene.texture)
        assert torch.equal(placed.frame.long(), scene.frame)
        torch.testing.assert_close(texels.contiguous().view(torch.float32), scene.texels.float())
    polygon = ~scene.outlines.circle
    assert torch.equal(outline == placed_cuda.CIRCLE, ~polygon)
    normal, d = scene.outlines.edges[polygon][..., :2], scene.outlines.edges[polygon][..., 2]
    assert torch.equal(outline[polygon], ((d < 0).int() << torch.arange(4, dtype=torch.int32)).sum(-1).int())
    found = placed.edges.unflatten(-1, (4, 2))[polygon] * d.abs().clamp(min=2.0**-30)[..., None].float()
    torch.testing.assert_close(found, normal.float(), rtol=0, atol=1e-6)


def test_matrices_on_cuda_after_many_frames(cuda):
    """A frame's rotation follows from the one before."""
    place_cuda = pytest.importorskip("vsr.raster.place_cuda", reason="Triton comes with torch for CUDA")
    from vsr.raster import placed_cuda

    recipe, frames = replace(load_recipe("acc_shapes"), num_objects=32, speed=(0.0, 0.0), acceleration=(0.0, 0.0)), 100
    placed = placed_cuda.Placed.empty(1, frames, 32, SIZE, SIZE, cuda)
    tables = place_cuda.tables(recipe, None, cuda)
    place_cuda.place_clips(recipe, tables, SEED, INDEX.to(cuda), EPOCH.to(cuda), 1, SIZE, None, placed)
    drawn, time, box = render._clips(recipe, SEED, INDEX, EPOCH, frames, 1, SIZE, False)
    matrices = render._scene(recipe, drawn, time, box, SIZE).output_from_unit
    within = ((matrices[..., 2] > 0) & (matrices[..., 2] < SIZE)).all(dim=-1)
    assert within[:, -1].any()
    inverse = geometry.invert(matrices).flatten(-2).float()
    torch.testing.assert_close(placed.matrix.cpu()[within], inverse[within], rtol=2e-6, atol=2e-6)
