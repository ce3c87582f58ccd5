"""YAML files that people write: read without running anything, and refused where they can't be meant so."""

import reprlib
from pathlib import Path
from typing import Any

import yaml

from vsr.errors import InputError

_MOST_BYTES = 2**20
_MOST_VALUES = 100_000  # of all that aliases stand for: a few lines of them can mean more than fits any memory
_DEEPEST = 50


def read_yaml(path: Path) -> Any:
    """What a YAML file holds, in plain values.

    Raises:
        InputError: it can't be read or is no YAML, holds several documents, a tag that makes objects or a key twice
            (YAML itself would take the last and say nothing), or more than a person writes: over 1 MiB, 50 levels, or
            100,000 values with aliases followed.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror}): give the path of a YAML file") from error
    if len(text) > _MOST_BYTES:
        raise InputError(f"{path} is longer than {_MOST_BYTES:,} bytes: that is no recipe or config, give another file")
    try:
        _must_be_flat(path, text)
        node = yaml.compose(text, yaml.SafeLoader)
        if node is not None:
            _must_be_plain(path, node)
        return yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        # ValueError and TypeError: what constructors make of 2020-13-01 or of a number that is none
        raise InputError(f"{path} is not a YAML file: {said(error)}") from error


def said(error: Exception) -> str:
    """An error's message in one line, without YAML's name for a text that came from no file."""
    text = str(error)[:2000].replace('in "<unicode string>", ', "at ").replace('in "<byte string>", ', "at ")
    return " ".join(text.split())[:500]


def shown(value: object) -> str:
    """A value as a message shows it: short, whatever it is, and null, true and false as YAML has them."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    brief = reprlib.Repr()
    brief.maxlong = brief.maxstring = brief.maxother = 60
    return brief.repr(list(value) if isinstance(value, tuple) else value)


def _must_be_flat(path: Path, text: bytes) -> None:
    """Refuse what is nested too deeply, before a parser that calls itself for every level has to."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise InputError(f"{path} is nested more than {_DEEPEST} deep: write it flatter")


def _must_be_plain(path: Path, root: yaml.Node) -> None:
    """Refuse keys that stand twice, and aliases that stand for themselves or for too much."""
    seen: dict[int, tuple[int, int] | None] = {}  # values and levels of nodes, aliases followed; None on the way there

    def measure(node: yaml.Node) -> tuple[int, int]:
        if not isinstance(node, yaml.CollectionNode):
            return 1, 0
        if id(node) in seen:
            known = seen[id(node)]
            if known is None:
                raise InputError(f"{path}, {_line(node)}: an alias stands for itself: write it out")
            return known
        seen[id(node)] = None
        parts = node.value
        if isinstance(node, yaml.MappingNode):
            keys = set()
            for key, _ in node.value:
                if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in keys:
                    raise InputError(f"{path}, {_line(key)}: the key {shown(key.value)} stands twice: leave one out")
                keys.add((key.tag, str(key.value)))
            parts = [part for pair in node.value for part in pair]
        inside = [measure(part) for part in parts]
        values, levels = 1 + sum(n for n, _ in inside), 1 + max((depth for _, depth in inside), default=0)
        if values > _MOST_VALUES:
            raise InputError(f"{path} means more than {_MOST_VALUES:,} values with its aliases: write it out")
        if levels > _DEEPEST:
            raise InputError(f"{path} is nested more than {_DEEPEST} deep with its aliases: write it flatter")
        seen[id(node)] = values, levels
        return values, levels

    measure(root)


def _line(node: yaml.Node) -> str:
    return f"line {node.start_mark.line + 1}"
