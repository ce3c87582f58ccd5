"""The command, on files and recipes."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image

from vsr.cli import main
from vsr.models.vit import SIZES, MaskedAutoencoder


def analyze(*words) -> None:
    main(["analyze", *map(str, words)])


def values(folder) -> dict[tuple[str, str], dict]:
    content = json.loads((folder / "properties.json").read_text(), parse_constant=lambda word: pytest.fail(word))
    assert content["schema"] == 1
    return {(number["dataset"], number["property"]): number for number in content["numbers"]}


def refused(capsys, *words) -> str:
    with pytest.raises(SystemExit) as ended:
        analyze(*words)
    assert ended.value.code == 2
    return capsys.readouterr().err


@pytest.fixture
def checkpoint(tmp_path):
    network = MaskedAutoencoder(SIZES["tiny"], image_size=32, num_frames=4)
    state = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"state_dict": state, "hyper_parameters": {"image_size": 32, "num_frames": 4}}, tmp_path / "mae.ckpt")
    return tmp_path / "mae.ckpt"


def test_recipes_and_folders_against_videos(films, stub_i3d, checkpoint, tmp_path, capsys):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("name: mine\nsize: 80\nspeed: [1.0, 2.0]\n")
    out = tmp_path / "out"
    few = ("--videos", 6, "--frames", 2, "--seed", 4, "--out", out)
    weights = ("--i3d", stub_i3d, "--checkpoint", checkpoint)
    analyze("static_circles", "moving_circles", "acc_shapes", recipe, films, "--against", films, *few, *weights)
    found = values(out)
    datasets = ["static_circles", "moving_circles", "acc_shapes", "mine", "natural"]
    assert list(dict.fromkeys(dataset for dataset, _ in found)) == datasets
    assert all((number["value"] is None) == (number["missing"] is not None) for number in found.values())
    assert all(number["seed"] == 4 for number in found.values())

    same = found["natural", "fvd"]
    assert same["value"] == pytest.approx(0, abs=1e-6)
    assert (same["n"], found["mine", "fvd"]["n"]) == (5, 5)  # one video is shorter than a clip
    assert "1 and 1 videos shorter than 16 frames left out" in same["how"]
    assert len(same["weights"]) == 64
    assert found["mine", "fvd_videomae"]["value"] > found["natural", "fvd_videomae"]["value"]
    assert found["natural", "colour_sum"]["value"] == pytest.approx(0, abs=1e-9)
    assert found["mine", "colour_mean"]["value"] * 2 == pytest.approx(found["mine", "colour_sum"]["value"])
    assert found["mine", "fid"]["missing"] == "needs weights: --inception"
    assert found["natural", "speed"]["missing"].startswith("only the renderer knows objects")
    assert 1 < found["mine", "speed"]["value"] < 2
    assert found["static_circles", "spectrum_exponent"]["error"] > 0

    printed = capsys.readouterr().out
    assert "not computed: fid, inception_volume" in printed
    assert "nan " not in printed
    with (out / "properties.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(found)
    page = (out / "properties.md").read_text()
    assert same["weights"] in page
    assert "mine, " in page.split("## Against accuracy")[1]
    assert Image.open(out / "figure4.png").size[0] > 500


def test_without_natural_videos(tmp_path):
    analyze("static_circles", "--videos", 2, "--frames", 1, "--out", tmp_path)
    found = values(tmp_path)
    for name in ("colour_mean", "colour_forward"):
        assert found["static_circles", name]["missing"] == "needs videos to compare with: --against"
    assert not (tmp_path / "figure4.png").exists()


def test_grey_and_constant_videos(films, tmp_path, write):
    """What they don't have is said, the rest is there."""
    ramp = np.arange(96, dtype=np.uint8)[None, None, :, None].repeat(80, 1).repeat(3, 3)
    for number in range(2):
        write(tmp_path / "grey" / f"{number}.mp4", np.roll(ramp, number, axis=2).repeat(17, 0))
        write(tmp_path / "constant" / f"{number}.mp4", np.full((17, 80, 96, 3), 90, np.uint8))
    analyze(
        tmp_path / "grey", tmp_path / "constant", "--against", films, "--videos", 2, "--frames", 2, "--out", tmp_path
    )
    found = values(tmp_path)
    for dataset in ("grey", "constant"):
        missing = f"the colours of {dataset} don't span L*a*b*: grey or constant"
        assert found[dataset, "colour_mean"]["missing"] == missing
    assert found["grey", "spectrum_exponent"]["value"] is not None
    assert found["constant", "spectrum_exponent"]["missing"] == "no frame has a spectrum"
    assert found["constant", "pixels_effective_rank"]["missing"] == "there is no variance"
    assert found["constant", "pixels_volume"]["value"] == pytest.approx(np.log(1e-6))


def test_bad_input(films, tmp_path, capsys):
    for words in ((), ("--videos", 4)):
        assert "arguments are required: datasets" in refused(capsys, *words)
    assert "did you mean 'acc_shapes'?" in refused(capsys, "acc_shape", "--videos", 4)
    assert "two datasets are called 'natural'" in refused(capsys, films, films)
    assert "statistics need 2 videos" in refused(capsys, films, "--videos", 1)
    assert "give --videos 6" in refused(capsys, "static_circles", "--against", films, "--videos", 8)
    (tmp_path / "other.yaml").write_text("name: acc_shapes\nspeed: [9.0, 9.0]\n")
    assert "but isn't that dataset" in refused(capsys, tmp_path / "other.yaml")
    (tmp_path / "wrong.pt").write_bytes(b"no network")
    words = refused(capsys, "static_circles", "--i3d", tmp_path / "wrong.pt")
    assert "wrong.pt (SHA-256 " in words
    assert "no such file" in refused(capsys, "static_circles", "--inception", tmp_path / "none.pth")


def test_of_real_videos(real_data, tmp_path):
    analyze(real_data / "jhmdb21" / "videos", "--videos", 16, "--frames", 2, "--out", tmp_path)
    found = values(tmp_path)
    assert 1.0 < found["videos", "spectrum_exponent"]["value"] < 1.8
