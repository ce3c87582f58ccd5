"""``vsr demo``: what vsr does, in about a minute on a laptop's CPU."""

import os
import sys
from pathlib import Path

_DATASET = "acc_textures"
_TRAINING = f"fit --config configs/pretrain/{_DATASET}.yaml --config configs/scale/laptop.yaml --max_textures 32"
_SMALL = "--trainer.accelerator cpu --trainer.max_steps 40 --trainer.enable_model_summary false --run demo"


def demo(out: Path = Path("vsr-demo")) -> None:
    """Show what vsr does, in about a minute on a CPU: the datasets, a tiny pre-training, a page with both.

    Nothing is downloaded. The page is opened in a browser where there is a display. After a stop, or to see the page
    again, the same command does what is missing.

    Args:
        out: the folder for all of it, made if need be.
    """
    from vsr.cli.stages import run_stage
    from vsr.export import must_be_writable
    from vsr.overview import render_progression
    from vsr.report import write_report

    must_be_writable(out)
    if not (out / "progression.mp4").exists():
        print("1/3 The datasets of the progression: one scene, with one thing changed from one to the next", flush=True)
        render_progression(out, index=3, max_textures=16)
    runs = out / "runs"
    made = runs / "pretrain" / _DATASET / "demo"
    if not (made / "done").exists():
        words = [*_TRAINING.split(), *_SMALL.split(), "--trainer.default_root_dir", str(runs)]
        print(f"2/3 A tiny pre-training: vsr {' '.join(words)}", flush=True)
        run_stage([*words, *(["--ckpt_path", "last"] if made.exists() else [])])
    print("3/3 A page of it", flush=True)
    page = write_report(runs, out / "report", gallery=False)
    pictures = sorted((made / "pictures").glob("*.png"))
    print(
        "",
        f"{out / 'progression.png'}: the datasets, in motion in progression.mp4",
        f"{pictures[-1]}: what the network was shown, what was hidden from it, what it makes of that",
        f"{page}: the page",
        "40 steps of 16 clips show that all runs, and teach nothing: the paper has 118,400 steps of 256.",
        "Next: README.md has 1,000 such steps, and the paper's run; docs/datasets.md a dataset of your own.",
        _shown(page),
        sep="\n",
    )


def _shown(page: Path) -> str:
    """Open a page where someone can see it; in words what came of it. Never fails."""
    import webbrowser

    address = page.resolve().as_uri()
    # Without a display webbrowser takes a browser for terminals, which would take this terminal.
    if sys.platform not in ("darwin", "win32") and not any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY"))):
        return f"No display here: open {address} in a browser."
    try:
        opened = webbrowser.open(address)
    except (webbrowser.Error, OSError):
        opened = False
    return f"Opened {address} in a browser." if opened else f"No browser to open it here: open {address} in one."
