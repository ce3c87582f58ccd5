"""The networks of probes: what is frozen, what a feature is, and statistics over several devices."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from vsr.errors import InputError
from vsr.models.exchange import convert, load_classifier, load_encoder, load_frozen, read_weights
from vsr.models.probe import AttentiveProbeNetwork, BatchNorm, FrozenEncoder, LinearProbeNetwork
from vsr.models.vit import Classifier, Encoder, MaskedAutoencoder, Size

SMALL = Size(width=32, depth=2, heads=2, decoder_width=16, decoder_heads=2, decoder_depth=1)
CLIP = (16, 4, 8, 2)
pytestmark = pytest.mark.usefixtures("one_thread")


def videos(count: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, 3, 4, 16, 16), dtype=torch.uint8, generator=generator)


def saved(path: Path, network: nn.Module) -> Path:
    torch.save({"state_dict": {f"model.{name}": t for name, t in network.state_dict().items()}}, path)
    return path


class TestFrozenEncoder:
    def test_features_are_those_of_the_pretrained_network(self, tmp_path):
        torch.manual_seed(0)
        network = MaskedAutoencoder(SMALL, *CLIP)
        nn.init.normal_(network.encoder.norm.weight)
        path, kept, fresh = (
            saved(tmp_path / "m.ckpt", network),
            FrozenEncoder(SMALL, *CLIP),
            FrozenEncoder(SMALL, *CLIP, "fresh"),
        )
        for frozen in (kept, fresh):
            load_frozen(frozen, path)
        with torch.no_grad():
            tokens = network.encoder(videos())
            last = network.encoder.blocks(network.encoder.patch_embed(videos()))
        torch.testing.assert_close(kept.tokens(videos()), tokens)
        torch.testing.assert_close(kept.pooled(videos()), tokens.mean(1))
        torch.testing.assert_close(fresh.pooled(videos()), F.layer_norm(last.mean(1), (32,), eps=1e-6))

    def test_it_has_no_gradients_and_no_training_mode(self):
        encoder = FrozenEncoder(SMALL, *CLIP)
        assert not any(p.requires_grad for p in encoder.parameters())
        assert not encoder.train().training
        assert not encoder.pooled(videos()).requires_grad
        drops = FrozenEncoder(SMALL, *CLIP, drop_path=0.9)
        assert torch.equal(drops.eval().pooled(videos()), drops.eval().pooled(videos()))
        assert not torch.equal(drops.train().pooled(videos(64)), drops.eval().pooled(videos(64)))


class TestHeads:
    def test_they_start_alike_and_small(self):
        network = LinearProbeNetwork(SMALL, 5, 3, *CLIP)
        first = network.heads[0].weight
        assert all(torch.equal(head.weight, first) and not head.bias.any() for head in network.heads)
        assert 1e-5 < first.std() < 3e-5

    def test_the_chosen_one_answers(self):
        network = LinearProbeNetwork(SMALL, 5, 3, *CLIP).eval()
        for head in network.heads:
            nn.init.normal_(head.weight)
        network.chosen.fill_(2)
        feature = network.batch_norm(network.encoder.pooled(videos()))
        torch.testing.assert_close(network(videos()), network.heads[2](feature))
        answers = network.answers(network.encoder.pooled(videos()))
        assert answers.shape == (3, 3, 5)
        torch.testing.assert_close(answers[:, 1], network.heads[1](feature))

    def test_float32_under_autocast(self):
        network, feature = LinearProbeNetwork(SMALL, 5, 1, *CLIP).eval(), torch.randn(4, 32)
        with torch.autocast("cpu", torch.bfloat16):
            answers = network.answers(feature)
        assert torch.equal(answers, network.answers(feature))

    def test_attention_sees_every_token(self):
        network = AttentiveProbeNetwork(SMALL, 5, *CLIP)
        nn.init.normal_(network.head.weight)
        tokens = torch.randn(2, 8, 32, requires_grad=True)
        network.answer(tokens).sum().backward()
        assert (tokens.grad.abs().sum(-1) > 0).all()
        shuffled = tokens[:, torch.randperm(8)]  # positions are in the tokens, not in the pooling
        torch.testing.assert_close(network.answer(shuffled), network.answer(tokens))


def _normalise(rank: int, address: str, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    norm, feature = BatchNorm(8, affine=False), torch.load(f"{folder}/feature.pt")
    got = [norm(part.chunk(2)[rank]) for part in feature]
    torch.save((got, norm.state_dict()), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_statistics_are_of_all_devices(tmp_path):
    """Two real processes normalise and remember what one does, bit by bit."""
    feature = torch.randn(3, 10, 8) * 5 + 2
    torch.save(feature, tmp_path / "feature.pt")
    address = f"file://{tmp_path / 'store'}"
    torch.multiprocessing.start_processes(_normalise, (address, str(tmp_path)), nprocs=2, start_method="fork")
    alone, (one, two) = BatchNorm(8, affine=False), (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for step, part in enumerate(feature):
        assert torch.equal(torch.cat((one[0][step], two[0][step])), alone(part))
    for state in (one[1], two[1]):
        assert all(torch.equal(t, alone.state_dict()[name]) for name, t in state.items())


class TestExchange:
    @pytest.mark.parametrize(
        ("network", "kind"),
        [
            (lambda: LinearProbeNetwork(SMALL, 5, 2, *CLIP), "linear probe"),
            (lambda: AttentiveProbeNetwork(SMALL, 5, *CLIP), "attentive probe"),
        ],
    )
    def test_what_a_probe_s_checkpoint_is_good_for(self, network, kind, tmp_path):
        probe = network()
        path = saved(tmp_path / "probe.ckpt", probe)
        assert (read_weights(path).kind, read_weights(path).num_classes) == (kind, 5)
        classifier = Classifier(SMALL, 7, *CLIP)
        load_encoder(classifier, path)  # its encoder can be fine-tuned
        assert torch.equal(classifier.blocks[1].mlp.fc1.weight, probe.encoder.blocks[1].mlp.fc1.weight)
        frozen = FrozenEncoder(SMALL, *CLIP)
        load_frozen(frozen, path)  # and probed
        assert torch.equal(frozen.pooled(videos()), probe.encoder.pooled(videos()))
        with pytest.raises(InputError, match=f"has no classification head: this is an? {kind}, test it with"):
            load_classifier(classifier, path)
        with pytest.raises(InputError, match=f"is of a {kind}, a network that only vsr has"):
            convert(path, tmp_path / "out", "hf")

    def test_an_encoder_alone(self, tmp_path):
        encoder = Encoder(SMALL, *CLIP)
        path = tmp_path / "e.ckpt"
        torch.save({"module": {f"encoder.{n}": t for n, t in encoder.state_dict().items()}}, path)
        with pytest.raises(InputError, match="all q and v biases are 0"):  # as for every loader
            load_frozen(FrozenEncoder(SMALL, *CLIP), path)
        nn.init.ones_(encoder.blocks[0].attn.q_bias)
        torch.save({"module": {f"encoder.{n}": t for n, t in encoder.state_dict().items()}}, path)
        frozen = FrozenEncoder(SMALL, *CLIP)
        load_frozen(frozen, path)
        assert torch.equal(frozen.tokens(videos()), encoder(videos()))
