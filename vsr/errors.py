"""The one error a user can mend."""


class InputError(ValueError):
    """Something the user gave can't be used.

    The message is one line that names the value, the place and the remedy. The command line prints it without a
    traceback and exits with status 2; from Python it is an ordinary ``ValueError``.
    """


def nearest(word: str, known: list[str]) -> str:
    """The hint ``; did you mean 'x'?`` for the known word most like ``word``, or an empty string."""
    import difflib

    match = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {match[0]!r}?" if match else ""
