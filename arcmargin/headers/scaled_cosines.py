"""s·cos θ of every sample and class as one operation, its gradient by hand.

    z_ij = s·x_i·w_j / (‖x_i‖·‖w_j‖)

With g = ∂L/∂z, x̂ and ŵ the unit vectors:

    ∂L/∂x = s·g·Ŵ / ‖x‖,   ∂L/∂w = s·gᵀ·X̂ / ‖w‖,   each less its part along the vector,

whose length does not count. Norms take the place of normalised copies, of which autograd would
keep the large one, and a block of classes is multiplied, scaled and freed of its radial part
while it is in the cache.
"""

from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from arcmargin import angles

CACHED_CLASSES = 512  # on a CPU; elsewhere one large product is faster than many
CACHED_VECTORS = 128
MANY_VECTORS = 65_536


def scaled_cosines(
    embeddings: Float[Tensor, "n d"], weight: Float[Tensor, "c d"], s: Float[Tensor, ""] | float
) -> Float[Tensor, "n c"]:
    """s·cos θ_ij; a vector of length zero has cosine 0 to all others. The scale gets no gradient."""
    if torch.compiler.is_compiling():  # a compiler fuses the plain expression by itself
        return F.linear(s * angles.unit(embeddings), angles.unit(weight))
    z: Tensor = _ScaledCosines.apply(embeddings, weight, s)[0]
    return z


class _ScaledCosines(torch.autograd.Function):
    """z, 1/‖x‖ and 1/‖w‖, of which the last two are there for the backward pass alone.

    The first derivative is fast; vmap, forward mode and higher derivatives take plain operations.
    """

    @staticmethod
    def forward(x: Tensor, weight: Tensor, s: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
        inverse_x, inverse_w = angles.inverse_norm(x), weight.new_empty(len(weight), 1)
        u = x * (s * inverse_x)
        z = u.new_empty(len(x), len(weight))
        for part, classes in class_blocks(weight):
            torch.mm(u, classes.T, out=z[:, part])
            inverse_w[part] = inverse = angles.inverse_norm(classes)
            z[:, part].mul_(inverse.T)
        return z, inverse_x, inverse_w

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        x, weight, ctx.s = inputs
        _, inverse_x, inverse_w = output
        ctx.mark_non_differentiable(inverse_x, inverse_w)
        ctx.save_for_backward(x, weight, inverse_x, inverse_w)
        ctx.save_for_forward(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, inverse_x, inverse_w = ctx.saved_tensors
        if torch.is_grad_enabled():  # this derivative is to be differentiated in its turn
            grad_x = along_the_sphere(x, ctx.s * grad @ angles.unit(weight))
            return grad_x, along_the_sphere(weight, ctx.s * grad.T @ angles.unit(x)), None
        factor = ctx.s * inverse_x
        # Made from the gradient, so that they are several where vmap hands over several at a time.
        grad_x, grad_weight = grad.new_empty(x.shape), grad.new_empty(weight.shape)
        with torch.autocast(x.device.type, enabled=False):
            for part, classes in class_blocks(weight, lean=True):
                inverse = inverse_w[part]
                q = (grad[:, part] * inverse.T).mul_(factor)
                grad_x.addmm_(q, classes, beta=int(part.start > 0))
                h = grad_weight[part].addmm_(q.T, x, beta=0)
                del q  # before the next memory is needed
                remove_radial(h, classes, inverse)
            remove_radial(grad_x, x, inverse_x)
        return grad_x, grad_weight, None

    @staticmethod
    def jvp(ctx: Any, x_t: Tensor, weight_t: Tensor, s_t: None) -> tuple[Tensor, None, None]:
        x, weight = ctx.saved_tensors
        moved_x = along_the_sphere(x, x_t) @ angles.unit(weight).T
        moved = moved_x + angles.unit(x) @ along_the_sphere(weight, weight_t).T
        return ctx.s * moved, None, None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], x: Tensor, weight: Tensor, s: Tensor | float
    ) -> tuple[tuple[Tensor, Tensor, Tensor], int]:
        def plain(x: Tensor, weight: Tensor, s: Tensor | float) -> tuple[Tensor, Tensor, Tensor]:
            inverse_x, inverse_w = angles.inverse_norm(x), angles.inverse_norm(weight)
            return F.linear(s * inverse_x * x, inverse_w * weight), inverse_x, inverse_w

        return torch.vmap(plain, in_dims)(x, weight, s), 0


def along_the_sphere(vectors: Tensor, change: Tensor) -> Tensor:
    """How the directions of vectors change with them; this linear map is its own transpose."""
    inverse = angles.inverse_norm(vectors)
    directions = vectors * inverse
    radial = torch.linalg.vecdot(directions, change)[:, None] * directions
    return inverse * (change - radial)


def block_size(weight: Tensor) -> int:
    """How many classes at a time."""
    return CACHED_CLASSES if weight.device.type == "cpu" else max(1, len(weight))


def class_blocks(weight: Tensor, *, lean: bool = False) -> Iterator[tuple[slice, Tensor]]:
    """Where each block of classes lies, and its weights.

    lean: halved where there are so few classes that a whole one would show in the peak of memory.
    """
    size = block_size(weight)
    if lean and size < len(weight) <= 4 * size:
        size = max(1, size // 2)
    for start in range(0, len(weight), size):
        part = slice(start, start + size)
        yield part, weight[part]


def remove_radial(grad: Tensor, vectors: Tensor, inverse: Tensor) -> None:
    """Takes v̂·(v̂·g) from each g, in place; `inverse` is 1/‖v‖."""
    size = CACHED_VECTORS if grad.device.type == "cpu" else MANY_VECTORS
    parts = (grad.split(size), vectors.split(size), (inverse**2).split(size))
    for g, v, square in zip(*parts, strict=True):
        g.addcmul_(v, torch.linalg.vecdot(v, g)[:, None] * square, value=-1)
