"""Which videos of a training list are held out, to choose something on that isn't the test."""

import torch

from vsr import rng
from vsr.data.lists import Item
from vsr.errors import InputError


def hold_out(items: list[Item], share: float, seed: int) -> tuple[list[int], list[int]]:
    """Split a training list: the numbers of the videos to train on, and of those to validate on.

    Of each class a share of the videos is held out, by whole groups (``Item.group``): clips of one recording are as
    good as copies of each other and never stand on both sides. Groups are taken in an order drawn at (seed, class), as
    many as come closest to the share, the fewer of two that are as close: at least one and at most all but one where a
    class has two or more, none of a class that has one.

    Args:
        items: the list.
        share: of its videos, 0 to less than 1; 0: none is held out.
        seed: the data seed.

    Returns:
        Ascending numbers of videos: trained on, held out. Together they are all, each once.

    Raises:
        InputError: it is no such share, or no class has two groups.
    """
    if not 0 <= share < 1:
        raise InputError(f"held_out {share} is not a share: give 0 or more, less than 1")
    if share == 0:
        return list(range(len(items))), []
    classes: dict[int, dict[str, list[int]]] = {}
    for number, item in enumerate(items):
        group = str(item.path) if item.group is None else item.group
        classes.setdefault(item.label, {}).setdefault(group, []).append(number)
    held = sorted(number for label in classes for number in _of_class(classes[label], label, share, seed))
    if not held:
        raise InputError(
            f"held_out {share} holds out nothing: every class of the training list has one recording; set it to 0"
        )
    out = set(held)
    return [number for number in range(len(items)) if number not in out], held


def _of_class(groups: dict[str, list[int]], label: int, share: float, seed: int) -> list[int]:
    """The numbers that are held out of one class."""
    names = sorted(groups)  # not in the list's order, which two copies of a set may have differently
    keys = rng.words(rng.Stream.HELD_OUT, seed, torch.tensor([label]), 0, -(-len(names) // 4))
    order = keys.flatten()[: len(names)].argsort(stable=True).tolist()
    taken, wanted = [0], share * sum(map(len, groups.values()))
    for place in order:
        taken.append(taken[-1] + len(groups[names[place]]))
    few = min(1, len(names) - 1)
    count = min(range(few, max(len(names), few + 1)), key=lambda c: abs(taken[c] - wanted))
    return [number for place in order[:count] for number in groups[names[place]]]
