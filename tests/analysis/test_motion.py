from dataclasses import replace

import pytest
import torch

from vsr.analysis.motion import MOTION, motion
from vsr.recipe import load_recipe
from vsr.render import render_truth
from vsr.truth import Truth


def of(recipe, videos=3) -> dict[str, torch.Tensor]:
    truth = render_truth(recipe, 0, range(videos), 1, 2, 1, recipe.size, crop=False)
    return dict(zip(MOTION, motion(truth).T, strict=True)) | {"truth": truth}


def test_by_hand():
    """A square of 4 x 4 px that stands still behind one of 2 x 4 px that goes a pixel to the right, on 4 x 6 px."""
    shown = torch.full((1, 2, 4, 6), -1, dtype=torch.int32)
    shown[..., 1:5] = 0
    shown[:, 0, :, 0:2] = 1
    shown[:, 1, :, 1:3] = 1
    place = torch.eye(2, 3, dtype=torch.float64).expand(1, 2, 2, 2, 3).clone()
    place[0, 1, 1, 0, 2] = 1
    velocity = torch.tensor([[0.0, 0.0], [1.0, 0.0]], dtype=torch.float64).expand(1, 2, 2, 2)
    truth = Truth(
        torch.zeros(1, 3, 2, 4, 6, dtype=torch.uint8), shown, torch.zeros(1, 2, dtype=torch.int64), velocity,
        torch.tensor([[[0.0, 0.0], [3.0, 4.0]]], dtype=torch.float64), place, torch.tensor([[0, 1]]),
    )  # fmt: skip
    found = dict(zip(MOTION, motion(truth)[0].tolist(), strict=True))
    expected = {"speed": 0.5, "acceleration": 2.5, "flow": 8 / 24, "visible_objects": 2, "coverage": 20 / 24}
    assert found == pytest.approx(expected | {"occlusion": 4 / 20})


def test_of_circles_that_stand_still():
    found = of(load_recipe("static_circles"))
    assert all((found[name] == 0).all() for name in ("speed", "acceleration", "flow", "occlusion"))
    distinct = [float(len(objects.unique()) - bool((objects < 0).any())) for objects in found["truth"].object[:, 0]]
    assert found["visible_objects"].tolist() == distinct


def test_of_one_speed():
    found = of(replace(load_recipe("moving_circles"), speed=(2.0, 2.0)))
    assert found["speed"].tolist() == pytest.approx([2, 2, 2])
    assert found["flow"].tolist() == pytest.approx((2 * found["coverage"]).tolist())
    assert (found["occlusion"] > 0).all()


def test_where_nothing_is_seen():
    found = of(replace(load_recipe("moving_circles"), num_objects=1, radius=(0.001, 0.001)), videos=8)
    unseen = found["visible_objects"] == 0
    assert unseen.any()
    assert found["speed"].isnan().tolist() == unseen.tolist()
