"""The plain functions: addresses in, uint8 videos out. Training, tests, notebooks and the command line call them."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from types import ModuleType
from typing import Literal

import psutil
import torch
from torch import Tensor

from vsr import geometry
from vsr.documents import shown
from vsr.errors import InputError
from vsr.latents import SHAPES, Latents, latents, texture_frame
from vsr.raster import Scene
from vsr.recipe import Recipe
from vsr.rng import Stream, below, check_seed, words
from vsr.textures.bank import TextureBank
from vsr.textures.network import Family
from vsr.textures.stylegan import walk
from vsr.truth import Truth

Renderer = Literal["fused", "reference"]
Antialias = Literal[1, 2, 4]
_MATRICES_AT_ONCE = 32_768  # objects x frames: bounds the work memory (10 MiB measured), whatever is asked for
_WALKED_AT_ONCE = 1024  # frames of generated backgrounds, of 192 KiB at 256 px


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
    antialias: Antialias = 1,
) -> Tensor:
    """The clips that training sees at the given addresses.

    The first frame is uniform over the video; the view is VideoMAE's MultiScaleCrop, drawn once per clip. Both follow
    from ``(seed, index, epoch)``. The crop is a camera: it is rendered at its final size, not resampled.

    ``fused`` goes from addresses to pixels in one pass; on CUDA in two launches (more where work memory would pass
    4 MiB and a tenth of the output: small clips, crowds, antialiasing), in the current stream, never waiting for the
    device (textures must have been made before, see :meth:`TextureBank.fill`).

    Args:
        recipe: the dataset.
        seed: the data seed, 0 .. 2^64 - 1.
        index: B videos. Numbers on the CPU are checked; to look at those on another device would be to wait for it.
        epoch: which clip of them, one for all or one each.
        num_frames: T.
        stride: video frames from one clip frame to the next.
        size: H = W of the output, px.
        crop: MultiScaleCrop; False shows the whole frame.
        renderer: ``fused`` (Numba on the CPU, Triton on CUDA) or ``reference`` (Kornia). They agree in all but 1e-5 of
            the pixels, those on outlines or texel borders.
        device: where to draw. One that is neither CPU nor CUDA gets pixels that the CPU drew.
        bank: the textures to use, on ``device``; None keeps one per recipe and seed, and makes only textures that are
            seen. Where it holds windows of the pool, videos whose index is on a GPU must have been shown to it.
        antialias: samples a pixel is the mean of, along each side (paper: 1).

    Returns:
        uint8 (B, C, T, H, W), RGB.

    Raises:
        InputError: an index outside a fixed set, a clip longer than the shortest video, no such device, more than
            fits in memory, textures that can't be had or are on another device.
    """
    span = (num_frames - 1) * stride + 1
    if num_frames < 1 or stride < 1 or size < 1:
        raise InputError(f"num_frames {num_frames}, stride {stride} and size {size} must all be 1 or more")
    if antialias not in (1, 2, 4):
        raise InputError(f"antialias {antialias} must be 1, 2 or 4")
    if span > recipe.duration[0]:
        raise InputError(
            f"a clip of {num_frames} frames, {stride} apart, spans {span} frames, but videos of {recipe.name!r} have "
            f"as few as {recipe.duration[0]}: lower num_frames or stride"
        )
    check_seed(seed)
    where = drawn_on(device)
    numbers, epochs = _addresses(recipe, index, epoch, where)
    bank = _bank_for(recipe, seed, where, bank, index)
    out = _room((len(numbers), 3, num_frames, size, size), where)
    if len(numbers) == 0:
        return out.to(device)
    if renderer == "fused" and (bank is None or bank.complete) and recipe.background != "walk":
        textures = () if bank is None else (bank.row, bank.textures)
        draw_clips = _renderer(renderer, where).draw_clips
        draw_clips(recipe, seed, numbers, epochs, stride, crop, out, antialias, *textures)
    else:
        for some in _parts(recipe, len(numbers), num_frames):
            drawn, time, box = _clips(recipe, seed, numbers[some], epochs[some], num_frames, stride, size, crop)
            _draw(recipe, seed, numbers[some], drawn, time, box, renderer, bank, out[some], antialias)
    return out.to(device)


def render_video(
    recipe: Recipe,
    seed: int = 0,
    index: int = 0,
    size: int = 256,
    renderer: Renderer = "fused",
    device: torch.device | str = "cpu",
    bank: TextureBank | None = None,
    antialias: Antialias = 1,
) -> Tensor:
    """One whole video, every frame, uncropped.

    Args:
        recipe: the dataset.
        seed: the data seed.
        index: which video.
        size: H = W of the output, px.
        renderer: as for :func:`render_clips`.
        device: as for :func:`render_clips`.
        bank: as for :func:`render_clips`.
        antialias: as for :func:`render_clips`.

    Returns:
        uint8 (T, H, W, C), RGB; T is the video's own duration, 100 .. 200 in the paper.

    Raises:
        InputError: as :func:`render_clips`.
    """
    if size < 1:
        raise InputError(f"size {size} is not positive: give 1 px or more")
    check_seed(seed)
    where = drawn_on(device)
    numbers, _ = _addresses(recipe, [index], 0, where)
    bank = _bank_for(recipe, seed, where, bank, [index])
    drawn = latents(recipe, seed, numbers)
    time = torch.arange(int(drawn.duration), device=where)[None]
    out = _room((1, len(time[0]), size, size, 3), where)
    box = geometry.crop_boxes(recipe.size, None)[0].to(where)
    _draw(recipe, seed, numbers, drawn, time, box, renderer, bank, out.permute(0, 4, 1, 2, 3), antialias)
    return out[0].to(device)


def render_truth(
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
) -> Truth:
    """The clips of :func:`render_clips`, and what there is to know about every pixel and object of them.

    Args: as for :func:`render_clips`.

    Returns:
        The clips with their ground truth: visible objects, depth, shapes, motion, optical flow.

    Raises:
        InputError: as :func:`render_clips`.
    """
    where = drawn_on(device)
    clips = render_clips(recipe, seed, index, epoch, num_frames, stride, size, crop, renderer, where, bank)
    numbers, epochs = _addresses(recipe, index, epoch, where)
    visible = _room((len(numbers), num_frames, size, size), where, torch.int32)
    drawn, time, box = _clips(recipe, seed, numbers, epochs, num_frames, stride, size, crop)
    matrices = []
    for some in _parts(recipe, len(numbers), num_frames):
        scene = _scene(recipe, drawn.videos(some), time[some], box[some], size)
        _renderer(renderer, where).visible(scene, visible[some])
        matrices.append(scene.output_from_unit)
    zoom = (size / box[:, 2:])[:, None]
    way = torch.stack((drawn.direction.cos(), drawn.direction.sin()), dim=-1) * zoom
    speed = drawn.speed[:, None] + drawn.acceleration[:, None] * time[:, :, None]
    first = recipe.num_drawn - recipe.num_objects  # a background is drawn as object 0, but is none
    return Truth(
        video=clips,
        object=visible.sub_(first),
        shape=drawn.shape[:, first:],
        velocity=(speed[..., None] * way[:, None])[:, :, first:],
        acceleration=(drawn.acceleration[..., None] * way)[:, first:],
        output_from_unit=torch.cat(matrices)[:, :, first:],
        time=time,
    )


def drawn_on(device: torch.device | str) -> torch.device:
    """Where the pixels of clips for ``device`` are made, and their textures kept.

    Raises:
        InputError: there is no such device.
    """
    try:
        device = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"device {device!r} is not known: use cpu, or cuda") from error
    if device.type != "cuda":
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if (device.index or 0) >= count:
        has = f"devices cuda:0 .. cuda:{count - 1}" if count else "no CUDA device"
        raise InputError(f"device {str(device)!r} is not here, this machine has {has}: use one of them, or 'cpu'")
    return torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)


def _addresses(
    recipe: Recipe, index: Sequence[int] | Tensor, epoch: int | Sequence[int] | Tensor, where: torch.device
) -> tuple[Tensor, Tensor]:
    """Index and epoch, int64 (B,), on a device."""
    numbers, epochs = _whole("index", index), _whole("epoch", epoch)
    if numbers.device.type == "cpu":
        recipe.check_index(numbers)
    if epochs.device.type == "cpu" and epochs.numel():
        low, high = int(epochs.min()), int(epochs.max())
        if not 0 <= low <= high < 2**32:
            raise InputError(f"epoch {low if low < 0 else high} is outside 0 .. {2**32 - 1}: give another")
    return numbers.to(where, non_blocking=True), epochs.to(where, non_blocking=True).expand(len(numbers))


def _whole(what: str, numbers: int | Sequence[int] | Tensor) -> Tensor:
    try:
        return torch.as_tensor(numbers, dtype=torch.int64)
    except (ValueError, OverflowError) as error:  # beyond 64 bits
        given = shown(numbers).strip("[]")
        raise InputError(f"{what} {given} is outside 0 .. {2**32 - 1}: give another") from error


def _room(shape: tuple[int, ...], device: torch.device, dtype: torch.dtype = torch.uint8) -> Tensor:
    """An output to draw into."""
    size = dtype.itemsize
    for side in shape:
        size *= side
    free = psutil.virtual_memory().available if device.type == "cpu" else None
    try:
        if free is None or size < free:
            return torch.empty(shape, dtype=dtype, device=device)
    except torch.OutOfMemoryError:
        free = torch.cuda.mem_get_info(device)[0]
    fits = int(0.8 * (free or 0) / size * shape[0])
    raise InputError(
        f"{shape[0]} clips take {size / 2**30:.1f} GiB as {tuple(shape[1:])} each, but {device} has "
        f"{(free or 0) / 2**30:.1f} GiB free: " + (f"render at most {fits} at a time" if fits else "make them smaller")
    )


def _bank_for(
    recipe: Recipe, seed: int, device: torch.device, bank: TextureBank | None, index: Sequence[int] | Tensor
) -> TextureBank | None:
    """The textures that some videos need, or None."""
    if not recipe.textured:
        return None
    if bank is None:
        return _kept_bank(recipe, seed, device)
    if bank.textures.device != device:
        raise InputError(
            f"the textures of {recipe.name!r} are on {bank.textures.device}, the clips are drawn on {device}: make the "
            f"bank there, TextureBank(recipe, seed, {str(device)!r})"
        )
    on_gpu = isinstance(index, Tensor) and index.is_cuda  # to look there would be to wait
    if bank.complete and recipe.texture_window is not None and not on_gpu:
        bank.show(torch.as_tensor(index, dtype=torch.int64))
    return bank


@lru_cache(maxsize=2)
def _kept_bank(recipe: Recipe, seed: int, device: torch.device) -> TextureBank:
    return TextureBank(recipe, seed, device)


def _parts(recipe: Recipe, videos: int, num_frames: int) -> Iterator[slice]:
    """Which videos to do at a time."""
    step = max(1, _frames_at_once(recipe) // num_frames)
    return (slice(first, first + step) for first in range(0, videos, step))


def _frames_at_once(recipe: Recipe) -> int:
    return _WALKED_AT_ONCE if recipe.background == "walk" else max(1, _MATRICES_AT_ONCE // recipe.num_drawn)


def _clips(
    recipe: Recipe, seed: int, index: Tensor, epoch: Tensor, num_frames: int, stride: int, size: int, crop: bool
) -> tuple[Latents, Tensor, Tensor]:
    """What the clips at B addresses show: objects, times int64 (B, T), boxes float64 (B, 4) in frame px."""
    drawn = latents(recipe, seed, index)
    word = words(Stream.CLIP, seed, index, epoch)[:, 0]
    start = below(word[:, 0], drawn.duration - (num_frames - 1) * stride)
    boxes = geometry.crop_boxes(recipe.size, size if crop else None).to(index.device)
    box = boxes[below(word[:, 1], boxes.shape[0]), below(word[:, 2], boxes.shape[1])]
    return drawn, start[:, None] + stride * torch.arange(num_frames, device=index.device), box


def _scene(recipe: Recipe, drawn: Latents, time: Tensor, box: Tensor, size: int) -> Scene:
    """B videos at times (B, T), seen through boxes (B, 4) at ``size`` px; ``texture`` is the position in the pool."""
    camera = geometry.output_from_frame(box, size)[:, None, None]
    looks, background = recipe.looks, drawn.shape == SHAPES.index("background")
    colored = torch.where(background, looks.background_color, looks.object_color)
    textured = torch.where(background, looks.background_texture, looks.object_texture)
    texels = drawn.radius * (recipe.texture_size / (2 * recipe.size))
    return Scene(
        output_from_unit=geometry.compose(camera, geometry.frame_from_unit(drawn, time)),
        outlines=geometry.outlines(drawn),
        color=drawn.color * colored[..., None],
        texture=torch.where(textured, drawn.texture, -1),
        texels=torch.where(background, recipe.texture_size / 2, texels),
        frame=texture_frame(recipe.texture_frames, time),
        clamp=recipe.saturation == "clamp",
        textures=None,
    )


def _draw(
    recipe: Recipe, seed: int, index: Tensor, drawn: Latents, time: Tensor, box: Tensor, renderer: Renderer,
    bank: TextureBank | None, out: Tensor, antialias: int,
) -> None:  # fmt: skip
    """Draw B videos at times (B, T) through boxes (B, 4) into ``out`` (B, C, T, H, W)."""
    raster = _renderer(renderer, out.device)
    size = out.shape[-1] * antialias
    frames_at_once = max(1, _frames_at_once(recipe) // len(time))
    for some, pixels in zip(time.split(frames_at_once, dim=1), out.split(frames_at_once, dim=2), strict=True):
        scene = _scene(recipe, drawn, some, box, size)
        if bank is not None:
            if not bank.complete:
                top = torch.empty(len(out), pixels.shape[2], size, size, dtype=torch.int32, device=out.device)
                _renderer("fused", out.device).visible(scene, top)
                bank.make(_shown(scene.texture, top), progress=True)
            rows = torch.where(scene.texture >= 0, bank.row[scene.texture.clamp(min=0)], -1)
            scene = scene._replace(texture=rows, textures=bank.textures if len(bank.textures) else None)
        elif recipe.background == "walk":
            scene = _walking(recipe, seed, index, some, scene)
        raster.draw(scene, pixels, antialias)


def _walking(recipe: Recipe, seed: int, index: Tensor, time: Tensor, scene: Scene) -> Scene:
    """The scene with the generator's own video, made now, behind the objects."""
    family: Family = "oriented" if recipe.sources == ("stylegan_oriented",) else "high_freq"
    side, step, steady = recipe.texture_size, recipe.texture_step, recipe.texture_steady
    frames = walk(index, time, seed, side, family, step, steady).permute(0, 1, 3, 4, 2).flatten(0, 1)
    videos, length = time.shape
    texture = scene.texture.clone()
    texture[:, 0] = length * torch.arange(videos, device=time.device)
    frame = torch.arange(length, device=time.device).expand(videos, -1)
    return scene._replace(texture=texture, frame=frame, textures=frames.contiguous())


def _shown(texture: Tensor, top: Tensor) -> Tensor:
    """The pool positions of the textures that are seen, given the objects' (B, N) and what pixels show (B, T, H, W)."""
    seen = torch.cat([objects[number[number >= 0].unique()] for objects, number in zip(texture, top, strict=True)])
    return seen[seen >= 0]


def _renderer(name: Renderer, device: torch.device) -> ModuleType:
    """The module that draws scenes. Kornia takes seconds to import and Triton is not on every machine."""
    if name == "reference":
        from vsr.raster import reference

        return reference
    if device.type == "cuda":
        from vsr.raster import fused_cuda

        return fused_cuda
    from vsr.raster import fused_cpu

    return fused_cpu
