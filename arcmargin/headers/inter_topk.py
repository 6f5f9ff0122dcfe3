"""Inter-TopK: the hardest negatives are moved closer, on top of sub-center ArcFace."""

from typing import Unpack

import torch
from jaxtyping import Float, Int
from torch import Tensor

from arcmargin import angles
from arcmargin.errors import UserError
from arcmargin.headers.subcenter import SubcenterHeader
from arcmargin.headers.target_margin import MarginOptions, Margins


class InterTopKHeader(SubcenterHeader):
    """Sub-center ArcFace where the `hardest` negatives of a sample get s·cos(θ_j − penalty).

    Zhao et al. 2022, arXiv 2110.05042, with sub-centers as its authors train it; the penalty is in
    radians. It is ramped with the margin, and moves no sample beyond the other class's center.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        k: int = 3,
        m1: float = 1.0,
        m2: float = 0.2,
        m3: float = 0.0,
        hardest: int = 5,
        penalty: float = 0.06,
        **options: Unpack[MarginOptions],
    ) -> None:
        if hardest < 0:
            raise UserError(f"hardest, a number of classes, must be at least 0, got {hardest}")
        if not penalty >= 0:
            raise UserError(f"penalty must be >= 0, got {penalty}")
        super().__init__(embedding_dim, num_classes, k=k, m1=m1, m2=m2, m3=m3, **options)
        self.hardest, self.penalty = hardest, float(penalty)

    def others(
        self, logits: Float[Tensor, "n c"], threshold: Float[Tensor, " n"], index: Int[Tensor, " n"]
    ) -> Float[Tensor, "n c"]:
        negatives = logits.detach().scatter(1, index[:, None], -torch.inf)
        position = negatives.topk(min(self.hardest, self.num_classes - 1), dim=1).indices
        cosines = logits.gather(1, position) / self.s
        if self.gradient == "detached":
            cosines = cosines.detach()
        penalty = self._ramp(Margins(m2=self.penalty)).m2
        rise = angles.target_cosine(cosines, 1.0, -penalty, 0.0) - cosines
        return logits.scatter_add(1, position, self.s * rise)
