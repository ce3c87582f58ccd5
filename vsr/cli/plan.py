"""``vsr plan``: what a run will take on this machine, and which overlay would suit it."""

import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsr.errors import InputError

if TYPE_CHECKING:
    from vsr.plan import Plan, Rehearsal

_SECONDS = 50.0  # for all; a last piece of work may take longer than was thought
_OWN = 0.6  # share of it for the configuration itself, the rest for it with overlays
_HELP = """usage: vsr plan [options of vsr fit]

Times the run that vsr fit would start with these options, for a minute at most after it has loaded: clips/s, memory,
hours, and the same with every overlay of configs/scale/. Trains nothing, writes nothing.

For example:
  vsr plan --config configs/pretrain/acc_textures.yaml

See vsr fit --help for the options."""


def plan(words: list[str]) -> None:
    """Say what vsr fit will take on this machine, measured: clips/s, memory, hours."""
    if "-h" in words or "--help" in words:
        print(_HELP)
        return
    if not any(word.startswith(("--config", "-c")) for word in words):
        raise InputError(
            "vsr plan needs a run: give the options of vsr fit, such as --config configs/pretrain/NAME.yaml"
        )
    from vsr.plan import advice, comparison, table

    end = time.perf_counter() + _SECONDS
    first = measured(words, _OWN * _SECONDS)
    print(table(first), flush=True)
    overlays = _overlays(words)
    plans: dict[str, Plan | str] = {}
    for number, overlay in enumerate(overlays):
        seconds = max(0.0, end - time.perf_counter()) / (len(overlays) - number)
        try:
            plans[overlay] = measured(_with(words, overlay), seconds)
        except InputError as error:
            plans[overlay] = str(error)
    if plans:
        print(f"\n{comparison(first, plans)}\n\n{advice(first, plans)}")


def measured(words: list[str], seconds: float) -> "Plan":
    """What ``vsr fit`` would take with these options, timed for about so many seconds."""
    from vsr.cli.stages import run_stage
    from vsr.plan import Rehearsal

    rehearsal = Rehearsal(seconds)
    chatter = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]  # of a run on one device
    levels = [logger.level for logger in chatter]
    for logger in chatter:
        logger.setLevel(logging.WARNING)
    try:
        run_stage(["fit", *words], rehearsal)
    finally:
        for logger, level in zip(chatter, levels, strict=True):
            logger.setLevel(level)
    assert rehearsal.plan is not None
    return rehearsal.plan


def rehearse_only(config: Any, rehearsal: "Rehearsal") -> None:
    """Change the configuration of a fit so that one device runs it, for the rehearsal alone, and nothing is written.

    Raises:
        InputError: it asks for a GPU, and there is none, or it is a probe.
    """
    import torch

    if config.model.class_path.endswith("Probe"):
        raise InputError("vsr plan can't time a probe, whose clips are encoded once: vsr fit says how far it is")

    trainer = config.trainer
    asked = trainer.devices
    if trainer.accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise InputError("needs a GPU, this machine has none: give --trainer.accelerator auto")
    rehearsal.devices, rehearsal.nodes = asked, trainer.num_nodes
    trainer.devices = asked[:1] if isinstance(asked, list) else 1
    trainer.num_nodes, trainer.strategy = 1, "auto"
    trainer.callbacks, trainer.logger, trainer.profiler = [], False, None
    trainer.enable_checkpointing = trainer.enable_progress_bar = trainer.enable_model_summary = False
    trainer.num_sanity_val_steps = trainer.limit_val_batches = 0
    trainer.min_epochs = trainer.min_steps = None  # it stops before
    config.ckpt_path = None


def _overlays(words: list[str]) -> list[str]:
    """The overlays that are no part of the configuration yet. How a network is sharded is not a matter of scale."""
    import yaml

    from vsr.recipe import CONFIGS

    given = {Path(word.removeprefix("--config=")).name for word in words}
    return [
        f"configs/scale/{path.name}"
        for path in sorted((CONFIGS / "scale").glob("*.yaml"))
        if path.name not in given and "strategy" not in (yaml.safe_load(path.read_text()).get("trainer") or {})
    ]


def _with(words: list[str], overlay: str) -> list[str]:
    """The same with a further ``--config``: behind the others, before the options that overrule them."""
    last = max(n for n, word in enumerate(words) if word.startswith(("--config", "-c")))
    last += "=" not in words[last]
    return [*words[: last + 1], "--config", overlay, *words[last + 1 :]]
