"""What vsr is given that it can't use, and what it says: one line that names the value, the place and the remedy.

To add a case, add a line to the list of its class: the words after ``vsr``; what stands after ``vsr: error:``, whole,
with ``…`` for any stretch of text that isn't the case's own; and, where the case needs them, files by name with their
content (text, bytes, or a function of the folder that makes bytes, see ``given``). It runs in a folder of its own,
which holds what ``given.lay_out`` makes: ``videos/`` with ``lists/`` of ucf101, hmdb51 and csv, ``folders/``,
``textures/``, and ``made/`` with a pre-training and a classifier's checkpoint. Choose the quickest verb that meets
the fault: ``vsr fit`` takes a second, ``render``, ``check-data`` and ``convert`` a tenth.
"""

from commands_table import COMMANDS
from data_table import LISTS, TEXTURES, VIDEOS
from given import Case
from recipes_table import CONFIGS, RECIPES, YAML
from studies_table import STUDIES
from weights_table import CHECKPOINTS

TABLE: dict[str, list[Case]] = {
    "recipes": RECIPES,
    "YAML": YAML + CONFIGS,
    "lists": LISTS,
    "videos": VIDEOS,
    "textures": TEXTURES,
    "checkpoints": CHECKPOINTS,
    "command lines": COMMANDS + STUDIES,
}
