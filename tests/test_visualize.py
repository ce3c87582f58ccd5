"""``vsr visualize``: what users type, the pictures it writes, and what it refuses."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from vsr.analysis import keys
from vsr.analysis.footage import spread, squashed
from vsr.cli import main
from vsr.export import write_mp4
from vsr.models.exchange import read_weights
from vsr.models.vit import SIZES, Classifier, MaskedAutoencoder
from vsr.recipe import load_recipe
from vsr.render import render_clips

CLIP = {"image_size": 32, "num_frames": 4, "patch_size": 8, "tubelet_size": 2}
SIDE, GRID, FRAMES = 128, 4, 6
pytestmark = pytest.mark.usefixtures("one_thread")


def save(path: Path, network) -> Path:
    state = {f"model.{name}": tensor for name, tensor in network.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": state, "hyper_parameters": CLIP}, path)
    return path


def pretrained(seed: int, size: str = "tiny"):
    torch.manual_seed(seed)
    return MaskedAutoencoder(SIZES[size], **CLIP)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return save(tmp_path_factory.mktemp("a") / "first.ckpt", pretrained(0))


@pytest.fixture(scope="module")
def alike(tmp_path_factory):
    """The same function of its input, with the entries of its keys negated and in another order."""
    network = pretrained(0)
    attention, width = network.encoder.blocks[-1].attn, 192
    with torch.no_grad():
        for part in (slice(0, width), slice(width, 2 * width)):  # queries and keys
            attention.qkv.weight[part] = -attention.qkv.weight[part].flip(0)
        attention.q_bias.copy_(-attention.q_bias.flip(0))
    return save(tmp_path_factory.mktemp("b") / "alike.ckpt", network)


def frames(seed: int, count: int = FRAMES, height: int = 40, width: int = 48):
    """Coarse noise, so that resizing leaves something of it."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return coarse.repeat(height // 4, axis=1).repeat(width // 4, axis=2)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("Typing")
    for n in range(3):
        write_mp4(frames(n), folder / f"v_{n}.mp4", lossless=True)
    (folder / "notes.txt").write_text("not a video")
    return folder


def run(*words) -> None:
    main(["visualize", *map(str, words)])


def refusal(capsys, *words) -> str:
    with pytest.raises(SystemExit) as stopped:
        run(*words)
    assert stopped.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith("vsr: error: ")
    assert line.count("\n") == 1
    return line


def colours(checkpoint: Path, shown: int) -> np.ndarray:
    """The first picture of a video's keys, from the recipe's steps: uint8 (GRID, GRID, 3)."""
    encoder = keys.window_encoder(read_weights(checkpoint))
    several = [keys.attention_keys(encoder, keys.sliding_windows(squashed(frames(n), 32), 2)) for n in range(3)]
    found = keys.moments(several)
    scores = keys.project(several[shown], found, keys.principal_axes(found))
    return keys.as_colours(scores, GRID, GRID)[0].numpy()


def count(sheet: np.ndarray, picture: np.ndarray) -> int:
    """At how many places of a sheet a picture (S, S, C) stands, enlarged to SIDE."""
    step = SIDE // len(picture)
    tops, lefts = (place.flatten() for place in np.indices([side - SIDE + 1 for side in sheet.shape[:2]]))
    for y, x in np.ndindex(SIDE, SIDE):
        there = (sheet[tops + y, lefts + x] == picture[y // step, x // step]).all(axis=-1)
        tops, lefts = tops[there], lefts[there]
    return len(tops)


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


class TestKeys:
    def test_sheet_and_videos(self, first, alike, videos, tmp_path, capsys):
        run(first, alike, "--videos", videos, "--out", tmp_path / "out", "--shown", 2)
        assert {p.name for p in (tmp_path / "out").iterdir()} == {"keys.png", "keys-v_0.mp4", "keys-v_1.mp4"}
        sheet = read(tmp_path / "out" / "keys.png")
        assert spread(3, 2) == [0, 1]
        for shown in (0, 1):
            assert count(sheet, colours(first, shown)) >= 1
            assert count(sheet, colours(alike, shown)) >= 1
        assert sheet.shape[0] > 2 * 3 * SIDE
        assert sheet.shape[1] > (FRAMES - 1) * SIDE
        with av.open(tmp_path / "out" / "keys-v_0.mp4") as video:
            shown = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
        assert len(shown) == FRAMES - 1  # one for each window
        assert shown[0].shape[1] > 3 * SIDE
        assert shown[0].shape[0] < 2 * SIDE  # side by side
        printed = capsys.readouterr().out
        assert "first: three components hold" in printed
        assert "over 3 videos" in printed

    def test_matched_components_have_the_colours_of_the_first(self, first, alike, videos, tmp_path):
        wanted = colours(first, 0)
        for basis, times in (("own", 1), ("matched", 2)):
            run(first, alike, "--videos", videos, "--out", tmp_path / basis, "--shown", 1, "--basis", basis)
            assert count(read(tmp_path / basis / "keys.png"), wanted) == times

    def test_the_first_axes_for_all(self, first, videos, tmp_path):
        """Those of a network whose keys are twice as large are the same; its shares, too."""
        network = pretrained(0)
        with torch.no_grad():
            network.encoder.blocks[-1].attn.qkv.weight[192:384] *= 2
        twice = save(tmp_path / "twice.ckpt", network)
        run(first, twice, "--videos", videos, "--out", tmp_path, "--shown", 1, "--basis", "first")
        assert count(read(tmp_path / "keys.png"), colours(first, 0)) == 2

    def test_grey_videos_a_single_file_and_a_dataset(self, first, tmp_path):
        with av.open(tmp_path / "grey.mkv", "w") as container:
            stream = container.add_stream("ffv1", rate=10)
            stream.width, stream.height, stream.pix_fmt = 48, 40, "gray"
            for frame in frames(0)[..., :1].repeat(3, axis=-1):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="gray")))
            container.mux(stream.encode())
        run(first, "--videos", tmp_path / "grey.mkv", "--out", tmp_path / "out")
        with av.open(tmp_path / "out" / "keys-grey.mp4") as video:
            assert video.streams.video[0].average_rate == 10
        run(first, "--dataset", "moving_circles", "--index", 7, "--pca_videos", 2, "--shown", 1, "--out", tmp_path)
        assert [p.name for p in tmp_path.glob("keys-*")] == ["keys-moving_circles-7.mp4"]

    def test_real_videos(self, first, real_data, tmp_path):
        folder = real_data / "jhmdb21" / "videos" / "pour"
        run(first, "--videos", folder, "--out", tmp_path, "--pca_videos", 3, "--pca_frames", 5, "--shown", 1)
        assert read(tmp_path / "keys.png").std() > 10


class TestReconstructions:
    def test_the_clip_that_training_sees_its_mask_and_what_each_makes_of_it(self, first, tmp_path):
        other = save(tmp_path / "other.ckpt", pretrained(1))
        words = ("--dataset", "moving_circles", "--index", 7, "--epoch", 3, "--seed", 5, "--stride", 2, "--shown", 1)
        run(first, other, "--what", "reconstructions", *words, "--out", tmp_path)
        assert {p.name for p in tmp_path.iterdir()} == {
            "other.ckpt", "reconstructions.png", "reconstructions-moving_circles-7.mp4",
        }  # fmt: skip
        sheet = read(tmp_path / "reconstructions.png")
        clip = render_clips(load_recipe("moving_circles"), 5, [7], 3, 4, 2, 32)
        from vsr.modules import VideoMAE

        for path in (first, other):
            module = VideoMAE("tiny", **CLIP, seed=5)
            module.model.load_state_dict(read_weights(path).tensors)
            for kind in module.eval().reconstruct(clip, torch.tensor([7]), 3):
                assert count(sheet, kind[0, :, 0].permute(1, 2, 0).numpy()) >= 1

    def test_files(self, first, videos, tmp_path):
        run(first, "--what", "reconstructions", "--videos", videos, "--out", tmp_path, "--stride", 1)
        assert len(list(tmp_path.glob("reconstructions-v_*.mp4"))) == 3
        assert (read(tmp_path / "reconstructions.png") == 128).all(-1).mean() > 0.1


class TestRefusals:
    def test_videos(self, first, videos, tmp_path, capsys):
        def of(place):
            return refusal(capsys, first, "--videos", place, "--out", tmp_path / "out")

        (tmp_path / "classes" / "Typing").mkdir(parents=True)
        assert "no such file or folder" in of(tmp_path / "nowhere")
        assert "holds folders, first Typing, and no videos" in of(tmp_path / "classes")
        assert "holds no videos" in of(tmp_path / "classes" / "Typing")
        constant = np.zeros((FRAMES, 40, 48, 3), np.uint8) + np.arange(FRAMES, dtype=np.uint8)[:, None, None, None]
        for name, pixels, said in (
            ("constant", constant, "each of the frames 0 .. 5 is of one colour"),
            ("short", frames(0, 1), "has 1 frame, a window 2: give a longer video"),
            ("small", frames(0)[:, ::20, ::12], "is 4 x 2 px, fewer than the 4 x 4 tokens"),
        ):
            write_mp4(pixels, tmp_path / f"{name}.mp4", lossless=True)
            assert said in of(tmp_path / f"{name}.mp4")
        (tmp_path / "broken.mp4").write_bytes(b"")
        assert "empty (0 bytes)" in of(tmp_path / "broken.mp4")
        assert not (tmp_path / "out").exists()

    def test_checkpoints(self, first, videos, tmp_path, capsys):
        def of(*words):
            return refusal(capsys, *words, "--videos", videos, "--out", tmp_path / "out")

        torch.save({"state_dict": {"decoder.weight": torch.zeros(2)}}, tmp_path / "none.ckpt")
        assert "neither a pre-training nor a classifier" in of(tmp_path / "none.ckpt")
        assert "no such file" in of(tmp_path / "missing.ckpt")
        assert "given twice" in of(first, first)
        assert "checkpoints" in of()
        classifier = save(tmp_path / "classifier.ckpt", Classifier(SIZES["tiny"], 5, **CLIP))
        assert "has no decoder" in of(classifier, "--what", "reconstructions")
        wide = save(tmp_path / "wide.ckpt", pretrained(0, "small"))
        assert "(width 192) don't fit" in of(first, wide, "--basis", "first")
        torch.manual_seed(0)
        coarse = save(tmp_path / "coarse.ckpt", MaskedAutoencoder(SIZES["tiny"], 32, 4, 16, 2))
        assert "cut videos in other ways" in of(first, coarse, "--basis", "matched")
        assert "other shapes" in of(first, coarse, "--what", "reconstructions")

    def test_options(self, first, videos, capsys):
        assert "either --videos" in refusal(capsys, first)
        assert "either --videos" in refusal(capsys, first, "--videos", videos, "--dataset", "acc_shapes")
        assert "did you mean 'acc_shapes'" in refusal(capsys, first, "--dataset", "acc_shape")
        assert "shown 0 is not positive" in refusal(capsys, first, "--videos", videos, "--shown", 0)
        assert "seed -1" in refusal(capsys, first, "--dataset", "acc_shapes", "--seed", -1)
