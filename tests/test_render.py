from dataclasses import replace

import pytest
import torch

import vsr
from vsr.errors import InputError
from vsr.recipe import PROGRESSION, Recipe, load_recipe
from vsr.textures.bank import TextureBank
from vsr.textures.stylegan import walk

SMALL = {"num_frames": 4, "size": 48}


def test_a_clip_is_the_same_alone_and_in_any_batch():
    recipe = load_recipe("acc_shapes")
    batch = vsr.render_clips(recipe, seed=3, index=[70, 2, 5], epoch=[0, 4, 4], **SMALL)
    assert batch.shape == (3, 3, 4, 48, 48)
    assert batch.dtype == torch.uint8
    for i, (index, epoch) in enumerate([(70, 0), (2, 4), (5, 4)]):
        alone = vsr.render_clips(recipe, seed=3, index=[index], epoch=epoch, **SMALL)
        assert (alone[0] != batch[i]).float().mean() <= 1e-5


def test_large_batches_are_drawn_in_parts_with_the_same_result():
    recipe = load_recipe("moving_circles")
    whole = vsr.render_clips(recipe, index=range(40), num_frames=4, size=16)
    parts = torch.cat([vsr.render_clips(recipe, index=range(i, i + 8), num_frames=4, size=16) for i in range(0, 40, 8)])
    assert (whole != parts).float().mean() <= 1e-5


def test_epoch_moves_the_window_over_the_same_video():
    recipe = load_recipe("acc_shapes")
    video = vsr.render_video(recipe, index=4, size=64)
    starts = set()
    for epoch in range(4):
        clip = vsr.render_clips(recipe, index=[4], epoch=epoch, size=64, crop=False)[0].permute(1, 2, 3, 0)
        error = torch.stack([(video[t] != clip[0]).float().mean() for t in range(len(video) - 60)])
        start = int(error.argmin())
        starts.add(start)
        assert (video[start : start + 61 : 4] != clip).float().mean() <= 1e-5
    assert len(starts) == 4


def test_crop_is_a_camera_on_the_same_clip():
    recipe = load_recipe("acc_shapes")
    full, crop = (vsr.render_clips(recipe, index=range(6), num_frames=2, size=64, crop=c) for c in (False, True))
    assert (full != crop).any(dim=1).float().mean() > 0.2


def test_the_progression_is_paired():
    """Motion apart, neighbours look alike: the first frame of moving shapes and of their successors is one picture."""
    frames = {name: vsr.render_video(load_recipe(name), index=1, size=32)[0] for name in list(PROGRESSION)[:5]}
    assert torch.equal(frames["static_circles"], frames["moving_circles"])
    assert torch.equal(frames["moving_shapes"], frames["transforming_shapes"])
    assert torch.equal(frames["moving_shapes"], frames["acc_shapes"])
    assert not torch.equal(frames["moving_circles"], frames["moving_shapes"])


def test_static_circles_stand_still_and_moving_ones_do_not():
    still, moving = (vsr.render_video(load_recipe(n), index=0, size=32) for n in ("static_circles", "moving_circles"))
    assert (still == still[:1]).all()
    assert (moving[10:] != moving[:-10]).any(dim=-1).float().mean() > 0.1


def test_whole_video_has_its_own_length():
    recipe = load_recipe("moving_circles")
    lengths = {len(vsr.render_video(recipe, index=i, size=8)) for i in range(12)}
    assert min(lengths) >= 100
    assert max(lengths) <= 200
    assert len(lengths) > 6


def test_textures_are_made_as_they_are_seen_and_equal_a_whole_pool(tmp_path):
    from PIL import Image

    for i in range(12):
        Image.effect_noise((20, 20), 90).convert("RGB").save(tmp_path / f"{i:02}.png")
    recipe = Recipe("t", fill="texture", texture_source="images", texture_folder=str(tmp_path), num_objects=9)
    recipe = replace(recipe, texture_pool=12, texture_size=16)
    bank = TextureBank(recipe)
    some = vsr.render_clips(recipe, index=[0], bank=bank, **SMALL)
    assert 0 < bank.row.ge(0).sum() < 12
    bank.fill()
    assert bank.complete
    assert torch.equal(some, vsr.render_clips(recipe, index=[0], bank=bank, **SMALL))
    assert torch.equal(some, vsr.render_clips(recipe, index=[0], **SMALL))


@pytest.mark.parametrize("source", ["stylegan_oriented", "stylegan_high_freq"])
@pytest.mark.parametrize("renderer", ["fused", "reference"])
def test_a_generators_own_video_fills_the_frame(source, renderer):
    recipe = Recipe("g", num_objects=0, background="walk", texture_source=source, texture_size=32, texture_step=0.2)
    whole = {"size": 32, "crop": False, "renderer": renderer}
    clips = vsr.render_clips(recipe, seed=3, index=[5, 9], num_frames=2, stride=4, **whole)
    start = vsr.render_truth(recipe, seed=3, index=[5, 9], num_frames=2, stride=4, **whole).time
    family = source.removeprefix("stylegan_")
    made = walk(torch.tensor([5, 9]), start, 3, 32, family, 0.2)  # texture 5 of the seed walks, and texture 9
    assert torch.equal(clips, made.transpose(1, 2))
    assert (clips[:, :, 0] != clips[:, :, 1]).any()
    with_objects = replace(recipe, num_objects=20)
    seen = vsr.render_truth(with_objects, seed=3, index=[5], num_frames=2, stride=4, **whole)
    free = (seen.object[0] < 0).expand_as(clips[0])
    assert torch.equal(seen.video[0][free], clips[0][free])
    assert (seen.video[0][~free] != clips[0][~free]).float().mean() > 0.9


def test_statistical_textures_show_on_the_same_shapes():
    recipe = replace(load_recipe("acc_textures"), texture_pool=6, texture_size=64)
    textured = vsr.render_clips(recipe, index=[5], num_frames=3, stride=45, size=64, crop=False)
    plain = vsr.render_clips(load_recipe("acc_shapes"), index=[5], num_frames=3, stride=45, size=64, crop=False)
    background = (plain == 0).all(dim=1, keepdim=True).expand_as(plain)
    assert background.any()
    assert (textured[background] == 0).all()
    assert textured[~background].unique().numel() > 200


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_frames": 16, "stride": 7}, r"spans 106 frames, but videos of 'acc_shapes' have as few as 100"),
        ({"num_frames": 0}, r"num_frames 0"),
        ({"stride": 0}, r"stride 0"),
        ({"size": 0}, r"size 0"),
        ({"index": [-1]}, r"index -1 is outside"),
        ({"seed": -1}, r"seed -1 is outside"),
    ],
)
def test_bad_requests_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        vsr.render_clips(load_recipe("acc_shapes"), **options)


def test_textures_that_cannot_be_had_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"texture_folder"):
        vsr.render_clips(load_recipe("acc_images"))
    with pytest.raises(InputError, match=r"none"):
        vsr.render_clips(replace(load_recipe("acc_images"), texture_folder=str(tmp_path / "none")))


def test_textures_on_another_device_are_refused():
    recipe = replace(load_recipe("acc_textures"), texture_pool=2, texture_size=64)
    bank = TextureBank(recipe, device="meta")
    message = r"textures of 'acc_textures' are on meta, the clips are drawn on cpu: make the bank there, TextureBank"
    with pytest.raises(InputError, match=message):
        vsr.render_clips(recipe, bank=bank, **SMALL)


def test_more_than_memory_holds_is_refused_with_what_fits():
    with pytest.raises(InputError, match=r"100000000 clips take .* GiB .* free: render at most \d+ at a time"):
        vsr.render_clips(load_recipe("acc_shapes"), index=torch.arange(100_000_000))
    with pytest.raises(InputError, match=r"1 clips take .* make them smaller"):
        vsr.render_clips(load_recipe("acc_shapes"), size=10_000_000)


@pytest.mark.parametrize("antialias", [2, 4])
def test_antialiasing_is_the_mean_of_a_larger_picture(antialias):
    recipe = load_recipe("acc_shapes")
    large = vsr.render_clips(recipe, index=[7], num_frames=2, size=40 * antialias, crop=False).float()
    mean = torch.nn.functional.avg_pool3d(large, (1, antialias, antialias))
    small = vsr.render_clips(recipe, index=[7], num_frames=2, size=40, crop=False, antialias=antialias)
    assert torch.equal(small, (mean + 0.5).floor().byte())
    reference = vsr.render_clips(
        recipe, index=[7], num_frames=2, size=40, crop=False, antialias=antialias, renderer="reference"
    )
    assert (small != reference).any(dim=1).float().mean() <= 1e-5


def test_other_antialiasing_is_refused():
    with pytest.raises(InputError, match=r"antialias 3 must be 1, 2 or 4"):
        vsr.render_clips(load_recipe("acc_shapes"), antialias=3, **SMALL)


def test_a_video_of_another_window_shows_its_own_textures():
    recipe = Recipe("w", fill="texture", texture_source="stylegan_oriented", texture_size=16, num_objects=30)
    recipe = replace(recipe, texture_pool=12, texture_window=3, epoch_size=10, duration=(3, 4))
    whole, windows = TextureBank(recipe), TextureBank(recipe)
    whole.make(torch.arange(12))
    windows.show(torch.tensor([0]))
    for index in (35, 4):
        expected = vsr.render_video(recipe, index=index, size=32, bank=whole)
        assert torch.equal(vsr.render_video(recipe, index=index, size=32, bank=windows), expected)
        assert expected.unique().numel() > 50  # textures not there would be black
