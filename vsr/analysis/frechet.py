"""Gaussians of features: the distance between two of them, and how much room one takes."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

FLOOR = 1e-6
"""Added to each eigenvalue before its logarithm is taken: a set without variance so has ln 1e-6 = -13.8."""


class Spread(NamedTuple):
    """How varied a set of features is.

    Attributes:
        mean_log: mean over the D eigenvalues of the covariance of ln(eigenvalue + FLOOR): the paper's "feature
            volume", as far as its axis tells. Not comparable between features of other kinds.
        log_determinant: of the covariance; None where it has no full rank, for then the determinant is 0.
        rank: how many eigenvalues are above rounding.
        effective_rank: exp of the entropy of the eigenvalues, 1 .. D, whatever the features' scale; None where there is
            no variance. Source: Roy and Vetterli, "The effective rank", EUSIPCO 2007.
    """

    mean_log: float
    log_determinant: float | None
    rank: int
    effective_rank: float | None


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """The Fréchet distance between Gaussians with the means and unbiased covariances of two sets of features.

    ``|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))`` in float64 on the CPU. It falls with the number of features, so
    compare only at equal numbers.

    Args:
        first: (N, D), N 2 or more.
        second: (M, D), likewise.
    """
    (mean1, root1), (mean2, root2) = _gaussian(first), _gaussian(second)
    # S = R' R, and the eigenvalues of (S1 S2)^(1/2) are the singular values of R1 R2'.
    shared = torch.linalg.svdvals(root1 @ root2.T).sum()
    distance = (mean1 - mean2).square().sum() + root1.square().sum() + root2.square().sum() - 2 * shared
    return max(float(distance), 0.0)


def spread(features: Tensor) -> Spread:
    """How varied features (N, D), N 2 or more, are: by the eigenvalues of their covariance, in float64 on the CPU."""
    root = _gaussian(features)[1]
    values = torch.linalg.svdvals(root).square()
    dimensions = features.shape[1]
    rounding = values[0] * max(features.shape) * torch.finfo(torch.float64).eps
    above = values[values > rounding]
    without = (dimensions - len(values)) * math.log(FLOOR)
    return Spread(
        mean_log=(float((values + FLOOR).log().sum()) + without) / dimensions,
        log_determinant=float(above.log().sum()) if len(above) == dimensions else None,
        rank=len(above),
        effective_rank=float(torch.special.entr(above / values.sum()).sum().exp()) if len(above) else None,
    )


def _gaussian(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (D,), and R (min(N, D), D) with the covariance R' R."""
    features = features.detach().cpu().double()
    mean = features.mean(dim=0)
    centred = (features - mean) / (len(features) - 1) ** 0.5
    if len(features) <= features.shape[1]:
        return mean, centred
    values, vectors = torch.linalg.eigh(centred.T @ centred)
    return mean, values.clamp(min=0).sqrt()[:, None] * vectors.T
