"""Imports run one way: a room may read the rooms below it and nothing else."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "vsr"
READS = {
    "errors": set(),
    "checkout": set(),
    "signals": set(),
    "rng": {"errors"},
    "loops": set(),
    "rng_cpu": {"loops"},
    "rng_cuda": set(),
    "documents": {"errors"},
    "recipe": {"documents", "errors"},
    "latents": {"recipe", "rng", "errors"},
    "geometry": {"latents", "rng", "errors"},
    "raster": {"geometry", "latents", "loops", "recipe", "rng", "rng_cpu", "rng_cuda", "errors"},
    "truth": {"geometry", "rng"},
    "textures": {"recipe", "rng", "errors"},
    "render": {"documents", "raster", "truth", "geometry", "latents", "recipe", "rng", "textures", "errors"},
    "export": {"errors"},
    "offline": {"data", "corruptions", "export", "render", "latents", "textures", "recipe", "rng", "errors"},
    "overview": {"export", "render", "textures", "recipe"},
    "corruptions": {"loops", "rng", "rng_cpu", "errors"},
    "published": set(),
    "data": {"corruptions", "render", "geometry", "textures", "recipe", "rng", "signals", "errors"},
    "models": {"rng", "errors"},
    "modules": {"models", "rng", "errors"},
    "analysis": {
        "data",
        "export",
        "published",
        "render",
        "truth",
        "recipe",
        "textures",
        "modules",
        "models",
        "rng",
        "errors",
    },
    "report": {"analysis", "documents", "published", "overview", "export", "textures", "recipe", "errors"},
    "sweep": {"checkout", "documents", "recipe", "signals", "errors"},
    "plan": {"data", "render", "recipe", "textures", "modules", "models"},
    "callbacks": {
        "checkout",
        "plan",
        "data",
        "corruptions",
        "published",
        "render",
        "truth",
        "recipe",
        "textures",
        "export",
        "modules",
        "models",
        "signals",
        "errors",
    },
}


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_run_one_way(file):
    room = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room in ("cli", "__init__", "__main__"):
        return
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            modules = [f"{node.module}.{a.name}" for a in node.names]
        names |= {m.split(".")[1] for m in modules if m.startswith("vsr.")}
    assert names - {room} <= READS[room]


def test_every_room_is_on_the_map():
    rooms = {p.relative_to(PACKAGE).parts[0].removesuffix(".py") for p in PACKAGE.rglob("*.py")}
    assert rooms - {"cli", "__init__", "__main__"} == set(READS)
