"""Weights from one format to another: read, written, read again and compared, and only then put in their place."""

from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from torch import Tensor

from vsr.errors import InputError
from vsr.models.exchange.card import model_card
from vsr.models.exchange.huggingface import CARD, write_folder
from vsr.models.exchange.read import read_weights
from vsr.models.exchange.verify import Difference, compare, transformers
from vsr.models.exchange.weights import Format, Weights


class Converted(NamedTuple):
    """What was done.

    Attributes:
        source: the weights that were read, clip size filled in.
        card: the model card that was written.
        difference: between the outputs of source and result; None if it wasn't to be measured.
    """

    source: Weights
    card: Path
    difference: Difference | None


def convert(
    src: str | Path,
    dst: str | Path,
    to: Format,
    verify: bool = True,
    image_size: int | None = None,
    num_frames: int | None = None,
    allow_zero_biases: bool = False,
) -> Converted:
    """Write weights in another format, with a model card: in the folder, or as DST.md beside the file.

    Tensors keep their bits and types. A file of format ``vsr`` is what ``checkpoint:`` takes, and for a classifier
    ``--ckpt_path`` of ``vsr test``; training can't be resumed from it.

    Args:
        src: weights in any format.
        dst: a file, for ``hf`` a folder; there when all is well, or not at all.
        to: the format.
        verify: also run a fixed clip through source and result (transformers runs folders of its own).
        image_size: height and width of a frame, px; None: what the source says, else 224.
        num_frames: frames in a clip; None: what the source says, else 16.
        allow_zero_biases: as for :func:`~vsr.models.exchange.read.read_weights`.

    Raises:
        InputError: the source can't be used, ``dst`` exists or can't be written, or the outputs differ.
    """
    dst = Path(dst)
    card = dst / CARD if to == "hf" else dst.with_name(f"{dst.name}.md")
    for path in (dst, card):
        if path.exists():
            raise InputError(f"{path} exists: remove it first, or name another")
    source = read_weights(src, allow_zero_biases)
    if source.kind.endswith("probe"):
        raise InputError(
            f"checkpoint {src} is of a {source.kind}, a network that only vsr has: convert the one that it probes"
        )
    frames = source.num_frames if num_frames is None else num_frames
    px = source.image_size if image_size is None else image_size
    for name, value in {"num_frames": frames, "image_size": px}.items():
        if value < 1:
            raise InputError(f"{name} {value} is not positive: give 1 or more")
    source = replace(source, about=replace(source.about, image_size=px, num_frames=frames))
    source.must_be_whole()
    if verify and "hf" in (source.format, to):
        transformers()  # refuse before writing gigabytes
    origin = f"{source.path.resolve().name} ({source.format})"
    origin += f", that from {source.about.converted_from}" if source.about.converted_from else ""
    weights = replace(source, about=replace(source.about, converted_from=origin))
    try:
        dst.parent.mkdir(parents=True, exist_ok=True)
        beside = TemporaryDirectory(dir=dst.parent, prefix=f".{dst.name}-")
    except OSError as error:
        raise InputError(f"can't write {dst} ({error.strerror}): give a place that can be written") from error
    with beside as folder:
        made = Path(folder) / dst.name
        _write(weights, made, dst, to)
        written = read_weights(made, allow_zero_biases=True)
        _must_be_equal(source, written)
        difference = compare(source, written) if verify else None
        text = model_card(weights, dst, to, difference)
        made_card = made / CARD if to == "hf" else made.with_name(card.name)
        made_card.write_text(text, encoding="utf-8")
        if to != "hf":
            made_card.rename(card)
        made.rename(dst)
    return Converted(source, card, difference)


def _write(weights: Weights, made: Path, dst: Path, to: Format) -> None:
    try:
        if to == "hf":
            write_folder(weights, made)
        else:
            torch.save(_lightning(weights) if to == "vsr" else _official(weights), made)
    except (OSError, RuntimeError, SafetensorError) as error:  # a full disk has all these names
        raise InputError(f"can't write {dst} ({error}): give a place with room for it") from error


def _lightning(weights: Weights) -> dict[str, Any]:
    """As Lightning saves a module of ours, without what training needs."""
    about, (tubelet_size, patch_size) = weights.about, weights.tube
    settings: dict[str, Any] = {"size": weights.size_name, "patch_size": patch_size, "tubelet_size": tubelet_size}
    settings |= {"image_size": weights.image_size, "num_frames": weights.num_frames}
    if weights.kind == "pre-training":
        settings |= {"_class_path": "vsr.modules.VideoMAE", "decoder_depth": weights.size.decoder_depth}
    if weights.kind == "classifier":
        settings |= {"_class_path": "vsr.modules.ActionClassifier", "num_classes": weights.num_classes}
    return {
        "state_dict": {f"model.{name}": tensor for name, tensor in weights.own_names.items()},
        "hyper_parameters": settings,
        "pytorch-lightning_version": version("lightning"),
        "provenance": about.provenance,
        "classes": about.classes,
        "licence": about.licence,
        "converted_from": about.converted_from,
        "step": about.step,
    }


def _official(weights: Weights) -> dict[str, Any]:
    """As VideoMAE's loader wants it, and what it passes over."""
    return {"model": weights.own_names, "vsr": asdict(weights.about)}


def _must_be_equal(source: Weights, written: Weights) -> None:
    """Every tensor came back, bit by bit, and no other."""
    same = source.tensors.keys() == written.tensors.keys()
    if not same or any(not _equal(t, written.tensors[name]) for name, t in source.tensors.items()):
        raise InputError(f"{source.path} didn't come back as it was from the file written: please report it")


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.dtype == b.dtype and torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))
