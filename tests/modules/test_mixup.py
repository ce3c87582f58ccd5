import numpy as np
import pytest
import torch
from timm.data import mixup as timm_mixup
from torch import Tensor

from vsr import rng
from vsr.errors import InputError
from vsr.modules import ActionClassifier
from vsr.modules.mixup import _beta, mix, mix_words

TASK = {"num_classes": 3, "size": "tiny", "image_size": 32, "num_frames": 4, "drop_path": 0.0}
LABEL = torch.tensor([0, 1, 2, 2])


pytestmark = pytest.mark.usefixtures("one_thread")


def clips(n: int = 4, frames: int = 3, height: int = 20, width: int = 24) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, 3, frames, height, width), dtype=torch.uint8, generator=generator)


def words(index: int) -> Tensor:
    return mix_words(7, torch.tensor([index, 99]), torch.tensor([3, 99]))


def mixed(index: int, mixup: float, cutmix: float, video: Tensor | None = None) -> tuple[Tensor, Tensor]:
    return mix(clips() if video is None else video, LABEL, 3, mixup, cutmix, words(index))


def from_partner(index: int, cutmix: float = 1.0, mixup: float = 0.0, side: int = 20) -> Tensor:
    """What share of each pixel is the partner's, (H, W): of clips of 0 and 1."""
    video = torch.zeros(4, 3, 2, side, side, dtype=torch.uint8)
    video[2:] = 1
    return mix(video, LABEL, 3, mixup, cutmix, words(index))[0][0, 0, 0]


class TestTime:
    @pytest.mark.parametrize("index", range(30))
    def test_is_never_cut(self, index):
        """Clips of 0 with one of 1: in each place all frames have the same share of the partner, and all channels."""
        video = torch.zeros(4, 3, 5, 20, 24, dtype=torch.uint8)
        video[2:] = 1
        shown, _ = mixed(index, 0.8, 1.0, video)
        assert shown.equal(shown[:, :1, :1].expand_as(shown))

    def test_clips_of_few_frames_are_mixed_in_space(self):
        """timm's own Mixup takes the third axis of five for rows."""
        rows = [bool((from_partner(i) > 0).any(dim=1).all()) for i in range(30)]
        assert not all(rows)

    def test_frames_stay_in_their_order(self):
        """A clip whose frames have levels 0, 1, 2, mixed with itself."""
        video = torch.arange(3, dtype=torch.uint8)[:, None, None].expand(4, 3, 3, 20, 24)
        for index in range(10):
            torch.testing.assert_close(mixed(index, 0.8, 1.0, video)[0], video.float(), rtol=0, atol=1e-3)


class TestMixup:
    def test_blends_with_the_reversed_batch(self):
        shown, target = mixed(1, 0.8, 0.0)
        share = target[0, 0]  # label 0 is in clip 0 alone
        assert 0 < share < 1
        expected = clips().float() * share + clips().flip(0).float() * (1 - share)
        torch.testing.assert_close(shown, expected, rtol=0, atol=1e-3)  # of 255
        torch.testing.assert_close(target, timm_mixup.mixup_target(LABEL, 3, share))

    @pytest.mark.parametrize("alpha", [0.1, 0.8, 1.0])
    def test_shares_are_beta(self, alpha):
        """Their variance is 1 / 4 (2 alpha + 1), their distribution that of torch's Beta, by Kolmogorov's test."""
        n, epoch = 3000, 3
        pairs = rng.words(rng.Stream.MIX, 7, torch.arange(n), epoch, 17)[:, 1:].reshape(n, -1, 2)
        drawn = torch.stack([_beta(torch.tensor(alpha), each) for each in pairs])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            theirs = torch.distributions.Beta(alpha, alpha).sample((100_000,))
        steps = torch.linspace(0.02, 0.98, 25)
        share, expected = ((sample[:, None] < steps).float().mean(0) for sample in (drawn, theirs))
        assert (share - expected).abs().max() < 1.95 / n**0.5
        error = 4.5 * float(((theirs - 0.5) ** 2).std()) / n**0.5
        assert float(drawn.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), abs=error)

    def test_the_share_has_the_alpha_asked_for(self):
        for index, alpha in ((1, 0.8), (2, 0.3)):
            expected = _beta(torch.tensor(alpha), words(index)[1:].reshape(-1, 2))
            torch.testing.assert_close(mixed(index, alpha, 0.0)[1][0, 0], expected)


class TestCutMix:
    @pytest.mark.parametrize("index", range(12))
    def test_is_one_box_and_the_labels_have_its_share(self, index):
        shown, target = mixed(index, 0.0, 1.0)
        own, partner = clips().float(), clips().flip(0).float()
        inside = (shown == partner).all(dim=(0, 1, 2))
        rows, columns = inside.any(dim=1), inside.any(dim=0)
        assert inside.equal(rows[:, None] & columns)
        assert (rows.int().diff() == 1).sum() <= 1
        assert shown.equal(torch.where(inside, partner, own))
        share = 1 - inside.float().mean()
        torch.testing.assert_close(target, timm_mixup.mixup_target(LABEL, 3, share))

    @pytest.mark.parametrize("index", range(12))
    def test_the_box_is_timms(self, index, monkeypatch):
        block = words(index)
        centre = iter(rng.below(block[0, 1:3], torch.tensor([20, 20])).tolist())
        monkeypatch.setattr(timm_mixup.np.random, "randint", lambda *_, **__: next(centre))
        share = float(mix(clips(), LABEL, 3, 1.0, 0.0, block)[1][0, 0])
        top, bottom, left, right = timm_mixup.rand_bbox((20, 20), np.float64(share))
        expected = torch.zeros(20, 20)
        expected[top:bottom, left:right] = 1
        assert from_partner(index).equal(expected)


class TestChoice:
    def test_half_the_batches_are_cut(self):
        cut = sum(bool(((from_partner(i, 1.0, 0.8, side=4) % 1) == 0).all()) for i in range(1000))
        assert cut == pytest.approx(500, abs=4.5 * 15.8)

    def test_follows_from_the_first_address(self):
        first = mix_words(7, torch.tensor([4, 5]), torch.tensor([3, 3]))
        assert first.equal(words(4))
        for other in (words(5), mix_words(8, torch.tensor([4]), torch.tensor([3]))):
            assert not first.equal(other)

    def test_the_middle_of_an_odd_batch_stays(self):
        video, label = clips(5), torch.tensor([0, 1, 2, 0, 1])
        for index in range(6):
            shown, target = mix(video, label, 3, 0.8, 1.0, words(index))
            torch.testing.assert_close(shown[2], video[2].float())
            torch.testing.assert_close(target[2], torch.tensor([0.0, 0, 1]))

    def test_a_label_out_of_range_is_an_error(self):
        with pytest.raises(RuntimeError, match="out of bounds"):
            mix(clips(), torch.tensor([0, 1, 2, 3]), 3, 0.8, 1.0, words(0))


class TestTraining:
    def loss(self, module: ActionClassifier, batch: dict[str, Tensor], logits: Tensor, monkeypatch) -> Tensor:
        monkeypatch.setattr(module, "forward", lambda _: logits)
        monkeypatch.setattr(module, "log", lambda *_, **__: None)
        module._trainer = type("Trainer", (), {"optimizers": [torch.optim.SGD(module.parameters(), 0.1)]})()
        return module.training_step(batch)

    @pytest.mark.parametrize("settings", [{}, {"mixup": 0.0}, {"cutmix": 0.0}])
    def test_the_loss_is_timms(self, settings, monkeypatch):
        module = ActionClassifier(**TASK, **settings, label_smoothing=0.1, seed=7)
        index, logits = torch.tensor([4, 5, 6, 7]), torch.randn(4, 3)
        batch = {"video": clips(), "label": LABEL, "index": index, "epoch": torch.full((4,), 3)}
        share = mixed(4, module.mixup, module.cutmix)[1][0, 0]
        soft = timm_mixup.mixup_target(LABEL, 3, share, smoothing=0.1)
        want = -(soft * logits.log_softmax(1)).sum(1).mean()
        torch.testing.assert_close(self.loss(module, batch, logits, monkeypatch), want)

    def test_the_network_sees_what_was_mixed(self, monkeypatch):
        module, seen = ActionClassifier(**TASK), []
        index = torch.arange(4)
        batch = {"video": clips(4, 4, 32, 32), "label": LABEL, "index": index, "epoch": index}
        network = module.model.forward
        monkeypatch.setattr(module.model, "forward", lambda video: seen.append(video) or network(video))
        monkeypatch.setattr(module, "log", lambda *_, **__: None)
        module._trainer = type("Trainer", (), {"optimizers": [torch.optim.SGD(module.parameters(), 0.1)]})()
        module.training_step(batch).backward()
        expected, _ = mix(batch["video"], LABEL, 3, 0.8, 1.0, mix_words(0, index, index))
        assert seen[0].equal(expected)
        assert module.model.patch_embed.proj.weight.grad.abs().sum() > 0

    @pytest.mark.parametrize("alpha", [{"mixup": -0.1}, {"cutmix": 1.5}])
    def test_alpha_is_checked(self, alpha):
        with pytest.raises(InputError, match=r"(mixup -0.1|cutmix 1.5) is not in 0 \.\. 1"):
            ActionClassifier(**TASK, **alpha)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_same_and_is_not_waited_for():
    video, label = clips().cuda(), LABEL.cuda()
    index, epoch = torch.tensor([4, 5], device="cuda"), torch.tensor([3, 3], device="cuda")
    mix_words(7, index, epoch)  # copies the stream's number once
    torch.cuda.set_sync_debug_mode("error")
    try:
        shown = mix(video, label, 3, 0.8, 1.0, mix_words(7, index, epoch))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    torch.testing.assert_close([part.cpu() for part in shown], list(mixed(4, 0.8, 1.0)), rtol=1e-5, atol=1e-4)
