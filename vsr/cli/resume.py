"""Which checkpoint a run goes on from, and whether it is one of the same run."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsr.errors import InputError

if TYPE_CHECKING:
    from lightning.pytorch import LightningDataModule, LightningModule

_NOT_THE_RUN = {  # of the provenance: the code, the schedule's length, places on the disk, what is found out on the way
    "vsr", "commit", "torch", "total_steps", "earlier_parts", "starts_from", "natural_videos", "natural_images",
    "textures", "texture_folder", "recipe_hash",
}  # fmt: skip
_NOT_THE_LEARNER = {  # of the module's arguments: how it is run and guarded, and what the data says
    "compile", "checkpoint_activations", "clip_grad", "max_skipped_steps", "num_classes", "num_frames", "image_size",
    "global_batch_size", "seed",
}  # fmt: skip


def find_checkpoint(ckpt_path: str | None, folder: Path) -> Path | None:
    """The file that ``--ckpt_path`` means.

    Args:
        ckpt_path: a path; ``last`` for the run folder's own; None for a new run.
        folder: the run's.

    Returns:
        the path, or None to start from the beginning: also with ``last`` when there is none.

    Raises:
        InputError: the folder holds another run, which this one would overwrite.
    """
    own = [folder / "checkpoints" / name for name in ("last.ckpt", "previous.ckpt")]
    there = [path for path in own if path.exists()]
    if ckpt_path == "last":
        return there[0] if there else None
    if there and (ckpt_path is None or Path(ckpt_path).resolve() not in [path.resolve() for path in own]):
        raise InputError(
            f"{folder} already holds a run: go on with it by --ckpt_path last, or name this one with --run NAME"
        )
    return None if ckpt_path is None else Path(ckpt_path)


def must_be_the_same_run(
    path: Path, data: "LightningDataModule", module: "LightningModule", ema_decay: float | None
) -> None:
    """Refuse a checkpoint that this run can't go on from.

    Free are the length of the run, the devices, the batch on each of them, precision, how the network is run and what
    guards it (``compile``, ``clip_grad``, …), and where files lie.

    Args:
        path: of the checkpoint.
        data: what this run learns from.
        module: what learns in it.
        ema_decay: of its weights' average; None if it has none.

    Raises:
        InputError: it is damaged, or of another run; it says in what they differ.
    """
    from vsr.callbacks.checkpoints import read_checkpoint
    from vsr.callbacks.run_folder import subject

    checkpoint = read_checkpoint(path)
    there, here = checkpoint["provenance"], subject(data, module)
    if "module" not in there:
        raise InputError(
            f"--ckpt_path {path}: its provenance can't be a run's, someone has changed it: give another checkpoint"
        )
    if there["module"] != here["module"]:
        use = "--ckpt_path goes on with a run of the same stage"
        if here["module"] == "ActionClassifier":
            use += "; to start from these weights give them as --model.checkpoint"
        raise InputError(
            f"--ckpt_path {path} is a checkpoint of {there['module']}, but this run trains {here['module']}: {use}"
        )
    arguments = {key: value for key, value in module.hparams.items() if key not in _NOT_THE_LEARNER}
    found = differences(checkpoint["hyper_parameters"], arguments) | differences(there, here)
    found |= differences({"ema_decay": there.get("ema_decay")}, {"ema_decay": ema_decay})  # also where one has none
    if found:
        said = "; ".join(f"{name} {a} there, {b} here" for name, (a, b) in found.items())
        raise InputError(
            f"--ckpt_path {path} is of another run: {said}. Give this one the same settings, or start it anew with "
            "--run NAME"
        )
    kept, ours = checkpoint["state_dict"], module.state_dict()
    if {name: getattr(t, "shape", None) for name, t in kept.items()} != {
        name: t.shape for name, t in ours.items()
    } or not all(checkpoint[part] for part in ("optimizer_states", "lr_schedulers", "loops")):
        raise InputError(
            f"--ckpt_path {path}: its weights or its optimiser's state aren't this network's, someone has changed it: "
            "give another checkpoint"
        )


def differences(there: Any, here: Any, free: set[str] = _NOT_THE_RUN) -> dict[str, tuple[str, str]]:
    """Values that two runs both state, and state differently: what the first and the second say.

    Args:
        there: plain values of one run.
        here: of the other.
        free: names of values that may differ.
    """
    found: dict[str, tuple[str, str]] = {}

    def compare(name: str, a: Any, b: Any) -> None:
        if isinstance(a, dict) and isinstance(b, dict):
            for key in a.keys() & b.keys() - free:
                compare(f"{name}.{key}" if name else key, a[key], b[key])
        elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b) and any(isinstance(x, dict) for x in a):
            for k, pair in enumerate(zip(a, b, strict=True)):
                compare(f"{name}[{k}]", *pair)
        elif a != b:
            found[name] = json.dumps(a), json.dumps(b)

    compare("", *(json.loads(json.dumps(side, default=str)) for side in (there, here)))
    return dict(sorted(found.items()))
