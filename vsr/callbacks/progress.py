"""How far a run is: a bar on a terminal, a line now and then elsewhere."""

import time
from datetime import timedelta
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from vsr.modules.optim import total_steps

_QUIET = 30.0  # s between two lines where there is no terminal
_FORMATS = {
    "loss": "loss {:.4f}",
    "lr": "lr {:.2e}",
    "clips_per_s": "{:,.1f} clips/s",
    "data_share": "data {:.0%}",
    "memory_gib": "{:.1f} GiB",
    "utilisation": "utilisation {:.0%}",
    "val_acc1": "val_acc1 {:.2%}",
}


class RunProgress(ProgressBar):
    """Shows the steps of the whole run, its metrics, and when it will be done.

    The time that is left follows from the mean pace of this process since its first logged step, with everything that
    was done in between. Metrics are read only at the trainer's ``log_every_n_steps``, when its loggers read them too:
    in between, nothing waits for the device. Where there is no terminal (a batch system's log), at most one line in
    30 seconds.

    Args:
        console: where to; None: standard output.
    """

    def __init__(self, console: Console | None = None) -> None:
        super().__init__()
        self._console = Console() if console is None else console
        self._enabled = True
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._total, self._done, self._since, self._said = 0, -1, (0, 0.0), float("-inf")

    def disable(self) -> None:
        """Show nothing."""
        self._enabled = False

    def enable(self) -> None:
        """Show something again."""
        self._enabled = True

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print above the bar."""
        if self._enabled:
            self._console.print(*args)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin at the run's true step, which after a resumption is not 0."""
        self._total, self._done = total_steps(trainer), trainer.global_step
        self._since, self._said = (-1, 0.0), float("-inf")
        self._begin("steps", self._total, self._done)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Go on, at optimiser steps."""
        step = trainer.global_step
        if not self._enabled or step == self._done:
            return
        self._done = step
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if (every and step % every == 0) or step == self._total:
            self._read(trainer, step)
        elif self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the bar as it is."""
        self._end()

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Count the batches of ``vsr validate``; within training the steps' bar stands still."""
        if trainer.state.fn == "validate":
            self._count("validation batches", sum(trainer.num_val_batches), batch_idx)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:  # fmt: skip
        """Count the batches of ``vsr test``."""
        batches = trainer.num_test_batches
        self._count("test batches", sum(batches) if isinstance(batches, list) else batches, batch_idx)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the terminal back."""
        self._end()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the terminal back."""
        self._end()

    def _read(self, trainer: Trainer, step: int) -> None:
        """Show the metrics as they are now."""
        now = time.monotonic()
        first, began = self._since
        left = timedelta(seconds=round((now - began) / (step - first) * (self._total - step))) if first >= 0 else None
        if first < 0:  # from here on: what is compiled and made at first is over
            self._since = step, now
        if self._bar is None and now - self._said < _QUIET and step < self._total:
            return
        self._said = now
        metrics = trainer.callback_metrics
        parts = [form.format(float(metrics[name])) for name, form in _FORMATS.items() if name in metrics]
        if step < self._total and left is not None:
            parts.append(f"{left} left")
        said = "  ".join(parts)
        if self._bar is None:
            self._line("steps", step, self._total, said)
        elif self._task is not None:
            self._bar.update(self._task, completed=step, said=said)

    def _count(self, what: str, total: float, batch_idx: int) -> None:
        if not self._enabled:
            return
        if batch_idx == 0:
            self._begin(what, total, 0)
        done = batch_idx + 1
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done)
        elif time.monotonic() - self._said >= _QUIET or done == total:
            self._said = time.monotonic()
            self._line(what, done, total, "")
        if done == total:
            self._end()

    def _line(self, what: str, done: int, total: float, said: str) -> None:
        line = f"{done:,} of {total:,} {what} ({done / total:.1%})  {said}"
        print(line.rstrip(), file=self._console.file, flush=True)

    def _begin(self, what: str, total: float, done: int) -> None:
        self._end()
        if self._enabled and self._console.is_terminal:
            columns = (
                BarColumn(bar_width=20),
                TextColumn("{task.completed:,.0f} of {task.total:,.0f} {task.description}"),
                TextColumn("{task.fields[said]}"),
            )
            self._bar = Progress(*columns, console=self._console, refresh_per_second=4)
            self._bar.start()
            self._task = self._bar.add_task(what, total=total, completed=done, said="")

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar = self._task = None
