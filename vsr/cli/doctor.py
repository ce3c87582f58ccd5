"""``vsr doctor``: whether this machine has what vsr needs, found out by trying."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from vsr.errors import InputError

_HELP = """usage: vsr doctor

Tries what vsr needs on this machine, in half a minute: one line each, ok or what to do. Trains nothing, downloads
nothing, writes nothing that stays. Exit status 1 if something would fail."""

KNOWN_BAD: tuple[tuple[str, str, str], ...] = (
    ("lightning", "==2.6.2", "a compromised release: change the secrets of this machine"),
    ("lightning", "==2.6.3", "a compromised release: change the secrets of this machine"),
    ("pytorch-lightning", "==2.6.2", "a compromised release: change the secrets of this machine"),
    ("pytorch-lightning", "==2.6.3", "a compromised release: change the secrets of this machine"),
    ("lightning", "==2.5.5", "its command line is broken"),
    ("kornia", "<0.8.2", "it crops every frame of a clip anew"),
    ("tqdm", "<4.66.3", "CVE-2024-34062"),
)
"""Package, versions of it that must not be used, and why."""

_MEMORY = 2 * 2**30  # B: a run of the laptop overlay takes 1.2 GiB, most of it libraries
_SHARED = 128 * 2**20  # B of /dev/shm: two processes send two batches of eight clips ahead each, 4 MB a clip
_ALLOWED = 1e-3  # of the pixels of a small clip; a promise is 1e-5, which a clip as small can't tell from none


class Finding(NamedTuple):
    """What a check found.

    Attributes:
        fine: False where something would fail.
        text: one line: what there is, or what to do.
    """

    fine: bool
    text: str


def doctor(words: list[str]) -> None:
    """Try what vsr needs on this machine: libraries, GPU, memory, videos, kernels, disk, Slurm.

    Raises:
        SystemExit: 1 if something would fail.
    """
    if "-h" in words or "--help" in words:
        print(_HELP)
        return
    if words:
        raise InputError(f"vsr doctor takes no options, not {words[0]!r}: give none")
    fine = True
    for name, check in CHECKS.items():
        for finding in _tried(check):
            fine &= finding.fine
            print(f"{'ok  ' if finding.fine else 'FAIL'}  {name:<9}{' '.join(finding.text.split())}", flush=True)
    if not fine:
        raise SystemExit(1)


def _tried(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What a check finds; whatever it raises is a finding, too."""
    try:
        yield from check()
    except ImportError as error:
        yield Finding(False, f"{error}: pip install --upgrade --force-reinstall {error.name or 'vsr'}")
    except Exception as error:  # what a broken library raises can't be known
        yield Finding(False, f"{type(error).__name__}: {error}")


def libraries() -> Iterator[Finding]:
    """Versions: those that vsr requires, none that is known to be bad."""
    import platform
    from importlib.metadata import PackageNotFoundError, requires, version

    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    from vsr import __version__

    yield Finding(
        True, f"vsr {__version__}, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    )
    wrong, count = [], 0
    for required in map(Requirement, requires("vsr") or []):
        if required.marker is not None and not required.marker.evaluate({"extra": ""}):
            continue
        count += 1
        try:
            found = version(required.name)
        except PackageNotFoundError:
            wrong.append(f"{required.name} is missing: pip install '{required.name}{required.specifier}'")
            continue
        if not required.specifier.contains(found, prereleases=True):
            wrong.append(f"{required.name} {found}: pip install '{required.name}{required.specifier}'")
    for name, versions, why in KNOWN_BAD:
        try:
            found = version(name)
        except PackageNotFoundError:
            continue
        if SpecifierSet(versions).contains(found, prereleases=True):
            wrong.append(f"{name} {found} must not be used, {why}: pip install --upgrade {name}")
    for text in wrong:
        yield Finding(False, text)
    if not wrong:
        yield Finding(True, f"{count} packages in the versions that vsr needs, none known to be bad")


def transformers() -> Iterator[Finding]:
    """Whether Hugging Face folders would be read rightly by the transformers that is here, if there is one."""
    from importlib.metadata import version
    from importlib.util import find_spec

    if find_spec("transformers") is None:
        yield Finding(True, "transformers is not installed: only vsr convert needs it, to verify Hugging Face folders")
        return
    found = f"transformers {version('transformers')}"
    if _biases_arrive():
        yield Finding(True, f"{found} reads VideoMAE's q and v biases")
    else:
        yield Finding(False, f"{found} reads VideoMAE's q and v biases as zeros (its #48675): use another release")


def _biases_arrive() -> bool:
    """Whether biases that aren't zero, in a folder that vsr writes, arrive in transformers' network."""
    import torch

    from vsr.models.exchange import convert
    from vsr.models.exchange.verify import transformers as library
    from vsr.models.vit import SIZES, Encoder

    with tempfile.TemporaryDirectory() as place, torch.no_grad():
        encoder = Encoder(SIZES["tiny"], 16, 2, 8, 2)
        state = {f"encoder.{name}": tensor + 1 for name, tensor in encoder.state_dict().items()}
        torch.save({"model": state}, f"{place}/ours.pth")
        convert(f"{place}/ours.pth", f"{place}/theirs", "hf", verify=False, image_size=16, num_frames=2)
        network = library().VideoMAEModel.from_pretrained(f"{place}/theirs", local_files_only=True)
        biases = [tensor for name, tensor in network.named_parameters() if name.endswith(("q_bias", "query.bias"))]
        return bool(biases) and all(bias.any() for bias in biases)


def processors() -> Iterator[Finding]:
    """The GPU, or why there is none for torch."""
    import torch

    built = f"torch {torch.__version__}"
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(number)
            major, minor = torch.cuda.get_device_capability(number)
            known = torch.cuda.get_arch_list()
            room = f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
            text = f"{built} with CUDA {torch.version.cuda}: {torch.cuda.get_device_name(number)}, {room}"
            if known and not any(int(arch.split("_")[1].rstrip("af")) <= 10 * major + minor for arch in known):
                yield Finding(
                    False, f"{text}; too old for this torch (compute capability {major}.{minor}): install another"
                )
                continue
            torch.ones(8, device=f"cuda:{number}").sum().item()
            yield Finding(True, text)
        return
    there = Path("/dev/nvidia0").exists() or Path("/proc/driver/nvidia/version").exists()
    if not there:
        yield Finding(True, f"{built}: no NVIDIA GPU here, all runs on the CPU ({torch.get_num_threads()} threads)")
    elif torch.version.cuda is None:
        yield Finding(False, f"{built} is built without CUDA, and there is an NVIDIA GPU: install torch for CUDA "
                             "(pytorch.org/get-started)")  # fmt: skip
    else:
        try:
            torch.cuda.init()  # says why
            why = "it sees no device, look at CUDA_VISIBLE_DEVICES"
        except (RuntimeError, AssertionError) as error:
            why = str(error)
        yield Finding(False, f"{built} with CUDA {torch.version.cuda} can't use the NVIDIA GPU here: {why}")


def memory() -> Iterator[Finding]:
    """Main memory, as far as this process may have it, and what is shared between processes."""
    import psutil

    free, total = psutil.virtual_memory().available, psutil.virtual_memory().total
    limit = Path("/sys/fs/cgroup/memory.max")  # of a container or a batch system
    used = Path("/sys/fs/cgroup/memory.current")
    if limit.is_file() and used.is_file() and (most := limit.read_text().strip()).isdigit():
        total = min(total, int(most))
        free = min(free, total - int(used.read_text()))
    text = f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB free"
    enough = free >= _MEMORY
    yield Finding(
        enough, text if enough else f"{text}: the smallest run takes {_MEMORY / 2**30:.0f} GiB, end other processes"
    )
    shared = Path("/dev/shm")
    if shared.is_dir() and (size := psutil.disk_usage(str(shared)).free) < _SHARED:
        yield Finding(
            False,
            f"{size / 2**20:.0f} MiB of shared memory are free: processes that decode need more, give a container "
            "--shm-size 2g, or --data.num_workers 0",
        )


def videos() -> Iterator[Finding]:
    """A video written and read."""
    import io

    import av
    import numpy as np

    from vsr.export import write_mp4

    frames = np.zeros((4, 32, 32, 3), np.uint8)
    frames[:, :16] = 200
    file = io.BytesIO()
    write_mp4(iter(frames), file, fps=25)
    file.seek(0)
    with av.open(file, "r") as container:
        read = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    off = int(np.abs(read.astype(int) - frames).max()) if read.shape == frames.shape else None
    codec = ".".join(map(str, av.library_versions["libavcodec"]))
    text = f"PyAV {av.__version__}, FFmpeg's libavcodec {codec}: H.264 written and read"
    if off is not None and off < 32:
        yield Finding(True, text)
    else:
        yield Finding(False, f"{text} as another video: pip install --force-reinstall av")


def kernels() -> Iterator[Finding]:
    """The fast renderer beside the reference, on every kind of device here."""
    from dataclasses import replace
    from time import perf_counter

    import torch

    from vsr.recipe import load_recipe
    from vsr.render import render_clips

    recipe = replace(load_recipe("saturated_textures"), texture_pool=2, texture_size=64, num_objects=40)
    for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
        drawn = []
        began = perf_counter()
        for renderer in ("fused", "reference"):
            clip = render_clips(recipe, index=[0], num_frames=2, size=48, renderer=renderer, device=device)
            drawn.append(clip.cpu())
        share = (drawn[0] != drawn[1]).any(dim=1).float().mean().item()
        text = f"{device}: the fast renderer and the reference draw the same"
        if share <= _ALLOWED:
            yield Finding(True, f"{text} ({share:.0e} of the pixels differ, {perf_counter() - began:.0f} s)")
        else:
            text = f"{device}: the fast renderer and the reference differ in {share:.1%} of the pixels"
            yield Finding(False, f"{text}: don't train here, and report it with this output")


def disk() -> Iterator[Finding]:
    """Room and permission where runs are kept."""
    import shutil

    import torch

    from vsr.models.vit import SIZES, MaskedAutoencoder

    place = Path("runs") if Path("runs").is_dir() else Path()
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        yield Finding(False, f"can't write to {place.resolve()} ({error.strerror}): run elsewhere, or give "
                             "--trainer.default_root_dir")  # fmt: skip
        return
    with torch.device("meta"):
        weights = sum(p.nbytes for p in MaskedAutoencoder(SIZES["base"]).parameters())
    needed = 9 * weights  # three checkpoints at once, each with AdamW's two moments
    free = shutil.disk_usage(place).free
    text = f"{free / 1e9:,.1f} GB free in {place.resolve()}; a run of ViT-B keeps up to {needed / 1e9:.1f} GB"
    yield Finding(free >= needed, text if free >= needed else f"{text}: make room, or give --trainer.default_root_dir")


def slurm() -> Iterator[Finding]:
    """What a job of Slurm's has asked for."""
    import shutil

    if "SLURM_JOB_ID" not in os.environ:
        there = "srun is here, and this is no job" if shutil.which("srun") else "none here, and none is needed"
        yield Finding(True, f"Slurm: {there}")
        return
    tasks, per_node = os.environ.get("SLURM_NTASKS"), os.environ.get("SLURM_NTASKS_PER_NODE")
    text = f"Slurm: job {os.environ['SLURM_JOB_ID']}, {os.environ.get('SLURM_NNODES', '1')} nodes, {tasks or 1} tasks"
    if tasks is not None and int(tasks) > 1 and per_node is None:
        yield Finding(False, f"{text}: ask for them by --ntasks-per-node, one for each GPU; --ntasks is not understood")
        return
    import torch

    gpus = torch.cuda.device_count()
    if gpus > 1 and per_node is not None and int(per_node) != gpus:
        yield Finding(False, f"{text}: {per_node} tasks a node, and {gpus} GPUs: give --ntasks-per-node={gpus}, or "
                             f"--trainer.devices {per_node}")  # fmt: skip
        return
    yield Finding(True, text)


CHECKS: dict[str, Callable[[], Iterator[Finding]]] = {
    "versions": libraries,
    "device": processors,
    "memory": memory,
    "disk": disk,
    "videos": videos,
    "kernels": kernels,
    "exchange": transformers,
    "cluster": slurm,
}
"""The checks by the names of their lines; each imports what it needs itself, for any of it may be missing."""

if sys.platform == "win32":
    del CHECKS["cluster"]
