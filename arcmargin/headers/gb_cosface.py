"""GB-CosFace: positive and negative similarities on either side of one boundary for all samples."""

from collections.abc import Sequence
from typing import Unpack

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from arcmargin.errors import UserError
from arcmargin.headers.base import IGNORE_INDEX
from arcmargin.headers.target_margin import MarginOptions, Margins, TargetMarginHeader
from arcmargin.margins import check_margins


class GBCosFaceHeader(TargetMarginHeader):
    """½·log(1 + e^(2s(v − p + m3))) + ½·log(1 + e^(2s(n − v + m3))), a global boundary CosFace.

        p = cos θ,   n = log(Σ_{j≠y} exp(s·cos θ_j))/s,   v = (1 − α)·(p + n)/2 + α·v_global

    (Chen et al. 2022, arXiv 2111.11186, ACCV). v has no gradient; v_global is the running mean of
    (p + n)/2 over the batches, each weighted `rate`, within `bounds`: a buffer. With α = 0 this is
    CosFace with the margin 2·m3, whose logits `forward` gives.
    """

    boundary: Tensor
    started: Tensor

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        m3: float = 0.16,
        alpha: float = 0.15,
        bounds: Sequence[float] = (0.5, 0.7),
        rate: float = 0.01,
        **options: Unpack[MarginOptions],
    ) -> None:
        check_margins(m3=m3)
        for name, value in (("alpha", alpha), ("rate", rate)):
            if not 0.0 <= value <= 1.0:
                raise UserError(f"{name} must be in [0, 1], got {value}")
        if len(bounds) != 2 or not -1.0 <= bounds[0] <= bounds[1] <= 1.0:
            raise UserError(f"bounds must be two cosines, the lower one first, got {list(bounds)}")
        super().__init__(embedding_dim, num_classes, **options)
        if num_classes < 2:
            raise UserError(
                f"GB-CosFace needs num_classes at least 2, got {num_classes}: "
                "its boundary lies between a class and the others"
            )
        self.m3, self.alpha, self.rate = float(m3), float(alpha), float(rate)
        self.bounds = (float(bounds[0]), float(bounds[1]))
        self.register_buffer("boundary", torch.tensor(sum(self.bounds) / 2))
        self.register_buffer("started", torch.tensor(0.0))

    @property
    def plain_others(self) -> bool:
        return False  # the loss is no softmax

    def margins(self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> Margins:
        return Margins(m3=2 * self.m3)

    def loss(
        self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        logits = self(embeddings, labels)
        labelled = labels != IGNORE_INDEX
        index = labels.clamp_min(0)[:, None]
        margin = self.s * self._ramp(Margins(m3=self.m3)).m3
        positive = logits.gather(1, index)[:, 0] + 2 * margin
        negative = logits.scatter(1, index, -torch.inf).logsumexp(dim=1)
        between = (positive + negative).detach() / 2
        boundary = self._global_boundary(between / self.s, labelled)
        between = torch.lerp(between, (self.s * boundary).to(between.dtype), self.alpha)
        losses = F.softplus(2 * (between - positive + margin))
        losses = (losses + F.softplus(2 * (negative - between + margin))) / 2
        return losses.where(labelled, 0.0).sum() / labelled.sum()

    @torch.no_grad()
    def _global_boundary(self, between: Float[Tensor, " n"], labelled: Tensor) -> Float[Tensor, ""]:
        """The boundary of this step; in training the batch moves that of the next."""
        if not self.training:
            return self.boundary.clamp(*self.bounds)
        mean = between.where(labelled, 0.0).sum() / labelled.sum().clamp_min(1)
        mean = mean.to(self.boundary.dtype)
        current = torch.where(self.started > 0, self.boundary, mean).clamp(*self.bounds)
        self.boundary.copy_(torch.lerp(current, mean, self.rate))
        self.started.fill_(1.0)
        return current
