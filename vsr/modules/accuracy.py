"""What a classifier's answers are worth: the accuracies that every classifier logs, over all ranks."""

from collections.abc import Mapping

import lightning.pytorch as L
import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from vsr.modules.views import mean_over_views


class Accuracy(nn.Module):
    """Counts right answers in validation and testing. A module makes one and calls it from its hooks.

    Logged: ``val_acc1``, ``val_acc5``, ``test_acc1``, ``test_acc5`` and ``test_mean_class_acc`` (mean over the classes
    that have videos), all shares 0..1. A test counts videos, each by the mean over its views, and clean ones only. It
    has no parameters and nothing of it is in a checkpoint.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.val_acc1, self.test_acc1 = (MulticlassAccuracy(num_classes, average="micro") for _ in range(2))
        self.val_acc5, self.test_acc5 = (
            MulticlassAccuracy(num_classes, top_k=min(5, num_classes), average="micro") for _ in range(2)
        )
        self.test_confusion = MulticlassConfusionMatrix(num_classes)

    def validate(self, module: L.LightningModule, answer: Tensor, label: Tensor) -> None:
        """Count what is right among the first one and the first five; for ``validation_step``.

        Args:
            module: that logs.
            answer: float (B, K), the larger the likelier: logits or probabilities.
            label: int64 (B,).
        """
        self.val_acc1.update(answer, label)
        self.val_acc5.update(answer, label)
        module.log("val_acc1", self.val_acc1, prog_bar=True, on_step=False, on_epoch=True)
        module.log("val_acc5", self.val_acc5, on_step=False, on_epoch=True)

    def test(self, module: L.LightningModule, probability: Tensor, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Count the videos that are right among the first one and the first five, and per class; for ``test_step``.

        Args:
            module: that logs.
            probability: float32 (B, K), of each view.
            batch: with ``index``, ``label`` and ``weight`` (B,), all views of a video side by side; with ``cell``
                (B,), see :class:`vsr.data.Batch`, all views of a video in a cell. Only those of cell 0 are counted.

        Returns:
            ``index`` int64 (n,), ``probability`` float32 (n, K), the mean over the views, and ``label`` int64 (n,) of
            each video; with cells, of each video in each cell, whose ``cell`` int64 (n,) it then has, too.
        """
        index, cell = batch["index"], batch.get("cell")
        address = index if cell is None else torch.stack((index, cell), dim=1)
        address, probability, label = mean_over_views(probability, address, batch["weight"], batch["label"])
        if cell is None:
            videos = {"index": address, "probability": probability, "label": label}
        else:
            index, cell = address.unbind(dim=1)
            videos = {"index": index, "probability": probability, "label": label, "cell": cell}
            probability, label = probability[cell == 0], label[cell == 0]
        if len(label):
            for metric in (self.test_acc1, self.test_acc5, self.test_confusion):
                metric.update(probability, label)
        # By every rank, whatever it has seen, as all must take part in adding up.
        module.log("test_acc1", self.test_acc1, on_step=False, on_epoch=True)
        module.log("test_acc5", self.test_acc5, on_step=False, on_epoch=True)
        return videos

    def finish_test(self, module: L.LightningModule) -> None:
        """Log the mean of the classes' accuracies, over the classes that have videos; for ``on_test_epoch_end``."""
        confusion = self.test_confusion.compute().double()  # rows: true classes; of all ranks
        counts = confusion.sum(dim=1)
        accuracy = confusion.diagonal() / counts
        module.log("test_mean_class_acc", accuracy[counts > 0].mean().float())
        self.test_confusion.reset()


class FiniteMean(Metric):
    """Mean of the values that are finite. torchmetrics' own looks for others by waiting for the device."""

    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(()), dist_reduce_fx="sum")

    def update(self, values: Tensor) -> None:
        """Take in (B,) values."""
        finite = values.isfinite()
        self.total += values.masked_fill(~finite, 0).sum()  # a number in where() may be copied there, and waited for
        self.count += finite.sum()

    def compute(self) -> Tensor:
        """The mean so far."""
        return self.total / self.count
