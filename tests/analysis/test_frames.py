import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from vsr.analysis.frames import PIXEL_STEP, Colours, colour_distance, spectrum_exponent
from vsr.recipe import load_recipe
from vsr.render import render_clips


def noise(exponent, side, count=4) -> torch.Tensor:
    """Noise of amplitude 1/f^exponent exactly, float in 0..255."""
    phase = torch.fft.fft2(torch.randn(count, side, side, generator=torch.Generator().manual_seed(0))).angle()
    f = torch.fft.fftfreq(side)
    radius = (f[:, None] ** 2 + f**2).sqrt()
    amplitude = torch.where(radius > 0, radius.clamp(min=1e-9) ** -exponent, 0)
    picture = torch.fft.ifft2(torch.polar(amplitude.expand_as(phase), phase)).real
    picture = 127 + 40 * picture / picture.std(dim=(1, 2), keepdim=True)
    return picture[:, None].expand(-1, 3, -1, -1)


class TestSpectrum:
    @pytest.mark.parametrize(("exponent", "side"), [(0.5, 256), (1.0, 256), (1.4, 240), (2.0, 255), (1.0, 64)])
    def test_of_noise(self, exponent, side):
        assert spectrum_exponent(noise(exponent, side)).tolist() == pytest.approx([exponent] * 4, abs=0.02)

    @pytest.mark.parametrize("width", [4, 32, 128])
    def test_rings_without_amplitude_have_no_exponent(self, width):
        stripes = torch.randint(256, (256 // width,), generator=torch.Generator().manual_seed(0)).repeat_interleave(
            width
        )
        assert spectrum_exponent(stripes.byte().expand(1, 3, 256, 256)).isnan().all()

    def test_of_static_circles_is_the_papers(self):
        frames = render_clips(load_recipe("static_circles"), 0, range(60), 0, 1, 1, 256, crop=False)[:, :, 0]
        assert float(spectrum_exponent(frames).mean()) == pytest.approx(1.42, abs=0.03)

    def test_of_one_grey(self):
        frames = torch.full((2, 3, 64, 64), 90, dtype=torch.uint8)
        frames[1, :, 3, 4] = 91
        assert spectrum_exponent(frames).isnan().tolist() == [True, False]

    def test_on_gpu(self, gpu):
        frames = noise(1.0, 128)
        assert spectrum_exponent(frames.to(gpu)).cpu().tolist() == pytest.approx(spectrum_exponent(frames).tolist())


def colours(*frames) -> Colours:
    found = Colours(torch.device("cpu"))
    for frame in frames:
        found.add(frame)
    return found


class TestColours:
    def test_are_those_of_scikit_image(self):
        frames = torch.randint(0, 256, (3, 3, 64, 64), generator=torch.Generator().manual_seed(0)).byte()
        some = frames[..., ::PIXEL_STEP, ::PIXEL_STEP].permute(0, 2, 3, 1).reshape(-1, 3)
        lab = rgb2lab(some.numpy() / 255)
        gaussian = colours(frames[:1], frames[1:]).gaussian()
        assert gaussian.mean.numpy() == pytest.approx(lab.mean(axis=0), abs=0.05)
        assert gaussian.covariance_matrix.numpy() == pytest.approx(np.cov(lab.T, bias=True), rel=5e-3, abs=0.5)

    def test_of_grey_videos_do_not_span_the_space(self):
        grey = torch.arange(256).byte().repeat(16).view(1, 1, 64, 64).expand(-1, 3, -1, -1)
        assert colours(grey).gaussian() is None

    def test_distance_is_that_of_the_formula(self):
        def gaussian(mean, variance):
            eye = torch.eye(3, dtype=torch.float64)
            return torch.distributions.MultivariateNormal(torch.tensor(mean, dtype=torch.float64), variance * eye)

        found = colour_distance(gaussian([1.0, 0, 0], 1.0), gaussian([4.0, 4.0, 0], 4.0))
        forward = 0.5 * (3 / 4 + 25 / 4 - 3 + 3 * np.log(4))
        backward = 0.5 * (12 + 25 - 3 - 3 * np.log(4))
        assert found == pytest.approx((forward, backward))
        assert (found.sum, found.mean) == pytest.approx((forward + backward, (forward + backward) / 2))
