"""Features that are kept: each clip is encoded once, and what is read later is what was made."""

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning import LightningModule, Trainer
from test_clips import TRAIN, clips, lay_out
from torch import Tensor

from vsr.data import features
from vsr.data.batches import Visits
from vsr.data.clips import ActionClips
from vsr.data.decoded import Clips, collate, show
from vsr.errors import InputError

QUIET = {
    "accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_progress_bar": False,
    "enable_model_summary": False, "use_distributed_sampler": False, "num_sanity_val_steps": 0,
}  # fmt: skip
pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lay_out(tmp_path_factory.mktemp("set"))


@pytest.fixture
def damaged(tmp_path: Path) -> Path:
    """The set with two training videos damaged: v4 and v5."""
    folder = lay_out(tmp_path / "set")
    for name in ("turn/v4.avi", "fall/v5.avi"):
        (folder / name).write_bytes((folder / name).read_bytes()[:-700])
    return folder


def corners(video: Tensor) -> Tensor:
    """A feature that tells clips apart: the first pixels of every colour, (B, 3, 2)."""
    return video[:, :, 0, 0, :2].float()


class Reader(LightningModule):
    """Has features kept and writes down what it is given."""

    def __init__(self, encode: Any = corners, key: str = "corners") -> None:
        super().__init__()
        self.weight, self.encode, self.key = torch.nn.Parameter(torch.zeros(())), encode, key
        self.trained: list[dict[str, Tensor]] = []
        self.validated: list[dict[str, Tensor]] = []
        self.files: list[str] = []

    def on_fit_start(self) -> None:
        self.trainer.datamodule.keep_features(self.encode, self.key)
        self.files = [p.name for p in Path(self.trainer.default_root_dir).glob("features*")]

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        self.trained.append(batch)
        return self.weight * 1

    def validation_step(self, batch: dict[str, Tensor]) -> None:
        self.validated.append(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def fit(module: Reader, data: ActionClips, folder: Path, epochs: int = 2) -> Reader:
    Trainer(max_epochs=epochs, default_root_dir=folder, **QUIET).fit(module, datamodule=data)
    return module


def central(videos: Path) -> dict[int, Tensor]:
    """The features of the training list, from clips as validation shows them."""
    module = clips(videos, use="probe")
    module.setup("fit")
    found = {}
    for batch in module.train_dataloader():
        shown = module.on_after_batch_transfer(batch, 0)
        found |= dict(zip(shown["index"].tolist(), corners(shown["video"]), strict=True))
    return found


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_have_what_the_encoder_made_of_the_clip(videos: Path, tmp_path: Path, workers: int) -> None:
    data = clips(videos, use="probe", held_out=0.25, seed=3, num_workers=workers)
    module = fit(Reader(), data, tmp_path)
    want, order = central(videos), Visits(3, 9)
    trained = [n for n in range(TRAIN) if n not in data._chosen["val"]]
    steps = [(trained[place], epoch) for place, epoch in (order[n] for n in range(16))]
    got = [(i, e) for b in module.trained for i, e in zip(b["index"].tolist(), b["epoch"].tolist(), strict=True)]
    assert got == steps
    for batch in [*module.trained, *module.validated]:
        assert batch.keys() == {"feature", "index", "epoch", "label", "view", "weight"}
        assert batch["feature"].equal(torch.stack([want[i] for i in batch["index"].tolist()]))
        assert batch["label"].tolist() == [i % 3 for i in batch["index"].tolist()]
    assert sorted(i for b in module.validated for i in b["index"].tolist()) == sorted(data._chosen["val"] * 2)
    assert module.files == ["features.npy"]
    assert list(tmp_path.iterdir()) == []


def test_each_video_is_decoded_once(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[int] = Counter()
    read = Clips._read

    def counted(self: Clips, item: Any, index: int, epoch: int) -> Any:
        seen[index] += 1
        return read(self, item, index, epoch)

    monkeypatch.setattr(Clips, "_read", counted)
    fit(Reader(), clips(videos, use="probe", held_out=0.25), tmp_path, epochs=3)
    assert seen == Counter(range(TRAIN))


def refuse(video: Tensor) -> Tensor:
    raise AssertionError("nothing is to be encoded")


def test_a_cache_is_used_by_the_next_run(videos: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = fit(Reader(), clips(videos, use="probe", feature_cache=str(cache)), tmp_path)
    (file,) = cache.iterdir()
    other = {"held_out": 0.25, "seed": 9, "max_batch_per_device": 3}  # of no effect on features
    fit(Reader(refuse), clips(videos, use="probe", feature_cache=str(cache), **other), tmp_path)
    again = fit(Reader(refuse), clips(videos, use="probe", feature_cache=str(cache)), tmp_path)
    assert all(a["feature"].equal(b["feature"]) for a, b in zip(first.trained, again.trained, strict=True))
    for module, data in (
        (Reader(key="others"), clips(videos, use="probe", feature_cache=str(cache))),
        (Reader(), clips(videos, use="probe", feature_cache=str(cache), stride=1)),
    ):
        before = len(list(cache.iterdir()))
        fit(module, data, tmp_path)
        assert len(list(cache.iterdir())) == before + 1
    assert file.exists()


def test_a_damaged_file_is_made_again(videos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = tmp_path / "cache"
    fit(Reader(), clips(videos, use="probe", feature_cache=str(cache)), tmp_path)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-40])
    fit(Reader(), clips(videos, use="probe", feature_cache=str(cache)), tmp_path)
    assert "can't be used" in caplog.text
    assert file.read_bytes() == whole


def test_what_fails_leaves_nothing(videos: Path, tmp_path: Path) -> None:
    calls = iter(range(3))

    def fails(video: Tensor) -> Tensor:
        if next(calls) == 2:
            raise RuntimeError("out of order")
        return corners(video)

    cache = tmp_path / "cache"
    for kept in (None, str(cache)):
        calls = iter(range(3))
        with pytest.raises(RuntimeError, match="out of order"):
            fit(Reader(fails), clips(videos, use="probe", feature_cache=kept, max_batch_per_device=4), tmp_path)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_an_unreadable_video_is_stood_in_for_by_the_next(
    damaged: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also from a cache, in which its row is empty; 6 is held out."""
    want, cache = central_of(damaged), str(tmp_path / "cache")
    for encode in (corners, refuse):
        data = clips(damaged, use="probe", max_bad_share=0.2, feature_cache=cache)
        data._chosen["train"] = [n for n in range(TRAIN) if n != 6]
        module = fit(Reader(encode), data, tmp_path, epochs=1)
        got = Counter(i for b in module.trained for i in b["index"].tolist())
        shown = {4: 7, 5: 7}
        places = [data._chosen["train"][place] for place, _ in (Visits(0, 11)[n] for n in range(12))]
        assert got == Counter(shown.get(n, n) for n in places[: sum(got.values())])
        assert all(b["feature"][k].equal(want[i]) for b in module.trained for k, i in enumerate(b["index"].tolist()))
        assert {Path(p).name for p in data.unreadable} == {"v4.avi", "v5.avi"}
    assert "the next video of the training list is shown instead" in caplog.text


def central_of(videos: Path) -> dict[int, Tensor]:
    """Features of the readable videos."""
    data = clips(videos, use="probe", max_bad_share=0.5)
    dataset = Clips(data._items["train"], "val", 0, 4, 2, 16)
    made = collate([dataset[n] for n in range(TRAIN) if n not in (4, 5)], "val")
    return dict(zip(made["index"].tolist(), corners(show(made, 4, 16, 0)), strict=True))


def test_too_many_unreadable_videos(damaged: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"2 of 12 training videos can't be read, more than max_bad_share 0.1 allows"):
        fit(Reader(), clips(damaged, use="probe", max_bad_share=0.1), tmp_path)


def test_a_held_out_video_must_be_readable(damaged: Path, tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    fit(Reader(), clips(damaged, use="probe", max_bad_share=0.2, feature_cache=cache), tmp_path)
    seed = next(s for s in range(99) if 4 in clips(damaged, held_out=0.25, seed=s, use="probe")._chosen["val"])
    held = {"held_out": 0.25, "seed": seed, "use": "probe", "max_bad_share": 0.3}
    with pytest.raises(InputError, match=r"v4\.avi"):
        fit(Reader(), clips(damaged, **held), tmp_path)
    with pytest.raises(InputError, match=r"v4\.avi: couldn't be read when its feature was to be made"):
        fit(Reader(refuse), clips(damaged, feature_cache=cache, **held), tmp_path)


def test_no_room(videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features.shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(
        InputError, match=r"12 of 28 B take 336 B, and 100 B are free: make room, or give --data.feature"
    ):
        fit(Reader(), clips(videos, use="probe"), tmp_path)


def test_clips_that_are_drawn_anew(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"drawn anew in every epoch \(use finetune\): give --data.use probe"):
        fit(Reader(), clips(videos), tmp_path)


def test_tokens_in_half_precision(videos: Path, tmp_path: Path) -> None:
    def tokens(video: Tensor) -> Tensor:
        return video.float().mean(dim=(3, 4)).transpose(1, 2).half()  # (B, 4, 3)

    module = fit(Reader(tokens), clips(videos, use="probe", num_workers=1), tmp_path)
    assert {b["feature"].dtype for b in module.trained} == {torch.float16}
    assert {b["feature"].shape for b in module.trained} == {(4, 4, 3)}
    assert np.isfinite(module.trained[0]["feature"].numpy()).all()


def test_what_killed_writers_have_left_is_removed(tmp_path):
    import os

    from vsr.data.features import _sweep

    dead, alive, other = (tmp_path / name for name in ("f.npy.1.part", "f.npy.2.part", "g.npy.1.part"))
    for path in (dead, alive, other):
        path.touch()
    for path in (dead, other):
        os.utime(path, (0, 0))
    _sweep(tmp_path / "f.npy")
    assert (dead.exists(), alive.exists(), other.exists()) == (False, True, True)
