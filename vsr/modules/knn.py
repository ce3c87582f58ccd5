"""Nearest neighbours: which training clips have the features most like a test clip's. Nothing is trained."""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor
from torch.nn import functional as F

from vsr.errors import InputError
from vsr.models.exchange import load_frozen
from vsr.models.probe import FrozenEncoder, Norm
from vsr.models.vit import SizeName, size_named
from vsr.modules.accuracy import Accuracy
from vsr.modules.frozen import keep

_AT_ONCE = 64
"""Queries compared with the whole bank at a time: 61 MB of similarities for the 240,000 videos of Kinetics-400."""


class KNNProbe(L.LightningModule):
    """Classifies a clip by the training clips with the nearest features. The paper (arXiv 2410.24213) has none.

    A feature is the mean over the tokens of a whole clip. The ``k`` training clips with the highest cosine similarity s
    vote for their classes with the weight exp(s / ``temperature``); a class's probability is its share of the votes.
    Training clips are those of validation (the data's ``use: probe``), encoded once before the first test clip;
    held-out ones don't vote. There is nothing to fit.

    Logged: what :class:`~vsr.modules.accuracy.Accuracy` logs.

    Args:
        num_classes: K.
        checkpoint: weights to load, strictly: anything with an encoder; null: an untrained one.
        size: network; "base" and "large" are the paper's, "tiny" is ours for laptops.
        image_size: height and width of a frame, px; a multiple of ``patch_size``.
        num_frames: frames in a clip; a multiple of ``tubelet_size``.
        patch_size: height and width of a tube, px.
        tubelet_size: frames of a tube.
        norm: what normalises features, see :class:`~vsr.modules.probe.LinearProbe`.
        k: neighbours that vote.
        temperature: the smaller, the more the nearest of them count.
        global_batch_size: the data module's; of no effect.
        seed: of an untrained encoder, in [0, 2^64).

    Raises:
        InputError: an argument is out of its range.

    Source: Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR 2018; k 20 and
    temperature 0.07 as in Caron et al., "Emerging Properties in Self-Supervised Vision Transformers" (DINO), ICCV 2021.
    """

    def __init__(
        self,
        num_classes: int,
        checkpoint: str | None = None,
        size: SizeName = "base",
        image_size: int = 224,
        num_frames: int = 16,
        patch_size: int = 16,
        tubelet_size: int = 2,
        norm: Norm = "pretrained",
        k: int = 20,
        temperature: float = 0.07,
        global_batch_size: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if num_classes < 2:
            raise InputError(f"num_classes {num_classes} leaves nothing to tell apart: give 2 or more")
        if k < 1 or not temperature > 0:
            raise InputError(f"k {k} neighbours at temperature {temperature} can't vote: give positive numbers")
        self.checkpoint, self.num_classes, self.k, self.temperature = checkpoint, num_classes, k, temperature
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.encoder = FrozenEncoder(size_named(size), image_size, num_frames, patch_size, tubelet_size, norm)
        self._bank: tuple[Tensor, Tensor] | None = None
        self.accuracy = Accuracy(num_classes)

    def configure_optimizers(self) -> None:
        """Refuse to be fitted.

        Raises:
            InputError: always.
        """
        raise InputError(
            "a nearest-neighbour probe has nothing to fit: vsr test … --model.checkpoint PRETRAINED.ckpt makes its "
            "bank from the training list"
        )

    def training_step(self, batch: Mapping[str, Tensor]) -> None:
        """Never called; Lightning looks for it before it asks for optimisers."""

    def on_validation_start(self) -> None:
        """Load the encoder, and make the bank."""
        self._make_bank()

    def on_test_start(self) -> None:
        """Load the encoder, and make the bank."""
        self._make_bank()

    def _make_bank(self) -> None:
        if self.checkpoint is not None:
            load_frozen(self.encoder, self.checkpoint)
        keep(self, self.encoder, self.encoder.pooled, f"pooled {self.hparams['norm']}")
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        feature, label = map(torch.cat, zip(*data.kept_features("train"), strict=True))
        if len(label) < self.k:
            raise InputError(f"k {self.k} is more than the {len(label)} training videos: use {len(label)} or fewer")
        self._bank = F.normalize(feature.to(self.device), dim=1), label.to(self.device)

    def forward(self, video: Tensor) -> Tensor:
        """Probabilities float32 (B, K) of videos (B, C, T, H, W), uint8."""
        assert self._bank is not None
        return neighbours_vote(self.encoder.pooled(video), *self._bank, self.num_classes, self.k, self.temperature)

    def validation_step(self, batch: Mapping[str, Tensor]) -> None:
        """Count what is right among the first one and the first five."""
        self.accuracy.validate(self, self(batch["video"]), batch["label"])

    def test_step(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Count the videos that are right; what is returned says :meth:`vsr.modules.accuracy.Accuracy.test`."""
        return self.accuracy.test(self, self(batch["video"]), batch)

    def on_test_epoch_end(self) -> None:
        """Mean of the classes' accuracies, over the classes that have videos."""
        self.accuracy.finish_test(self)


def neighbours_vote(
    feature: Tensor, bank: Tensor, label: Tensor, num_classes: int, k: int, temperature: float
) -> Tensor:
    """What the nearest training clips say of some clips.

    Args:
        feature: float32 (B, D), of the clips.
        bank: float32 (S, D), of training clips, of length 1 each.
        label: int64 (S,), theirs.
        num_classes: K.
        k: how many vote, at most S.
        temperature: weights are exp(cosine / temperature).

    Returns:
        float32 (B, K), each class's share of the votes.
    """
    said = []
    precision = torch.get_float32_matmul_precision()
    with torch.autocast(feature.device.type, enabled=False):
        try:
            torch.set_float32_matmul_precision("highest")  # ten bits of a cosine, divided by 0.07, are too few
            for some in F.normalize(feature, dim=1).split(_AT_ONCE):
                similar, nearest = (some @ bank.T).topk(k, dim=1)
                votes = (similar / temperature).softmax(dim=1)
                shares = votes.new_zeros(len(some), num_classes)
                said.append(shares.scatter_add_(1, label[nearest], votes))
        finally:
            torch.set_float32_matmul_precision(precision)
    return torch.cat(said)
