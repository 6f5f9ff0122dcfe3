"""AdaCos: no margin, and a scale that finds itself."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from arcmargin import angles
from arcmargin.errors import UserError
from arcmargin.headers.base import IGNORE_INDEX
from arcmargin.headers.cosine import CosineHeader
from arcmargin.headers.softmax import log_sum_exp_of_others, softmax_losses


class AdaCosHeader(CosineHeader):
    """s·cos θ_j with a scale set anew at each training step (Zhang et al. 2019, arXiv 1905.00292).

        s ← log B / cos(min(π/4, median θ)),   B = mean over the batch of Σ_{k≠y} exp(s·cos θ_k)

    starting from √2·log(C − 1). `s` is a buffer: state_dict carries it.
    """

    s: Tensor  # adapts here, a plain number in every other head

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        init: str = "random",
        class_chunk: int | None = None,
    ) -> None:
        super().__init__(embedding_dim, num_classes, init=init, class_chunk=class_chunk)
        if num_classes < 3:
            raise UserError(f"AdaCos needs num_classes >= 3, got {num_classes}: log(C − 1) is 0")
        del self.s
        self.register_buffer("s", torch.tensor(math.sqrt(2) * math.log(num_classes - 1)))

    def forward(
        self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, "n c"]:
        self._check(embeddings, labels)
        logits = self.scaled_cosines(embeddings)
        if not self.training:
            return logits
        index = labels.clamp_min(0)[:, None]
        target = logits.detach().gather(1, index)[:, 0]
        # Without the target's term, and as logarithms, so that no exponential overflows.
        others = logits.detach().scatter(1, index, -math.inf).logsumexp(dim=1)
        before, self.s = self.s, self._adapted_scale(target, others, labels)
        return logits * (self.s / before)

    def loss(
        self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        if self.class_chunk is None:
            return super().loss(embeddings, labels)
        self._check(embeddings, labels)
        labelled = labels != IGNORE_INDEX
        with torch.autocast(embeddings.device.type, enabled=False):
            x, weight = self._wide(embeddings)
            if self.training:
                with torch.no_grad():
                    u, index = self.s * angles.unit(x), labels.clamp_min(0)
                    target = torch.linalg.vecdot(u, angles.unit(weight[index]))
                    others = log_sum_exp_of_others(u, weight, index, self.class_chunk)
                    self.s = self._adapted_scale(target, others, labels)
            none = torch.zeros_like(x[:, 0])
            losses = softmax_losses(x, weight, labels, none, s=self.s, class_chunk=self.class_chunk)
        return losses.where(labelled, 0.0).sum() / labelled.sum()

    def _adapted_scale(
        self, target: Float[Tensor, " n"], others: Float[Tensor, " n"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        """From the target's logits and the log-sum-exp of the others, at the scale so far."""
        labelled = labels != IGNORE_INDEX
        log_mean = others.where(labelled, -math.inf).logsumexp(dim=0) - labelled.sum().log()
        theta = torch.acos((target / self.s).clamp(-1, 1)).where(labelled, math.nan)
        scale = log_mean / torch.cos(theta.nanmedian().clamp_max(math.pi / 4))
        # A batch without labels leaves the scale as it is; so does log B <= 0, where none exists.
        return torch.where(scale > 0, scale, self.s).to(self.s.dtype)
