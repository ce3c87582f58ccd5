"""Weights in and out of networks and file formats, strictly: everything fits, or nothing is done and one line says why.

Three formats are read, told apart by their content, and written:

* ``vsr``: a checkpoint of ``vsr fit``.
* ``videomae``: a file of VideoMAE's own code, the weights under ``model`` or ``module`` or bare, or a DeepSpeed folder.
* ``hf``: a folder for Hugging Face's ``from_pretrained``.
"""

from vsr.models.exchange.convert import convert
from vsr.models.exchange.load import load_classifier, load_encoder, load_frozen, load_probe
from vsr.models.exchange.read import must_be_stored, read_weights
from vsr.models.exchange.weights import About, Weights

__all__ = [
    "About", "Weights", "convert", "load_classifier", "load_encoder", "load_frozen", "load_probe", "must_be_stored",
    "read_weights",
]  # fmt: skip
