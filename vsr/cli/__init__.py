"""The command line: the only place that sees everything.

``vsr fit|validate|test`` are LightningCLI stages; the other verbs are typed functions. Imports that take seconds stand
inside the functions, so that ``vsr --help`` is quick.
"""

import sys
from collections.abc import Callable

from vsr import signals
from vsr.cli.analyze import analyze
from vsr.cli.check import check_data
from vsr.cli.corrupt import corrupt
from vsr.cli.demo import demo
from vsr.cli.doctor import doctor
from vsr.cli.errors import input_error
from vsr.cli.inspect import inspect
from vsr.cli.plan import plan
from vsr.cli.report import report
from vsr.cli.stages import STAGES, run_stage
from vsr.cli.sweep import sweep
from vsr.cli.typed import run_verb
from vsr.cli.verbs import convert, render, textures
from vsr.cli.visualize import visualize
from vsr.errors import InputError, nearest

_VERBS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "render": render,
    "textures": textures,
    "convert": convert,
    "inspect": inspect,
    "check-data": check_data,
    "corrupt": corrupt,
    "analyze": analyze,
    "visualize": visualize,
    "report": report,
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
            with signals.listening():
                run_stage(words)
        elif words[0] == "plan":
            plan(words[1:])
        elif words[0] == "sweep":
            sweep(words[1:])
        elif words[0] == "doctor":
            doctor(words[1:])
        elif words[0] in _VERBS:
            verb = _VERBS[words[0]]
            if verb is render and "--all" in words:
                words = ["render", "all", *(word for word in words[1:] if word != "--all")]
            many = verb in (analyze, visualize, report)
            run_verb(words[0], verb, words[1:], many_first=many, none_first=verb is report)
        else:
            known = [*STAGES, "plan", "sweep", *_VERBS, "doctor"]
            raise InputError(f"no verb {words[0]!r}{nearest(words[0], known)}: vsr has {', '.join(known)}")
    except Exception as error:
        own = input_error(error)
        if own is None:
            raise
        print(f"vsr: error: {own}", *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        raise SystemExit(2) from None


def _overview() -> str:
    functions = {"plan": plan, "sweep": sweep, **_VERBS, "doctor": doctor}
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
