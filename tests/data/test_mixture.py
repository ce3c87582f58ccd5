"""Mixtures, through real trainers and real files: which clip of which share is trained on, and when."""

import json
import logging
import pickle
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser
from lightning import LightningModule, Trainer
from PIL import Image
from test_clips import lay_out

import vsr
from vsr import rng
from vsr.data.augment import multi_scale_box, resized_crop
from vsr.data.batches import Visits
from vsr.data.decode import read_frames
from vsr.data.mixture import Share, VideoMixture, dealt
from vsr.data.sampling import pretrain_frames
from vsr.errors import InputError
from vsr.recipe import load_recipe

VIDEOS, FIXED, SEED = 12, 5, 3
SHAPE = {"num_frames": 4, "stride": 2}


@st.composite
def weights(draw: st.DrawFn) -> list[float]:
    """Two to five weights of up to three decimals that sum to 1."""
    cuts = draw(st.lists(st.integers(1, 999), min_size=1, max_size=4, unique=True))
    return [(b - a) / 1000 for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), 1000], strict=True)]


@settings(max_examples=25, deadline=None)
@given(weights())
def test_every_prefix_holds_every_share_to_within_one_sample(some: list[float]) -> None:
    deal = dealt(some)
    seen = [deal[n] for n in range(2 * len(deal.share))]
    share, number = np.array(seen).T
    had = np.cumsum(share[:, None] == np.arange(len(some)), axis=0)
    exact = [Fraction(str(weight)) for weight in some]
    for n, row in enumerate(had.tolist(), 1):
        assert all(abs(count - weight * n) < 1 for count, weight in zip(row, exact, strict=True))
    assert (number + 1 == had[np.arange(len(seen)), share]).all()


def test_samples_are_dealt_as_stated() -> None:
    assert [dealt([0.75, 0.25])[n] for n in range(5)] == [(1, 0), (0, 0), (0, 1), (0, 2), (1, 1)]
    assert [dealt([1.0])[n] for n in (0, 1, 7)] == [(0, 0), (0, 1), (0, 7)]
    assert [dealt([0.95, 0.05])[20 * 10**12 + k] for k in (0, 1)] == [(1, 10**12), (0, 19 * 10**12)]
    assert sorted(dealt([0.333, 0.333, 0.334])[n][0] for n in range(3)) == [0, 1, 2]


@pytest.mark.parametrize(
    ("some", "words"),
    [
        ([0.5, 0.4], r"0.5 \+ 0.4\) sum to 0.9: they must sum to 1"),
        ([0.1] * 9, r"sum to 0.9"),
        ([], r"\(none\) sum to 0"),
        ([1.0, 0.0], r"weight 0.0 is no share"),
        ([1.5, -0.5], r"weight 1.5 is no share"),
        ([float("nan")], r"weight nan"),
        ([0.1234567, 0.8765433], r"more than six decimals: round them"),
    ],
)
def test_weights_that_are_no_shares_are_refused(some: list[float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        dealt(some)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two recipes and twelve natural videos for training."""
    root = tmp_path_factory.mktemp("parts")
    lay_out(root)
    (root / "fixed.yaml").write_text(f"name: fixed\nnum_objects: 3\nspeed: [1.0, 2.0]\nnum_videos: {FIXED}\n")
    (root / "endless.yaml").write_text("name: endless\nnum_objects: 2\nsize: 32\n")
    return root


def mixture(parts: Path, most: int = 8, workers: int = 0, **options: Any) -> VideoMixture:
    """Half of a fixed set, a tenth of an endless one, two fifths of natural videos."""
    shares = [
        Share(0.5, recipe=str(parts / "fixed.yaml")),
        Share(0.1, recipe=str(parts / "endless.yaml")),
        Share(0.4),
    ]
    usual = {"size": 16, "global_batch_size": 8, "seed": SEED, "videos": str(parts / "videos"), "epoch_size": 20}
    settings = usual | SHAPE | {"max_batch_per_device": most, "num_workers": workers} | options
    return VideoMixture(**({"shares": shares, "name": "m"} | settings))


class Recorder(LightningModule):
    """Trains nothing; writes down what it was shown: share, index, epoch and a checksum of the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen: list[list[int]] = []

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        assert batch["video"].dtype == torch.uint8
        for k, clip in enumerate(batch["video"]):
            address = [int(batch[name][k]) for name in ("share", "index", "epoch")]
            self.seen.append([*address, zlib.crc32(clip.numpy().tobytes())])
        return self.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(data: VideoMixture, folder: Path, steps: int, ckpt: Path | None = None, **trainer: Any) -> tuple[Trainer, list]:
    module = Recorder()
    own = Trainer(
        max_steps=steps, default_root_dir=folder, logger=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, accelerator="cpu", enable_checkpointing=False, **trainer,
    )  # fmt: skip
    own.fit(module, datamodule=data, ckpt_path=ckpt)
    return own, module.seen


def address(n: int) -> list[int]:
    """Share, index and epoch of sample n, as the design states them."""
    share, m = dealt([0.5, 0.1, 0.4])[n]
    return [share, *Visits(SEED, [FIXED, None, VIDEOS][share])[m]]


def natural_clip(parts: Path, index: int, epoch: int) -> torch.Tensor:
    """A natural clip from its parts."""
    start, view = (
        rng.words(stream, SEED, torch.tensor([index]), epoch)[0, 0] for stream in (rng.Stream.FRAMES, rng.Stream.CLIP)
    )
    path = next((parts / "videos").rglob(f"v{index}.avi"))
    frames = read_frames(path, lambda count: pretrain_frames(count, int(start[0]), **SHAPE))
    video = torch.from_numpy(frames).permute(3, 0, 1, 2)
    return resized_crop(video, multi_scale_box(*video.shape[-2:], 16, view), 16)


@pytest.fixture(scope="module")
def whole(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> list[list[int]]:
    """What six steps of one process show."""
    return fit(mixture(parts), tmp_path_factory.mktemp("whole"), 6)[1]


def test_training_shows_every_share_in_its_own_order(parts: Path, whole: list[list[int]]) -> None:
    assert [seen[:3] for seen in whole] == [address(n) for n in range(48)]
    for share, index, epoch, checksum in whole[8:]:
        if share == 2:
            clip = natural_clip(parts, index, epoch)
        else:
            recipe = load_recipe(parts / ("fixed.yaml", "endless.yaml")[share])
            clip = vsr.render_clips(recipe, SEED, [index], epoch, 4, 2, 16)[0]
        assert zlib.crc32(clip.contiguous().numpy().tobytes()) == checksum


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_workers_and_a_resumption_change_nothing(
    parts: Path, whole: list[list[int]], tmp_path: Path, workers: int
) -> None:
    first, before = fit(mixture(parts, most=2, workers=workers), tmp_path, 3)  # amid an epoch of two steps
    assert first.accumulate_grad_batches == 4
    first.save_checkpoint(tmp_path / "half.ckpt")
    _, after = fit(mixture(parts, most=4, workers=workers), tmp_path, 6, tmp_path / "half.ckpt")
    assert before + after == whole


@pytest.mark.slow
def test_two_processes_share_every_step(parts: Path, whole: list[list[int]], tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(
        f"""
import json, sys, warnings
from pathlib import Path
warnings.filterwarnings("ignore")
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_mixture import fit, mixture
trainer, seen = fit(mixture(Path({str(parts)!r}), most=2), Path({str(tmp_path)!r}), 4, devices=2, strategy="ddp")
Path({str(tmp_path)!r}, f"rank{{trainer.global_rank}}.json").write_text(json.dumps(seen))
"""
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    ranks = [json.loads((tmp_path / f"rank{r}.json").read_text()) for r in range(2)]
    for step in range(4):
        both = [seen for rank in ranks for seen in rank[step * 4 : step * 4 + 4]]
        assert sorted(both) == sorted(whole[step * 8 : step * 8 + 8])


def test_a_batch_carries_addresses_and_only_its_own_decoded_clips(parts: Path) -> None:
    first, second = list(mixture(parts, most=8).train_dataloader())
    assert torch.stack(first["now"]).T.tolist() == [[i, e, s] for s, i, e in map(address, range(8))]
    assert all(map(torch.equal, first["following"], second["now"]))
    assert [len(t) for t in second["following"]] == [0, 0, 0]
    assert first["natural"].keys() == {2}
    assert len(first["natural"][2]["video"]) == sum(address(n)[0] == 2 for n in range(8))


def test_what_a_worker_is_sent_can_be_pickled(parts: Path) -> None:
    samples = pickle.loads(pickle.dumps(mixture(parts).train_dataloader().dataset))
    assert torch.stack(samples[[0, 1], []]["now"]).T.tolist() == [[i, e, s] for s, i, e in map(address, range(2))]


def test_without_natural_videos_none_are_needed_and_nothing_is_decoded(parts: Path) -> None:
    shares = [Share(0.5, recipe=str(parts / "fixed.yaml")), Share(0.5, recipe=str(parts / "endless.yaml"))]
    data = mixture(parts, shares=shares, videos=None, workers=2)
    loader = data.train_dataloader()
    assert loader.num_workers == 0
    batch = data.on_after_batch_transfer(next(iter(loader)), 0)
    assert batch["share"].tolist() == [1, 0] * 4
    assert data.provenance()["natural_videos"] == "none"


def test_natural_videos_alone_are_a_mixture_too(parts: Path) -> None:
    data = mixture(parts, shares=[Share(1, videos=str(parts / "videos"), lists=str(parts))], videos=None)
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert batch["index"].tolist() == [Visits(SEED, VIDEOS)[n][0] for n in range(8)]
    assert torch.equal(batch["video"][0], natural_clip(parts, int(batch["index"][0]), 0))


def test_every_share_has_textures_of_its_own(parts: Path) -> None:
    textured = "fill: texture\nnum_objects: 4\nspeed: [1.0, 2.0]\ntexture_size: 64\nnum_videos: 9\n"
    for k, source in enumerate(["statistical", "images"]):
        (parts / f"t{k}.yaml").write_text(f"name: t{k}\ntexture_source: {source}\n{textured}")
    (parts / "pictures").mkdir()
    for k in range(3):
        Image.effect_noise((20, 20), 60 + k).save(parts / "pictures" / f"{k}.png")
    shares = [Share(0.5, recipe=str(parts / f"t{k}.yaml")) for k in range(2)]
    options = {"texture_folder": str(parts / "pictures"), "max_textures": 3}
    data = mixture(parts, shares=shares, videos=None, **options)
    before = data.provenance()
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    banks = [data.rendered[k].bank for k in range(2)]
    assert [bank.recipe.name for bank in banks] == ["t0", "t1"]
    for clip, share, index in zip(batch["video"], batch["share"].tolist(), batch["index"].tolist(), strict=True):
        recipe = data.rendered[share].recipe
        assert torch.equal(clip, vsr.render_clips(recipe, SEED, [index], 0, 4, 2, 16, bank=banks[share])[0])
    for origin in (before, data.provenance()):
        assert [share["textures"][0]["source"] for share in origin["shares"]] == ["statistical", "images"]
        assert origin["natural_images"] == f"whatever {parts / 'pictures'} holds: 3 of its images"
        assert origin["natural_videos"] == "none"


def test_provenance_names_every_share_and_the_natural_videos(parts: Path) -> None:
    origin = mixture(parts).provenance()
    assert json.loads(json.dumps(origin))["dataset"] == "m"
    assert [share["weight"] for share in origin["shares"]] == [0.5, 0.1, 0.4]
    assert origin["shares"][0]["recipe_hash"] == load_recipe(parts / "fixed.yaml").hash
    assert origin["natural_videos"] == f"12 training videos in {parts / 'videos'} (ucf101, split 1)"
    assert origin["natural_images"] == "none"


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_natural_videos_are_counted_and_limited(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, workers: int
) -> None:
    damaged = lay_out(tmp_path) / "turn/v4.avi"
    damaged.write_bytes(damaged.read_bytes()[:-700])

    def shown(share: float) -> list[int]:
        data = mixture(tmp_path, shares=[Share(1)], global_batch_size=12, max_bad_share=share, workers=workers, most=12)
        iterator = iter(data.train_dataloader())
        try:
            return data.on_after_batch_transfer(next(iterator), 0)["index"].tolist()
        finally:
            if workers:  # left to the garbage collector, workers take 5 s to go
                iterator._shutdown_workers()

    with caplog.at_level(logging.WARNING):
        order = [Visits(SEED, VIDEOS)[n][0] for n in range(VIDEOS)]
        assert shown(0.1) == [5 if index == 4 else index for index in order]
    assert [record.getMessage().count("v4.avi") for record in caplog.records] == [1]
    with pytest.raises(InputError, match=r"1 of 12 training videos can't be read, .*v4\.avi"):
        shown(0.0)


@pytest.mark.parametrize(
    ("shares", "options", "words"),
    [
        ([Share(1)], {"videos": None}, r"share 0 of 'm' is natural and names no videos: set --data\.videos"),
        ([Share(1)], {"videos": "nowhere"}, r"videos nowhere: no such folder"),
        ([Share(1)], {"max_bad_share": 1.0}, r"max_bad_share 1.0"),
        ([Share(1, split=7)], {}, r"split 7"),
        ([Share(1, recipe="acc_shape")], {}, r"did you mean 'acc_shapes'"),
        ([Share(1, recipe="acc_images")], {}, r"give texture_folder"),
        ([Share(1, recipe="acc_shapes", videos="x")], {}, r"share 0 of 'm' has a recipe and videos"),
        ([Share(0.5, recipe="acc_shapes")], {}, r"sum to 0.5"),
        ([Share(1, recipe="acc_shapes")], {"stride": 40}, r"spans 121 frames"),
        ([Share(1)], {"stride": 0}, r"stride 0 is not positive"),
        ([Share(1)], {"seed": -1}, r"seed -1"),
        ([Share(1)], {"epoch_size": 0}, r"epoch_size 0"),
        ([Share(1)], {"epoch_size": 7}, r"global_batch_size 8 is more than the 7 videos of an epoch: use 7"),
    ],
)
def test_what_cannot_train_is_refused_at_once(
    parts: Path, shares: list[Share], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words) as caught:
        mixture(parts, shares=shares, **options)
    assert "\n" not in str(caught.value)


def test_a_config_file_may_hold_it(parts: Path) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(VideoMixture, "data")
    shares = [{"weight": 0.75, "recipe": str(parts / "endless.yaml")}, {"weight": 0.25, "layout": "ucf101"}]
    content = {"shares": shares, "name": "m", "size": 16, "videos": str(parts / "videos"), **SHAPE}
    data = parser.instantiate(parser.parse_object({"data": content})).data
    assert data.shares == [Share(0.75, recipe=str(parts / "endless.yaml")), Share(0.25)]
    assert data.steps_per_epoch == 9537 // 256


def test_overlap_gives_identical_clips_on_a_gpu(gpu: torch.device, parts: Path) -> None:
    def clips(overlap: bool) -> list[torch.Tensor]:
        data = mixture(parts, most=4, overlap=overlap)
        data.trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=gpu), global_rank=0, global_step=0)
        many = [data.transfer_batch_to_device(batch, gpu, 0) for batch in data.train_dataloader()]
        shown = [data.on_after_batch_transfer(batch, 0)["video"].clone() for batch in many]
        torch.cuda.synchronize()
        return shown

    for one, other in zip(clips(True), clips(False), strict=True):
        assert torch.equal(one, other)
