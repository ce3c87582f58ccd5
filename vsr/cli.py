"""The command line: the only place that sees everything.

``vsr fit|validate|test`` are LightningCLI stages; the other verbs are typed functions. Imports that take seconds stand
inside the verbs, so that ``vsr --help`` is quick.
"""

import logging
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vsr.errors import InputError, nearest

if TYPE_CHECKING:
    from lightning.pytorch.cli import LightningCLI

_STAGES = {
    "fit": "pre-train VideoMAE, or fine-tune a classifier",
    "validate": "accuracy of a fine-tuned classifier on the validation videos",
    "test": "accuracy of a fine-tuned classifier on the test videos",
}
_TEXTURES: tuple[tuple[str, Any, str], ...] = (
    ("texture_folder", str | None, "folder of images, or of tar archives of them, where the recipe shows images"),
    ("max_textures", int | None, "a smaller texture pool than the recipe's"),
    ("texture_size", int | None, "another side of a texture than the recipe's, texels"),
    ("texture_frames", int | None, "fewer frames of a dynamic texture than the recipe's"),
    ("texture_cache", str | None, "folder that keeps generated textures from run to run"),
)
_NOT_NEWS = (
    "LightningCLI's args parameter",  # the words are passed on with the configs' full paths
    "Experiment logs directory .* exists and is not empty",  # config.yaml and provenance.json are there first
    "The '.*_dataloader' does not have many workers",  # addresses need none
    "Trying to infer the `batch_size`",  # all micro-batches have one size
    ".*isinstance\\(treespec, LeafSpec\\).* is deprecated",  # Lightning's own call
)


def main(args: list[str] | None = None) -> None:
    """Run one command.

    Args:
        args: the words after ``vsr``; None takes them from the command line.

    Raises:
        SystemExit: 0 after help, 2 with one line on stderr after bad input.
    """
    words = sys.argv[1:] if args is None else list(args)
    try:
        if not words or words[0] in ("-h", "--help"):
            print(_overview())
        elif words[0] == "--version":
            from vsr import __version__

            print(f"vsr {__version__}")
        elif words[0] in _STAGES:
            _stage(words)
        elif words[0] in _VERBS:
            _verb(words[0], words[1:])
        else:
            known = [*_STAGES, *_VERBS]
            raise InputError(f"no verb {words[0]!r}{nearest(words[0], known)}: vsr has {', '.join(known)}")
    except Exception as error:
        own = _input_error(error)
        if own is None:
            raise
        print(f"vsr: error: {own}", file=sys.stderr)
        raise SystemExit(2) from None


def _overview() -> str:
    verbs = {**_STAGES, **{name: (verb.__doc__ or "").splitlines()[0].rstrip(".") for name, verb in _VERBS.items()}}
    lines = [f"  {name:<10}{what[0].lower() + what[1:]}" for name, what in verbs.items()]
    return "\n".join(
        [
            "usage: vsr <verb> [options]      vsr <verb> --help",
            "",
            "Video representations learned without natural videos.",
            "",
            *lines,
            "",
            "For example:",
            "  vsr render acc_shapes --out acc_shapes.mp4",
            "  vsr fit --config configs/pretrain/acc_textures.yaml --config configs/scale/laptop.yaml",
        ]
    )


# The verbs that are plain functions ----------------------------------------------------------------------------------


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
        left_out = render_all(where, seed, index, texture_folder, max_textures or 64)
        print(f"{where}: datasets.png and {len(dataset_names()) - len(left_out)} videos")
        return
    recipe = load_recipe(dataset).with_textures(max_textures, texture_size, texture_frames)
    if texture_folder is not None:
        source = recipe.texture_source if "images" in recipe.sources else "images"
        recipe = replace(recipe, texture_folder=str(texture_folder), texture_source=source)
        recipe = recipe.with_textures(len(image_pool(texture_folder, seed)) * len(recipe.sources))
    if count is not None:
        if clip or truth:
            raise InputError("--count writes whole videos: leave out --clip and --truth, or --count")
        from vsr.offline import export_videos

        where = out or Path(recipe.name)
        done = export_videos(recipe, where, count, index, seed, size or 256, renderer, lossless, shards, texture_cache)
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
        known = render_truth(
            recipe, seed, [index], epoch, num_frames, stride, size or 224, renderer=renderer, bank=bank
        )
        frames = known.video[0].permute(1, 2, 3, 0)
        title = f"{address}, epoch {epoch}: the clip that training sees"
        if truth:
            pictures = {name: picture.numpy() for name, picture in known.pictures().items()}
            write_together(pictures, out, fps=25 / stride, title=f"{title}, and what is known of it")
        else:
            write_video(frames.numpy(), out, fps=25 / stride, title=title)
    else:
        frames = render_video(recipe, seed, index, size=size or 256, renderer=renderer, bank=bank)
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


_VERBS: dict[str, Callable[..., None]] = {"render": render, "textures": textures, "convert": convert}


def _verb(name: str, words: list[str]) -> None:
    from jsonargparse import ArgumentError, ArgumentParser

    function = _VERBS[name]
    if function is render and "--all" in words:
        words = ["all", *(word for word in words if word != "--all")]
    parser = ArgumentParser(prog=f"vsr {name}", exit_on_error=False, allow_abbrev=False)
    parser.add_function_arguments(function, as_positional=True)
    flags = [f"--{key}" for key, value in (function.__annotations__).items() if value is bool]
    words = [
        f"{word}=true" if word in flags and after not in ("true", "false") else word
        for word, after in zip(words, [*words[1:], ""], strict=True)
    ]
    try:
        parsed = parser.parse_args(words)
    except ArgumentError as error:
        raise _plain(str(error), error, [a.dest for a in parser._actions], f"vsr {name} --help") from error
    function(**parser.instantiate(parsed).as_dict())


# The stages ----------------------------------------------------------------------------------------------------------


def _stage(words: list[str]) -> None:
    for message in _NOT_NEWS:
        warnings.filterwarnings("ignore", message)
    advertising = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    advertising.addFilter(lambda record: "litlogger" not in record.getMessage())
    from lightning.pytorch import LightningDataModule, LightningModule
    from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

    # configs name these classes without their modules, which works for classes that have been imported
    from vsr.callbacks import Forecast, Pictures, RunFolder, Throughput  # noqa: F401
    from vsr.data.batches import BatchPlan
    from vsr.data.clips import ActionClips  # noqa: F401
    from vsr.data.mixture import VideoMixture  # noqa: F401
    from vsr.data.synthetic import SyntheticVideos  # noqa: F401
    from vsr.modules import ActionClassifier, VideoMAE  # noqa: F401

    class Parser(LightningArgumentParser):  # type: ignore[misc, unused-ignore]
        def error(self, message: str, ex: Exception | None = None) -> Any:
            raise _plain(message, ex, _known_keys(), f"vsr {words[0]} --help") from ex

    class Stages(LightningCLI):
        def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            parser.add_argument(
                "--run", type=str, default="default", help="name of the run folder runs/STAGE/DATASET/RUN"
            )
            for key, kind, what in _TEXTURES:
                parser.add_argument(f"--{key}", type=kind, default=None, help=what)
                parser.link_arguments(key, f"data.init_args.{key}")
            parser.link_arguments("data.init_args.size", "model.init_args.image_size")
            for key in ("num_frames", "global_batch_size", "seed"):
                parser.link_arguments(f"data.init_args.{key}", f"model.init_args.{key}")
            parser.link_arguments("data.num_classes", "model.init_args.num_classes", apply_on="instantiate")

        @staticmethod
        def subcommands() -> dict[str, set[str]]:
            every = LightningCLI.subcommands()
            return {stage: every[stage] for stage in _STAGES}

        def before_instantiate_classes(self) -> None:
            _place_run(self, words[0])

        def before_fit(self) -> None:
            """Refuse what can't be trained before other processes start and a folder is made."""
            data, trainer = self.datamodule, self.trainer
            BatchPlan.of(data.global_batch_size, data.global_batch_size, trainer.world_size)
            if trainer.max_steps <= 0 and (trainer.max_epochs or -1) <= 0:
                raise InputError("a run without an end has no schedule: give --trainer.max_epochs or max_steps")

    Stages(
        args=_resolve_configs(words),
        parser_kwargs={"allow_abbrev": False},  # --trainer.max_step is a slip
        parser_class=Parser,
        subclass_mode_model=True,
        subclass_mode_data=True,
        model_class=LightningModule,
        datamodule_class=LightningDataModule,
        seed_everything_default=0,
        auto_configure_optimizers=False,
        trainer_defaults={"use_distributed_sampler": False, "callbacks": [RunFolder()]},
        save_config_kwargs={"overwrite": True},
    )


def _resolve_configs(words: list[str]) -> list[str]:
    """Let ``--config configs/…`` name the configs that come with vsr when there is no such file here."""
    from vsr.recipe import CONFIGS

    resolved = []
    for before, word in zip(["", *words], words, strict=False):
        option, _, value = word.partition("=") if word.startswith("--config=") else ("", "", word)
        if (before in ("--config", "-c") or option) and not Path(value).is_file():
            own = CONFIGS / Path(value).relative_to("configs") if value.startswith("configs/") else CONFIGS / value
            if not own.is_file():
                known = sorted(f"configs/{p.relative_to(CONFIGS)}" for p in CONFIGS.rglob("*.yaml"))
                raise InputError(
                    f"no config file {value}{nearest(value, known)}: give a path, or one of vsr's configs/"
                )
            word = f"{option}={own}" if option else str(own)
        resolved.append(word)
    return resolved


def _place_run(cli: "LightningCLI", stage: str) -> None:
    """Set the run folder, ``runs/<stage>/<dataset>/<run>``, and the loggers in it.

    Raises:
        InputError: it already holds a training run that this one would overwrite.
    """
    config = cli.config[stage]
    data, model = config.data.init_args, config.model.class_path.rsplit(".", 1)[-1]
    name = (
        {"VideoMAE": "pretrain", "ActionClassifier": "finetune"}.get(model, model.lower()) if stage == "fit" else stage
    )
    dataset = data.recipe.name if "recipe" in data else data.name
    folder = Path(config.trainer.default_root_dir or "runs") / name / dataset / config.run
    if stage == "fit" and config.ckpt_path is None and (folder / "checkpoints" / "last.ckpt").exists():
        raise InputError(
            f"{folder} already holds a run: go on with it by --ckpt_path last, or name this one with --run NAME"
        )
    if stage == "fit":
        from lightning.pytorch.utilities import rank_zero_only

        rank_zero_only(_keep_metrics)(folder)
    config.trainer.default_root_dir = str(folder)
    if config.trainer.logger is None:
        logger = {"save_dir": str(folder), "name": "", "version": ""}
        config.trainer.logger = [{"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": logger}]


def _keep_metrics(folder: Path) -> None:
    """Set the metrics.csv of an earlier part of a run aside as metrics-1.csv, -2, …: the logger would delete it."""
    from itertools import count

    if (folder / "metrics.csv").exists():
        number = next(n for n in count(1) if not (folder / f"metrics-{n}.csv").exists())
        (folder / "metrics.csv").rename(folder / f"metrics-{number}.csv")


def _known_keys() -> list[str]:
    """Every name that may stand in a config, for suggestions."""
    import inspect
    from dataclasses import fields

    from lightning import Trainer

    from vsr.data.clips import ActionClips
    from vsr.data.mixture import Share, VideoMixture
    from vsr.data.synthetic import SyntheticVideos
    from vsr.modules import ActionClassifier, VideoMAE
    from vsr.recipe import Recipe

    classes = (SyntheticVideos, VideoMixture, Share, ActionClips, VideoMAE, ActionClassifier, Trainer)
    names = {name for c in classes for name in inspect.signature(c).parameters}
    return sorted(names | {f.name for f in fields(Recipe)} | {"trainer", "model", "data", "config", "run", "ckpt_path"})


def _plain(message: str, cause: BaseException | None, known: list[str], help_command: str) -> InputError:
    """One line from a parser's error: our own if there is one in the chain, else the parser's with the nearest key."""
    if own := _input_error(cause):
        return own
    text = " ".join(message.split())
    unknown = re.search(
        r"(?:[Oo]ption|[Kk]ey|arguments?:) '?(?:--)?(?:[\w.]+\.)?(\w+)'?(?: is not expected|[=\s]|$)", text
    )
    hint = nearest(unknown[1], known) if unknown and unknown[1] not in known else ""
    return InputError(f"{text}{hint} (see {help_command})")


def _input_error(error: BaseException | None) -> InputError | None:
    """The error of ours that lies behind one that a library raised in its place; or Lightning's own, in one line."""
    while error is not None and not isinstance(error, InputError):
        if type(error).__name__ == "MisconfigurationException":
            text = " ".join(str(error).split())
            if "backend found" in text or "accelerator is not available" in text:
                text = f"this machine does not have the accelerator asked for ({text}): give --trainer.accelerator auto"
            return InputError(text)
        error = error.__cause__ or error.__context__
    return error
