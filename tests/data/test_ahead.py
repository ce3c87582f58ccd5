"""Rendering ahead changes when clips are drawn, not which."""

from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch

from vsr.data import ahead
from vsr.data.ahead import RenderAhead, WithNext
from vsr.data.synthetic import SyntheticVideos
from vsr.recipe import Recipe, load_recipe

NOTHING = [torch.empty(0, dtype=torch.int64)] * 2


def addresses(n: int) -> list[torch.Tensor]:
    return [torch.tensor([2 * n, 2 * n + 1]), torch.tensor([0, 0])]


@pytest.mark.parametrize("length", [0, 1, 5])
def test_every_batch_comes_with_the_next(length):
    batches = [[2 * n, 2 * n + 1] for n in range(length)]
    pairs = list(WithNext(batches))
    assert len(WithNext(batches)) == length
    assert [now for now, _ in pairs] == batches
    assert [following for _, following in pairs] == [*batches[1:], []][:length]


class Streams:
    """Stands for torch.cuda where there is none: streams run at once and events have passed."""

    def __init__(self, device=None):
        self.began = 0

    current_stream = Stream = Event = None

    def wait_event(self, event): ...
    def wait_stream(self, stream): ...
    def record_event(self): ...
    def __enter__(self): ...
    def __exit__(self, *error): ...


@pytest.fixture
def drawn(monkeypatch):
    """Which batches are drawn, in order, by a RenderAhead whose streams do nothing."""
    log = []

    class Clips:
        def __init__(self, index):
            self.index = index

        def record_stream(self, stream): ...

    def render(index, epoch):
        log.append(int(index[0]) // 2)
        return Clips(index)

    cuda = SimpleNamespace(Stream=Streams, current_stream=Streams, stream=lambda stream: stream, Event=object)
    monkeypatch.setattr(ahead.torch, "cuda", cuda)
    return RenderAhead(render, torch.device("cuda", 0)), log


def test_the_next_batch_is_drawn_once_and_handed_over(drawn):
    render, log = drawn
    for now, following in pairwise([*map(addresses, range(4)), NOTHING]):
        assert torch.equal(render(now, following).index, now[0])
    assert log == [0, 1, 2, 3]


def test_after_a_break_the_waiting_clips_are_not_taken_for_others(drawn):
    render, log = drawn
    render(addresses(0), addresses(1))
    assert torch.equal(render(addresses(7), addresses(8)).index, addresses(7)[0])
    assert torch.equal(render(addresses(8), NOTHING).index, addresses(8)[0])
    assert log == [0, 1, 7, 8]


@pytest.mark.parametrize("name", ["acc_shapes", "acc_textures"])
def test_overlap_gives_identical_clips_on_a_gpu(gpu, name):
    def clips(overlap: bool) -> list[torch.Tensor]:
        recipe: Recipe = load_recipe(name)
        data = SyntheticVideos(recipe, global_batch_size=8, size=96, max_textures=32, texture_size=64, overlap=overlap)
        data.trainer = SimpleNamespace(
            strategy=SimpleNamespace(root_device=gpu), global_rank=0, global_step=0
        )  # fmt: skip
        busy = torch.randn(4096, 4096, device=gpu)
        shown = []
        for k, batch in enumerate(data.train_dataloader()):
            shown.append(data.on_after_batch_transfer(batch, 0)["video"].clone())
            busy = busy @ busy.softmax(dim=0)  # a step to run beside
            if k == 6:
                break
        torch.cuda.synchronize()
        return shown

    for one, other in zip(clips(True), clips(False), strict=True):
        assert torch.equal(one, other)
