import math

import pytest
import torch
from torchmetrics.image.fid import FrechetInceptionDistance

from vsr.analysis.frechet import FLOOR, frechet_distance, spread


def with_moments(mean, covariance, n=200, seed=0) -> torch.Tensor:
    """Features that have exactly this mean and unbiased covariance."""
    raw = torch.randn(n, len(mean), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    raw = raw - raw.mean(dim=0)
    white = raw @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(raw.T))).T
    return white @ torch.linalg.cholesky(torch.tensor(covariance, dtype=torch.float64)).T + torch.tensor(mean)


class TestDistance:
    def test_of_gaussians_with_variances(self):
        first = with_moments([0.0, 1.0], [[4.0, 0.0], [0.0, 9.0]])
        second = with_moments([3.0, 5.0], [[1.0, 0.0], [0.0, 16.0]], 150, 1)
        assert frechet_distance(first, second) == pytest.approx(9 + 16 + (2 - 1) ** 2 + (3 - 4) ** 2, rel=1e-9)

    def test_of_gaussians_that_lie_askew(self):
        """tr (S1 S2)^(1/2) of 2 x 2 matrices is (tr S1 S2 + 2 (det S1 S2)^(1/2))^(1/2)."""
        a, b = [[2.0, 0.8], [0.8, 1.0]], [[1.0, -0.5], [-0.5, 3.0]]
        product = torch.tensor(a) @ torch.tensor(b)
        root = math.sqrt(product.trace() + 2 * math.sqrt(torch.linalg.det(product)))
        distance = frechet_distance(with_moments([0.0, 0.0], a), with_moments([0.0, 0.0], b, 90, 1))
        assert distance == pytest.approx(3 + 4 - 2 * root, rel=1e-6)

    def test_to_itself_with_fewer_features_than_dimensions(self):
        features = torch.randn(10, 40, generator=torch.Generator().manual_seed(0))
        assert frechet_distance(features, features) == pytest.approx(0, abs=1e-5)
        assert frechet_distance(features, features + 2) == pytest.approx(160, rel=1e-6)

    def test_is_that_of_torchmetrics(self):
        class Features(torch.nn.Module):
            num_features = 12

            def forward(self, frames):
                return frames.float().flatten(1)

        generator = torch.Generator().manual_seed(0)
        first, second = (torch.randint(0, most, (40, 3, 2, 2), generator=generator).byte() for most in (256, 180))
        metric = FrechetInceptionDistance(Features())
        metric.set_dtype(torch.float64)
        metric.update(first, real=True)
        metric.update(second, real=False)
        ours = frechet_distance(first.flatten(1), second.flatten(1))
        assert ours == pytest.approx(float(metric.compute()), rel=1e-4)


class TestSpread:
    def test_of_a_known_covariance(self):
        found = spread(with_moments([5.0, 0.0, 1.0], [[4.0, 0, 0], [0, 2.0, 0], [0, 0, 2.0]]))
        assert found.mean_log == pytest.approx(math.log(16) / 3, abs=1e-5)
        assert found.log_determinant == pytest.approx(math.log(16))
        assert found.rank == 3
        assert found.effective_rank == pytest.approx(2 ** (0.5 * 1 + 2 * 0.25 * 2))  # shares 1/2, 1/4, 1/4

    def test_of_fewer_features_than_dimensions(self):
        found = spread(torch.randn(5, 20, generator=torch.Generator().manual_seed(0)))
        assert found.rank == 4
        assert found.log_determinant is None
        assert 1 < found.effective_rank <= 4

    def test_of_many_and_of_few_alike(self):
        """The eigenvalues of the covariance itself."""
        for shape in ((30, 40), (90, 40)):
            features = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
            values = torch.linalg.eigvalsh(torch.cov(features.T)).clamp(min=0)
            assert spread(features).mean_log == pytest.approx(float((values + FLOOR).log().mean()), rel=1e-6)

    def test_of_constant_features(self):
        found = spread(torch.full((7, 3), 0.25))
        assert found == (pytest.approx(math.log(FLOOR)), None, 0, None)
