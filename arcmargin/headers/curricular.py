"""CurricularFace: hard classes count less early in the training and more later."""

from typing import Unpack

import torch
from jaxtyping import Float, Int
from torch import Tensor

from arcmargin.errors import UserError
from arcmargin.headers.base import IGNORE_INDEX
from arcmargin.headers.target_margin import MarginOptions, Margins, TargetMarginHeader
from arcmargin.margins import check_margins


class CurricularHeader(TargetMarginHeader):
    """cos θ_j becomes cos θ_j·(t + cos θ_j) for the classes j that beat the margin target.

    t is the running mean of the target's cosine, t ← α·t + (1 − α)·mean(cos θ_y), from t = 0: a
    buffer (Huang et al. 2020, arXiv 2004.00288).
    """

    t: Tensor

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        m1: float = 1.0,
        m2: float = 0.5,
        m3: float = 0.0,
        alpha: float = 0.99,
        **options: Unpack[MarginOptions],
    ) -> None:
        check_margins(m1, m2, m3)
        if not 0.0 <= alpha < 1.0:
            raise UserError(f"alpha must be in [0, 1), got {alpha}")
        super().__init__(embedding_dim, num_classes, **options)
        self.m1, self.m2, self.m3 = float(m1), float(m2), float(m3)
        self.alpha = alpha
        self.register_buffer("t", torch.tensor(0.0))

    def margins(self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> Margins:
        return Margins(self.m1, self.m2, self.m3)

    def observe(
        self,
        embeddings: Float[Tensor, "n d"],
        target: Float[Tensor, " n"],
        labels: Int[Tensor, " n"],
    ) -> None:
        labelled = labels != IGNORE_INDEX
        mean = target.where(labelled, 0.0).sum() / labelled.sum().clamp_min(1)
        self.t.lerp_(mean.to(self.t.dtype), 1 - self.alpha)

    def others(
        self, logits: Float[Tensor, "n c"], threshold: Float[Tensor, " n"], index: Int[Tensor, " n"]
    ) -> Float[Tensor, "n c"]:
        hard = (logits > threshold[:, None]).scatter(1, index[:, None], False)
        return torch.where(hard, logits * (self.t + logits / self.s), logits)
