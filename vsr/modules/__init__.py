"""How networks learn: LightningModules, their optimisers and schedules."""

from vsr.modules.attentive import AttentiveProbe
from vsr.modules.finetune import ActionClassifier
from vsr.modules.knn import KNNProbe
from vsr.modules.probe import LinearProbe
from vsr.modules.videomae import VideoMAE

__all__ = ["ActionClassifier", "AttentiveProbe", "KNNProbe", "LinearProbe", "VideoMAE"]
