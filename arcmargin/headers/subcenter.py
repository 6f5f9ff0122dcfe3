"""Sub-center ArcFace: several directions a class, the nearest counts."""

from typing import Unpack

import torch
from jaxtyping import Float, Int
from torch import Tensor

from arcmargin import angles
from arcmargin.errors import UserError
from arcmargin.headers.target_margin import MarginOptions, Margins, TargetMarginHeader
from arcmargin.margins import check_margins


class SubcenterHeader(TargetMarginHeader):
    """cos θ_j = max over k of cos θ_jk, then the margin (Deng et al. 2020, ECCV).

    With k = 1 this is MarginHeader. The direction of a class is that of its dominant sub-center,
    the one that was nearest to most of its recent samples.
    """

    hits: Tensor

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        k: int = 3,
        m1: float = 1.0,
        m2: float = 0.5,
        m3: float = 0.0,
        **options: Unpack[MarginOptions],
    ) -> None:
        if k < 1:
            raise UserError(f"k, the sub-centers a class, must be at least 1, got {k}")
        check_margins(m1, m2, m3)
        self.k = k
        super().__init__(embedding_dim, num_classes, **options)
        self.m1, self.m2, self.m3 = float(m1), float(m2), float(m3)
        self.register_buffer("hits", torch.zeros(num_classes, k))

    def _initial_directions(self, init: str) -> Float[Tensor, "c_times_k d"]:
        """Row j·k + i is sub-center i of class j; with "even" they surround the class's own."""
        centres = super()._initial_directions(init).repeat_interleave(self.k, dim=0)
        spread = 0.0 if self.k == 1 else (0.1 if init == "even" else 1.0)
        return angles.unit(centres + spread * angles.unit(torch.randn_like(centres)))

    def scaled_cosines(self, embeddings: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        cosines = super().scaled_cosines(embeddings)
        return cosines.view(-1, self.num_classes, self.k).max(dim=2).values

    def observe(
        self,
        embeddings: Float[Tensor, "n d"],
        target: Float[Tensor, " n"],
        labels: Int[Tensor, " n"],
    ) -> None:
        own = self.weight.view(self.num_classes, self.k, -1)[labels.clamp_min(0)]
        own = own / own.norm(dim=2, keepdim=True)
        nearest = torch.einsum("nd,nkd->nk", embeddings.to(own.dtype), own).argmax(dim=1)
        position = labels.clamp_min(0) * self.k + nearest
        self.hits.mul_(0.99).view(-1).index_add_(0, position, (labels >= 0).to(self.hits.dtype))

    def margins(self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> Margins:
        return Margins(self.m1, self.m2, self.m3)

    @property
    def directions(self) -> Float[Tensor, "c d"]:
        dominant = torch.arange(self.num_classes, device=self.hits.device) * self.k
        return super().directions[dominant + self.hits.argmax(dim=1)]
