"""The unified head: SphereFace, ArcFace, CosFace and what lies between them, by three numbers."""

from jaxtyping import Float, Int
from torch import Tensor

from arcmargin.headers.target_margin import Margins, TargetMarginHeader
from arcmargin.margins import check_margins


class MarginHeader(TargetMarginHeader):
    """target s·(ψ(m1·θ + m2) − m3), others s·cos θ_j (Deng et al. 2019, arXiv 1801.07698, eq. 4).

    m2 is in radians. Without any margin this is NormFace (Wang et al. 2017, arXiv 1704.06369).
    shard: a run in several processes spreads the classes over them, as PartialFC does.
    """

    in_formula = True

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        s: float = 30.0,
        m1: float = 1.0,
        m2: float = 0.0,
        m3: float = 0.0,
        gradient: str = "detached",
        ramp: float = 0.0,
        init: str = "random",
        class_chunk: int | None = None,
        sample_rate: float = 1.0,
        shard: bool = False,
    ) -> None:
        check_margins(m1, m2, m3)
        super().__init__(
            embedding_dim,
            num_classes,
            s=s,
            gradient=gradient,
            ramp=ramp,
            init=init,
            class_chunk=class_chunk,
            sample_rate=sample_rate,
        )
        self.shard = shard
        self.m1, self.m2, self.m3 = float(m1), float(m2), float(m3)

    def margins(self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> Margins:
        return Margins(self.m1, self.m2, self.m3)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, m1={self.m1:g}, m2={self.m2:g}, m3={self.m3:g}"
