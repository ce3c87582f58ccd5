"""The stages of LightningCLI: ``vsr fit``, ``validate`` and ``test``."""

import json
import logging
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsr.cli.errors import known_keys, plain
from vsr.cli.folder import keep_metrics, must_be_writable, place_run, run_loggers
from vsr.cli.plan import rehearse_only
from vsr.cli.resume import must_be_the_same_run
from vsr.errors import InputError, nearest

if TYPE_CHECKING:
    from vsr.data.lists import Subset
    from vsr.plan import Rehearsal

STAGES = {
    "fit": "pre-train VideoMAE, fine-tune a classifier, or fit a probe",
    "validate": "accuracy of a fine-tuned classifier or a probe on the validation videos",
    "test": "accuracy of a fine-tuned classifier or a probe on the test videos",
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
    "You passed in a `val_dataloader` but have no `validation_step`",  # of clips to pre-train on
    "You're resuming from a checkpoint that ended before the epoch ended",  # samples follow from the step
    "Found .* module\\(s\\) in eval mode at the start of training",  # a frozen encoder
    ".*isinstance\\(treespec, LeafSpec\\).* is deprecated",  # Lightning's own call
)


def run_stage(words: list[str], rehearsal: "Rehearsal | None" = None) -> None:
    """Run a stage: its name and its options; with a rehearsal, ``fit`` is only measured and nothing is written."""
    for message in _NOT_NEWS:
        warnings.filterwarnings("ignore", message)
    advertising = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    advertising.addFilter(lambda record: "litlogger" not in record.getMessage())
    import torch
    from lightning.pytorch import LightningDataModule, LightningModule
    from lightning.pytorch.callbacks import ProgressBar
    from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
    from lightning.pytorch.utilities import rank_zero_info

    # configs name these classes without their modules, which works for classes that have been imported
    from vsr.callbacks import (  # noqa: F401
        Checkpoints,
        Draws,
        Faults,
        Forecast,
        Heads,
        Pictures,
        Predictions,
        Robustness,
        RunFolder,
        RunProgress,
        SyntheticProbe,
        Throughput,
        WeightAverage,
    )
    from vsr.callbacks.checkpoints import WholeCheckpoints
    from vsr.callbacks.ema import ema_decay
    from vsr.callbacks.stopping import leave_in_order, leave_signals_alone
    from vsr.data.batches import BatchPlan, EvalBatches
    from vsr.data.clips import ActionClips
    from vsr.data.corrupted import CorruptedClips  # noqa: F401
    from vsr.data.mixture import VideoMixture  # noqa: F401
    from vsr.data.synthetic import SyntheticVideos  # noqa: F401
    from vsr.modules import ActionClassifier, AttentiveProbe, KNNProbe, LinearProbe, VideoMAE  # noqa: F401

    # What isn't under bfloat16 autocast multiplies float32 in TF32, where a GPU has it: 10 bits of mantissa, not 23.
    torch.set_float32_matmul_precision("high")

    class Parser(LightningArgumentParser):  # type: ignore[misc, unused-ignore]
        def error(self, message: str, ex: Exception | None = None) -> Any:
            raise plain(message, ex, known_keys(), f"vsr {words[0]} --help") from ex

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
            parser.add_lightning_class_args(Checkpoints, "checkpoints")
            parser.link_arguments("data.num_classes", "model.init_args.num_classes", apply_on="instantiate")

        @staticmethod
        def subcommands() -> dict[str, set[str]]:
            every = LightningCLI.subcommands()
            return {stage: every[stage] for stage in STAGES}

        def _parse_ckpt_path(self) -> None:
            """Not as Lightning does, which puts the checkpoint's settings in the place of those that were given."""

        def before_instantiate_classes(self) -> None:
            if rehearsal is None:
                self.folder, self.checkpoint = place_run(self, words[0])
            else:
                rehearse_only(self.config.fit, rehearsal)

        def instantiate_trainer(self, **kwargs: Any) -> Any:
            if rehearsal is not None:
                self._parser(words[0]).callback_keys.clear()  # saves nothing
            asked = self.config_init[words[0]].trainer
            plugins = asked.plugins or []
            kwargs["plugins"] = [*(plugins if isinstance(plugins, list) else [plugins]), WholeCheckpoints()]
            if rehearsal is None:
                kwargs["default_root_dir"] = self.folder  # config.yaml keeps what was asked for: it can be given again
                kwargs["logger"] = run_loggers(asked.logger, self.folder, self.checkpoint)
                watching = asked.callbacks or []
                watching = watching if isinstance(watching, list) else [watching]
                if asked.enable_progress_bar is not False and not any(isinstance(c, ProgressBar) for c in watching):
                    kwargs["callbacks"] = [*watching, RunProgress()]
            try:
                trainer = super().instantiate_trainer(**kwargs)
            except (TypeError, ValueError) as error:  # of values that Lightning refuses, such as a strategy's name
                if isinstance(error, InputError):
                    raise
                raise InputError(f"trainer: {' '.join(str(error).split())} (see vsr {words[0]} --help)") from error
            leave_signals_alone(trainer)
            return trainer

        def before_fit(self) -> None:
            """Refuse what can't be trained before other processes start and a folder is made."""
            data, trainer = self.datamodule, self.trainer
            BatchPlan.of(data.global_batch_size, data.global_batch_size, trainer.world_size)
            if trainer.max_steps <= 0 and (trainer.max_epochs or -1) <= 0:
                raise InputError("a run without an end has no schedule: give --trainer.max_epochs or max_steps")
            if not any(parameter.requires_grad for parameter in self.model.parameters()):
                self.model.configure_optimizers()  # refuses, as there is nothing to train
            if rehearsal is not None:
                return
            asked = self.config_init[words[0]]
            if self.checkpoint is not None:
                must_be_the_same_run(self.checkpoint, data, self.model, ema_decay(trainer))
            elif asked.ckpt_path is not None:
                rank_zero_info(f"There is no checkpoint in {self.folder} yet: starting from the beginning.")
            asked.ckpt_path = self.checkpoint and str(self.checkpoint)
            if getattr(data, "use", None) == "finetune":
                self._must_reach_every_process("val")
            if trainer.is_global_zero:
                weights = sum(p.nbytes for p in self.model.parameters())
                must_be_writable(self.folder, 3 * weights)  # a checkpoint has them and AdamW's two moments
                keep_metrics(self.folder)

        def before_validate(self) -> None:
            """Refuse a folder that can't take the results, and more processes than videos."""
            self._must_reach_every_process("val")
            must_be_writable(self.folder)

        def before_test(self) -> None:
            """Refuse the same."""
            self._must_reach_every_process("test")
            must_be_writable(self.folder)

        def _must_reach_every_process(self, subset: "Subset") -> None:
            """Refuse fewer videos than processes before these start; a validation may be hours away."""
            if self.trainer.world_size > 1 and isinstance(self.datamodule, ActionClips):
                self.datamodule.setup("test" if subset == "test" else "validate")
                EvalBatches(self.datamodule.num_videos(subset), 1, 0, self.trainer.world_size)

    callbacks = [RunFolder(), Draws(), Faults(), Predictions(), Robustness()] if rehearsal is None else [rehearsal]
    Stages(
        args=whole_recipes(resolve_configs(words)),
        parser_kwargs={"allow_abbrev": False},  # --trainer.max_step is a slip
        parser_class=Parser,
        subclass_mode_model=True,
        subclass_mode_data=True,
        model_class=LightningModule,
        datamodule_class=LightningDataModule,
        seed_everything_default=0,
        auto_configure_optimizers=False,
        trainer_defaults={"use_distributed_sampler": False, "enable_model_summary": False, "callbacks": callbacks},
        save_config_callback=SaveConfigCallback if rehearsal is None else None,
        save_config_kwargs={"overwrite": True},
    )
    leave_in_order()


def whole_recipes(words: list[str]) -> list[str]:
    """Let ``--data.recipe FILE`` or a dataset's name stand for all of a recipe, as everywhere else.

    The parser by itself would put what the file says over the recipe of the config.

    Raises:
        InputError: no such file or dataset, or it is no recipe.
    """
    from vsr.recipe import load_recipe

    options = ("--data.recipe", "--data.init_args.recipe")
    resolved = []
    for before, word in zip(["", *words], words, strict=False):
        option, equals, value = word.partition("=")
        named = equals and option in options
        if (named or before in options) and not (value if named else word).lstrip().startswith("{"):
            recipe = json.dumps(asdict(load_recipe(value if named else word)))
            word = f"{option}={recipe}" if named else recipe
        resolved.append(word)
    return resolved


def resolve_configs(words: list[str]) -> list[str]:
    """Let ``--config configs/…`` name the configs that come with vsr when there is no such file here.

    Raises:
        InputError: there is no such file at all, or it is no YAML that could be meant so.
    """
    from vsr.documents import read_yaml
    from vsr.recipe import CONFIGS

    resolved = []
    for before, word in zip(["", *words], words, strict=False):
        option, _, value = word.partition("=") if word.startswith("--config=") else ("", "", word)
        named = before in ("--config", "-c") or option
        if named and Path(value).is_file():
            read_yaml(Path(value))  # refuses what the parser would stumble over, or take one half of
        elif named:
            own = CONFIGS / Path(value).relative_to("configs") if value.startswith("configs/") else CONFIGS / value
            if not own.is_file():
                known = sorted(f"configs/{p.relative_to(CONFIGS)}" for p in CONFIGS.rglob("*.yaml"))
                raise InputError(
                    f"no config file {value}{nearest(value, known)}: give a path, or one of vsr's configs/"
                )
            word = f"{option}={own}" if option else str(own)
        resolved.append(word)
    return resolved
