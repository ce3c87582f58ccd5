"""What a module's ``checkpoint`` is when a loop starts: the beginning of training, or all that is to be tested."""

from collections.abc import Callable

import lightning.pytorch as L
from lightning.pytorch.trainer.states import TrainerFn

from vsr.errors import InputError


class Start(L.Callback):
    """Loads a module's ``checkpoint`` when a loop starts; the module returns it from ``configure_callbacks``.

    Not in ``setup``: only then does ``Trainer.ckpt_path`` tell whether a run resumes, in which case Lightning has
    loaded everything already. What this process has fitted stays, too. It comes before the module's own hooks.

    Args:
        checkpoint: a path; None: training begins with the initial weights.
        begin: loads from that path what training starts from, for ``fit``.
        whole: loads everything, for ``validate``, ``test`` and ``predict``.
        needed: what these need, and where it is, in words.

    Attributes:
        fitted: whether this process has begun to fit the module.
    """

    def __init__(
        self, checkpoint: str | None, begin: Callable[[str], None], whole: Callable[[str], None], needed: str
    ) -> None:
        self.checkpoint, self._begin, self._whole, self._needed = checkpoint, begin, whole, needed
        self.fitted = False

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start from the checkpoint, if any, unless the run resumes or goes on."""
        if self.checkpoint is not None and not trainer.ckpt_path and not self.fitted:
            self._begin(self.checkpoint)
        self.fitted = True

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """For ``validate``: load everything."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._load(trainer)

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Load everything."""
        self._load(trainer)

    on_predict_start = on_test_start

    def _load(self, trainer: L.Trainer) -> None:
        if trainer.ckpt_path or self.fitted:
            return
        if self.checkpoint is None:
            verb = trainer.state.fn and trainer.state.fn.value
            raise InputError(f"vsr {verb} needs --model.init_args.checkpoint with {self._needed}")
        self._whole(self.checkpoint)
