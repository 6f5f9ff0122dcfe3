"""What the heads on the sphere share: scaled cosines, in a precision that can hold them."""

import torch
from jaxtyping import Float
from torch import Tensor

from arcmargin.errors import UserError
from arcmargin.headers.base import Header
from arcmargin.headers.scaled_cosines import scaled_cosines
from arcmargin.margins import check_scale


class CosineHeader(Header):
    """A head on s·cos θ_j, the scaled cosines between embeddings and class directions.

    All arithmetic is float32 or wider, whatever the autocast dtype: bfloat16 rounds 1 − 1e-3 to 1.
    class_chunk: the loss and its gradient are computed for so many classes at a time, so that the
    N×C matrix never exists, at the price of computing its logits twice; not under torch.func.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        s: float = 30.0,
        init: str = "random",
        class_chunk: int | None = None,
    ) -> None:
        super().__init__(embedding_dim, num_classes, init=init)
        check_scale(s)
        if class_chunk is not None and class_chunk < 1:
            raise UserError(f"class_chunk must be at least 1 class, or null, got {class_chunk}")
        self.s: float | Tensor = float(s)
        self.class_chunk = class_chunk

    def logits(self, embeddings: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        self._check(embeddings)
        return self.scaled_cosines(embeddings)

    def scaled_cosines(self, embeddings: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """s·cos θ_j."""
        with torch.autocast(embeddings.device.type, enabled=False):
            return scaled_cosines(*self._wide(embeddings), self.s)

    def _wide(
        self, embeddings: Float[Tensor, "n d"]
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "rows d"]]:
        """Embeddings and weight in the precision of the head's arithmetic."""
        dtype = torch.promote_types(embeddings.dtype, self.weight.dtype)
        dtype = torch.promote_types(dtype, torch.float32)
        return embeddings.to(dtype), self.weight.to(dtype)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, s={float(self.s):g}"
