"""One line for every error that a user can mend."""

import errno
import re

from vsr.errors import InputError, nearest


def known_keys() -> list[str]:
    """Every name that may stand in a config, for suggestions."""
    import inspect
    from dataclasses import fields

    from lightning import Trainer

    from vsr.callbacks import Checkpoints
    from vsr.data.clips import ActionClips
    from vsr.data.mixture import Share, VideoMixture
    from vsr.data.synthetic import SyntheticVideos
    from vsr.modules import ActionClassifier, VideoMAE
    from vsr.recipe import Recipe

    classes = (SyntheticVideos, VideoMixture, Share, ActionClips, VideoMAE, ActionClassifier, Trainer, Checkpoints)
    names = {name for c in classes for name in inspect.signature(c).parameters}
    words = {"trainer", "model", "data", "config", "run", "ckpt_path", "checkpoints"}
    return sorted(names | {f.name for f in fields(Recipe)} | words)


def plain(message: str, cause: BaseException | None, known: list[str], help_command: str) -> InputError:
    """One line from a parser's error: our own if there is one in the chain, else the parser's with the nearest key."""
    if own := input_error(cause):
        return own
    text = " ".join(message.split())
    unknown = re.search(
        r"(?:[Oo]ption|[Kk]ey|arguments?:) '?(?:--)?(?:[\w.]+\.)?(\w+)'?(?: is not expected|[=\s]|$)", text
    )
    hint = nearest(unknown[1], known) if unknown and unknown[1] not in known else ""
    return InputError(f"{text}{hint} (see {help_command})")


_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


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
            if "backend found" in text or "accelerator is not available" in text:
                text = f"this machine does not have the accelerator asked for ({text}): give --trainer.accelerator auto"
            return InputError(text)
        error = error.__cause__ or error.__context__
    if error is None and disk is not None:
        what = disk.filename or "a file"
        return InputError(f"can't write {what} ({disk.strerror}): make room, mend permissions, or give another place")
    return error
