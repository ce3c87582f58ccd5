import torch

from vsr.models.cost import matmul_rate
from vsr.modules import ActionClassifier, VideoMAE


def block(tokens: int, width: int) -> int:
    """Multiply-adds of a block: four projections and the MLP, scores and what they weigh."""
    return 12 * width**2 * tokens + 2 * tokens**2 * width


def test_pretraining_base():
    """facts: 57.4 G multiply-adds forward, with all tubes embedded and all tokens asking in the last block."""
    visible, masked, tokens, d, d_dec = 392, 1176, 1568, 768, 384
    embedding = visible * 1536 * d
    last = (2 * tokens + 10 * masked) * d_dec**2 + 2 * masked * tokens * d_dec
    decoder = visible * d * d_dec + 3 * block(tokens, d_dec) + last + masked * d_dec * 1536
    forward = embedding + 12 * block(visible, d) + decoder
    saved = masked * 1536 * d + block(tokens, d_dec) - last
    assert round((forward + saved) / 1e9, 1) == 57.4
    # Twice as much again for the gradients, of which pixels need none.
    with torch.device("meta"):
        assert VideoMAE().flops_per_clip == 2 * (3 * forward - embedding)


def test_classifier_counts_all_tokens_and_no_recomputation():
    d, tokens = 768, 1568
    embedding = tokens * 1536 * d
    forward = embedding + 12 * block(tokens, d) + d * 101
    with torch.device("meta"):
        module = ActionClassifier(101, checkpoint_activations=True)
    assert module.flops_per_clip == 2 * (3 * forward - embedding)


def test_matmul_rate_is_one_of_this_planet():
    assert 1e8 < matmul_rate(torch.device("cpu"), torch.float32) < 1e17
