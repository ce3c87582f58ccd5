"""Two renderers, one meaning: fused equals reference on every progression dataset."""

from dataclasses import replace

import pytest
import torch

from vsr import geometry
from vsr.geometry import Outlines
from vsr.latents import latents
from vsr.raster import Scene, fused_cpu, reference
from vsr.recipe import PROGRESSION, Recipe, load_recipe
from vsr.render import render_clips, render_truth
from vsr.textures.bank import TextureBank

ALLOWED = 1e-5  # of the pixels
LOOKS = {
    "colour on colour": {"background": "color"},
    "colour on texture": {"background": "texture"},
    "texture on colour": {"fill": "texture", "background": "color"},
    "texture on texture": {"fill": "texture", "background": "texture"},
    "saturated": {"fill": "saturated"},
    "saturated on texture, clamped": {"fill": "saturated", "saturation": "clamp", "background": "texture"},
    "circles on colour": {"shapes": "circles", "background": "color"},
    "dynamic": {"fill": "texture", "texture_source": "stylegan_oriented", "texture_frames": 9},
    "dynamic on dynamic": {
        "fill": "saturated", "background": "texture", "texture_source": "stylegan_oriented", "texture_frames": 9
    },
    "a window of the pool": {"fill": "texture", "texture_pool": 60, "texture_window": 20},
    "a texture alone": {"num_objects": 0, "background": "texture"},
    "a colour alone": {"num_objects": 0, "background": "color"},
}  # fmt: skip


def random_bank(recipe: Recipe, device: torch.device | str = "cpu") -> TextureBank:
    """A bank whose pool is noise: the hardest texture to agree on, and quick to make."""
    bank = TextureBank(replace(recipe, texture_source="stylegan_oriented"), device=device)
    generator = torch.Generator().manual_seed(0)
    shape = (recipe.texture_frames, 3, recipe.texture_size, recipe.texture_size)
    bank.generate = lambda texture: torch.randint(  # type: ignore[method-assign]
        0, 256, (len(texture), *shape), dtype=torch.uint8, generator=generator
    ).to(texture.device)
    bank.make(torch.arange(recipe.texture_pool).flip(0))  # rows are not positions
    return bank


def differing(recipe: Recipe, **options) -> float:
    bank = random_bank(recipe) if recipe.textured else None
    one, other = (render_clips(recipe, renderer=renderer, bank=bank, **options) for renderer in ("fused", "reference"))
    return (one != other).any(dim=1).float().mean().item()


@pytest.mark.parametrize("name", PROGRESSION)
def test_fused_equals_reference(name):
    recipe = load_recipe(name).with_textures(64)
    assert differing(recipe, index=[0, 1], num_frames=3, stride=40, size=96, crop=False) <= ALLOWED
    assert differing(recipe, index=[5], epoch=2, num_frames=2, size=97) <= ALLOWED  # not a whole number of tiles


@pytest.mark.slow
@pytest.mark.parametrize("name", ["acc_shapes", "acc_textures"])
def test_fused_equals_reference_at_full_size(name):
    recipe = replace(load_recipe(name), texture_pool=64)
    assert differing(recipe, index=[2], num_frames=8, stride=12, size=224) <= ALLOWED


@pytest.mark.parametrize(
    "changes",
    [
        {"num_objects": 1},
        {"num_objects": 2000, "shapes": "mixed"},
        {"radius": (0.01, 0.02), "shapes": "mixed"},  # smaller than a tile, some smaller than a pixel
        {"radius": (3.0, 4.0), "shapes": "mixed"},  # larger than the frame
        {"scaling": (-0.02, 0.0), "shapes": "mixed"},  # through zero and mirrored
        {"shear": (-0.05, 0.05), "shapes": "mixed"},  # through a singular matrix
    ],
)
def test_fused_equals_reference_on_odd_scenes(changes):
    recipe = Recipe("odd", **({"speed": (1.2, 3.0)} | changes))
    assert differing(recipe, index=[0], num_frames=4, stride=25, size=64, crop=False) <= ALLOWED


@pytest.mark.parametrize("look", LOOKS)
def test_fused_equals_reference_whatever_is_shown(look):
    recipe = Recipe("look", shapes="mixed", speed=(1.2, 3.0), rotation=(-0.03, 0.03), num_objects=60)
    recipe = replace(recipe, **LOOKS[look]).with_textures(60, 32, 5)
    assert differing(recipe, index=[0, 20_000], num_frames=2, stride=7, size=49) <= ALLOWED
    assert differing(recipe, index=[1], num_frames=1, size=28, antialias=2) <= ALLOWED


def test_no_pixel_lies_on_the_border_of_two_texels_of_a_background():
    """At these sizes a seventh of the columns would, and rounding would decide."""
    recipe = Recipe("b", num_objects=0, background="texture", texture_pool=1, texture_size=256)
    assert differing(recipe, index=list(range(6)), num_frames=1, size=224) <= ALLOWED
    assert differing(recipe, index=[0], num_frames=1, size=49, crop=False) <= ALLOWED


def test_a_look_is_what_it_says():
    """Saturated is the sum of texel and colour; a background is seen where no object is, behind the same objects."""
    base = replace(load_recipe("acc_textures"), num_objects=40, texture_pool=64, texture_size=32)
    bank, clip = random_bank(base), {"index": [3], "num_frames": 2, "stride": 20, "size": 64}

    def drawn(**changes):
        recipe = replace(base, **changes)
        return render_clips(recipe, bank=bank if recipe.textured else None, **clip)[0].int()

    color, texture = drawn(fill="color"), drawn(fill="texture")
    assert torch.equal(drawn(fill="saturated"), (color + texture) % 256)
    assert torch.equal(drawn(fill="saturated", saturation="clamp"), (color + texture).clamp(max=255))
    top = render_truth(replace(base, fill="color"), **clip).object[0]
    free = (top < 0).expand_as(color)
    assert 0.05 < free.float().mean() < 0.95
    for behind in ("color", "texture"):
        shown = drawn(fill="color", background=behind)
        assert torch.equal(shown[~free], color[~free])
        colors = shown[free].view(3, -1).unique(dim=1).shape[1]
        assert colors == 1 if behind == "color" else colors > 100


def test_a_textured_background_shows_the_whole_texture():
    recipe = Recipe("still", num_objects=0, background="texture", texture_pool=3, texture_size=32)
    bank = random_bank(recipe)
    video = render_clips(recipe, index=[7], num_frames=2, size=32, crop=False, bank=bank)[0].permute(1, 2, 3, 0)
    shown = latents(recipe, 0, torch.tensor([7])).texture[0]
    assert torch.equal(video, bank.textures[bank.row[shown]].expand_as(video))


def test_top_object_agrees():
    recipe = load_recipe("acc_shapes")
    scene = scene_of(recipe, 64)
    top = torch.empty(1, 2, 64, 64, dtype=torch.int32)
    fused_cpu.visible(scene, top)
    expected = torch.empty_like(top)
    reference.visible(scene, expected)
    assert (top == expected).float().mean() >= 1 - ALLOWED


def scene_of(recipe: Recipe, size: int) -> Scene:
    drawn = latents(recipe, 0, torch.tensor([0]))
    box = torch.tensor([[0, 0, recipe.size, recipe.size]], dtype=torch.float64)
    camera = geometry.output_from_frame(box, size)[:, None, None]
    matrices = geometry.compose(camera, geometry.frame_from_unit(drawn, torch.tensor([[0, 60]])))
    frame = torch.zeros(1, 2, dtype=torch.int64)
    return Scene(matrices, geometry.outlines(drawn), drawn.color, drawn.texture, drawn.radius, frame, False, None)


def one_object(matrix: list[list[float]], circle: bool = True, **fields) -> Scene:
    """A scene of one unit circle, or of the unit square around the origin, under one matrix."""
    square = torch.tensor([[1.0, 0, 1], [0, 1, 1], [-1, 0, 1], [0, -1, 1]], dtype=torch.float64)
    scene = Scene(
        output_from_unit=torch.tensor(matrix, dtype=torch.float64)[None, None, None],
        outlines=Outlines(torch.tensor([[circle]]), square[None, None]),
        color=torch.tensor([[[10, 20, 30]]], dtype=torch.uint8),
        texture=torch.tensor([[0]]),
        texels=torch.tensor([[1.0]], dtype=torch.float64),
        frame=torch.tensor([[0]]),
        clamp=False,
        textures=None,
    )
    return scene._replace(**fields)


@pytest.mark.parametrize("draw", [fused_cpu.draw, reference.draw])
class TestPixels:
    """What the conventions say, pixel by pixel."""

    def test_a_square_covers_the_pixels_whose_centres_it_holds(self, draw):
        out = torch.full((1, 3, 1, 8, 8), 255, dtype=torch.uint8)
        draw(one_object([[2, 0, 4], [0, 1, 4]], circle=False), out)  # x in 2..6, y in 3..5
        expected = torch.zeros(8, 8, dtype=torch.uint8)
        expected[3:5, 2:6] = 1
        assert torch.equal(out[0, :, 0], expected * torch.tensor([10, 20, 30], dtype=torch.uint8)[:, None, None])

    def test_a_circle_is_round(self, draw):
        out = torch.empty(1, 3, 1, 40, 40, dtype=torch.uint8)
        draw(one_object([[15, 0, 20], [0, 15, 20]]), out)
        y, x = torch.meshgrid(torch.arange(40) + 0.5, torch.arange(40) + 0.5, indexing="ij")
        assert torch.equal(out[0, 0, 0] == 10, (x - 20) ** 2 + (y - 20) ** 2 <= 15**2)

    def test_a_texture_starts_at_its_corner_and_follows_the_object(self, draw):
        texture = torch.arange(16, dtype=torch.uint8).reshape(4, 4)[None, :, :, None].expand(1, 4, 4, 3).contiguous()
        scene = one_object(
            [[2, 0, 4], [0, 2, 4]], False, texels=torch.tensor([[2.0]], dtype=torch.float64), textures=texture,
            color=torch.zeros(1, 1, 3, dtype=torch.uint8),
        )  # fmt: skip
        out = torch.empty(1, 3, 1, 8, 8, dtype=torch.uint8)
        draw(scene, out)
        assert torch.equal(out[0, 0, 0, 2:6, 2:6], texture[0, :, :, 0])
        quarter_turn = scene._replace(
            output_from_unit=torch.tensor([[[[[0.0, -2, 4], [2, 0, 4]]]]], dtype=torch.float64)
        )
        draw(quarter_turn, out)
        assert torch.equal(out[0, 0, 0, 2:6, 2:6], texture[0, :, :, 0].rot90(-1))

    def test_colour_and_texel_are_added(self, draw):
        textures = torch.tensor([100, 250], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 4, 4, 3).contiguous()
        out = torch.empty(1, 3, 1, 8, 8, dtype=torch.uint8)
        for frame, clamp, expected in ((0, False, [110, 120, 130]), (1, False, [4, 14, 24]), (1, True, [255] * 3)):
            scene = one_object([[2, 0, 4], [0, 2, 4]], False, textures=textures, frame=torch.tensor([[frame]]))
            draw(scene._replace(clamp=clamp), out)
            assert out[0, :, 0, 3, 3].tolist() == expected
            assert (out[0, :, 0, 0] == 0).all()
        draw(scene._replace(texture=torch.tensor([[-1]])), out)  # no texture of its own
        assert out[0, :, 0, 3, 3].tolist() == [10, 20, 30]

    @pytest.mark.parametrize("matrix", [[[0, 0, 4], [0, 0, 4]], [[1, 1, 4], [1, 1, 4]], [[1e-12, 0, 4], [0, 1e-12, 4]]])
    def test_an_object_without_area_is_not_drawn(self, draw, matrix):
        out = torch.full((1, 3, 1, 8, 8), 255, dtype=torch.uint8)
        draw(one_object(matrix), out)
        assert (out == 0).all()
