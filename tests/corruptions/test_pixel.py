"""Against the benchmark's own code (tests/corruptions/slow.py), and the loops of the CPU against torch."""

import importlib.util

import av
import numpy as np
import pytest
import slow
import torch
from scipy.stats import chi2
from torch import Tensor

from vsr.corruptions import PERTURBATIONS, Cell, address, blur, camera, noise
from vsr.corruptions.pixel import perturb
from vsr.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")
NAMES = [name for name, p in PERTURBATIONS.items() if p.works_on == "clip"]
NOISE = [name for name in NAMES if name.endswith("_noise")]
SEED = 7
SIZES = [(64, 64), (65, 90), (91, 70), (9, 7), (1, 1)]


def picture(frames: int = 3, height: int = 64, width: int = 64, clips: int = 1) -> Tensor:
    """Smooth, with grain, edges, and areas of one level, black and white: uint8 (B, 3, T, H, W)."""
    random = np.random.default_rng(frames + height)
    y, x = np.mgrid[0:height, 0:width]
    t = np.arange(clips * frames)[:, None, None]
    channels = [np.sin((x + 3 * t) / 11), np.sin((y + 2 * t) / 7), np.sin((x - y + t) / 17)]
    levels = np.stack(channels, 1) * 150 + 127 + random.integers(-9, 10, (clips * frames, 3, height, width))
    levels[..., : height // 4, : width // 4] = 77
    shown = torch.from_numpy(levels.clip(0, 255).astype(np.uint8))
    return shown.unflatten(0, (clips, frames)).transpose(1, 2).contiguous()


def run(cell: Cell, video: Tensor, index: int = 5, view: int = 2, seed: int = SEED) -> Tensor:
    numbers = torch.arange(len(video))
    return perturb(cell, video, index + numbers, torch.full_like(numbers, view), seed)


def images(video: Tensor) -> list[np.ndarray]:
    return list(video[0].permute(1, 2, 3, 0).contiguous().numpy())


def differences(cell: Cell, video: Tensor, reference) -> np.ndarray:
    """From the reference that makes the same draws."""
    frames = images(video)
    drawn = slow.draws(cell, len(frames), 5, 2, SEED)
    expected = [reference(frame, cell.severity, **those) for frame, those in zip(frames, drawn, strict=True)]
    return np.abs(np.stack(expected).astype(int) - np.stack(images(run(cell, video))))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("severity", range(1, 6))
class TestAgreesWithTheBenchmarksCode:
    @pytest.mark.parametrize("name", ["translate", "rotate", "static_rotate", "jpeg", "zoom_blur"])
    def test_exactly(self, name, severity, size):
        assert not differences(Cell(name, severity), picture(3, *size), getattr(slow, name)).any()

    @pytest.mark.parametrize(("name", "reference"), [("defocus_blur", "defocus_blur"), ("motion_blur", "motion_loop")])
    def test_to_a_level(self, name, reference, severity, size):
        found = differences(Cell(name, severity), picture(3, *size), getattr(slow, reference))
        assert found.max() <= 1
        assert (found > 0).mean() < 2e-3


@pytest.mark.parametrize("severity", range(1, 6))
def test_the_slow_motion_is_imagemagicks(severity):
    if importlib.util.find_spec("wand") is None:
        pytest.skip("no Wand here: `pip install Wand`, and ImageMagick 6 from the system")
    try:
        from wand.version import MAGICK_VERSION
    except ImportError:
        pytest.skip("no ImageMagick here, which Wand needs")
    if not MAGICK_VERSION.startswith("ImageMagick 6"):
        pytest.skip("the benchmark's is ImageMagick 6")
    for frame in images(picture(1, 65, 90)):
        for angle in (-44.9, -17.3, 0.2, 31.0):
            assert (slow.motion_blur(frame, severity, angle=angle) == slow.motion_loop(frame, severity, angle)).all()


def test_real_frames_are_within_a_level_in_all_but_a_thousandth(real_data):
    with av.open(str(sorted((real_data / "jhmdb21" / "videos").rglob("*.avi"))[3])) as container:
        frame = next(container.decode(video=0)).to_ndarray(format="rgb24")
    video = torch.from_numpy(frame).permute(2, 0, 1)[None, :, None].contiguous()
    for name in ("defocus_blur", "zoom_blur", "jpeg", "static_rotate"):
        found = differences(Cell(name, 3), video, getattr(slow, name))
        assert found.max() <= 1
        assert (found > 0).mean() < 1e-3


class TestNoise:
    LEVELS = (0, 1, 6, 60, 128, 200, 254, 255)

    def counts(self, cell: Cell, level: int, slowly: bool) -> np.ndarray:
        """How often each level comes out of one."""
        video = torch.full((1, 3, 4, 96, 96), level, dtype=torch.uint8)
        if not slowly:
            return np.bincount(run(cell, video).flatten(), minlength=256)
        random = np.random.default_rng(level)
        shown = [getattr(slow, cell.perturbation)(frame, cell.severity, random) for frame in images(video)]
        return np.bincount(np.stack(shown).ravel(), minlength=256)

    @pytest.mark.parametrize("severity", [1, 3, 5])
    @pytest.mark.parametrize("name", NOISE)
    def test_is_distributed_as_the_benchmarks(self, name, severity):
        """Chi-square of both against the probabilities, levels that are rare taken together: the tails too."""
        cell = Cell(name, severity)
        expected = noise.probabilities(cell).numpy()
        for level in self.LEVELS:
            for slowly in (False, True):
                counts = self.counts(cell, level, slowly)
                mean = expected[level] * counts.sum()
                group = np.floor(np.cumsum(mean) / 20.0001).astype(int)  # at least about 20 in each
                seen, wanted = (np.bincount(group, weights=w) for w in (counts, mean))
                seen, wanted = seen[wanted > 0], wanted[wanted > 0]
                distance = ((seen - wanted) ** 2 / np.maximum(wanted, 5)).sum()
                assert distance < chi2.ppf(1 - 1e-7, max(len(wanted) - 1, 1)), (level, slowly)
                assert not counts[expected[level] < 1e-12].any(), (level, slowly)

    @pytest.mark.parametrize("name", NOISE)
    def test_tables_give_every_level_its_share(self, name):
        """All 2^16 draws of each entry, counted: to half a draw for intervals from 0, a draw for levels."""
        for severity in range(1, 6):
            table = noise._table(Cell(name, severity), torch.device("cpu"))
            shares = noise.probabilities(Cell(name, severity)) * 2**16
            draws = torch.arange(2**16)
            for level in self.LEVELS:
                entry = table[level, draws >> 8]
                shown = torch.where(draws & 255 < entry >> 8, draws >> 8, entry & 255)
                counts, wanted = torch.bincount(shown, minlength=256), shares[level]
                assert (counts.cumsum(0) - wanted.cumsum(0)).abs().max() <= 0.5 + 1e-6
                assert (counts - wanted).abs().max() <= 1 + 1e-6

    def test_channels_pixels_and_frames_are_independent(self):
        video = torch.full((2, 3, 4, 64, 64), 128, dtype=torch.uint8)
        shown = run(Cell("gaussian_noise", 3), video).double() - 128
        for axis in range(5):
            first, second = shown.narrow(axis, 0, 1), shown.narrow(axis, 1, 1)
            assert torch.corrcoef(torch.stack((first.flatten(), second.flatten())))[0, 1].abs() < 0.06
        near = torch.stack((shown[..., :-1].flatten(), shown[..., 1:].flatten()))
        assert torch.corrcoef(near)[0, 1].abs() < 0.03

    def test_noise_is_of_the_picture_not_of_its_negative(self):
        """Speckles leave black alone and photons are few where it is dark."""
        for name in ("speckle_noise", "shot_noise"):
            assert not run(Cell(name, 5), torch.zeros(1, 3, 2, 8, 8, dtype=torch.uint8)).any()


@pytest.mark.parametrize("name", NAMES)
class TestEveryPerturbation:
    def test_a_clip_is_the_same_alone_and_in_a_batch(self, name):
        video = picture(5, 33, 20, clips=3)
        together = run(Cell(name, 4), video)
        for b in range(3):
            assert run(Cell(name, 4), video[b : b + 1], index=5 + b).equal(together[b : b + 1])

    def test_strides_do_not_matter_and_the_clip_is_left_alone(self, name):
        video = picture(5, 33, 20)
        before = video.clone()
        strided = video.transpose(1, 2).contiguous().transpose(1, 2)
        assert run(Cell(name, 4), strided).equal(run(Cell(name, 4), video))
        assert video.equal(before)

    def test_severity_five_changes_more_than_one(self, name):
        video = picture(4)
        mild, harsh = ((run(Cell(name, s), video).float() - video).abs().mean() for s in (1, 5))
        assert 0 < mild < harsh

    def test_draws_follow_from_seed_video_view_and_severity(self, name):
        video, cell = picture(4), Cell(name, 4)
        first = run(cell, video)
        assert run(cell, video).equal(first)
        others = [run(cell, video, index=6), run(cell, video, view=3), run(cell, video, seed=8)]
        random = name not in ("static_rotate", "defocus_blur", "zoom_blur", "jpeg")
        assert [not other.equal(first) for other in others] == [random] * 3

    def test_a_gpu_shows_the_same(self, name, gpu):
        video = picture(5, 65, 90, clips=6)
        for severity in range(1, 6):
            index, view = torch.arange(6), torch.arange(6)
            here = perturb(Cell(name, severity), video, index, view, SEED)
            there = perturb(Cell(name, severity), video.to(gpu), index.to(gpu), view.to(gpu), SEED)
            assert there.device.type == "cuda"
            assert there.cpu().equal(here)

    def test_a_gpu_does_not_wait(self, name, gpu):
        if name == "jpeg":
            pytest.skip("its codec is the CPU's")
        video, numbers = picture(5, clips=2).to(gpu), torch.arange(2, device=gpu)
        perturb(Cell(name, 3), video, numbers, numbers, SEED)  # tables are copied once
        torch.cuda.set_sync_debug_mode("error")
        try:
            perturb(Cell(name, 3), video, numbers, numbers, SEED)
        finally:
            torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("severity", [1, 5])
class TestLoopsOfTheCpuAreTorchsBitByBit:
    """What a GPU runs, run on the CPU."""

    index, view = torch.tensor([2**32 - 1, 5]), torch.tensor([2**16 - 1, 0])

    @pytest.mark.parametrize("name", NOISE)
    def test_noise(self, name, severity, size):
        video, cell = picture(3, *size, clips=2), Cell(name, severity)
        table = noise._table(cell, video.device)
        epoch = self.view | address(cell.number)
        there = noise._draw(video.flatten(1), table, self.index, epoch, 2**64 - 1).view_as(video)
        assert perturb(cell, video, self.index, self.view, 2**64 - 1).equal(there)

    def test_camera(self, severity, size):
        video = picture(3, *size, clips=2)
        degrees = tuple(float(d) for d in range(-180, 181, 72))
        affine = camera._rotations(degrees, *size, video.device).view(2, 3, 6)
        assert camera.warp(video, affine).equal(camera._look_up(video, affine))

    def test_sums(self, severity, size):
        video = picture(3, *size, clips=2)
        which = torch.tensor([[0, 4095, 2048], [1, 2, 777]])
        disk, trails = (
            blur._disk(*blur._DISK[severity - 1], video.device),
            blur._trails(*blur._MOTION[severity - 1], video.device),
        )
        for taps, sets, mirror, offset in ((disk, which * 0, True, -64), (trails, which, False, 8160)):
            here = blur._weigh(video, taps, sets, mirror, offset)
            borders = [blur._beyond(n, taps.border, mirror, video.device) for n in size]
            for b in range(2):
                assert here[b].equal(blur._transform(video[b], *borders, taps, sets[b], offset))

    def test_zoom(self, severity, size):
        video = picture(3, *size)
        rows, columns = (blur._zooms(n, blur._ZOOM[severity - 1], video.device) for n in size)
        there = blur._zoom(video[0], blur._levels(video.device), rows, columns)
        assert blur.zoom(Cell("zoom_blur", severity), video)[0].equal(there)


class TestDraws:
    def test_offsets_are_below_eight_per_severity(self):
        """The brightest pixel of a ramp tells the offset."""
        video = torch.arange(200, dtype=torch.uint8).expand(400, 3, 1, 200, 200)
        offsets = perturb(Cell("translate", 3), video, torch.arange(400), torch.zeros(400).long(), SEED)[:, 0, 0, 0, 0]
        assert set(offsets.tolist()) == set(range(24))

    def test_every_frame_has_an_angle_of_its_own(self):
        video = picture(1, 41, 41).expand(-1, -1, 60, -1, -1)
        shown = run(Cell("rotate", 1), video)[0]
        kinds = {frame.numpy().tobytes() for frame in shown.unbind(1)}
        assert 12 <= len(kinds) <= 15

    def test_trails_lead_from_minus_45_to_45_degrees(self):
        taps = blur._trails(10, 3.0, torch.device("cpu"))
        ends = taps.places[:, 20] - taps.border
        assert ends[0].tolist() == [-14, 14]
        assert ends[-1].tolist() == [14, 14]
        assert ends[2047:2049].tolist() == [[0, 20], [0, 20]]


class TestBadInput:
    VIDEO, NUMBERS = torch.zeros(2, 3, 4, 8, 8, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64)

    @pytest.mark.parametrize("cell", [Cell("freeze", 1), Cell("mpeg1", 2), Cell("snow", 1)])
    def test_a_cell_that_is_not_of_clips(self, cell):
        with pytest.raises(InputError, match=f"'{cell.perturbation}' doesn't work on the pixels of clips"):
            perturb(cell, self.VIDEO, self.NUMBERS, self.NUMBERS, 0)

    def test_a_severity_there_is_not(self):
        with pytest.raises(InputError, match=r"severity 6 of jpeg is none of 1 \.\. 5"):
            perturb(Cell("jpeg", 6), self.VIDEO, self.NUMBERS, self.NUMBERS, 0)

    @pytest.mark.parametrize("name", NAMES)
    def test_floats(self, name):
        with pytest.raises(InputError, match=r"video is torch.float32: give uint8 levels of 0 .. 255"):
            perturb(Cell(name, 1), self.VIDEO.float(), self.NUMBERS, self.NUMBERS, 0)

    @pytest.mark.parametrize("shape", [(3, 4, 8, 8), (2, 4, 3, 8, 8), (0, 3, 4, 8, 8)])
    def test_shapes(self, shape):
        with pytest.raises(InputError, match="video has shape"):
            perturb(Cell("jpeg", 1), torch.zeros(shape, dtype=torch.uint8), self.NUMBERS, self.NUMBERS, 0)

    def test_addresses(self):
        with pytest.raises(InputError, match=r"index is torch.int32 of shape \(2,\): give int64 of shape \(2,\)"):
            perturb(Cell("jpeg", 1), self.VIDEO, self.NUMBERS.int(), self.NUMBERS, 0)
        with pytest.raises(InputError, match=r"view is torch.int64 of shape \(1,\): give int64 of shape \(2,\)"):
            perturb(Cell("jpeg", 1), self.VIDEO, self.NUMBERS, self.NUMBERS[:1], 0)

    @pytest.mark.parametrize("name", NAMES)
    def test_a_seed_that_is_no_key(self, name):
        with pytest.raises(InputError, match="seed -1 is outside"):
            perturb(Cell(name, 1), self.VIDEO, self.NUMBERS, self.NUMBERS, -1)
