"""``vsr check-data``: whether the videos that a config names can be read."""

from pathlib import Path
from typing import Any

from vsr.errors import InputError


def check_data(
    config: Path,
    videos: str | None = None,
    lists: str | None = None,
    split: int | None = None,
    out: Path = Path("manifest.csv"),
    num_workers: int | None = None,
) -> None:
    """Read every video that a config's lists name, and say which are missing, damaged or short.

    Exit status 1 if any can't be read. Stopped or given again, it reads only what it has not read yet.

    Args:
        config: of fit, with ActionClips or natural shares of a VideoMixture.
        videos: folder of the videos, where the config doesn't say.
        lists: folder of the lists, likewise.
        split: which split. Default: the config's.
        out: the manifest: path, bytes, frames, size, rate, length and trouble of every file, as CSV.
        num_workers: processes that decode. Default: one for each core.
    """
    import os

    from vsr.data.check import check_videos, summary

    if num_workers is not None and num_workers < 1:
        raise InputError(f"num_workers {num_workers} is not positive: give 1 or more")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    checked = check_videos(_sets(config, videos, lists, split), out, num_workers or cores)
    print("\n".join(summary(checked, out)))
    if checked.unreadable:
        raise SystemExit(1)


def _sets(config: Path, videos: str | None, lists: str | None, split: int | None) -> list[Any]:
    """What a config's data block names, with the options in the place of its values."""
    import inspect

    from vsr.cli.stages import resolve_configs
    from vsr.data.check import VideoSet
    from vsr.data.clips import ActionClips
    from vsr.documents import read_yaml, shown

    path = Path(resolve_configs(["check-data", "--config", str(config)])[-1])
    try:
        data: dict[str, Any] = read_yaml(path)["data"]
        kind = data["class_path"].rpartition(".")[2]
    except (AttributeError, TypeError, KeyError) as error:
        raise InputError(f"{config} has no data block with a class_path: give a config of vsr fit") from error
    block = data.get("init_args") or {}
    if not isinstance(block, dict):
        raise InputError(f"{config}: init_args {shown(block)} is no block of settings: correct it")
    given = {"videos": videos, "lists": lists, "split": split}
    usual = {name: parameter.default for name, parameter in inspect.signature(ActionClips).parameters.items()}
    asked = usual | block | {key: value for key, value in given.items() if value is not None}
    parts: list[dict[str, Any]] = [{}]
    if kind == "VideoMixture":
        shares = asked.get("shares")
        if not isinstance(shares, list) or not all(isinstance(share, dict) for share in shares):
            raise InputError(
                f"{config}: shares {shown(shares)} is no list of shares: write - {{weight: 1, …}} for each"
            )
        parts = [share for share in shares if share.get("recipe") is None]
    if kind not in ("ActionClips", "VideoMixture") or not parts:
        raise InputError(f"{config} has no natural videos: give a config with ActionClips, or with a natural share")
    only_training = kind == "VideoMixture" or asked["use"] == "pretrain"
    sets = []
    for part in parts:
        of = asked | {key: part[key] for key in ("videos", "layout", "lists", "split") if part.get(key) is not None}
        if not isinstance(of["videos"], str):
            raise InputError(f"{config} names no videos: give --videos, the folder of the videos")
        for key in ("split", "num_frames", "stride"):
            if not isinstance(of[key], int):
                raise InputError(f"{config}: {key} {shown(of[key])} is not a whole number")
        for key in ("layout", "lists"):
            if not isinstance(of[key], str | None):
                raise InputError(f"{config}: {key} {shown(of[key])} is not a word")
        sets.append(
            VideoSet(
                of["videos"], of["layout"], of["lists"], of["split"],
                ("train",) if only_training else ("train", "val", "test"),
                (of["num_frames"] - 1) * of["stride"] + 1,
            )
        )  # fmt: skip
    return sets
