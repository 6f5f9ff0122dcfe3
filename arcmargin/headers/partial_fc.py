"""Partial FC: the classes of a margin head spread over processes, each softmax over all of them."""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from arcmargin import angles
from arcmargin.errors import UserError
from arcmargin.headers.base import IGNORE_INDEX, Header
from arcmargin.headers.margin import MarginHeader
from arcmargin.headers.sampling import sample_classes


class PartialFC(nn.Module):
    """One margin head whose classes are split over the processes of a group, in order of rank.

    The `header` given keeps the directions of this process's classes and nothing of the others'. A
    step gathers the embeddings and labels of all processes, each computes its classes' logits, and
    the log-sum-exp is taken over the processes: loss and gradients are those of a single MarginHeader
    with all classes and the whole batch. With `sample_rate` below 1 each process takes its own of the
    classes that are drawn (An et al. 2021, arXiv 2010.05222, and 2022, arXiv 2203.15565).

        dist.init_process_group("nccl")
        backbone = DistributedDataParallel(backbone.cuda())
        header = PartialFC(MarginHeader(512, 1_000_000, m2=0.5, s=64.0, sample_rate=0.1)).cuda()
        optimizer = torch.optim.SGD([*backbone.parameters(), *header.parameters()], lr=0.1)
        for images, labels in loader:  # batches of one size in all processes
            optimizer.zero_grad()
            header.loss(backbone(images), labels).backward()
            optimizer.step()

    The header itself is not wrapped in DistributedDataParallel: its parameters differ between the
    processes. `averaged`: the backbone's gradients are averaged over the processes, as
    DistributedDataParallel does, and not summed; those of the embeddings are multiplied by
    the number of processes to make up for it. `gathered`: `loss` is given the batch of all processes
    in each of them, and gives each the whole gradient. A label of −1 takes no part.
    """

    def __init__(
        self,
        header: Header,
        *,
        group: Any = None,
        averaged: bool = True,
        gathered: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(header, MarginHeader):
            raise UserError(
                "PartialFC spreads the classes of a MarginHeader over processes, got a "
                f"{type(header).__name__}"
            )
        if not dist.is_initialized():
            raise UserError(
                "PartialFC spreads classes over processes: call torch.distributed.init_process_group "
                "first, or take the MarginHeader alone, which has sample_rate too, in a single process"
            )
        self.group = group or dist.group.WORLD
        self.rank, self.world_size = dist.get_rank(self.group), dist.get_world_size(self.group)
        self.num_classes, self.averaged, self.gathered = header.num_classes, averaged, gathered
        if self.num_classes < self.world_size:
            raise UserError(
                f"PartialFC needs a class for each process, got {self.num_classes} classes "
                f"for {self.world_size} processes"
            )
        self.classes = classes_of(self.rank, self.world_size, self.num_classes)
        # The parameter stays the same one: an optimizer may have it already.
        header.weight.data = header.weight.data[self.classes.start : self.classes.stop].clone()
        header.num_classes = len(self.classes)
        self.header = header

    def loss(
        self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        """The mean over the labelled samples of all processes, the same in each.

        Every process has as many samples as the others, and calls this as often.
        """
        self.header._check(embeddings, labels, self.num_classes)
        if self.gathered:
            everyones = _Shared.apply(embeddings, self.group)
        else:
            everyones = _Gather.apply(embeddings, self.group, self.averaged)
            labels = _gathered(labels, self.group)
        own, here = self._own(labels)
        rows = None
        if self.training and self.header.sample_rate < 1:
            drawn, _ = sample_classes(labels, self.num_classes, self.header.sample_rate)
            drawn, among_own = self._own(drawn)
            rows = drawn[among_own]
        labelled = labels != IGNORE_INDEX
        own = own.where(here, IGNORE_INDEX)
        losses = self.header.losses(everyones, own, rows=rows, group=self.group)
        return losses.where(labelled, 0.0).sum() / labelled.sum()

    def forward(
        self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        return self.loss(embeddings, labels)

    @torch.no_grad()
    def predict(self, embeddings: Float[Tensor, "n d"]) -> Int[Tensor, " n"]:
        """The class of the largest logit of all. Every process has the same embeddings."""
        logits, classes = self.header.logits(embeddings).max(dim=1)
        of_all = _gathered(logits, self.group).view(self.world_size, -1)
        numbers = _gathered(classes + self.classes.start, self.group).view(self.world_size, -1)
        return numbers.gather(0, of_all.argmax(dim=0, keepdim=True))[0]

    def set_progress(self, fraction: float) -> None:
        """How much of the training is done, from 0 to 1: for a margin that is ramped."""
        self.header.set_progress(fraction)

    @property
    def directions(self) -> Float[Tensor, "c d"]:
        """The unit direction of each class, in each process."""
        return angles.unit(self.full_weight().float())

    def full_weight(self) -> Float[Tensor, "c d"]:
        """All classes' directions in each process, as MarginHeader's `weight` has them."""
        return self.of_all_classes(self.header.weight)

    @torch.no_grad()
    def of_all_classes(self, own: Shaped[Tensor, "own ..."]) -> Shaped[Tensor, "c ..."]:
        """The rows of all classes from what each process has for its own."""
        shares = [classes_of(r, self.world_size, self.num_classes) for r in range(self.world_size)]
        largest = max(map(len, shares))
        padded = own.new_zeros(largest, *own.shape[1:])
        padded[: len(own)] = own
        parts = _gathered(padded, self.group).split(largest)
        return torch.cat([part[: len(share)] for part, share in zip(parts, shares, strict=True)])

    def whole(self) -> MarginHeader:
        """The header that was given, with all classes again, in each process; this one is of no more
        use."""
        self.header.weight.data = self.full_weight()
        self.header.weight.grad = None
        self.header.num_classes = self.num_classes
        return self.header

    def _own(self, classes: Int[Tensor, " k"]) -> tuple[Tensor, Tensor]:
        """What they are called here, and which of them are here."""
        own = classes - self.classes.start
        return own, (own >= 0) & (own < len(self.classes))


def classes_of(rank: int, processes: int, num_classes: int) -> range:
    """The classes of a process; the shares differ by one at most."""
    first, end = (num_classes * r // processes for r in (rank, rank + 1))
    return range(first, end)


def _gathered(tensor: Tensor, group: Any) -> Tensor:
    """The tensors of all processes, one below the other."""
    parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size(group))]
    dist.all_gather(parts, tensor.contiguous(), group=group)
    return torch.cat(parts)


def _summed(tensor: Tensor, group: Any) -> Tensor:
    """The sum over all processes."""
    total = tensor.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(total, group=group)
    return total


class _Gather(torch.autograd.Function):
    """_gathered whose gradient is summed over the processes and handed back in parts."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: Any, averaged: bool) -> Tensor:
        ctx.group, ctx.averaged = group, averaged
        return _gathered(tensor, group)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        size, rank = dist.get_world_size(ctx.group), dist.get_rank(ctx.group)
        part = _summed(grad, ctx.group).chunk(size)[rank]
        return part * size if ctx.averaged else part, None, None


class _Shared(torch.autograd.Function):
    """What all processes have alike, and each has a part of the gradient of."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: Any) -> Tensor:
        ctx.group = group
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return _summed(grad, ctx.group), None
