"""MV-Softmax: the classes that a sample is mistaken for count more."""

from typing import Unpack

import torch
from jaxtyping import Float, Int
from torch import Tensor

from arcmargin.errors import UserError
from arcmargin.headers.target_margin import MarginOptions, Margins, TargetMarginHeader
from arcmargin.margins import check_margins


class MVSoftmaxHeader(TargetMarginHeader):
    """The logit of a class j that beats the margin target rises, by s·t or by s·t·(cos θ_j + 1).

    The two are the paper's fixed and adaptive weights (Wang et al. 2020, arXiv 1912.00833).
    With m3 this is MV-AM-Softmax, with m2 MV-Arc-Softmax.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        m1: float = 1.0,
        m2: float = 0.5,
        m3: float = 0.0,
        t: float = 0.2,
        adaptive: bool = True,
        **options: Unpack[MarginOptions],
    ) -> None:
        check_margins(m1, m2, m3)
        if t < 0:
            raise UserError(f"t must be >= 0, got {t}")
        super().__init__(embedding_dim, num_classes, **options)
        self.m1, self.m2, self.m3 = float(m1), float(m2), float(m3)
        self.t = t
        self.adaptive = adaptive

    def margins(self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> Margins:
        return Margins(self.m1, self.m2, self.m3)

    def others(
        self, logits: Float[Tensor, "n c"], threshold: Float[Tensor, " n"], index: Int[Tensor, " n"]
    ) -> Float[Tensor, "n c"]:
        hard = (logits > threshold[:, None]).scatter(1, index[:, None], False)
        rise = self.t * (logits + self.s if self.adaptive else self.s)
        return torch.where(hard, logits + rise, logits)
