"""The overlays ``configs/preset/``: what they change, the rates that follow, and that they run."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from vsr.cli import main
from vsr.modules import ActionClassifier, LinearProbe, VideoMAE

CONFIGS = Path(__file__).parents[1] / "configs"
PRETRAIN = ["--config", "configs/pretrain/acc_shapes.yaml"]
FINETUNE = {
    name: ["--config", f"configs/finetune/{name}.yaml", "--data.videos", "x"]
    for name in ("hmdb51", "ucf101", "kinetics400")
}
PROBE = ["--config", "configs/probe/ucf101.yaml", "--data.videos", "x"]
LAPTOP = ["--config", "configs/scale/laptop.yaml"]
TINY = [
    "--config", "configs/scale/laptop.yaml", "--trainer.max_steps", "1", "--trainer.enable_progress_bar", "false",
    "--trainer.enable_model_summary", "false", "--data.size", "16", "--data.num_frames", "4",
]  # fmt: skip
RELEASED = {
    "model.betas": ([0.9, 0.95], [0.9, 0.999]), "data.num_sample": (1, 2), "data.rand_augment": (9.0, 7.0),
    "data.val_frames": ("centre", "random"),
}  # fmt: skip
"""What all released scripts for fine-tuning have otherwise than printed."""
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")


@pytest.fixture
def parsed(capsys):
    """A function that makes of the words after ``vsr fit`` a config, as a flat dict."""

    def parse(words):
        with pytest.raises(SystemExit) as stopped:
            main(["fit", *words, "--print_config"])
        assert stopped.value.code == 0
        return flat(yaml.safe_load(capsys.readouterr().out))

    return parse


def flat(tree, name=""):
    if not isinstance(tree, dict):
        return {name: tree}
    return {key: value for branch, below in tree.items() for key, value in flat(below, f"{name}.{branch}").items()}


def preset(name):
    return ["--config", f"configs/preset/{name}.yaml"]


def rates(kind, config, videos, steps):
    """The learning rate of some steps, counted from 0, with as many videos in an epoch; and the line at the start."""
    arguments = {k.rpartition(".")[2]: v for k, v in config.items() if k.startswith(".model.init_args.")}
    batch = config[".data.init_args.global_batch_size"]  # linked to the model's, so not printed there
    with torch.device("meta"):
        module = kind(**arguments, global_batch_size=batch, **({} if kind is VideoMAE else {"num_classes": 51}))
    module._trainer = SimpleNamespace(
        max_steps=-1, max_epochs=config[".trainer.max_epochs"], world_size=1, accumulate_grad_batches=1,
        datamodule=SimpleNamespace(steps_per_epoch=videos // batch),
    )  # fmt: skip
    configured = module.configure_optimizers()
    scale = configured["lr_scheduler"]["scheduler"].lr_lambdas[-1]
    line = module.optimisation.line(module._trainer)
    return [configured["optimizer"].defaults["lr"] * scale(step) for step in steps], line


@pytest.mark.parametrize(
    ("stage", "name", "changes"),
    [
        (PRETRAIN, "pretrain-release", {"data.global_batch_size": (256, 192)}),
        (
            PRETRAIN,
            "pretrain-large",
            {
                "data.global_batch_size": (256, 128),
                "model.size": ("base", "large"),
                "model.decoder_depth": (None, 12),
            },
        ),
        (FINETUNE["hmdb51"], "finetune-release-hmdb51", {**RELEASED, "model.head_dropout": (0.0, 0.5)}),
        (
            FINETUNE["ucf101"],
            "finetune-release-ucf101",
            {
                **RELEASED,
                "model.head_dropout": (0.0, 0.5),
                "model.base_lr": (1e-3, 5e-4),
                "data.global_batch_size": (256, 128),
            },
        ),
        (
            FINETUNE["kinetics400"],
            "finetune-release-kinetics400",
            {
                **RELEASED,
                "trainer.max_epochs": (100, 75),
                "model.base_lr": (1e-3, 5e-4),
                "model.min_lr": (1e-5, 1e-6),
                "model.warmup": (0.05, 5 / 75),
                "model.layer_decay": (0.7, 0.75),
                "model.drop_path": (0.2, 0.1),
                "data.global_batch_size": (256, 384),
            },
        ),
        (
            PROBE,
            "probe-release",
            {
                "model.norm": ("pretrained", "fresh"),
                "model.base_lr": (0.01, 0.1),
                "model.drop_path": (0.0, 0.2),
                "model.head_dropout": (0.0, 0.5),
                "model.label_smoothing": (0.0, 0.1),
                "model.mixup": (0.0, 0.8),
                "model.cutmix": (0.0, 1.0),
                "data.use": ("probe", "finetune"),
                "data.num_sample": (1, 2),
                "data.rand_augment": (9.0, 7.0),
                "data.val_frames": ("centre", "random"),
            },
        ),
        (
            PROBE,
            "probe-grid",
            {
                "model.base_lr": (0.01, [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1]),
                "model.weight_decay": (0.0, [0.0, 1e-4, 1e-2]),
                "data.held_out": (0.0, 0.1),
            },
        ),
    ],
)
def test_what_it_changes(parsed, stage, name, changes):
    """Whatever else a preset states is the paper's value already."""
    printed, changed = parsed(stage), parsed([*stage, *preset(name)])
    assert printed.keys() == changed.keys()
    got = {key: (printed[key], changed[key]) for key in printed if printed[key] != changed[key]}
    assert got == {
        f".{key if key.startswith('trainer') else key.replace('.', '.init_args.')}": values
        for key, values in changes.items()
    }


def test_every_preset_is_tested():
    names = {p.stem for p in (CONFIGS / "preset").iterdir()}
    finetune = {f"finetune-release-{name}" for name in FINETUNE}
    probe = {"probe-release", "probe-grid"}
    assert names == {"pretrain-release", "pretrain-large", "ema"} | finetune | probe  # ema: tests/callbacks/test_ema.py


@pytest.mark.parametrize("stage", ["pretrain/acc_shapes", "finetune/ucf101", "probe/ucf101"])
def test_every_stage_fits_on_a_laptop(parsed, stage):
    videos = [] if "pretrain" in stage else ["--data.videos", "x"]
    config = parsed(["--config", f"configs/{stage}.yaml", *LAPTOP, *videos])
    assert config[".model.init_args.size"] == "tiny"
    assert config[".model.init_args.base_lr"] * config[".data.init_args.global_batch_size"] / 256 == 1e-3


@pytest.mark.parametrize(("overlay", "rate"), [("attentive", 16e-3), ("knn", None)])
def test_the_overlay_that_chooses_a_probe_comes_last(parsed, overlay, rate):
    config = parsed([*PROBE, *LAPTOP, "--config", f"configs/probe/{overlay}.yaml"])
    assert config[".model.class_path"].endswith({"attentive": "AttentiveProbe", "knn": "KNNProbe"}[overlay])
    assert config[".model.init_args.size"] == "tiny"
    assert config.get(".model.init_args.base_lr") == rate
    assert config[".data.init_args.use"] == "probe"
    assert config[".trainer.max_epochs"] == (20 if overlay == "attentive" else 100)


def test_probing_rates(parsed):
    """UCF101's 9,537 videos: the peak at the end of 5 epochs, the last of 100; every head's own."""
    steps = (0, 5 * 37 - 1, 5 * 37, 100 * 37)
    got, line = rates(LinearProbe, parsed(PROBE), 9537, steps)
    assert got == pytest.approx([0, 1e-2, 1e-2, 0])
    assert "256; lr 1e-2 = base 1e-2 x 256 / 256; 3,700 steps" in line
    got, _ = rates(LinearProbe, parsed([*PROBE, *preset("probe-grid")]), 9537, steps)
    assert got == pytest.approx([0, 0.1, 0.1, 0])


@pytest.mark.parametrize(
    ("overlay", "epoch", "peak", "final"),
    [
        ([], 37, 3e-4, 1e-5),
        (preset("pretrain-release"), 49, 2.25e-4, 7.5e-6),
        (preset("pretrain-large"), 74, 1.5e-4, 5e-6),
    ],
)
def test_pretraining_rates(parsed, overlay, epoch, peak, final):
    """9,537 videos: rate 0, the peak at the end of 40 epochs, the last of 3,200."""
    steps = (0, 40 * epoch - 1, 40 * epoch, 3200 * epoch)
    got, _ = rates(VideoMAE, parsed(PRETRAIN + overlay), 9537, steps)
    assert got == pytest.approx([0, peak, peak, final])


@pytest.mark.parametrize(
    ("name", "overlay", "videos", "epochs", "peak", "final", "line"),
    [
        ("hmdb51", False, 3570, 100, 1e-3, 1e-5, "256; lr 1e-3 = base 1e-3 x 256 / 256; 1,300 steps"),
        ("hmdb51", True, 3570, 100, 1e-3, 1e-5, "256; lr 1e-3 = base 1e-3 x 256 / 256; 1,300 steps"),
        ("ucf101", True, 9537, 100, 2.5e-4, 5e-6, "128; lr 2.5e-4 = base 5e-4 x 128 / 256; 7,400 steps"),
        (
            "kinetics400", True, 240_436, 75, 7.5e-4, 1.5e-6,
            "384; lr 7.5e-4 = base 5e-4 x 384 / 256; 46,950 steps",
        ),
    ],
)  # fmt: skip
def test_finetuning_rates(parsed, name, overlay, videos, epochs, peak, final, line):
    """Rate 0, the peak at the end of 5 epochs, the last; and what is said at the start."""
    config = parsed(FINETUNE[name] + (preset(f"finetune-release-{name}") if overlay else []))
    epoch = videos // config[".data.init_args.global_batch_size"]
    got, said = rates(ActionClassifier, config, videos, (0, 5 * epoch - 1, 5 * epoch, epochs * epoch))
    assert got == pytest.approx([0, peak, peak, final])
    batch, rate, steps, warmup = said.split("; ")
    assert "; ".join((batch.split()[2], rate, steps.partition(" = ")[0])) == line
    assert steps.endswith(f"= {epochs} epochs of {epoch}")
    assert warmup.startswith(f"warm-up {5 * epoch:,} steps")


@pytest.mark.parametrize(
    ("name", "stride", "views"), [("hmdb51", 2, (10, 3)), ("ucf101", 4, (5, 3)), ("kinetics400", 4, (5, 3))]
)
def test_clips_and_views_of_the_released_scripts(parsed, name, stride, views):
    data = parsed(FINETUNE[name] + preset(f"finetune-release-{name}"))
    got = {
        key: data[f".data.init_args.{key}"] for key in ("num_frames", "size", "stride", "test_segments", "test_crops")
    }
    assert tuple(got.values()) == (16, 224, stride, *views)


@pytest.mark.parametrize("name", ["pretrain-release", "pretrain-large"])
def test_it_runs_on_a_laptop(name, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    with caplog.at_level("INFO"):
        main(["fit", *PRETRAIN, *preset(name), *TINY])
    said = [r.getMessage() for r in caplog.records if r.getMessage().startswith("global batch")]
    assert [line.rpartition(";")[0] for line in said] == [  # then how many parameters learn
        "global batch 16 = 1 device x 1 micro-batch of 16; lr 1e-3 = base 1.6e-2 x 16 / 256; "
        "1 step = 0.0017 epochs of 596; warm-up 0 steps, then a cosine to 6.25e-7"
    ]
    weights = torch.load("runs/pretrain/acc_shapes/default/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    depth = len({key.split(".")[3] for key in weights if key.startswith("model.decoder.blocks.")})
    assert depth == {"pretrain-release": 2, "pretrain-large": 12}[name]  # tiny's own, or as the preset has it
