"""Which of a linear probe's heads was chosen, and how good the others are."""

import csv
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info

from vsr.callbacks.run_folder import wilson_interval
from vsr.export import whole
from vsr.modules import LinearProbe

COLUMNS = ("base_lr", "weight_decay", "held_out_acc1", "low", "high", "right", "videos", "chosen")


class Heads(Callback):
    """Writes ``heads.csv`` into the run folder of a linear probe with held-out videos, and says which head is best.

    Each row is a head: its settings, its accuracy on the held-out training videos with a 95 % interval, and whether it
    was chosen. The best of many is a little too good: what it is worth says the test.
    """

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Have the head chosen that stays, and write."""
        if not isinstance(pl_module, LinearProbe):
            return
        pl_module.choose()
        heads = pl_module.heads
        if not heads[0].videos or not trainer.is_global_zero:
            return
        with whole(Path(trainer.default_root_dir) / "heads.csv") as part, part.open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            for head in heads:
                share = head.right / head.videos
                interval = (f"{end:.6f}" for end in wilson_interval(share, head.videos))
                settings = head.base_lr, head.weight_decay
                table.writerow([*settings, f"{share:.6f}", *interval, head.right, head.videos, int(head.chosen)])
        best = next(head for head in heads if head.chosen)
        low, high = wilson_interval(best.right / best.videos, best.videos)
        rank_zero_info(
            f"Chosen of {len(heads)} head{'s' * (len(heads) > 1)} on {best.videos:,} held-out videos: base_lr "
            f"{best.base_lr:g}, weight_decay {best.weight_decay:g}; top-1 {best.right / best.videos:.3f} "
            f"({low:.3f} to {high:.3f})."
        )
