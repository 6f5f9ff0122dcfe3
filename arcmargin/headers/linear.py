"""The plain softmax layer, with nothing normalised: the baseline before all margins."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from arcmargin.headers.base import Header


class LinearHeader(Header):
    """logits = W·x, without bias, so that a class is still a direction from the origin."""

    def logits(self, embeddings: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        self._check(embeddings)
        with torch.autocast(embeddings.device.type, enabled=False):
            return F.linear(embeddings.to(self.weight.dtype), self.weight)

    def forward(
        self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, "n c"]:
        self._check(embeddings, labels)
        return self.logits(embeddings)
