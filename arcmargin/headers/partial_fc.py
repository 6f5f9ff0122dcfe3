"""Partial FC: the classes of a margin head spread over processes, each softmax over all of them."""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor, nn

from arcmargin.errors import UserError
from arcmargin.headers.base import IGNORE_INDEX
from arcmargin.headers.margin import MarginHeader


class PartialFC(nn.Module):
    """One margin head whose classes are split over the processes of a group, in order of rank.

    Each process holds the directions of its own classes and nothing of the others'. A step gathers
    the embeddings and labels of all processes, each computes its classes' logits, and the
    log-sum-exp is taken over the processes: loss and gradients are those of a single MarginHeader
    with all classes and the whole batch. With `sample_rate` below 1 each process samples among its
    own classes (An et al. 2021, arXiv 2010.05222, and 2022, arXiv 2203.15565).

        dist.init_process_group("nccl")
        backbone = DistributedDataParallel(backbone.cuda())
        header = PartialFC(512, 1_000_000, m2=0.5, s=64.0, sample_rate=0.1).cuda()
        optimizer = torch.optim.SGD([*backbone.parameters(), *header.parameters()], lr=0.1)
        for images, labels in loader:  # batches of one size in all processes
            optimizer.zero_grad()
            header.loss(backbone(images), labels).backward()
            optimizer.step()

    The header itself is not wrapped in DistributedDataParallel: its parameters differ between the
    processes. `averaged`: the backbone's gradients are averaged over the processes, as
    DistributedDataParallel does, and not summed; those of the embeddings are multiplied by
    the number of processes to make up for it. A label of −1 takes no part. All other options are
    MarginHeader's.
    """

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        group: Any = None,
        averaged: bool = True,
        **options: Any,
    ) -> None:
        super().__init__()
        if not dist.is_initialized():
            raise UserError(
                "PartialFC spreads classes over processes: call torch.distributed.init_process_group "
                "first, or take MarginHeader, which has sample_rate too, in a single process"
            )
        self.group = group or dist.group.WORLD
        self.rank, self.world_size = dist.get_rank(self.group), dist.get_world_size(self.group)
        if num_classes < self.world_size:
            raise UserError(
                f"PartialFC needs a class for each process, got {num_classes} classes "
                f"for {self.world_size} processes"
            )
        self.num_classes, self.averaged = num_classes, averaged
        self.classes = self._share_of(self.rank)
        with torch.random.fork_rng(
            devices=[]
        ):  # one seed for all must not mean the same directions
            torch.manual_seed(torch.initial_seed() + self.rank)
            self.header = MarginHeader(embedding_dim, len(self.classes), **options)

    def _share_of(self, rank: int) -> range:
        """The classes of a process; the shares differ by one at most."""
        bounds = [self.num_classes * r // self.world_size for r in (rank, rank + 1)]
        return range(*bounds)

    def loss(
        self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        """The mean over the labelled samples of all processes, the same in each.

        Every process has as many samples as the others, and calls this as often.
        """
        self.header._check(embeddings, labels, self.num_classes)
        everyones = _Gather.apply(embeddings, self.group, self.averaged)
        all_labels = _gathered(labels, self.group)
        here = (all_labels >= self.classes.start) & (all_labels < self.classes.stop)
        own = (all_labels - self.classes.start).where(here, IGNORE_INDEX)
        labelled = all_labels != IGNORE_INDEX
        losses = self.header.losses(everyones, own, group=self.group)
        return losses.where(labelled, 0.0).sum() / labelled.sum()

    def forward(
        self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        return self.loss(embeddings, labels)

    def set_progress(self, fraction: float) -> None:
        """How much of the training is done, from 0 to 1: for a margin that is ramped."""
        self.header.set_progress(fraction)

    @torch.no_grad()
    def full_weight(self) -> Float[Tensor, "c d"]:
        """All classes' directions in each process, as MarginHeader's `weight` has them."""
        weight = self.header.weight
        largest = max(len(self._share_of(rank)) for rank in range(self.world_size))
        padded = weight.new_zeros(largest, weight.shape[1])
        padded[: len(weight)] = weight
        parts = _gathered(padded, self.group).split(largest)
        return torch.cat([part[: len(self._share_of(rank))] for rank, part in enumerate(parts)])


def _gathered(tensor: Tensor, group: Any) -> Tensor:
    """The tensors of all processes, one below the other."""
    rows = len(tensor) * dist.get_world_size(group)
    whole = tensor.new_empty(rows, *tensor.shape[1:])
    dist.all_gather_into_tensor(whole, tensor.contiguous(), group=group)
    return whole


class _Gather(torch.autograd.Function):
    """_gathered whose gradient is summed over the processes and handed back in parts."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: Any, averaged: bool) -> Tensor:
        ctx.group, ctx.averaged = group, averaged
        return _gathered(tensor, group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        size = dist.get_world_size(ctx.group)
        part = grad.new_empty(len(grad) // size, *grad.shape[1:])
        dist.reduce_scatter_tensor(part, grad.contiguous(), group=ctx.group)
        return part * size if ctx.averaged else part, None, None
