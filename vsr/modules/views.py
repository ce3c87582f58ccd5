"""Multi-view testing: what a network makes of several views of a video, as one answer."""

from torch import Tensor


def mean_over_views(probability: Tensor, index: Tensor, weight: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The weighted mean of the probabilities of each video's views.

    Args:
        probability: (B, K), of each view: softmax first, mean afterwards.
        index: int64 (B,), the video of each view, or (B, A), several numbers that name it; the views of a video stand
            side by side, all in this batch.
        weight: (B,), each view's share of its video; they sum to 1 for each video.
        label: int64 (B,), the class of each view's video.

    Returns:
        Of the n videos, in their order: index (n,) or (n, A), probability (n, K) and label (n,).

    Source: VideoMAE's code, which has the mean of probabilities since commit 2254c5e, not of logits.
    """
    video, view_of = index.unique_consecutive(return_inverse=True, dim=0)
    mean = probability.new_zeros(len(video), probability.shape[1])
    mean.index_add_(0, view_of, probability * weight[:, None].to(probability.dtype))
    return video, mean, label.new_empty(len(video)).scatter_(0, view_of, label)
