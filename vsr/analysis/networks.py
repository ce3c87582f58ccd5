"""Networks whose features are compared, with weights by path: nothing is downloaded, no code in a file is run unasked.

Inception and I3D are those of the published FID and FVD; VideoMAE is one's own, or another that vsr reads.
"""

import hashlib
import pickle
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from vsr.analysis.sources import CLIP
from vsr.errors import InputError
from vsr.models.exchange import load_frozen, must_be_stored, read_weights
from vsr.models.probe import FrozenEncoder, Norm

_INCEPTION = "6726825d"  # how the published weights' SHA-256 begins, as their name says
_I3D_SIDE = 224  # px
_FILES = re.compile(rb"\b(save|from_file|write_file|read_file)\b")  # TorchScript's operators, torch's and torchvision's
_SOURCE = 2**26  # B that a network's program may take
_BAD = (RuntimeError, ValueError, KeyError, TypeError, AttributeError, EOFError, OSError, pickle.UnpicklingError)


class Network(NamedTuple):
    """Something that gives features.

    Attributes:
        name: as columns have it.
        how: what goes in, in words.
        sha256: of the weights' file, or of the files of their folder.
        features: uint8 frames (B, 3, S, S), or clips (B, 3, CLIP, H, W), RGB, on its device, to float32 (B, D).
    """

    name: str
    how: str
    sha256: str
    features: Callable[[Tensor], Tensor]


def inception(path: Path, device: torch.device | str = "cpu") -> Network:
    """FID's network on frames: the TensorFlow weights of 2015-12-05, 2048 features, resized as TensorFlow 1 does.

    Args:
        path: ``weights-inception-2015-12-05-6726825d.pth`` (torch-fidelity) or ``pt_inception-…`` (pytorch-fid).
        device: where to run.

    Raises:
        InputError: no such file, or other weights than Inception's.
    """
    digest = _sha256(path)
    try:
        must_be_stored(path)
        torch.load(path, map_location="cpu", weights_only=True, mmap=False)  # else it would be read as code, below
        from torchmetrics.image.fid import FrechetInceptionDistance

        # antialias=False: as in published figures.
        metric = FrechetInceptionDistance(feature_extractor_weights_path=str(path), antialias=False)
    except _BAD as error:
        raise _wrong(path, digest, "FID's Inception weights, whose name ends in 6726825d.pth", error) from error
    network = metric.inception.to(device)

    @torch.no_grad()
    def features(frames: Tensor) -> Tensor:
        found: Tensor = network(frames)
        return found.float()

    known = "" if digest.startswith(_INCEPTION) else "; NOT the published weights, compare with nothing published"
    return Network("inception", f"Inception-v3, 2048 features, no antialiasing{known}", digest, features)


def i3d(path: Path, device: torch.device | str = "cpu") -> Network:
    """FVD's network on clips: the 400 logits of an I3D for Kinetics-400, as TorchScript.

    Clips are resized to a short side of 224 px, bilinear without antialiasing, and cut to the middle.

    TorchScript is a program, which runs when it is loaded and called. It can't reach Python or other programs, but has
    functions that reach files; a file that names one is refused before anything of it runs.

    Args:
        path: ``i3d_torchscript.pt`` of StyleGAN-V.
        device: where to run.

    Raises:
        InputError: no such file, one whose program reaches files, or not such a network.
    """
    digest = _sha256(path)
    _must_keep_off_files(path, digest)
    with warnings.catch_warnings():
        for kind in (DeprecationWarning, FutureWarning):  # torch.jit is deprecated, but the file is what it is
            warnings.simplefilter("ignore", kind)
        try:
            network = torch.jit.load(str(path), map_location=device).eval()  # type: ignore[no-untyped-call, unused-ignore]
        except _BAD as error:
            raise _wrong(path, digest, "the TorchScript file of an I3D, i3d_torchscript.pt", error) from error

    @torch.no_grad()
    def features(clips: Tensor) -> Tensor:
        video = _squares(clips, _I3D_SIDE).float() / 127.5 - 1
        # x= by name: with some releases of torch it can't be found by its place.
        found: Tensor = network(x=video, rescale=False, resize=False, return_features=True)
        return found.float()

    try:
        tried = features(torch.zeros(1, 3, CLIP, _I3D_SIDE, _I3D_SIDE, dtype=torch.uint8, device=device))
        if tried.ndim != 2:
            raise ValueError(f"its output has the shape {tuple(tried.shape)}")
    except _BAD as error:
        raise _wrong(path, digest, "the TorchScript file of an I3D, i3d_torchscript.pt", error) from error
    return Network("i3d", f"I3D, {tried.shape[1]} features, {CLIP} frames, short side 224 px, middle", digest, features)


def videomae(path: Path, device: torch.device | str = "cpu") -> Network:
    """A VideoMAE encoder on clips: the mean over all tokens, as the linear probe sees it.

    Args:
        path: a checkpoint in any format that :func:`vsr.models.exchange.read_weights` reads.
        device: where to run.

    Raises:
        InputError: no such checkpoint, or one that isn't of a size of VideoMAE's.
    """
    weights = read_weights(path)
    side, frames = weights.image_size, min(weights.num_frames, CLIP)
    tubelet_size, patch_size = weights.tube
    norm: Norm = "pretrained" if weights.has_norm else "fresh"
    encoder = FrozenEncoder(weights.size, side, frames, patch_size, tubelet_size, norm)
    load_frozen(encoder, path)
    encoder = encoder.to(device)

    def features(clips: Tensor) -> Tensor:
        return encoder.pooled(_squares(clips[:, :, :frames], side)).float()

    how = f"VideoMAE {weights.size_name}, {weights.extent[0]} features, {frames} frames, short side {side} px, middle"
    return Network("videomae", how, _sha256(path), features)


def _must_keep_off_files(path: Path, digest: str) -> None:
    """Refuse a TorchScript file whose source, which it holds as text, names what reads or writes files."""
    wanted = "the TorchScript file of an I3D, i3d_torchscript.pt"
    try:
        with zipfile.ZipFile(path) as archive:
            packed = [member for member in archive.infolist() if member.compress_type != zipfile.ZIP_STORED]
            if sum(member.file_size for member in packed) > _SOURCE:
                raise ValueError("unpacked it would fill the memory")
            for name in archive.namelist():
                if name.endswith(".py") and (found := _FILES.search(archive.read(name))):
                    raise ValueError(f"its program calls {found[1].decode()}, which reaches files, so it isn't run")
    except (ValueError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:  # RuntimeError: a password
        raise _wrong(path, digest, wanted, error) from error


def _squares(clips: Tensor, side: int) -> Tensor:
    """The middle of clips (B, 3, T, H, W) at a side in px: short side resized, bilinear, without antialiasing."""
    frames = tv.resize(clips.transpose(1, 2), [side], antialias=False)
    cut: Tensor = tv.center_crop(frames, [side, side])
    return cut.transpose(1, 2)


def _sha256(path: Path) -> str:
    """Of a file, or of the files of a folder one after another."""
    if not path.exists():
        raise InputError(f"{path}: no such file: give the path of the weights")
    digest = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
        with file.open("rb") as stream:
            while block := stream.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def _wrong(path: Path, digest: str, wanted: str, error: Exception) -> InputError:
    why = " ".join(str(error).split()).partition(". ")[0][:160]  # torch goes on: to load it so that it may run code
    return InputError(f"{path} (SHA-256 {digest[:16]}…) is not {wanted}: {why.rstrip('.')}; give the path of that file")
