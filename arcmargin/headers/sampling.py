"""Which classes take part in a step: Partial FC's sample."""

import torch
from jaxtyping import Int
from torch import Tensor

from arcmargin.headers.base import IGNORE_INDEX


@torch.no_grad()
def sample_classes(
    labels: Int[Tensor, " n"], num_classes: int, rate: float
) -> tuple[Int[Tensor, " k"], Int[Tensor, " n"]]:
    """The labels' classes and others drawn uniformly: rate·C classes in ascending order.

    Where the labels have more classes than that, those and no others (An et al. 2022, arXiv
    2203.15565). Second, the labels as positions among them; −1 stays.
    """
    size = max(1, round(rate * num_classes))
    labelled = labels != IGNORE_INDEX
    index = labels.clamp_min(0)
    score = torch.rand(num_classes, device=labels.device)
    score = score.scatter_reduce(0, index, labelled.to(score.dtype) * 2, "amax")
    if len(labels) > size:  # only then may there be too many, and a GPU be asked for their number
        size = max(size, int((score == 2).sum()))
    rows = score.topk(size, sorted=False).indices.sort().values
    return rows, positions_among(rows, labels)


def positions_among(rows: Int[Tensor, " k"], labels: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Of the labels' classes among `rows`, which are in ascending order; −1 stays."""
    return torch.searchsorted(rows, labels).where(labels != IGNORE_INDEX, IGNORE_INDEX)
