"""KappaFace: a class that is spread wide, or rare, gets a larger angular margin."""

import math
from collections.abc import Sequence
from typing import Unpack

import torch
from jaxtyping import Float, Int
from torch import Tensor

from arcmargin import angles
from arcmargin.errors import UserError
from arcmargin.headers.base import IGNORE_INDEX
from arcmargin.headers.target_margin import MarginOptions, Margins, TargetMarginHeader


class KappaFaceHeader(TargetMarginHeader):
    """ArcFace with m_c = m0·(γ·(1 − σ(T·z_c)) + (1 − γ)·(cos(π·n_c/K) + 1)/2) for class c.

    Oinar et al. 2023, arXiv 2201.07394. n_c is the number of the class's samples, K = 1.05·max n;
    z_c is κ_c in standard deviations from the mean over the classes, and κ = r·(D − r²)/(1 − r²) the
    concentration of the von Mises-Fisher distribution whose mean direction has length r, of the
    class's unit embeddings. The paper measures r once an epoch; here it is a running mean, each
    sample weighted `momentum` times the next one of its class, in buffers as large as the weight. n
    is `class_counts`, or where that is not given counted over the training batches so far.
    """

    sums: Tensor
    mass: Tensor
    counts: Tensor

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        m0: float = 0.8,
        temperature: float = 0.4,
        gamma: float = 0.7,
        momentum: float = 0.99,
        class_counts: Sequence[int] | None = None,
        **options: Unpack[MarginOptions],
    ) -> None:
        for name, value in (("m0", m0), ("temperature", temperature)):
            if not (math.isfinite(value) and value >= 0):
                raise UserError(f"{name} must be a finite number >= 0, got {value}")
        for name, value in (("gamma", gamma), ("momentum", momentum)):
            if not 0.0 <= value <= 1.0:
                raise UserError(f"{name} must be in [0, 1], got {value}")
        super().__init__(embedding_dim, num_classes, **options)
        if class_counts is not None and (len(class_counts) != num_classes or min(class_counts) < 1):
            raise UserError(
                f"class_counts must be {num_classes} numbers >= 1, one a class, "
                f"got {list(class_counts)}"
            )
        self.m0, self.temperature = float(m0), float(temperature)
        self.gamma, self.momentum = float(gamma), float(momentum)
        self.counting = class_counts is None
        self.register_buffer("counts", torch.tensor(class_counts or [0] * num_classes))
        self.register_buffer("sums", torch.zeros(num_classes, embedding_dim))
        self.register_buffer("mass", torch.zeros(num_classes))

    def observe(
        self,
        embeddings: Float[Tensor, "n d"],
        target: Float[Tensor, " n"],
        labels: Int[Tensor, " n"],
    ) -> None:
        index, labelled = labels.clamp_min(0), labels != IGNORE_INDEX
        seen = torch.zeros_like(self.mass).index_add_(0, index, labelled.to(self.mass.dtype))
        if self.counting:
            self.counts.add_(seen.to(self.counts.dtype))
        kept = self.momentum**seen
        directions = angles.unit(embeddings.to(self.sums.dtype)) * labelled[:, None]
        self.sums.mul_(kept[:, None]).index_add_(0, index, directions)
        self.mass.mul_(kept).add_(seen)

    def concentrations(self) -> Float[Tensor, " c"]:
        """κ of each class; NaN where fewer than two samples were seen, which have no spread."""
        length = self.sums.norm(dim=1) / self.mass.clamp_min(1)
        square = length.square().clamp_max(1 - 1e-6)
        kappa = length * (self.embedding_dim - square) / (1 - square)
        return kappa.where(self.mass > 1, math.nan)

    def margins(self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> Margins:
        kappa = self.concentrations()
        known = kappa.isfinite()
        away = (kappa - kappa.nanmean()).where(known, 0.0)
        deviation = (away.square().sum() / (known.sum() - 1).clamp_min(1)).sqrt()
        spread = 1 - torch.sigmoid(self.temperature * away / deviation.clamp_min(1e-12))
        counts = self.counts.clamp_min(1)
        rarity = (torch.cos(math.pi * counts / (1.05 * counts.max())) + 1) / 2
        return Margins(m2=(self.m0 * (self.gamma * spread + (1 - self.gamma) * rarity))[labels])
