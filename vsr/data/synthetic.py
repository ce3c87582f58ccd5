"""Synthetic videos, rendered on the device while it trains."""

from abc import ABC, abstractmethod
from dataclasses import asdict, replace
from typing import Any

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vsr import rng
from vsr.data import Batch
from vsr.data.ahead import Addresses, RenderAhead, WithNext
from vsr.data.batches import BatchPlan, TrainBatches, Visits
from vsr.data.resume import recount
from vsr.errors import InputError
from vsr.recipe import Recipe, recipe_names
from vsr.render import Antialias, drawn_on, render_clips
from vsr.textures.bank import TextureBank


class RecipeClips:
    """The clips of one recipe, and its textures, which are made when the first clip is drawn.

    Args:
        recipe: the dataset.
        seed: the data seed.
        num_frames: T of a clip.
        stride: video frames from one clip frame to the next.
        size: H = W of a clip, px.
        antialias: samples a pixel is the mean of, along each side.
        texture_cache: folder where made textures are kept for other runs, or None.

    Attributes:
        bank: the textures, or None until they are needed.

    Raises:
        InputError: a clip longer than the videos, textures that can't be had, a value out of range.
    """

    def __init__(
        self, recipe: Recipe, seed: int, num_frames: int, stride: int, size: int, antialias: Antialias,
        texture_cache: str | None,
    ) -> None:  # fmt: skip
        self.recipe, self.seed, self.num_frames, self.stride, self.size = recipe, seed, num_frames, stride, size
        self.antialias, self.texture_cache = antialias, texture_cache
        self.bank: TextureBank | None = None
        self([], 0, "cpu")  # refuses at once what can't be rendered

    def __call__(self, index: Tensor | list[int], epoch: Tensor | int, device: torch.device | str) -> Tensor:
        """The clips at some addresses: uint8 (B, C, T, H, W) on ``device``."""
        if self.recipe.textured and len(index):
            if self.bank is None:
                self.bank = TextureBank(self.recipe, self.seed, drawn_on(device), self.texture_cache)
            self.bank.show(torch.as_tensor(index, device="cpu"))
        return render_clips(
            self.recipe, self.seed, index, epoch, self.num_frames, self.stride, self.size, device=device,
            bank=self.bank, antialias=self.antialias,
        )  # fmt: skip

    def where(self, index: int, epoch: int) -> tuple[str, str]:
        """A clip's address in words, and the command that shows the clip."""
        recipe = self.recipe
        options: dict[str, Any] = {"seed": self.seed, "index": index, "epoch": epoch}
        options |= {"num_frames": self.num_frames, "stride": self.stride, "size": self.size}
        if recipe.textured:
            options["max_textures"] = recipe.texture_pool * max(recipe.texture_frames, 1)
            options["texture_size"] = recipe.texture_size
            options |= {"texture_frames": recipe.texture_frames} if recipe.texture_frames > 1 else {}
            options |= {"texture_folder": recipe.texture_folder} if "images" in recipe.sources else {}
        shown = recipe.name if recipe.name in recipe_names() else "CONFIG.yaml"
        said = " ".join(f"--{key} {value}" for key, value in options.items())
        return f"{recipe.name} index {index} epoch {epoch}", f"vsr render {shown} {said} --clip"

    def provenance(self) -> dict[str, Any]:
        """What the clips are made from, as plain values."""
        recipe = self.recipe
        origin: dict[str, Any] = {"recipe": asdict(recipe), "recipe_hash": recipe.hash, "antialias": self.antialias}
        natural = "none"
        if recipe.textured:
            counts = {s: len(range(k, recipe.texture_pool, len(recipe.sources))) for k, s in enumerate(recipe.sources)}
            planned: list[dict[str, Any]] = [{"source": source, "count": count} for source, count in counts.items()]
            origin["textures"] = planned if self.bank is None else self.bank.manifest()
            if "images" in counts:
                natural = f"whatever {recipe.texture_folder} holds: {counts['images']} of its images"
        return origin | {"natural_videos": "none", "natural_images": natural}


class RenderedVideos(LightningDataModule, ABC):
    """What data modules have in common whose clips are rendered when their addresses arrive.

    Args: as of :class:`SyntheticVideos`, and

        epoch_size: samples that count as an epoch.

    Attributes:
        steps_per_epoch: optimiser steps in an epoch, ``epoch_size // global_batch_size``.
        plan: how the global batch is cut.

    Raises:
        InputError: a batch larger than an epoch, a value out of range.
    """

    def __init__(
        self, num_frames: int, stride: int, size: int, global_batch_size: int, max_batch_per_device: int | None,
        seed: int, texture_cache: str | None, overlap: bool, epoch_size: int,
    ) -> None:  # fmt: skip
        super().__init__()
        for what, value in (("num_frames", num_frames), ("stride", stride), ("size", size), ("epoch_size", epoch_size)):
            if value < 1:
                raise InputError(f"{what} {value} is not positive: give 1 or more")
        rng.check_seed(seed)
        self.num_frames, self.stride, self.size = num_frames, stride, size
        self.global_batch_size, self.max_batch_per_device = global_batch_size, max_batch_per_device
        self.seed, self.texture_cache, self.overlap = seed, texture_cache, overlap
        self.steps_per_epoch = epoch_size // max(global_batch_size, 1)
        if self.steps_per_epoch == 0:
            raise InputError(
                f"global_batch_size {global_batch_size} is more than the {epoch_size} videos of an epoch: "
                f"use {epoch_size} or fewer"
            )
        self.plan = BatchPlan.of(
            global_batch_size, global_batch_size if max_batch_per_device is None else max_batch_per_device, 1
        )
        self._ahead: RenderAhead | None = None

    @property
    @abstractmethod
    def recipes(self) -> list[tuple[Recipe, float]]:
        """What is rendered: recipes, each with its share of the samples."""

    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """What the clips are made from, as plain values."""

    @abstractmethod
    def _draw(self, addresses: Addresses, device: torch.device) -> Tensor:
        """The clips at some addresses, uint8 (B, C, T, H, W) on ``device``."""

    @abstractmethod
    def train_dataloader(self) -> DataLoader[Any]:
        """Micro-batches of addresses, each with those of the next one."""

    @property
    def device(self) -> torch.device:
        """Where batches are wanted: the trainer's device."""
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    def setup(self, stage: str) -> None:
        """Cut the global batch for the devices at hand."""
        if self.trainer is None:
            return
        most = self.max_batch_per_device
        if most is None:
            most = 64 if self.device.type == "cuda" else 4
        self.plan = BatchPlan.of(self.global_batch_size, most, self.trainer.world_size)
        self.trainer.accumulate_grad_batches = self.plan.accumulation

    def _batches(self) -> WithNext:
        recount(self.trainer, self.plan.accumulation, self.steps_per_epoch)
        rank = self.trainer.global_rank if self.trainer else 0
        return WithNext(TrainBatches(self.plan, rank, self.steps_per_epoch, self._global_step))

    def _global_step(self) -> int:
        return self.trainer.global_step if self.trainer else 0

    def _arrive(self, now: Addresses, following: Addresses) -> Tensor:
        """The clips of ``now``, on CUDA drawn beside the step before."""
        device = self.device
        if not self.overlap or device.type != "cuda":
            return self._draw(now, device)
        if self._ahead is None:
            self._ahead = RenderAhead(lambda *addresses: self._draw(list(addresses), device), device)
        return self._ahead(now, following)


class Samples(Dataset[tuple[Addresses, Addresses]]):
    """The sample numbers of a batch and of the next one, to addresses."""

    def __init__(self, visits: Visits) -> None:
        self.visits = visits

    def __getitem__(self, numbers: tuple[list[int], list[int]]) -> tuple[Addresses, Addresses]:
        now, following = (self._addresses(some) for some in numbers)
        return now, following

    def _addresses(self, numbers: list[int]) -> Addresses:
        return list(torch.tensor([self.visits[n] for n in numbers], dtype=torch.int64).view(-1, 2).unbind(-1))


class SyntheticVideos(RenderedVideos):
    """Clips of one recipe. The loader carries addresses; ``on_after_batch_transfer`` renders them.

    Args:
        recipe: the dataset.
        num_frames: T of a clip (paper 9.2: 16).
        stride: video frames from one clip frame to the next (paper 9.2: 4).
        size: H = W of a clip, px (paper: 224).
        global_batch_size: clips per optimiser step, over all devices and accumulation steps (paper, table 5: 256).
        max_batch_per_device: clips that fit on a device at once; accumulation follows. None: 64 on CUDA, 4 elsewhere.
        seed: the data seed: with the recipe it decides every clip.
        texture_folder: folder of the images, for recipes that show images; others stay as they are. None: the recipe's.
        texture_cache: folder where made textures are kept for other runs. None: they are made anew.
        max_textures: use a smaller texture pool than the recipe's, for small machines. None: the recipe's.
        texture_size: use another texture side than the recipe's, texels. None: the recipe's.
        texture_frames: use at most so many frames of dynamic textures. None: the recipe's.
        antialias: samples a pixel is the mean of, along each side: 1 (paper), 2 or 4.
        overlap: on CUDA, draw the next batch in a side stream while this one trains; the clips are the same.

    Attributes:
        recipe: the dataset, with the textures that are used.
        name: the recipe's.
        render: the clips at some addresses: ``render(index, epoch, device)``.
        steps_per_epoch: optimiser steps in an epoch, ``recipe.epoch_size // global_batch_size``.

    Raises:
        InputError: a clip longer than the videos, a batch larger than an epoch, textures that can't be had, a value
            out of range.
    """

    def __init__(
        self,
        recipe: Recipe,
        num_frames: int = 16,
        stride: int = 4,
        size: int = 224,
        global_batch_size: int = 256,
        max_batch_per_device: int | None = None,
        seed: int = 0,
        texture_folder: str | None = None,
        texture_cache: str | None = None,
        max_textures: int | None = None,
        texture_size: int | None = None,
        texture_frames: int | None = None,
        antialias: Antialias = 1,
        overlap: bool = True,
    ) -> None:
        recipe = with_folder(recipe, texture_folder).with_textures(max_textures, texture_size, texture_frames)
        super().__init__(
            num_frames, stride, size, global_batch_size, max_batch_per_device, seed, texture_cache, overlap,
            recipe.epoch_size,
        )  # fmt: skip
        self.recipe, self.name = recipe, recipe.name
        self.render = RecipeClips(recipe, seed, num_frames, stride, size, antialias, texture_cache)

    @property
    def recipes(self) -> list[tuple[Recipe, float]]:
        """What is rendered: the one recipe, and it alone."""
        return [(self.recipe, 1.0)]

    def where(self, index: int, epoch: int, share: int = 0) -> tuple[str, str]:
        """A clip's address in words, and the command that shows the clip."""
        return self.render.where(index, epoch)

    def provenance(self) -> dict[str, Any]:
        """What the clips are made from, as plain values."""
        return self.render.provenance()

    def train_dataloader(self) -> DataLoader[Any]:
        """Micro-batches of addresses, each with the next one: two times ``[index (b,), epoch (b,)]``, int64."""
        samples = Samples(Visits(self.seed, self.recipe.num_videos))
        return DataLoader(samples, batch_size=None, sampler=self._batches())

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Addresses stay on the CPU, where they can be compared and checked without waiting for a device."""
        return batch

    def on_after_batch_transfer(self, batch: tuple[Addresses, Addresses], dataloader_idx: int) -> Batch:
        """Render the addresses on the trainer's device."""
        now, following = batch
        video = self._arrive(now, following)
        index, epoch = (t.to(self.device, non_blocking=True) for t in now)
        return Batch(video=video, index=index, epoch=epoch)

    def _draw(self, addresses: Addresses, device: torch.device) -> Tensor:
        index, epoch = addresses
        return self.render(index, epoch, device)


def with_folder(recipe: Recipe, texture_folder: str | None) -> Recipe:
    """The same with its images taken from another folder; a recipe that shows no images stays as it is."""
    if texture_folder is None or "images" not in recipe.sources:
        return recipe
    return replace(recipe, texture_folder=texture_folder)
