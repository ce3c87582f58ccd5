"""Datasets made once and kept: videos and textures as files or tar shards, in parallel, and resumable at any moment.

An export is a folder:

* ``00000042.mp4`` or ``.png``: an item, by its number; or with shards ``000000.tar``, in which ``00000042.mp4`` and its
  address ``00000042.json`` stand side by side (WebDataset's layout, nothing to install).
* ``manifest.jsonl``: the first line says what is exported, then one line follows for each item, with its address and
  SHA-256, and one for each shard. If a name comes twice, the later line counts.
* ``videos.csv``, when all is done and there are no shards: what VideoMAE-style pre-training reads, without classes.

Files are whole or not there, and a line is written when its file is there. So after a kill the same command goes on:
what is listed and there is left alone, and not read again; what is there and not listed is read, hashed and listed; the
rest is made. Every item is a pure function of its number: an interrupted export has the bytes of an uninterrupted one.
"""

from vsr.offline.items import Generator, Summary, export_textures, export_videos

__all__ = ["Generator", "Summary", "export_textures", "export_videos"]
