"""What the heads share that ask of each class whether a sample belongs to it."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import brentq
from scipy.special import expit
from torch import Tensor
from torch.nn import functional as F

from arcmargin.headers.base import IGNORE_INDEX


def one_vs_all_loss(
    logits: Float[Tensor, "n c"],
    labels: Int[Tensor, " n"],
    *,
    positive_weight: float | Tensor,
    negative_weight: float | Tensor,
) -> Float[Tensor, ""]:
    """Mean over the labelled samples of w₊·log(1 + e^(−z_y)) + w₋·Σ_{j≠y} log(1 + e^(z_j))."""
    labelled = labels != IGNORE_INDEX
    index = labels.clamp_min(0)[:, None]
    positive = F.softplus(-logits.gather(1, index))[:, 0]
    negative = F.softplus(logits).scatter(1, index, 0.0).sum(dim=1)
    per_sample = positive_weight * positive + negative_weight * negative
    return per_sample.where(labelled, 0.0).sum() / labelled.sum()


def balanced_bias(
    embedding_dim: int,
    num_classes: int,
    positive_logit: Callable[[np.ndarray], np.ndarray],
    negative_logit: Callable[[np.ndarray], np.ndarray],
    *,
    positive_weight: float | Tensor = 1.0,
    negative_weight: float | Tensor = 1.0,
) -> float:
    """The b added to logits at which attraction and repulsion balance at the start of a training.

    w₊·E[σ(−z_y)] = w₋·(C − 1)·E[σ(z_j)] where embeddings point anywhere: E is over directions spread
    uniformly over the sphere, given by the density sin^(D−2) θ of the angle. The logits are
    functions of cos θ.
    """
    theta = (np.arange(4000) + 0.5) * np.pi / 4000
    density = np.sin(theta) ** (embedding_dim - 2)
    density /= density.sum()
    positive, negative = positive_logit(np.cos(theta)), negative_logit(np.cos(theta))
    repelling = negative_weight * max(1, num_classes - 1)

    def excess(bias: float) -> float:
        attraction = positive_weight * density @ expit(-positive - bias)
        return float(repelling * density @ expit(negative + bias) - attraction)

    reach = 50.0 + np.abs(positive).max() + np.abs(negative).max()
    return float(brentq(excess, -reach, reach))
