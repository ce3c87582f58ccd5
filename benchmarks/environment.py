"""What benchmarks share: the header (when, on what, with which versions), the clock, the peak of memory."""

import os
import platform
import subprocess
import time
from collections.abc import Callable
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

PACKAGES = ("torch", "numba", "numpy", "opencv-python-headless")


def cpu_model() -> str:
    """The processor's name, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cores() -> int:
    """The logical cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def commit() -> str:
    """The commit that is measured; ``-dirty`` where the working tree differs from it."""
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "none (not committed)"


def header() -> str:
    """Date, machine, versions and commit, as a Markdown list."""
    versions = [f"python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            versions.append(f"{package} missing")
    lines = [
        f"date: {datetime.now().astimezone().isoformat(timespec='minutes')}",
        f"machine: {cpu_model()}, {cores()} logical cores, {platform.system()} {platform.machine()}",
        f"versions: {', '.join(versions)}",
        f"commit: {commit()}",
    ]
    if hasattr(os, "getloadavg"):  # not on Windows
        lines.append(f"load before the start: {os.getloadavg()[0]:.1f}")
    return "\n".join(f"* {line}" for line in lines)


def interleaved(renderers: dict[str, Callable[[], object]], repetitions: int, clips: int) -> dict[str, list[float]]:
    """Seconds per clip of each renderer, in turns, so that what else the machine does hits all of them."""
    taken: dict[str, list[float]] = {name: [] for name in renderers}
    for render in renderers.values():
        render()  # compiles, touches the memory
    for _ in range(repetitions):
        for name, render in renderers.items():
            start = time.perf_counter()
            render()
            taken[name].append((time.perf_counter() - start) / clips)
    return taken


def copy_bandwidth() -> float:
    """Bytes that one core copies per second, best of ten, in arrays that no cache holds."""
    source = np.ones(2**28, np.uint8)
    target = np.ones_like(source)
    copy = interleaved({"copy": lambda: np.copyto(target, source)}, 10, 1)["copy"]
    return source.nbytes / min(copy)


def forget_peak() -> None:
    """Start anew with the process's peak of resident memory (Linux only)."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak() -> int:
    """Largest resident memory since :func:`forget_peak`, bytes; ``ru_maxrss`` is inherited at start."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
