"""A real Slurm of one node, on this machine, for as long as it is wanted. All it writes is in its folder.

    python tests/slurm/cluster.py    # until Ctrl-C; says how to use it

The node claims more than the machine has, so that scripts for a cluster are taken as they are; nothing enforces it. Of
GPUs it claims as many as jobs may run at a time, each with a device of its own behind it that nobody opens.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch")
GPUS = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random")  # character devices, as gres.conf wants them
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={other_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
# Slurm lets a task that was put back wait until its first life's credential has expired, 120 s by default.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobs.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=1,sched_interval=2,bf_interval=2
ReturnToService=2
# From SIGTERM to SIGKILL: enough to save also on a busy machine; what ends by itself is not waited for.
KillWait=120
MinJobAge=86400
GresTypes=gpu
NodeName=localhost NodeHostname={host} NodeAddr=127.0.0.1 CPUs=64 RealMemory=1000000 Gres=gpu:{gpus} State=UNKNOWN
PartitionName=test Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """The programs that it needs and this machine hasn't."""
    return [program for program in PROGRAMS if shutil.which(program, path=PATH) is None]


@contextlib.contextmanager
def cluster(at_once: int = 2) -> Iterator[dict[str, str]]:
    """Slurm, as the environment that its commands need.

    Args:
        at_once: GPUs that its node claims, 1 to 4.

    Yields:
        SLURM_CONF, and FOLDER, in which there are the logs and jobs.log, a line for each job that has ended.
    """
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # a socket's path has 107 characters at most
    folder.chmod(0o755)  # munged wants its socket to be within everyone's reach
    daemons: list[subprocess.Popen[bytes]] = []
    environment = {"SLURM_CONF": str(folder / "slurm.conf"), "FOLDER": str(folder)}
    try:
        _configure(folder, at_once)
        socket_, key = folder / "munge.socket", folder / "munge.key"
        daemons.append(_start(folder, "munged", "--foreground", f"--key-file={key}", f"--socket={socket_}",
                              f"--seed-file={folder}/seed", f"--pid-file={folder}/munged.pid"))  # fmt: skip
        _until(socket_.exists, folder)
        daemons.append(_start(folder, "slurmctld", "-D", "-c", "-f", environment["SLURM_CONF"]))
        daemons.append(_start(folder, "slurmd", "-D", "-f", environment["SLURM_CONF"]))
        _until(lambda: _ask(environment, "sinfo", "-h", "-o", "%t") == "idle", folder)
        yield environment
    finally:
        if len(daemons) == 3:
            _ask(environment, "scancel", f"--user={os.getuid()}")
            with contextlib.suppress(TimeoutError):
                _until(lambda: not _ask(environment, "squeue", "-h"), folder, seconds=150)
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _configure(folder: Path, gpus: int) -> None:
    for part in ("state", "spool"):
        (folder / part).mkdir()
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))
    (folder / "gres.conf").write_text("".join(f"NodeName=localhost Name=gpu File={file}\n" for file in GPUS[:gpus]))
    host = socket.gethostname().partition(".")[0]
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    with socket.socket() as one, socket.socket() as two:  # both at once, so that they differ
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        port, other_port = one.getsockname()[1], two.getsockname()[1]
    said = subprocess.run(["slurmd", "-V"], capture_output=True, text=True, check=True, env={"PATH": PATH}).stdout
    if tuple(map(int, said.split()[-1].split(".")[:2])) >= (24, 5):
        (folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
    values = {"folder": folder, "host": host, "user": user, "gpus": gpus, "port": port, "other_port": other_port}
    (folder / "slurm.conf").write_text(CONF.format(**values))


def _start(folder: Path, *words: str) -> "subprocess.Popen[bytes]":
    with (folder / f"{words[0]}.log").open("w") as log:
        return subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=os.environ | {"PATH": PATH}, umask=0o022
        )  # fmt: skip


def _ask(environment: dict[str, str], *words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=os.environ | environment)
    return done.stdout.strip()


def _until(ready, folder: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            logs = [f"== {log.name}\n{log.read_text()[-2000:]}" for log in sorted(folder.glob("*.log"))]
            raise TimeoutError("Slurm does not come up:\n" + "\n".join(logs))
        time.sleep(0.2)


if __name__ == "__main__":
    if missing():
        sys.exit(f"not here: {', '.join(missing())}; apt-get install slurm-wlm munge")
    with cluster(at_once=4) as started, contextlib.suppress(KeyboardInterrupt):
        print(f"export SLURM_CONF={started['SLURM_CONF']}   # logs in {started['FOLDER']}; Ctrl-C ends it", flush=True)
        signal.pause()
