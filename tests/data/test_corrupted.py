"""Test videos under corruptions: what is shown, once each, and from where."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer

import vsr.data.corrupted
from vsr.cli import main
from vsr.corruptions import BENCHMARK, FIGURE, Cell, cells
from vsr.corruptions.codec import recode
from vsr.corruptions.pixel import perturb
from vsr.corruptions.temporal import order
from vsr.data import Batch
from vsr.data.clips import ActionClips
from vsr.data.corrupted import CorruptedClips
from vsr.data.decode import read_frames
from vsr.data.decoded import short_side
from vsr.errors import InputError
from vsr.export import write_mp4

pytestmark = pytest.mark.usefixtures("one_thread")
SHAPE = {"num_frames": 4, "stride": 2, "size": 16, "num_workers": 0, "global_batch_size": 1}
VIEWS = {"test_segments": 3, "test_crops": 3}
SIZES = [(30, 24, 32), (21, 36, 20), (5, 24, 24)]  # frames, height, width: wide, high, square and short
EACH = ["rotate", "gaussian_noise", "jumble", "reverse", "mpeg1"]


def moving(frames: int, height: int, width: int, seed: int) -> np.ndarray:
    """A smooth pattern that drifts, uint8 (frames, height, width, 3)."""
    t, y, x, c = np.ogrid[:frames, :height, :width, :3]
    return (127 + 120 * np.sin((x + 2 * t + 9 * seed) / 5 + c) * np.cos((y - t) / 7 + seed)).astype(np.uint8)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set")
    for name in ("train/a/0", "train/b/0", "test/a/0", "test/a/1", "test/b/2"):
        path = root / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        seed = int(name[-1])
        write_mp4(iter(moving(*SIZES[seed], seed)), path, lossless=True)
    return root


def shown(data: ActionClips) -> list[Batch]:
    data.setup("test")
    return [data.on_after_batch_transfer(batch, 0) for batch in data.test_dataloader()]


def corrupted(videos: Path, names: list[str] | str = EACH, **changes: object) -> CorruptedClips:
    return CorruptedClips(str(videos), "folders", perturbations=names, **(SHAPE | VIEWS | changes))


def of(batches: list[Batch], index: int, number: int) -> Batch:
    """The views of a video under a cell, from whichever batches they are in."""
    found = [(batch, (batch["index"] == index) & (batch["cell"] == number)) for batch in batches]
    return Batch(**{key: torch.cat([batch[key][rows] for batch, rows in found]) for key in batches[0]})


@pytest.fixture(scope="module")
def batches(videos: Path) -> list[Batch]:
    return shown(corrupted(videos, severities=[1, 4]))


def test_every_video_is_shown_once_under_every_cell(batches: list[Batch]) -> None:
    numbers = [0, *(cell.number for cell in cells(EACH, [1, 4]))]
    assert len(numbers) == 1 + 4 * 2 + 1  # reverse has no severity
    met = [
        tuple(pair)
        for b in batches
        for pair in torch.stack([b["index"], b["cell"]], 1).unique_consecutive(dim=0).tolist()
    ]
    assert sorted(met) == sorted(product(range(3), numbers))
    for index, number in met:
        views = of(batches, index, number)
        assert views["weight"].sum() == pytest.approx(1, abs=1e-6)
        assert len(set(views["view"].tolist())) == len(views["view"])
        assert set(views["label"].tolist()) == {int(index == 2)}


def test_clean_views_are_those_of_any_test(videos: Path, batches: list[Batch]) -> None:
    plain = shown(ActionClips(str(videos), "folders", **SHAPE, **VIEWS))
    for index in range(3):
        rows = torch.cat([b["index"] for b in plain]) == index
        clean = of(batches, index, 0)
        for key in ("video", "view", "weight", "label"):
            assert torch.equal(torch.cat([b[key] for b in plain])[rows], clean[key]), key


def test_pixels_are_perturbed_after_the_crop(batches: list[Batch]) -> None:
    for index, cell in product(range(3), cells(["rotate", "gaussian_noise"], [1, 4])):
        clean, there = of(batches, index, 0), of(batches, index, cell.number)
        expected = perturb(cell, clean["video"], clean["index"], clean["view"], 0)
        assert torch.equal(there["video"], expected)
        assert not torch.equal(there["video"], clean["video"])


def test_the_order_of_sampled_frames_is_changed_before_views_are_cut(videos: Path, batches: list[Batch]) -> None:
    sampled = np.arange(0, 30, 2)
    for cell in cells(["jumble", "reverse"], [1, 4]):
        frames = read_frames(videos / "test/a/0.mp4", lambda _, cell=cell: sampled[order(cell, 15, 0, 0)])
        small = short_side(torch.from_numpy(frames).permute(3, 0, 1, 2), 16)  # 16 x 21
        expected = [small[:, s : s + 4, :, c : c + 16] for s, c in product((0, 5, 11), (0, 2, 5))]
        assert torch.equal(of(batches, 0, cell.number)["video"], torch.stack(expected))


def test_a_codec_sees_the_whole_video_first(videos: Path, batches: list[Batch]) -> None:
    every = read_frames(videos / "test/a/1.mp4", np.arange)
    for cell in cells(["mpeg1"], [1, 4]):
        left = np.stack(list(recode(cell, iter(every))))
        small = short_side(torch.from_numpy(left[::2]).permute(3, 0, 1, 2), 16)  # 28 x 16, 11 sampled frames
        expected = [small[:, s : s + 4, c : c + 16] for s, c in product((0, 3, 7), (0, 6, 12))]
        assert torch.equal(of(batches, 1, cell.number)["video"], torch.stack(expected))


def test_what_a_cell_shows_depends_on_nothing_but_its_address(videos: Path, batches: list[Batch]) -> None:
    alone = shown(corrupted(videos, ["gaussian_noise", "jumble"], severities=[4], max_batch_per_device=1))
    for index, cell in product(range(3), cells(["jumble", "gaussian_noise"], [4])):
        assert torch.equal(of(alone, index, cell.number)["video"], of(batches, index, cell.number)["video"])
    other = shown(corrupted(videos, ["gaussian_noise"], severities=[4], seed=1))
    noise = cells(["gaussian_noise"], [4])[0].number
    assert not torch.equal(of(other, 0, noise)["video"], of(batches, 0, noise)["video"])


def test_a_batch_has_as_many_cells_as_fit(videos: Path) -> None:
    for most, sizes in ((1, {1}), (27, {1, 3})):
        data = corrupted(videos, severities=[2, 3], max_batch_per_device=most)
        assert {len(batch["cell"].unique()) for batch in shown(data)} == sizes
        assert len(data.test_dataloader()) == 3 * {1: 10, 27: 4}[most]


def test_a_video_is_decoded_once(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(
        vsr.data.corrupted, "read_frames", lambda path, *rest: read.append(Path(path).stem) or read_frames(path, *rest)
    )
    data = corrupted(videos, "figure", severities=[2])
    assert len(shown(data)) == 3 * 15  # 9 views fill the 8 clips of a CPU's batch
    assert sorted(read) == ["0", "1", "2"]


def test_workers_show_the_same(videos: Path, batches: list[Batch]) -> None:
    data = corrupted(videos, severities=[1, 4], num_workers=2)
    for ours, theirs in zip(shown(data), batches, strict=True):
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_sets_are_named(videos: Path) -> None:
    assert corrupted(videos, "figure").cells == cells(FIGURE)
    assert corrupted(videos, "benchmark").cells == cells(BENCHMARK)
    assert corrupted(videos, ["zoom_blur"], severities=[5]).cells == [Cell("zoom_blur", 5)]
    for names, severities, message in (
        (["gausian_noise"], None, "gaussian_noise"),
        (["jpeg"], [6], "severity 6"),
        (["jpeg", "jpeg"], None, "twice"),
        ([], None, "no perturbations"),
    ):
        with pytest.raises(InputError, match=message):
            corrupted(videos, names, severities=severities)


class Names(LightningModule):
    """Nothing that learns: a test may be run with it."""

    def test_step(self, batch: Batch) -> None:
        assert len(batch["video"])


def test_a_video_that_cannot_be_read_is_named(videos: Path, tmp_path: Path) -> None:
    (tmp_path / "train").symlink_to(videos / "train")
    (tmp_path / "test" / "b").mkdir(parents=True)
    (tmp_path / "test" / "b" / "half.mp4").write_bytes((videos / "test/b/2.mp4").read_bytes()[:700])
    trainer = Trainer(logger=False, enable_progress_bar=False, default_root_dir=tmp_path, barebones=False)
    with pytest.raises(InputError, match="half"):
        trainer.test(Names(), corrupted(tmp_path, num_workers=1), verbose=False)


def test_only_a_test_shows_them(videos: Path) -> None:
    with pytest.raises(InputError, match="for vsr test, not for vsr fit"):
        corrupted(videos).setup("fit")


def test_a_written_set_is_read_in_their_place(videos: Path, tmp_path: Path) -> None:
    chosen = ["--perturbations", "static_rotate", "reverse", "--severities", "5", "--lossless"]
    main(["corrupt", str(videos / "test"), str(tmp_path / "set"), *chosen, "--workers", "1"])
    layout = tmp_path / "videos"
    for name in ("train", "test"):  # a set is written from the folder that vsr test is given
        (layout / name).parent.mkdir(exist_ok=True)
        (layout / name).symlink_to(videos / name)
    with pytest.raises(InputError, match=r"doesn't hold 3 of the videos"):
        shown(corrupted(layout, ["reverse"], corrupted=str(tmp_path / "set")))
    main(["corrupt", str(videos), str(tmp_path / "whole"), *chosen, "--workers", "1"])
    there = shown(corrupted(videos, ["reverse", "static_rotate"], severities=[5], corrupted=str(tmp_path / "whole")))
    sampled = np.arange(0, 30, 2)
    frames = read_frames(videos / "test/a/0.mp4", lambda count: count - 1 - sampled)  # of all frames, not the sampled
    small = short_side(torch.from_numpy(frames).permute(3, 0, 1, 2), 16)
    expected = small[:, 11:15, :, 5:21]
    last = of(there, 0, Cell("reverse", 1).number)["video"][-1]
    assert (last.int() - expected.int()).abs().max() <= 3  # colour is halved in the file
    turned = of(there, 0, Cell("static_rotate", 5).number)["video"]
    assert turned.shape == of(there, 0, 0)["video"].shape
    assert not torch.equal(turned, of(there, 0, 0)["video"])
