"""Real runs of a tiny network on eight little videos, made through the command line."""

from pathlib import Path

import av
import numpy as np
import yaml

from vsr.cli import main

NASTY = "<img src=x onerror=alert(1)> & $(touch pwned) `id` | \"q\" 'a'"
"""A dataset's name that would do harm in a page, a table or a shell."""
TINY = [
    "--config", "configs/scale/laptop.yaml", "--trainer.max_steps", "2", "--trainer.enable_progress_bar", "false",
    "--data.size", "16", "--data.num_frames", "4", "--data.global_batch_size", "4", "--max_textures", "2",
    "--trainer.log_every_n_steps", "1",
]  # fmt: skip


def make_runs(base: Path) -> Path:
    """Two pre-trainings, one of a recipe with a nasty name; a fine-tuning, a probe, their tests, one under corruptions.

    Returns:
        The folder of the runs.
    """
    runs, root = base / "runs", ["--trainer.default_root_dir", str(base / "runs")]
    data = [*_lay_out(base), "--data.num_workers", "0", "--data.stride", "2"]
    (base / "own.yaml").write_text(yaml.safe_dump({"name": NASTY, "num_objects": 9, "speed": [1.0, 2.0]}))
    pretrain = ["--config", "configs/pretrain/acc_shapes.yaml", *TINY, *root]
    tune = ["--config", "configs/finetune/ucf101.yaml", *TINY, *data, *root]
    probe = ["--config", "configs/probe/ucf101.yaml", *TINY, *data, *root, "--run", "linear"]
    corrupt = ["--config", "configs/test/ucf101p.yaml", *TINY, *data, *root]
    cells = ["--data.perturbations", "[jpeg]", "--data.severities", "[2,3]"]

    def weights(folder: str) -> list[str]:
        return ["--model.checkpoint", str(runs / folder / "checkpoints" / "last.ckpt")]

    main(["fit", *pretrain])
    main(["fit", *pretrain, "--data.recipe", str(base / "own.yaml"), "--run", "own"])
    main(["fit", *tune, *weights("pretrain/acc_shapes/default")])
    main(["test", *tune, *weights("finetune/ucf101/default")])
    main(["fit", *probe, *weights(f"pretrain/{NASTY}/own")])
    main(["test", *probe, *weights("probe/ucf101/linear")])
    main(["test", *corrupt, *cells, *weights("finetune/ucf101/default")])
    return runs


def _lay_out(base: Path) -> list[str]:
    """Eight videos of two classes in UCF101's layout; returns the options that name them."""
    lists, videos = base / "lists", base / "videos"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 Jump\n2 Run\n")
    for number in range(8):
        name, label = f"{('Jump', 'Run')[number // 4]}/v_{number}.avi", number // 4 + 1
        _write(videos / name, number)
        subset, line = ("train", f"{name} {label}\n") if number % 4 < 2 else ("test", f"{name}\n")
        with (lists / f"{subset}list01.txt").open("a") as file:
            file.write(line)
    return ["--data.videos", str(videos), "--data.lists", str(lists)]


def _write(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for frame in np.random.default_rng(seed).integers(0, 256, (12, 24, 32, 3), dtype=np.uint8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame)))
        container.mux(stream.encode())
