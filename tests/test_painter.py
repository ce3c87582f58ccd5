"""The painter that benchmarks compare with draws the same scene, so the comparison is fair."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch

import vsr
from vsr.latents import latents

pytest.importorskip("cv2", reason="the painter needs opencv-python-headless (pip install vsr[dev])")

FOLDER = Path(__file__).parents[1] / "benchmarks"
INDEX, SIZE = torch.arange(3), 128


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    if not FOLDER.is_dir():
        pytest.skip(f"no {FOLDER}: benchmarks are in the repository, not in the package")
    monkeypatch.syspath_prepend(FOLDER)
    spec = importlib.util.spec_from_file_location("benchmarks_render", FOLDER / "render.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("way", ["fair", "naive"])
@pytest.mark.parametrize("name", ["acc_shapes", "acc_textures"])
def test_the_painter_draws_the_scene_that_vsr_draws(benchmark: ModuleType, name: str, way: str) -> None:
    recipe, bank = benchmark.dataset(name, pool=64)
    recipe = replace(recipe, size=SIZE)
    clips = vsr.render_clips(recipe, index=INDEX, num_frames=2, size=SIZE, crop=False, bank=bank)
    drawn = latents(recipe, 0, INDEX)
    for video, time in enumerate(benchmark.times_of(recipe, INDEX, drawn, num_frames=2)):
        painter = benchmark.Painter(recipe, drawn.videos(slice(video, video + 1)), bank)
        painted = torch.from_numpy(getattr(painter, way)(time.numpy()))
        shown = clips[video].permute(1, 2, 3, 0)
        # OpenCV's outlines are lines of pixels, so some pixels on them differ
        assert (painted == shown).all(dim=-1).double().mean() >= 0.97
        assert shown.any(dim=-1).double().mean() > 0.9  # not an empty frame, where all agree
