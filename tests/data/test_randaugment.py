from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import auto_augment as timm_augment
from torch import Tensor

from vsr import rng
from vsr.data.randaugment import DRAWN, OPERATIONS, Operation, drawn_operations, rand_augment

LAST = 2**32 - 1
GEOMETRIC = {"Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel"}
EXACT = {"Equalize", "Invert", "PosterizeIncreasing", "SolarizeIncreasing", "SolarizeAdd"}
REFERENCE = timm_augment.rand_augment_transform("rand-m7-n4-mstd0.5-inc1").ops


pytestmark = pytest.mark.usefixtures("one_thread")


def clip(frames: int = 1, height: int = 60, width: int = 80) -> Tensor:
    """Waves, as fine as those of a photograph, with a little noise: uint8 (C, T, H, W)."""
    t, y, x = torch.meshgrid(torch.arange(frames), torch.arange(height), torch.arange(width), indexing="ij")
    red, green = 128 + 100 * torch.sin(x / 9 + y / 13 + t), 110 + 90 * torch.cos(x / 7 - y / 11)
    waves = torch.stack((red, green, 140 + 60 * torch.sin(y / 5 + t) * torch.cos(x / 17)))
    noise = torch.randn(waves.shape, generator=torch.Generator().manual_seed(0))
    return (waves + 8 * noise).clamp(0, 255).to(torch.uint8)


def drawn(index: int, magnitude: float = 7, epoch: int = 0) -> tuple[Operation, ...]:
    return drawn_operations(rng.words(rng.Stream.RAND_AUGMENT, 0, torch.tensor([index]), epoch, DRAWN)[0], magnitude)


def many(clips: int, magnitude: float) -> list[Operation]:
    words = rng.words(rng.Stream.RAND_AUGMENT, 0, torch.arange(clips), 0, DRAWN)
    return [operation for each in words for operation in drawn_operations(each, magnitude)]


def test_the_operations_are_timms_in_its_order() -> None:
    assert list(OPERATIONS) == [op.name for op in REFERENCE]
    assert all(op.prob == 0.5 and op.magnitude_std == 0.5 for op in REFERENCE)


@pytest.mark.parametrize("magnitude", [0.0, 3.3, 7.0, -7.0, 9.6, -9.6])
@pytest.mark.parametrize("op", REFERENCE, ids=lambda op: op.name)
def test_agrees_with_timm_on_a_pil_image(op, magnitude, monkeypatch) -> None:
    """Levels may differ by 1 (rounding), with another bicubic (PIL's a is -1, torch's -0.75) by a few.

    Those that look levels up agree exactly. The grey outside begins at the same pixel.
    """
    monkeypatch.setattr(timm_augment.random, "random", lambda: 0.9 if magnitude < 0 else 0.1)
    arguments = op.level_fn(abs(magnitude), {}) if op.level_fn else ()
    image = Image.fromarray(clip()[:, 0].permute(1, 2, 0).numpy())
    result = op.aug_fn(image, *arguments, fillcolor=(128,) * 3, resample=Image.Resampling.BICUBIC)
    theirs = torch.from_numpy(np.array(result)).permute(2, 0, 1)
    ours = rand_augment(clip(), (Operation(op.name, magnitude),))[:, 0]
    difference = (ours.int() - theirs.int()).abs()
    assert difference.max() <= (0 if op.name in EXACT else 6 if op.name in GEOMETRIC else 1)
    if op.name in GEOMETRIC:
        assert difference.float().mean() < 1
    if abs(magnitude) > 5:
        assert (ours != clip()[:, 0]).float().mean() > 0.1


def test_the_extremes() -> None:
    assert rand_augment(clip(), (Operation("SolarizeIncreasing", 10),)).equal(255 - clip())
    assert rand_augment(clip(), (Operation("PosterizeIncreasing", 10),)).unique().tolist() == [0, 128]
    assert rand_augment(clip(), ()).equal(clip())


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("size", [(1, 1), (2, 5), (3, 3)])
def test_a_frame_may_be_tiny(name, size) -> None:
    video = clip(2, *size)
    assert rand_augment(video, (Operation(name, 7),)).shape == video.shape


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("magnitude", [6.5, -6.5])
def test_every_frame_is_treated_alike(name, magnitude) -> None:
    """A frame among others becomes what it becomes alone, also in the decoder's layout of memory."""
    video = clip(3)
    together = rand_augment(video, (Operation(name, magnitude),))
    decoded = video.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)
    assert rand_augment(decoded, (Operation(name, magnitude),)).equal(together)
    for t in range(3):
        assert rand_augment(video[:, t : t + 1], (Operation(name, magnitude),)).equal(together[:, t : t + 1])


def test_a_clip_follows_from_its_address() -> None:
    assert drawn(5) == drawn(5)
    every = rng.words(rng.Stream.RAND_AUGMENT, 0, torch.arange(12), 0, DRAWN)
    assert [drawn_operations(words, 7) for words in every] == [drawn(index) for index in range(12)]
    assert len({drawn(index) for index in range(12)} | {drawn(5, epoch=1)}) > 10
    still = clip().expand(3, 4, 60, 80)
    shown = [rand_augment(still, drawn(index)) for index in range(12)]
    assert all(video.equal(video[:, :1].expand_as(video)) for video in shown)
    assert len({video.numpy().tobytes() for video in shown}) > 9


def test_each_word_decides_its_own_part() -> None:
    half = 2**31
    first = [0, 0, half, 0]
    words = torch.tensor([first, [LAST, *first[1:]], [0, half, half, 0], [0, 0, half, half]])
    assert drawn_operations(words, 7) == (
        Operation("AutoContrast", 7), Operation("TranslateYRel", 7), Operation("AutoContrast", -7)
    )  # fmt: skip
    extremes = torch.tensor([[0, 0, 0, 0], [0, 0, LAST, LAST]])
    assert [m for _, m in drawn_operations(extremes, 9)] == [0, -10]


def test_operations_are_uniform_and_half_are_applied() -> None:
    """4,000 clips: within 4.5 standard deviations of 8,000 applied, of 8,000 / 15 for each operation."""
    operations = many(4000, 7)
    counts = Counter(operation.name for operation in operations)
    assert len(operations) == pytest.approx(8000, abs=4.5 * 63.2)
    assert counts.keys() == OPERATIONS.keys()
    assert all(count == pytest.approx(8000 / 15, abs=4.5 * 22.8) for count in counts.values())


@pytest.mark.parametrize("magnitude", [7.0, 9.0])
def test_magnitudes_are_normal_and_clipped(magnitude) -> None:
    drawn_magnitudes = torch.tensor([operation.magnitude for operation in many(2000, magnitude)])
    strengths, n = drawn_magnitudes.abs(), len(drawn_magnitudes)
    assert strengths.median() == pytest.approx(magnitude, abs=4.5 * 0.5 * 1.2533 / n**0.5)
    low, high = strengths.quantile(torch.tensor([0.1587, 0.8413])).tolist()
    assert (low, high) == pytest.approx((magnitude - 0.5, magnitude + 0.5), abs=0.05)
    assert strengths.max() <= 10
    assert (strengths == 10).float().mean() == pytest.approx(0.0228 if magnitude == 9 else 0, abs=0.01)
    assert (drawn_magnitudes < 0).float().mean() == pytest.approx(0.5, abs=4.5 * 0.5 / n**0.5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", OPERATIONS)
def test_cuda_agrees_within_rounding_and_is_not_waited_for(name) -> None:
    video = clip(2).cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        shown = rand_augment(video, (Operation(name, 6.5),))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert (shown.cpu().int() - rand_augment(clip(2), (Operation(name, 6.5),)).int()).abs().max() <= 1
