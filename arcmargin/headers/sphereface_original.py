"""SphereFace as first published: embeddings of any length, the margin annealed in."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from arcmargin import angles
from arcmargin.headers.base import Header
from arcmargin.margins import check_margins

# The annealing of the authors' training, λ = max(5, 1000/(1 + 0.12·step)) over 28,000 steps.
LAMBDA_BASE, LAMBDA_GAMMA, LAMBDA_MIN, STEPS = 1000.0, 0.12, 5.0, 28_000


class SphereFaceOriginalHeader(Header):
    """target ‖x‖·(λ·cos θ + ψ(m1·θ))/(1 + λ), others ‖x‖·cos θ_j.

    Liu et al. 2017, arXiv 1704.08063, eq. 7, with m1 = 4; λ as in the authors' solver. It
    falls from 1000 to 5 in the first 6 % of the training, whatever its length: set_progress maps
    the run onto the published 28,000 steps. A head that is never told has λ = 5. Gradients are
    autograd's, there being no scale but the norm, through which they must flow.
    """

    lam: Tensor

    def __init__(
        self, embedding_dim: int, num_classes: int, *, m1: float = 4.0, init: str = "random"
    ) -> None:
        check_margins(m1)
        super().__init__(embedding_dim, num_classes, init=init)
        self.m1 = float(m1)
        self.register_buffer("lam", torch.tensor(LAMBDA_MIN), persistent=False)

    def set_progress(self, fraction: float) -> None:
        self.lam.fill_(max(LAMBDA_MIN, LAMBDA_BASE / (1 + LAMBDA_GAMMA * STEPS * fraction)))

    def logits(self, embeddings: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        self._check(embeddings)
        with torch.autocast(embeddings.device.type, enabled=False):
            dtype = torch.promote_types(embeddings.dtype, self.weight.dtype)
            dtype = torch.promote_types(dtype, torch.float32)
            return F.linear(embeddings.to(dtype), angles.unit(self.weight.to(dtype)))

    def forward(
        self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, "n c"]:
        self._check(embeddings, labels)
        logits = self.logits(embeddings)
        index = labels.clamp_min(0)
        norm = torch.linalg.vector_norm(embeddings.to(logits.dtype), dim=1)
        target = logits[torch.arange(len(index), device=index.device), index]
        cosine = target / norm.clamp_min(1e-12)
        shift = norm * (angles.target_cosine(cosine, self.m1, 0.0, 0.0) - cosine) / (1 + self.lam)
        return logits.scatter_add_(1, index[:, None], shift[:, None])
