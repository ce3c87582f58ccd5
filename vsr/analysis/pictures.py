"""Pictures of what checkpoints make of videos: their attention keys as colours, their reconstructions."""

from collections.abc import Sequence
from itertools import compress
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from vsr.analysis import keys
from vsr.analysis.footage import Address, Excerpt, Footage, clip, middle, spread, squashed
from vsr.analysis.strips import Strip, enlarged, side_for, squares, write_strips
from vsr.errors import InputError
from vsr.models.exchange import Weights, read_weights
from vsr.models.vit import Encoder
from vsr.modules import VideoMAE

Basis = Literal["own", "matched", "first"]
LONGEST = 300
"""Frames of a video whose keys are shown, at most: those in its middle."""

_BASES = {
    "own": "Axes are each checkpoint's own: what a colour means differs between rows.",
    "matched": "Axes are each checkpoint's own, ordered and turned to go with the first's.",
    "first": "Axes are the first checkpoint's: they mean nothing to other runs.",
}


class KeyMaps(NamedTuple):
    """What was written of attention keys.

    Attributes:
        files: the sheet, then a video for each that is shown.
        explained: of each checkpoint, by its label, the shares of its keys' variance along the three axes, 0 .. 1.
    """

    files: list[Path]
    explained: dict[str, list[float]]


def show_keys(
    checkpoints: Sequence[Path],
    sources: Sequence[Footage],
    out: Path,
    basis: Basis = "own",
    shown: int = 3,
    pca_frames: int = 32,
    device: torch.device | str = "cpu",
) -> KeyMaps:
    """Write ``keys.png``, some frames of the videos with the keys of each checkpoint below, and all frames as mp4.

    Each picture of keys is of a window of one tube's frames, the first of which is the one above it. For each
    checkpoint a PCA is made of its keys of all videos.

    Args:
        checkpoints: with an encoder, in any format.
        sources: videos, best of one class.
        out: a folder, made if need be.
        basis: ``own``: each checkpoint's own three axes, as in the paper. ``matched``: its own, ordered and turned so
            that scores go with those of the first checkpoint. ``first``: the axes of the first for all, which has a
            meaning between checkpoints of one run only, as entries of keys have nothing to do with each other's in
            another.
        shown: how many of the videos are shown, evenly spaced.
        pca_frames: frames in the middle of each video that the PCA sees (paper: 32).
        device: where the networks run.

    Raises:
        InputError: a checkpoint has no whole encoder or was given twice, a video can't be read, shows nothing, is too
            short or too small, or checkpoints don't go together under ``basis``.
    """
    named = _read(checkpoints)
    _must_share_basis(list(named.values()), basis)
    shown_now = [(sources[n], middle(sources[n], LONGEST)) for n in spread(len(sources), shown)]
    side = side_for(weights.image_size for weights in named.values())
    maps: dict[str, list[Tensor]] = {}
    shares: dict[str, list[float]] = {}
    axes = like = None
    for label, weights in named.items():
        encoder = keys.window_encoder(weights).to(device)
        watched = tqdm(sources, desc=label, unit="video", leave=False, disable=None)
        found = keys.moments(_keys(encoder, source, middle(source, pca_frames)) for source in watched)
        if axes is None or basis != "first":
            axes = keys.principal_axes(found)
        scores = [keys.project(_keys(encoder, *video), found, axes) for video in shown_now]
        shares[label] = keys.explained(found, axes)
        tokens = torch.cat([score.flatten(0, 1) for score in scores])
        if like is None:
            like = tokens
        elif basis == "matched":
            order, sign = keys.matched(tokens, like)
            scores = [score[..., order] * sign for score in scores]
            shares[label] = [shares[label][k] for k in order]
        maps[label] = [keys.as_colours(score, *encoder.patch_embed.grid[1:]).cpu() for score in scores]
    strips = []
    for n, (source, excerpt) in enumerate(shown_now):
        length = min(len(of[n]) for of in maps.values())
        rows = {"input": squares(excerpt.frames[:length], side)}
        rows |= {label: enlarged(of[n][:length].numpy(), side) for label, of in maps.items()}
        strips.append(Strip(source, excerpt.first, excerpt.fps, rows))
    title = f"Keys of the last block: first three components over {len(sources)} videos as red, green, blue"
    title = f"{title}\nBeside each name: their shares of the variance. {_BASES[basis]}"
    said = {label: f"{label}: {' + '.join(f'{100 * share:.0f}' for share in of)} %" for label, of in shares.items()}
    return KeyMaps(write_strips(strips, out, "keys", title, said), shares)


def show_reconstructions(
    checkpoints: Sequence[Path],
    sources: Sequence[Footage],
    out: Path,
    shown: int = 3,
    epoch: int = 0,
    stride: int = 4,
    mask_ratio: float = 0.75,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> list[Path]:
    """Write ``reconstructions.png``, some frames of input, mask and what each checkpoint predicts, and all as mp4.

    Predictions are shown with the true mean and contrast of their own tube, as the heading says.

    Args:
        checkpoints: of pre-training, in any format.
        sources: videos. Of a dataset, clip and mask are those of training; of a file, the clip in its middle under the
            mask of its place among the sources.
        out: a folder, made if need be.
        shown: how many of the videos are shown, evenly spaced.
        epoch: which clip of a dataset's video, and which mask.
        stride: video frames from one clip frame to the next.
        mask_ratio: share of the tubes that is hidden, 0..1.
        seed: of the masks.
        device: where the networks run.

    Returns:
        The files: the sheet, then a video for each that is shown.

    Raises:
        InputError: a checkpoint has no decoder or was given twice, they are not of one shape, a video can't be read, or
            the ratio hides all or nothing.
    """
    named = _read(checkpoints)
    shape = _shape_of_all(list(named.values()))
    numbers = spread(len(sources), shown)
    video = torch.stack([clip(sources[n], epoch, shape.num_frames, stride, shape.image_size) for n in numbers])
    index = torch.tensor([source.index if isinstance(source := sources[n], Address) else n for n in numbers])
    strips = [Strip(sources[n], 0, 25 / stride, {}) for n in numbers]
    side = side_for([shape.image_size])
    for label, weights in named.items():
        network = _autoencoder(weights, mask_ratio, seed).to(device)
        pictures = network.reconstruct(video.to(device), index.to(device), epoch)
        for name, kind in zip(("input", "mask", label), pictures, strict=True):
            for strip, frames in zip(strips, kind.permute(0, 2, 3, 4, 1).cpu().numpy(), strict=True):
                strip.rows[name] = enlarged(frames, side)
    title = f"{mask_ratio:.0%} of the tubes masked: structure predicted, mean and contrast given"
    return write_strips(strips, out, "reconstructions", title, {})


def run_labels(checkpoints: Sequence[Path]) -> list[str]:
    """Names that tell checkpoints apart: what of their paths differs, or of a single one the run it is from.

    Raises:
        InputError: one was given twice.
    """
    paths = [path.absolute() for path in checkpoints]
    if twice := [str(path) for n, path in enumerate(paths) if path in paths[:n]]:
        raise InputError(f"checkpoint {twice[0]} was given twice: give it once")
    if len(paths) == 1:
        path = paths[0]
        return [path.parents[2].name if path.parent.name == "checkpoints" else path.stem]
    same_ending = len({path.suffix for path in paths}) == 1
    parts = [(path.with_suffix("") if same_ending else path).parts for path in paths]
    if len({*map(len, parts)}) == 1:
        differs = [len({*place}) > 1 for place in zip(*parts, strict=True)]
        return ["/".join(compress(part, differs)) for part in parts]
    shared = next((n for n, place in enumerate(zip(*parts, strict=False)) if len({*place}) > 1), 0)
    return ["/".join(part[shared:]) for part in parts]


def _read(checkpoints: Sequence[Path]) -> dict[str, Weights]:
    """The weights by their labels; files are mapped into memory, not read."""
    labels = [f"checkpoint {n}" if n in ("input", "mask") else n for n in run_labels(checkpoints)]
    return {label: read_weights(path) for label, path in zip(labels, checkpoints, strict=True)}


def _must_share_basis(several: list[Weights], basis: Basis) -> None:
    first = several[0]
    for other in several[1:]:
        if basis == "matched" and (other.grid[1:], other.tube[0]) != (first.grid[1:], first.tube[0]):
            raise InputError(
                f"components are matched token by token, but {first.path} and {other.path} cut videos in other ways: "
                "give --basis own"
            )
        if basis == "first" and other.extent[0] != first.extent[0]:
            raise InputError(
                f"axes of {first.path} (width {first.extent[0]}) don't fit keys of {other.path} (width "
                f"{other.extent[0]}): give checkpoints of one run, or --basis own"
            )


def _shape_of_all(several: list[Weights]) -> Weights:
    """One whose clips and tubes are those of all.

    Raises:
        InputError: they differ, or one has no decoder.
    """
    for weights in several:
        if weights.kind != "pre-training":
            raise InputError(
                f"checkpoint {weights.path} is of a {weights.kind} and has no decoder, so it reconstructs nothing: "
                "give a pre-training checkpoint, or --what keys"
            )
        if (weights.grid, weights.tube) != (several[0].grid, several[0].tube):
            raise InputError(
                f"{several[0].path} and {weights.path} are for clips or tubes of other shapes, so they can't be shown "
                "the same clip and mask: visualize them one by one"
            )
    return several[0]


def _autoencoder(weights: Weights, mask_ratio: float, seed: int) -> VideoMAE:
    """The module of weights of pre-training.

    Raises:
        InputError: they are of none of the sizes or not whole, or the ratio hides all or nothing.
    """
    weights.must_be_whole()
    (tubelet_size, patch_size), depth = weights.tube, weights.size.decoder_depth
    clip_shape = (weights.image_size, weights.num_frames, patch_size, tubelet_size)
    module = VideoMAE(weights.size_name, *clip_shape, mask_ratio, depth, seed=seed)  # type: ignore[arg-type]
    module.model.load_state_dict(weights.own_names)
    return module.eval()


def _keys(encoder: Encoder, source: Footage, excerpt: Excerpt) -> Tensor:
    """The keys of all windows of an excerpt.

    Raises:
        InputError: it is shorter than a window, or has fewer pixels than there are tokens.
    """
    embed = encoder.patch_embed
    _, length, size, _ = embed.clip_shape
    count, height, width = excerpt.frames.shape[:3]
    if count < length:
        raise InputError(f"{source} has {count} frame{'s' * (count > 1)}, a window {length}: give a longer video")
    rows = embed.grid[1]
    if min(height, width) < rows:
        raise InputError(
            f"{source} is {width} x {height} px, fewer than the {rows} x {rows} tokens it would be cut into: give a "
            "larger video"
        )
    return keys.attention_keys(encoder, keys.sliding_windows(squashed(excerpt.frames, size), length))
