import pytest
import torch
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms import RandomResizedCrop

from vsr import rng
from vsr.data import augment
from vsr.data.augment import (
    Box,
    crop_box,
    erase,
    erased_box,
    flip,
    multi_scale_box,
    random_resized_crop,
    resize_centre_crop,
    resized_crop,
)

HALF, LAST = 2**31, 2**32 - 1
PLACE = Box(4, 6, 20, 16)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def drawn(index: int) -> Tensor:
    return rng.words(rng.Stream.RESIZED_CROP, 0, torch.tensor([index]), 0, augment.ATTEMPTS)[0]


def test_each_word_decides_its_own_part_of_the_box() -> None:
    # area 0.08, ratio 1: a side of sqrt(800) = 28.3
    assert crop_box(100, 100, torch.tensor([[0, HALF, 0, LAST]])) == Box(0, 72, 28, 28)
    assert crop_box(100, 100, torch.tensor([[0, HALF, LAST, 0]])) == Box(72, 0, 28, 28)
    wide, tall = (crop_box(100, 100, torch.tensor([[0, ratio, 0, 0]])) for ratio in (LAST, 0))
    assert (wide.height, wide.width) == (24, 33)
    assert (tall.height, tall.width) == (33, 24)


def test_the_first_box_that_fits_is_taken() -> None:
    too_tall, fits = [LAST, 0, 0, 0], [0, HALF, 0, 0]
    assert crop_box(100, 100, torch.tensor([too_tall, too_tall, fits, [HALF, HALF, 0, 0]])) == Box(0, 0, 28, 28)


@pytest.mark.parametrize(("height", "width"), [(10, 1000), (1000, 10), (7, 700), (240, 1000)])
def test_the_box_of_last_resort_is_torchvisions(height: int, width: int) -> None:
    never = torch.tensor([[LAST, LAST if height > width else 0, 0, 0]] * augment.ATTEMPTS)
    if min(height, width) <= 10:  # too narrow for any box at all, so torchvision's needs no luck
        expected = RandomResizedCrop.get_params(torch.zeros(3, height, width), [0.08, 1.0], [3 / 4, 4 / 3])
        assert crop_box(height, width, never) == tuple(expected)
    box = crop_box(height, width, never)
    assert box.height / box.width == pytest.approx(4 / 3 if height > width else 3 / 4, abs=0.1)


def test_a_frame_of_allowed_shape_is_taken_whole_as_last_resort() -> None:
    assert crop_box(100, 110, torch.tensor([[LAST, 0, 0, 0]])) == Box(0, 0, 100, 110)


def test_boxes_are_spread_as_stated() -> None:
    boxes = [crop_box(240, 240, drawn(index)) for index in range(2000)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        frame = torch.zeros(3, 240, 240)
        theirs = [Box(*RandomResizedCrop.get_params(frame, [0.08, 1.0], [3 / 4, 4 / 3])) for _ in range(2000)]
    shares, their_shares = (torch.tensor([b.height * b.width / 240**2 for b in many]) for many in (boxes, theirs))
    ratios = torch.tensor([b.width / b.height for b in boxes]).log()
    for side in ("top", "left", "height", "width"):
        mean, their_mean = (sum(getattr(b, side) for b in many) / 2000 for many in (boxes, theirs))
        assert mean == pytest.approx(their_mean, abs=5)
    assert all(b.top >= 0 and b.left >= 0 for b in boxes)
    assert all(b.top + b.height <= 240 and b.left + b.width <= 240 for b in boxes)
    assert 0.07 < shares.min() < 0.1
    assert 0.95 < shares.max() <= 1
    assert shares.quantile(torch.tensor([0.25, 0.5, 0.75])).tolist() == pytest.approx(
        their_shares.quantile(torch.tensor([0.25, 0.5, 0.75])).tolist(), abs=0.04
    )
    assert ratios.mean() == pytest.approx(0, abs=0.01)
    assert ratios.abs().max() == pytest.approx(0.288, abs=0.02)  # log(4 / 3), then rounded to pixels


def test_words_1_and_2_choose_size_and_place_of_a_crop_for_pre_training() -> None:
    """By hand, for 240 x 320 px: sides 240, 210, 180, 158; the room left is cut in quarters, downwards."""
    first, last = torch.tensor([LAST, 0, 0, LAST]), torch.tensor([0, LAST, LAST, 0])
    assert multi_scale_box(240, 320, 112, first) == Box(0, 0, 240, 240)
    assert multi_scale_box(240, 320, 112, last) == Box(3 * (82 // 4), 3 * (162 // 4), 158, 158)  # lower right quarter
    assert multi_scale_box(320, 240, 209, first) == Box(0, 0, 240, 240)
    half = torch.tensor([0, 2 * 2**32 // 10 + 1, 4 * 2**32 // 13 + 1, 0])  # third pair, fifth place: the centre
    assert multi_scale_box(240, 320, 209, half) == Box(2 * (31 // 4), 2 * (80 // 4), 209, 240)  # 210 becomes 209


@pytest.mark.parametrize(("height", "width"), [(222, 300), (240, 320), (20, 36), (7, 90), (1, 1)])
def test_no_crop_for_pre_training_leaves_the_frame(height: int, width: int) -> None:
    boxes = {
        multi_scale_box(height, width, 224, torch.tensor([0, i * 2**32 // 10 + 1, j * 2**32 // 13 + 1, 0]))
        for i in range(10)
        for j in range(13)
    }
    assert all(b.top >= 0 and b.left >= 0 and b.top + b.height <= height and b.left + b.width <= width for b in boxes)
    assert all(b.height > 0 and b.width > 0 for b in boxes)


def test_the_crop_is_bilinear_without_antialiasing() -> None:
    video, box = noise(3, 4, 50, 60), Box(5, 7, 40, 44)
    cut = video[..., 5:45, 7:51].float()
    expected = interpolate(cut, size=(16, 16), mode="bilinear", align_corners=False, antialias=False)
    crop = resized_crop(video, box, 16)
    assert crop.shape == (3, 4, 16, 16)
    assert crop.dtype == torch.uint8
    assert (crop.float() - expected).abs().max() <= 1
    smooth = interpolate(cut, size=(16, 16), mode="bilinear", align_corners=False, antialias=True)
    assert (crop.float() - smooth).abs().max() > 20


def test_a_crop_of_the_same_size_keeps_the_pixels_in_place() -> None:
    video = noise(3, 2, 50, 60)
    assert torch.equal(resized_crop(video, Box(3, 9, 32, 32), 32), video[..., 3:35, 9:41])


def test_all_frames_are_cropped_alike_and_another_clip_otherwise() -> None:
    still = noise(3, 1, 48, 64).expand(3, 5, 48, 64)
    first, again, other = (random_resized_crop(still, 24, drawn(index)) for index in (1, 1, 2))
    assert torch.equal(first, first[:, :1].expand_as(first))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_random_resized_crop_is_the_drawn_box() -> None:
    video = noise(3, 2, 48, 64)
    expected = resized_crop(video, crop_box(48, 64, drawn(5)), 24)
    assert torch.equal(random_resized_crop(video, 24, drawn(5)), expected)


def test_flip_mirrors_left_and_right_in_every_frame() -> None:
    video = noise(3, 2, 4, 5)
    mirrored = flip(video)
    for x in range(5):
        assert torch.equal(mirrored[..., x], video[..., 4 - x])


def erased(video: Tensor, index: int = 3, epoch: int = 0, number: int = 0, box: Box = PLACE) -> Tensor:
    return erase(video, box, 0, torch.tensor([index]), torch.tensor([epoch]), number)


def test_each_word_decides_its_own_part_of_the_erased_box() -> None:
    """Area 0.02, ratio 1: a side of sqrt(200) = 14.1."""
    assert erased_box(100, 100, torch.tensor([[0] * 4, [0, HALF, 0, LAST]]), 0.25) == Box(0, 86, 14, 14)
    tall, wide = (erased_box(100, 100, torch.tensor([[0] * 4, [0, r, LAST, 0]]), 0.25) for r in (LAST, 0))
    assert tall == Box(74, 0, 26, 8)
    assert wide == Box(92, 0, 8, 26)
    assert erased_box(100, 100, torch.tensor([[2**30, 0, 0, 0], [0, HALF, 0, 0]]), 0.25) is None
    assert erased_box(100, 100, torch.tensor([[2**30 - 1, 0, 0, 0], [0, HALF, 0, 0]]), 0.25) is not None


def test_the_first_erased_box_that_is_smaller_than_the_frame_is_taken() -> None:
    too_tall, fits = [LAST, int(0.956245 * 2**32), 0, 0], [0, HALF, 0, 0]  # 100 x 33
    assert erased_box(100, 100, torch.tensor([[0] * 4, too_tall, fits, [0, 0, 0, 0]]), 1) == Box(0, 0, 14, 14)
    assert erased_box(100, 100, torch.tensor([[0] * 4, too_tall]), 1) is None


def test_a_quarter_is_erased_with_boxes_as_stated() -> None:
    draws = rng.words(rng.Stream.ERASING, 0, torch.arange(1200), 0, 1 + augment.ATTEMPTS)
    boxes, every = ([erased_box(224, 224, words, share) for words in draws] for share in (0.25, 1))
    taken = [box for box in boxes if box is not None]
    assert len(taken) == pytest.approx(300, abs=4.5 * 15)
    assert taken == [every[i] for i, box in enumerate(boxes) if box is not None]
    shares = torch.tensor([box.height * box.width / 224**2 for box in every if box is not None])
    ratios = torch.tensor([box.height / box.width for box in every if box is not None]).log()
    assert 0.019 < shares.min() < 0.025
    assert 0.325 < shares.max() < 0.335
    assert shares.mean() == pytest.approx(0.175, abs=0.012)
    assert ratios.mean() == pytest.approx(0, abs=0.09)
    assert ratios.abs().max() == pytest.approx(1.204, abs=0.05)  # log(1 / 0.3)
    assert all(box.top + box.height <= 224 and box.left + box.width <= 224 for box in taken)
    assert min(box.top for box in taken) < 8
    assert min(box.left for box in taken) < 8


def test_noise_is_in_the_box_alone_and_the_same_in_every_frame() -> None:
    video = noise(3, 4, 40, 48)
    untouched, shown = video.clone(), erased(video)
    assert torch.equal(video, untouched)
    assert shown.dtype == torch.uint8
    inside = torch.zeros(40, 48, dtype=torch.bool)
    inside[4:24, 6:22] = True
    assert torch.equal(shown[..., ~inside], video[..., ~inside])
    patch = shown[:, :, 4:24, 6:22]
    assert torch.equal(patch, patch[:, :1].expand_as(patch))
    assert (patch[:, 0] != video[:, 0, 4:24, 6:22]).float().mean() > 0.9


def test_noise_is_standard_normal_to_the_model() -> None:
    """Mean 0, variance 1 but for what uint8 clips, the extremes: 3 to 6 % of the pixels of each channel."""
    assert (augment._MEAN, augment._STD) == (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    shown = erased(torch.zeros(3, 1, 200, 200, dtype=torch.uint8), box=Box(0, 0, 200, 200))[:, 0].double() / 255
    for pixels, mean, std in zip(shown, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, strict=True):
        normal = torch.distributions.Normal(0, 1)
        steps = torch.linspace(-1.5, 2, 15).double()
        found = ((pixels.flatten() - mean) / std)[:, None] < steps
        assert (found.double().mean(0) - normal.cdf(steps)).abs().max() < 0.02
        clipped = float(normal.cdf(torch.tensor(-mean / std)) + 1 - normal.cdf(torch.tensor((1 - mean) / std)))
        assert ((pixels == 0) | (pixels == 1)).double().mean() == pytest.approx(clipped, abs=0.006)


def test_noise_follows_from_the_address() -> None:
    video = noise(3, 1, 40, 48)
    assert torch.equal(erased(video), erased(video))
    others = [erased(video, index=4), erased(video, epoch=1), erased(video, number=1), erased(video)]
    assert len({other.numpy().tobytes() for other in others}) == 4
    small, large = erased(video, box=Box(10, 10, 4, 4)), erased(video)
    assert torch.equal(small[..., 10:14, 10:14], large[..., 10:14, 10:14])


@pytest.mark.parametrize(("height", "width"), [(32, 80), (80, 32), (32, 32), (33, 47), (20, 24), (241, 321)])
def test_the_centre_crop_has_the_short_side_and_the_middle(height: int, width: int) -> None:
    video = noise(3, 2, height, width)
    crop = resize_centre_crop(video, 32)
    assert crop.shape == (3, 2, 32, 32)
    assert crop.dtype == torch.uint8
    if min(height, width) == 32:
        top, left = round((height - 32) / 2), round((width - 32) / 2)
        assert torch.equal(crop, video[..., top : top + 32, left : left + 32])


def test_the_decoders_memory_layout_gives_the_same_pixels() -> None:
    video = noise(4, 50, 60, 3).permute(3, 0, 1, 2)  # (T, H, W, C) in memory
    for result, plain in zip(
        (resize_centre_crop(video, 24), resized_crop(video, Box(1, 2, 40, 30), 24)),
        (
            resize_centre_crop(video.contiguous(), 24),
            resized_crop(video.contiguous(), Box(1, 2, 40, 30), 24),
        ),
        strict=True,
    ):
        assert (result.int() - plain.int()).abs().max() <= 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_within_rounding() -> None:
    video = noise(3, 4, 50, 60)
    for function in (lambda v: resize_centre_crop(v, 24), lambda v: resized_crop(v, Box(1, 2, 40, 30), 24)):
        assert (function(video.cuda()).cpu().int() - function(video).int()).abs().max() <= 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_erasing_on_cuda_agrees_within_rounding_and_is_not_waited_for() -> None:
    video, address = noise(3, 4, 40, 48), (torch.tensor([3]), torch.tensor([0]))
    cuda = video.cuda(), *(part.cuda() for part in address)
    rng.words(rng.Stream.ERASING_NOISE, 0, *cuda[1:])  # copies the stream's number once
    torch.cuda.set_sync_debug_mode("error")
    try:
        shown = erase(cuda[0], PLACE, 0, *cuda[1:])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert (shown.cpu().int() - erased(video).int()).abs().max() <= 1
