"""vsr asks nothing of any network: not itself, and not the libraries it runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
WATCH = '''
import os, sys

def watch(event, args):
    """Write down, and refuse, whatever leaves this machine."""
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = args[1]
        inside = not isinstance(address, tuple) or str(address[0]).startswith(("127.", "::1", "localhost"))
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        address = args[0]
        inside = address in (None, "", "localhost", "127.0.0.1", "::1")
    elif event == "urllib.Request":
        address, inside = args[0], False
    else:
        return
    if not inside:
        with open(os.environ["WATCHED"], "a") as file:
            file.write(f"{event} {address!r} {sys.argv}\\n")
        raise PermissionError(f"no network: {event} {address!r}")

sys.addaudithook(watch)
'''


def watched(folder: Path, *command: str) -> tuple[subprocess.CompletedProcess, str]:
    """Run Python without a network, as far as this user may; what it said, and where it wanted to."""
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(WATCH)
    alone = ["unshare", "-n"] if not subprocess.run(["unshare", "-n", "true"], capture_output=True).returncode else []
    home = {"HOME": str(folder), "HF_HOME": str(folder / "hf"), "TORCH_HOME": str(folder / "torch")}  # nothing is there
    paths = os.pathsep.join([str(folder / "site"), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = os.environ | home | {"PYTHONPATH": paths, "WATCHED": str(folder / "watched")}
    (folder / "watched").touch()
    done = subprocess.run([*alone, sys.executable, "-W", "ignore", *command], cwd=folder, env=env, text=True,
                          capture_output=True, timeout=1200)  # fmt: skip
    return done, (folder / "watched").read_text()


def test_who_wants_out_is_seen(tmp_path):
    """Or the next test would show nothing."""
    code = "import urllib.request as r\ntry: r.urlopen('http://192.0.2.1/')\nexcept OSError: pass\n"
    code += "import socket\ntry: socket.create_connection(('192.0.2.1', 80), timeout=1)\nexcept OSError: pass"
    done, seen = watched(tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    assert "urllib.Request 'http://192.0.2.1/'" in seen
    assert "192.0.2.1" in seen.splitlines()[-1]


@pytest.mark.slow
def test_nothing_is_asked_of_a_network(tmp_path):
    """Training, testing, rendering, FID's network, transformers: each with all it imports."""
    done, seen = watched(tmp_path, str(HERE / "everything.py"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert "all done" in done.stdout
    assert seen == ""
    assert not [path for name in ("hf", "torch") for path in (tmp_path / name).rglob("*") if path.is_file()]
