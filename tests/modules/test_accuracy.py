"""What is counted: videos, clean ones, over all batches and ranks."""

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.callbacks import LambdaCallback
from torch.utils.data import DataLoader

from vsr.modules.accuracy import Accuracy, FiniteMean

QUIET = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
pytestmark = pytest.mark.usefixtures("one_thread")


class Says(L.LightningModule):
    """Says of every view what its batch holds."""

    def __init__(self, num_classes):
        super().__init__()
        self.accuracy = Accuracy(num_classes)

    def validation_step(self, batch):
        self.accuracy.validate(self, batch["answer"], batch["label"])

    def test_step(self, batch):
        return self.accuracy.test(self, batch["answer"], batch)

    def on_test_epoch_end(self):
        self.accuracy.finish_test(self)


def batch_of(index, label, said, cell=None, weight=None):
    """Views that are sure of the class ``said``."""
    batch = {"index": torch.tensor(index), "label": torch.tensor(label), "answer": torch.eye(3)[said]}
    batch["weight"] = torch.ones(len(index)) if weight is None else torch.tensor(weight)
    return batch if cell is None else batch | {"cell": torch.tensor(cell)}


def run(verb, batches):
    """Metrics and what the steps returned."""
    returned = []
    keep = LambdaCallback(on_test_batch_end=lambda *hook: returned.append(hook[2]))
    trainer = L.Trainer(callbacks=[keep], **QUIET)
    metrics = getattr(trainer, verb)(Says(3), DataLoader(batches, batch_size=None), verbose=False)[0]
    return metrics, returned


def test_nothing_of_it_is_in_a_checkpoint():
    assert Says(3).state_dict() == {}
    assert list(Says(3).parameters()) == []


def test_validation_counts_clips():
    metrics, _ = run("validate", [batch_of([0, 1], [0, 1], [0, 2]), batch_of([2], [2], [2])])
    assert metrics == {"val_acc1": pytest.approx(2 / 3), "val_acc5": 1}


def test_only_clean_videos_are_counted():
    """Video 7 is right when clean; its corrupted views are wrong, and a batch has no clean one at all."""
    batches = [
        batch_of([7, 7, 7, 7], [1] * 4, [1, 1, 0, 1], [0, 0, 3, 3], [0.5, 0.5, 0.75, 0.25]),
        batch_of([7, 8], [1, 2], [0, 2], [4, 0]),
        batch_of([8, 8], [2, 2], [0, 0], [3, 4]),
    ]
    metrics, returned = run("test", batches)
    assert metrics == {"test_acc1": 1, "test_acc5": 1, "test_mean_class_acc": 1}
    seen = [
        (index, cell) for r in returned for index, cell in zip(r["index"].tolist(), r["cell"].tolist(), strict=True)
    ]
    assert seen == [(7, 0), (7, 3), (7, 4), (8, 0), (8, 3), (8, 4)]
    torch.testing.assert_close(returned[0]["probability"], torch.tensor([[0, 1.0, 0], [0.75, 0.25, 0]]))
    assert [label for r in returned for label in r["label"].tolist()] == [1, 1, 1, 2, 2, 2]


def test_a_corruption_ends_a_video_s_views():
    """Views of the same cell that don't stand side by side are of other videos: here one of 7, one of 8."""
    _, (returned,) = run("test", [batch_of([7, 8], [1, 1], [1, 0], [2, 2])])
    assert (returned["index"].tolist(), returned["cell"].tolist()) == ([7, 8], [2, 2])


def test_without_cells_there_are_none():
    metrics, (returned,) = run("test", [batch_of([4, 4, 6], [0, 0, 1], [0, 1, 2], weight=[0.6, 0.4, 1.0])])
    assert metrics == {"test_acc1": 0.5, "test_acc5": 1, "test_mean_class_acc": 0.5}
    assert returned.keys() == {"index", "probability", "label"}


def test_losses_that_are_not_finite_are_left_out():
    mean = FiniteMean()
    mean.update(torch.tensor([1.0, float("nan")]))
    mean.update(torch.tensor([float("inf"), 3.0]))
    assert mean.compute() == 2
