"""Gathers what statistics need from a source in one pass, and makes numbers of it that say how they came about."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional as F

from vsr.analysis.frames import BAND, PIXEL_STEP, Colours, colour_distance, spectrum_exponent
from vsr.analysis.frechet import FLOOR, frechet_distance, spread
from vsr.analysis.motion import MOTION
from vsr.analysis.networks import Network
from vsr.analysis.sources import CLIP, Source
from vsr.errors import InputError

_PIXELS = 16  # side of the small pictures whose diversity needs no network
_CLIPS_AT_ONCE = 8
_NO_AGAINST = "needs videos to compare with: --against"


@dataclass(frozen=True)
class Number:
    """One property of one dataset.

    Attributes:
        dataset: its name.
        property: which.
        value: None where it can't be had.
        error: standard error of a mean over videos, where it is one.
        unit: of the value.
        n: how many it is of; of each of two sides.
        of: what they are: frames, clips or videos.
        seed: of the draws.
        how: what was done.
        weights: SHA-256 of the network's, where there is one.
        missing: why there is no value.
    """

    dataset: str
    property: str
    value: float | None
    error: float | None
    unit: str
    n: int
    of: str
    seed: int
    how: str
    weights: str | None = None
    missing: str | None = None


@dataclass
class Measured:
    """What was gathered from a source.

    Attributes:
        name: of the dataset.
        origin: what it is, in words.
        seed: of the draws.
        videos: V.
        frames: F of each.
        colours: of the frames.
        exponents: float64 (V, F), NaN for frames without a spectrum.
        of_frames: features (V F, D) by the network's name; ``pixels`` needs none.
        of_clips: features (at most V, D) by the network's name.
        short: videos without a clip.
        motion: float64 (V, 6), or None where objects aren't known.
    """

    name: str
    origin: str
    seed: int
    videos: int
    frames: int
    colours: Colours
    exponents: Tensor = field(default_factory=lambda: torch.empty(0, 0))
    of_frames: dict[str, Tensor] = field(default_factory=dict)
    of_clips: dict[str, Tensor] = field(default_factory=dict)
    short: int = 0
    motion: Tensor | None = None


def measure(
    source: Source,
    videos: int,
    frames: int,
    of_frames: Iterable[Network] = (),
    of_clips: Iterable[Network] = (),
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> Measured:
    """Go through a source once.

    Args:
        source: the videos; its frames are on ``device``.
        videos: how many, 2 or more.
        frames: of each.
        of_frames: networks on frames.
        of_clips: networks on clips.
        device: where to measure.
        progress: show a progress bar.

    Raises:
        InputError: ``videos`` or ``frames`` is too small; as :meth:`~vsr.analysis.sources.Source.samples`.
    """
    if videos < 2 or frames < 1:
        raise InputError(f"videos {videos} and frames {frames}: statistics need 2 videos and 1 frame or more")
    from tqdm import tqdm

    found = Measured(source.name, source.origin, source.seed, videos, frames, Colours(torch.device(device)))
    exponents: list[Tensor] = []
    motions: list[Tensor] = []
    features: dict[str, list[Tensor]] = {"pixels": [], **{network.name: [] for network in of_frames}}
    clips: dict[str, list[Tensor]] = {network.name: [] for network in of_clips}
    with tqdm(total=videos, desc=source.name, unit="video", disable=None if progress else True) as bar:
        for sample in source.samples(videos, frames, bool(clips)):
            for shown in _alike(sample.frames):
                pictures = torch.cat(shown)
                exponents.append(spectrum_exponent(pictures).cpu())
                found.colours.add(pictures)
                small = F.adaptive_avg_pool2d(pictures.float() / 255, _PIXELS)
                features["pixels"].append(small.flatten(1).cpu())
                for network in of_frames:
                    features[network.name].append(network.features(pictures).cpu())
            for some in _alike(sample.clips):
                for network in of_clips:
                    parts = torch.stack(some).split(_CLIPS_AT_ONCE)
                    clips[network.name] += [network.features(part).cpu() for part in parts]
            found.short += sample.short
            if sample.motion is not None:
                motions.append(sample.motion.cpu())
            bar.update(len(sample.frames))
    found.exponents = torch.cat(exponents).unflatten(0, (videos, frames))
    found.of_frames = {name: torch.cat(parts) for name, parts in features.items()}
    found.of_clips = {name: torch.cat(parts) if parts else torch.empty(0, 1) for name, parts in clips.items()}
    found.motion = torch.cat(motions) if motions else None
    return found


def _alike(tensors: list[Tensor]) -> Iterator[list[Tensor]]:
    """Runs of tensors of one shape."""
    return (list(run) for _, run in groupby(tensors, key=lambda tensor: tensor.shape))


def describe(found: Measured, against: Measured | None, networks: Iterable[Network]) -> list[Number]:
    """The numbers of a dataset, each property in its place whether it can be had or not.

    Args:
        found: what was gathered from it.
        against: what was gathered from natural videos, with as many videos and frames, or None.
        networks: those that were used in both.
    """
    by_name = {network.name: network for network in networks}
    return [
        *_distances(found, against, by_name),
        *_colours(found, against),
        *_spreads(found, by_name),
        _spectrum(found),
        *_motion(found),
    ]


def _number(
    found: Measured, name: str, value: float | None, of: str, n: int, how: str, unit: str = "", missing: str = "",
    error: float | None = None, weights: str | None = None,
) -> Number:  # fmt: skip
    return Number(
        found.name,
        name,
        value,
        error,
        unit,
        n,
        of,
        found.seed,
        how,
        weights,
        missing or None if value is None else None,
    )


def _distances(found: Measured, against: Measured | None, networks: dict[str, Network]) -> Iterator[Number]:
    """FID and the FVDs: at equal numbers on both sides."""
    for name, key, option in (("fid", "inception", "--inception"), ("fvd", "i3d", "--i3d"),
                              ("fvd_videomae", "videomae", "--checkpoint")):  # fmt: skip
        of, how = ("frames", "Fréchet distance") if name == "fid" else ("clips", "Fréchet distance")
        network = networks.get(key)
        if network is None:
            yield _number(found, name, None, of, 0, how, missing=f"needs weights: {option}")
            continue
        how = f"{how} of {network.how}"
        if against is None:
            yield _number(found, name, None, of, 0, how, weights=network.sha256, missing=_NO_AGAINST)
            continue
        ours = (found.of_frames if name == "fid" else found.of_clips)[key]
        theirs = (against.of_frames if name == "fid" else against.of_clips)[key]
        n = min(len(ours), len(theirs))
        if found.short or against.short:
            how += f"; {found.short} and {against.short} videos shorter than {CLIP} frames left out"
        value = frechet_distance(ours[:n], theirs[:n]) if n >= 2 else None
        missing = f"fewer than 2 videos of {CLIP} frames or more on one side"
        yield _number(found, name, value, of, n, f"{how}; to {against.name}", weights=network.sha256, missing=missing)


def _colours(found: Measured, against: Measured | None) -> Iterator[Number]:
    n = found.videos * found.frames
    how = f"KL divergence of Gaussians in L*a*b*, every {PIXEL_STEP}th pixel along each side"
    distance, missing = None, _NO_AGAINST
    if against is not None:
        how += f"; to {against.name}"
        ours, theirs = found.colours.gaussian(), against.colours.gaussian()
        if ours is not None and theirs is not None:
            distance = colour_distance(ours, theirs)
        else:
            missing = f"the colours of {(found if ours is None else against).name} don't span L*a*b*: grey or constant"
    ways = ("mean", "sum", "forward", "backward")
    for way in ways:
        value = None if distance is None else float(getattr(distance, way))
        yield _number(found, f"colour_{way}", value, "frames", n, f"{how}; {way}", "nat", missing)


def _spreads(found: Measured, networks: dict[str, Network]) -> Iterator[Number]:
    """Diversity of frames, by Inception where there is one and by small pictures always."""
    for key in ("inception", "pixels"):
        features = found.of_frames.get(key)
        weights = networks[key].sha256 if key in networks else None
        seen = "Inception-v3" if key == "inception" else f"pictures of {_PIXELS} x {_PIXELS} px"
        of = networks[key].how if key in networks else seen
        got = spread(features) if features is not None else None
        n = 0 if features is None else len(features)
        dimension = 0 if features is None else features.shape[1]
        none = "needs weights: --inception" if got is None else "there is no variance"
        for name, what in (("volume", f"mean ln(eigenvalue + {FLOOR:g}) of the covariance"), ("effective_rank", "exp "
                           "of the entropy of its eigenvalues"), ("rank", "of the covariance"),
                           ("log_determinant", "of the covariance")):  # fmt: skip
            value: float | None = None
            missing = none
            if got is not None:
                value = {
                    "volume": got.mean_log, "effective_rank": got.effective_rank, "rank": float(got.rank),
                    "log_determinant": got.log_determinant,
                }[name]  # fmt: skip
                if name == "log_determinant":
                    missing = f"the determinant is 0: rank {got.rank} of {dimension}"
            yield _number(found, f"{key}_{name}", value, "frames", n, f"{what}; {of}", missing=missing, weights=weights)


def _spectrum(found: Measured) -> Number:
    known = ~found.exponents.isnan()
    each = (found.exponents.nan_to_num() * known).sum(dim=1)[known.any(dim=1)] / known.sum(dim=1)[known.any(dim=1)]
    how = f"amplitude, {BAND[0]} to {BAND[1]} cycles/pixel, mean over frames"
    if left_out := int((~known).sum()):
        how += f"; {left_out} frames without a spectrum (of one grey, or of straight edges alone) left out"
    value, error = _mean(each)
    return _number(
        found, "spectrum_exponent", value, "frames", int(known.sum()), how, missing="no frame has a spectrum",
        error=error,
    )  # fmt: skip


def _motion(found: Measured) -> Iterator[Number]:
    for column, (name, (unit, how)) in enumerate(MOTION.items()):
        values = found.motion[:, column] if found.motion is not None else torch.empty(0)
        known = values[~values.isnan()]
        missing = "no video shows an object" if len(values) else "only the renderer knows objects, not these videos"
        if found.motion is None and found.origin.startswith("rendered"):
            missing = "the recipe has no objects"
        value, error = _mean(known)
        yield _number(found, name, value, "videos", len(known), how, unit, missing, error)


def _mean(values: Tensor) -> tuple[float | None, float | None]:
    """Mean and its standard error."""
    if len(values) == 0:
        return None, None
    error = float(values.double().std() / len(values) ** 0.5) if len(values) > 1 else None
    return float(values.double().mean()), error
