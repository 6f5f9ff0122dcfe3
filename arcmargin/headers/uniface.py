"""UniFace: one threshold between all positive and all negative similarities."""

from typing import Unpack

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from arcmargin.errors import UserError
from arcmargin.headers.binary import balanced_bias, one_vs_all_loss
from arcmargin.headers.target_margin import MarginOptions, Margins, TargetMarginHeader
from arcmargin.margins import check_margins


class UniFaceHeader(TargetMarginHeader):
    """log(1 + exp(b − s·(cos θ − m3))) + λ·Σ_{j≠y} log(1 + exp(s·cos θ_j − b)), b learned.

    The unified cross-entropy loss (Zhou et al. 2023, UniFace, ICCV), λ = `negative_weight`. b
    starts where attraction and repulsion balance: 13.2 for the published s = 64, D = 512 and 10,572
    classes, where the authors' log(10·C) is 11.6, and right on a circle too, where that is not.
    The logits are s·cos θ_j − b.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        m3: float = 0.4,
        negative_weight: float = 1.0,
        **options: Unpack[MarginOptions],
    ) -> None:
        check_margins(m3=m3)
        if not negative_weight > 0:
            raise UserError(f"negative_weight must be > 0, got {negative_weight}")
        super().__init__(embedding_dim, num_classes, **options)
        self.m3 = float(m3)
        self.negative_weight = float(negative_weight)
        start = -balanced_bias(
            embedding_dim,
            num_classes,
            lambda cosine: self.s * (cosine - m3),
            lambda cosine: self.s * cosine,
            negative_weight=negative_weight,
        )
        self.bias = nn.Parameter(torch.tensor(start))

    def margins(self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> Margins:
        return Margins(m3=self.m3)

    def logits(self, embeddings: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        return super().logits(embeddings) - self.bias

    def forward(
        self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, "n c"]:
        return super().forward(embeddings, labels) - self.bias

    def loss(
        self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        logits = self(embeddings, labels)
        return one_vs_all_loss(
            logits, labels, positive_weight=1.0, negative_weight=self.negative_weight
        )
