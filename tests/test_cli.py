"""What users type, through the same ``main`` that they call."""

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from vsr.cli import main
from vsr.recipe import dataset_names, load_recipe, recipe_names

CONFIGS = Path(__file__).parents[1] / "configs"
TINY = [
    "--config", "configs/scale/laptop.yaml", "--trainer.max_steps", "2", "--trainer.enable_progress_bar", "false",
    "--trainer.enable_model_summary", "false", "--data.size", "16", "--data.num_frames", "4",
    "--data.global_batch_size", "4", "--max_textures", "2", "--trainer.log_every_n_steps", "1",
]  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    import gc

    monkeypatch.chdir(tmp_path)
    yield
    gc.collect()  # runs in one process would keep about 100 MB each until the next collection


@pytest.fixture
def textures(tmp_path):
    for i in range(3):
        (tmp_path / "textures").mkdir(exist_ok=True)
        Image.effect_noise((32, 32), 80).convert("RGB").save(tmp_path / "textures" / f"{i}.png")
    return tmp_path / "textures"


def write_clip(path, seed, frames=20):
    path.parent.mkdir(parents=True, exist_ok=True)
    shade = np.random.default_rng(seed).integers(0, 256, (frames, 24, 32, 3), dtype=np.uint8)
    with av.open(path, "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for frame in shade:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(stream.encode())


@pytest.fixture
def clips(tmp_path):
    """Twelve little videos of two classes, with lists in all four layouts."""
    lists, videos = tmp_path / "lists", tmp_path / "videos"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 Jump\n2 Run\n")
    names = [f"{c}/v_{c}_{i}.avi" for c in ("Jump", "Run") for i in range(6)]
    for seed, name in enumerate(names):
        write_clip(videos / name, seed)
        subset = "train" if seed % 6 < 4 else "test"
        write_clip(tmp_path / "folders" / subset / name, seed)
        with (lists / f"{subset}list01.txt").open("a") as file:
            file.write(f"{name} {seed // 6 + 1}\n" if subset == "train" else f"{name}\n")
        with (lists / f"{name.split('/')[0]}_test_split1.txt").open("a") as file:
            file.write(f"{name.split('/')[1]} {1 if subset == 'train' else 2} \n")
        for listed in [subset] if subset == "train" else ["val", "test"]:
            with (lists / f"{listed}.csv").open("a") as file:
                file.write(f"{name} {seed // 6}\n")
    return tmp_path


def data_options(clips, config):
    if config == "folders":
        return ["--data.videos", str(clips / "folders")]
    return ["--data.videos", str(clips / "videos"), "--data.lists", str(clips / "lists")]


def run(*words, expect=0):
    """Run a command in this process; return its last line on stderr after a failure."""
    if expect == 0:
        main([str(w) for w in words])
        return
    with pytest.raises(SystemExit) as stopped:
        main([str(w) for w in words])
    assert stopped.value.code == expect


@pytest.mark.parametrize("name", dataset_names())
def test_every_dataset_trains(name, textures, request):
    data = ["--texture_folder", textures] if "images" in name else []
    if "ucf101" in name:
        data += data_options(request.getfixturevalue("clips"), "ucf101")
    run("fit", "--config", f"configs/pretrain/{name}.yaml", *TINY, *data)
    made = Path("runs/pretrain") / name / "default"
    assert {p.name for p in made.iterdir()} >= {
        "config.yaml",
        "checkpoints",
        "metrics.csv",
        "pictures",
        "provenance.json",
        "done",
    }
    checkpoint = torch.load(made / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2
    made_from = checkpoint["provenance"]
    if name in recipe_names():
        assert made_from["recipe"]["name"] == name
    else:
        assert sum(share["weight"] for share in made_from["shares"]) == 1
    assert ("none" in made_from["natural_images"]) == ("images" not in name)
    assert ("none" in made_from["natural_videos"]) == ("ucf101" not in name)
    header = (made / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"loss", "lr", "clips_per_s", "step"} <= set(header)
    picture = np.asarray(Image.open(next((made / "pictures").glob("*.png"))))
    assert picture.std() > 10


def test_pretrained_weights_are_fine_tuned_and_tested(clips, capsys):
    run("fit", "--config", "configs/pretrain/acc_shapes.yaml", *TINY)
    weights = "runs/pretrain/acc_shapes/default/checkpoints/last.ckpt"
    for config in ("ucf101", "hmdb51", "kinetics400", "folders"):
        place = [*data_options(clips, config), "--data.num_workers", "0", "--data.stride", "2"]
        stage = ["--config", f"configs/finetune/{config}.yaml", *TINY, *place]
        run("fit", *stage, "--model.checkpoint", weights)
        tuned = f"runs/finetune/{config}/default/checkpoints/last.ckpt"
        run("test", *stage, "--model.checkpoint", tuned)
        results = json.loads(Path(f"runs/test/{config}/default/results.json").read_text())
        assert results["videos"] == 4
        assert results["metrics"]["test_acc1"] in (0, 0.25, 0.5, 0.75, 1)
        assert results["metrics"]["test_acc5"] == 1  # two classes
        low, high = results["intervals"]["test_acc1"]
        assert low <= results["metrics"]["test_acc1"] <= high
        table = list(csv.DictReader(Path(f"runs/test/{config}/default/predictions.csv").read_text().splitlines()))
        assert [Path(row["video"]).stem for row in table] == [f"v_{c}_{i}" for c in ("Jump", "Run") for i in (4, 5)]
        assert sum(row["class"] == row["predicted_class"] for row in table) == 4 * results["metrics"]["test_acc1"]
        assert Image.open(f"runs/test/{config}/default/pictures/confusion.png").size[0] > 100
        run("validate", *stage, "--model.checkpoint", tuned)
        assert Path(f"runs/validate/{config}/default/results.json").is_file()
    run("test", *stage, "--model.checkpoint", weights, expect=2)
    assert "vsr: error:" in capsys.readouterr().err


def test_every_config_parses():
    """Those with no data here are printed, not run; the group files and overlays are part of the others."""
    parts = {"trainer", "scale", "preset", "recipe", "logger"}
    found = [p for p in CONFIGS.rglob("*.yaml") if p.parent.name not in parts]
    assert len(found) >= 38
    for path in found:
        with pytest.raises(SystemExit) as stopped:
            main(["fit", "--config", str(path), "--data.videos", "x", "--print_config"] if "finetune" in path.parts else
                 ["fit", "--config", str(path), "--print_config"])  # fmt: skip
        assert stopped.value.code == 0
    assert all(len(p.read_text().splitlines()) <= 15 for p in (CONFIGS / "pretrain").glob("*.yaml"))


def test_the_paper_setting_is_the_default(capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--config", "configs/pretrain/acc_textures.yaml", "--print_config"])
    import yaml

    config = yaml.safe_load(capsys.readouterr().out)
    model, data = config["model"]["init_args"], config["data"]["init_args"]
    assert config["trainer"]["max_epochs"] == 3200
    assert (model["size"], model["patch_size"], model["mask_ratio"]) == ("base", 16, 0.75)
    assert (data["num_frames"], data["stride"], data["size"], data["global_batch_size"]) == (16, 4, 224, 256)
    assert data["recipe"]["texture_pool"] == 300_000


def test_a_finished_run_is_resumed_not_overwritten(capsys):
    stage = ["fit", "--config", "configs/pretrain/moving_circles.yaml", *TINY]
    run(*stage)
    run(*stage, expect=2)
    assert (
        "already holds a run: go on with it by --ckpt_path last, or name this one with --run" in capsys.readouterr().err
    )
    run(*stage, "--trainer.max_steps", "3", "--ckpt_path", "last")
    folder = Path("runs/pretrain/moving_circles/default")
    steps = [[row["step"] for row in csv.DictReader(f.open())] for f in sorted(folder.glob("metrics*.csv"))]
    assert [sorted(set(part)) for part in steps] == [["0", "1"], ["2"]]
    last = folder / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == 3
    run(*stage, "--run", "other")
    assert Path("runs/pretrain/moving_circles/other/done").is_file()


def test_render_writes_every_kind_of_file():
    for name in ("a.mp4", "a.gif", "a.png"):
        run("render", "acc_shapes", "--index", "2", "--size", "32", "--out", name)
        assert Path(name).stat().st_size > 500
    with av.open("a.mp4") as video:
        assert sum(1 for _ in video.decode(video=0)) == 146
    run("render", "acc_shapes", "--index", "2", "--clip", "--epoch", "1", "--size", "32", "--out", "clip.png")
    assert Image.open("clip.png").size[0] > 8 * 32
    run("render", "acc_shapes", "--clip", "--truth", "--size", "32", "--out", "truth.png")
    assert Image.open("truth.png").size[1] > 4 * 32  # clip, objects, depth, flow
    run("render", "acc_shapes", "--clip", "--truth", "--size", "32", "--out", "truth.gif")
    assert Image.open("truth.gif").size == (4 * 32, 32)
    assert not [p for p in Path().iterdir() if p.name.startswith(".")]


def test_rendered_clip_is_what_training_sees():
    import vsr

    words = [
        "--index",
        "7",
        "--clip",
        "--epoch",
        "3",
        "--size",
        "64",
        "--num_frames",
        "8",
        "--stride",
        "5",
        "--out",
        "c.gif",
    ]
    run("render", "acc_shapes", *words)
    shown = Image.open("c.gif")
    clip = vsr.render_clips(vsr.load_recipe("acc_shapes"), index=[7], epoch=3, num_frames=8, stride=5, size=64)[0]
    for t in (0, 7):
        shown.seek(t)
        off = np.abs(np.asarray(shown.convert("RGB"), np.int16) - clip[:, t].permute(1, 2, 0).numpy())
        assert off.mean() < 12  # a gif has 256 colours


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("name", ["gpu", "cuda"])
def test_a_gpu_that_is_not_there_is_refused(name, capsys):
    run("fit", "--config", "configs/pretrain/acc_shapes.yaml", "--trainer.accelerator", name, expect=2)
    assert "give --trainer.accelerator auto" in capsys.readouterr().err.splitlines()[-1]


def test_checkpoints_that_do_not_fit_are_refused(clips, capsys):
    run("fit", "--config", "configs/pretrain/static_circles.yaml", *TINY)
    weights = "runs/pretrain/static_circles/default/checkpoints/last.ckpt"
    stage = [
        "fit",
        "--config",
        "configs/finetune/folders.yaml",
        *TINY,
        *data_options(clips, "folders"),
        "--data.num_workers",
        "0",
    ]
    for words, message in [
        (["--model.checkpoint", "nowhere.ckpt"], "nowhere.ckpt"),
        (["--model.checkpoint", weights, "--model.size", "small"], "width 192"),
        (["--model.checkpoint", str(clips / "lists" / "classInd.txt")], "classInd.txt"),
    ]:
        run(*stage, *words, expect=2)
        assert message in capsys.readouterr().err
        assert not Path("runs/finetune/folders/default/checkpoints").exists()


def test_more_processes_than_videos_are_refused_before_they_start(clips, capsys):
    """One of them would pass the loop over and end; the others would wait for it. Four videos are for testing."""
    stage = ["--config", "configs/finetune/folders.yaml", *TINY, *data_options(clips, "folders")]
    crowd = ["--trainer.accelerator", "cpu", "--trainer.devices", "6", "--trainer.strategy", "ddp"]
    for verb in ("test", "validate", "fit"):
        run(verb, *stage, *crowd, "--data.global_batch_size", "6", expect=2)
        said = capsys.readouterr().err
        assert "4 to evaluate on can't be shared by 6 processes" in said
        assert "run at most 4 of them (--trainer.devices" in said
    assert not Path("runs").exists()


def test_all_datasets_are_shown_at_once(textures, capsys, caplog):
    run("render", "--all", "--out", "all", "--max_textures", "2", "--index", "3")
    without = {p.stem for p in Path("all").glob("*.mp4")}
    assert without == {n for n in dataset_names() if "images" not in n or "static" in n}
    assert "left out" in caplog.text
    assert "acc_images_300k" in caplog.text
    run("render", "--all", "--out", "all", "--max_textures", "2", "--index", "3", "--texture_folder", textures)
    assert {p.stem for p in Path("all").glob("*.mp4")} == set(dataset_names())
    assert "datasets.png and 34 videos" in capsys.readouterr().out
    sheet = np.asarray(Image.open("all/datasets.png"))
    assert sheet.shape[0] > 34 * 112
    with av.open("all/acc_textures.mp4") as video:
        frames = sum(1 for _ in video.decode(video=0))
    assert 100 <= frames <= 200


def test_a_users_own_recipe_and_mixture_are_rendered_and_trained():
    recipe = "name: mine\nshapes: mixed\nnum_objects: 20\nspeed: [1, 2]\nbackground: color\nfill: saturated\n"
    Path("mine.yaml").write_text(recipe + "texture_source: [stylegan_high_freq, statistical]\ntexture_pool: 6\n")
    run("render", "mine.yaml", "--texture_size", "64", "--size", "64", "--out", "mine.png")
    assert np.asarray(Image.open("mine.png")).std() > 20
    run("fit", "--config", "configs/pretrain/acc_shapes.yaml", "--data.recipe", "mine.yaml", *TINY)
    made = json.loads(Path("runs/pretrain/mine/default/provenance.json").read_text())
    # nothing of acc_shapes is left
    assert made["recipe_hash"] == load_recipe("mine.yaml").with_textures(2, 64, 16).hash
    assert [t["source"] for t in made["textures"]] == ["stylegan_high_freq", "statistical"]
    Path("mixed.yaml").write_text(
        "trainer: configs/trainer/pretrain.yaml\nmodel: VideoMAE\ndata:\n  class_path: VideoMixture\n  init_args:\n"
        "    name: both\n    shares:\n      - {weight: 0.75, recipe: mine.yaml}\n"
        "      - {weight: 0.25, recipe: acc_shapes}\n"
    )
    Path("configs/trainer").mkdir(parents=True)
    Path("configs/trainer/pretrain.yaml").write_text((CONFIGS / "trainer" / "pretrain.yaml").read_text())
    run("fit", "--config", "mixed.yaml", *TINY)
    made = json.loads(Path("runs/pretrain/both/default/provenance.json").read_text())
    assert [share["weight"] for share in made["shares"]] == [0.75, 0.25]


def test_help_is_quick_and_names_every_verb():
    best = min(_timed([sys.executable, "-m", "vsr", "--help"]) for _ in range(2))
    assert best[0] < 3
    for verb in ("fit", "validate", "test", "render"):
        assert f"\n  {verb} " in best[1]


def _timed(command):
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return time.perf_counter() - start, done.stdout


def test_a_classifier_starts_from_any_format_and_carries_its_classes(clips):
    run("fit", "--config", "configs/pretrain/static_circles.yaml", *TINY)
    run("convert", "runs/pretrain/static_circles/default/checkpoints/last.ckpt", "mae", "--allow_zero_biases")
    stage = ["--config", "configs/finetune/folders.yaml", *TINY, *data_options(clips, "folders")]
    run("fit", *stage, "--data.num_workers", "0", "--model.checkpoint", "mae")
    origin = json.loads(next(Path("runs").glob("finetune/*/default/provenance.json")).read_text())
    assert origin["starts_from"]["checkpoint"] == "mae"
    assert origin["starts_from"]["provenance"]["recipe"]["name"] == "static_circles"
    run("convert", str(next(Path("runs").glob("finetune/*/default/checkpoints/last.ckpt"))), "classifier")
    labels = json.loads(Path("classifier/config.json").read_text())["id2label"]
    assert labels == {"0": "Jump", "1": "Run"}
