"""AdaFace: the margin of a sample follows its quality, for which its embedding's norm stands."""

from typing import Unpack

import torch
from jaxtyping import Float, Int
from torch import Tensor

from arcmargin.errors import UserError
from arcmargin.headers.target_margin import MarginOptions, Margins, TargetMarginHeader


class AdaFaceHeader(TargetMarginHeader):
    """s·(cos(θ + g_angle) − g_add) with g_angle = −m·ẑ and g_add = m·ẑ + m.

    ẑ = clip((‖x‖ − μ)/(σ/h), −1, 1), without gradient, μ and σ running statistics of the norm, old
    weighted alpha (Kim et al. 2022, arXiv 2204.00964). They start at the first batch's, so
    that norms of any size are told apart from the first step; state_dict carries them.
    """

    norm_mean: Tensor
    norm_std: Tensor
    started: Tensor

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        m: float = 0.4,
        h: float = 0.333,
        alpha: float = 0.99,
        **options: Unpack[MarginOptions],
    ) -> None:
        for name, value in (("m", m), ("h", h)):
            if not value >= 0:
                raise UserError(f"{name} must be >= 0, got {value}")
        if not 0.0 <= alpha < 1.0:
            raise UserError(f"alpha must be in [0, 1), got {alpha}")
        super().__init__(embedding_dim, num_classes, **options)
        self.m, self.h, self.alpha = m, h, alpha
        self.register_buffer("norm_mean", torch.tensor(1.0))
        self.register_buffer("norm_std", torch.tensor(1.0))
        self.register_buffer("started", torch.tensor(0.0))

    def observe(
        self,
        embeddings: Float[Tensor, "n d"],
        target: Float[Tensor, " n"],
        labels: Int[Tensor, " n"],
    ) -> None:
        norms = embeddings.float().norm(dim=1).to(self.norm_mean.dtype)
        weight = 1 - self.alpha * self.started  # all of the first batch
        self.norm_mean.lerp_(norms.mean(), weight)
        self.norm_std.lerp_(norms.std(correction=0), weight)
        self.started.fill_(1.0)

    def margins(self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> Margins:
        norms = embeddings.detach().float().norm(dim=1)
        quality = self.h * (norms - self.norm_mean) / (self.norm_std + 1e-3)
        quality = quality.clamp(-1, 1)
        return Margins(m2=-self.m * quality, m3=self.m * quality + self.m)
