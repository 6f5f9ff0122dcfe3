"""X2-Softmax: the target's logit is a parabola in the angle, its margin grows with the angle."""

from typing import Unpack

import torch
from jaxtyping import Float, Int
from torch import Tensor

from arcmargin.errors import UserError
from arcmargin.headers.target_margin import MarginOptions, Margins, TargetMarginHeader


class X2SoftmaxHeader(TargetMarginHeader):
    """target s·(a·(θ − h)² + k), others s·cos θ_j (Xu et al. 2023, arXiv 2312.05281).

    (h, k) is the parabola's vertex, a < 0 its curvature. It falls for every θ >= 0 where h <= 0, and
    lies below the cosine for k <= 1 and a <= −1/2.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        a: float = -0.9,
        h: float = 0.0,
        k: float = 0.65,
        **options: Unpack[MarginOptions],
    ) -> None:
        for name, value, most in (("a", a, -0.5), ("h", h, 0.0), ("k", k, 1.0)):
            if not value <= most:
                raise UserError(
                    f"{name} must be <= {most:g}, got {value}: else the target would rise "
                    "with the angle, or above the cosine"
                )
        super().__init__(embedding_dim, num_classes, **options)
        self.a, self.h, self.k = float(a), float(h), float(k)

    def margins(self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> Margins:
        return Margins()  # the parabola takes their place

    def target_shift(self, cosine: Float[Tensor, " n"], full: Margins) -> Float[Tensor, " n"]:
        if self.gradient == "detached":
            cosine = cosine.detach()
        eps = torch.finfo(cosine.dtype).eps if cosine.requires_grad else 0.0  # no slope at ±1
        theta = torch.acos(cosine.clamp(-1 + eps, 1 - eps))
        return self._ramped * (self.a * (theta - self.h) ** 2 + self.k - cosine)
