"""ElasticFace: each sample's margin is drawn from a normal distribution."""

from typing import Unpack

import torch
from jaxtyping import Float, Int
from torch import Tensor

from arcmargin.errors import UserError
from arcmargin.headers.target_margin import MarginOptions, Margins, TargetMarginHeader
from arcmargin.margins import check_margins


class ElasticHeader(TargetMarginHeader):
    """The margin, m2 ~ N(m2, std_m2²) and m3 ~ N(m3, std_m3²), drawn anew for each sample.

    ElasticFace-Arc draws m2, ElasticFace-Cos m3 (Boutros et al. 2022, arXiv 2109.09416). In
    evaluation mode the margins are the means.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        m1: float = 1.0,
        m2: float = 0.0,
        m3: float = 0.0,
        std_m2: float = 0.0,
        std_m3: float = 0.0,
        **options: Unpack[MarginOptions],
    ) -> None:
        check_margins(m1, m2, m3)
        for name, value in (("std_m2", std_m2), ("std_m3", std_m3)):
            if not value >= 0:
                raise UserError(f"{name} must be >= 0, got {value}")
        super().__init__(embedding_dim, num_classes, **options)
        self.m1, self.m2, self.m3 = float(m1), float(m2), float(m3)
        self.std_m2, self.std_m3 = std_m2, std_m3

    def margins(self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> Margins:
        if not self.training:
            return Margins(self.m1, self.m2, self.m3)
        noise = torch.randn(2, len(labels), device=labels.device)
        return Margins(self.m1, self.m2 + self.std_m2 * noise[0], self.m3 + self.std_m3 * noise[1])
