"""Nearest neighbours: the votes by a slow count, and a test from a pre-training checkpoint alone."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_videos import CLIP, TASK, clips, lay_out, trainer
from torch.nn import functional as F

from vsr.errors import InputError
from vsr.models.vit import SIZES, MaskedAutoencoder
from vsr.modules import KNNProbe
from vsr.modules.knn import neighbours_vote

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    return lay_out(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory) -> str:
    torch.manual_seed(4)
    path = tmp_path_factory.mktemp("pretrained") / "last.ckpt"
    network = MaskedAutoencoder(SIZES["tiny"], 16, 4, 8)
    torch.save({"state_dict": {f"model.{name}": t for name, t in network.state_dict().items()}}, path)
    return str(path)


def drawn(queries: int, bank: int, width: int = 8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(queries)
    feature, known = (torch.randn(n, width, generator=generator) for n in (queries, bank))
    return feature * 3, known, torch.randint(0, 4, (bank,), generator=generator)


@pytest.mark.parametrize("queries", [1, 5, 130])  # more than are compared at once
def test_votes(queries):
    feature, known, label = drawn(queries, 40)
    got = neighbours_vote(feature, F.normalize(known, dim=1), label, 4, k=7, temperature=0.07)
    for answer, query in zip(got, feature.double().numpy(), strict=True):
        cosine = [query @ row / np.linalg.norm(query) / np.linalg.norm(row) for row in known.double().numpy()]
        votes = np.zeros(4)
        for n in sorted(range(40), key=lambda n: -cosine[n])[:7]:
            votes[label[n]] += np.exp(cosine[n] / 0.07)
        torch.testing.assert_close(answer.double(), torch.from_numpy(votes / votes.sum()), rtol=1e-4, atol=1e-6)


def test_one_neighbour_says_its_class():
    _, known, label = drawn(3, 20)
    known = F.normalize(known, dim=1)
    assert neighbours_vote(known * 5, known, label, 4, k=1, temperature=0.07).argmax(1).equal(label)


@pytest.mark.parametrize("norm", ["pretrained", "fresh"])
def test_a_test_makes_its_own_bank(norm, videos, pretrained, tmp_path):
    module = KNNProbe(**TASK, checkpoint=pretrained, k=6, norm=norm)
    data = clips(videos, held_out=0.25, test_segments=2, test_crops=2)
    results = trainer(tmp_path).test(module, datamodule=data, verbose=False)[0]
    assert results == {"test_acc1": 1, "test_acc5": 1, "test_mean_class_acc": 1}
    feature, label = module._bank
    assert feature.shape == (18, 192)  # held-out videos don't vote
    assert label.bincount().tolist() == [6, 6, 6]
    assert list(tmp_path.iterdir()) == []
    counted = trainer(tmp_path).validate(KNNProbe(**TASK, k=6), datamodule=clips(videos), verbose=False)[0]
    assert counted.keys() == {"val_acc1", "val_acc5"}


def test_it_can_not_be_fitted(videos, tmp_path):
    with pytest.raises(InputError, match=r"has nothing to fit: vsr test … --model.checkpoint"):
        trainer(tmp_path, max_epochs=1).fit(KNNProbe(**TASK), datamodule=clips(videos))


def test_more_neighbours_than_videos(videos, tmp_path):
    with pytest.raises(InputError, match="k 25 is more than the 24 training videos: use 24 or fewer"):
        trainer(tmp_path).test(KNNProbe(**TASK, k=25), datamodule=clips(videos), verbose=False)


@pytest.mark.parametrize("wrong", [{"k": 0}, {"temperature": 0.0}, {"num_classes": 1}])
def test_ranges(wrong):
    with pytest.raises(InputError, match=r"can't vote|nothing to tell apart"):
        KNNProbe(**({**CLIP, "num_classes": 3} | wrong))


def test_on_a_gpu(gpu):
    feature, known, label = drawn(70, 50)
    known = F.normalize(known, dim=1)
    want = neighbours_vote(feature, known, label, 4, 5, 0.07)
    torch.testing.assert_close(neighbours_vote(feature.to(gpu), known.to(gpu), label.to(gpu), 4, 5, 0.07).cpu(), want)
