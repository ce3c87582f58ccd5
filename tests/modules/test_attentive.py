"""Attentive probes: pooling and head learn from kept tokens."""

from pathlib import Path

import pytest
import torch
from small_videos import TASK, clips, lay_out, trainer

from vsr.callbacks import Checkpoints
from vsr.models.vit import SIZES, Encoder
from vsr.modules import AttentiveProbe

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("ignore::UserWarning")]


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    return lay_out(tmp_path_factory.mktemp("set"))


def test_it_learns_from_tokens_and_the_encoder_does_not(videos, tmp_path):
    torch.manual_seed(1)
    encoder = Encoder(SIZES["tiny"], 16, 4, 8, 2)
    torch.save({"state_dict": {f"model.encoder.{n}": t for n, t in encoder.state_dict().items()}}, tmp_path / "e.ckpt")
    module = AttentiveProbe(**TASK, checkpoint=str(tmp_path / "e.ckpt"), base_lr=0.1)
    seen = []
    answer = module.model.answer
    module.model.answer = lambda tokens: seen.append(tokens) or answer(tokens)
    run = trainer(tmp_path, max_epochs=8, callbacks=[Checkpoints()])
    run.fit(module, datamodule=clips(videos, held_out=0.25))
    assert {(t.dtype, t.shape[1:]) for t in seen} == {(torch.float16, (8, 192))}
    learn = {p for group in run.optimizers[0].param_groups for p in group["params"]}
    names = {n for n, p in module.named_parameters() if p in learn}
    assert names == {n for n, _ in module.named_parameters() if not n.startswith("model.encoder.")}
    assert {n.split(".")[1] for n in names} == {"pool", "head"}
    width = 192
    assert sum(p.numel() for p in learn) == (
        width  # the query
        + 4 * (width * width + width)  # query, key, value and output
        + 2 * width  # LayerNorm
        + 8 * width * width + 5 * width  # MLP
        + 3 * width + 3
    )  # fmt: skip
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(module.model.encoder.state_dict()[name], tensor), name
    assert run.logged_metrics["val_acc1"] == 1
    del module.model.answer

    tested = AttentiveProbe(**TASK, checkpoint=str(tmp_path / "checkpoints" / "last.ckpt"), seed=5)
    data = clips(videos, test_segments=2, test_crops=2)
    assert trainer(tmp_path).test(tested, datamodule=data, verbose=False)[0]["test_acc1"] == 1
    for name, tensor in module.state_dict().items():
        assert torch.equal(tested.state_dict()[name], tensor), name


def test_augmented_clips_go_through_the_encoder(videos, tmp_path):
    module = AttentiveProbe(**TASK)
    run = trainer(tmp_path, max_epochs=1)
    run.fit(module, datamodule=clips(videos, use="finetune", max_batch_per_device=6))
    assert run.global_step == 4
    assert run.logged_metrics["loss"].isfinite()


def test_defaults_are_v_jepas():
    with torch.device("meta"):
        h = AttentiveProbe(101).hparams
    assert (h.base_lr, h.weight_decay, h.betas, h.warmup) == (1e-3, 0.01, (0.9, 0.999), 0)
