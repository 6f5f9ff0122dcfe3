"""MagFace: the margin grows with the embedding's magnitude, which a regulariser keeps large."""

import math
from typing import Unpack

from jaxtyping import Float, Int
from torch import Tensor

from arcmargin.errors import UserError
from arcmargin.headers.base import IGNORE_INDEX
from arcmargin.headers.target_margin import MarginOptions, Margins, TargetMarginHeader


class MagFaceHeader(TargetMarginHeader):
    """s·cos(θ + m(a)), and λ_g·g(a) in the loss (Meng et al. 2021, arXiv 2103.06627).

        m(a) = l_m + (u_m − l_m)·(a − l_a)/(u_a − l_a),   g(a) = 1/a + a/u_a²,   l_a <= a <= u_a

    a is the magnitude of the embedding. The published bounds are for D = 512, and a magnitude grows
    as √D for coordinates of one size, so a = ‖x‖·√(512/D) here: at D = 512 the paper's own.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        l_a: float = 10.0,
        u_a: float = 110.0,
        l_m: float = 0.45,
        u_m: float = 0.8,
        lambda_g: float = 35.0,
        **options: Unpack[MarginOptions],
    ) -> None:
        if not 0 < l_a < u_a:
            raise UserError(f"the magnitudes need 0 < l_a < u_a, got l_a={l_a} and u_a={u_a}")
        if not 0 <= l_m <= u_m:
            raise UserError(f"the margins need 0 <= l_m <= u_m, got l_m={l_m} and u_m={u_m}")
        if not lambda_g >= 0:
            raise UserError(f"lambda_g must be >= 0, got {lambda_g}")
        super().__init__(embedding_dim, num_classes, **options)
        self.l_a, self.u_a, self.l_m, self.u_m = l_a, u_a, l_m, u_m
        self.lambda_g = lambda_g

    def magnitude(self, embeddings: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        norms = embeddings.float().norm(dim=1) * math.sqrt(512 / self.embedding_dim)
        return norms.clamp(self.l_a, self.u_a)

    def margins(self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> Margins:
        # The margin keeps its gradient: it is how the magnitude learns which samples are easy.
        slope = (self.u_m - self.l_m) / (self.u_a - self.l_a)
        return Margins(m2=self.l_m + slope * (self.magnitude(embeddings) - self.l_a))

    def loss(
        self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        loss = super().loss(embeddings, labels)
        a = self.magnitude(embeddings)
        labelled = labels != IGNORE_INDEX
        regulariser = (1 / a + a / self.u_a**2).where(labelled, 0.0).sum() / labelled.sum()
        return loss + self.lambda_g * regulariser
