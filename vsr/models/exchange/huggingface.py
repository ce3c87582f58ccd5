"""Folders of Hugging Face transformers, read and written without it: names, ``config.json``, ``model.safetensors``.

Convention: transformers keeps query, key and value apart, takes videos as (B, T, C, H, W), and its ``decoder.norm``
and ``fc_norm`` have eps 1e-5 whatever the config says. Written are the names that ``save_pretrained`` writes and
published folders have (``q_bias``, ``v_bias``); ``query.bias`` and ``value.bias`` are read too. Keys have no bias.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from vsr.errors import InputError
from vsr.models.exchange.weights import About, Weights
from vsr.models.vit import CHANNELS, IMAGENET_MEAN, IMAGENET_STD

CONFIG, TENSORS, CARD = "config.json", "model.safetensors", "README.md"
CLASSES = {
    "pre-training": "VideoMAEForPreTraining",
    "encoder": "VideoMAEModel",
    "classifier": "VideoMAEForVideoClassification",
}
"""The class of transformers for each kind of weights."""

_BODY = "videomae."  # what stands before the encoder's names where there is more than an encoder
_NAMES = (  # (theirs, ours), to be replaced in this order; ^ is the start of a name
    ("^embeddings.patch_embeddings.projection.", "^encoder.patch_embed.proj."),
    ("^encoder.layer.", "^encoder.blocks."),
    ("^layernorm.", "^encoder.norm."),
    ("^decoder.decoder_layers.", "^decoder.blocks."),
    ("^classifier.", "^head."),
    (".layernorm_before.", ".norm1."),
    (".layernorm_after.", ".norm2."),
    (".attention.output.dense.", ".attn.proj."),
    (".attention.attention.", ".attn."),
    (".intermediate.dense.", ".mlp.fc1."),
    (".output.dense.", ".mlp.fc2."),
)
_LATER_NAMES = ((".attn.query.bias", ".attn.q_bias"), (".attn.value.bias", ".attn.v_bias"))
_QKV = ("query", "key", "value")
_DEFAULTS = {  # of transformers, for what a config.json leaves out
    "model_type": None,
    "hidden_act": "gelu",
    "num_channels": 3,
    "num_attention_heads": 12,
    "decoder_num_attention_heads": 6,
    "norm_pix_loss": True,
    "use_mean_pooling": True,
}


def our_names(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a folder by the names of :class:`Weights`; unknown names stay as they are."""
    ours = {_renamed(name.removeprefix(_BODY), (*_NAMES, *_LATER_NAMES)): tensor for name, tensor in theirs.items()}
    for stem in [name.removesuffix("key.weight") for name in ours if name.endswith(".attn.key.weight")]:
        if (bias := ours.get(f"{stem}key.bias")) is not None and not bias.any():
            del ours[f"{stem}key.bias"]
        if all(f"{stem}{part}.weight" in ours for part in _QKV):
            ours[f"{stem}qkv.weight"] = torch.cat([ours.pop(f"{stem}{part}.weight") for part in _QKV])
    return ours


def their_names(weights: Weights) -> dict[str, Tensor]:
    """Tensors by the names of transformers, none sharing memory with another."""
    names = tuple((ours, theirs) for theirs, ours in _NAMES)
    body = "" if weights.kind == "encoder" else _BODY
    theirs = {}
    for name, tensor in weights.tensors.items():
        their_name = (body if name.startswith("encoder.") else "") + _renamed(name, names)
        if name.endswith(".attn.qkv.weight"):
            for part, rows in zip(_QKV, tensor.chunk(3), strict=True):
                theirs[their_name.replace("qkv", part)] = rows.clone()
        else:
            theirs[their_name] = tensor.contiguous()
    return theirs


def _renamed(name: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for old, new in pairs:
        name = f"^{name}".replace(old, new).removeprefix("^")
    return name


def read_about(folder: Path, config: Mapping[str, Any], metadata: Mapping[str, str]) -> About:
    """What a folder says besides its tensors.

    Args:
        folder: its ``README.md`` may state a licence.
        config: its ``config.json``.
        metadata: of its ``model.safetensors``.

    Raises:
        InputError: frames aren't square, or what it says of frames and classes isn't of that kind.
    """
    size = config.get("image_size", 224)
    if isinstance(size, list):
        if len({str(side) for side in size}) != 1:
            raise InputError(f"{folder / CONFIG}: image_size {size} isn't square, as vsr's frames are: use another")
        size = size[0]
    frames = config.get("num_frames", 16)
    for key, value in {"image_size": size, "num_frames": frames}.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise InputError(f"{folder / CONFIG}: {key} {value!r:.60} is not a number of 1 or more: use another")
    labels = config.get("id2label") or {}
    if not isinstance(labels, dict):
        raise InputError(f"{folder / CONFIG}: id2label {labels!r:.60} doesn't name classes by numbers: use another")
    names = [str(labels.get(str(label))) for label in range(len(labels))]
    if names == [f"LABEL_{label}" for label in range(len(names))]:
        names = []  # transformers' own say nothing
    try:
        about = About.of(json.loads(metadata.get("vsr", "{}")))
    except (json.JSONDecodeError, RecursionError):
        about = About()
    return replace(
        about,
        image_size=size,
        num_frames=frames,
        classes=names or None,
        licence=_licence(folder / CARD) or about.licence,
    )


def _licence(card: Path) -> str | None:
    """What the head of a model card states."""
    if not card.is_file():
        return None
    parts = card.read_text(encoding="utf-8", errors="replace").split("---\n", 2)
    try:
        head = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0] else None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):  # ValueError, TypeError: of 2020-13-41 and such
        return None
    licence = head.get("license") if isinstance(head, dict) else None
    return licence if isinstance(licence, str) else None


def must_mean_the_same(weights: Weights, config: Mapping[str, Any]) -> None:
    """The tensors of a folder compute in our network what its ``config.json`` says.

    LayerNorm's eps may differ (published folders have 1e-12, transformers' own defaults 1e-5).

    Raises:
        InputError: they would compute something else.
    """
    size = weights.size
    wanted = {"model_type": "videomae", "hidden_act": "gelu", "num_channels": CHANNELS}
    wanted["num_attention_heads"] = size.heads
    if weights.kind == "pre-training":
        wanted |= {"decoder_num_attention_heads": size.decoder_heads, "norm_pix_loss": True}
    if weights.kind == "classifier":
        wanted["use_mean_pooling"] = True
    for key, value in wanted.items():
        if (given := config.get(key, _DEFAULTS[key])) != value:
            raise InputError(
                f"{weights.path / CONFIG} has {key} {json.dumps(given)}, vsr's {weights.size_name} {weights.kind} "
                f"network {json.dumps(value)}, with which these weights compute something else: use another checkpoint"
            )


def write_folder(weights: Weights, folder: Path) -> None:
    """Make a folder for ``from_pretrained``, all but its card."""
    folder.mkdir()
    about = json.dumps(asdict(weights.about), default=str)
    save_file(their_names(weights), folder / TENSORS, metadata={"format": "pt", "vsr": about})
    (folder / TENSORS).chmod(0o644)  # safetensors makes it its owner's alone
    _write_json(folder / CONFIG, _config(weights))
    _write_json(folder / "preprocessor_config.json", _preprocessing(weights.image_size))


def _config(weights: Weights) -> dict[str, Any]:
    size, (tubelet_size, patch_size) = weights.size, weights.tube
    config: dict[str, Any] = {
        "architectures": [CLASSES[weights.kind]],
        "model_type": "videomae",
        "dtype": str(weights.dtype).removeprefix("torch."),
        "image_size": weights.image_size,
        "patch_size": patch_size,
        "num_channels": CHANNELS,
        "num_frames": weights.num_frames,
        "tubelet_size": tubelet_size,
        "hidden_size": size.width,
        "num_hidden_layers": size.depth,
        "num_attention_heads": size.heads,
        "intermediate_size": 4 * size.width,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": 1e-6,
        "qkv_bias": True,
        "use_mean_pooling": not weights.has_norm,
        "decoder_hidden_size": size.decoder_width,
        "decoder_num_hidden_layers": size.decoder_depth,
        "decoder_num_attention_heads": size.decoder_heads,
        "decoder_intermediate_size": 4 * size.decoder_width,
        "norm_pix_loss": True,
    }
    if weights.kind == "classifier":
        names = weights.about.classes or [f"LABEL_{label}" for label in range(weights.num_classes)]
        config["id2label"] = {str(label): name for label, name in enumerate(names)}
        config["label2id"] = {name: label for label, name in enumerate(names)}
    return config


def _preprocessing(image_size: int) -> dict[str, Any]:
    return {
        "image_processor_type": "VideoMAEImageProcessor",
        "video_processor_type": "VideoMAEVideoProcessor",
        "do_resize": True,
        "size": {"shortest_edge": image_size},
        "resample": 2,  # bilinear
        "do_center_crop": True,
        "crop_size": {"height": image_size, "width": image_size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": IMAGENET_MEAN,
        "image_std": IMAGENET_STD,
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
