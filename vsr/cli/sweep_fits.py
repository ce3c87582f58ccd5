"""The fits of a sweep, checked before anything is started."""

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsr.cli.resume import differences
from vsr.cli.stages import resolve_configs, run_stage
from vsr.errors import InputError

if TYPE_CHECKING:
    from vsr.sweep.cells import Dataset
    from vsr.sweep.folder import Sweep

_FREE = {  # of a run's data and model: how it is run, guarded and shown, not what it is; textures are the overlay's
    "max_batch_per_device", "num_workers", "texture_folder", "texture_cache", "compile", "checkpoint_activations",
    "clip_grad", "max_skipped_steps", "checkpoint", "renderer",
}  # fmt: skip


def must_be_possible(asked: "Sweep", chosen: "list[Dataset]", local: bool) -> None:
    """Refuse before anything is started what would fail in every cell, or go on with another run.

    Raises:
        InputError: the stage before one is missing; images or natural videos are; an option is wrong; a run
            folder is of another run.
    """
    import shutil

    from vsr.sweep import slurm
    from vsr.sweep.cells import STAGES, must_have_what_they_show

    for stage in asked.stages:
        before = STAGES[stage]
        if before is not None and before not in asked.stages:
            bare = [name for n, name in enumerate(asked.names) if not asked.done(before, n)]
            if bare:
                raise InputError(
                    f"{stage} needs {before}, which {bare[0]} hasn't in {asked.folder}: add it to --stages"
                )
    if "pretrain" in asked.stages:
        images = any(w.startswith("--texture_folder") for s in ("", "pretrain") for w in asked.options.get(s, []))
        must_have_what_they_show(chosen, asked.videos, images or _in_overlays(asked, "texture_folder"))
    if asked.sbatch and (local or not slurm.available()):
        raise InputError("there are options after `-- sbatch`, but no sbatch runs: leave them out, or load Slurm")
    if not local and slurm.available() and shutil.which("scontrol") is None:
        print("There is no scontrol here. Where a node has none, a cell that is stopped waits for vsr sweep resubmit.")
    parsed: set[str] = set()
    for (stage, task), words in fits_of(asked).items():
        run = {
            "pretrain": f"pretrain/{asked.names[task]}/default",
            "finetune": f"finetune/{asked.on}/{asked.names[task]}",
            "probe": f"probes/probe/{asked.on}/{asked.names[task]}",
        }[stage]
        there = asked.folder / run / "config.yaml"
        if there.exists() or stage not in parsed:
            _must_be_the_same(there, _resolved(words))
            parsed.add(stage)


def _in_overlays(asked: "Sweep", key: str) -> bool:
    from vsr.documents import read_yaml

    words = [*asked.options.get("", []), *asked.options.get("pretrain", [])]
    given = [word.removeprefix("--config=") for word in words if word.startswith("--config=")]
    given += [after for word, after in pairwise(words) if word == "--config"]
    paths = resolve_configs([word for path in given for word in ("--config", path)])[1::2]
    return any(key in (read_yaml(Path(path)) or {}) for path in paths)


def fits_of(asked: "Sweep") -> dict[tuple[str, int], list[str]]:
    """The options of ``vsr fit`` of all cells that have a fit, as the scripts give them, places aside."""
    found = {}
    devices = ["--trainer.devices", _asked_of_slurm(asked, "--ntasks-per-node")]
    devices += ["--trainer.num_nodes", _asked_of_slurm(asked, "--nodes")]
    for stage, task in asked.cells():
        if stage in ("pretrain", "finetune", "probe"):
            line = asked.datasets[task]
            own = line if line.endswith(".yaml") else f"configs/pretrain/{line}.yaml"
            config = asked.config(stage) or own
            natural = asked.names[task] in asked.natural
            found[stage, task] = ["--config", config, *asked.options_of(stage, natural), *devices]
    return found


def _asked_of_slurm(asked: "Sweep", option: str) -> str:
    """The value of an option of sbatch; 1 is the scripts' own."""
    words = [part for word in asked.sbatch for part in word.split("=", 1)]
    return next((value for value, name in pairwise(reversed(words)) if name == option), "1")


def _resolved(words: list[str]) -> dict[str, Any]:
    """What a fit's options come to."""
    import io
    from contextlib import redirect_stdout, suppress

    import yaml

    text = io.StringIO()
    with redirect_stdout(text), suppress(SystemExit):
        run_stage(["fit", *words, "--print_config"])
    content: dict[str, Any] = yaml.safe_load(text.getvalue())
    return content


def _must_be_the_same(path: Path, here: dict[str, Any]) -> None:
    """Refuse a run folder whose data or network is another; fit compares the checkpoint itself, too."""
    from vsr.documents import read_yaml

    if not path.exists():
        return
    try:
        there = read_yaml(path)
        keys = ("data", "model", "max_textures", "texture_size", "texture_frames")
        one, other = ({key: side[key] for key in keys} for side in (there, here))
        found = differences(one, other, _FREE)
    except (InputError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no config of a run: take its folder away, or give another --out") from error
    if found:
        name, (a, b) = next(iter(found.items()))
        raise InputError(
            f"{path.parent} is of another run: {name} {a} there, {b} here. Give --out another folder, or take this run "
            "away"
        )
