"""``vsr inspect``: what weights are and what they were made from, as their file says it."""

from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from vsr.errors import InputError

if TYPE_CHECKING:
    from vsr.models.exchange import Weights

_STAGES = {
    "VideoMAE": "pre-training", "ActionClassifier": "fine-tuning", "LinearProbe": "linear probe",
    "AttentiveProbe": "attentive probe", "KNNProbe": "k-NN probe",
}  # fmt: skip
_LINE, _WIDTH = 110, 16  # of a line, and of the column of names
_SHOWN = 5  # classes


def inspect(checkpoint: Path, json: bool = False) -> None:
    """Say what a checkpoint is and what it was made from: recipe, seeds, textures, natural videos, code.

    Runs nothing in the file. All is as the file says it, but for the network, which its tensors show, and for whether
    the recipe has the hash that is recorded with it, which is computed.

    Args:
        checkpoint: of vsr fit, a file of VideoMAE's or its DeepSpeed folder, or a Hugging Face folder.
        json: everything, as JSON.
    """
    import json as notation

    from vsr.models.exchange import read_weights

    weights = read_weights(checkpoint, allow_zero_biases=True)
    found = _found(weights)
    if json:
        print(notation.dumps(found, indent=2, default=str))
        return
    print("\n".join(_printable(line) for text in _said(found) for line in text.split("\n")))


def _found(weights: "Weights") -> dict[str, Any]:
    """All that is known, as plain values; a stage for each training that led to these weights, the first first."""
    about, (tubelet_size, patch_size), (width, depth) = weights.about, weights.tube, weights.extent
    files = [weights.path] if weights.path.is_file() else [p for p in weights.path.rglob("*") if p.is_file()]
    try:
        size: str | None = weights.size_name
    except InputError:  # another network, which vsr can't train but can tell something of
        size = None
    stages = [_stage(where, origin) for where, origin in _chain(str(weights.path), about.provenance)][::-1]
    return {
        "checkpoint": str(weights.path),
        "format": weights.format,
        "kind": weights.kind,
        "bytes": sum(file.stat().st_size for file in files),
        "step": about.step,
        "size": size,
        "width": width,
        "depth": depth,
        "parameters": sum(tensor.numel() for tensor in weights.tensors.values()),
        "dtype": str(weights.dtype).removeprefix("torch."),
        "clip": {"num_frames": about.num_frames, "size": about.image_size},
        "tube": [tubelet_size, patch_size, patch_size],
        "classes": about.classes,
        "licence": about.licence,
        "converted_from": about.converted_from,
        "natural_videos": _used(stages, "natural_videos"),
        "natural_images": _used(stages, "natural_images"),
        "stages": stages,
    }


def _chain(where: str, origin: Any) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """A checkpoint and those that it started from, each with its provenance; None where it has none."""
    while True:
        origin = origin if isinstance(origin, dict) else None
        yield where, origin
        start = origin.get("starts_from") if origin else None
        if not isinstance(start, dict):
            return
        where, origin = str(start.get("checkpoint")), start.get("provenance")


def _stage(where: str, origin: dict[str, Any] | None) -> dict[str, Any]:
    """One training: its name, whether its recipes have the hashes recorded with them, and all that is recorded."""
    if origin is None:
        return {"stage": "unknown training", "checkpoint": where, "hashes_agree": None, "provenance": None}
    module = str(origin.get("module"))
    agree = [_agrees(part) for part in _parts(origin) if "recipe" in part]
    return {
        "stage": _STAGES.get(module, module),
        "checkpoint": where,
        "hashes_agree": None if not agree or None in agree else all(agree),
        "provenance": {key: value for key, value in origin.items() if key != "starts_from"},
    }


def _parts(origin: dict[str, Any]) -> list[dict[str, Any]]:
    """The shares of a mixture, or the one set."""
    return _dicts(origin["shares"]) if "shares" in origin else [origin]


def _dicts(given: Any) -> list[dict[str, Any]]:
    """What is usable of a list that was read from a file."""
    return [part for part in given if isinstance(part, dict)] if isinstance(given, list) else []


def _agrees(part: dict[str, Any]) -> bool | None:
    """Whether a recipe has the hash that is recorded with it; None if this version of vsr can't tell."""
    from vsr.recipe import recipe_from_dict

    try:
        return recipe_from_dict(part["recipe"], "recipe").hash == part.get("recipe_hash")
    except (InputError, TypeError, AttributeError):
        return None


def _used(stages: list[dict[str, Any]], key: str) -> str:
    """Which natural videos or images were used in all stages; one that doesn't say is not one without."""
    words = [str((stage["provenance"] or {}).get(key, "not stated")) for stage in stages]
    if set(words) == {"none"}:
        return "none"
    return "; ".join(f"{word} ({stage['stage']})" for word, stage in zip(words, stages, strict=True))


def _said(found: dict[str, Any]) -> Iterator[str]:
    """For people."""
    step = "" if found["step"] is None else f" at step {found['step']:,}"
    yield found["checkpoint"]
    yield _row("weights", f"{found['kind']}{step}, format {found['format']}, {found['bytes'] / 1e6:,.1f} MB")
    size = f"size {found['size']}" if found["size"] else "none of vsr's sizes"
    network = f"{size}: width {found['width']}, {found['depth']} blocks"
    yield _row("network", f"{network}, {found['parameters']:,} parameters, {found['dtype']}")
    clip, tube = found["clip"], " x ".join(map(str, found["tube"]))
    frames, side = clip["num_frames"], clip["size"]
    shape = f"{frames} frames of {side} x {side} px" if frames and side else "not stated"
    yield _row("clips", f"{shape}; tubes of {tube}")
    if classes := found["classes"]:
        more = f", … ({len(classes)})" if len(classes) > _SHOWN else ""
        yield _row("classes", ", ".join(map(str, classes[:_SHOWN])) + more)
    yield _row("natural videos", found["natural_videos"])
    yield _row("natural images", found["natural_images"])
    yield _row("licence", found["licence"] or "of the weights not stated")
    if found["converted_from"]:
        yield _row("converted from", found["converted_from"])
    for number, stage in enumerate(found["stages"], 1):
        yield ""
        yield " ".join(f"{number}. {stage['stage']}: {stage['checkpoint']}".split())
        origin = stage["provenance"]
        if origin is None:
            yield _row("", "it doesn't say what it was trained on")
            continue
        yield from _origin(origin, stage["hashes_agree"])


def _origin(origin: dict[str, Any], agree: bool | None) -> Iterator[str]:
    """The provenance of one stage."""
    for part in _parts(origin):
        weight = f"{part['weight']:.1%} " if isinstance(part.get("weight"), float | int) else ""
        yield from _data(part, weight)
    if agree is False:
        yield _row("", "A RECIPE DOESN'T HAVE THE HASH RECORDED WITH IT: one of them was changed afterwards")
    seeds = [
        f"{name} {origin[key]}"
        for name, key in (("data", "data_seed"), ("everything else", "seed_everything"))
        if key in origin
    ]
    yield _row("seeds", ", ".join(seeds) or "not stated")
    clip = origin.get("clip")
    shape = ", ".join(f"{key} {value}" for key, value in clip.items()) if isinstance(clip, dict) else "not stated"
    yield _row("clips", shape)
    counts = {"total_steps": "steps planned", "global_batch_size": "clips a step"}
    steps = [f"{origin[key]:,} {what}" for key, what in counts.items() if isinstance(origin.get(key), int)]
    averaged = [f"weights averaged with decay {origin['ema_decay']}"] if "ema_decay" in origin else []
    yield _row("schedule", ", ".join([*steps, *averaged]) or "not stated")
    yield _row("code", _code(origin))
    for part in _dicts(origin.get("earlier_parts")):
        yield _row("", f"up to step {part.get('until_step')}: {_code(part)}")


def _data(part: dict[str, Any], weight: str) -> Iterator[str]:
    """What one set of clips is made from."""
    recipe = part.get("recipe")
    if isinstance(recipe, dict):
        yield _row("recipe", f"{weight}{recipe.get('name')}, hash {part.get('recipe_hash')}{_departures(recipe)}")
    else:
        what = part.get("dataset") or f"{part.get('videos')} videos"
        facts = [f"{key} {part[key]}" for key in ("layout", "split", "videos", "classes", "held_out") if part.get(key)]
        yield _row("dataset", f"{weight}{what}: {', '.join(facts) or 'no more is stated'}")
    for pool in _dicts(part.get("textures")):
        yield _row("textures", _pool(pool))


def _departures(recipe: dict[str, Any]) -> str:
    """In which fields a recipe departs from the defaults."""
    from dataclasses import fields

    from vsr.recipe import Recipe

    usual = {field.name: field.default for field in fields(Recipe)}
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in recipe.items() if key != "name"}
    other = [f"{key} {_range(value)}" for key, value in plain.items() if value != usual.get(key)]
    return f": {', '.join(other)}" if other else ""


def _range(value: Any) -> str:
    if not isinstance(value, tuple):
        return str(value)
    return (" .. " if all(isinstance(v, int | float) for v in value) else " and ").join(map(str, value))


def _pool(pool: dict[str, Any]) -> str:
    """A source of textures."""
    images = pool.get("images")
    if isinstance(images, dict):
        return (
            f"{pool.get('count')} of {images.get('count')} images of {images.get('source')}, licence "
            f"{images.get('licence') or 'not stated'}, hash {str(images.get('hash'))[:16]}, "
            f"{images.get('unreadable')} unreadable"
        )
    facts = [f"{key} {pool[key]}" for key in ("seed", "licence", "hash") if key in pool]
    return f"{pool.get('count')} {pool.get('source')}, {', '.join(facts) or 'to be made'}"


def _code(origin: dict[str, Any]) -> str:
    commit = f", commit {origin['commit']}" if origin.get("commit") else ""
    return f"vsr {origin.get('vsr')}{commit}, torch {origin.get('torch')}"


def _row(name: str, text: str) -> str:
    lines = wrap(text, _LINE - _WIDTH - 3, break_long_words=False, break_on_hyphens=False) or [""]
    return "\n".join(
        f"   {head:<{_WIDTH}}{line}" for head, line in zip([name, *[""] * len(lines)], lines, strict=False)
    )


def _printable(line: str) -> str:
    """A line without what would move a terminal's cursor: names in a checkpoint are other people's."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
