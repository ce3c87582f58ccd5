"""Video representations learned without natural videos: render, learn, evaluate.

::

    import vsr

    recipe = vsr.load_recipe("acc_shapes")
    clips = vsr.render_clips(recipe, index=range(8))  # uint8 (8, 3, 16, 224, 224)

The names below are imported when they are first used, so that ``vsr --help`` is quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vsr.errors import InputError as InputError
    from vsr.recipe import Recipe as Recipe
    from vsr.recipe import load_recipe as load_recipe
    from vsr.render import render_clips as render_clips
    from vsr.render import render_truth as render_truth
    from vsr.render import render_video as render_video

_HOME = {
    "InputError": "vsr.errors",
    "Recipe": "vsr.recipe",
    "load_recipe": "vsr.recipe",
    "render_clips": "vsr.render",
    "render_truth": "vsr.render",
    "render_video": "vsr.render",
}
__all__ = ["InputError", "Recipe", "load_recipe", "render_clips", "render_truth", "render_video"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'vsr' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)
