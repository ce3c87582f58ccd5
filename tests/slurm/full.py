"""All 28 datasets of slurm/sweep28.txt on a real Slurm, tiny, some hit on the way; writes what happened, as Markdown.

    python tests/slurm/full.py benchmarks/results/sweep28-DATE.md

Some hundred processes, each of which loads torch: about a quarter of an hour on two idle cores. Exit status 1 if a cell
isn't done in the end, or has other weights than a run that nothing happened to.
"""

import os
import re
import sys
import tempfile
import time
from contextlib import redirect_stdout, suppress
from pathlib import Path
from subprocess import CalledProcessError

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[2] / "benchmarks")]
from cluster import cluster, missing
from environment import header
from trial import OVERLAYS, ROOT, Trial, ask, idle, same, weights

from vsr.cli import main

AT_ONCE = 3  # a task takes about 1 GB
EARLY = 0  # gets SIGUSR1 before its training has begun
HITS = {  # which cell, by the list's line from 0, and what happens to it at step 3
    ("pretrain", 2): "SIGUSR1", ("pretrain", 7): "SIGUSR1", ("pretrain", 10): "SIGUSR1", ("pretrain", 27): "SIGUSR1",
    ("pretrain", 4): "kill -9", ("pretrain", 15): "kill -9", ("pretrain", 6): "scancel", ("pretrain", 20): "scancel",
    ("finetune", 8): "SIGUSR1", ("finetune", 12): "kill -9", ("finetune", 16): "scancel",
}  # fmt: skip


class Transcript:
    """Standard output that is kept, too."""

    def __init__(self) -> None:
        self.began, self.text = time.monotonic(), ""

    def write(self, text: str) -> int:
        self.text += text
        sys.__stdout__.write(text)
        return len(text)

    def flush(self) -> None:
        sys.__stdout__.flush()

    def say(self, text: str) -> None:
        seconds = int(time.monotonic() - self.began)
        print(f"{seconds // 60:3}:{seconds % 60:02} {text}", flush=True)


def vsr(log: Transcript, *words: str) -> None:
    """Run a command here, and show it."""
    log.say("$ vsr " + " ".join(words))
    main(list(words))


def hit(log: Transcript, trial: Trial, stage: str, line: int, name: str, what: str) -> None:
    """Do to a held fit what is to happen to it."""
    task = f"{trial.submissions(stage)[0]['job']}_{line}"
    {"SIGUSR1": trial.signal, "scancel": trial.cancel, "kill -9": lambda fit, _: trial.kill(fit)}[what](
        f"{stage}-{name}", task
    )
    log.say(f"{what} hits {stage} of {name}, task {task}, at step 3")


def sweep(log: Transcript, trial: Trial, names: list[str]) -> bool:
    """The sweep, with what happens to it. Whether all is well in the end."""
    vsr(log, *trial.submit)
    job = trial.submissions("pretrain")[0]["job"]
    waiting, early = dict(HITS), True
    while not idle():
        if early:
            with suppress(CalledProcessError):  # until the task has a process
                ask("scancel", "--signal=USR1", f"{job}_{EARLY}.0")
                log.say(f"SIGUSR1 hits pretrain of {names[EARLY]}, task {job}_{EARLY}, while it is starting")
                early = False
        for (stage, line), what in list(waiting.items()):
            if trial.reached(f"{stage}-{names[line]}"):
                hit(log, trial, stage, line, names[line], what)
                del waiting[stage, line]
        time.sleep(0.2)
    log.say("the queue is empty")
    vsr(log, "sweep", "status", "sweep")
    for line in range(len(names)):
        for stage in ("pretrain", "finetune"):
            task = f"{trial.submissions(stage)[0]['job']}_{line}"
            lives = re.search(r"Restarts=(\d+)", ask("scontrol", "show", "job", task))
            if lives and lives[1] != "0":
                print(f"requeued {lives[1]} times: {stage} of {names[line]}, task {task}")
    vsr(log, "sweep", "resubmit", "sweep")
    while not idle():
        time.sleep(0.5)
    log.say("the queue is empty")
    vsr(log, "sweep", "status", "sweep")
    vsr(log, "sweep", "resubmit", "sweep")
    log.say("the sweep is over")

    good = True
    print("\nWeights of the cells that were hit, against those of runs of the same that nothing happened to:")
    for (stage, line), what in {("pretrain", EARLY): "early SIGUSR1", **HITS}.items():
        name = names[line]
        run = Path("sweep") / (f"pretrain/{name}/default" if stage == "pretrain" else f"finetune/folders/{name}")
        equal = same(trial.alone(name) if stage == "pretrain" else tuned(trial, name), weights(run))
        print(f"  {stage} of {name} ({what}): {'equal, bit for bit' if equal else 'DIFFERENT'}")
        good &= equal
    results = [Path(f"sweep/test/folders/{name}/results.json").exists() for name in names]
    print(f"tests with results.json: {sum(results)} of {len(names)}; hit: {len(HITS) - len(waiting) + 1} cells")
    return good and all(results) and not waiting and not early


def tuned(trial: Trial, name: str) -> dict[str, "object"]:
    """The weights of the same fine-tuning, that nothing happens to."""
    return trial.fit_alone(
        f"finetune/folders/{name}", "--config", "configs/finetune/folders.yaml", *OVERLAYS, "--data.videos", "videos",
        "--data.num_workers", "0", "--data.stride", "2", "--run", name,
        "--model.checkpoint", f"sweep/pretrain/{name}/default/checkpoints/last.ckpt",
    )  # fmt: skip


def run() -> None:
    """Everything, and the transcript."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    if missing():
        sys.exit(f"not here: {', '.join(missing())}; apt-get install slurm-wlm munge")
    out, log = Path(sys.argv[1]).resolve(), Transcript()
    about = header()
    names = (ROOT / "slurm" / "sweep28.txt").read_text().split()
    # A short place, so that the transcript has no machine's paths in it.
    with tempfile.TemporaryDirectory(prefix="sweep-", dir="/tmp") as folder, cluster(at_once=AT_ONCE) as slurm:
        trial = Trial(Path(folder) / "trial", names, [f"{stage}-{names[line]}" for stage, line in HITS])
        os.environ |= {**slurm, **trial.environment()}
        os.chdir(trial.folder)
        with redirect_stdout(log):
            good = sweep(log, trial, names)
            seconds = time.monotonic() - log.began
            print(f"wall time {seconds / 60:.0f} minutes; {'all is well' if good else 'NOT WELL'}")
        about = f"{about}\n* {ask('sbatch', '--version')}, {AT_ONCE} tasks at a time"
        text = log.text.replace(str(trial.folder), "TRIAL")
    out.write_text(f"# A sweep of all 28 datasets on a Slurm of one node\n\n{about}\n\n```\n{text}```\n")
    sys.exit(not good)


if __name__ == "__main__":
    run()
