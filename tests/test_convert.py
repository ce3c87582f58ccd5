"""``vsr convert``: weights from one format to another, as users type it."""

import json
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from vsr.cli import main
from vsr.errors import InputError
from vsr.models.exchange import convert, load_classifier, load_encoder, read_weights
from vsr.models.exchange.verify import compare
from vsr.models.masking import gather_tokens, normalized_target, patchify, tube_mask
from vsr.models.vit import IMAGENET_MEAN, IMAGENET_STD, SIZES, Classifier, Encoder, MaskedAutoencoder

TINY = SIZES["tiny"]
CLIP = {"image_size": 32, "num_frames": 4, "patch_size": 8, "tubelet_size": 2}
PROVENANCE = {"recipe": {"name": "acc_shapes", "speed": (1.2, 3.0)}, "natural_videos": "none", "natural_images": "none"}


def trained(network):
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return network.eval()


def network_of(kind: str):
    torch.manual_seed(0)
    if kind == "pre-training":
        return trained(MaskedAutoencoder(TINY, **CLIP))
    if kind == "classifier":
        network = trained(Classifier(TINY, 5, **CLIP))
        network.head.weight.data.mul_(1000)  # it starts at a thousandth
        return network
    return trained(Encoder(TINY, **CLIP))


def saved(path: Path, kind: str, network) -> Path:
    """As ``vsr fit`` saves it."""
    prefix = "model.encoder." if kind == "encoder" else "model."
    state = {f"{prefix}{name}": t for name, t in network.state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": CLIP, "provenance": PROVENANCE, "global_step": 2}, path)
    return path


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(t.dtype == b[n].dtype and torch.equal(t, b[n]) for n, t in a.items())


def clip() -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, 4, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def their_pixels(video: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(v).view(1, 1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (video.transpose(1, 2) / 255 - mean) / std  # (B, T, C, H, W)


KINDS = pytest.mark.parametrize("kind", ["pre-training", "encoder", "classifier"])


class TestRoundTrips:
    @KINDS
    @pytest.mark.parametrize(
        "way", [("videomae", "vsr"), ("hf", "vsr"), ("videomae", "hf", "videomae"), ("hf", "videomae", "hf", "vsr")]
    )
    def test_bit_equal(self, kind, way, tmp_path):
        path = saved(tmp_path / "last.ckpt", kind, network_of(kind))
        seen = {"vsr": read_weights(path)}
        for step, to in enumerate(way):
            convert(path, tmp_path / f"{step}", to, verify=False)
            path = tmp_path / f"{step}"
            weights = read_weights(path)
            assert (weights.format, weights.kind, weights.size_name, weights.tube) == (to, kind, "tiny", (2, 8))
            assert (weights.image_size, weights.num_frames) == (32, 4)
            assert equal(weights.tensors, seen["vsr"].tensors)
            assert json.dumps(weights.about.provenance) == json.dumps(PROVENANCE)
            if to in seen and to != "vsr":
                assert equal(*(load_file(p / "model.safetensors") if to == "hf" else torch.load(p)["model"]
                               for p in (path, seen[to].path)))  # fmt: skip
            seen[to] = weights

    def test_small(self, tmp_path):
        """A network of VideoMAE's own size, there and back."""
        torch.manual_seed(0)
        network = trained(MaskedAutoencoder(SIZES["small"], image_size=32, num_frames=2))
        torch.save({"model": network.state_dict()}, tmp_path / "vit_s.pth")
        done = convert(tmp_path / "vit_s.pth", tmp_path / "vit_s", "hf", image_size=32, num_frames=2)
        assert done.difference.aligned < 1e-5
        convert(tmp_path / "vit_s", tmp_path / "back.pth", "videomae", verify=False)
        assert equal(torch.load(tmp_path / "back.pth")["model"], network.state_dict())

    def test_half_precision_stays(self, tmp_path):
        network = network_of("classifier").half()
        torch.save({"module": network.state_dict()}, tmp_path / "half.pth")
        done = convert(tmp_path / "half.pth", tmp_path / "half", "hf", image_size=32, num_frames=4)
        assert done.difference.aligned < 1e-5
        assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == "float16"
        convert(tmp_path / "half", tmp_path / "half.ckpt", "vsr", verify=False)
        assert equal(read_weights(tmp_path / "half.ckpt").own_names, network.state_dict())

    def test_decoder_of_another_depth(self, tmp_path):
        from dataclasses import replace

        network = trained(MaskedAutoencoder(replace(TINY, decoder_depth=3), **CLIP))
        done = convert(saved(tmp_path / "deep.ckpt", "pre-training", network), tmp_path / "deep", "hf")
        assert json.loads((tmp_path / "deep" / "config.json").read_text())["decoder_num_hidden_layers"] == 3
        assert done.difference.aligned < 1e-5


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
class TestTransformers:
    """What ``from_pretrained`` makes of our folders, and we of those that transformers saves."""

    @pytest.fixture
    def transformers(self):
        return pytest.importorskip("transformers")

    def load(self, transformers, name, folder):
        network, report = getattr(transformers, name).from_pretrained(folder, output_loading_info=True)
        assert not any(report.values()), report
        biases = [p for n, p in network.named_parameters() if n.endswith(("query.bias", "value.bias"))]
        assert biases
        assert all(bias.any() for bias in biases)
        return network.eval()

    def test_pretraining(self, transformers, tmp_path):
        mae = network_of("pre-training")
        convert(saved(tmp_path / "last.ckpt", "pre-training", mae), tmp_path / "mae", "hf")
        theirs = self.load(transformers, "VideoMAEForPreTraining", tmp_path / "mae")
        theirs.decoder.norm.eps = 1e-6
        assert theirs.config.layer_norm_eps == 1e-6
        assert (theirs.config.use_mean_pooling, theirs.config.norm_pix_loss) == (False, True)
        keep, masked = tube_mask(0, torch.arange(2), 0, (2, 4, 4), 0.75)
        hidden = torch.zeros(2, 32, dtype=torch.bool).scatter(1, masked, True)
        with torch.no_grad():
            want = theirs(their_pixels(clip()), bool_masked_pos=hidden)
            got = mae(clip(), keep, masked)
        torch.testing.assert_close(got, want.logits, atol=1e-5, rtol=1e-5)
        loss = F.mse_loss(got, normalized_target(gather_tokens(patchify(clip(), 8, 2), masked)))
        torch.testing.assert_close(loss, want.loss, atol=1e-5, rtol=1e-5)

    def test_classifier(self, transformers, tmp_path):
        network = network_of("classifier")
        convert(saved(tmp_path / "last.ckpt", "classifier", network), tmp_path / "classifier", "hf")
        theirs = self.load(transformers, "VideoMAEForVideoClassification", tmp_path / "classifier")
        theirs.fc_norm.eps = 1e-6
        assert theirs.config.num_labels == 5
        with torch.no_grad():
            want, got = theirs(their_pixels(clip())).logits, network(clip())
        assert want.abs().max() > 0.01
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)

    def test_encoder(self, transformers, tmp_path):
        encoder = network_of("encoder")
        convert(saved(tmp_path / "last.ckpt", "encoder", encoder), tmp_path / "encoder", "hf")
        theirs = self.load(transformers, "VideoMAEModel", tmp_path / "encoder")
        with torch.no_grad():
            torch.testing.assert_close(
                encoder(clip()), theirs(their_pixels(clip())).last_hidden_state, atol=1e-5, rtol=1e-5
            )

    def test_preprocessing(self, transformers, tmp_path):
        convert(saved(tmp_path / "last.ckpt", "classifier", network_of("classifier")), tmp_path / "c", "hf", False)
        video = clip()[0]
        for auto in (transformers.AutoImageProcessor, transformers.AutoVideoProcessor):
            process = auto.from_pretrained(tmp_path / "c")
            got = process(list(video.transpose(0, 1).numpy()), return_tensors="pt")["pixel_values"]
            torch.testing.assert_close(got, their_pixels(video[None]), atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("name", ["VideoMAEForPreTraining", "VideoMAEModel", "VideoMAEForVideoClassification"])
    @pytest.mark.parametrize("pooled", [True, False])
    def test_saved_by_transformers(self, transformers, tmp_path, name, pooled):
        torch.manual_seed(0)
        actions = ["jump", "run", "sit", "swim", "walk"]
        config = transformers.VideoMAEConfig(
            image_size=32, patch_size=8, num_frames=4, hidden_size=192, num_hidden_layers=6, num_attention_heads=3,
            intermediate_size=768, decoder_hidden_size=96, decoder_num_hidden_layers=2, decoder_num_attention_heads=3,
            decoder_intermediate_size=384, use_mean_pooling=pooled, id2label=dict(enumerate(actions)),
        )  # fmt: skip
        theirs = trained(getattr(transformers, name)(config))
        theirs.save_pretrained(tmp_path / "theirs")
        (tmp_path / "theirs" / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# Theirs\n")
        fits = {"VideoMAEForPreTraining": not pooled, "VideoMAEForVideoClassification": pooled}.get(name, True)
        if not fits:
            with pytest.raises(InputError, match=r"lacks encoder.norm.bias and 1 more|use_mean_pooling false"):
                convert(tmp_path / "theirs", tmp_path / "ours.ckpt", "vsr")
            return
        done = convert(tmp_path / "theirs", tmp_path / "ours.ckpt", "vsr")
        assert done.difference.aligned < 1e-5
        assert "Licence of the weights: cc-by-nc-4.0" in (tmp_path / "ours.ckpt.md").read_text()
        if name == "VideoMAEForVideoClassification":
            assert read_weights(tmp_path / "ours.ckpt").about.classes == actions
            model = Classifier(TINY, 5, **CLIP).eval()
            load_classifier(model, tmp_path / "ours.ckpt")
            theirs.fc_norm.eps = 1e-6
            with torch.no_grad():
                want = theirs(their_pixels(clip())).logits
                torch.testing.assert_close(model(clip()), want, atol=1e-5, rtol=1e-5)
            convert(tmp_path / "ours.ckpt", tmp_path / "again", "hf", verify=False)
            assert transformers.AutoConfig.from_pretrained(tmp_path / "again").id2label == dict(enumerate(actions))


class TestLightning:
    """What our modules make of converted files."""

    def test_classifier_is_a_checkpoint(self, tmp_path):
        import lightning.pytorch as L

        from vsr.modules import ActionClassifier

        network = network_of("classifier")
        torch.save({"model": network.state_dict()}, tmp_path / "official.pth")
        convert(tmp_path / "official.pth", tmp_path / "ours.ckpt", "vsr", image_size=32, num_frames=4)
        content = torch.load(tmp_path / "ours.ckpt", weights_only=True)
        settings = {name: value for name, value in content["hyper_parameters"].items() if name != "_class_path"}
        batch = {"video": clip(), "index": torch.arange(2), "label": torch.tensor([0, 1]), "weight": torch.ones(2)}
        given = torch.utils.data.DataLoader([batch], batch_size=None)
        quiet = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        for loaded in ({"ckpt_path": tmp_path / "ours.ckpt", "weights_only": True}, {}):
            checkpoint = None if loaded else str(tmp_path / "ours.ckpt")
            module = ActionClassifier(**settings, checkpoint=checkpoint)
            L.Trainer(**quiet).test(module, given, verbose=False, **loaded)
            assert equal(module.model.state_dict(), network.state_dict())

    def test_encoder_starts_a_classifier(self, tmp_path):
        mae = network_of("pre-training")
        convert(saved(tmp_path / "last.ckpt", "pre-training", mae), tmp_path / "mae", "hf", verify=False)
        convert(tmp_path / "mae", tmp_path / "mae.ckpt", "vsr", verify=False)
        for path in (tmp_path / "mae", tmp_path / "mae.ckpt"):
            model = Classifier(TINY, 3, **CLIP)
            load_encoder(model, path)
            want = {f"encoder.{n}": t for n, t in model.state_dict().items() if not n.startswith(("fc_norm", "head"))}
            assert all(torch.equal(t, mae.state_dict()[name]) for name, t in want.items())


class TestComparison:
    def test_another_network(self, tmp_path):
        network = network_of("classifier")
        first = read_weights(saved(tmp_path / "a.ckpt", "classifier", network))
        network.blocks[3].attn.v_bias.data[7] += 0.1
        second = read_weights(saved(tmp_path / "b.ckpt", "classifier", network))
        assert compare(first, first) == (0, None)
        with pytest.raises(InputError, match=r"compute other things .* difference is 0\.\d+ \(limit 0.0001\)"):
            compare(first, second)


def listing(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


class TestVerb:
    @pytest.fixture(autouse=True)
    def _own_folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)

    @pytest.fixture
    def mae(self):
        return network_of("pre-training")

    @pytest.fixture
    def source(self, mae) -> Path:
        return saved(Path("last.ckpt"), "pre-training", mae)

    def refused(self, capsys, *words: str) -> str:
        """The one line, and that nothing was left behind."""
        before = listing(Path())
        with pytest.raises(SystemExit) as stopped:
            main(["convert", *words])
        assert stopped.value.code == 2
        assert listing(Path()) == before
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("vsr: error:")]
        assert len(lines) == 1
        return lines[0]

    def test_there_and_back(self, source, mae, capsys):
        main(["convert", str(source), "folder", "--to", "hf"])
        out = capsys.readouterr().out.splitlines()
        assert out[0] == (
            "last.ckpt: pre-training weights in format vsr, size tiny, tubes 2 x 8 x 8, clips of 4 frames of 32 px"
        )
        assert out[1] == "folder: written in format hf, every tensor equal; folder/README.md: its card"
        assert out[2].startswith("difference on a fixed clip: ")
        assert out[2].endswith("with transformers' own LayerNorm eps")
        names = {"config.json", "model.safetensors", "preprocessor_config.json", "README.md"}
        assert listing(Path("folder")) == names
        main(["convert", "folder", "mae.pth", "--to", "videomae", "--verify", "false"])
        assert capsys.readouterr().out.splitlines()[2] == "outputs not compared"
        assert equal(torch.load("mae.pth", weights_only=True)["model"], mae.state_dict())
        assert listing(Path()) == {"last.ckpt", "folder", "mae.pth", "mae.pth.md", *(f"folder/{n}" for n in names)}

    def test_card(self, source):
        main(["convert", str(source), "folder"])
        card = Path("folder/README.md").read_text()
        assert "pre-trained and not fine-tuned: size tiny (width 192, 6 blocks, decoder of 2 blocks)" in card
        assert "natural videos: none; natural images: none" in card
        assert '"name": "acc_shapes"' in card
        assert "Converted from last.ckpt (vsr) by vsr" in card
        assert "Licence of the weights: not stated in the source" in card
        assert "Largest difference" in card
        code = card.split("```python\n")[1].split("```")[0].replace('"folder"', f'"{Path("folder").resolve()}"')
        loaded: dict = {}
        exec(code, loaded)  # what the card says works
        assert loaded["model"].decoder.norm.eps == 1e-6
        assert str(Path.cwd()) not in card

    @pytest.mark.parametrize("to", ["vsr", "videomae"])
    def test_card_beside_a_file(self, source, to):
        main(["convert", str(source), "out.pth", "--to", to, "--verify", "false"])
        card = Path("out.pth.md").read_text()
        assert "outputs were not compared" in card
        assert ("can't be resumed" in card) == (to == "vsr")

    def test_clip_size(self, mae, capsys):
        torch.save(mae.state_dict(), "bare.pth")
        main(["convert", "bare.pth", "a", "--verify", "false"])
        assert "clips of 16 frames of 224 px" in capsys.readouterr().out
        main(["convert", "bare.pth", "b", "--image_size", "48", "--num_frames", "6", "--verify=false"])
        config = json.loads(Path("b/config.json").read_text())
        assert (config["image_size"], config["num_frames"], config["patch_size"]) == (48, 6, 8)

    def test_zero_biases(self, capsys):
        torch.manual_seed(0)
        fresh = MaskedAutoencoder(TINY, **CLIP)
        torch.save({"model": fresh.state_dict()}, "fresh.pth")
        message = self.refused(capsys, "fresh.pth", "out.ckpt", "--to", "vsr")
        assert "fresh.pth: all q and v biases are 0" in message
        main(["convert", "fresh.pth", "out.ckpt", "--to", "vsr", "--allow_zero_biases", "--verify", "false"])
        assert Path("out.ckpt").is_file()

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ("none.ckpt out", "none.ckpt: no such file"),
            ("last.ckpt last.ckpt --to vsr", "last.ckpt exists: remove it first, or name another"),
            ("last.ckpt out --to onnx", "onnx"),
            ("last.ckpt out --too hf", "did you mean 'to'?"),
            ("last.ckpt /proc/none/out", "can't write /proc/none/out"),
            ("last.ckpt out --image_size 36", "image_size 36 px is not a multiple of patch_size 8: use 32 or 40 px"),
            ("last.ckpt out --num_frames 3", "num_frames 3"),
            ("short.ckpt out", "short.ckpt can't be read, it is damaged or cut short"),
            ("wide.pth out", "wide.pth is width 64, depth 6, none of vsr's sizes: use one of tiny 192 x 6, small"),
            ("lacking.pth out", "lacking.pth lacks decoder.norm.weight"),
            ("nan.pth out --to vsr", "compute other things"),
            ("taken.pth out.ckpt --to vsr", "out.ckpt.md exists"),
        ],
    )
    def test_bad_input(self, source, mae, capsys, words, message):
        Path("short.ckpt").write_bytes(source.read_bytes()[:100_000])
        state = mae.state_dict()
        lacking = {name: t for name, t in state.items() if name != "decoder.norm.weight"}
        torch.save({"model": lacking}, "lacking.pth")
        torch.save({"model": state | {"encoder.patch_embed.proj.weight": torch.zeros(64, 3, 2, 8, 8)}}, "wide.pth")
        torch.save({"model": state | {"mask_token": torch.full((1, 1, 96), torch.nan)}}, "nan.pth")
        if "taken" in words:
            Path("out.ckpt.md").touch()
        assert message in self.refused(capsys, *words.split())

    def test_without_transformers(self, source, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "transformers", None)
        assert "pip install 'transformers>=5', or give --verify false" in self.refused(capsys, str(source), "out")
        main(["convert", str(source), "out", "--verify", "false"])
        main(["convert", str(source), "out.pth", "--to", "videomae"])

    def test_folder_that_lost_its_biases(self, source, capsys):
        """What releases of transformers 5 made of published folders."""
        main(["convert", str(source), "folder", "--verify", "false"])
        tensors = load_file("folder/model.safetensors")
        for name, tensor in tensors.items():
            if name.endswith(("q_bias", "v_bias")):
                tensor.zero_()
        save_file(tensors, "folder/model.safetensors", metadata={"format": "pt"})
        assert "folder: all q and v biases are 0" in self.refused(capsys, "folder", "out.ckpt", "--to", "vsr")
