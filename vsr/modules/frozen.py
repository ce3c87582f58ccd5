"""Features of a frozen encoder, kept by the data module where clips stay the same."""

import hashlib
from collections.abc import Callable
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from vsr.errors import InputError
from vsr.models.probe import FrozenEncoder


def can_keep(trainer: L.Trainer, whole_batches: bool) -> bool:
    """Whether the data module can keep features, as its clips are the same in every epoch; for ``setup``.

    Args:
        trainer: of the run.
        whole_batches: features are so small that the global batch need not be cut to fit on a device.
    """
    expect = getattr(_data(trainer), "expect_features", None)
    return expect is not None and bool(expect(whole_batches))


def keep(module: L.LightningModule, encoder: FrozenEncoder, encode: Callable[[Tensor], Tensor], kind: str) -> None:
    """Have the data module encode every training clip once and keep the features; for hooks at the start of a run.

    Args:
        module: of which the encoder is a part.
        encoder: is as it will stay.
        encode: what makes features by it; in the trainer's precision, without gradients.
        kind: of feature, in words: it and the weights name what is kept.

    Raises:
        InputError: the data module can't.
    """
    trainer = module.trainer
    keep_features = getattr(_data(trainer), "keep_features", None)
    if keep_features is None:
        raise InputError("features can be kept by ActionClips alone: give --data ActionClips with --data.use probe")

    @torch.no_grad()
    def run(video: Tensor) -> Tensor:
        with trainer.precision_plugin.forward_context():
            return encode(video)

    # Rounding depends on precision and device, so features do.
    said = f"{kind} {trainer.precision} {module.device.type} {_digest(encoder)}"
    keep_features(run, said)


def _data(trainer: L.Trainer) -> Any:
    return getattr(trainer, "datamodule", None)


def _digest(encoder: FrozenEncoder) -> str:
    """A hash of all weights."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in encoder.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()
