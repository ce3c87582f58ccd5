"""``vsr visualize``: what checkpoints make of videos, to look at."""

from pathlib import Path
from typing import Literal

from vsr.errors import InputError


def visualize(
    checkpoints: list[Path],
    videos: Path | None = None,
    dataset: str | None = None,
    index: int = 0,
    seed: int = 0,
    out: Path = Path("visualized"),
    what: Literal["keys", "reconstructions"] = "keys",
    shown: int = 3,
    basis: Literal["own", "matched", "first"] = "own",
    pca_videos: int = 70,
    pca_frames: int = 32,
    epoch: int = 0,
    stride: int = 4,
    mask_ratio: float = 0.75,
) -> None:
    """Show attention keys as colours, or reconstructions: of videos or a dataset, checkpoints side by side.

    Writes a contact sheet, and an mp4 of each video that is shown. Keys are those of the last block, whole frames
    squashed to a square, nothing masked: the first three principal components of one class's videos as red, green and
    blue, each spread over its range in each frame, as in the paper's figure 5. Of reconstructions, mean and contrast of
    each masked tube are given and its structure is predicted.

    Args:
        checkpoints: one or more: of vsr fit, VideoMAE's own files, or Hugging Face folders. Classifiers and probes have
            keys, too.
        videos: the folder of one class's videos, or a video.
        dataset: in their place: a name such as acc_shapes, or the path of a YAML file with a recipe.
        index: with dataset: the first video.
        seed: with dataset: the data seed; and of the masks.
        out: the folder for the pictures.
        what: keys or reconstructions.
        shown: how many videos are shown, evenly spaced; whole, but for keys at most 300 frames from the middle.
        basis: of keys: own is each checkpoint's own axes; matched are its own, ordered and turned so that they go with
            those of the first checkpoint; first is the axes of the first for all, between checkpoints of one run.
        pca_videos: of keys: how many videos the components are computed from, evenly spaced in a folder.
        pca_frames: of keys: from how many frames in the middle of each.
        epoch: of reconstructions: which clip of a dataset's video, and which mask.
        stride: of reconstructions: video frames from one clip frame to the next.
        mask_ratio: of reconstructions: share of the tubes that is hidden.
    """
    positive = {"shown": shown, "pca_videos": pca_videos, "pca_frames": pca_frames, "stride": stride}
    for name, value in positive.items():
        if value < 1:
            raise InputError(f"{name} {value} is not positive: give 1 or more")
    if not checkpoints:
        raise InputError("no checkpoint: name one or more, such as vsr visualize last.ckpt --videos FOLDER")
    if (videos is None) == (dataset is None):
        raise InputError("what is to be shown? Give either --videos, a folder or file, or --dataset, a name")
    import torch

    from vsr.analysis.footage import Address, Footage, find_videos
    from vsr.analysis.pictures import show_keys, show_reconstructions
    from vsr.recipe import load_recipe
    from vsr.rng import check_seed

    check_seed(seed)
    count = pca_videos if what == "keys" else shown
    sources: list[Footage]
    if dataset is not None:
        recipe = load_recipe(dataset)
        recipe.check_index(torch.tensor([index, index + count - 1]))
        sources = [Address(recipe, seed, n) for n in range(index, index + count)]
    else:
        assert videos is not None
        sources = [*find_videos(videos, count)]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if what == "keys":
        files, explained = show_keys(checkpoints, sources, out, basis, shown, pca_frames, device)
        for label, shares in explained.items():
            said = " + ".join(f"{share:.1%}" for share in shares)
            print(f"{label}: three components hold {said} of its keys' variance over {len(sources)} videos")
    else:
        files = show_reconstructions(checkpoints, sources, out, shown, epoch, stride, mask_ratio, seed, device)
    print("\n".join(map(str, files)))
