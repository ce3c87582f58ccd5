"""Holds a run at a step until it is let go, so that it can be hit there."""

import os
import time
from pathlib import Path

from lightning.pytorch import Callback

STEP = 3


class Held(Callback):
    """While ``$VSR_TEST_HOLD/<dataset>`` exists, waits before step 3, and says so by ``<dataset>.here``."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        hold = Path(os.environ["VSR_TEST_HOLD"]) / Path(trainer.default_root_dir).parent.name
        if trainer.global_step == STEP and hold.exists():
            hold.with_suffix(".here").write_text(str(os.getpid()))
            while hold.exists():
                time.sleep(0.02)
