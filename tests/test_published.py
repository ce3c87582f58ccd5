"""The paper's figures: they are those of the paper, and belong to what is here."""

from pathlib import Path

import pytest

from vsr.corruptions import FIGURE
from vsr.published import figure3, results

PRETRAIN = Path(__file__).parents[1] / "configs" / "pretrain"


def test_the_bars_are_in_the_order_of_the_figure():
    assert list(figure3()) == ["clean", *FIGURE]
    assert figure3()["impulse_noise"] == (49.62, 19.57, 29.80)


def test_the_bars_give_the_papers_count():
    """The text: crops of images do better than UCF101 on 11 of 14 corruptions, those of StyleGAN on 6."""
    bars = [figure3()[name] for name in FIGURE]
    assert sum(b.image_crops > b.ucf101_pretrain for b in bars) == 11
    assert sum(b.stylegan_crops > b.ucf101_pretrain for b in bars) == 6


def test_clean_bars_are_the_tables_numbers():
    printed = (results()[name].ucf101_finetune_vitb for name in ("acc_images", "acc_stylegan", "ucf101"))
    assert figure3()["clean"] == pytest.approx(tuple(printed), abs=0.05)


def test_every_dataset_has_a_result():
    found = results()
    assert set(found) - {"random_init"} == {file.stem for file in PRETRAIN.glob("*.yaml")}
    assert found["acc_textures"][1:] == (1, 89.4, 62.4, 20.9, 90.9, None)
    assert found["random_init"][2:4] == (51.4, 18.2)
    assert found["kinetics400"].k400_finetune_vitb == 80.7
