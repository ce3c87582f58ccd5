"""Videos for training and testing, as LightningDataModules.

Contract. Before ``on_after_batch_transfer`` a synthetic batch is addresses only (a few bytes, so a DataLoader can't
starve the device), a natural one is decoded uint8 frames or kept features, a mixed one is addresses and the decoded
frames of its natural samples. After it every batch is a :class:`Batch`.
"""

from typing import NotRequired, TypedDict

from torch import Tensor


class Batch(TypedDict):
    """What every module receives, on its device.

    Attributes:
        video: uint8 (B, C, T, H, W), RGB, 0..255. Normalisation happens in the model, nowhere else.
        feature: in the place of ``video``, where a data module keeps what a frozen encoder makes of clips that are the
            same in every epoch: float (B, …), whatever the encoder returned.
        index: int64 (B,), which video of the set.
        epoch: int64 (B,), which clip of it.
        label: int64 (B,), the class, where there is one.
        view: int64 (B,), where there are labels: which view of the video. The views of a video stand side by side in
            one batch: in training ``num_sample`` crops of the same frames, 0, 1, …; in testing those of segment s and
            crop c, ``s * crops + c``, from which the ones that equal an earlier one are left out.
        weight: float32 (B,), where there are labels: the view's share of its video. A video's weights sum to 1, so
            that the mean over all its views is the weighted sum over those that are here.
        cell: int64 (B,), in a test of corrupted videos: which corruption the view shows, the number of a
            :class:`vsr.corruptions.Cell`, 0 for none. The views of a video in a cell stand side by side in one batch.
        share: int64 (B,), in a mixture, which of its shares; index and epoch are then of the share's set.
    """

    video: NotRequired[Tensor]
    feature: NotRequired[Tensor]
    index: Tensor
    epoch: Tensor
    label: NotRequired[Tensor]
    view: NotRequired[Tensor]
    weight: NotRequired[Tensor]
    cell: NotRequired[Tensor]
    share: NotRequired[Tensor]
