"""Mixup and CutMix of clips: a batch is mixed with itself in reverse, in space or in level, never in time.

Source: Zhang et al., "mixup", ICLR 2018; Yun et al., "CutMix", ICCV 2019. One draw for a batch, as timm's ``Mixup`` in
mode "batch", which VideoMAE uses.
"""

import torch
from torch import Tensor

from vsr import rng

_BLOCKS = 16  # two attempts at a Beta each; with alpha 1 all of them fail once in 2^32 batches


def mix(
    video: Tensor, label: Tensor, num_classes: int, mixup: float, cutmix: float, words: Tensor
) -> tuple[Tensor, Tensor]:
    """Mix every clip of a batch with its partner: clip b with clip B - 1 - b.

    Mixup blends whole clips. CutMix takes one box of pixels from the partner, the same box in every frame of every
    clip. Where both are wanted, half the batches get one, half the other. In an odd batch the clip in the middle is its
    own partner and stays as it is. Nothing waits for the device.

    Args:
        video: uint8 (B, C, T, H, W).
        label: int64 (B,).
        num_classes: K.
        mixup: alpha of mixup, 0..1: a clip's share is drawn from Beta(alpha, alpha); 0: no mixup.
        cutmix: alpha of CutMix, likewise; not both are 0.
        words: int64 (N, 4) from :func:`mix_words`, on the video's device.

    Returns:
        The clips, float32 (B, C, T, H, W) in 0..255, not rounded, so that it makes no difference that VideoMAE mixes
        clips that are normalised already; and the probabilities of the classes, float32 (B, K).
    """
    height, width = video.shape[-2:]
    which, row, column = words[0, :3]
    cut = rng.uniform(which) < (0.5 if mixup and cutmix else float(cutmix > 0))
    share = _beta(mixup + (cutmix - mixup) * cut, words[1:].reshape(-1, 2))
    rows, columns = (_stretch(side, word, share) for side, word in ((height, row), (width, column)))
    kept = torch.where(cut, (~(rows[:, None] & columns)).float(), share)  # (H, W): of one's own
    mixed = torch.lerp(video.flip(0).float(), video.float(), kept)
    target = torch.zeros(len(label), num_classes, device=label.device).scatter_(1, label[:, None], 1)
    return mixed, torch.lerp(target.flip(0), target, kept.mean())


def mix_words(seed: int, index: Tensor, epoch: Tensor) -> Tensor:
    """The words for :func:`mix`, int64 (N, 4), which follow from the address of the batch's first clip.

    Args:
        seed: in [0, 2^64).
        index: int64 (B,).
        epoch: int64 (B,), on the same device.
    """
    return rng.words(rng.Stream.MIX, seed, index[:1], epoch[:1], 1 + _BLOCKS)[0]


def _stretch(side: int, word: Tensor, share: Tensor) -> Tensor:
    """Which pixels of a side, bool (side,), lie in a box that leaves ``share`` of the area; its centre is uniform."""
    length = (side * (1 - share).sqrt()).long()
    centre, pixel = rng.below(word, side), torch.arange(side, device=word.device)
    return (pixel >= centre - length // 2) & (pixel < centre + (length + 1) // 2)


def _beta(alpha: Tensor, words: Tensor) -> Tensor:
    """A draw from Beta(alpha, alpha), alpha 0..1, by Jöhnk's method: the first of the pairs that is accepted.

    Source: Jöhnk, "Erzeugung von betaverteilten und gammaverteilten Zufallszahlen", Metrika 8, 1964.
    """
    first, second = (torch.log(1 - rng.uniform(words)) / alpha).unbind(-1)
    accepted = first.exp() + second.exp() <= 1
    # gather, as to index with a number on the device is to wait for it.
    return torch.sigmoid(first - second).gather(0, accepted.int().argmax(0, keepdim=True)).squeeze(0)
