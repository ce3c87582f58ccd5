"""Synthetic videos, rendered on the device while it trains."""

from typing import Any

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vsr.data import Batch
from vsr.data.batches import BatchPlan, TrainBatches, Visits
from vsr.errors import InputError
from vsr.recipe import Recipe
from vsr.render import render_clips
from vsr.textures.bank import TextureBank


class Addresses(Dataset[tuple[int, int]]):
    """Sample number n to ``(index, epoch)``."""

    def __init__(self, visits: Visits) -> None:
        self.visits = visits

    def __getitem__(self, n: int) -> tuple[int, int]:
        return self.visits[n]


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
    ) -> None:
        super().__init__()
        recipe = recipe.with_textures(max_textures, texture_size)
        self.recipe, self.num_frames, self.stride, self.size = recipe, num_frames, stride, size
        self.global_batch_size, self.max_batch_per_device = global_batch_size, max_batch_per_device
        self.seed = seed
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
        """Micro-batches of addresses: ``[index (b,), epoch (b,)]``, int64."""
        rank = self.trainer.global_rank if self.trainer else 0
        visits = Visits(self.seed, self.recipe.num_videos)
        batches = TrainBatches(self.plan, rank, self.steps_per_epoch, self._global_step)
        return DataLoader(Addresses(visits), batch_sampler=batches)

    def _global_step(self) -> int:
        return self.trainer.global_step if self.trainer else 0

    def on_after_batch_transfer(self, batch: list[Tensor], dataloader_idx: int) -> Batch:
        """Render the addresses on their device."""
        index, epoch = batch
        return Batch(video=self.render(index, epoch, index.device), index=index, epoch=epoch)

    def render(self, index: Tensor | list[int], epoch: Tensor | int, device: torch.device | str) -> Tensor:
        """The clips at some addresses: uint8 (B, C, T, H, W) on ``device``. The texture pool is made at the first."""
        if len(index) and self.bank is None and self.recipe.fill != "color":
            self.bank = TextureBank(self.recipe, self.seed)
            self.bank.fill()
        return render_clips(
            self.recipe,
            self.seed,
            index,
            epoch,
            self.num_frames,
            self.stride,
            self.size,
            device=device,
            bank=self.bank,
        )
