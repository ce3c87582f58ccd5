"""The one plain function: addresses in, uint8 videos out. Training, tests, notebooks and the command line call it."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from vsr import geometry
from vsr.errors import InputError
from vsr.latents import Latents, latents
from vsr.raster import Scene, fused
from vsr.recipe import Recipe
from vsr.rng import Stream, below, words
from vsr.textures.bank import TextureBank

Renderer = Literal["fused", "reference"]
_MATRICES_AT_ONCE = 32_768  # objects x frames: bounds the work memory (10 MiB measured), whatever is asked for


def render_clips(
    recipe: Recipe,
    seed: int = 0,
    index: Sequence[int] | Tensor = (0,),
    epoch: int | Sequence[int] | Tensor = 0,
    num_frames: int = 16,
    stride: int = 4,
    size: int = 224,
    crop: bool = True,
    renderer: Renderer = "fused",
    device: torch.device | str = "cpu",
    bank: TextureBank | None = None,
) -> Tensor:
    """The clips that training sees at the given addresses.

    The first frame is uniform over the video; the view is VideoMAE's MultiScaleCrop, drawn once per clip. Both follow
    from ``(seed, index, epoch)``. The crop is a camera: it is rendered at its final size, not resampled.

    Args:
        recipe: the dataset.
        seed: the data seed, 0 .. 2^64 - 1.
        index: B videos.
        epoch: which clip of them, one for all or one each.
        num_frames: T.
        stride: video frames from one clip frame to the next.
        size: H = W of the output, px.
        crop: MultiScaleCrop; False shows the whole frame.
        renderer: ``fused`` (Numba, on the CPU; for another device its pixels are copied there) or ``reference``
            (Kornia, on ``device``). They agree in all but 1e-5 of the pixels, those on outlines or texel borders.
        device: where the result is.
        bank: the textures to use; None keeps one per recipe and seed, and makes only textures that are seen.

    Returns:
        uint8 (B, C, T, H, W), RGB.

    Raises:
        InputError: an index outside a fixed set, a clip longer than the shortest video, textures that can't be had.
    """
    span = (num_frames - 1) * stride + 1
    if num_frames < 1 or stride < 1 or size < 1:
        raise InputError(f"num_frames {num_frames}, stride {stride} and size {size} must all be 1 or more")
    if span > recipe.duration[0]:
        raise InputError(
            f"a clip of {num_frames} frames, {stride} apart, spans {span} frames, but videos of {recipe.name!r} have "
            f"as few as {recipe.duration[0]}: lower num_frames or stride"
        )
    where = torch.device("cpu" if renderer == "fused" else device)
    numbers = torch.as_tensor(index, dtype=torch.int64).to(where)
    epochs = torch.as_tensor(epoch, dtype=torch.int64).to(where).expand(len(numbers))
    bank = _bank_for(recipe, seed, where) if bank is None and recipe.fill != "color" else bank
    out = torch.empty(len(numbers), 3, num_frames, size, size, dtype=torch.uint8, device=where)
    videos_at_once = max(1, _MATRICES_AT_ONCE // (num_frames * recipe.num_objects))
    for first in range(0, len(numbers), videos_at_once):
        some = slice(first, first + videos_at_once)
        drawn = latents(recipe, seed, numbers[some])
        word = words(Stream.CLIP, seed, numbers[some], epochs[some])[:, 0]
        start = below(word[:, 0], drawn.duration - span + 1)
        time = start[:, None] + stride * torch.arange(num_frames, device=where)
        box = _whole_frame(recipe, where)
        if crop:
            box = geometry.multi_scale_crop(word[:, 1], word[:, 2], recipe.size, size)
        _draw(recipe, drawn, time, box, renderer, bank, out[some])
    return out.to(device)


def render_video(
    recipe: Recipe,
    seed: int = 0,
    index: int = 0,
    size: int = 256,
    renderer: Renderer = "fused",
    device: torch.device | str = "cpu",
    bank: TextureBank | None = None,
) -> Tensor:
    """One whole video, every frame, uncropped.

    Args:
        recipe: the dataset.
        seed: the data seed.
        index: which video.
        size: H = W of the output, px.
        renderer: as for :func:`render_clips`.
        device: where the result is.
        bank: as for :func:`render_clips`.

    Returns:
        uint8 (T, H, W, C), RGB; T is the video's own duration, 100 .. 200 in the paper.

    Raises:
        InputError: an index outside a fixed set, textures that can't be had.
    """
    where = torch.device("cpu" if renderer == "fused" else device)
    bank = _bank_for(recipe, seed, where) if bank is None and recipe.fill != "color" else bank
    drawn = latents(recipe, seed, torch.tensor([index], device=where))
    time = torch.arange(int(drawn.duration), device=where)[None]
    out = torch.empty(1, len(time[0]), size, size, 3, dtype=torch.uint8, device=where)
    _draw(recipe, drawn, time, _whole_frame(recipe, where), renderer, bank, out.permute(0, 4, 1, 2, 3))
    return out[0].to(device)


def _whole_frame(recipe: Recipe, device: torch.device) -> Tensor:
    return torch.tensor([[0, 0, recipe.size, recipe.size]], dtype=torch.float64, device=device)


@lru_cache(maxsize=2)
def _bank_for(recipe: Recipe, seed: int, device: torch.device) -> TextureBank:
    return TextureBank(recipe, seed, device)


def _draw(
    recipe: Recipe, drawn: Latents, time: Tensor, box: Tensor, renderer: Renderer, bank: TextureBank | None, out: Tensor
) -> None:
    """Draw B videos at times (B, T) through the camera ``box`` (B or 1, 4) into ``out`` (B, C, T, H, W)."""
    camera = geometry.output_from_frame(box, out.shape[-1])[:, None, None]
    outline = geometry.outlines(drawn)
    frames_at_once = max(1, _MATRICES_AT_ONCE // (len(time) * recipe.num_objects))
    for some, pixels in zip(time.split(frames_at_once, dim=1), out.split(frames_at_once, dim=2), strict=True):
        scene = Scene(
            output_from_unit=geometry.compose(camera, geometry.frame_from_unit(drawn, some)),
            outlines=outline,
            color=drawn.color,
            texture=drawn.texture,
            texels=drawn.radius * (recipe.texture_size / (2 * recipe.size)),
            textures=None,
        )
        if bank is not None:
            if not bank.complete:
                bank.make(_seen(scene, pixels), progress=True)
            scene = scene._replace(texture=bank.rows(drawn.texture), textures=bank.textures)
        if renderer == "fused":
            fused.draw(scene, pixels)
        else:
            from vsr.raster import reference  # Kornia takes seconds to import

            reference.draw(scene, pixels)


def _seen(scene: Scene, out: Tensor) -> Tensor:
    """The pool positions of the textures that a scene shows."""
    videos, _, frames, height, width = out.shape
    if out.device.type != "cpu":  # no quick look there: all that may be needed
        return scene.texture
    top = torch.empty(videos, frames, height, width, dtype=torch.int32)
    fused.visible(scene, top)
    return torch.cat(
        [objects[numbers[numbers >= 0].unique()] for objects, numbers in zip(scene.texture, top, strict=True)]
    )
