"""One line for every error that a user can mend."""

import errno
import re

from vsr.errors import InputError, nearest

_WORDS = {
    "int": "a whole number", "float": "a number", "bool": "true or false", "str": "a word", "NoneType": "null",
    "list[int]": "a list of whole numbers", "list[float]": "a list of numbers", "list[str]": "a list of words",
    "list": "a list: write [a, b]", "tuple": "a list: write [a, b]", "dict": "a block of keys and values",
}  # fmt: skip
"""Types in the words of a person."""
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


def known_keys() -> list[str]:
    """Every name that may stand in a config, of a key or a class, for suggestions."""
    import inspect
    from dataclasses import fields

    from lightning import Trainer

    from vsr.callbacks import Checkpoints
    from vsr.data.clips import ActionClips
    from vsr.data.corrupted import CorruptedClips
    from vsr.data.mixture import Share, VideoMixture
    from vsr.data.synthetic import SyntheticVideos
    from vsr.modules import ActionClassifier, AttentiveProbe, KNNProbe, LinearProbe, VideoMAE
    from vsr.recipe import Recipe

    classes = (SyntheticVideos, VideoMixture, Share, ActionClips, VideoMAE, ActionClassifier, Trainer, Checkpoints)
    names = {name for c in classes for name in inspect.signature(c).parameters}
    words = {"trainer", "model", "data", "config", "run", "ckpt_path", "checkpoints"}
    named = {c.__name__ for c in (*classes, AttentiveProbe, CorruptedClips, KNNProbe, LinearProbe)}
    return sorted(names | {f.name for f in fields(Recipe)} | words | named)


def plain(message: str, cause: BaseException | None, known: list[str], help_command: str) -> InputError:
    """One line from a parser's error: our own if there is one in the chain, else the parser's with the nearest key."""
    if own := input_error(cause):
        return own
    text = re.sub(r"(--[\w.]+)/\1\+", r"\1", " ".join(message.split()))  # a list's option has a second name, --x+
    if missing := re.search(r"""Parser key "([^"]+)": Unable to load config ['"]([^'"]+)""", text):
        return InputError(
            f"{missing[1]}: no config {missing[2]} that can be read: check its path from where it is named"
        )
    if kind := _wrong_kind(text, known):
        return InputError(f"{kind} (see {help_command})")
    unknown = re.search(
        r"(?:[Oo]ption|[Kk]ey|arguments?:) '?(?:--)?(?:[\w.]+\.)?(\w+)'?(?: is not expected|[=\s]|$)", text
    )
    stray = "arguments: " in text and "arguments: -" not in text  # a word that belongs to no option
    hint = nearest(unknown[1], known) if unknown and unknown[1] not in known and not stray else ""
    return InputError(f"{text}{hint} (see {help_command})")


def _wrong_kind(text: str, known: list[str]) -> str | None:
    """What jsonargparse says of a value of another type, in the words of a person; None where it says something else.

    Its message is ``Parser key "K": Expected a KIND. Got value: V``, or for several kinds ``Parser key "K": … Subtypes:
    [KIND, KIND] Errors: … Given value: V``.
    """
    found = re.search(
        r'Parser key "([^"]+)": (?:Expected a (.+?)\. Got|.*?Subtypes: \[(.+)\] Errors: .*Given) value: (.*)', text
    )
    if not found:
        return None
    name, kinds, value = found[1], found[2] or found[3], found[4]
    words = re.findall(r"Literal\[(.*?)\]", kinds)
    choices = list(dict.fromkeys(choice.strip("' ") for some in words for choice in some.split(",")))
    classes = re.findall(r"(?<=<class ')[\w.]+|list\[(?:int|float|str)\]", kinds)
    wanted = [f"in {', '.join(choices)}"] if choices else []
    wanted += [_WORDS.get(kind) or f"the name of a {kind.rpartition('.')[2]}" for kind in classes]
    if not wanted:  # such as: tuple with 2 elements
        wanted = [f"a {kinds.replace('tuple', 'list')}" if "with" in kinds else _WORDS["list"]]
    hint = nearest(value, choices or known) if choices or set(classes) - _WORDS.keys() else ""
    brief = value if len(value) <= 80 else f"{value[:77]}…"
    return f"{name} {brief} is not {' or '.join(dict.fromkeys(wanted))}{hint}"


def input_error(error: BaseException | None) -> InputError | None:
    """The error of ours that lies behind one that a library raised in its place.

    Or in one line Lightning's own, and the system's about a disk that is full or closed to us.
    """
    disk: OSError | None = None
    while error is not None and not isinstance(error, InputError):
        if isinstance(error, OSError) and error.errno in _DISK:
            disk = error
        if type(error).__name__ == "MisconfigurationException":
            text = " ".join(str(error).split())
            if undone := re.search(r"No `\w+_step\(\)` method defined to run `Trainer\.(\w+)`", text):
                text = f"vsr {undone[1]} counts right answers, which this model gives none: give a classifier's config"
            if "backend found" in text or "accelerator is not available" in text:
                text = f"this machine does not have the accelerator asked for ({text}): give --trainer.accelerator auto"
            return InputError(text)
        error = error.__cause__ or error.__context__
    if error is None and disk is not None:
        what = disk.filename or "a file"
        return InputError(f"can't write {what} ({disk.strerror}): make room, mend permissions, or give another place")
    return error
