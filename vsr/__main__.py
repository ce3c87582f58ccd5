"""``python -m vsr`` is ``vsr``."""

from vsr.cli import main

main()
