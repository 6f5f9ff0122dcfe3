"""SFace: no softmax; each angle pulls or pushes by a force that ends where the angle is good enough."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from arcmargin.errors import UserError
from arcmargin.headers.base import IGNORE_INDEX
from arcmargin.headers.cosine import CosineHeader


class SFaceHeader(CosineHeader):
    """−σ(k·(θ − a))·s·cos θ + Σ_{j≠y} σ(k·(b − θ_j))·s·cos θ_j, the sigmoids without gradient.

    Sigmoid-constrained hypersphere loss (Zhong et al. 2021, arXiv 2205.12010, IEEE TIP 30): an
    embedding is drawn to its class down to the angle a and pushed from the others up to the angle b,
    radians; k is how sharply the force ends there. The scale only multiplies the gradient. As the
    weights are held constant, the loss is no measure of how good the embeddings are.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        k: float = 80.0,
        a: float = 0.87,
        b: float = 1.2,
        s: float = 30.0,
        init: str = "random",
    ) -> None:
        for name, value in (("k", k), ("a", a), ("b", b)):
            if not value > 0:
                raise UserError(f"{name} must be > 0, got {value}")
        super().__init__(embedding_dim, num_classes, s=s, init=init)
        self.k, self.a, self.b = float(k), float(a), float(b)

    def forward(
        self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, "n c"]:
        self._check(embeddings, labels)
        return self.scaled_cosines(embeddings)

    def loss(
        self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        logits = self(embeddings, labels)
        labelled = labels != IGNORE_INDEX
        index = labels.clamp_min(0)[:, None]
        theta = torch.acos((logits.detach() / self.s).clamp(-1, 1))
        pull = torch.sigmoid(self.k * (theta.gather(1, index) - self.a))
        push = torch.sigmoid(self.k * (self.b - theta))
        forces = push.scatter(1, index, -pull)
        return (forces * logits).sum(dim=1).where(labelled, 0.0).sum() / labelled.sum()
