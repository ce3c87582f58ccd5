import argparse
import re
from pathlib import Path

import pytest
import torch

from vsr.errors import InputError
from vsr.models.exchange import load_classifier, load_encoder
from vsr.models.vit import SIZES, Classifier, MaskedAutoencoder, Size

SMALL = Size(width=32, depth=2, heads=2, decoder_width=16, decoder_heads=2, decoder_depth=1)
CLIP = {"image_size": 32, "num_frames": 4, "patch_size": 8, "tubelet_size": 2}


def written(path: Path, network: torch.nn.Module) -> Path:
    torch.save({"state_dict": {f"model.{name}": t for name, t in network.state_dict().items()}, "epoch": 3}, path)
    return path


@pytest.fixture
def pretrained(tmp_path) -> Path:
    torch.manual_seed(1)
    return written(tmp_path / "pretrained.ckpt", MaskedAutoencoder(SMALL, **CLIP))


@pytest.fixture
def finetuned(tmp_path) -> Path:
    torch.manual_seed(2)
    return written(tmp_path / "finetuned.ckpt", Classifier(SMALL, 5, **CLIP))


@pytest.fixture
def model() -> Classifier:
    torch.manual_seed(3)
    return Classifier(SMALL, 5, **CLIP)


def stored(path: Path) -> dict[str, torch.Tensor]:
    return {name.removeprefix("model."): t for name, t in torch.load(path)["state_dict"].items()}


def refused(load, model: Classifier, path: Path, message: str) -> None:
    """One line with the path and the message, and the network is as it was."""
    before = {name: t.clone() for name, t in model.state_dict().items()}
    with pytest.raises(InputError, match=message) as caught:
        load(model, path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


class TestLoadEncoder:
    def test_from_pretraining(self, model, pretrained):
        before = {name: t.clone() for name, t in model.state_dict().items()}
        load_encoder(model, pretrained)
        source = stored(pretrained)
        for name, tensor in model.state_dict().items():
            new = name.startswith(("fc_norm.", "head."))
            assert torch.equal(tensor, before[name] if new else source[f"encoder.{name}"]), name

    def test_from_a_classifier_without_its_head(self, model, finetuned):
        head = model.head.weight.clone()
        load_encoder(model, finetuned)
        assert torch.equal(model.head.weight, head)
        assert torch.equal(model.blocks[1].attn.qkv.weight, stored(finetuned)["blocks.1.attn.qkv.weight"])

    def test_from_a_classifier_of_other_classes(self, finetuned):
        load_encoder(Classifier(SMALL, 7, **CLIP), finetuned)

    def test_other_frames_and_frame_size(self, pretrained):
        load_encoder(Classifier(SMALL, 5, image_size=48, num_frames=8, patch_size=8), pretrained)

    def test_accepts_a_string(self, model, pretrained):
        load_encoder(model, str(pretrained))

    def test_another_size(self, tmp_path, model):
        path = written(tmp_path / "tiny.ckpt", MaskedAutoencoder(SIZES["tiny"], **CLIP))
        message = r"is width 192, depth 6; model is width 32, depth 2: give --model.init_args.size tiny$"
        refused(load_encoder, model, path, message)

    def test_another_depth(self, pretrained):
        deep = Classifier(Size(32, 3, 2, 16, 2, 1), 5, **CLIP)
        refused(load_encoder, deep, pretrained, r"width 32, depth 2; model is width 32, depth 3")

    def test_another_patch(self, pretrained):
        coarse = Classifier(SMALL, 5, **(CLIP | {"patch_size": 16}))
        message = r"tubes of 2 frames x 8 px, .* 2 frames x 16 px: give .*tubelet_size 2 .*patch_size 8"
        refused(load_encoder, coarse, pretrained, message)


class TestLoadClassifier:
    def test_everything(self, model, finetuned):
        load_classifier(model, finetuned)
        source = stored(finetuned)
        assert all(torch.equal(t, source[name]) for name, t in model.state_dict().items())

    def test_head_missing(self, model, pretrained):
        message = r"no classification head: this is a pre-training checkpoint, fine-tune it first with vsr fit"
        refused(load_classifier, model, pretrained, message)

    def test_another_number_of_classes(self, finetuned):
        message = r"knows 5 classes, the model 7: .*--model.init_args.num_classes 5"
        refused(load_classifier, Classifier(SMALL, 7, **CLIP), finetuned, message)


@pytest.mark.parametrize("load", [load_encoder, load_classifier])
class TestBadFiles:
    def test_missing(self, load, model, tmp_path):
        refused(load, model, tmp_path / "none.ckpt", "no such file")

    def test_folder(self, load, model, tmp_path):
        refused(load, model, tmp_path, "no such file")

    @pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.99])
    def test_cut_short(self, load, model, finetuned, share):
        content = finetuned.read_bytes()
        finetuned.write_bytes(content[: int(len(content) * share)])
        refused(load, model, finetuned, "damaged or cut short")

    def test_text(self, load, model, tmp_path):
        path = tmp_path / "text.ckpt"
        path.write_text("not a checkpoint\n" * 9)
        refused(load, model, path, "can't be read|Python objects")

    def test_python_objects(self, load, model, tmp_path):
        path = tmp_path / "objects.ckpt"
        torch.save({"state_dict": {}, "args": argparse.Namespace(lr=1)}, path)
        refused(load, model, path, "holds Python objects besides weights")

    @pytest.mark.parametrize("content", [{"model": {}}, [1, 2], {"state_dict": 3}])
    def test_no_state_dict(self, load, model, tmp_path, content):
        path = tmp_path / "other.ckpt"
        torch.save(content, path)
        refused(load, model, path, "has no state_dict")

    @pytest.mark.parametrize("extra", [None, "model.extra.weight", "stranger"])
    def test_not_ours(self, load, model, finetuned, extra):
        state = torch.load(finetuned)["state_dict"] if extra else {"net.weight": torch.zeros(1)}
        if extra:
            state[extra] = torch.zeros(1)
        torch.save({"state_dict": state}, finetuned)
        refused(load, model, finetuned, "neither a pre-training|has a strange extra.weight")

    def test_part_missing(self, load, model, finetuned):
        state = torch.load(finetuned)["state_dict"]
        del state["model.blocks.1.attn.q_bias"], state["model.blocks.1.norm2.weight"]
        torch.save({"state_dict": state}, finetuned)
        refused(load, model, finetuned, re.escape("lacks blocks.1.attn.q_bias and 1 more"))

    def test_shape(self, load, model, finetuned):
        state = torch.load(finetuned)["state_dict"]
        state["model.blocks.0.mlp.fc1.weight"] = torch.zeros(64, 32)
        torch.save({"state_dict": state}, finetuned)
        refused(load, model, finetuned, "has another shape of blocks.0.mlp.fc1.weight")
