"""Files of others: they are read as data, whatever they hold."""

import argparse
import ast
import os
import sys
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
import yaml

from vsr.analysis.networks import i3d, inception
from vsr.callbacks.checkpoints import read_checkpoint
from vsr.cli import main
from vsr.errors import InputError
from vsr.models.exchange import read_weights
from vsr.models.vit import SIZES, MaskedAutoencoder

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "vsr"
sys.path.append(str(ROOT / "benchmarks"))
environment = pytest.importorskip("environment")
pytestmark = pytest.mark.filterwarnings("ignore")


class Evil:
    """Makes a folder when it is unpickled without care."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def calls():
    """Every call in vsr: the file, the function's dotted name, the keywords."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                yield file, ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}


def test_nothing_in_the_code_reads_programs():
    """But TorchScript, in one place, which looks at the program first."""
    loads = 0
    for file, name, keywords in calls():
        place = f"{file.relative_to(PACKAGE)}: {name}"
        if name == "torch.load":
            loads += 1
            assert keywords.get("weights_only") == "True", place
        if name.endswith("jit.load"):
            assert file.name == "networks.py"
        if name.endswith(("np.load", "numpy.load")):
            assert "allow_pickle" not in keywords, place  # its default since NumPy 1.16.3: False
        assert name not in ("eval", "exec", "compile", "os.system", "os.popen"), place
        assert not name.startswith(
            ("pickle.load", "marshal.", "shelve.", "dill.", "joblib.", "yaml.unsafe", "yaml.full")
        )
        assert name not in ("yaml.load", "pickle.Unpickler", "torch.package.PackageImporter"), place
        assert keywords.get("shell") in (None, "False"), place
        assert not name.endswith(
            (".extractall", ".unpack_archive", "urlopen", "urlretrieve", "load_state_dict_from_url")
        )
    assert loads > 2


WAYS = ("resume", "vsr", "vsr, old", "videomae", "namespace", "DeepSpeed", "hf", "inception")


@pytest.mark.parametrize("way", WAYS)
def test_a_malicious_pickle_is_not_run(tmp_path, way):
    ran, path = tmp_path / "ran", tmp_path / "evil.ckpt"
    evil = Evil(ran)
    read = {"resume": read_checkpoint, "inception": inception}.get(way, read_weights)
    if way in ("resume", "vsr", "vsr, old"):
        content = {"state_dict": {"x": torch.zeros(1)}, "hyper_parameters": {"x": evil}}
        torch.save(content, path, _use_new_zipfile_serialization=way != "vsr, old")
    elif way == "DeepSpeed":
        path = tmp_path / "folder"
        path.mkdir()
        torch.save({"module": {"x": evil}}, path / "mp_rank_00_model_states.pt")
    elif way == "hf":
        path = tmp_path / "folder"
        path.mkdir()
        (path / "config.json").write_text('{"model_type": "videomae"}')
        torch.save({"x": evil}, path / "pytorch_model.bin")
    else:
        args = {"args": argparse.Namespace(lr=evil)} if way == "namespace" else {"optimizer": evil}
        torch.save({"model": {"x": torch.zeros(1)}, **args}, path)
    with pytest.raises(InputError) as refused:
        read(path)
    assert not ran.exists()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "words",
    [
        ["fit", "--config", "evil.yaml"],
        ["render", "evil.yaml", "--out", "a.png"],
        ["check-data", "evil.yaml"],
        ["plan", "--config", "evil.yaml"],
    ],
)
@pytest.mark.parametrize(
    "evil", ["data: !!python/object/apply:os.mkdir [ran]", "data: {class_path: os.mkdir, init_args: {path: ran}}"]
)
def test_a_malicious_config_is_not_run(tmp_path, monkeypatch, capsys, words, evil):
    monkeypatch.chdir(tmp_path)
    Path("evil.yaml").write_text(f"model: {{class_path: VideoMAE}}\n{evil}\n")
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    assert "vsr: error: " in capsys.readouterr().err
    assert not Path("ran").exists()


def test_a_malicious_card_is_not_run(tmp_path, monkeypatch):
    from vsr.models.exchange.huggingface import _licence

    monkeypatch.chdir(tmp_path)
    Path("README.md").write_text("---\nlicense: !!python/object/apply:os.mkdir [ran]\n---\n")
    assert _licence(Path("README.md")) is None
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load("!!python/object/apply:os.mkdir [ran]")
    assert not Path("ran").exists()


def test_malicious_features_and_textures_are_not_run(tmp_path):
    import numpy as np

    from vsr.data.features import must_be_features

    np.save(tmp_path / "evil.npy", np.array([Evil(tmp_path / "ran")], dtype=object), allow_pickle=True)
    assert not must_be_features(tmp_path / "evil.npy", 1)
    assert not (tmp_path / "ran").exists()


def scripted(module, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(module).save(str(path))
    return path


class Writes(torch.nn.Module):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(
        self, x: torch.Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False
    ) -> torch.Tensor:
        torch.save(x, self.path)
        return x.flatten(1)[:, :3]


class Reads(torch.nn.Module):
    def forward(
        self, x: torch.Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False
    ) -> torch.Tensor:
        return torch.from_file("/etc/passwd", size=8, dtype=torch.uint8)[None]


def test_torchscript_that_reaches_files_is_not_run(tmp_path):
    path = scripted(Writes(str(tmp_path / "ran")), tmp_path / "writes.pt")
    with pytest.raises(InputError, match=r"is not the TorchScript file of an I3D.*calls save, which reaches files"):
        i3d(path)
    assert not (tmp_path / "ran").exists()
    torch.jit.load(str(path))(torch.zeros(1, 9))  # it would have
    assert (tmp_path / "ran").exists()
    with pytest.raises(InputError, match=r"calls from_file, which reaches files, so it isn't run"):
        i3d(scripted(Reads(), tmp_path / "reads.pt"))


@pytest.mark.parametrize(
    ("packing", "said"), [("password", "encrypted"), ("unknown", "compression method"), ("damaged", "decompressing")]
)
def test_torchscript_that_cannot_be_unpacked_is_refused(tmp_path, packing, said):
    path = tmp_path / "packed.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if packing == "damaged" else zipfile.ZIP_STORED) as archive:
        archive.writestr("code/a.py", "import os\n" * 50)
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\1\2")  # its central directory
    if packing == "password":
        content[6] |= 1
        content[entry + 8] |= 1
    elif packing == "unknown":
        content[8] = content[entry + 10] = 9
    else:
        content[42:46] = b"\xff" * 4
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"is not the TorchScript file of an I3D.*{said}"):
        i3d(path)


@pytest.fixture(scope="module")
def bomb(tmp_path_factory):
    """A file of ``torch.save`` with zeros put into it, a thousand times smaller than they are."""
    path = tmp_path_factory.mktemp("bomb") / "bomb.ckpt"
    torch.save({"state_dict": {"x": torch.zeros(4)}}, path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for member in ("bomb/data/1", "bomb/code/a.py"):
            archive.writestr(member, bytes(2**27))
    assert path.stat().st_size < 2**22
    return path


@pytest.mark.parametrize("read", [read_weights, read_checkpoint, inception, i3d])
def test_a_zip_bomb_is_not_unpacked(bomb, read):
    environment.forget_peak()
    before = environment.peak()
    with pytest.raises(InputError):
        read(bomb)
    assert environment.peak() - before < 2**26


def test_a_tensor_of_more_numbers_than_its_file_is_refused(tmp_path):
    """A view that repeats one number a trillion times takes no room in a file."""
    with torch.device("meta"):
        names = MaskedAutoencoder(SIZES["tiny"], 16, 2, 8, 2).state_dict()
    state = {name: torch.zeros(tensor.shape) for name, tensor in names.items()}
    state["encoder.blocks.0.attn.q_bias"] = torch.zeros(1).expand(10**6, 10**6)
    torch.save({"model": state}, tmp_path / "wide.pth")
    with pytest.raises(InputError, match=r"has more numbers in encoder.blocks.0.attn.q_bias than it holds"):
        read_weights(tmp_path / "wide.pth")
