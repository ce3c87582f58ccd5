"""Checkpoints: weights to start from, to test, to convert; and runs to go on with."""

import torch
from given import TINY, Case, Maker, checkpoint, cut, of, safetensors, saved, zipped

_FIT = f"fit --config configs/finetune/folders.yaml {TINY} --data.videos folders --data.num_workers 0"
_RESUME = f"fit --config configs/pretrain/static_circles.yaml {TINY} --ckpt_path"
_TEST = f"test {_FIT.removeprefix('fit')} --model.checkpoint"
_HF = {"hf/config.json": b"{}"}


def _bad(content: bytes | Maker, said: str) -> Case:
    return Case("convert a.ckpt out", said, {"a.ckpt": content})


def _state(change: object, said: str) -> Case:
    """Of the pre-training checkpoint, its state changed."""
    return _bad(checkpoint("pretrained.ckpt", lambda c: {**c, "state_dict": change(c["state_dict"])}), said)


def _saved(content: object, said: str) -> Case:
    return _bad(lambda folder: saved(content), said)


def _resumed(said: str, **parts: object) -> Case:
    made = checkpoint("pretrained.ckpt", lambda c: c | parts)
    return Case(f"{_RESUME} a.ckpt", said, {"a.ckpt": made})


_KERNEL = "encoder.patch_embed.proj.weight"

CHECKPOINTS = [
    Case("convert nowhere.ckpt out", "?"),
    Case("convert lists out", "?"),
    _bad(b"", "?"),
    _bad(b"no checkpoint", "?"),
    _bad(b"\x08\x00\x00\x00\x00\x00\x00\x00{}", "?"),
    _bad(of("made/pretrained.ckpt", cut(0.5)), "?"),
    _bad(of("made/pretrained.ckpt", cut(0.001)), "?"),
    _bad(lambda folder: zipped(a=b"x"), "?"),
    _saved(5, "?"),
    _saved({}, "?"),
    _saved([torch.zeros(2)], "?"),
    _saved({"state_dict": {"a": torch.zeros(2)}}, "?"),
    _saved({"state_dict": {_KERNEL: torch.zeros(2)}}, "?"),
    _saved({"state_dict": {_KERNEL: torch.zeros(192, 3, 2, 8, 8)}}, "?"),
    _saved({"model": slice(3)}, "?"),
    _state(lambda s: {name: t for name, t in s.items() if "blocks.3" not in name}, "?"),
    _state(lambda s: {name: t for name, t in s.items() if "blocks.3.mlp.fc1.bias" not in name}, "?"),
    _state(lambda s: {name: t[:-1] if name.endswith("0.attn.proj.bias") else t for name, t in s.items()}, "?"),
    _state(lambda s: s | {"encoder.more": torch.zeros(1)}, "?"),
    _bad(checkpoint("pretrained.ckpt", lambda c: c | {"hyper_parameters": {"image_size": "big"}}), "?"),
    _bad(checkpoint("pretrained.ckpt", lambda c: c | {"hyper_parameters": {"image_size": -16}}), "?"),
    Case("convert hf out", "?", {"hf/config.json": b"{}"}),
    Case("convert hf out", "?", {"hf/config.json": b"{", "hf/model.safetensors": b""}),
    Case("convert hf out", "?", {"hf/config.json": b"[]", "hf/model.safetensors": b""}),
    Case("convert hf out", "?", _HF | {"hf/model.safetensors": b"x" * 100}),
    Case("convert hf out", "?", _HF | {"hf/model.safetensors": safetensors(b"{}")}),
    Case("convert hf out", "?", _HF | {"hf/pytorch_model.bin": b"x"}),
    Case("convert made/pretrained.ckpt", "?"),
    Case("convert made/pretrained.ckpt out --to onnx", "?"),
    Case("convert made/pretrained.ckpt out --image_size x", "?"),
    Case("convert made/pretrained.ckpt out --image_size 0", "?"),
    Case("convert made/pretrained.ckpt out --image_size 30", "?"),
    Case("convert made/pretrained.ckpt out --num_frames -1", "?"),
    Case("convert made/pretrained.ckpt lists", "?"),
    Case("convert made/pretrained.ckpt lists --to vsr", "?"),
    Case("convert made/pretrained.ckpt lists/classInd.txt/out --to vsr", "?"),
    Case("visualize nowhere.ckpt --dataset acc_shapes", "?"),
    Case("visualize lists/classInd.txt --dataset acc_shapes", "?"),
    Case("visualize made/classifier.ckpt --what reconstructions --dataset acc_shapes", "?"),
    Case("visualize made/pretrained.ckpt made/pretrained.ckpt --dataset acc_shapes", "?"),
    Case("analyze acc_shapes --videos 2 --checkpoint nowhere.ckpt", "?"),
    Case("analyze acc_shapes --videos 2 --inception nowhere.pth", "?"),
    Case("analyze acc_shapes --videos 2 --inception lists/classInd.txt", "?"),
    Case("analyze acc_shapes --videos 2 --i3d lists/classInd.txt", "?"),
    Case(f"{_FIT} --model.checkpoint nowhere.ckpt", "?"),
    Case(f"{_FIT} --model.checkpoint lists/classInd.txt", "?"),
    Case(f"{_FIT} --model.checkpoint made/pretrained.ckpt --model.size small", "?"),
    Case(f"{_FIT} --model.checkpoint made/pretrained.ckpt --model.patch_size 16", "?"),
    Case(f"{_TEST} made/pretrained.ckpt", "?"),
    Case(_TEST.removesuffix(" --model.checkpoint"), "?"),
    Case(f"{_TEST} made/classifier.ckpt --config configs/probe/folders.yaml", "?"),
    Case(f"{_RESUME} nowhere.ckpt", "?"),
    Case(f"{_RESUME} lists/classInd.txt", "?"),
    Case(f"{_RESUME} lists", "?"),
    Case(f"{_RESUME} a.ckpt", "?", {"a.ckpt": of("made/pretrained.ckpt", cut(0.9))}),
    Case(f"{_RESUME} a.ckpt", "?", {"a.ckpt": lambda folder: saved({})}),
    Case(f"{_RESUME} made/classifier.ckpt", "?"),
    Case(f"{_RESUME} made/pretrained.ckpt --data.seed 1", "?"),
    Case(f"{_RESUME} made/pretrained.ckpt --data.recipe.num_objects 3", "?"),
    _resumed("?", provenance=5),
    _resumed("?", provenance={}),
    _resumed("?", hyper_parameters=5),
    _resumed("?", global_step="x"),
    _resumed("?", state_dict={}),
    _resumed("?", optimizer_states=[]),
    _resumed("?", loops=5),
]
