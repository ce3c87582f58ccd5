"""Plans in words."""

from collections.abc import Mapping

from vsr.plan.measure import duration
from vsr.plan.rehearsal import Plan

_PATIENCE = 7 * 86400.0  # s: a longer run is not recommended
_GIB = 2**30


def table(plan: Plan) -> str:
    """What was measured, and what follows from it, line by line."""
    work = "decoding" if plan.decoded else "rendering"
    how = f"{_count(plan.micro_steps, 'micro-step')} of {_count(plan.clips, 'clip')}"
    if plan.micro_steps == 0:
        how = f"a single micro-step of {_count(plan.clips, 'clip')}: there was no time for more"
    elif plan.clips != plan.wanted:
        how += f", where the run has {plan.wanted}"
    alone = f"{_rate(plan.training)} clips/s"
    if plan.clips == 0:
        how = "nothing: one clip would take more time than there is"
        alone = f"at most {alone}, computed: a clip's {plan.flops / 1e9:,.0f} GFLOP at the rate of a matrix product"
    joint = f"{_rate(plan.together)} clips/s, {plan.share:.0%} of the time for {work}"
    if plan.micro_steps == 0:
        joint += ", computed from the two above"
    rows = {
        "device": f"{plan.device}, {plan.precision}",
        "timed": how,
        "training alone": alone,
        f"{work} alone": f"{_rate(plan.drawing)} clips/s",
        "together": joint,
        "utilisation": f"{plan.utilisation:.0%}: training does {_flops(plan.flops * plan.training)}, "
        f"a matrix product here {_flops(plan.matmul)}",
        "optimiser step": f"{plan.optimiser:.2g} s",
        "memory": _memory(plan),
    }
    if plan.clips == 0:
        del rows["utilisation"], rows["optimiser step"]
    if plan.pools:
        each = " and ".join(f"{pool.count:,} at {pool.seconds:.2g} s each" for pool in plan.pools)
        rows["textures"] = f"{duration(plan.texture_seconds)}: {each}"
        if plan.texture_cache:
            rows["textures"] += f", less those in {plan.texture_cache}"
    rows["checkpoint"] = f"{_bytes(plan.checkpoint)}: weights and two moments, computed"
    total = f"{duration(plan.seconds)} for {plan.steps:,} steps of {_count(plan.global_batch_size, 'clip')}"
    rows["total"] = "at least " * (plan.clips == 0) + total
    if plan.devices > 1:
        rows["total"] += f" on {plan.devices} devices, predicted from one"
    return "\n".join([plan.dataset, *_aligned([list(row) for row in rows.items()])])


def comparison(plan: Plan, others: Mapping[str, Plan | str]) -> str:
    """The same run with other overlays.

    Args:
        plan: without.
        others: by the overlay, what it takes with it, or why that can't be known here.
    """
    rows = [["", "steps", "clips a step", "clips/s", "total", ""]]
    for name, other in {"as given": plan, **others}.items():
        if isinstance(other, str):
            rows.append([name, *["-"] * 4, other.split(":")[0]])
            continue
        said = "measured" if other.devices == 1 else f"predicted from one of {other.devices} devices"
        if other.clips == 0:
            said = "at least: no time for a clip"
        if other.devices > other.at_hand:
            said += f", of which {other.at_hand} here"
        if not other.fits:
            said += "; does not fit in memory"
        rate = _rate(other.together * other.devices)
        rows.append([name, f"{other.steps:,}", f"{other.global_batch_size}", rate, duration(other.seconds), said])
    return "\n".join(_aligned(rows))


def advice(plan: Plan, others: Mapping[str, Plan | str]) -> str:
    """One line: of what can be done here, the most training that ends within a week; if nothing does, the shortest."""
    known = {"": plan} | {name: other for name, other in others.items() if isinstance(other, Plan)}
    here = {name: p for name, p in known.items() if p.fits and p.devices <= p.at_hand}
    if not here:
        return "Nothing of this fits on this machine: lower --data.max_batch_per_device or --max_textures."
    in_time = {name: p for name, p in here.items() if p.seconds <= _PATIENCE}
    if in_time:
        name = max(in_time, key=lambda name: (in_time[name].work, -in_time[name].seconds))
    else:
        name = min(here, key=lambda name: here[name].seconds)
    return f"On this machine: {'--config ' + name if name else 'as given'} ({duration(here[name].seconds)})."


def _memory(plan: Plan) -> str:
    kind = "resident" if plan.largest is None else "allocated"
    said = f"{_bytes(plan.peak)} {kind} {'at most' if plan.clips else 'before training'}"
    if plan.texture_bytes:
        said += f", and {_bytes(plan.texture_bytes)} of textures"
    said += f", of {_bytes(plan.memory)}"
    if plan.refused is not None:
        said += f"; {plan.refused} clips did not fit"
    if plan.largest is not None:
        said += f"; the largest max_batch_per_device that fits: about {plan.largest}"
    return said if plan.fits or plan.refused is not None else f"{said}: more than there is"


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _bytes(number: int) -> str:
    for unit, size in (("GiB", _GIB), ("MiB", 2**20)):
        if number >= size:
            return f"{number / size:,.1f} {unit}"
    return f"{number / 2**10:,.1f} KiB"


def _rate(per_second: float) -> str:
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.2g}"


def _flops(per_second: float) -> str:
    return f"{per_second / 1e12:,.1f} TFLOP/s" if per_second >= 1e12 else f"{per_second / 1e9:,.1f} GFLOP/s"
