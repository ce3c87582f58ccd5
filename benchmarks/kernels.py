"""What the CUDA kernels ask of a multiprocessor, compiled for an H200 (sm_90), and what they execute; without a GPU.

python benchmarks/kernels.py
"""

import re
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import environment
import ptx
import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from vsr.raster import fused_cuda, place_cuda, placed_cuda
from vsr.recipe import load_recipe

PLACED = {"matrix": "*fp32", "near": "*i32", "edges": "*fp32", "look": "*i32", "frame": "*i32"}
ALIGNED = [["tt.divisibility", 16]]  # pointers but that of the output, and sides in multiples of 16 px


def compiled(
    kernel: triton.JITFunction, signature: dict[str, str], options: dict[str, int | bool], **fixed: int
) -> tuple[int, int, int]:
    """Registers a thread, bytes of stack a thread (what is spilled), bytes of shared memory a block."""
    types = {name: "constexpr" if name in fixed else signature.get(name, "i32") for name in kernel.arg_names}
    aligned = [name for name, kind in types.items() if (kind[0] == "*" and name != "out") or name in ("H", "W")]
    source = ASTSource(kernel, types, fixed, {(kernel.arg_names.index(name),): ALIGNED for name in aligned})
    binary = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(binary.asm["cubin"])
        command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", path]
        usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    registers, stack = (int(re.search(rf"{what}:(\d+)", usage)[1]) for what in ("REG", "STACK"))
    return registers, stack, binary.metadata.shared


def table() -> list[str]:
    """Every kernel, as Markdown."""
    tile = {"TILE_H": placed_cuda.TILE_H, "TILE_W": placed_cuda.TILE_W, "out_x": 1, "HELD": 1}
    picture = {**PLACED, "textures": "*u8", "out": "*u8"}
    kinds = {"colour": (0, 0), "texture": (1, 0), "texture and colour": (1, 1)}  # SHOWN and ADDS
    addresses = {**PLACED, "index": "*i64", "epoch": "*i64", "rows": "*i64", "ends": "*i32"}
    addresses |= dict.fromkeys(("spans", "radii", "boxes"), "*fp64")
    scene = {**PLACED, "scene_matrix": "*fp64", "scene_circle": "*u1", "scene_edges": "*fp64"}
    scene |= {"scene_color": "*u8", "scene_texture": "*i64", "scene_texels": "*fp64", "scene_frame": "*i64"}
    use = {
        f"_paint, {kind}, antialias {samples}": compiled(
            fused_cuda._paint, picture, fused_cuda.launch(shown), SHOWN=shown, ADDS=adds, A=samples, **tile
        )
        for kind, (shown, adds) in kinds.items()
        for samples in (1, 2, 4)
    }  # fmt: skip
    numbers = picture | {"textures": "*i32", "out": "*i32"}
    crowd = {**tile, "HELD": 2}
    for kind, (shown, adds) in kinds.items():
        use[f"_paint, {kind}, more than 1,024 objects"] = compiled(
            fused_cuda._paint, picture, fused_cuda.launch(shown), SHOWN=shown, ADDS=adds, A=1, **crowd
        )
    use["_paint, numbers"] = compiled(fused_cuda._paint, numbers, fused_cuda.launch(2), SHOWN=2, ADDS=0, A=1, **tile)
    for kind, (textured, both) in kinds.items():
        looks = {"OBJECT_COLOR": 1 - textured + both, "OBJECT_TEXTURE": textured, "BACK_COLOR": both, "BACK_TEXTURE": 0}
        use[f"_place_clips, {kind}{' on a background' * both}"] = compiled(
            place_cuda._place_clips, addresses, place_cuda.LAUNCH, ROTATING=1, MIXED=1, TEXTURED=textured,
            BACKDROP=both, **looks,
        )  # fmt: skip
    use["_place_scene"] = compiled(place_cuda._place_scene, scene, place_cuda.LAUNCH, TEXTURED=1)
    head = ["| kernel, sm_90 | registers | stack bytes | shared bytes |", "|---|---:|---:|---:|"]
    return head + [f"| {name} | {' | '.join(map(str, numbers))} |" for name, numbers in use.items()]


def executed(clips: int = 4) -> list[str]:
    """Instructions that warps execute for a clip of 16 frames, as Markdown: the compiled kernels run on the CPU."""
    driver = ptx.use()
    lines = ["| dataset | objects | px | place | paint | beside the first |", "|---|---:|---:|---:|---:|---:|"]
    index, epoch = torch.arange(clips), torch.zeros(clips, dtype=torch.int64)
    for name in ("acc_shapes", "acc_textures"):
        recipe, first = load_recipe(name).with_textures(64), None
        rows = torch.arange(64) if recipe.textured else None
        textures = torch.full((64, 256, 256, 3), 99, dtype=torch.uint8) if recipe.textured else None
        crowd = replace(recipe, num_objects=2000, radius=(0.05, 0.5))
        for drawn, size in ((recipe, 224), (crowd, 224), (recipe, 448)):
            before = [driver.executed(kernel) for kernel in ("_place_clips", "_paint")]
            out = torch.empty(clips, 3, 16, size, size, dtype=torch.uint8)
            fused_cuda.draw_clips(drawn, 0, index, epoch, 4, True, out, 1, rows, textures)
            after = [driver.executed(kernel) for kernel in ("_place_clips", "_paint")]
            place, paint = ((b - a) / clips for a, b in zip(before, after, strict=True))
            first = first or place + paint
            ratio = f"{(place + paint) / first:.2f}x"
            lines.append(f"| {name} | {drawn.num_objects:,} | {size} | {place:,.0f} | {paint:,.0f} | {ratio} |")
    return lines


if __name__ == "__main__":
    title = "\nInstructions (PTX, a warp's) that a clip of 16 frames executes:\n"
    print(environment.header(), "", *table(), title, *executed(), sep="\n")
