"""The verbs that are plain functions of their options."""

from pathlib import Path
from typing import Literal

from vsr.errors import InputError


def render(
    dataset: str,
    index: int = 0,
    seed: int = 0,
    epoch: int = 0,
    clip: bool = False,
    truth: bool = False,
    out: Path | None = None,
    size: int | None = None,
    num_frames: int = 16,
    stride: int = 4,
    texture_folder: Path | None = None,
    max_textures: int | None = None,
    texture_size: int | None = None,
    texture_frames: int | None = None,
    texture_cache: Path | None = None,
    renderer: Literal["fused", "reference"] = "fused",
    count: int | None = None,
    lossless: bool = False,
    shards: bool = False,
) -> None:
    """Show a video of a dataset, with --clip exactly the clip that training sees; with --count write many to a folder.

    Args:
        dataset: a name such as acc_shapes, or the path of a YAML file with a recipe. all, or --all, writes a contact
            sheet of every dataset and a video of each to a folder.
        index: which video; with --count: the first.
        seed: the data seed.
        epoch: with --clip: which clip of the video.
        clip: the frames and crop of training instead of the whole video. They depend on num_frames, stride and size:
            the defaults are the paper's; for a run with others give the run's.
        truth: with --clip: its objects, their depth and the optical flow, too.
        out: a file ending in .mp4, .gif or .png (a contact sheet). Default: <dataset>-<index>.mp4. With --count: a
            folder. Default: <dataset>. With --all: a folder. Default: datasets.
        size: height and width, px. Default: 256, or 224 for a clip.
        num_frames: with --clip: frames of a clip.
        stride: with --clip: video frames from one clip frame to the next.
        texture_folder: take the textures from a folder of images, or of tar archives of them; the pool is then at most
            what is there.
        max_textures: a smaller texture pool than the recipe's, as the laptop overlay has.
        texture_size: another side of a texture than the recipe's, texels, likewise.
        texture_frames: fewer frames of a dynamic texture than the recipe's.
        texture_cache: folder that keeps generated textures for the next time.
        renderer: the fast one, or the reference.
        count: how many videos to write, as .mp4 files with a manifest and a list for VideoMAE-style loaders. After a
            kill the same command goes on.
        lossless: with --count: exactly the rendered RGB.
        shards: with --count: tar archives of 256 videos, as WebDataset reads.
    """
    from dataclasses import replace

    from vsr.export import write_together, write_video
    from vsr.recipe import dataset_names, load_recipe
    from vsr.render import render_truth, render_video
    from vsr.textures.bank import TextureBank
    from vsr.textures.images import image_pool

    if dataset == "all":
        from vsr.overview import render_all

        where = out or Path("datasets")
        left_out = render_all(where, seed, index, texture_folder, 64 if max_textures is None else max_textures)
        print(f"{where}: datasets.png and {len(dataset_names()) - len(left_out)} videos")
        return
    recipe = load_recipe(dataset).with_textures(max_textures, texture_size, texture_frames)
    if texture_folder is not None:
        source = recipe.texture_source if "images" in recipe.sources else "images"
        recipe = replace(recipe, texture_folder=str(texture_folder), texture_source=source)
        recipe = recipe.with_textures(len(image_pool(texture_folder, seed)) * len(recipe.sources))
    side = (224 if clip else 256) if size is None else size
    if count is not None:
        if clip or truth:
            raise InputError("--count writes whole videos: leave out --clip and --truth, or --count")
        from vsr.offline import export_videos

        where = out or Path(recipe.name)
        done = export_videos(recipe, where, count, index, seed, side, renderer, lossless, shards, texture_cache)
        print(f"{where}: {done.line('videos')}")
        return
    if lossless or shards:
        raise InputError(f"--{'lossless' if lossless else 'shards'} is of many videos: add --count")
    bank = TextureBank(recipe, seed, cache=texture_cache) if texture_cache and recipe.textured else None
    out = out or Path(f"{recipe.name}-{index}.mp4")
    if out.suffix not in (".mp4", ".gif", ".png"):
        raise InputError(f"can't write {out}: give --out a file ending in .mp4, .gif or .png")
    address = f"{recipe.name}, seed {seed}, index {index}"
    if truth and not clip:
        raise InputError("--truth is known of the clips of training: add --clip")
    if clip:
        known = render_truth(recipe, seed, [index], epoch, num_frames, stride, side, renderer=renderer, bank=bank)
        frames = known.video[0].permute(1, 2, 3, 0)
        title = f"{address}, epoch {epoch}: the clip that training sees"
        if truth:
            pictures = {name: picture.numpy() for name, picture in known.pictures().items()}
            write_together(pictures, out, fps=25 / stride, title=f"{title}, and what is known of it")
        else:
            write_video(frames.numpy(), out, fps=25 / stride, title=title)
    else:
        frames = render_video(recipe, seed, index, size=side, renderer=renderer, bank=bank)
        write_video(frames.numpy(), out, title=f"{address}: {len(frames)} frames")
    print(f"{out}: {len(frames)} frames of {frames.shape[1]} x {frames.shape[2]} px")


def textures(
    generator: Literal["statistical", "oriented", "high_freq"],
    count: int | None = None,
    out: Path | None = None,
    size: int = 128,
    seed: int = 0,
    shards: bool = False,
) -> None:
    """Write a generator's textures as PNG files to a folder. After a kill the same command goes on.

    Args:
        generator: statistical, or the StyleGAN generators oriented and high_freq.
        count: how many: those numbered 0 .. count - 1.
        out: the folder. Default: <generator>-<size>.
        size: pixels along a side: statistical has 64, 128, 256 and 512, the others have 1 to 256.
        seed: the data seed.
        shards: tar archives of 4,096 textures, as WebDataset reads.
    """
    if count is None:
        raise InputError("how many textures? Give --count, such as 300000 for the paper's pool")
    from vsr.offline import export_textures

    where = out or Path(f"{generator}-{size}")
    print(f"{where}: {export_textures(generator, where, count, size, seed, shards).line('textures')}")


def convert(
    src: Path,
    dst: Path,
    to: Literal["vsr", "videomae", "hf"] = "hf",
    verify: bool = True,
    image_size: int | None = None,
    num_frames: int | None = None,
    allow_zero_biases: bool = False,
) -> None:
    """Translate weights between vsr, VideoMAE's own files and Hugging Face folders.

    Args:
        src: weights: a checkpoint of vsr fit, a file of VideoMAE's or its DeepSpeed folder, or a Hugging Face folder.
        dst: a file, or for hf a folder; there when all is well, or not at all. A model card is written with it.
        to: hf is a folder for from_pretrained, videomae a file for VideoMAE's own code, vsr one for --model.checkpoint
            (not for resuming: it has no optimiser state).
        verify: run a fixed clip through source and result, and refuse the result if they differ by more than 1e-4.
        image_size: height and width of a frame, px, where SRC doesn't say: a bare file has weights only. Default: 224.
        num_frames: frames of a clip, likewise. Default: 16.
        allow_zero_biases: accept weights of others whose q and v biases are all zero, such as untrained ones. Some
            releases of transformers 5 lose those biases.
    """
    from vsr.models import exchange

    source, card, difference = exchange.convert(src, dst, to, verify, image_size, num_frames, allow_zero_biases)
    tubelet_size, patch_size = source.tube
    tokens = f"tubes {tubelet_size} x {patch_size} x {patch_size}"
    clips = f"clips of {source.num_frames} frames of {source.image_size} px"
    print(f"{src}: {source.kind} weights in format {source.format}, size {source.size_name}, {tokens}, {clips}")
    print(f"{dst}: written in format {to}, every tensor equal; {card}: its card")
    print(f"difference on a fixed clip: {difference}" if difference else "outputs not compared")
