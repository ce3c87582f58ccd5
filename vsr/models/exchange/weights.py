"""What every format is read into: tensors by one set of names, and what they say about their network."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vsr.errors import InputError
from vsr.models.masking import Grid, token_grid
from vsr.models.vit import SIZES, Classifier, Encoder, MaskedAutoencoder, Size

Format = Literal["vsr", "videomae", "hf"]
Kind = Literal["pre-training", "encoder", "classifier", "linear probe", "attentive probe"]

IMAGE_SIZE, NUM_FRAMES = 224, 16
"""VideoMAE's, for weights that don't say: positions are computed, so tensors don't tell (px, frames)."""


@dataclass(frozen=True)
class About:
    """What tensors can't tell; it travels with them through every format, None where unknown.

    Attributes:
        image_size: height and width of a frame, px.
        num_frames: frames in a clip.
        classes: names of a classifier's classes, in the order of its outputs.
        licence: of the weights, as their source states it.
        provenance: what a run of vsr wrote into its checkpoint.
        converted_from: name and format of the file that was converted.
        step: optimiser steps of the run that made them.
    """

    image_size: int | None = None
    num_frames: int | None = None
    classes: list[str] | None = None
    licence: str | None = None
    provenance: dict[str, Any] | None = None
    converted_from: str | None = None
    step: int | None = None

    @classmethod
    def of(cls, given: object) -> "About":
        """What is usable of ``given``, a mapping that was read from a file."""
        types = {"image_size": int, "num_frames": int, "classes": list, "provenance": dict, "step": int}
        plain = given if isinstance(given, Mapping) else {}
        names = [field.name for field in fields(cls)]
        usable: dict[str, Any] = {
            name: plain[name] for name in names if isinstance(plain.get(name), types.get(name, str))
        }
        return cls(**usable)


@dataclass(frozen=True)
class Weights:
    """The weights of one network.

    Attributes:
        path: the file or folder they were read from.
        format: of that file or folder.
        tensors: by the names of :class:`~vsr.models.vit.MaskedAutoencoder`; a classifier's patch embedding and
            blocks stand under ``encoder.`` too.
        about: what tensors can't tell.
    """

    path: Path
    format: Format
    tensors: dict[str, Tensor]
    about: About

    @property
    def kind(self) -> Kind:
        """Which network: with a decoder, with a head of one kind or another, or with none."""
        if "mask_token" in self.tensors:
            return "pre-training"
        if "heads.0.weight" in self.tensors:
            return "linear probe"
        if "pool.latent" in self.tensors:
            return "attentive probe"
        return "classifier" if "head.weight" in self.tensors else "encoder"

    @property
    def extent(self) -> tuple[int, int]:
        """Width and depth of the encoder."""
        return self._patch_kernel[0], self._blocks("encoder")

    @property
    def tube(self) -> tuple[int, int]:
        """Frames and px of a tube."""
        return self._patch_kernel[2], self._patch_kernel[3]

    @property
    def num_classes(self) -> int:
        """K of a network with a head."""
        return self.tensors["heads.0.weight" if self.kind == "linear probe" else "head.weight"].shape[0]

    @property
    def dtype(self) -> torch.dtype:
        """Type of the numbers."""
        return self.tensors["encoder.patch_embed.proj.weight"].dtype

    @property
    def has_norm(self) -> bool:
        """Whether the encoder ends with its LayerNorm; a classifier's doesn't."""
        return "encoder.norm.weight" in self.tensors

    @property
    def image_size(self) -> int:
        """Height and width of a frame, px; VideoMAE's where nothing says another."""
        return self.about.image_size or IMAGE_SIZE

    @property
    def num_frames(self) -> int:
        """Frames in a clip; VideoMAE's where nothing says another."""
        return self.about.num_frames or NUM_FRAMES

    @property
    def grid(self) -> Grid:
        """Tokens of a clip."""
        return token_grid(self.num_frames, self.image_size, self.tube[1], self.tube[0])

    @property
    def size_name(self) -> str:
        """Which of the sizes it is.

        Raises:
            InputError: none of them.
        """
        return self._named_size[0]

    @property
    def size(self) -> Size:
        """The network's size, with the depth that its decoder has.

        Raises:
            InputError: none of the sizes.
        """
        size = self._named_size[1]
        return replace(size, decoder_depth=self._blocks("decoder")) if self.kind == "pre-training" else size

    @property
    def own_names(self) -> dict[str, Tensor]:
        """The tensors by the names of their own network, which are also those of VideoMAE's files."""
        if self.kind != "classifier":
            return self.tensors
        return {name.removeprefix("encoder."): tensor for name, tensor in self.tensors.items()}

    def network(self) -> nn.Module:
        """The network these weights are of, newly initialised; an encoder alone under ``encoder``.

        Raises:
            InputError: none of the sizes, or tubes don't fill the clip.
        """
        tubelet_size, patch_size = self.tube
        clip = (self.image_size, self.num_frames, patch_size, tubelet_size)
        if self.kind == "pre-training":
            return MaskedAutoencoder(self.size, *clip)
        if self.kind == "classifier":
            return Classifier(self.size, self.num_classes, *clip)
        encoder = Encoder(self.size, *clip)
        if not self.has_norm:
            encoder.register_module("norm", nn.Identity())
        return nn.ModuleDict({"encoder": encoder})

    def must_be_whole(self) -> None:
        """Every tensor of the network is there, in its shape, and no other.

        Raises:
            InputError: one is not, or the network is none that vsr has.
        """
        if self.about.classes and self.kind == "classifier" and len(self.about.classes) != self.num_classes:
            raise InputError(
                f"checkpoint {self.path} names {len(self.about.classes)} classes but tells {self.num_classes} apart: "
                "correct its names"
            )
        with torch.device("meta"):
            self.must_agree(self.own_names, self.network().state_dict())

    def must_agree(self, given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
        """Names and shapes of ``given`` are those of ``expected``.

        Raises:
            InputError: the first name that is missing, strange, or of another shape.
        """
        shared = expected.keys() & given.keys()
        wrong = {
            "lacks": expected.keys() - given.keys(),
            "has a strange": given.keys() - expected.keys(),
            "has another shape of": {name for name in shared if expected[name].shape != given[name].shape},
        }
        for verb, names in wrong.items():
            if names:
                more = f" and {len(names) - 1} more" if len(names) > 1 else ""
                raise InputError(
                    f"checkpoint {self.path} {verb} {min(names)}{more}: nothing was loaded, use another checkpoint"
                )

    @property
    def _patch_kernel(self) -> torch.Size:
        return self.tensors["encoder.patch_embed.proj.weight"].shape

    def _blocks(self, room: str) -> int:
        return len({name.split(".")[2] for name in self.tensors if name.startswith(f"{room}.blocks.")})

    @property
    def _named_size(self) -> tuple[str, Size]:
        for name, size in SIZES.items():
            if (size.width, size.depth) == self.extent:
                return name, size
        known = ", ".join(f"{name} {size.width} x {size.depth}" for name, size in SIZES.items())
        width, depth = self.extent
        raise InputError(
            f"checkpoint {self.path} is width {width}, depth {depth}, none of vsr's sizes: use one of {known}"
        )
