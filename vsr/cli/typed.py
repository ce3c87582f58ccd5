"""A typed function as a verb: its parameters are the options, its docstring the help."""

import json
from collections.abc import Callable
from typing import Any

from vsr.cli.errors import plain


def run_verb(
    name: str, function: Callable[..., None], words: list[str], many_first: bool = False, none_first: bool = False,
    **fixed: Any,
) -> None:  # fmt: skip
    """Parse the words for a function, and call it.

    Args:
        name: of the verb.
        function: typed; parameters without defaults stand before the options.
        words: after the verb's name.
        many_first: the first parameter takes several values.
        none_first: or none.
        fixed: arguments that aren't options.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    if many_first:
        words = _first_gathered(words, none_first)
    parser = ArgumentParser(prog=f"vsr {name}", exit_on_error=False, allow_abbrev=False)
    parser.add_function_arguments(function, as_positional=True, skip=set(fixed))
    words = _gathered(words, [f"--{key}" for key, value in function.__annotations__.items() if "list[" in str(value)])
    flags = [f"--{key}" for key, value in (function.__annotations__).items() if value is bool]
    words = [
        f"{word}=true" if word in flags and after not in ("true", "false") else word
        for word, after in zip(words, [*words, ""][1:], strict=True)
    ]
    try:
        parsed = parser.parse_args(words)
    except ArgumentError as error:
        raise plain(str(error), error, [a.dest for a in parser._actions], f"vsr {name} --help") from error
    function(**parser.instantiate(parsed).as_dict(), **fixed)


def _first_gathered(words: list[str], optional: bool) -> list[str]:
    """``a b --option`` as ``["a", "b"] --option``, for the verbs whose first argument takes several values, or none."""
    count = next((n for n, word in enumerate(words) if word.startswith("-")), len(words))
    return [json.dumps(words[:count]), *words[count:]] if count or optional else words


def _gathered(words: list[str], lists: list[str]) -> list[str]:
    """``--option a b`` as ``--option=[a,b]``, for the options that take several values."""
    gathered: list[str] = []
    values: list[str] | None = None
    for word in [*words, "--"]:
        if values is not None and not word.startswith("-"):
            values.append(word)
            continue
        if values:
            gathered[-1] += f"=[{','.join(values)}]"
        gathered.append(word)
        values = [] if word in lists else None
    return gathered[:-1]
