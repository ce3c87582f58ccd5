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
    Case("convert nowhere.ckpt out", "checkpoint nowhere.ckpt: no such file; check the path"),
    Case(
        "convert lists out",
        "checkpoint lists is a folder without config.json and model.safetensors (Hugging Face) or mp_rank_00_model_states.pt (DeepSpeed): give a file, or a folder that has them",
    ),
    _bad(b"", "checkpoint a.ckpt can't be read, it is damaged or cut short: use another, or copy it again"),
    _bad(
        b"no checkpoint", "checkpoint a.ckpt can't be read, it is damaged or cut short: use another, or copy it again"
    ),
    _bad(
        b"\x08\x00\x00\x00\x00\x00\x00\x00{}",
        "checkpoint a.ckpt is a safetensors file: give its folder, with the config.json",
    ),
    _bad(
        of("made/pretrained.ckpt", cut(0.5)),
        "checkpoint a.ckpt can't be read, it is damaged or cut short: use another, or copy it again",
    ),
    _bad(
        of("made/pretrained.ckpt", cut(0.001)),
        "checkpoint a.ckpt can't be read, it is damaged or cut short: use another, or copy it again",
    ),
    _bad(
        lambda folder: zipped(a=b"x"),
        "checkpoint a.ckpt can't be read, it is damaged or cut short: use another, or copy it again",
    ),
    _saved(
        5,
        "checkpoint a.ckpt holds no weights, neither by themselves nor under state_dict, model, module: use a checkpoint of vsr fit or of VideoMAE",
    ),
    _saved(
        {},
        "checkpoint a.ckpt holds no weights, neither by themselves nor under state_dict, model, module: use a checkpoint of vsr fit or of VideoMAE",
    ),
    _saved(
        [torch.zeros(2)],
        "checkpoint a.ckpt holds no weights, neither by themselves nor under state_dict, model, module: use a checkpoint of vsr fit or of VideoMAE",
    ),
    _saved(
        {"state_dict": {"a": torch.zeros(2)}},
        "checkpoint a.ckpt is neither a pre-training nor a classifier checkpoint of VideoMAE: use one of vsr fit, of VideoMAE or of transformers",
    ),
    _saved(
        {"state_dict": {_KERNEL: torch.zeros(2)}},
        "checkpoint a.ckpt is neither a pre-training nor a classifier checkpoint of VideoMAE: use one of vsr fit, of VideoMAE or of transformers",
    ),
    _saved(
        {"state_dict": {_KERNEL: torch.zeros(192, 3, 2, 8, 8)}},
        "checkpoint a.ckpt is width 192, depth 0, none of vsr's sizes: use one of tiny 192 x 6, small 384 x 12, base 768 x 12, large 1024 x 24, huge 1280 x 32",
    ),
    _saved(
        {"model": slice(3)},
        "checkpoint a.ckpt holds slice, a Python object that could run code, so it isn't opened: save its weights alone, torch.save({'model': model.state_dict()}, …), where it was made",
    ),
    _state(
        lambda s: {name: t for name, t in s.items() if "blocks.3" not in name},
        "checkpoint a.ckpt is width 192, depth 5, none of vsr's sizes: use one of tiny 192 x 6, small 384 x 12, base 768 x 12, large 1024 x 24, huge 1280 x 32",
    ),
    _state(
        lambda s: {name: t for name, t in s.items() if "blocks.3.mlp.fc1.bias" not in name},
        "checkpoint a.ckpt lacks encoder.blocks.3.mlp.fc1.bias: nothing was loaded, use another checkpoint",
    ),
    _state(
        lambda s: {name: t[:-1] if name.endswith("0.attn.proj.bias") else t for name, t in s.items()},
        "checkpoint a.ckpt has another shape of decoder.blocks.0.attn.proj.bias and 1 more: nothing was loaded, use another checkpoint",
    ),
    _state(
        lambda s: s | {"encoder.more": torch.zeros(1)},
        "checkpoint a.ckpt is neither a pre-training nor a classifier checkpoint of VideoMAE: use one of vsr fit, of VideoMAE or of transformers",
    ),
    _bad(
        checkpoint("pretrained.ckpt", lambda c: c | {"hyper_parameters": {"image_size": -16}}),
        "image_size -16 is not positive: give 1 or more",
    ),
    Case(
        "convert hf out",
        "checkpoint hf is a folder without config.json and model.safetensors (Hugging Face) or mp_rank_00_model_states.pt (DeepSpeed): give a file, or a folder that has them",
        {"hf/config.json": b"{}"},
    ),
    Case(
        "convert hf out",
        "checkpoint hf/config.json can't be read, it is damaged or cut short: use another, or copy it again",
        {"hf/config.json": b"{", "hf/model.safetensors": b""},
    ),
    Case(
        "convert hf out",
        "checkpoint hf/config.json can't be read, it is damaged or cut short: use another, or copy it again",
        {"hf/config.json": b"[" * 100_000, "hf/model.safetensors": b""},
    ),
    Case(
        "convert hf out",
        "checkpoint hf/model.safetensors can't be read, it is damaged or cut short: use another, or copy it again",
        {"hf/config.json": b"[]", "hf/model.safetensors": b""},
    ),
    Case(
        "convert hf out",
        "checkpoint hf/model.safetensors can't be read, it is damaged or cut short: use another, or copy it again",
        _HF | {"hf/model.safetensors": b"x" * 100},
    ),
    Case(
        "convert hf out",
        "checkpoint hf is neither a pre-training nor a classifier checkpoint of VideoMAE: use one of vsr fit, of VideoMAE or of transformers",
        _HF | {"hf/model.safetensors": safetensors(b"{}")},
    ),
    Case(
        "convert hf out",
        "checkpoint hf/pytorch_model.bin can't be read, it is damaged or cut short: use another, or copy it again",
        _HF | {"hf/pytorch_model.bin": b"x"},
    ),
    Case("convert made/pretrained.ckpt", "the following arguments are required: dst (see vsr convert --help)"),
    Case("convert made/pretrained.ckpt out --to onnx", "to onnx is not in vsr, videomae, hf (see vsr convert --help)"),
    Case(
        "convert made/pretrained.ckpt out --image_size x",
        "image_size x is not a whole number or null (see vsr convert --help)",
    ),
    Case("convert made/pretrained.ckpt out --image_size 0", "image_size 0 is not positive: give 1 or more"),
    Case(
        "convert made/pretrained.ckpt out --image_size 30",
        "image_size 30 px is not a multiple of patch_size 8: use 24 or 32 px",
    ),
    Case("convert made/pretrained.ckpt out --num_frames -1", "num_frames -1 is not positive: give 1 or more"),
    Case("convert made/pretrained.ckpt lists", "lists exists: remove it first, or name another"),
    Case("convert made/pretrained.ckpt lists --to vsr", "lists exists: remove it first, or name another"),
    Case(
        "convert made/pretrained.ckpt lists/classInd.txt/out --to vsr",
        "can't write lists/classInd.txt/out (File exists): give a place that can be written",
    ),
    Case("visualize nowhere.ckpt --dataset acc_shapes", "checkpoint nowhere.ckpt: no such file; check the path"),
    Case(
        "visualize lists/classInd.txt --dataset acc_shapes",
        "checkpoint lists/classInd.txt can't be read, it is damaged or cut short: use another, or copy it again",
    ),
    Case(
        "visualize made/classifier.ckpt --what reconstructions --dataset acc_shapes",
        "checkpoint made/classifier.ckpt is of a classifier and has no decoder, so it reconstructs nothing: give a pre-training checkpoint, or --what keys",
    ),
    Case(
        "visualize made/pretrained.ckpt made/pretrained.ckpt --dataset acc_shapes",
        "checkpoint …made/pretrained.ckpt was given twice: give it once",
    ),
    Case(
        "analyze acc_shapes --videos 2 --checkpoint nowhere.ckpt",
        "checkpoint nowhere.ckpt: no such file; check the path",
    ),
    Case(
        "analyze acc_shapes --videos 2 --inception nowhere.pth",
        "nowhere.pth: no such file: give the path of the weights",
    ),
    Case(
        "analyze acc_shapes --videos 2 --inception lists/classInd.txt",
        "lists/classInd.txt (SHA-256 2c1e1664adbd43a6…) is not FID's Inception weights, whose name ends in 6726825d.pth: Weights only load failed; give the path of that file",
    ),
    Case(
        "analyze acc_shapes --videos 2 --i3d lists/classInd.txt",
        "lists/classInd.txt (SHA-256 2c1e1664adbd43a6…) is not the TorchScript file of an I3D, i3d_torchscript.pt: …; give the path of that file",
    ),
    Case(f"{_FIT} --model.checkpoint nowhere.ckpt", "checkpoint nowhere.ckpt: no such file; check the path"),
    Case(
        f"{_FIT} --model.checkpoint lists/classInd.txt",
        "checkpoint lists/classInd.txt can't be read, it is damaged or cut short: use another, or copy it again",
    ),
    Case(
        f"{_FIT} --model.checkpoint made/pretrained.ckpt --model.size small",
        "checkpoint made/pretrained.ckpt is width 192, depth 6; model is width 384, depth 12: give --model.init_args.size tiny",
    ),
    Case(
        f"{_FIT} --model.checkpoint made/pretrained.ckpt --model.patch_size 16",
        "checkpoint made/pretrained.ckpt has tubes of 2 frames x 8 px, the model of 2 frames x 16 px: give --model.init_args.tubelet_size 2 --model.init_args.patch_size 8",
    ),
    Case(
        f"{_TEST} made/pretrained.ckpt",
        "made/pretrained.ckpt has no classification head: this is a pre-training checkpoint, fine-tune it first with vsr fit … --model.init_args.checkpoint made/pretrained.ckpt",
    ),
    Case(
        _TEST.removesuffix(" --model.checkpoint"),
        "vsr test needs --model.init_args.checkpoint with a fine-tuned classifier: give runs/…/checkpoints/last.ckpt of a fine-tuning run",
    ),
    Case(
        f"{_TEST} made/classifier.ckpt --config configs/probe/folders.yaml",
        "made/classifier.ckpt has no head of a linear probe: this is a fine-tuned classifier, test it with its own configs/finetune/, or fit the probe first with vsr fit … --model.init_args.checkpoint made/classifier.ckpt",
    ),
    Case(f"{_RESUME} nowhere.ckpt", "--ckpt_path nowhere.ckpt: there is no such checkpoint; check the path"),
    Case(
        f"{_RESUME} lists/classInd.txt",
        "--ckpt_path lists/classInd.txt: it is damaged or cut short: give another checkpoint",
    ),
    Case(f"{_RESUME} lists", "--ckpt_path lists: it is damaged or cut short: give another checkpoint"),
    Case(
        f"{_RESUME} a.ckpt",
        "--ckpt_path a.ckpt: it is damaged or cut short: give another checkpoint",
        {"a.ckpt": of("made/pretrained.ckpt", cut(0.9))},
    ),
    Case(
        f"{_RESUME} a.ckpt",
        "--ckpt_path a.ckpt: it is no checkpoint of vsr fit (…missing), so no run can go on from it; to start from its weights give it as --model.checkpoint",
        {"a.ckpt": lambda folder: saved({})},
    ),
    Case(
        f"{_RESUME} made/classifier.ckpt",
        "--ckpt_path made/classifier.ckpt is a checkpoint of ActionClassifier, but this run trains VideoMAE: --ckpt_path goes on with a run of the same stage",
    ),
    Case(
        f"{_RESUME} made/pretrained.ckpt --data.seed 1",
        "--ckpt_path made/pretrained.ckpt is of another run: data_seed 0 there, 1 here. Give this one the same settings, or start it anew with --run NAME",
    ),
    Case(
        f"{_RESUME} made/pretrained.ckpt --data.recipe.num_objects 3",
        "--ckpt_path made/pretrained.ckpt is of another run: recipe.num_objects 500 there, 3 here. Give this one the same settings, or start it anew with --run NAME",
    ),
    _resumed(
        "--ckpt_path a.ckpt: its provenance can't be a run's, someone has changed it: give another checkpoint",
        provenance=5,
    ),
    _resumed(
        "--ckpt_path a.ckpt: its provenance can't be a run's, someone has changed it: give another checkpoint",
        provenance={},
    ),
    _resumed(
        "--ckpt_path a.ckpt: its hyper_parameters can't be a run's, someone has changed it: give another checkpoint",
        hyper_parameters=5,
    ),
    _resumed(
        "--ckpt_path a.ckpt: its global_step can't be a run's, someone has changed it: give another checkpoint",
        global_step="x",
    ),
    _resumed(
        "--ckpt_path a.ckpt: its weights or its optimiser's state aren't this network's, someone has changed it: give another checkpoint",
        state_dict={},
    ),
    _resumed(
        "--ckpt_path a.ckpt: its weights or its optimiser's state aren't this network's, someone has changed it: give another checkpoint",
        state_dict={"encoder": 5},
    ),
    _resumed(
        "--ckpt_path a.ckpt: its weights or its optimiser's state aren't this network's, someone has changed it: give another checkpoint",
        optimizer_states=[],
    ),
    _resumed(
        "--ckpt_path a.ckpt: its loops can't be a run's, someone has changed it: give another checkpoint", loops=5
    ),
]
