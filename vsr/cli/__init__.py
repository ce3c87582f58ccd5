"""The command line: the only place that sees everything.

``vsr fit|validate|test`` are LightningCLI stages; the other verbs are typed functions. Imports that take seconds stand
inside the functions, so that ``vsr --help`` is quick.
"""

import json
import sys
from collections.abc import Callable

from vsr.cli.analyze import analyze
from vsr.cli.check import check_data
from vsr.cli.corrupt import corrupt
from vsr.cli.doctor import doctor
from vsr.cli.errors import input_error, plain
from vsr.cli.inspect import inspect
from vsr.cli.plan import plan
from vsr.cli.stages import STAGES, run_stage
from vsr.cli.verbs import convert, render, textures
from vsr.cli.visualize import visualize
from vsr.errors import InputError, nearest

_VERBS: dict[str, Callable[..., None]] = {
    "render": render,
    "textures": textures,
    "convert": convert,
    "inspect": inspect,
    "check-data": check_data,
    "corrupt": corrupt,
    "analyze": analyze,
    "visualize": visualize,
}


def main(args: list[str] | None = None) -> None:
    """Run one command.

    Args:
        args: the words after ``vsr``; None takes them from the command line.

    Raises:
        SystemExit: 0 after help, 2 with one line on stderr after bad input.
    """
    words = sys.argv[1:] if args is None else list(args)
    try:
        if not words or words[0] in ("-h", "--help"):
            print(_overview())
        elif words[0] == "--version":
            from vsr import __version__

            print(f"vsr {__version__}")
        elif words[0] in STAGES:
            run_stage(words)
        elif words[0] == "plan":
            plan(words[1:])
        elif words[0] == "doctor":
            doctor(words[1:])
        elif words[0] in _VERBS:
            _verb(words[0], words[1:])
        else:
            known = [*STAGES, "plan", *_VERBS, "doctor"]
            raise InputError(f"no verb {words[0]!r}{nearest(words[0], known)}: vsr has {', '.join(known)}")
    except Exception as error:
        own = input_error(error)
        if own is None:
            raise
        print(f"vsr: error: {own}", *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        raise SystemExit(2) from None


def _overview() -> str:
    functions = {"plan": plan, **_VERBS, "doctor": doctor}
    verbs = {**STAGES, **{name: (verb.__doc__ or "").splitlines()[0].rstrip(".") for name, verb in functions.items()}}
    lines = [f"  {name:<12}{what[0].lower() + what[1:]}" for name, what in verbs.items()]
    return "\n".join(
        [
            "usage: vsr <verb> [options]      vsr <verb> --help",
            "",
            "Video representations learned without natural videos.",
            "",
            *lines,
            "",
            "For example:",
            "  vsr render acc_shapes --out acc_shapes.mp4",
            "  vsr fit --config configs/pretrain/acc_textures.yaml --config configs/scale/laptop.yaml",
        ]
    )


def _verb(name: str, words: list[str]) -> None:
    from jsonargparse import ArgumentError, ArgumentParser

    function = _VERBS[name]
    if function is render and "--all" in words:
        words = ["all", *(word for word in words if word != "--all")]
    if function in (analyze, visualize):
        words = _first_gathered(words)
    parser = ArgumentParser(prog=f"vsr {name}", exit_on_error=False, allow_abbrev=False)
    parser.add_function_arguments(function, as_positional=True)
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
    function(**parser.instantiate(parsed).as_dict())


def _first_gathered(words: list[str]) -> list[str]:
    """``a b --option`` as ``["a", "b"] --option``, for the verbs whose first argument takes several values."""
    count = next((n for n, word in enumerate(words) if word.startswith("-")), len(words))
    return [json.dumps(words[:count]), *words[count:]] if count else words


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
