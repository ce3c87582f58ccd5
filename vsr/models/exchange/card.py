"""The model card: what weights are, where they come from, how to load them, what was verified."""

import json
import platform
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from vsr.models.exchange.huggingface import CLASSES
from vsr.models.exchange.verify import Difference
from vsr.models.exchange.weights import Format, Weights

_WHAT = {
    "pre-training": "A VideoMAE with its decoder, pre-trained and not fine-tuned",
    "encoder": "The encoder of a VideoMAE, pre-trained and not fine-tuned",
    "classifier": "A VideoMAE fine-tuned to name one of {classes} actions",
}


def model_card(weights: Weights, path: Path, format: Format, difference: Difference | None) -> str:
    """Markdown with a head for Hugging Face.

    Args:
        weights: what was written.
        path: where to.
        format: as what.
        difference: from the source, if it was measured.
    """
    about, (tubelet_size, patch_size) = weights.about, weights.tube
    head: dict[str, Any] = {"tags": ["videomae", "video"]}
    if format == "hf":
        head["library_name"] = "transformers"
    if weights.kind == "classifier":
        head["pipeline_tag"] = "video-classification"
    if about.licence:
        head["license"] = about.licence
    what = _WHAT[weights.kind].format(classes=weights.num_classes if weights.kind == "classifier" else "")
    count = sum(tensor.numel() for tensor in weights.tensors.values())
    decoder = f", decoder of {weights.size.decoder_depth} blocks" if weights.kind == "pre-training" else ""
    return f"""---
{yaml.safe_dump(head, sort_keys=False).strip()}
---

# {path.name}

{what}: size {weights.size_name} (width {weights.size.width}, {weights.size.depth} blocks{decoder}), {count:,} parameters,
{str(weights.dtype).removeprefix("torch.")}. Clips of {weights.num_frames} frames of {weights.image_size} x {weights.image_size} px, tubes of {tubelet_size} frames x {patch_size} x {patch_size} px, RGB in 0..1
with ImageNet's mean and standard deviation taken out.

## Load

{_loading(weights, path, format)}

## Origin

Converted from {about.converted_from} by vsr {version("vsr")}.
Licence of the weights: {about.licence or "not stated in the source (those that VideoMAE's authors publish are CC BY-NC 4.0)"}.
{_origin(about.provenance)}

## Verified

{_verified(difference)}
"""  # noqa: E501


def _loading(weights: Weights, path: Path, format: Format) -> str:
    if format == "hf":
        name = CLASSES[weights.kind]
        eps = {"pre-training": "decoder.norm", "classifier": "fc_norm"}.get(weights.kind)
        lines = [f"from transformers import {name}", f'model = {name}.from_pretrained("{path.name}")']
        lines += [f"model.{eps}.eps = 1e-6  # VideoMAE's; transformers has 1e-5 there"] if eps else []
        body = "" if weights.kind == "encoder" else "videomae."
        lines += [f"assert model.{body}encoder.layer[0].attention.attention.query.bias.any()  # transformers 5"]
        note = (
            "Videos are (B, T, C, H, W). Some releases of transformers 5 read VideoMAE's q and v biases as zeros "
            "(its #48675);\nthe last line finds them out."
        )
        return "\n".join(["```python", *lines, "```", "", note])
    if format == "videomae":
        return f'```python\nimport torch\nweights = torch.load("{path.name}", weights_only=True)["model"]\n```'
    tubelet_size, patch_size = weights.tube
    shape = f"--model.size {weights.size_name} --model.patch_size {patch_size} --model.tubelet_size {tubelet_size}"
    verb = "test" if weights.kind == "classifier" else "fit"
    return (
        f"```sh\nvsr {verb} --config configs/finetune/ucf101.yaml … --model.checkpoint {path.name} {shape}\n```\n\n"
        "Training can't be resumed from it: it has no optimiser state."
    )


def _origin(provenance: dict[str, Any] | None) -> str:
    if provenance is None:
        return "The source doesn't say what it was trained on."
    natural = [f"natural {what}: {provenance.get(f'natural_{what}', 'not stated')}" for what in ("videos", "images")]
    recipe = json.dumps(provenance, indent=2, default=str)
    return f"In the last stage of training, {'; '.join(natural)}. All that the run recorded:\n\n```json\n{recipe}\n```"


def _verified(difference: Difference | None) -> str:
    if difference is None:
        return "Tensors are equal to the source's; outputs were not compared."
    return (
        "Tensors are equal to the source's. Largest difference between the outputs of source and result on a fixed "
        f"clip,\nrelative to the largest output where that is above 1: {difference}.\nMeasured on {date.today()}, "
        f"{platform.system()} {platform.machine()}, CPU, float32, torch {version('torch')}."
    )
