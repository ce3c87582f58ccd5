"""``vsr analyze``: properties of datasets, and how they go with accuracy."""

from pathlib import Path

from vsr.errors import InputError


def analyze(
    datasets: list[str],
    against: Path | None = None,
    out: Path = Path("analysis"),
    videos: int = 1000,
    frames: int = 10,
    seed: int = 0,
    inception: Path | None = None,
    i3d: Path | None = None,
    checkpoint: Path | None = None,
    accuracies: Path | None = None,
    texture_folder: Path | None = None,
    max_textures: int | None = None,
    texture_size: int | None = None,
    texture_frames: int | None = None,
    texture_cache: Path | None = None,
    device: str = "cpu",
) -> None:
    """Measure datasets: distance to natural videos, diversity, spectrum, colours and motion, and that against accuracy.

    What needs weights or natural videos that aren't given is left out, and said. Nothing is downloaded.

    Args:
        datasets: before all options: names such as acc_shapes, paths of YAML files with a recipe, or folders of videos.
        against: a folder of natural videos, at any depth, for FID, FVD and colour distance.
        out: the folder that gets properties.json, .csv and .md, and figure4.png where two datasets have an accuracy.
        videos: how many of each dataset, and of the natural ones: distances are compared at equal numbers only.
        frames: of each video, spread over it, for what is measured of single frames.
        seed: the data seed of what is rendered; of folders, which videos and frames are read.
        inception: weights of FID's Inception, weights-inception-2015-12-05-6726825d.pth.
        i3d: TorchScript of FVD's I3D, i3d_torchscript.pt. It is a program: take it from those who made it. One that
            reaches files is refused.
        checkpoint: an encoder of vsr fit, or another that vsr convert reads, for an FVD by VideoMAE's features.
        accuracies: a folder with the results.json of your own tests. Default: the paper's figures, UCF101, ViT-B.
        texture_folder: images, or tar archives of them, for the datasets that show images.
        max_textures: a smaller texture pool than the recipes', as the laptop overlay has.
        texture_size: another side of a texture than the recipes', texels, likewise.
        texture_frames: fewer frames of a dynamic texture than the recipes'.
        texture_cache: folder that keeps generated textures for the next time.
        device: where to render and measure, such as cuda.
    """
    from dataclasses import replace

    from vsr.analysis import networks
    from vsr.analysis.figure4 import own_accuracies, published_accuracies, relate
    from vsr.analysis.measure import Measured, describe, measure
    from vsr.analysis.report import table, write_report
    from vsr.analysis.sources import Folder, Rendered, Source
    from vsr.recipe import load_recipe, recipe_names
    from vsr.render import drawn_on
    from vsr.textures.images import image_pool

    known = published_accuracies() if accuracies is None else own_accuracies(accuracies)
    where = drawn_on(device)

    def source_of(dataset: str) -> Source:
        if Path(dataset).is_dir():
            return Folder(Path(dataset), seed, where)
        recipe = load_recipe(dataset)
        if recipe.name in recipe_names() and recipe.hash != load_recipe(recipe.name).hash:
            raise InputError(
                f"{dataset} is called {recipe.name!r} but isn't that dataset, whose accuracy it would be given: write "
                "another name"
            )
        recipe = recipe.with_textures(max_textures, texture_size, texture_frames)
        if texture_folder is not None and "images" in recipe.sources and recipe.textured:
            recipe = replace(recipe, texture_folder=str(texture_folder))
            recipe = recipe.with_textures(len(image_pool(texture_folder, seed)) * len(recipe.sources))
        return Rendered(recipe, seed, where, texture_cache)

    sources = [source_of(dataset) for dataset in datasets]
    names = [source.name for source in sources]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"two datasets are called {twice!r}: give each once, and folders names of their own")
    of_frames = [networks.inception(inception, where)] if inception is not None else []
    of_clips = [networks.i3d(i3d, where)] if i3d is not None else []
    if checkpoint is not None:
        of_clips.append(networks.videomae(checkpoint, where))

    try:
        out.mkdir(parents=True, exist_ok=True)  # before it is measured for hours
    except OSError as error:
        raise InputError(f"can't write {out} ({error.strerror}): give another --out") from error

    def gather(source: Source, clips: bool) -> Measured:
        return measure(source, videos, frames, of_frames, of_clips if clips else [], where, progress=True)

    natural = None if against is None else gather(Folder(against, seed, where), True)
    numbers, origins = [], {}
    for source in sources:
        found = gather(source, natural is not None)
        origins[found.name] = found.origin
        numbers += describe(found, natural, [*of_frames, *of_clips])
    if natural is not None:
        origins[f"compared with {natural.name}"] = natural.origin
    files = write_report(out, numbers, origins, relate(numbers, known.percent), known)
    print(table(numbers), *files, sep="\n")
