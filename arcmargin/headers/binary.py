"""The loss of the heads that ask of each class whether a sample belongs to it."""

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from arcmargin.headers.base import IGNORE_INDEX


def one_vs_all_loss(
    logits: Float[Tensor, "n c"],
    labels: Int[Tensor, " n"],
    *,
    positive_weight: float,
    negative_weight: float,
) -> Float[Tensor, ""]:
    """Mean over the labelled samples of w₊·log(1 + e^(−z_y)) + w₋·Σ_{j≠y} log(1 + e^(z_j))."""
    labelled = labels != IGNORE_INDEX
    index = labels.where(labelled, 0)[:, None]
    positive = F.softplus(-logits.gather(1, index))[:, 0]
    negative = F.softplus(logits).scatter(1, index, 0.0).sum(dim=1)
    per_sample = positive_weight * positive + negative_weight * negative
    return per_sample.where(labelled, 0.0).sum() / labelled.sum()
