"""Files and folders into :class:`~vsr.models.exchange.weights.Weights`, whatever their names end in."""

import argparse
import json
import logging
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vsr.errors import InputError
from vsr.models.exchange import huggingface
from vsr.models.exchange.weights import About, Format, Weights

logger = logging.getLogger(__name__)

_NESTS = ("state_dict", "model", "module")  # where weights stand: Lightning, VideoMAE, DeepSpeed; else bare
_SHELLS = ("module.", "model.", "backbone.")  # what frameworks wrap all names in
_COMPILED = "_orig_mod."
_DEEPSPEED = "mp_rank_{:02}_model_states.pt"
_OUTSIDE = {  # what may stand beside encoder.*
    "pre-training": ("mask_token", "encoder_to_decoder.", "decoder."),
    "encoder": (),
    "classifier": ("fc_norm.", "head."),
    "linear probe": ("batch_norm.", "heads.", "chosen"),
    "attentive probe": ("pool.", "head."),
}


def read_weights(path: str | Path, allow_zero_biases: bool = False) -> Weights:
    """Read weights of any format; nothing in the file is run.

    Prefixes of ``torch.compile`` are taken off the names, with a warning in the log.

    Args:
        path: a checkpoint of ``vsr fit``, a file of VideoMAE's or its DeepSpeed folder, or a Hugging Face folder.
        allow_zero_biases: accept weights of others whose q and v biases are all zero. Those of a trained network
            aren't; releases of transformers 5 read them as zeros from published files and saved those
            (huggingface/transformers #48675).

    Raises:
        InputError: no such file, damaged, holds more than weights and plain values, or isn't a VideoMAE.
    """
    path = Path(path)
    if (path / _DEEPSPEED.format(0)).is_file():
        weights = _read_file(path, _only_part(path))
    elif path.is_dir():
        weights = _read_folder(path)
    else:
        weights = _read_file(path, path)
    biases = [t for name, t in weights.tensors.items() if name.endswith((".q_bias", ".v_bias"))]
    if weights.format != "vsr" and biases and not allow_zero_biases and not any(t.any() for t in biases):
        raise InputError(
            f"checkpoint {path}: all q and v biases are 0, as releases of transformers 5 write them by mistake: use "
            "the original, or if they are meant to be, vsr convert it with --allow_zero_biases"
        )
    return weights


def _only_part(folder: Path) -> Path:
    if (folder / _DEEPSPEED.format(1)).exists():
        raise InputError(f"checkpoint {folder} is split over several model-parallel ranks: save it from one")
    return folder / _DEEPSPEED.format(0)


def _read_folder(path: Path) -> Weights:
    files = [path / name for name in (huggingface.TENSORS, "pytorch_model.bin") if (path / name).is_file()]
    if not (path / huggingface.CONFIG).is_file() or not files:
        raise InputError(
            f"checkpoint {path} is a folder without {huggingface.CONFIG} and {huggingface.TENSORS} (Hugging Face) or "
            f"{_DEEPSPEED.format(0)} (DeepSpeed): give a file, or a folder that has them"
        )
    try:
        config = dict(json.loads((path / huggingface.CONFIG).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(_unreadable(path / huggingface.CONFIG)) from error
    metadata: dict[str, str] = {}
    if files[0].name == huggingface.TENSORS:
        try:
            with safe_open(files[0], "pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise InputError(_unreadable(files[0])) from error
    else:
        tensors = _load_file(files[0])
        if not _is_state(tensors):
            raise InputError(f"checkpoint {files[0]} holds no weights by themselves: use another checkpoint")
    weights = _weights(path, "hf", tensors, huggingface.read_about(path, config, metadata))
    huggingface.must_mean_the_same(weights, config)
    return weights


def _read_file(path: Path, file: Path) -> Weights:
    if not file.is_file():
        raise InputError(f"checkpoint {path}: no such file; check the path")
    content = _load_file(file)
    nests = [content.get(nest) for nest in _NESTS] + [content] if isinstance(content, Mapping) else []
    tensors = next((nest for nest in nests if _is_state(nest)), None)
    if tensors is None:
        raise InputError(
            f"checkpoint {path} holds no weights, neither by themselves nor under {', '.join(_NESTS)}: use a "
            "checkpoint of vsr fit or of VideoMAE"
        )
    format: Format = "vsr" if tensors is content.get("state_dict") else "videomae"
    return _weights(path, format, tensors, _about(content, format))


def _is_state(nest: object) -> bool:
    if not isinstance(nest, Mapping) or not nest:
        return False
    return all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in nest.items())


def _about(content: Mapping[str, Any], format: Format) -> About:
    if format == "vsr":
        settings = content.get("hyper_parameters")
        step = {"step": content["global_step"]} if "global_step" in content else {}
        return About.of({**content, **step, **(settings if isinstance(settings, Mapping) else {})})
    if "vsr" in content:
        return About.of(content["vsr"])
    args = content.get("args")
    settings = vars(args) if isinstance(args, argparse.Namespace) else {}
    return About.of({"image_size": settings.get("input_size"), "num_frames": settings.get("num_frames")})


def _load_file(path: Path) -> Any:
    """What ``torch.save`` wrote, its numbers left on the disk until they are used where that can be."""
    with path.open("rb") as file:
        if file.read(9)[8:] == b"{":
            raise InputError(f"checkpoint {path} is a safetensors file: give its folder, with the config.json")
    try:
        must_be_stored(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")  # about old pickles
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            raise InputError(
                f"checkpoint {path} holds {found[1]}, a Python object that could run code, so it isn't opened: save "
                "its weights alone, torch.save({'model': model.state_dict()}, …), where it was made"
            ) from error
        raise InputError(_unreadable(path)) from error
    except Exception as error:  # whatever torch, zipfile and pickle raise about a damaged file
        raise InputError(_unreadable(path)) from error


def must_be_stored(path: Path) -> None:
    """Refuse a zip file with compressed members: ``torch.save`` writes none, and a small one may fill the memory.

    Raises:
        ValueError: it has some, or is damaged.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            packed = any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist())
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path} is damaged") from error
    if packed:
        raise ValueError(f"{path} has compressed members")


def _unreadable(path: Path) -> str:
    return f"checkpoint {path} can't be read, it is damaged or cut short: use another, or copy it again"


def _weights(path: Path, format: Format, given: Mapping[str, Tensor], about: About) -> Weights:
    """Tensors under the names of :class:`Weights`.

    Raises:
        InputError: they aren't a VideoMAE's.
    """
    if larger := [name for name, t in given.items() if t.numel() * t.element_size() > t.untyped_storage().nbytes()]:
        raise InputError(f"checkpoint {path} has more numbers in {larger[0]} than it holds: use another")
    tensors = {name.replace(_COMPILED, ""): tensor for name, tensor in given.items()}
    if compiled := sum(_COMPILED in name for name in given):
        logger.warning("checkpoint %s: took %s (of torch.compile) off %d names", path, _COMPILED, compiled)
    for shell in _SHELLS:
        if all(name.startswith(shell) for name in tensors):
            tensors = {name.removeprefix(shell): tensor for name, tensor in tensors.items()}
    if format == "hf":
        tensors = huggingface.our_names(tensors)
    elif "patch_embed.proj.weight" in tensors:
        tensors = {n if n.startswith(_OUTSIDE["classifier"]) else f"encoder.{n}": t for n, t in tensors.items()}
    kernel = tensors.get("encoder.patch_embed.proj.weight")
    if kernel is None or kernel.ndim != 5:
        raise InputError(
            f"checkpoint {path} is neither a pre-training nor a classifier checkpoint of VideoMAE: use one of vsr fit, "
            "of VideoMAE or of transformers"
        )
    weights = Weights(path, format, tensors, about)
    if strange := [name for name in tensors if not name.startswith(("encoder.", *_OUTSIDE[weights.kind]))]:
        raise InputError(f"checkpoint {path} has a strange {min(strange)}: nothing was loaded, use another checkpoint")
    return weights
