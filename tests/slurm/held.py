"""Holds a fit at a step until it is hit there, or let go."""

import os
import time
from pathlib import Path

from lightning.pytorch import Callback

from vsr import signals

STEP = 3


class Held(Callback):
    """Waits before step 3 while ``$VSR_TEST_HOLD/<stage>-<dataset>`` exists, or until it is told to stop.

    Beside that file it writes its process to ``.here``, and makes ``.told`` when a signal has come.
    """

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        *_, stage, one, other = Path(trainer.default_root_dir).parts  # pretrain/DATASET/default, finetune/ON/DATASET
        hold = Path(os.environ["VSR_TEST_HOLD"]) / f"{stage}-{one if stage == 'pretrain' else other}"
        if trainer.global_step == STEP and hold.exists():
            part = hold.with_suffix(".part")
            part.write_text(str(os.getpid()))
            part.replace(hold.with_suffix(".here"))
            while hold.exists() and signals.told() is None:
                time.sleep(0.02)
            if signals.told():
                hold.with_suffix(".told").touch()
