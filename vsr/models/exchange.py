"""Weights in and out of networks, strictly: everything fits, or nothing is loaded and one line says why.

Only what VideoMAE itself drops may be left over: fine-tuning an encoder leaves the decoder and the encoder's
last LayerNorm behind and starts a new ``fc_norm`` and ``head``. (VideoMAE's own loader prints what doesn't
fit and goes on.)
"""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from vsr.errors import InputError
from vsr.models.vit import SIZES, Classifier

_NEW = ("fc_norm.", "head.")
_PREFIX = "model."  # the attribute under which every LightningModule here keeps its network


@dataclass(frozen=True)
class _Weights:
    """The weights of a checkpoint, by the names of :class:`Classifier`, ``encoder.`` taken off."""

    path: Path
    kind: Literal["pre-training", "classifier"]
    tensors: dict[str, Tensor]


def load_encoder(model: Classifier, path: str | Path) -> None:
    """Start ``model`` from a pre-training checkpoint, or from a classifier's without its head.

    ``fc_norm`` and ``head`` keep their initial values. The number of frames and the frame size may differ
    from the checkpoint's: positions are computed, not learned.

    Args:
        model: changed in place, only if everything fits.
        path: a checkpoint of ``vsr fit``.

    Raises:
        InputError: no such file, unreadable, not such a checkpoint, or of another size or patch.
    """
    weights = _read(Path(path))
    encoder = {name: tensor for name, tensor in weights.tensors.items() if not name.startswith(_NEW)}
    _load(model, weights, encoder, new=_NEW)


def load_classifier(model: Classifier, path: str | Path) -> None:
    """Load a whole classifier, head included.

    Args:
        model: changed in place, only if everything fits.
        path: a checkpoint of ``vsr fit`` of a classifier.

    Raises:
        InputError: no such file, unreadable, not a classifier, or of another size, patch or number of
            classes.
    """
    weights = _read(Path(path))
    if weights.kind == "pre-training":
        raise InputError(
            f"{path} has no classification head: this is a pre-training checkpoint, fine-tune it first with "
            f"vsr fit … --model.init_args.checkpoint {path}"
        )
    _load(model, weights, weights.tensors, new=())


def _read(path: Path) -> _Weights:
    if not path.is_file():
        raise InputError(f"checkpoint {path}: no such file; check the path")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) or "GLOBAL" in str(error):
            raise InputError(
                f"checkpoint {path} holds Python objects besides weights, so it isn't opened: use one that "
                "vsr fit wrote"
            ) from error
        raise InputError(_unreadable(path)) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:  # damaged, in torch.load's words
        raise InputError(_unreadable(path)) from error
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict):
        raise InputError(f"checkpoint {path} has no state_dict: use a checkpoint that vsr fit wrote")
    names = {name.removeprefix(_PREFIX): tensor for name, tensor in state.items() if name.startswith(_PREFIX)}
    if "encoder.patch_embed.proj.weight" in names and len(names) == len(state):
        # The encoder's norm and what lies outside the encoder have no place in a classifier.
        inside = {name.removeprefix("encoder."): t for name, t in names.items() if name.startswith("encoder.")}
        kept = {name: tensor for name, tensor in inside.items() if not name.startswith("norm.")}
        left = [name for name in names if not name.startswith("encoder.")]
        if all(n == "mask_token" or n.startswith(("decoder.", "encoder_to_decoder.")) for n in left):
            return _Weights(path, "pre-training", kept)
    if {"patch_embed.proj.weight", "head.weight"} <= names.keys() and len(names) == len(state):
        return _Weights(path, "classifier", names)
    raise InputError(
        f"checkpoint {path} is neither a pre-training nor a classifier checkpoint: use one that vsr fit wrote"
    )


def _unreadable(path: Path) -> str:
    return f"checkpoint {path} can't be read, it is damaged or cut short: use another, or copy it again"


def _load(model: Classifier, weights: _Weights, tensors: dict[str, Tensor], new: tuple[str, ...]) -> None:
    expected = {name: tensor for name, tensor in model.state_dict().items() if not (new and name.startswith(new))}
    _must_agree(weights.path, tensors, expected)
    result = model.load_state_dict(tensors, strict=False)
    assert not result.unexpected_keys
    assert all(name.startswith(new) for name in result.missing_keys) if new else not result.missing_keys


def _must_agree(path: Path, given: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Names and shapes are equal, or the most telling difference is said."""
    if (theirs := _extent(given)) != (ours := _extent(expected)):
        size = next((name for name, s in SIZES.items() if (s.width, s.depth) == theirs), None)
        remedy = f"--model.init_args.size {size}" if size else "a checkpoint of this size"
        raise InputError(
            f"checkpoint {path} is width {theirs[0]}, depth {theirs[1]}; model is width {ours[0]}, depth "
            f"{ours[1]}: give {remedy}"
        )
    if (theirs := _patch(given)) != (ours := _patch(expected)):
        raise InputError(
            f"checkpoint {path} has tubes of {theirs[0]} frames x {theirs[1]} px, the model of {ours[0]} "
            f"frames x {ours[1]} px: give --model.init_args.tubelet_size {theirs[0]} "
            f"--model.init_args.patch_size {theirs[1]}"
        )
    if "head.weight" in expected and (known := _classes(given)) != (wanted := _classes(expected)):
        raise InputError(
            f"checkpoint {path} knows {known} classes, the model {wanted}: give the data set it was "
            f"fine-tuned on, or --model.init_args.num_classes {known}"
        )
    wrong = {
        "lacks": sorted(expected.keys() - given.keys()),
        "has a strange": sorted(given.keys() - expected.keys()),
        "has another shape of": sorted(
            n for n in expected.keys() & given.keys() if expected[n].shape != given[n].shape
        ),
    }
    for verb, names in wrong.items():
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise InputError(f"checkpoint {path} {verb} {names[0]}{more}: nothing was loaded, use another checkpoint")


def _extent(state: dict[str, Tensor]) -> tuple[int, int]:
    """Width and depth."""
    depth = len({name.split(".")[1] for name in state if name.startswith("blocks.")})
    return state["patch_embed.proj.weight"].shape[0], depth


def _patch(state: dict[str, Tensor]) -> tuple[int, int]:
    """Frames and px of a tube."""
    shape = state["patch_embed.proj.weight"].shape
    return shape[2], shape[3]


def _classes(state: dict[str, Tensor]) -> int:
    return state["head.weight"].shape[0]
