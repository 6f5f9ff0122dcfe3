"""SphereFace2: one binary question a class instead of a softmax."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from arcmargin.errors import UserError
from arcmargin.headers.base import IGNORE_INDEX
from arcmargin.headers.binary import one_vs_all_loss
from arcmargin.headers.cosine import CosineHeader
from arcmargin.margins import check_margins


class SphereFace2Header(CosineHeader):
    """λ/s·log(1 + exp(−z_y)) + (1 − λ)/s·Σ_{j≠y} log(1 + exp(z_j)), a binary loss for each class.

        z_y = s·(g(cos θ) − m3) + b,   z_j = s·(g(cos θ_j) + m3) + b,   g(z) = 2·((z + 1)/2)^t − 1

    SphereFace2-C (Wen et al. 2022, arXiv 2108.01513, §3.2); the paper's r is s, λ is `lam`. b is
    learned and starts where attraction and repulsion balance when all cosines are 0. `loss_weight`
    multiplies the loss, 50 in the authors' code, which brings its gradient back to that of a
    softmax. gradient: "detached" gives g the slope 1 of the plain cosine, "autograd" its own.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        s: float = 30.0,
        m3: float = 0.4,
        lam: float = 0.7,
        t: float = 3.0,
        loss_weight: float = 50.0,
        gradient: str = "detached",
        init: str = "random",
    ) -> None:
        check_margins(m3=m3)
        if not 0 < lam < 1:
            raise UserError(f"lam must be between 0 and 1, got {lam}")
        if not t > 0:
            raise UserError(f"t must be > 0, got {t}")
        if gradient not in ("detached", "autograd"):
            raise UserError(f"gradient must be 'detached' or 'autograd', got '{gradient}'")
        super().__init__(embedding_dim, num_classes, s=s, init=init)
        self.m3, self.lam, self.t = float(m3), float(lam), float(t)
        self.loss_weight = float(loss_weight)
        self.gradient = gradient
        self.bias = nn.Parameter(torch.tensor(self._balanced_bias()))

    def _balanced_bias(self) -> float:
        """b with λ·σ(−z_y) = (1−λ)·(C−1)·σ(z_j) at cos θ = 0: a quadratic equation in e^b."""
        g = 2 * 0.5**self.t - 1
        positive, negative = self.s * (g - self.m3), self.s * (g + self.m3)
        ratio = self.lam / ((1 - self.lam) * max(1, self.num_classes - 1))
        root = math.sqrt((1 - ratio) ** 2 + 4 * ratio * math.exp(positive - negative))
        # The positive root, written so that neither of its terms cancels the other.
        if ratio <= 1:
            return math.log(2 * ratio / (1 - ratio + root)) - negative
        return math.log((ratio - 1 + root) / 2) - positive

    def logits(self, embeddings: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        self._check(embeddings)
        return self._eased(self.scaled_cosines(embeddings)) + self.bias

    def forward(
        self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, "n c"]:
        self._check(embeddings, labels)
        logits = self._eased(self.scaled_cosines(embeddings)) + self.bias + self.s * self.m3
        labelled = labels != IGNORE_INDEX
        shift = torch.where(labelled, -2 * self.s * self.m3, 0.0).to(logits.dtype)
        return logits.scatter_add(1, labels.where(labelled, 0)[:, None], shift[:, None])

    def _eased(self, logits: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        """s·g(cos θ_j), with the slope of s·cos θ_j unless gradient is "autograd"."""
        cosines = (logits.detach() if self.gradient == "detached" else logits) / self.s
        eased = 2 * ((cosines + 1).clamp_min(0) / 2) ** self.t - 1
        return logits + self.s * (eased - cosines)

    def loss(
        self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        weight = self.loss_weight / self.s
        return one_vs_all_loss(
            self(embeddings, labels),
            labels,
            positive_weight=weight * self.lam,
            negative_weight=weight * (1 - self.lam),
        )
