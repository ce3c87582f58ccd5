"""Two sets of weights, each in the network that its format is for, on the same clip."""

import importlib
import math
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vsr.errors import InputError
from vsr.models.exchange.huggingface import CLASSES
from vsr.models.exchange.weights import Weights
from vsr.models.masking import tube_mask
from vsr.models.vit import CHANNELS, IMAGENET_MEAN, IMAGENET_STD

LIMIT = 1e-4
_MASK_RATIO = 0.75


class Difference(NamedTuple):
    """The largest difference between two outputs, as a share of the largest output where that is above 1.

    Attributes:
        aligned: with every LayerNorm's eps at VideoMAE's 1e-6.
        as_loaded: with the eps that ``from_pretrained`` sets; None where transformers took no part.
    """

    aligned: float
    as_loaded: float | None

    def __str__(self) -> str:
        """One line for people."""
        text = f"{self.aligned:.2g} (limit {LIMIT:g})"
        return text if self.as_loaded is None else f"{text}; {self.as_loaded:.2g} with transformers' own LayerNorm eps"


def compare(first: Weights, second: Weights) -> Difference:
    """Run a fixed clip (and for a decoder a fixed mask) through both in float32; outputs must agree.

    Weights of format ``hf`` are run by transformers from their folder, others by our networks.

    Raises:
        InputError: outputs differ by more than :data:`LIMIT`, or transformers is needed and missing or too old.
    """
    (aligned, loaded), (other_aligned, other_loaded) = _outputs(first), _outputs(second)
    theirs = "hf" in (first.format, second.format)
    difference = Difference(_difference(aligned, other_aligned), _difference(loaded, other_loaded) if theirs else None)
    if not difference.aligned <= LIMIT:  # nor is nan
        raise InputError(
            f"{first.path} and what was written from it compute other things from a fixed clip, the difference is "
            f"{difference}: nothing was kept, try another release of transformers or report it"
        )
    return difference


def transformers() -> ModuleType:
    """Hugging Face's library, silent.

    Raises:
        InputError: it isn't installed.
    """
    try:
        library = importlib.import_module("transformers")
    except ImportError as error:
        raise InputError(
            "verifying a Hugging Face folder runs transformers, which isn't installed: pip install 'transformers>=5', "
            "or give --verify false"
        ) from error
    library.logging.set_verbosity_error()
    library.logging.disable_progress_bar()
    return library


def _difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max().clamp_min(1))


def _outputs(weights: Weights) -> tuple[Tensor, Tensor]:
    """What the network computes with eps at 1e-6, and with its own."""
    shape = (1, CHANNELS, weights.num_frames, weights.image_size, weights.image_size)
    video = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    keep, masked = tube_mask(0, torch.tensor([0]), 0, weights.grid, _MASK_RATIO)
    with torch.inference_mode():
        return _theirs(weights, video, masked) if weights.format == "hf" else _ours(weights, video, keep, masked)


def _ours(weights: Weights, video: Tensor, keep: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
    network = weights.network().eval()
    network.load_state_dict(weights.own_names)
    if weights.kind == "pre-training":
        output = network(video, keep, masked)
    else:
        output = (network["encoder"] if isinstance(network, nn.ModuleDict) else network)(video)
    return output, output


def _theirs(weights: Weights, video: Tensor, masked: Tensor) -> tuple[Tensor, Tensor]:
    library = transformers()
    network, report = getattr(library, CLASSES[weights.kind]).from_pretrained(
        weights.path, local_files_only=True, output_loading_info=True
    )
    network.float().eval()
    if missing := sorted(report["missing_keys"]):
        raise InputError(
            f"transformers {library.__version__} finds no {missing[0]} in {weights.path} ({len(missing)} such): use a "
            "release that reads VideoMAE's q and v biases (4, or 5 with its change #48675)"
        )
    mean, std = (torch.tensor(values).view(1, 1, CHANNELS, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    given = {"pixel_values": (video.transpose(1, 2) / 255 - mean) / std}
    output = "last_hidden_state" if weights.kind == "encoder" else "logits"
    if weights.kind == "pre-training":
        tokens = math.prod(weights.grid)
        given["bool_masked_pos"] = torch.zeros(1, tokens, dtype=torch.bool).scatter(1, masked, True)
    loaded = network(**given)[output]
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6
    return network(**given)[output], loaded
