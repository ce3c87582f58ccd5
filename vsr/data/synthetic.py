"""Synthetic videos, rendered on the device while it trains."""

from typing import Any

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vsr.data import Batch
from vsr.data.ahead import Addresses, RenderAhead, WithNext
from vsr.data.batches import BatchPlan, TrainBatches, Visits
from vsr.errors import InputError
from vsr.recipe import Recipe
from vsr.render import Antialias, drawn_on, render_clips
from vsr.textures.bank import TextureBank


class Samples(Dataset[tuple[Addresses, Addresses]]):
    """The sample numbers of a batch and of the next one, to addresses."""

    def __init__(self, visits: Visits) -> None:
        self.visits = visits

    def __getitem__(self, numbers: tuple[list[int], list[int]]) -> tuple[Addresses, Addresses]:
        now, following = (self._addresses(some) for some in numbers)
        return now, following

    def _addresses(self, numbers: list[int]) -> Addresses:
        return list(torch.tensor([self.visits[n] for n in numbers], dtype=torch.int64).view(-1, 2).unbind(-1))


class SyntheticVideos(LightningDataModule):
    """Clips of one recipe. The loader carries addresses; ``on_after_batch_transfer`` renders them.

    Args:
        recipe: the dataset.
        num_frames: T of a clip (paper 9.2: 16).
        stride: video frames from one clip frame to the next (paper 9.2: 4).
        size: H = W of a clip, px (paper: 224).
        global_batch_size: clips per optimiser step, over all devices and accumulation steps (paper, table 5: 256).
        max_batch_per_device: clips that fit on a device at once; accumulation follows. None: 64 on CUDA, 4 elsewhere.
        seed: the data seed: with the recipe it decides every clip.
        max_textures: use a smaller texture pool than the recipe's, for small machines. None: the recipe's.
        texture_size: use another texture side than the recipe's, texels. None: the recipe's.
        antialias: samples a pixel is the mean of, along each side: 1 (paper), 2 or 4.
        overlap: on CUDA, draw the next batch in a side stream while this one trains; the clips are the same.

    Attributes:
        steps_per_epoch: optimiser steps in an epoch, ``recipe.epoch_size // global_batch_size``.
        bank: the textures, or None until they are needed.

    Raises:
        InputError: a clip longer than the videos, a batch larger than an epoch, a value out of range.
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
        max_textures: int | None = None,
        texture_size: int | None = None,
        antialias: Antialias = 1,
        overlap: bool = True,
    ) -> None:
        super().__init__()
        recipe = recipe.with_textures(max_textures, texture_size)
        self.recipe, self.num_frames, self.stride, self.size = recipe, num_frames, stride, size
        self.global_batch_size, self.max_batch_per_device = global_batch_size, max_batch_per_device
        self.seed, self.antialias, self.overlap = seed, antialias, overlap
        self.steps_per_epoch = recipe.epoch_size // max(global_batch_size, 1)
        if self.steps_per_epoch == 0:
            raise InputError(
                f"global_batch_size {global_batch_size} is more than the {recipe.epoch_size} videos of an epoch: "
                f"use {recipe.epoch_size} or fewer"
            )
        self.bank: TextureBank | None = None
        self.plan = BatchPlan.of(
            global_batch_size, global_batch_size if max_batch_per_device is None else max_batch_per_device, 1
        )
        self.render([], 0, "cpu")  # refuses at once what can't be rendered
        self._ahead: RenderAhead | None = None

    def setup(self, stage: str) -> None:
        """Cut the global batch for the devices at hand."""
        if self.trainer is None:
            return
        most = self.max_batch_per_device
        if most is None:
            most = 64 if self.trainer.strategy.root_device.type == "cuda" else 4
        self.plan = BatchPlan.of(self.global_batch_size, most, self.trainer.world_size)
        self.trainer.accumulate_grad_batches = self.plan.accumulation

    def train_dataloader(self) -> DataLoader[Any]:
        """Micro-batches of addresses, each with the next one: two times ``[index (b,), epoch (b,)]``, int64."""
        rank = self.trainer.global_rank if self.trainer else 0
        samples = Samples(Visits(self.seed, self.recipe.num_videos))
        batches = TrainBatches(self.plan, rank, self.steps_per_epoch, self._global_step)
        return DataLoader(samples, batch_size=None, sampler=WithNext(batches))

    def _global_step(self) -> int:
        return self.trainer.global_step if self.trainer else 0

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Addresses stay on the CPU, where they can be compared and checked without waiting for a device."""
        return batch

    def on_after_batch_transfer(self, batch: tuple[Addresses, Addresses], dataloader_idx: int) -> Batch:
        """Render the addresses on the trainer's device."""
        now, following = batch
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        if self.overlap and device.type == "cuda":
            if self._ahead is None:
                self._ahead = RenderAhead(lambda index, epoch: self.render(index, epoch, device), device)
            video = self._ahead(now, following)
        else:
            video = self.render(now[0], now[1], device)
        index, epoch = (t.to(device, non_blocking=True) for t in now)
        return Batch(video=video, index=index, epoch=epoch)

    def render(self, index: Tensor | list[int], epoch: Tensor | int, device: torch.device | str) -> Tensor:
        """The clips at some addresses: uint8 (B, C, T, H, W) on ``device``. The texture pool is made at the first."""
        if len(index) and self.bank is None and self.recipe.fill != "color":
            self.bank = TextureBank(self.recipe, self.seed, drawn_on(device))
            self.bank.fill()
        return render_clips(
            self.recipe, self.seed, index, epoch, self.num_frames, self.stride, self.size, device=device,
            bank=self.bank, antialias=self.antialias,
        )  # fmt: skip
