"""SphereFace2: one binary question a class instead of a softmax."""

from typing import Unpack

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from arcmargin.errors import UserError
from arcmargin.headers.binary import balanced_bias, one_vs_all_loss
from arcmargin.headers.target_margin import MarginOptions, Margins, TargetMarginHeader
from arcmargin.margins import check_margins


class SphereFace2Header(TargetMarginHeader):
    """λ/s·log(1 + exp(−z_y)) + (1 − λ)/s·Σ_{j≠y} log(1 + exp(z_j)), a binary loss for each class.

        z_y = s·(g(cos θ) − m3) + b,   z_j = s·(g(cos θ_j) + m3) + b,   g(z) = 2·((z + 1)/2)^t − 1

    SphereFace2-C (Wen et al. 2022, arXiv 2108.01513); the paper's r is s, λ is `lam`. b is
    learned. It starts where attraction and repulsion balance, as in the paper, but over directions
    spread uniformly in D dimensions: the paper puts all cosines at 0, the limit of large D.
    `loss_weight` multiplies the loss, 50 in the authors' code, which brings its gradient back to
    that of a softmax. gradient: "detached" gives g the slope 1 of the plain cosine, "autograd" its
    own.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        m3: float = 0.4,
        lam: float = 0.7,
        t: float = 3.0,
        loss_weight: float = 50.0,
        **options: Unpack[MarginOptions],
    ) -> None:
        check_margins(m3=m3)
        if not 0 < lam < 1:
            raise UserError(f"lam must be between 0 and 1, got {lam}")
        if not t > 0:
            raise UserError(f"t must be > 0, got {t}")
        super().__init__(embedding_dim, num_classes, **options)
        self.m3, self.lam, self.t = float(m3), float(lam), float(t)
        self.loss_weight = float(loss_weight)
        start = balanced_bias(
            embedding_dim,
            num_classes,
            lambda cosine: self.s * (2 * ((cosine + 1) / 2) ** t - 1 - m3),
            lambda cosine: self.s * (2 * ((cosine + 1) / 2) ** t - 1 + m3),
            positive_weight=lam,
            negative_weight=1 - lam,
        )
        self.bias = nn.Parameter(torch.tensor(start))

    def scaled_cosines(self, embeddings: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """s·g(cos θ_j)."""
        logits = super().scaled_cosines(embeddings)
        cosines = (logits.detach() if self.gradient == "detached" else logits) / self.s
        eased = 2 * ((cosines + 1).clamp_min(0) / 2) ** self.t - 1
        return logits + self.s * (eased - cosines)

    def margins(self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> Margins:
        return Margins(m3=2 * self.m3)  # forward lifts all logits by m3, the target's among them

    def logits(self, embeddings: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        return super().logits(embeddings) + self.bias

    def forward(
        self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, "n c"]:
        m3 = self._ramp(Margins(m3=self.m3)).m3
        return super().forward(embeddings, labels) + (self.s * m3 + self.bias)

    def loss(
        self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        return one_vs_all_loss(
            self(embeddings, labels),
            labels,
            positive_weight=self.loss_weight / self.s * self.lam,
            negative_weight=self.loss_weight / self.s * (1 - self.lam),
        )
