"""What users do, one after the other in one process; run by test_network.py."""

import sys
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).parents[1]))
from test_cli import TINY, write_clip

from vsr.cli import main

PRETRAINED = "runs/pretrain/acc_textures/default/checkpoints/last.ckpt"
TUNED = "runs/finetune/folders/default/checkpoints/last.ckpt"
FOLDERS = [
    "--config", "configs/finetune/folders.yaml", *TINY, "--data.videos", "videos", "--data.stride", "1",
    "--data.num_workers", "1", "--trainer.max_steps", "1",
]  # fmt: skip


def inception_weights(path: Path) -> None:
    """Weights that nobody trained, in the published file's format."""
    from torch_fidelity import feature_extractor_inceptionv3 as module

    module.load_state_dict_from_url = lambda *_, **__: {}
    kept, module.FeatureExtractorInceptionV3.load_state_dict = (
        module.FeatureExtractorInceptionV3.load_state_dict, lambda *_: None,
    )  # fmt: skip
    torch.save(module.FeatureExtractorInceptionV3("random", ["2048"]).state_dict(), path)
    module.FeatureExtractorInceptionV3.load_state_dict = kept


if __name__ == "__main__":
    from importlib import reload

    from torch_fidelity import feature_extractor_inceptionv3

    inception_weights(Path("inception.pth"))
    reload(feature_extractor_inceptionv3)  # as it was, downloads and all
    for n in range(8):
        write_clip(Path(f"videos/{('train', 'train', 'val', 'test')[n // 2]}/c{n % 2}/{n}.avi"), n)
    for words in (
        ["fit", "--config", "configs/pretrain/acc_textures.yaml", *TINY],
        ["fit", *FOLDERS, "--model.checkpoint", PRETRAINED],
        ["test", *FOLDERS[:-2], "--model.checkpoint", TUNED],
        ["render", "acc_shapes", "--clip", "--num_frames", "4", "--size", "16", "--out", "clip.png"],
        ["analyze", "static_circles", "--videos", "2", "--frames", "4", "--inception", "inception.pth",
         "--checkpoint", PRETRAINED, "--out", "numbers"],
        ["visualize", PRETRAINED, "--videos", "videos/train/c0", "--shown", "1", "--pca_videos", "1"],
        ["convert", TUNED, "tuned"],
        ["inspect", "tuned"],
        ["doctor"],
    ):  # fmt: skip
        print("vsr", *words, file=sys.stderr)
        try:
            main(words)
        except SystemExit as stopped:
            if stopped.code:
                raise
    print("all done")
