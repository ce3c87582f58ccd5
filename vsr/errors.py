"""The one error a user can mend."""


class InputError(ValueError):
    """Something the user gave can't be used.

    The message is one line that names the value, the place and the remedy. The command line prints it without a
    traceback and exits with status 2; from Python it is an ordinary ``ValueError``.
    """


def must_name_a_folder(what: str, name: str) -> None:
    """Refuse a name that leads elsewhere than to one folder.

    Raises:
        InputError: it is blank, ``.`` or ``..``, or has a slash or what can't be printed.
    """
    if not name.strip() or name in (".", "..") or any(c in "/\\" or not c.isprintable() for c in name):
        raise InputError(f"{what} {name!r} can't name a folder: give letters, digits and _, such as my_set")


def nearest(word: str, known: list[str]) -> str:
    """The hint ``; did you mean 'x'?`` for the known word most like ``word``, or an empty string."""
    import difflib

    match = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {match[0]!r}?" if match else ""
