"""Weights into networks.

Only what VideoMAE itself drops may be left over: fine-tuning an encoder leaves the decoder and the encoder's
last LayerNorm behind and starts a new ``fc_norm`` and ``head``. (VideoMAE's own loader prints what doesn't
fit and goes on.)
"""

from pathlib import Path

from torch import Tensor

from vsr.errors import InputError
from vsr.models.exchange.read import read_weights
from vsr.models.exchange.weights import Weights
from vsr.models.probe import AttentiveProbeNetwork, FrozenEncoder, LinearProbeNetwork
from vsr.models.vit import SIZES, Classifier

_NEW = ("fc_norm.", "head.")
_NO_HEAD = {
    "pre-training": "this is a pre-training checkpoint, ",
    "encoder": "this is an encoder, ",
    "classifier": "this is a fine-tuned classifier, test it with its own configs/finetune/, or ",
    "linear probe": "this is a linear probe, test it with configs/probe/, or ",
    "attentive probe": "this is an attentive probe, test it with configs/probe/attentive.yaml, or ",
}


def load_encoder(model: Classifier, path: str | Path) -> None:
    """Start ``model`` from pre-training weights, or from a classifier's without its head.

    ``fc_norm`` and ``head`` keep their initial values. The number of frames and the frame size may differ
    from the checkpoint's: positions are computed, not learned.

    Args:
        model: changed in place, only if everything fits.
        path: a checkpoint of ``vsr fit``, a file of VideoMAE's or its DeepSpeed folder, or a Hugging Face folder.

    Raises:
        InputError: no such file, unreadable, not such a checkpoint, or of another size or patch.
    """
    weights = read_weights(path)
    inside = {n.removeprefix("encoder."): t for n, t in weights.tensors.items() if n.startswith("encoder.")}
    encoder = {name: tensor for name, tensor in inside.items() if not name.startswith("norm.")}
    expected = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(_NEW)}
    _must_fit(weights, encoder, expected)
    missing = model.load_state_dict(encoder, strict=False).missing_keys
    assert all(name.startswith(_NEW) for name in missing), missing


def load_classifier(model: Classifier, path: str | Path) -> None:
    """Load a whole classifier, head included.

    Args:
        model: changed in place, only if everything fits.
        path: a checkpoint of ``vsr fit`` of a classifier, or one in another format, as for :func:`load_encoder`.

    Raises:
        InputError: no such file, unreadable, not a classifier, or of another size, patch or number of
            classes.
    """
    weights = read_weights(path)
    if weights.kind != "classifier":
        raise InputError(
            f"{path} has no classification head: {_NO_HEAD[weights.kind]}fine-tune it first with "
            f"vsr fit … --model.init_args.checkpoint {path}"
        )
    _must_fit(weights, weights.own_names, model.state_dict())
    model.load_state_dict(weights.own_names)


def load_frozen(encoder: FrozenEncoder, path: str | Path) -> None:
    """Load the encoder of any network, to probe it as it is.

    Args:
        encoder: changed in place, only if everything fits.
        path: a checkpoint, as for :func:`load_encoder`.

    Raises:
        InputError: as :func:`load_encoder`, or it has no last LayerNorm where features are to go through it.
    """
    weights = read_weights(path)
    given = {n.removeprefix("encoder."): t for n, t in weights.tensors.items() if n.startswith("encoder.")}
    if encoder.fresh:
        given = {name: tensor for name, tensor in given.items() if not name.startswith("norm.")}
    elif not weights.has_norm:
        raise InputError(
            f"{path} is of a {weights.kind} without the encoder's last LayerNorm, which features go through: give a "
            "pre-training checkpoint, or --model.norm fresh where the probe has that"
        )
    _must_fit(weights, given, encoder.state_dict())
    encoder.load_state_dict(given)


def load_probe(model: LinearProbeNetwork | AttentiveProbeNetwork, path: str | Path) -> None:
    """Load a whole probe, encoder included; of a linear one the head that was chosen, and no other.

    Args:
        model: changed in place, only if everything fits; of its heads one is left.
        path: a checkpoint of ``vsr fit`` of a probe.

    Raises:
        InputError: no such file, unreadable, not a probe of this kind, or of another size, patch, norm or number of
            classes.
    """
    weights = read_weights(path)
    linear = isinstance(model, LinearProbeNetwork)
    kind = "linear probe" if linear else "attentive probe"
    if weights.kind != kind:
        raise InputError(
            f"{path} has no head of {'a linear' if linear else 'an attentive'} probe: {_NO_HEAD[weights.kind]}"
            f"fit the probe first with vsr fit … --model.init_args.checkpoint {path}"
        )
    given, expected = dict(weights.tensors), dict(model.state_dict())
    if linear:
        if weights.has_norm is model.encoder.fresh:
            raise InputError(
                f"checkpoint {path} is a probe of features with norm {'pretrained' if weights.has_norm else 'fresh'}: "
                f"give --model.norm {'pretrained' if weights.has_norm else 'fresh'}"
            )
        head = f"heads.{int(given.pop('chosen'))}."
        chosen = {name.replace(head, "heads.0."): t for name, t in given.items() if name.startswith(head)}
        given = {name: tensor for name, tensor in given.items() if not name.startswith("heads.")} | chosen
        of_others = ("heads.", "chosen")
        expected = {n: t for n, t in expected.items() if not n.startswith(of_others) or n.startswith("heads.0.")}
    _must_fit(weights, given, expected)
    if isinstance(model, LinearProbeNetwork):
        model.keep_one()
        given["chosen"] = model.chosen
    model.load_state_dict(given)


def _must_fit(weights: Weights, given: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """The network is the checkpoint's, or the most telling difference is said."""
    path, bare = weights.path, {name.removeprefix("encoder."): tensor for name, tensor in expected.items()}
    blocks = {name.split(".")[1] for name in bare if name.startswith("blocks.")}
    kernel = bare["patch_embed.proj.weight"].shape
    if (theirs := weights.extent) != (ours := (kernel[0], len(blocks))):
        size = next((name for name, s in SIZES.items() if (s.width, s.depth) == theirs), None)
        remedy = f"--model.init_args.size {size}" if size else "a checkpoint of this size"
        raise InputError(
            f"checkpoint {path} is width {theirs[0]}, depth {theirs[1]}; model is width {ours[0]}, depth "
            f"{ours[1]}: give {remedy}"
        )
    if (theirs := weights.tube) != (ours := (kernel[2], kernel[3])):
        raise InputError(
            f"checkpoint {path} has tubes of {theirs[0]} frames x {theirs[1]} px, the model of {ours[0]} "
            f"frames x {ours[1]} px: give --model.init_args.tubelet_size {theirs[0]} "
            f"--model.init_args.patch_size {theirs[1]}"
        )
    head = expected.get("heads.0.weight", expected.get("head.weight"))
    if head is not None and (known := weights.num_classes) != (wanted := head.shape[0]):
        raise InputError(
            f"checkpoint {path} knows {known} classes, the model {wanted}: give the data set it was fine-tuned or "
            f"fitted on, or --model.init_args.num_classes {known}"
        )
    weights.must_agree(given, expected)
