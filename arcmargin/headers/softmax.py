"""Softmax cross-entropy over scaled cosines, a block of classes at a time, its gradient by hand.

    loss_i = log Σ_j exp z_ij − z_iy        z_ij = s·cos θ_ij, and shift_i on top at the target j = y

With p = softmax(z), c_i = ∂L/∂loss_i and slope_i = ∂shift_i/∂(s·cos θ_iy):

    q_ij = c_i·(p_ij − [j = y])·(1 + [j = y]·slope_i)·s / (‖x_i‖·‖w_j‖)
    ∂L/∂x = q·W, ∂L/∂W = qᵀ·X, each less its part along the vector, whose length does not count

Norms take the place of normalised copies, and a block is scaled, shifted and exponentiated while it
is in the cache. The exponentials are kept for the backward pass, the one N×C matrix there is, or
computed again there, and then nothing of that size ever exists.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from arcmargin import angles
from arcmargin.headers.scaled_cosines import along_the_sphere, block_size, remove_radial

MANY_CLASSES = 16_384  # with so many, fewer N×C matrices are worth the more operations


@torch.compiler.disable
def softmax_losses(
    embeddings: Float[Tensor, "n d"],
    weight: Float[Tensor, "c d"],
    labels: Int[Tensor, " n"],
    shift: Float[Tensor, " n"],
    *,
    s: Float[Tensor, ""] | float,
    slope: Float[Tensor, " n"] | None = None,
    rows: Int[Tensor, " k"] | None = None,
    class_chunk: int | None = None,
    group: Any = None,
) -> Float[Tensor, " n"]:
    """The loss of each sample; where the label is −1, the log-sum-exp alone.

    rows: only these classes count, and the labels are positions among them. class_chunk: so many
    classes at a time, computed twice instead of kept. group: the processes that hold the other
    classes; here the label is −1 where it lies with another. There are first derivatives only.
    """
    # torch.compile is kept out: it would unroll the loop.
    block = class_chunk or block_size(weight)
    losses: Tensor = _SoftmaxLosses.apply(
        embeddings, weight, labels, shift, slope, s, rows, block, class_chunk is None, group
    )
    return losses


def dense_losses(
    embeddings: Float[Tensor, "n d"],
    weight: Float[Tensor, "c d"],
    labels: Int[Tensor, " n"],
    shift: Float[Tensor, " n"],
    *,
    s: Float[Tensor, ""] | float,
) -> Float[Tensor, " n"]:
    """The same over all classes, with derivatives of every kind; the scale gets none."""
    block, keep = block_size(weight), torch.is_grad_enabled()
    losses: Tensor = _DenseLosses.apply(embeddings, weight, labels, shift, s, block, keep)[0]
    return losses


def plain_losses(
    x: Tensor, weight: Tensor, labels: Tensor, shift: Tensor, s: Tensor | float
) -> Tensor:
    """The formula at the top of this file in operations that autograd knows."""
    z = _shifted(F.linear(s * angles.unit(x), angles.unit(weight)), labels, shift)
    return z.logsumexp(dim=1) - _at_target(z, labels)


def _shifted(z: Tensor, labels: Tensor, shift: Tensor) -> Tensor:
    return z.scatter_add(1, labels.clamp_min(0)[:, None], shift.where(labels >= 0, 0)[:, None])


def _at_target(z: Tensor, labels: Tensor) -> Tensor:
    return z.gather(1, labels.clamp_min(0)[:, None])[:, 0].where(labels >= 0, 0)


@torch.no_grad()
def log_sum_exp_of_others(
    scaled: Float[Tensor, "n d"],
    weight: Float[Tensor, "c d"],
    labels: Int[Tensor, " n"],
    class_chunk: int,
) -> Float[Tensor, " n"]:
    """log Σ_{j≠y} exp(z_ij), so many classes at a time; `scaled` are the unit embeddings times s."""
    out_of_sight = torch.full_like(scaled[:, 0], torch.finfo(scaled.dtype).min / 4)
    top, total, _ = _sums(scaled, weight, labels, out_of_sight, None, class_chunk, None)
    return top + total.log()


class _SoftmaxLosses(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        labels: Tensor,
        shift: Tensor,
        slope: Tensor | None,
        s: Tensor | float,
        rows: Tensor | None,
        block: int,
        keep: bool,
        group: Any,
    ) -> Tensor:
        factor = s * angles.inverse_norm(x)
        ctx.kept = {}
        top, total, target = _sums(
            x * factor,
            weight,
            labels,
            shift,
            rows,
            block,
            ctx.kept if keep and any(ctx.needs_input_grad) else None,
        )
        if group is not None:
            top, total, target = _over_processes(top, total, target, group)
        ctx.save_for_backward(x, weight, labels, shift, slope, factor, rows, top, total, target)
        ctx.block, ctx.s = block, s
        return total.log() + (top - target)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, labels, shift, slope, factor, rows, top, total, target = ctx.saved_tensors
        too_low = (target - top).exp() / total - 1  # p − 1 at the target
        at_target = -grad if slope is None else grad * (slope * too_low - 1)
        at_target = at_target * factor[:, 0]
        per_row = grad / total * factor[:, 0]
        grad_x = torch.zeros_like(x)
        grad_weight = torch.empty_like(weight) if rows is None else torch.zeros_like(weight)
        with torch.autocast(x.device.type, enabled=False):
            for start, classes in _blocks(weight, rows, ctx.block):
                inverse = angles.inverse_norm(classes)
                if start in ctx.kept:  # and used up: a second backward pass computes it again
                    q, own_top = ctx.kept.pop(start)
                    q.mul_((per_row * (own_top - top).exp())[:, None])
                else:
                    q = (x * factor) @ classes.T
                    q.mul_(inverse.T)
                    _add_to_target(q, labels - start, shift)
                    q.sub_(top[:, None]).exp_().mul_(per_row[:, None])
                _add_to_target(q, labels - start, at_target)
                q.mul_(inverse.T)
                grad_x.addmm_(q, classes)
                part = slice(start, start + ctx.block)
                h = torch.mm(q.T, x, out=grad_weight[part] if rows is None else None)
                remove_radial(h, classes, inverse)
                if rows is not None:
                    grad_weight[rows[part]] = h
            remove_radial(grad_x, x, factor / ctx.s)
        grad_shift = (grad * too_low).where(labels >= 0, 0)
        return grad_x, grad_weight, None, grad_shift, *[None] * 6


class _DenseLosses(torch.autograd.Function):
    """The losses, and what the backward pass needs of the way there: that gets no gradient.

    The first derivative is fast; vmap, forward mode and higher derivatives take plain operations.
    """

    @staticmethod
    def forward(
        x: Tensor,
        weight: Tensor,
        labels: Tensor,
        shift: Tensor,
        s: Tensor | float,
        block: int,
        keep: bool,
    ) -> tuple[Tensor, ...]:
        kept: dict[int, tuple[Tensor, Tensor]] = {}
        factor = s * angles.inverse_norm(x)
        found = _sums(x * factor, weight, labels, shift, None, block, kept if keep else None)
        top, total, target = found
        blocks = [tensor for pair in kept.values() for tensor in pair]
        return total.log() + (top - target), factor, *found, *blocks

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        x, weight, labels, shift, ctx.s, ctx.block, _ = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)  # zeros as large as what is kept
        ctx.others = len(output) - 1
        ctx.save_for_backward(x, weight, labels, shift, *output[1:])
        ctx.save_for_forward(x, weight, labels, shift)

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        if grad is None:
            return (None,) * 7
        x, weight, labels, shift, *found = ctx.saved_tensors
        if torch.is_grad_enabled():  # this derivative is to be differentiated in its turn
            pull = torch.func.vjp(
                lambda x, weight, shift: plain_losses(x, weight, labels, shift, ctx.s),
                *(x, weight, shift),
            )[1]
            grad_x, grad_weight, grad_shift = pull(grad)
            return grad_x, grad_weight, None, grad_shift, None, None, None
        factor, top, total, target, *kept = found
        at_target = -grad * factor[:, 0]
        per_row = grad / total * factor[:, 0]
        # Made from the gradient, so that they are several where vmap hands over several at a time.
        grad_x, grad_weight = grad.new_zeros(x.shape), grad.new_empty(weight.shape)
        with torch.autocast(x.device.type, enabled=False):
            blocks = _blocks(weight, None, ctx.block)
            for (start, classes), e, own_top in zip(blocks, kept[::2], kept[1::2], strict=True):
                inverse = angles.inverse_norm(classes)
                q = e * (per_row * (own_top - top).exp())[:, None]
                _add_to_target(q, labels - start, at_target)
                q.mul_(inverse.T)
                grad_x.addmm_(q, classes)
                h = grad_weight[start : start + ctx.block].addmm_(q.T, x, beta=0)
                del q  # before the next memory is needed
                remove_radial(h, classes, inverse)
            remove_radial(grad_x, x, factor / ctx.s)
        grad_shift = (grad * ((target - top).exp() / total - 1)).where(labels >= 0, 0)
        return grad_x, grad_weight, None, grad_shift, None, None, None

    @staticmethod
    def jvp(
        ctx: Any, x_t: Any, weight_t: Any, _: None, shift_t: Any, *__: None
    ) -> tuple[Tensor | None, ...]:
        x, weight, labels, shift = ctx.saved_tensors
        given = ((x, x_t), (weight, weight_t), (shift, shift_t))
        x_t, weight_t, shift_t = (torch.zeros_like(v) if t is None else t for v, t in given)
        u, v = angles.unit(x), angles.unit(weight)
        moved = along_the_sphere(x, x_t) @ v.T + u @ along_the_sphere(weight, weight_t).T
        moved = _shifted(ctx.s * moved, labels, shift_t)
        p = _shifted(ctx.s * u @ v.T, labels, shift).softmax(dim=1)
        return (p * moved).sum(dim=1) - _at_target(moved, labels), *[None] * ctx.others

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], *inputs: Any
    ) -> tuple[tuple[Tensor], tuple[int]]:
        return (torch.vmap(plain_losses, in_dims[:5])(*inputs[:5]),), (0,)


def _sums(
    u: Tensor,
    weight: Tensor,
    labels: Tensor,
    shift: Tensor,
    rows: Tensor | None,
    block: int,
    kept: dict[int, tuple[Tensor, Tensor]] | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The largest logit, Σ_j exp(z_ij − largest) and the target's logit; u are the embeddings, long s.

    What is kept is exp(z − its largest) of each block.
    """
    top = torch.full_like(shift, -torch.inf)
    total, target = torch.zeros_like(shift), torch.zeros_like(shift)
    for start, classes in _blocks(weight, rows, block):
        z = u @ classes.T
        z.mul_(angles.inverse_norm(classes).T)
        target += _add_to_target(z, labels - start, shift)
        own_top = z.amax(dim=1)
        z.sub_(own_top[:, None]).exp_()
        before, top = top, torch.maximum(top, own_top)
        total = total * (before - top).exp() + z.sum(dim=1) * (own_top - top).exp()
        if kept is not None:
            kept[start] = z, own_top
    return top, total, target


def _blocks(weight: Tensor, rows: Tensor | None, size: int) -> Iterator[tuple[int, Tensor]]:
    """(position of its first class, weights) of each block."""
    if rows is None:
        for start in range(0, len(weight), size):
            yield start, weight[start : start + size]
    else:
        for start in range(0, len(rows), size):
            yield start, weight[rows[start : start + size]]


def _add_to_target(z: Tensor, position: Tensor, value: Tensor) -> Tensor:
    """Adds a value a sample where its target is in this block, in place; the targets, or 0."""
    here = (position >= 0) & (position < z.shape[1])
    index = position.clamp(0, z.shape[1] - 1)[:, None]
    z.scatter_add_(1, index, value.where(here, 0)[:, None])
    return z.gather(1, index)[:, 0].where(here, 0)


def _over_processes(top: Tensor, total: Tensor, target: Tensor, group: Any) -> tuple[Tensor, ...]:
    """The same of all processes' classes together; a target's logit lies with one of them."""
    highest = top.clone()
    dist.all_reduce(highest, dist.ReduceOp.MAX, group=group)
    sums = torch.stack((total * (top - highest).exp(), target))
    dist.all_reduce(sums, dist.ReduceOp.SUM, group=group)
    return highest, sums[0], sums[1]
