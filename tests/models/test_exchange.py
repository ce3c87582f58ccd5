import argparse
import json
import logging
import os
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from vsr.errors import InputError
from vsr.models.exchange import convert, load_classifier, load_encoder, read_weights
from vsr.models.vit import SIZES, Classifier, Encoder, MaskedAutoencoder, Size

SMALL = Size(width=32, depth=2, heads=2, decoder_width=16, decoder_heads=2, decoder_depth=1)
CLIP = {"image_size": 32, "num_frames": 4, "patch_size": 8, "tubelet_size": 2}
TINY = SIZES["tiny"]


def trained(network: torch.nn.Module) -> torch.nn.Module:
    """Biases are no longer 0."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return network


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
        path = written(tmp_path / "tiny.ckpt", MaskedAutoencoder(TINY, **CLIP))
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

    @pytest.mark.parametrize(
        ("size", "clip", "message"),
        [
            (SMALL, {"patch_size": 16}, r"of 2 frames x 8 px, the model of 2 frames x 16 px: give .*patch_size 8"),
            (SMALL, {"tubelet_size": 1}, r"of 2 frames x 8 px, the model of 1 frames x 8 px: give .*tubelet_size 2"),
            (TINY, {}, "is width 32, depth 2; model is width 192, depth 6: give a checkpoint of this size"),
        ],
    )
    def test_another_grid_or_size(self, finetuned, size, clip, message):
        refused(load_classifier, Classifier(size, 5, **(CLIP | clip)), finetuned, message)

    def test_another_number_of_classes(self, finetuned):
        message = r"knows 5 classes, the model 7: .*--model.init_args.num_classes 5"
        refused(load_classifier, Classifier(SMALL, 7, **CLIP), finetuned, message)


def official(path: Path, state: dict[str, torch.Tensor], nest: str | None = "model") -> Path:
    """As VideoMAE's code saves it under automatic mixed precision."""
    settings = argparse.Namespace(input_size=32, num_frames=4, lr=1.5e-4, betas=[0.9, 0.95], device="cuda", resume="")
    rest = {"optimizer": {"state": {}, "param_groups": []}, "epoch": 799, "scaler": {}, "args": settings}
    torch.save({nest: state, **rest} if nest else state, path)
    return path


class TestFormatsOfOthers:
    @pytest.fixture
    def mae(self) -> dict[str, torch.Tensor]:
        torch.manual_seed(4)
        return trained(MaskedAutoencoder(SMALL, **CLIP)).state_dict()

    @pytest.fixture
    def classifier(self) -> dict[str, torch.Tensor]:
        torch.manual_seed(5)
        return trained(Classifier(SMALL, 5, **CLIP)).state_dict()

    @pytest.mark.parametrize("nest", ["model", "module", None])
    def test_pretraining_file(self, model, mae, tmp_path, nest):
        path = official(tmp_path / "checkpoint-799.pth", mae, nest)
        load_encoder(model, path)
        assert torch.equal(model.blocks[1].attn.v_bias, mae["encoder.blocks.1.attn.v_bias"])
        assert torch.equal(model.patch_embed.proj.weight, mae["encoder.patch_embed.proj.weight"])
        weights = read_weights(path)
        assert (weights.format, weights.kind, weights.tube) == ("videomae", "pre-training", (2, 8))
        assert (weights.image_size, weights.num_frames) == ((32, 4) if nest else (224, 16))

    def test_names_of_files_mean_nothing(self, model, mae, tmp_path):
        load_encoder(model, official(tmp_path / "config.json", mae))

    def test_deepspeed_folder(self, model, classifier, tmp_path):
        folder = tmp_path / "checkpoint-99"
        folder.mkdir()
        half = {name: tensor.half() for name, tensor in classifier.items()}
        content = {"module": half, "buffer_names": [], "optimizer": None, "ds_config": {"fp16": {"enabled": True}}}
        torch.save(content, folder / "mp_rank_00_model_states.pt")
        for path in (folder, folder / "mp_rank_00_model_states.pt"):
            load_classifier(model, path)
            assert torch.equal(model.head.weight, half["head.weight"].float())
            assert model.head.weight.dtype == torch.float32
        torch.save(content, folder / "mp_rank_01_model_states.pt")
        refused(load_classifier, model, folder, "split over several model-parallel ranks")

    @pytest.mark.parametrize("prefix", ["", "encoder.", "module.encoder."])
    @pytest.mark.parametrize("norm", [True, False])
    def test_encoder_alone(self, model, tmp_path, prefix, norm):
        """As the published ViT-H."""
        encoder = trained(Encoder(SMALL, 32, 4, 8, 2)).state_dict()
        state = {f"{prefix}{name}": t for name, t in encoder.items() if norm or not name.startswith("norm.")}
        path = official(tmp_path / "huge.pth", state, "module")
        load_encoder(model, path)
        assert torch.equal(model.blocks[0].attn.q_bias, encoder["blocks.0.attn.q_bias"])
        assert read_weights(path).kind == "encoder"
        refused(load_classifier, model, path, "no classification head")

    @pytest.mark.parametrize("prefix", ["_orig_mod.", "module._orig_mod.", "backbone."])
    def test_wrapped_names(self, model, classifier, tmp_path, prefix, caplog):
        path = official(tmp_path / "wrapped.pth", {f"{prefix}{name}": t for name, t in classifier.items()})
        with caplog.at_level(logging.WARNING):
            load_classifier(model, path)
        assert all(torch.equal(t, classifier[name]) for name, t in model.state_dict().items())
        said = f"took _orig_mod. (of torch.compile) off {len(classifier)} names"
        assert (said in caplog.text) == ("_orig_mod." in prefix)

    def test_compiled_in_a_lightning_checkpoint(self, model, classifier, tmp_path):
        state = {f"model._orig_mod.{name}": t for name, t in classifier.items()}
        torch.save({"state_dict": state}, tmp_path / "compiled.ckpt")
        load_classifier(model, tmp_path / "compiled.ckpt")
        assert torch.equal(model.head.bias, classifier["head.bias"])

    @pytest.mark.parametrize("load", [load_encoder, load_classifier])
    def test_zero_biases(self, load, classifier, tmp_path):
        for name, tensor in classifier.items():
            if name.endswith(("q_bias", "v_bias")):
                tensor.zero_()
        path = official(tmp_path / "zeros.pth", classifier)
        refused(load, Classifier(SMALL, 5, **CLIP), path, "all q and v biases are 0, .* --allow_zero_biases")
        assert read_weights(path, allow_zero_biases=True).kind == "classifier"
        classifier["blocks.1.attn.v_bias"][3] = 1e-8
        load(Classifier(SMALL, 5, **CLIP), official(tmp_path / "one.pth", classifier))

    def test_image_model(self, model, classifier, tmp_path):
        classifier["patch_embed.proj.weight"] = torch.zeros(32, 3, 8, 8)
        path = official(tmp_path / "image.pth", classifier)
        refused(load_classifier, model, path, "neither a pre-training nor a classifier checkpoint of VideoMAE")

    def test_head_without_fc_norm(self, model, classifier, tmp_path):
        """VideoMAE's classifier without mean pooling."""
        state = {name.replace("fc_norm", "norm"): t for name, t in classifier.items()}
        refused(load_classifier, model, official(tmp_path / "token.pth", state), re.escape("lacks fc_norm.bias and 1"))


class TestHuggingFaceFolder:
    @pytest.fixture
    def network(self) -> Classifier:
        torch.manual_seed(6)
        return trained(Classifier(TINY, 5, **CLIP))

    @pytest.fixture
    def folder(self, network, tmp_path) -> Path:
        source = official(tmp_path / "source.pth", network.state_dict())
        convert(source, tmp_path / "folder", "hf", verify=False)
        return tmp_path / "folder"

    def change(self, folder: Path, **settings) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | settings))

    def test_loads(self, network, folder):
        model = Classifier(TINY, 5, **CLIP)
        load_classifier(model, folder)
        assert all(torch.equal(t, network.state_dict()[name]) for name, t in model.state_dict().items())
        model = Classifier(TINY, 7, image_size=64, num_frames=8, patch_size=8)
        load_encoder(model, folder)
        assert torch.equal(model.blocks[5].attn.qkv.weight, network.blocks[5].attn.qkv.weight)

    def test_later_names_of_biases(self, network, folder):
        tensors = load_file(folder / "model.safetensors")
        assert "videomae.encoder.layer.0.attention.attention.q_bias" in tensors
        later = {n.replace(".q_bias", ".query.bias").replace(".v_bias", ".value.bias"): t for n, t in tensors.items()}
        stem = "videomae.encoder.layer.{}.attention.attention.key.bias"
        later |= {stem.format(i): torch.zeros(192) for i in range(6)}
        save_file(later, folder / "model.safetensors")
        model = Classifier(TINY, 5, **CLIP)
        load_classifier(model, folder)
        assert torch.equal(model.blocks[2].attn.v_bias, network.blocks[2].attn.v_bias)
        later[stem.format(4)][0] = 1.0
        save_file(later, folder / "model.safetensors")
        refused(load_classifier, model, folder, r"has a strange blocks.4.attn.key.bias")

    def test_pickled_weights(self, network, folder):
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        model = Classifier(TINY, 5, **CLIP)
        load_classifier(model, folder)
        assert torch.equal(model.fc_norm.bias, network.fc_norm.bias)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"num_attention_heads": 16}, "num_attention_heads 16, vsr's tiny classifier network 3"),
            ({"use_mean_pooling": False}, "use_mean_pooling false"),
            ({"hidden_act": "gelu_new"}, 'hidden_act "gelu_new"'),
            ({"model_type": "vit"}, 'model_type "vit"'),
            ({"image_size": [32, 48]}, "isn't square"),
        ],
    )
    def test_another_network(self, folder, settings, message):
        self.change(folder, **settings)
        refused(load_encoder, Classifier(TINY, 5, **CLIP), folder, message)

    def test_damaged(self, folder):
        model = Classifier(TINY, 5, **CLIP)
        content = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
        refused(load_encoder, model, folder, "model.safetensors can't be read, it is damaged or cut short")
        (folder / "config.json").write_text('{"model_type": ')
        refused(load_encoder, model, folder, "config.json can't be read")
        (folder / "config.json").unlink()
        refused(load_encoder, model, folder, "folder without config.json and model.safetensors")

    def test_its_file_alone(self, folder):
        path = folder / "model.safetensors"
        refused(load_encoder, Classifier(TINY, 5, **CLIP), path, "is a safetensors file: give its folder")


class Bomb:
    """Runs code when unpickled without care."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("load", [load_encoder, load_classifier])
class TestBadFiles:
    def test_missing(self, load, model, tmp_path):
        refused(load, model, tmp_path / "none.ckpt", "no such file")

    def test_folder(self, load, model, tmp_path):
        refused(load, model, tmp_path, "is a folder without")

    @pytest.mark.parametrize("share", [0, 0.02, 0.5, 0.99])
    def test_cut_short(self, load, model, finetuned, share):
        content = finetuned.read_bytes()
        finetuned.write_bytes(content[: int(len(content) * share)])
        refused(load, model, finetuned, "damaged or cut short")

    def test_text(self, load, model, tmp_path):
        path = tmp_path / "text.ckpt"
        path.write_text("not a checkpoint\n" * 9)
        refused(load, model, path, "can't be read")

    @pytest.mark.parametrize("zipped", [True, False])
    def test_code(self, load, model, tmp_path, zipped):
        path = tmp_path / "objects.ckpt"
        content = {"state_dict": {}, "args": argparse.Namespace(lr=Bomb(tmp_path / "ran"))}
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        refused(load, model, path, r"holds \w+.mkdir, a Python object that could run code, so it isn't opened: save")
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("content", [{"model": {}}, [1, 2], {"state_dict": 3}, {0: torch.zeros(1)}])
    def test_no_weights(self, load, model, tmp_path, content):
        path = tmp_path / "other.ckpt"
        torch.save(content, path)
        refused(load, model, path, "holds no weights")

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
