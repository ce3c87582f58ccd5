"""How the documentation is built: ``sphinx-build -W docs docs/_build/html``. Nothing is fetched.

Pages are Markdown and the notebooks as they are committed; the reference is made from the docstrings.
"""

import os
import shutil
from pathlib import Path
from typing import Any

os.environ["TRITON_INTERPRET"] = "1"  # CUDA kernels are imported without a GPU

import vsr

HERE = Path(__file__).parent
shutil.copytree(HERE.parent / "notebooks", HERE / "notebooks", dirs_exist_ok=True)  # pages lie below conf.py

project, author, copyright = "vsr", "the authors of vsr", "the authors of vsr, Apache License 2.0"
version = release = vsr.__version__
extensions = ["myst_nb", "sphinx.ext.apidoc", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "**/.ipynb_checkpoints"]

html_theme = "furo"
html_title = f"vsr {version}"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
pygments_style, pygments_dark_style = "friendly", "github-dark"

nb_execution_mode = "off"  # a test executes them
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]

_AT = Path(vsr.__file__).parent
_LEFT_OUT = ("cli/*", "*_cpu.py", "*_cuda.py")  # what vsr VERB --help says, and kernels

apidoc_modules = [
    {
        "path": str(_AT),
        "destination": "reference",
        "exclude_patterns": [str(_AT / pattern) for pattern in _LEFT_OUT],
        "separate_modules": False,  # a page for each room: 140 pages take longer to build
        "module_first": True,
        "max_depth": 1,
        "automodule_options": {"members", "show-inheritance"},
    }
]
autodoc_default_options = {"ignore-module-all": True}  # a name stands where it is written, not in its package, too
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_preserve_defaults, autodoc_use_type_comments = True, False
napoleon_google_docstring, napoleon_numpy_docstring = True, False
napoleon_use_ivar = True  # autodoc describes attributes, too
napoleon_custom_sections = ["Convention", "Source"]
add_module_names = False
toc_object_entries = False  # thousands of names in every page's contents
suppress_warnings = ["ref.python"]  # a field of a named tuple is sought elsewhere: other classes have such a one, too


def setup(app: Any) -> None:
    """Leave out what says nothing: the fields of named tuples, which their class describes."""
    app.connect("autodoc-skip-member", _says_nothing)


def _says_nothing(app: Any, what: str, name: str, member: Any, skip: bool, options: Any) -> bool | None:
    return True if type(member).__name__ == "_tuplegetter" else None
