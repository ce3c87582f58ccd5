"""Real runs of a tiny network, for the tests of what watches them."""

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from vsr.data.synthetic import SyntheticVideos
from vsr.modules import VideoMAE
from vsr.recipe import Recipe

RECIPE = Recipe("r", num_objects=20, speed=(1.0, 3.0), epoch_size=12)


def fit(folder, callbacks, steps=4, batch=2, ckpt=None, **trainer):
    """Train with four clips of 4 x 32 x 32 a step, three steps an epoch; ``batch`` of them at a time."""
    shape = {"num_frames": 4, "size": 32, "global_batch_size": 4, "max_batch_per_device": batch}
    module = VideoMAE("tiny", 32, 4, patch_size=8, global_batch_size=4)
    loggers = [
        CSVLogger(folder, name="", version=""),
        TensorBoardLogger(folder, name="", version="", default_hp_metric=False),
    ]
    settings = {
        "max_steps": steps, "default_root_dir": folder, "accelerator": "cpu", "callbacks": callbacks,
        "log_every_n_steps": 1, "logger": loggers, "use_distributed_sampler": False, "enable_model_summary": False,
        "enable_progress_bar": False, "enable_checkpointing": False,
    }  # fmt: skip
    run = Trainer(**settings | trainer)
    run.fit(module, datamodule=SyntheticVideos(RECIPE, **shape), ckpt_path=ckpt)
    return run


def events(folder):
    """What TensorBoard reads from a run folder."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0}).Reload()
