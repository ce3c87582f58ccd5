import pytest
import torch

from vsr.modules.views import mean_over_views

LOGITS = torch.tensor([[2.0, 0, -1], [9, 0, 0], [0, 1, 2], [0, 3, 0], [1, 1, 0]])


def test_softmax_of_each_view_then_their_mean():
    """Two videos of two and three views. The mean of the logits would say 0 of the first by far more."""
    index, label = torch.tensor([4, 4, 7, 7, 7]), torch.tensor([2, 2, 1, 1, 1])
    weight = torch.tensor([0.5, 0.5, 0.25, 0.25, 0.5])
    videos, mean, labels = mean_over_views(LOGITS.softmax(1), index, weight, label)
    assert (videos.tolist(), labels.tolist()) == ([4, 7], [2, 1])
    e = torch.exp(LOGITS.double())
    shares = [row / row.sum() for row in e]
    want = [(shares[0] + shares[1]) / 2, (shares[2] + shares[3] + 2 * shares[4]) / 4]
    torch.testing.assert_close(mean, torch.stack(want).float())
    torch.testing.assert_close(mean.sum(1), torch.ones(2))


def test_equal_views_may_be_left_out():
    """Views 0 0 0 1 with a quarter each say what 0 and 1 with three quarters and one do."""
    probability = LOGITS.softmax(1)
    every = mean_over_views(
        probability[[0, 0, 0, 2]], torch.full((4,), 3), torch.full((4,), 0.25), torch.ones(4).long()
    )
    fewer = mean_over_views(probability[[0, 2]], torch.full((2,), 3), torch.tensor([0.75, 0.25]), torch.ones(2).long())
    for one, other in zip(every, fewer, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("index", [[5, 2, 9], [0, 1, 2]])
def test_one_view_is_the_answer_and_the_order_stays(index):
    probability = LOGITS[:3].softmax(1)
    videos, mean, label = mean_over_views(probability, torch.tensor(index), torch.ones(3), torch.tensor([1, 0, 2]))
    assert videos.tolist() == index
    assert torch.equal(mean, probability)
    assert label.tolist() == [1, 0, 2]
