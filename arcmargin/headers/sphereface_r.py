"""SphereFace-R: two gentler ways to multiply the angle."""

from typing import Unpack

import torch
from jaxtyping import Float, Int
from torch import Tensor

from arcmargin import angles
from arcmargin.errors import UserError
from arcmargin.headers.target_margin import MarginOptions, Margins, TargetMarginHeader
from arcmargin.margins import check_margins


class SphereFaceRHeader(TargetMarginHeader):
    """SphereFace Revived with hard feature normalisation (Liu et al. 2022, arXiv 2109.05565).

    version 1: target s·cos(min(m1·θ, π)), others s·cos θ_j. version 2: target s·cos θ, others
    s·cos(θ_j/m1), which multiplies the target's angle by m1 relative to theirs and never leaves
    [0, π]; by definition it needs the arc cosine of the whole N×C matrix.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        m1: float = 1.4,
        version: int = 2,
        **options: Unpack[MarginOptions],
    ) -> None:
        check_margins(m1)
        if version not in (1, 2):
            raise UserError(f"version must be 1 or 2, got {version}")
        self.version = version
        super().__init__(embedding_dim, num_classes, **options)
        self.m1 = float(m1)

    @property
    def plain_others(self) -> bool:
        return self.version == 1

    def margins(self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> Margins:
        return Margins(self.m1)

    def target_shift(self, cosine: Float[Tensor, " n"], full: Margins) -> Float[Tensor, " n"]:
        if self.version == 2:
            return torch.zeros_like(cosine)
        # ψ is the cosine up to φ = π and below −1 from there on.
        lowest = -1 - (cosine.detach() if self.gradient == "detached" else cosine)
        return torch.maximum(super().target_shift(cosine, full), lowest)

    def others(
        self, logits: Float[Tensor, "n c"], threshold: Float[Tensor, " n"], index: Int[Tensor, " n"]
    ) -> Float[Tensor, "n c"]:
        if self.version == 1:
            return logits
        cosines = (logits.detach() if self.gradient == "detached" else logits) / self.s
        m1 = self._ramp(Margins(self.m1)).m1
        rise = self.s * (angles.target_cosine(cosines, 1 / m1, 0.0, 0.0) - cosines)
        return logits + rise.scatter(1, index[:, None], 0.0)
