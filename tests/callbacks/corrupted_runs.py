"""Tests under corruptions whose answers are told, for the tests of what reports them.

``python corrupted_runs.py FOLDER DEVICES`` runs one by real processes over gloo.
"""

import sys

import numpy as np
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from torch.utils.data import DataLoader

from vsr.callbacks import Predictions, Robustness, RunFolder
from vsr.corruptions import cells

CLASSES = ["Jump, high", "Run #2", "Sit"]


class Told(LightningModule):
    """Answers with what the batch holds."""

    def __init__(self, size="tiny", image_size=16, num_frames=4, patch_size=8):
        super().__init__()
        self.save_hyperparameters()

    def test_step(self, batch):
        return batch


class ToldClips(LightningDataModule):
    """Rows (video, cell, label, probability) in an order of their own, three a batch, a video's over all processes.

    Args:
        right: bool (videos, 1 + cells), which are right.
        asked: the cells; None: a test that knows none.
        rows: which rows are shown; None: each once.
    """

    num_frames, stride, size, seed, global_batch_size, name, classes = 4, 2, 16, 0, 4, "told", CLASSES

    def __init__(self, right, asked, rows=None):
        super().__init__()
        if asked is not None:
            self.cells = asked
        numbers = np.array([0, *(cell.number for cell in asked or [])])
        self.right, shape = right, right.shape
        video, column = (place.ravel() for place in np.indices(shape))
        label = video % 3
        top = np.where(right.ravel(), label, (label + 1 + column % 2) % 3)
        probability = np.full((right.size, 3), 0.2, dtype=np.float32)
        probability[np.arange(right.size), label] += 0.1  # the true class comes second where it isn't the first
        probability[np.arange(right.size), top] = 0.5
        self.told = [
            {"index": video[i], "label": label[i], "probability": probability[i]}
            | ({} if asked is None else {"cell": numbers[column[i]]})
            for i in np.random.default_rng(1).permutation(right.size)
        ]
        if rows is not None:
            self.told = [self.told[i] for i in rows]

    def test_dataloader(self):
        mine = self.told[self.trainer.global_rank :: self.trainer.world_size]
        return DataLoader(mine, batch_size=3)

    def path(self, subset, index):
        return f"{subset}/{index}.avi"

    def num_videos(self, subset):
        return len(self.right)

    def provenance(self):
        return {"dataset": self.name, "layout": "ucf101", "split": 1}


def told_test(folder, data, module=None, **settings):
    """A test with all that reports it, into a folder."""
    trainer = Trainer(
        default_root_dir=folder, accelerator="cpu", logger=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False,
        callbacks=[RunFolder(), Predictions(), Robustness()], **settings,
    )  # fmt: skip
    trainer.test(module or Told(), datamodule=data, verbose=False)


def small_answers():
    """Seven videos under seven cells, and those."""
    asked = cells(["zoom_blur", "gaussian_noise", "reverse", "mpeg1"], [2, 5])
    right = np.random.default_rng(0).random((7, 1 + len(asked))) < np.linspace(0.9, 0.4, 1 + len(asked))
    return right, asked


if __name__ == "__main__":
    torch.set_num_threads(1)
    told_test(sys.argv[1], ToldClips(*small_answers()), devices=int(sys.argv[2]), strategy="ddp")
    torch.distributed.destroy_process_group()
