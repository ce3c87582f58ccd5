"""What ``vsr doctor`` finds: here, and where something is missing or wrong."""

import subprocess
import sys

import pytest

from vsr.cli import main
from vsr.cli.doctor import CHECKS

pytestmark = pytest.mark.filterwarnings("ignore")


def said(capsys, *words, status=0):
    """The lines of the command, by the names of its checks."""
    capsys.readouterr()
    if status:
        with pytest.raises(SystemExit) as stopped:
            main(["doctor", *words])
        assert stopped.value.code == status
    else:
        main(["doctor", *words])
    lines = {}
    for line in capsys.readouterr().out.splitlines():
        lines.setdefault(line[6:15].strip(), []).append((line[:4].strip(), line[15:]))
    return lines


@pytest.fixture
def only(monkeypatch):
    """Leave out all checks but some."""

    def these(*names):
        for name in CHECKS.keys() - set(names):
            monkeypatch.delitem(CHECKS, name)

    return these


def test_all_is_well_where_the_tests_run(capsys):
    lines = said(capsys)
    assert {state for found in lines.values() for state, _ in found} == {"ok"}
    assert set(lines) == set(CHECKS)
    assert "in the versions that vsr needs, none known to be bad" in lines["versions"][1][1]
    assert "H.264 written and read" in lines["videos"][0][1]
    assert "the fast renderer and the reference draw the same" in lines["kernels"][0][1]
    assert "reads VideoMAE's q and v biases" in lines["exchange"][0][1]


def test_what_is_missing_is_a_line_and_the_rest_goes_on(capsys, monkeypatch, only):
    only("videos", "kernels", "memory", "disk")
    for name in ("av", "psutil"):
        monkeypatch.setitem(sys.modules, name, None)  # as Python marks what can't be imported
    lines = said(capsys, status=1)
    assert [lines[name][0][0] for name in ("videos", "memory", "disk")] == ["FAIL", "FAIL", "ok"]
    assert "pip install --upgrade --force-reinstall av" in lines["videos"][0][1]
    assert all(len(found) == 1 for found in lines.values())


def test_versions_that_must_not_be_used_are_named(capsys, monkeypatch, only, tmp_path):
    only("versions")
    for name, version in (("lightning", "2.6.3"), ("pytorch_lightning", "2.6.2"), ("av", "9.0.0")):
        (tmp_path / f"{name}-{version}.dist-info").mkdir()
        (tmp_path / f"{name}-{version}.dist-info" / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    texts = [text for state, text in said(capsys, status=1)["versions"] if state == "FAIL"]
    for part in (
        "lightning 2.6.3 must not be used, a compromised",
        "pytorch-lightning 2.6.2 must",
        "av 9.0.0: pip inst",
    ):
        assert [part in text for text in texts].count(True) == 1, part


def test_a_place_that_can_not_be_written_to(capsys, monkeypatch, only, tmp_path):
    only("disk")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,ro", "tmpfs", tmp_path], capture_output=True).returncode:
        pytest.skip("file systems can't be mounted here")
    try:
        with monkeypatch.context() as there:
            there.chdir(tmp_path)
            assert "Read-only file system" in said(capsys, status=1)["disk"][0][1]
            subprocess.run(["mount", "-o", "remount,rw", tmp_path], check=True)
            assert "a run of ViT-B keeps up to 3." in said(capsys, status=1)["disk"][0][1]
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.parametrize(
    ("job", "state", "part"),
    [
        ({}, "ok", "Slurm: "),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2"}, "ok", "job 7, 1 nodes, 2 tasks"),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2"}, "FAIL", "ask for them by --ntasks-per-node"),
    ],
)
def test_slurm(capsys, monkeypatch, only, job, state, part):
    only("cluster")
    for name in ("SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_NTASKS_PER_NODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    [found] = said(capsys, status=int(state == "FAIL"))["cluster"]
    assert found[0] == state
    assert part in found[1]


def test_it_takes_no_options(capsys):
    assert said(capsys, "--help")
    with pytest.raises(SystemExit) as stopped:
        main(["doctor", "--fast"])
    assert stopped.value.code == 2
    assert "vsr doctor takes no options" in capsys.readouterr().err
