"""What ``vsr inspect`` says of real checkpoints: of a run, of one that started from another, in every format."""

import json

import pytest
import torch
from PIL import Image
from test_cli import TINY, run, write_clip

from vsr.recipe import recipe_from_dict

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A pre-training on images and a fine-tuning that started from it, in one folder."""
    place = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        (place / "images").mkdir()
        for k in range(3):
            Image.effect_noise((32, 32), 80).convert("RGB").save(place / "images" / f"{k}.png")
        (place / "images" / "LICENSE").write_text("CC BY 4.0\n")
        for n in range(8):
            write_clip(place / "videos" / ("train", "test")[n // 4] / f"class{n % 2}" / f"{n}.avi", n)
        run("fit", "--config", "configs/pretrain/acc_images.yaml", *TINY, "--texture_folder", "images",
            "--seed_everything", "7")  # fmt: skip
        run(
            "fit", "--config", "configs/finetune/folders.yaml", *TINY, "--data.videos", "videos", "--data.stride", "2",
            "--data.num_workers", "0", "--data.seed", "3", "--model.checkpoint", PRETRAINED,
        )  # fmt: skip
    return place


PRETRAINED = "runs/pretrain/acc_images/default/checkpoints/last.ckpt"
FINETUNED = "runs/finetune/folders/default/checkpoints/last.ckpt"


@pytest.fixture
def said(runs, monkeypatch, capsys):
    """What the command prints."""
    monkeypatch.chdir(runs)

    def of(*words):
        capsys.readouterr()
        run("inspect", *words)
        return capsys.readouterr().out

    return of


def test_a_run_says_what_it_was_made_from(said):
    found = json.loads(said(PRETRAINED, "--json"))
    assert (found["kind"], found["format"], found["step"], found["size"]) == ("pre-training", "vsr", 2, "tiny")
    assert found["clip"] == {"num_frames": 4, "size": 16}
    state = torch.load(PRETRAINED, weights_only=True)["state_dict"]
    assert found["parameters"] == sum(tensor.numel() for tensor in state.values())
    [stage] = found["stages"]
    origin = stage["provenance"]
    assert stage["hashes_agree"] is True
    assert origin["recipe_hash"] == recipe_from_dict(origin["recipe"], "here").hash
    assert (origin["data_seed"], origin["seed_everything"]) == (0, 7)
    [pool] = origin["textures"]
    assert (pool["count"], pool["images"]["count"], pool["images"]["licence"]) == (2, 3, "CC BY 4.0")
    assert len(pool["images"]["hash"]) == 64
    text = said(PRETRAINED)
    for part in (
        "pre-training at step 2, format vsr", "4 frames of 16 x 16 px", f"hash {origin['recipe_hash']}: shapes mixed",
        f"2 of 3 images of images, licence CC BY 4.0, hash {pool['images']['hash'][:16]}, 0 unreadable",
        "data 0, everything else 7", f"{found['parameters']:,} parameters", "2 steps planned, 4 clips a step",
        "natural videos  none", "natural images  whatever images holds: 2 of its images (pre-training)",
        f"vsr {origin['vsr']}", f"torch {torch.__version__}".split("+")[0],
    ):  # fmt: skip
        assert part in " ".join(text.split()) or part in text, part


def test_a_chain_is_told_from_its_beginning(said):
    found = json.loads(said(FINETUNED, "--json"))
    assert [stage["stage"] for stage in found["stages"]] == ["pre-training", "fine-tuning"]
    assert [stage["checkpoint"] for stage in found["stages"]] == [PRETRAINED, FINETUNED]
    assert [stage["provenance"]["data_seed"] for stage in found["stages"]] == [0, 3]
    assert found["natural_videos"] == "none (pre-training); 4 training videos of folders (fine-tuning)"
    assert found["natural_images"] == "whatever images holds: 2 of its images (pre-training); none (fine-tuning)"
    assert found["classes"] == ["class0", "class1"]
    lines = said(FINETUNED).splitlines()
    assert [line for line in lines if line[:2] in ("1.", "2.")] == [
        f"1. pre-training: {PRETRAINED}", f"2. fine-tuning: {FINETUNED}",
    ]  # fmt: skip
    assert "   classes         class0, class1" in lines


@pytest.mark.parametrize("to", ["vsr", "videomae", "hf"])
def test_provenance_goes_through_every_format(said, tmp_path, to):
    run("convert", FINETUNED, tmp_path / "converted", "--to", to, "--verify", "false")
    found, first = (json.loads(said(path, "--json")) for path in (tmp_path / "converted", FINETUNED))
    assert (found["format"], found["kind"], found["converted_from"]) == (to, "classifier", "last.ckpt (vsr)")
    for key in ("natural_videos", "natural_images", "classes", "step", "parameters", "size", "clip"):
        assert found[key] == first[key], key
    assert [s["provenance"] for s in found["stages"]] == [s["provenance"] for s in first["stages"]]
    assert [s["hashes_agree"] for s in found["stages"]] == [True, None]
    assert "(fine-tuning)" in said(tmp_path / "converted")


def test_what_is_not_stated_is_not_taken_for_none(said, runs, tmp_path):
    content = torch.load(runs / PRETRAINED, weights_only=True)
    bare = {name.removeprefix("model."): tensor for name, tensor in content["state_dict"].items()}
    torch.save({"model": bare}, tmp_path / "bare.pth")
    text = said(tmp_path / "bare.pth")
    assert "natural videos  not stated (unknown training)" in text
    assert "it doesn't say what it was trained on" in text


def test_a_recipe_that_was_changed_is_found_out(said, runs, tmp_path):
    content = torch.load(runs / PRETRAINED, weights_only=True)
    content["provenance"]["recipe"]["num_objects"] = 3
    torch.save(content, tmp_path / "changed.ckpt")
    assert json.loads(said(tmp_path / "changed.ckpt", "--json"))["stages"][0]["hashes_agree"] is False
    assert "A RECIPE DOESN'T HAVE THE HASH RECORDED WITH IT" in said(tmp_path / "changed.ckpt")


@pytest.mark.parametrize(
    "strange",
    [
        {"module": "\x1b[2J\nnatural videos none", "natural_videos": "\x1b]0;none\x07\n"},
        {"recipe": 3, "shares": "x", "textures": [1, {"images": 2}], "clip": [], "earlier_parts": [5]},
        {"recipe": {"name": [], "size": "x"}, "textures": 7, "starts_from": {"checkpoint": 1, "provenance": "?"}},
        {"shares": [None, {"weight": "x", "recipe": {}}], "starts_from": [], "total_steps": "many"},
    ],
)
def test_strange_provenance_does_no_harm(said, runs, tmp_path, strange):
    content = torch.load(runs / PRETRAINED, weights_only=True)
    content["provenance"] = strange
    torch.save(content, tmp_path / "strange.ckpt")
    text = said(tmp_path / "strange.ckpt")
    assert "\x1b" not in text
    assert not [line for line in text.splitlines() if line.startswith("natural")]
    json.loads(said(tmp_path / "strange.ckpt", "--json"))


def test_what_holds_no_weights_is_refused(said, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("no weights")
    run("inspect", tmp_path / "notes.txt", expect=2)
    assert "notes.txt can't be read" in capsys.readouterr().err
