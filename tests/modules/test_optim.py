from types import SimpleNamespace

import pytest
import torch

from vsr.errors import InputError
from vsr.models.vit import Classifier, MaskedAutoencoder, Size
from vsr.modules.optim import (
    Optimisation,
    decays,
    layer_id,
    parameter_groups,
    scaled_lr,
    total_steps,
    warmup_cosine,
)

SMALL = Size(width=32, depth=2, heads=2, decoder_width=16, decoder_heads=2, decoder_depth=1)
CLIP = {"image_size": 16, "num_frames": 2, "patch_size": 8, "tubelet_size": 2}


def settings(**departures) -> Optimisation:
    """The paper's (table 5)."""
    paper = {"base_lr": 3e-4, "min_lr": 1e-5, "weight_decay": 0.05, "betas": (0.9, 0.95), "warmup": 0.0125}
    return Optimisation(**paper | {"global_batch_size": 256} | departures)


def trainer(max_steps=-1, max_epochs=None, steps_per_epoch=None, devices=1, micro=1):
    data = None if steps_per_epoch is None else SimpleNamespace(steps_per_epoch=steps_per_epoch)
    return SimpleNamespace(
        max_steps=max_steps, max_epochs=max_epochs, datamodule=data, world_size=devices, accumulate_grad_batches=micro
    )


def names_by_group(network, groups) -> dict[str, set[str]]:
    names = {parameter: name for name, parameter in network.named_parameters()}
    return {group["name"]: {names[p] for p in group["params"]} for group in groups}


class TestParameterGroups:
    def test_pretraining_by_name(self):
        network = MaskedAutoencoder(SMALL, **CLIP)
        groups = parameter_groups(network, 0.05)
        assert {g["name"]: (g["weight_decay"], g["lr_scale"]) for g in groups} == {
            "decay": (0.05, 1.0),
            "no_decay": (0.0, 1.0),
        }
        names = names_by_group(network, groups)
        assert names["decay"] == {
            "encoder.patch_embed.proj.weight",
            "encoder_to_decoder.weight",
            "decoder.head.weight",
            *(
                f"{part}.{layer}.weight"
                for part in ("encoder.blocks.0", "encoder.blocks.1", "decoder.blocks.0")
                for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
            ),
        }
        assert "mask_token" in names["no_decay"]
        assert names["decay"] | names["no_decay"] == {name for name, _ in network.named_parameters()}

    def test_layer_decay_by_name(self):
        network = Classifier(SMALL, 5, **CLIP)
        groups = parameter_groups(network, 0.05, layer_decay=0.7)
        names = names_by_group(network, groups)
        assert names["layer_0_decay"] == {"patch_embed.proj.weight"}
        assert names["layer_0_no_decay"] == {"patch_embed.proj.bias"}
        assert "blocks.0.attn.q_bias" in names["layer_1_no_decay"]
        assert "blocks.1.mlp.fc1.weight" in names["layer_2_decay"]
        assert names["layer_3_decay"] == {"head.weight"}
        assert names["layer_3_no_decay"] == {"head.bias", "fc_norm.weight", "fc_norm.bias"}
        scales = {g["name"]: g["lr_scale"] for g in groups}
        assert [scales[f"layer_{i}_decay"] for i in range(4)] == pytest.approx([0.343, 0.49, 0.7, 1.0])
        assert sum(len(n) for n in names.values()) == len(list(network.parameters()))

    def test_blocks_above_nine(self):
        assert layer_id("blocks.10.norm1.weight", 12) == 11
        assert layer_id("head.weight", 12) == 13

    def test_biases_of_any_shape(self):
        assert not decays("x.q_bias", torch.nn.Parameter(torch.zeros(2, 2)))
        assert not decays("norm.weight", torch.nn.Parameter(torch.zeros(2)))
        assert decays("head.weight", torch.nn.Parameter(torch.zeros(2, 2)))

    def test_frozen_parameters_are_left_out(self):
        network = Classifier(SMALL, 5, **CLIP)
        network.requires_grad_(False)
        network.head.requires_grad_(True)
        names = names_by_group(network, parameter_groups(network, 0.05, 0.7))
        assert names == {"layer_3_decay": {"head.weight"}, "layer_3_no_decay": {"head.bias"}}


class TestSchedule:
    def test_is_linspace_then_cosine(self):
        got = [warmup_cosine(s, 50, 10, 1e-3, 1e-5) for s in range(50)]
        cosine = 1e-5 + 0.5 * (1e-3 - 1e-5) * (1 + torch.cos(torch.pi * torch.arange(40).double() / 40))
        assert got == pytest.approx([*torch.linspace(0, 1e-3, 10).tolist(), *cosine.tolist()])

    def test_as_released_on_ucf101(self):
        """192 clips, 49 steps an epoch, 3,200 epochs, 40 of warm-up."""
        peak, final, total, warm = scaled_lr(3e-4, 192), scaled_lr(1e-5, 192), 3200 * 49, 40 * 49
        rates = [warmup_cosine(s, total, warm, peak, final) for s in (0, warm - 1, warm, total - 1, total, total + 9)]
        assert rates == pytest.approx([0, 2.25e-4, 2.25e-4, 7.5e-6, 7.5e-6, 7.5e-6], rel=1e-6)
        assert rates[3] > rates[4]

    def test_finetuning_as_released_on_ucf101(self):
        peak, final = scaled_lr(5e-4, 128), scaled_lr(1e-5, 128)
        assert warmup_cosine(5 * 74 - 1, 7400, 370, peak, final) == pytest.approx(2.5e-4)
        assert warmup_cosine(7400, 7400, 370, peak, final) == pytest.approx(5e-6)

    @pytest.mark.parametrize("warmup", [0, 1])
    def test_short_warm_ups(self, warmup):
        assert warmup_cosine(warmup, 10, warmup, 1.0, 0.0) == 1.0

    def test_all_warm_up(self):
        assert [warmup_cosine(s, 3, 3, 1.0, 0.0) for s in range(4)] == [0, 0.5, 1, 1]


class TestOptimisation:
    def test_rates_of_every_step(self):
        network = Classifier(SMALL, 5, **CLIP)
        config = settings(global_batch_size=512, warmup=0.2).configure(trainer(20), network, layer_decay=0.7)
        optimizer, scheduler = config["optimizer"], config["lr_scheduler"]["scheduler"]
        assert config["lr_scheduler"]["interval"] == "step"
        for step in range(20):
            for group in optimizer.param_groups:
                want = warmup_cosine(step, 20, 4, 6e-4, 2e-5) * group["lr_scale"]
                assert group["lr"] == pytest.approx(want, rel=1e-9, abs=1e-15)
            optimizer.step()
            scheduler.step()
        assert max(g["lr"] for g in optimizer.param_groups) == pytest.approx(2e-5)

    def test_settings(self):
        optimizer = settings().configure(trainer(5), Classifier(SMALL, 5, **CLIP))["optimizer"]
        assert type(optimizer) is torch.optim.AdamW
        for group in optimizer.param_groups:
            assert (group["betas"], group["eps"], group["fused"]) == ((0.9, 0.95), 1e-8, True)
        assert {g["weight_decay"] for g in optimizer.param_groups} == {0.05, 0.0}

    def test_not_fused_where_it_can_not_be(self):
        with torch.device("meta"):
            network = Classifier(SMALL, 5, **CLIP)
        optimizer = settings().configure(trainer(5), network)["optimizer"]
        assert not optimizer.param_groups[0]["fused"]

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"warmup": -0.1}, "warmup -0.1 is not a share of all steps: give 0 .. 1"),
            ({"warmup": 5}, "warmup 5 is not a share"),
            ({"base_lr": 0.0}, "base_lr 0.0 .* give positive numbers"),
            ({"global_batch_size": 0}, "global_batch_size 0 .* give positive numbers"),
            ({"min_lr": -1e-5}, "min_lr -1e-05 is negative"),
            ({"weight_decay": -1}, "weight_decay -1 is negative"),
            ({"betas": (0.9, 1.0)}, r"betas \[0.9, 1.0\] .* give 0 or more, less than 1"),
        ],
    )
    def test_refuses(self, wrong, message):
        with pytest.raises(InputError, match=message):
            settings(**wrong)


class TestTotalSteps:
    def test_sources(self):
        assert total_steps(trainer(max_steps=70)) == 70
        assert total_steps(trainer(max_epochs=3200, steps_per_epoch=37)) == 118_400

    def test_what_ends_first(self):
        """As the trainer stops, so that the rate reaches its end."""
        assert total_steps(trainer(max_steps=70, max_epochs=3, steps_per_epoch=5)) == 15
        assert total_steps(trainer(max_steps=12, max_epochs=3, steps_per_epoch=5)) == 12
        assert total_steps(trainer(max_steps=70, max_epochs=3)) == 70

    @pytest.mark.parametrize("given", [{}, {"max_epochs": -1, "steps_per_epoch": 5}])
    def test_endless(self, given):
        with pytest.raises(InputError, match="without an end"):
            total_steps(trainer(**given))

    def test_epoch_of_unknown_length(self):
        with pytest.raises(InputError, match=r"--trainer\.max_steps"):
            total_steps(trainer(max_epochs=3))


class TestLine:
    """What a run says of itself when it starts."""

    def test_paper(self):
        assert settings().line(trainer(max_epochs=3200, steps_per_epoch=37, micro=4)) == (
            "global batch 256 = 1 device x 4 micro-batches of 64; lr 3e-4 = base 3e-4 x 256 / 256; "
            "118,400 steps = 3,200 epochs of 37; warm-up 1,480 steps, then a cosine to 1e-5"
        )

    def test_part_of_an_epoch(self):
        run = trainer(max_steps=80, max_epochs=3200, steps_per_epoch=160, devices=2)
        assert settings(global_batch_size=16, base_lr=16e-3).line(run) == (
            "global batch 16 = 2 devices x 1 micro-batch of 8; lr 1e-3 = base 1.6e-2 x 16 / 256; "
            "80 steps = 0.5 epochs of 160; warm-up 1 step, then a cosine to 6.25e-7"
        )

    def test_epoch_of_unknown_length(self):
        assert "; 1 step; " in settings().line(trainer(max_steps=1))

    @pytest.mark.parametrize(("devices", "micro"), [(1, 8), (2, 4), (8, 1)])
    def test_the_rate_follows_the_total_alone(self, devices, micro):
        line = settings(global_batch_size=192).line(trainer(9, devices=devices, micro=micro))
        assert " of 24; lr 2.25e-4 = base 3e-4 x 192 / 256; " in line
        assert line.endswith("to 7.5e-6")
