"""The CUDA renderer: on a GPU where there is one, else the same code in Triton's interpreter, on small scenes."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import triton
import triton.language as tl
from test_agreement import ALLOWED, LOOKS, one_object, random_bank, scene_of

import vsr
from vsr import geometry, rng_cuda
from vsr.errors import InputError
from vsr.latents import latents
from vsr.raster import Scene, fused_cpu, fused_cuda, placed_cuda, reference
from vsr.recipe import PROGRESSION, Recipe, load_recipe
from vsr.rng import Stream, below, uniform, words
from vsr.textures.bank import TextureBank

FEW = {"num_objects": 40, "texture_pool": 16, "texture_size": 32}
CLIP = {"index": [70, 3], "epoch": [1, 0], "num_frames": 2, "stride": 33, "size": 40}
SEED = 2**63 + 12345


def drawn_on(device, recipe, bank=None, crop=True, antialias=1, **clip):
    """What ``render_clips`` does on CUDA, on any device that Triton runs on."""
    clip = CLIP | clip
    shape = (len(clip["index"]), 3, clip["num_frames"], clip["size"], clip["size"])
    out = torch.full(shape, 7, dtype=torch.uint8, device=device)
    index, epoch = (torch.tensor(clip[name], device=device) for name in ("index", "epoch"))
    pool = () if bank is None else (bank.row.to(device), bank.textures.to(device))
    fused_cuda.draw_clips(recipe, SEED, index, epoch, clip["stride"], crop, out, antialias, *pool)
    return out.cpu()


def moved(scene, device):
    names = ("output_from_unit", "color", "texture", "texels", "frame")
    tensors = {name: getattr(scene, name).to(device) for name in names}
    return scene._replace(**tensors, outlines=geometry.Outlines(*(t.to(device) for t in scene.outlines)))


@triton.jit
def _draw(out, uniforms, numbers, k0, k1, index, epoch, n, STREAM: tl.constexpr):
    element = tl.arange(0, 64)
    at = out + 4 * element
    w0, w1, w2, w3 = rng_cuda.words(k0, k1, STREAM, element, tl.load(index), tl.load(epoch))
    tl.store(at, w0)
    tl.store(at + 1, w1)
    tl.store(at + 2, w2)
    tl.store(at + 3, w3)
    tl.store(uniforms + element, rng_cuda.uniform(w0))
    tl.store(numbers + element, rng_cuda.below(w0, n))


@pytest.mark.parametrize("seed", [0, 1, SEED, 2**64 - 1])
def test_draws_are_bit_equal(cuda, seed):
    for stream, video, clip, n in ((Stream.ANGLE, 9536, 0, 6), (Stream.CLIP, 2**32 - 1, 3199, 2**31)):
        out = torch.zeros(64, 4, dtype=torch.int64, device=cuda)
        uniforms = torch.zeros(64, dtype=torch.float64, device=cuda)
        numbers = torch.zeros(64, dtype=torch.int64, device=cuda)
        address = (torch.tensor([video], device=cuda), torch.tensor([clip], device=cuda))
        _draw[(1,)](out, uniforms, numbers, seed & 0xFFFFFFFF, seed >> 32, *address, n, STREAM=int(stream), num_warps=1)
        expected = words(stream, seed, torch.tensor([video]), clip, 64)[0]
        assert torch.equal(out.cpu(), expected)
        assert torch.equal(uniforms.cpu(), uniform(expected[:, 0]).double())
        assert torch.equal(numbers.cpu(), below(expected[:, 0], n))


@pytest.mark.parametrize("name", PROGRESSION)
def test_clips_equal_the_cpu_renderers(cuda, name):
    recipe = replace(load_recipe(name), **FEW)
    bank = random_bank(recipe) if recipe.textured else None
    expected = vsr.render_clips(recipe, seed=SEED, bank=bank, **CLIP)
    assert (drawn_on(cuda, recipe, bank) != expected).any(dim=1).float().mean() <= ALLOWED
    assert expected.unique().numel() > 20


@pytest.mark.parametrize("look", LOOKS)
def test_clips_equal_the_cpu_renderers_whatever_is_shown(cuda, look):
    recipe = Recipe("look", shapes="mixed", speed=(1.2, 3.0), rotation=(-0.03, 0.03), num_objects=40)
    recipe = replace(recipe, **LOOKS[look]).with_textures(60, 32, 5)
    bank = random_bank(recipe) if recipe.textured else None
    clip = CLIP | {"index": [7, 20_000]}  # of two windows
    expected = vsr.render_clips(recipe, seed=SEED, bank=bank, **clip)
    assert (drawn_on(cuda, recipe, bank, **clip) != expected).any(dim=1).float().mean() <= ALLOWED


@pytest.mark.parametrize(("fill", "antialias", "size"), [("color", 2, 30), ("texture", 4, 11)])
def test_antialiasing_and_the_whole_frame_equal_the_cpu_renderers(cuda, fill, antialias, size):
    recipe = replace(load_recipe("acc_textures"), fill=fill, **FEW)
    bank = None if fill == "color" else random_bank(recipe)
    options = {"crop": False, "antialias": antialias, "size": size}
    expected = vsr.render_clips(recipe, seed=SEED, bank=bank, **(CLIP | options))
    assert (drawn_on(cuda, recipe, bank, **options) != expected).any(dim=1).float().mean() <= ALLOWED


def test_the_top_object_and_scenes_equal_the_cpu_renderers(cuda):
    scene = scene_of(replace(load_recipe("acc_shapes"), **FEW), 40)
    top, expected = (torch.empty(1, 2, 40, 40, dtype=torch.int32) for _ in range(2))
    fused_cpu.visible(scene, expected)
    there, top = moved(scene, cuda), top.to(cuda)
    fused_cuda.visible(there, top)
    assert torch.equal(top.cpu(), expected)
    out = torch.empty(1, 2, 40, 40, 3, dtype=torch.uint8, device=cuda)  # strides as render_video has them
    fused_cuda.draw(there, out.permute(0, 4, 1, 2, 3))
    shown = torch.where(expected[..., None] >= 0, scene.color[0][expected.clamp(min=0)], 0)
    assert torch.equal(out.cpu(), shown)


@pytest.mark.parametrize("d", [1, 3 / 4, 3 / 8, 11 / 16])
def test_edges_through_pixel_centres_hold_them(cuda, d):
    """Upright, they bound no y."""
    scene = one_object([[16, 0, 18.5], [0, 32, 26.5]], False)
    scene.outlines.edges[..., 2] = d
    turned = scene._replace(output_from_unit=torch.tensor([[[[[0.0, 16, 18.5], [32, 0, 26.5]]]]], dtype=torch.float64))
    for shown in (scene, turned):
        top, expected = (torch.empty(1, 1, 52, 40, dtype=torch.int32) for _ in range(2))
        reference.visible(shown, expected)
        top = top.to(cuda)
        fused_cuda.visible(moved(shown, cuda), top)
        assert torch.equal(top.cpu(), expected)
        assert (expected == 0).sum(dim=-1).max() == 32 * d + 1  # both edges' columns


def test_a_scene_of_no_objects_is_black(cuda):
    texture = torch.full((1, 4, 4, 3), 200, dtype=torch.uint8, device=cuda)
    none = one_object([[8, 0, 10], [0, 8, 10]], textures=texture)
    outlines = geometry.Outlines(*(t[:, :0] for t in none.outlines))
    fields = {name: getattr(none, name)[:, :0] for name in ("color", "texture", "texels")}
    none = none._replace(output_from_unit=none.output_from_unit[:, :, :0], outlines=outlines, **fields)
    out = torch.full((1, 3, 1, 20, 20), 255, dtype=torch.uint8, device=cuda)
    fused_cuda.draw(moved(none, cuda), out)
    assert (out == 0).all()


@pytest.mark.parametrize("circle", [True, False])
@pytest.mark.parametrize("nearly", ["covered", "missed"])
def test_tiles_that_are_nearly_covered_or_missed(cuda, circle, nearly):
    """Outlines that leave a few pixels of a tile free, or touch only a few: neither is taken for all or none."""
    count, (height, width) = 40, (placed_cuda.TILE_H, placed_cuda.TILE_W)
    generator = torch.Generator().manual_seed(0)
    turn, slack = torch.rand(2, count, dtype=torch.float64, generator=generator)
    center = torch.rand(count, 2, dtype=torch.float64, generator=generator) * 120 - 50
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    away = torch.stack((x, y), dim=-1).flatten(0, 1) - center[:, None]
    cos, sin = (6 * turn).cos(), (6 * turn).sin()
    rotation = torch.stack((torch.stack((cos, -sin), -1), torch.stack((sin, cos), -1)), -2)
    along = away @ rotation
    reach = along.norm(dim=-1) if circle else along.abs().amax(dim=-1)  # the extent that would just hold a pixel
    extent = (
        reach.amax(dim=1) * (1 - 0.1 * slack) if nearly == "covered" else reach.amin(dim=1) * (1 + 0.1 * slack) + 0.1
    )
    unit = 1 if circle else 2**0.5  # an outline lies in its circle
    matrix = torch.cat((rotation * extent[:, None, None] * unit, center[..., None]), dim=-1)
    scene = one_object([[1, 0, 0], [0, 1, 0]], circle)
    scene.outlines.edges[..., 2] /= unit
    scene = Scene(
        matrix[:, None, None], geometry.Outlines(*(t.expand(count, *t.shape[1:]) for t in scene.outlines)),
        *(t.expand(count, *t.shape[1:]) for t in scene[2:6]), False, None,
    )  # fmt: skip
    expected = torch.where(reach <= extent[:, None], 0, -1).view(count, 1, height, width).int()
    covered = (expected == 0).float().mean(dim=(1, 2, 3))
    assert ((covered > 0) & (covered < 1)).float().mean() > 0.9
    top = torch.empty(count, 1, height, width, dtype=torch.int32)
    fused_cpu.visible(scene, top)
    assert torch.equal(top, expected)
    top = top.fill_(7).to(cuda)
    fused_cuda.visible(moved(scene, cuda), top)
    assert torch.equal(top.cpu(), expected)


def test_one_epoch_for_all_is_read_for_each(cuda):
    recipe, out = replace(load_recipe("acc_shapes"), **FEW), torch.empty(2, 3, 1, 24, 24, dtype=torch.uint8)
    expected = vsr.render_clips(recipe, index=[5, 6], epoch=9, num_frames=1, size=24)
    out = out.to(cuda)
    index, epoch = torch.tensor([5, 0, 6], device=cuda)[::2], torch.tensor(9, device=cuda).expand(2)
    fused_cuda.draw_clips(recipe, 0, index, epoch, 4, True, out)
    assert torch.equal(out.cpu(), expected)


def test_channels_may_lie_a_gigabyte_apart(cuda):
    """As those of one clip of 100 frames of 3,300 px do: twice as far passes 31 bits."""
    recipe, far = Recipe("a", num_objects=9), 2**30
    near = torch.empty(1, 3, 1, 16, 16, dtype=torch.uint8, device=cuda)
    out = torch.empty(2 * far + 256, dtype=torch.uint8, device=cuda).as_strided(near.shape, (3 * far, far, 256, 16, 1))
    for pixels in (near, out):
        zero = torch.zeros(1, dtype=torch.int64, device=cuda)
        fused_cuda.draw_clips(recipe, SEED, zero, zero, 1, True, pixels)
    assert torch.equal(out, near)


def test_parts_give_the_same_clips(cuda, monkeypatch):
    recipe = replace(load_recipe("acc_shapes"), **FEW)
    whole = drawn_on(cuda, recipe, index=[1, 2, 3], epoch=[0, 0, 5], num_frames=1)
    monkeypatch.setattr(fused_cuda, "_WORK_AT_LEAST", 2 * placed_cuda.Placed.empty(1, 1, 40, 40, 40, "meta").nbytes)
    monkeypatch.setattr(fused_cuda, "_WORK_SHARE", 0)
    out = torch.empty(5, 3, 1, 40, 40, dtype=torch.uint8, device=cuda)
    parts = [part for part, _ in fused_cuda._parts(out, 40, 1)]
    assert parts == [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert not list(fused_cuda._parts(out[:0], 40, 1))
    assert torch.equal(drawn_on(cuda, recipe, index=[1, 2, 3], epoch=[0, 0, 5], num_frames=1), whole)


@pytest.mark.parametrize("videos", [1, 3, 64, 65, 192])
@pytest.mark.parametrize(("side", "objects"), [(224, 500), (224, 501), (112, 500)])
def test_work_memory_is_what_it_says(videos, side, objects):
    """A tenth of the output, or 4 MiB, and about as much in each part."""
    out = torch.empty(videos, 3, 16, side, side, dtype=torch.uint8, device="meta")
    parts = list(fused_cuda._parts(out, objects, 1))
    assert sum(part.stop - part.start for part, _ in parts) == videos
    assert len({part.stop - part.start for part, _ in parts[:-1]}) <= 1
    whole = placed_cuda.Placed.empty(max(part.stop - part.start for part, _ in parts), 16, objects, side, side, "meta")
    assert whole.nbytes <= max(0.1 * out.numel(), 4 * 2**20)
    assert (len(parts) == 1) == (videos < 16 or side == 224)  # the paper's clips take two launches, however many


@pytest.mark.parametrize(
    "changes",
    [
        {"num_objects": 1024},  # as many as are looked through at a time, a word a thread
        {"num_objects": 1500, "shapes": "mixed"},  # two words
        {"num_objects": 2100, "shapes": "mixed", "radius": (0.01, 0.05)},  # more than are looked through at a time
        {"num_objects": 1100, "shapes": "mixed", "radius": (0.01, 0.05)},  # more in a tile than 32
        {"num_objects": 1},
        {"num_objects": 32},
        {"num_objects": 33, "radius": (1.5, 2.0)},
    ],
)
def test_any_number_of_objects(cuda, changes):
    recipe = Recipe("many", **({"speed": (1.2, 3.0), "scaling": (-0.02, 0.0)} | changes))
    clip = {"index": [2], "epoch": [0], "num_frames": 1, "stride": 1, "size": 40}
    for crop in (True, False):
        expected = vsr.render_clips(recipe, seed=SEED, crop=crop, **clip)
        assert (drawn_on(cuda, recipe, crop=crop, **clip) != expected).any(dim=1).float().mean() <= ALLOWED


@pytest.mark.parametrize("name", PROGRESSION)
def test_clips_of_full_size(cuda, name):
    if cuda.type == "cpu" and "VSR_COMPILED_KERNELS" not in os.environ:
        pytest.skip("it takes Triton's interpreter minutes; test_compiled asks the compiled kernels")
    recipe = load_recipe(name).with_textures(64)
    bank, clip = random_bank(recipe) if recipe.textured else None, {"num_frames": 2, "stride": 30, "size": 224}
    expected = vsr.render_clips(recipe, seed=SEED, bank=bank, **(CLIP | clip))
    assert (drawn_on(cuda, recipe, bank, **clip) != expected).any(dim=1).float().mean() <= ALLOWED


def test_arguments_that_are_one(cuda):
    """Triton compiles them in: objects, frames, pixels, texels, strides."""
    for size, objects, side in ((1, 1, 1), (1, 0, 1), (33, 1, 1), (1, 3, 2)):
        recipe = Recipe("one", num_objects=objects, fill="texture", background="texture", radius=(1.0, 2.0))
        recipe = replace(recipe, texture_pool=1, texture_size=side)
        bank, clip = random_bank(recipe), CLIP | {"num_frames": 1, "stride": 1, "size": size}
        expected = vsr.render_clips(recipe, seed=SEED, bank=bank, **clip)
        assert (drawn_on(cuda, recipe, bank, **clip) != expected).any(dim=1).float().mean() <= ALLOWED


@pytest.mark.parametrize(("height", "width"), [(8, 1100), (1000, 20)])
def test_a_drawing_of_many_tiles(cuda, height, width):
    """More columns or rows of them than bits in a word."""
    scene = scene_of(Recipe("wide", num_objects=60, shapes="mixed"), 64)
    stretch = torch.tensor([[width / 64], [height / 64]], dtype=torch.float64)
    scene = scene._replace(output_from_unit=(scene.output_from_unit * stretch)[:, :1])
    top, expected = (torch.empty(1, 1, height, width, dtype=torch.int32) for _ in range(2))
    fused_cpu.visible(scene, expected)
    there = top.to(cuda)
    fused_cuda.visible(moved(scene, cuda), there)
    assert (there.cpu() != expected).float().mean() <= ALLOWED
    assert expected.unique().numel() > 10


def test_the_kernels_compile_for_an_h200_without_one():
    """What they ask of it, and what they execute."""
    environ = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    script = Path(__file__).parents[2] / "benchmarks" / "kernels.py"
    if not script.is_file():
        pytest.skip("benchmarks are in the repository, not in the package")
    done = subprocess.run(
        [sys.executable, script], env=environ, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("| _")]
    assert len(rows) >= 6
    for name, registers, stack, shared in rows:
        assert 0 < int(registers) <= (168 if "place" in name else 128), name  # so many warps a multiprocessor
        assert int(stack) <= (80 if "place" in name else 32), name  # sines of large angles need some
        assert int(shared) <= 32, name  # no tile goes from one layout to another, which Triton 3.6 did
    counts = [line.split("|")[2:-1] for line in done.stdout.splitlines() if line.startswith("| acc_")]
    for objects, pixels, *_, ratio in counts:  # cost grows with visible depth and pixels, not with the objects
        most = {(" 500 ", " 224 "): 1, (" 2,000 ", " 224 "): 1.6, (" 500 ", " 448 "): 4}[objects, pixels]
        assert 0.5 < float(ratio.rstrip("x ")) <= most
    assert len(counts) == 6


class TestOnAGpu:
    """What only a GPU can show."""

    def test_nothing_waits_for_the_device(self, gpu):
        recipe = replace(load_recipe("acc_textures"), **FEW)
        bank = TextureBank(recipe, 0, gpu)
        bank.generate = random_bank(recipe).generate
        bank.make(torch.arange(recipe.texture_pool, device=gpu))
        options = {"device": gpu, "bank": bank, "num_frames": 4, "size": 64}
        expected = vsr.render_clips(recipe, index=range(8), **options)  # compiles
        index = torch.arange(8, device=gpu)
        torch.cuda.set_sync_debug_mode("error")
        try:
            clips = vsr.render_clips(recipe, index=index, **options)
            clips = vsr.render_clips(recipe, index=range(8), **options)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert torch.equal(clips, expected)

    def test_it_draws_in_the_current_stream(self, gpu):
        recipe = load_recipe("acc_shapes")
        expected = vsr.render_clips(recipe, index=range(16), device=gpu)
        torch.cuda.synchronize()
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            clips = vsr.render_clips(recipe, index=range(16), device=gpu)
            done = stream.record_event()
        torch.cuda.current_stream().wait_event(done)
        assert torch.equal(clips, expected)

    @pytest.mark.parametrize("name", PROGRESSION)
    def test_full_size_clips_equal_the_cpus(self, gpu, name):
        recipe = load_recipe(name).with_textures(64)
        bank = there = None
        if recipe.textured:
            bank = random_bank(recipe)
            there = random_bank(recipe, gpu)
        clips = vsr.render_clips(recipe, index=[4, 9], device=gpu, bank=there)
        assert (clips.cpu() != vsr.render_clips(recipe, index=[4, 9], bank=bank)).any(dim=1).float().mean() <= ALLOWED

    def test_the_reference_runs_on_it(self, gpu):
        recipe, options = load_recipe("acc_shapes"), {"index": [2], "num_frames": 2, "size": 64}
        clips = vsr.render_clips(recipe, renderer="reference", device=gpu, **options)
        assert (clips.cpu() != vsr.render_clips(recipe, **options)).any(dim=1).float().mean() <= ALLOWED

    def test_work_memory_is_at_most_a_tenth_of_the_output(self, gpu):
        recipe = load_recipe("acc_shapes")
        vsr.render_clips(recipe, index=range(64), device=gpu)
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        clips = vsr.render_clips(recipe, index=range(64), device=gpu)
        assert torch.cuda.max_memory_allocated() - before - clips.nbytes <= 0.1 * clips.nbytes

    def test_latents_are_drawn_alike(self, gpu):
        recipe = load_recipe("acc_textures")
        for here, there in zip(*(latents(recipe, 1, torch.arange(4, device=d)) for d in ("cpu", gpu)), strict=True):
            if here.is_floating_point():
                torch.testing.assert_close(here, there.cpu(), rtol=1e-12, atol=1e-9)
            else:
                assert torch.equal(here, there.cpu())

    def test_more_than_fits_says_how_much_would(self, gpu):
        count = torch.cuda.mem_get_info()[1] // (3 * 16 * 224**2) + 1
        with pytest.raises(InputError, match=rf"{count} clips take .* GiB .* free: render at most \d+ at a time"):
            vsr.render_clips(load_recipe("acc_shapes"), index=range(count), device=gpu)
