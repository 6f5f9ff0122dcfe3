"""What every head is: logits with the margin to train on, logits without it for all else."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from arcmargin import angles
from arcmargin.errors import UserError

IGNORE_INDEX = -1  # a sample with this label has no target and no part in the loss


class Header(nn.Module, ABC):
    """The last layer: from embeddings to one logit a class.

    `weight` holds a direction a class. A head outside the margin formula is a subclass in a file of
    its own: it needs `logits` and `forward`, and its own `loss` where that is not cross-entropy.

    in_formula: the target's logit is s·(ψ(m1·θ + m2) − m3) with the same s, m1, m2 and m3 for every
    sample, and the others are s·cos θ_j. What is predicted from margins holds for such a head alone,
    and with m1 = 1 and m2 = m3 = 0 it is a baseline. shard: while several processes train, its
    classes are spread over them by PartialFC.
    """

    in_formula: bool = False
    shard: bool = False

    def __init__(self, embedding_dim: int, num_classes: int, *, init: str = "random") -> None:
        super().__init__()
        for name, value in (("embedding_dim", embedding_dim), ("num_classes", num_classes)):
            if value < 1:
                raise UserError(f"{name} must be at least 1, got {value}")
        if init not in ("random", "even"):
            raise UserError(f"init must be 'random' or 'even', got '{init}'")
        self.embedding_dim = embedding_dim
        self.num_classes = num_classes
        self.weight = nn.Parameter(self._initial_directions(init))

    def _initial_directions(self, init: str) -> Float[Tensor, "rows d"]:
        if init == "even":
            return angles.even_directions(self.num_classes, self.embedding_dim)
        return angles.unit(torch.randn(self.num_classes, self.embedding_dim))

    @abstractmethod
    def forward(
        self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, "n c"]:
        """Training logits, with the margin on the target's; a row without a label means nothing."""

    @abstractmethod
    def logits(self, embeddings: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Logits without margin or labels: for accuracy and inference."""

    def loss(
        self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        """Mean loss over the labelled samples of the batch; the label −1 means none."""
        return F.cross_entropy(self(embeddings, labels), labels, ignore_index=IGNORE_INDEX)

    def predict(self, embeddings: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
        """The class of the largest logit."""
        return self.logits(embeddings).argmax(dim=1)

    @property
    def directions(self) -> Float[Tensor, "c d"]:
        """The unit direction of each class."""
        return angles.unit(self.weight.detach().float())

    def set_progress(self, fraction: float) -> None:
        """Told before each training step how much of the training is done, from 0 to 1.

        A head that is never told behaves as at the end of the training: its full margin acts.
        """

    def extra_repr(self) -> str:
        return f"embedding_dim={self.embedding_dim}, num_classes={self.num_classes}"

    def _check(
        self, embeddings: Tensor, labels: Tensor | None = None, num_classes: int | None = None
    ) -> None:
        """Raise UserError unless the tensors are (N, D) floating point and (N,) int64 in range."""
        if embeddings.ndim != 2 or embeddings.shape[1] != self.embedding_dim:
            raise UserError(
                f"embeddings must have shape (N, {self.embedding_dim}), "
                f"got {tuple(embeddings.shape)}"
            )
        if not embeddings.is_floating_point():
            raise UserError(f"embeddings must be floating point, got {embeddings.dtype}")
        if labels is None:
            return
        if labels.shape != embeddings.shape[:1]:
            raise UserError(
                f"labels must have shape ({len(embeddings)},), one a sample, "
                f"got {tuple(labels.shape)}"
            )
        if labels.dtype != torch.int64:
            raise UserError(f"labels must be int64, got {labels.dtype}; convert with labels.long()")
        self._check_range(labels, num_classes or self.num_classes)

    def _check_range(self, labels: Tensor, num_classes: int) -> None:
        # On a GPU looking at the values would stall it; there the gather itself asserts the range.
        if labels.device.type != "cpu" or torch.compiler.is_compiling():
            return
        outside = (labels < IGNORE_INDEX) | (labels >= num_classes)
        try:
            any_outside = bool(outside.any())
        except RuntimeError:  # under torch.func.vmap values cannot be looked at
            return
        if any_outside:
            raise UserError(
                f"label {int(labels[outside][0])} is out of range for {num_classes} classes; "
                f"expected 0 to {num_classes - 1}, or {IGNORE_INDEX} for no label"
            )
