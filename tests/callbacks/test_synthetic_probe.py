"""The probe of motion: that it can tell, and that it changes nothing."""

import csv

import pytest
import torch
from small_runs import events, fit
from torch import Tensor

from vsr.callbacks import SyntheticProbe
from vsr.callbacks.synthetic_probe import Answers, answers, held_out, probe_recipe, score
from vsr.render import render_truth
from vsr.truth import Truth

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def truth() -> Truth:
    return render_truth(probe_recipe(8, 4), 7, list(range(192)), 0, 8, 4, 64, crop=False)


@pytest.fixture(scope="module")
def known(truth) -> Answers:
    return answers(truth)


def noise(columns: int) -> Tensor:
    return torch.randn(192, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_answers_are_means_over_the_pixels_that_show_an_object(truth, known):
    clip, shown = 5, truth.object[5].long()
    pixels = [(t, int(o)) for t in range(8) for o in shown[t].flatten() if o >= 0]
    velocity = torch.stack([truth.velocity[clip, t, o] for t, o in pixels])
    torch.testing.assert_close(known.velocity[clip], velocity.mean(0))
    torch.testing.assert_close(known.speed[clip], velocity.norm(dim=-1).mean())
    shapes = torch.bincount(torch.tensor([truth.shape[clip, o] for _, o in pixels]), minlength=6)
    torch.testing.assert_close(known.shapes[clip], shapes / len(pixels), check_dtype=False)


def test_features_that_contain_the_truth_are_read(known):
    told = torch.cat((known.velocity, known.speed[:, None], known.shapes), dim=1)
    features = torch.cat((told @ noise(9)[:9], noise(20)), dim=1)  # mixed, and among others
    found = score(features, known)
    assert found["probe/velocity_r2"] > 0.99
    assert found["probe/shapes_r2"] > 0.99
    assert found["probe/speed_acc"] > 0.97


def test_noise_is_not_read(known):
    found = score(noise(192), known)
    assert abs(found["probe/velocity_r2"]) < 0.15
    assert abs(found["probe/shapes_r2"]) < 0.15
    assert abs(found["probe/speed_acc"] - 1 / 3) < 0.12


def test_motion_can_be_read_from_the_pixels_of_these_videos(truth, known):
    grey = truth.video.float().mean(1) / 255
    across = (grey[..., 2:] - grey[..., :-2])[:, :-1, 1:-1] / 2
    down = (grey[..., 2:, :] - grey[..., :-2, :])[:, :-1, :, 1:-1] / 2
    later = (grey[:, 1:] - grey[:, :-1])[..., 1:-1, 1:-1]
    slope = across**2 + down**2 + 1e-3
    flow = [-(along * later) / slope for along in (across, down)]  # along the gradient
    features = torch.stack([m.mean((1, 2, 3)) for m in (*flow, flow[0].abs(), flow[1].abs(), later.abs())], dim=1)
    still = torch.stack([m.mean((1, 2, 3)) for m in (grey, grey**2, slope, across, down)], dim=1)
    found, without = (score(f.double(), known) for f in (features, still))
    assert found["probe/velocity_r2"] > 0.4
    assert without["probe/velocity_r2"] < 0.1
    assert found["probe/speed_acc"] > 0.45


def test_nobody_is_told_about_their_own_video(known):
    own = torch.eye(192, dtype=torch.float64)  # each video's number: heads could learn it by heart
    told = held_out(own, known.velocity)
    assert (told - known.velocity.mean(0)).abs().max() < 0.2 * known.velocity.std()


def test_it_is_logged_before_training_at_every_nth_step_and_at_the_end(tmp_path, caplog):
    with caplog.at_level("INFO"):
        fit(tmp_path, [SyntheticProbe(every_n_steps=2, clips=24)], steps=5)
    with (tmp_path / "metrics.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["probe/velocity_r2"]]
    assert steps == [0, 2, 4, 5]
    assert [e.step for e in events(tmp_path).Scalars("probe/speed_acc")] == [0, 2, 4, 5]
    assert "Synthetic probe, untrained -> step 5: velocity_r2 " in caplog.text


def test_it_changes_nothing_of_training(tmp_path):
    torch.manual_seed(0)
    watched = fit(tmp_path / "a", [SyntheticProbe(every_n_steps=1, clips=8)], steps=3)
    state = torch.get_rng_state()
    torch.manual_seed(0)
    alone = fit(tmp_path / "b", [], steps=3)
    assert torch.equal(state, torch.get_rng_state())
    for one, other in zip(watched.model.parameters(), alone.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert [m.training for m in watched.model.modules()] == [m.training for m in alone.model.modules()]


def test_short_runs_and_networks_too_large_for_a_cpu_are_left_out(tmp_path, monkeypatch, caplog):
    fit(tmp_path / "short", [SyntheticProbe(every_n_steps=3, clips=8)], steps=2)
    monkeypatch.setattr("vsr.callbacks.synthetic_probe._CPU_FLOP", 1.0)
    with caplog.at_level("INFO"):
        fit(tmp_path / "large", [SyntheticProbe(every_n_steps=1, clips=8)], steps=2)
    assert "No synthetic probe: " in caplog.text
    for name in ("short", "large"):
        assert "probe" not in (tmp_path / name / "metrics.csv").read_text()
