"""Per-class margins: given one by one, or larger for rarer classes (LDAM)."""

from collections.abc import Sequence
from typing import Unpack

import torch
from jaxtyping import Float, Int
from torch import Tensor

from arcmargin.errors import UserError
from arcmargin.headers.base import IGNORE_INDEX
from arcmargin.headers.target_margin import MarginOptions, Margins, TargetMarginHeader
from arcmargin.margins import check_margins


class PerClassHeader(TargetMarginHeader):
    """A margin of its own for each class.

    m2 or m3 given as a list holds each class's margin. A single number is the margin of the rarest
    class, and class c's is m·(n_min/n_c)^¼, n being the samples a class (Cao et al. 2019, LDAM,
    arXiv 1906.07413, with the cosine margin m3 = 0.5). n is `class_counts`, or where that is
    not given counted over the training batches so far, in a buffer that state_dict carries.
    """

    counts: Tensor

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        m2: float | Sequence[float] = 0.0,
        m3: float | Sequence[float] = 0.5,
        class_counts: Sequence[int] | None = None,
        **options: Unpack[MarginOptions],
    ) -> None:
        super().__init__(embedding_dim, num_classes, **options)
        for name, margin in (("m2", m2), ("m3", m3)):
            values = [margin] if isinstance(margin, int | float) else list(margin)
            for value in values:
                check_margins(**{name: value})
            one_for_all = isinstance(margin, int | float)
            if not one_for_all and len(values) != num_classes:
                raise UserError(
                    f"{name} must be a number or a list of {num_classes}, one a class, "
                    f"got {len(values)}"
                )
            self.register_buffer(name, torch.tensor(values), persistent=False)
        if class_counts is not None and (len(class_counts) != num_classes or min(class_counts) < 1):
            raise UserError(
                f"class_counts must be {num_classes} numbers >= 1, one a class, "
                f"got {list(class_counts)}"
            )
        self.counting = class_counts is None
        self.register_buffer("counts", torch.tensor(class_counts or [0] * num_classes))

    def observe(
        self,
        embeddings: Float[Tensor, "n d"],
        target: Float[Tensor, " n"],
        labels: Int[Tensor, " n"],
    ) -> None:
        if self.counting:
            seen = (labels != IGNORE_INDEX).to(self.counts.dtype)
            self.counts.index_add_(0, labels.clamp_min(0), seen)

    def margins(self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> Margins:
        return Margins(m2=self._of("m2", labels), m3=self._of("m3", labels))

    def _of(self, name: str, labels: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        margin = self.get_buffer(name)
        if len(margin) == self.num_classes > 1:
            return margin[labels]
        counts = self.counts.clamp_min(1)
        return margin * (counts.min() / counts[labels]) ** 0.25
