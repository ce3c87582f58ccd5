"""How networks learn: LightningModules, their optimisers and schedules."""

from vsr.modules.finetune import ActionClassifier
from vsr.modules.videomae import VideoMAE

__all__ = ["ActionClassifier", "VideoMAE"]
