"""How fast a run is, what it waits for and how much of the device it uses."""

import time
from typing import Any

import psutil
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.profilers import PassThroughProfiler, Profiler

from vsr.models.cost import factor_type, matmul_rate
from vsr.modules.optim import total_steps

_LONG = 100  # steps; utilisation is measured against half a second of matrix products, too much for a shorter run


class Throughput(Callback):
    """Logs a run's speed at the trainer's own interval, over the time since it was last logged without validation.

    * ``clips_per_s``: clips trained on per second, over all devices.
    * ``data_share``: share of that time, 0..1, in which this process fetched the next batch from its loader and moved,
      rendered or augmented it, instead of anything else. Where clips are rendered on the CPU that is their rendering;
      on CUDA only its launching, and not the time in which the device draws. Not logged with a profiler of the user's.
    * ``memory_gib``: the most that was allocated on the CUDA device so far, or else the process's resident memory.
    * ``utilisation``: floating-point operations of the network per second and device, over those that large matrix
      products reach on this device in this precision, measured before the first step. Not in runs of under 100 steps.

    Clocks are read without waiting for the device, so the first values after a start run ahead of a GPU.
    """

    def __init__(self) -> None:
        self._clock: _DataClock | None = None
        self._flop_share: float | None = None  # of a device's second that a clip takes
        self._logged = -1
        self._restart()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the device, and start the clocks."""
        if isinstance(trainer.profiler, PassThroughProfiler):  # type: ignore[attr-defined]
            trainer.profiler = self._clock = _DataClock()  # type: ignore[attr-defined]
        self._logged = trainer.global_step
        flops: int | None = getattr(pl_module, "flops_per_clip", None)
        if flops is not None and total_steps(trainer) >= _LONG:
            device = trainer.strategy.root_device
            with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
                self._flop_share = flops / matmul_rate(device, factor_type(str(trainer.precision)))
        self._restart()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clocks."""
        self._paused = time.perf_counter(), self._clock.seconds if self._clock else 0.0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let them go on."""
        stopped, waited = self._paused
        self._since += time.perf_counter() - stopped
        if self._clock is not None:
            self._clock.seconds = waited

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count, and log when the trainer does."""
        self._clips += len(batch["index"]) * trainer.world_size
        step = trainer.global_step
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if step == self._logged or not every or step % every:
            return
        self._logged = step
        seconds = time.perf_counter() - self._since
        rates = {"clips_per_s": self._clips / seconds, "memory_gib": _memory(trainer.strategy.root_device) / 2**30}
        if self._clock is not None:
            rates["data_share"] = self._clock.seconds / seconds
        if self._flop_share is not None:
            rates["utilisation"] = rates["clips_per_s"] / trainer.world_size * self._flop_share
        for name, rate in rates.items():  # as a tensor on the CPU: a number would be copied to the device, and wait
            pl_module.log(name, torch.tensor(rate), batch_size=1)
        self._restart()

    def _restart(self) -> None:
        self._since, self._paused, self._clips = time.perf_counter(), (0.0, 0.0), 0
        if self._clock is not None:
            self._clock.seconds = 0.0


class _DataClock(Profiler):
    """Adds up the time that Lightning takes to fetch training batches and bring them to the device."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds, self._began = 0.0, 0.0

    def start(self, action_name: str) -> None:
        """Note the time if a batch is being fetched."""
        if action_name.endswith((".train_dataloader_next", ".batch_to_device")):
            self._began = time.perf_counter()

    def stop(self, action_name: str) -> None:
        """Add what has passed since."""
        if action_name.endswith((".train_dataloader_next", ".batch_to_device")):
            self.seconds += time.perf_counter() - self._began


def _memory(device: torch.device) -> int:
    """Bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    resident: int = psutil.Process().memory_info().rss
    return resident
