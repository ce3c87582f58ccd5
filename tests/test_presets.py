"""The overlays ``configs/preset/``: what they change, the rates that follow, and that they run."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from vsr.cli import main
from vsr.modules import ActionClassifier, VideoMAE

CONFIGS = Path(__file__).parents[1] / "configs"
PRETRAIN = ["--config", "configs/pretrain/acc_shapes.yaml"]
FINETUNE = ["--config", "configs/finetune/hmdb51.yaml", "--data.videos", "x"]
TINY = [
    "--config", "configs/scale/laptop.yaml", "--trainer.max_steps", "1", "--trainer.enable_progress_bar", "false",
    "--trainer.enable_model_summary", "false", "--data.size", "16", "--data.num_frames", "4",
]  # fmt: skip
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
    """The learning rate of some steps, counted from 0, with as many videos in an epoch."""
    arguments = {k.rpartition(".")[2]: v for k, v in config.items() if k.startswith(".model.init_args.")}
    batch = config[".data.init_args.global_batch_size"]  # linked to the model's, so not printed there
    with torch.device("meta"):
        module = kind(**arguments, global_batch_size=batch, **({"num_classes": 51} if kind is ActionClassifier else {}))
    module._trainer = SimpleNamespace(
        max_steps=-1, max_epochs=config[".trainer.max_epochs"], world_size=1, accumulate_grad_batches=1,
        datamodule=SimpleNamespace(steps_per_epoch=videos // batch),
    )  # fmt: skip
    configured = module.configure_optimizers()
    scale = configured["lr_scheduler"]["scheduler"].lr_lambdas[-1]
    return [configured["optimizer"].defaults["lr"] * scale(step) for step in steps]


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
        (
            FINETUNE,
            "finetune-release",
            {
                "model.betas": ([0.9, 0.95], [0.9, 0.999]),
                "model.head_dropout": (0.0, 0.5),
                "data.num_sample": (1, 2),
                "data.val_frames": ("centre", "random"),
                "data.rand_augment": (9.0, 7.0),
            },
        ),
    ],
)
def test_what_it_changes(parsed, stage, name, changes):
    """Whatever else a preset states is the paper's value already."""
    printed, changed = parsed(stage), parsed([*stage, *preset(name)])
    assert printed.keys() == changed.keys()
    got = {key: (printed[key], changed[key]) for key in printed if printed[key] != changed[key]}
    assert got == {f".{key.replace('.', '.init_args.')}": values for key, values in changes.items()}


def test_every_preset_is_tested():
    names = {p.stem for p in (CONFIGS / "preset").iterdir()}
    assert names == {"pretrain-release", "pretrain-large", "finetune-release"}


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
    assert rates(VideoMAE, parsed(PRETRAIN + overlay), 9537, steps) == pytest.approx([0, peak, peak, final])


@pytest.mark.parametrize("overlay", [[], preset("finetune-release")])
def test_finetuning_rates(parsed, overlay):
    """HMDB51's 3,570 videos: the peak at the end of 5 epochs, the last of 100."""
    got = rates(ActionClassifier, parsed(FINETUNE + overlay), 3570, (0, 5 * 13 - 1, 5 * 13, 100 * 13))
    assert got == pytest.approx([0, 1e-3, 1e-3, 1e-5])


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
