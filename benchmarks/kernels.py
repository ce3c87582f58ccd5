"""What the CUDA kernels ask of a multiprocessor, compiled for an H200 (sm_90); no GPU is needed.

python benchmarks/kernels.py
"""

import re
import subprocess
import tempfile
from pathlib import Path

import environment
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from vsr.raster import fused_cuda, place_cuda

PLACED = {"matrix": "*fp32", "box": "*i32", "edges": "*fp32", "circle": "*i8", "texels": "*fp32", "frame": "*i32"}
PLACED |= {"color": "*i32", "texture": "*i32"}
ALIGNED = [["tt.divisibility", 16]]  # pointers, and strides of frames whose side is a multiple of 16 px


def compiled(
    kernel: triton.JITFunction, signature: dict[str, str], options: dict[str, int | bool], **fixed: int
) -> tuple[int, int, int]:
    """Registers a thread, bytes spilled by a thread, bytes of shared memory a block."""
    types = {name: "constexpr" if name in fixed else signature.get(name, "i32") for name in kernel.arg_names}
    aligned = [name for name, kind in types.items() if kind[0] == "*" or re.fullmatch("out_[vcfy]|[HW]", name)]
    source = ASTSource(kernel, types, fixed, {(kernel.arg_names.index(name),): ALIGNED for name in aligned})
    binary = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(binary.asm["cubin"])
        command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", path]
        usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    registers, local = (int(re.search(rf"{what}:(\d+)", usage)[1]) for what in ("REG", "LOCAL"))
    return registers, local, binary.metadata.shared


def table() -> list[str]:
    """Every kernel, as Markdown."""
    tile = {"TILE_H": place_cuda.TILE_H, "TILE_W": place_cuda.TILE_W, "out_x": 1}
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
    use["_paint, numbers"] = compiled(fused_cuda._paint, numbers, fused_cuda.launch(2), SHOWN=2, ADDS=0, A=1, **tile)
    block = {"BLOCK": place_cuda._OBJECTS}
    for kind, (textured, both) in kinds.items():
        looks = {"OBJECT_COLOR": 1 - textured + both, "OBJECT_TEXTURE": textured, "BACK_COLOR": both, "BACK_TEXTURE": 0}
        use[f"_place_clips, {kind}{' on a background' * both}"] = compiled(
            place_cuda._place_clips, addresses, place_cuda.LAUNCH, ROTATING=1, MIXED=1, TEXTURED=textured,
            BACKDROP=both, **looks, **block,
        )  # fmt: skip
    use["_place_scene"] = compiled(place_cuda._place_scene, scene, place_cuda.LAUNCH, TEXTURED=1, **block)
    head = ["| kernel, sm_90 | registers | spilled bytes | shared bytes |", "|---|---:|---:|---:|"]
    return head + [f"| {name} | {' | '.join(map(str, numbers))} |" for name, numbers in use.items()]


if __name__ == "__main__":
    print(environment.header(), "", *table(), sep="\n")
