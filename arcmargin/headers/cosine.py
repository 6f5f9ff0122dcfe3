"""What the heads on the sphere share: cosines, a margin on the target, how its gradient flows."""

from abc import abstractmethod
from typing import NamedTuple, TypedDict

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from arcmargin import angles
from arcmargin.errors import UserError
from arcmargin.headers.base import Header
from arcmargin.margins import check_scale


class CosineHeader(Header):
    """A head on s·cos θ_j, the scaled cosines between embeddings and class directions.

    All arithmetic is float32 or wider, whatever the autocast dtype: bfloat16 rounds 1 − 1e-3 to 1.
    """

    def __init__(
        self, embedding_dim: int, num_classes: int, *, s: float = 30.0, init: str = "random"
    ) -> None:
        super().__init__(embedding_dim, num_classes, init=init)
        check_scale(s)
        self.s = float(s)

    def logits(self, embeddings: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        self._check(embeddings)
        return self.scaled_cosines(embeddings)

    def scaled_cosines(self, embeddings: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """s·cos θ_j; the scale rides on the N×D embeddings, fewer than the N×C cosines."""
        with torch.autocast(embeddings.device.type, enabled=False):
            dtype = torch.promote_types(embeddings.dtype, self.weight.dtype)
            dtype = torch.promote_types(dtype, torch.float32)
            directions = angles.unit(self.weight.to(dtype))
            return F.linear(self.s * angles.unit(embeddings.to(dtype)), directions)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, s={float(self.s):g}"


class Margins(NamedTuple):
    """One of each for the batch, or one a sample."""

    m1: Tensor | float = 1.0
    m2: Tensor | float = 0.0  # radians
    m3: Tensor | float = 0.0


class MarginOptions(TypedDict, total=False):
    """What every TargetMarginHeader takes besides its own parameters."""

    s: float
    gradient: str
    ramp: float
    init: str


class TargetMarginHeader(CosineHeader):
    """A head that replaces the target's logit by s·(ψ(m1·θ + m2) − m3).

    gradient: "detached" lets the margin shift the target's value and not its slope, logits =
    s·(cos θ + stop_gradient(ψ − m3 − cos θ)) (characteristic gradient detachment, Liu et al. 2022,
    arXiv 2109.05565); "autograd" differentiates through ψ, whose slope in cos θ vanishes on
    plateaus and blows up at θ = 0. ramp: the fraction of the training over which the margin grows
    from none to full. init: "random" or "even" class directions.
    """

    _ramped: Tensor

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        s: float = 30.0,
        gradient: str = "detached",
        ramp: float = 0.0,
        init: str = "random",
    ) -> None:
        super().__init__(embedding_dim, num_classes, s=s, init=init)
        if gradient not in ("detached", "autograd"):
            raise UserError(f"gradient must be 'detached' or 'autograd', got '{gradient}'")
        if not 0.0 <= ramp <= 1.0:
            raise UserError(f"ramp must be in [0, 1], a fraction of the training, got {ramp}")
        self.gradient = gradient
        self.ramp = ramp
        # A tensor, so that a compiled head is not compiled anew at every step.
        self.register_buffer("_ramped", torch.tensor(1.0), persistent=False)

    def set_progress(self, fraction: float) -> None:
        if self.ramp:
            self._ramped.fill_(min(1.0, fraction / self.ramp))

    @abstractmethod
    def margins(self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> Margins:
        """The full margins of these samples; an unlabelled one comes as class 0."""

    def observe(
        self,
        embeddings: Float[Tensor, "n d"],
        target: Float[Tensor, " n"],
        labels: Int[Tensor, " n"],
    ) -> None:
        """Update running statistics from a training batch, the target's cosines among it."""

    def others(
        self, logits: Float[Tensor, "n c"], threshold: Float[Tensor, " n"], index: Int[Tensor, " n"]
    ) -> Float[Tensor, "n c"]:
        """The logits but for the target's, at `index`; `threshold` is that with its margin."""
        return logits

    def forward(
        self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, "n c"]:
        self._check(embeddings, labels)
        logits = self.scaled_cosines(embeddings)
        index = labels.clamp_min(0)
        # Indexing, for gather would save the logits, which are changed in place below.
        target = logits[torch.arange(len(index), device=index.device), index]
        cosine = target / self.s
        if self.training:
            with torch.no_grad():
                self.observe(embeddings.detach(), cosine.detach(), labels)
        shift = self.s * self.target_shift(cosine, self.margins(embeddings, index))
        logits = self.others(logits, (target + shift).detach(), index)
        # Adding in place touches N entries, and the gradient of the others passes through unseen.
        return logits.scatter_add_(1, index[:, None], shift[:, None])

    def target_shift(self, cosine: Float[Tensor, " n"], full: Margins) -> Float[Tensor, " n"]:
        """By how much the margin moves the target's cosine."""
        m1, m2, m3 = self._ramp(full)
        if self.gradient == "detached":
            cosine = cosine.detach()
        return angles.target_cosine(cosine, m1, m2, m3) - cosine

    def _ramp(self, full: Margins) -> Margins:
        if not self.ramp:
            return full
        r = self._ramped
        return Margins(1 + r * (full.m1 - 1), r * full.m2, r * full.m3)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, gradient={self.gradient}, ramp={self.ramp:g}"
