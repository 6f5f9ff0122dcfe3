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

CACHED_CLASSES = 1024  # on a CPU; elsewhere one large product is faster than many
CACHED_VECTORS = 256
MANY_VECTORS = 65_536


def scaled_cosines(
    embeddings: Float[Tensor, "n d"], weight: Float[Tensor, "c d"], s: Float[Tensor, ""] | float
) -> Float[Tensor, "n c"]:
    """s·cos θ_ij; a vector of length zero has cosine 0 to all others. The scale gets no gradient."""
    if torch.compiler.is_compiling():  # a compiler fuses the plain expression by itself
        return F.linear(s * angles.unit(embeddings), angles.unit(weight))
    z: Tensor = _ScaledCosines.apply(embeddings, weight, s)
    return z


class _ScaledCosines(torch.autograd.Function):
    """The first derivative is fast; vmap, forward mode and higher derivatives take plain operations."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, s: Tensor | float) -> Tensor:
        u = x * (s * angles.inverse_norm(x))
        z = u.new_empty(len(x), len(weight))
        for part, classes in class_blocks(weight):
            torch.mm(u, classes.T, out=z[:, part])
            z[:, part].mul_(angles.inverse_norm(classes).T)
        return z

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, weight, ctx.s = inputs
        ctx.save_for_backward(x, weight)
        ctx.save_for_forward(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight = ctx.saved_tensors
        if torch.is_grad_enabled():  # this derivative is to be differentiated in its turn
            grad_x = _along_the_sphere(x, ctx.s * grad @ angles.unit(weight))
            return grad_x, _along_the_sphere(weight, ctx.s * grad.T @ angles.unit(x)), None
        inverse_x = angles.inverse_norm(x)
        factor = ctx.s * inverse_x
        u = x * factor
        # Made from the gradient, so that they are several where vmap hands over several at a time.
        grad_x, grad_weight = grad.new_zeros(x.shape), grad.new_empty(weight.shape)
        with torch.autocast(x.device.type, enabled=False):
            for part, classes in class_blocks(weight):
                inverse = angles.inverse_norm(classes)
                q = grad[:, part] * inverse.T
                grad_x.addmm_(q, classes)
                h = q.T @ u
                remove_radial(h, classes, inverse)
                grad_weight[part] = h
            remove_radial(grad_x.mul_(factor), x, inverse_x)
        return grad_x, grad_weight, None

    @staticmethod
    def jvp(ctx: Any, x_t: Tensor, weight_t: Tensor, s_t: None) -> Tensor:
        x, weight = ctx.saved_tensors
        moved_x = _along_the_sphere(x, x_t) @ angles.unit(weight).T
        return ctx.s * (moved_x + angles.unit(x) @ _along_the_sphere(weight, weight_t).T)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], x: Tensor, weight: Tensor, s: Tensor | float
    ) -> tuple[Tensor, int]:
        def plain(x: Tensor, weight: Tensor, s: Tensor | float) -> Tensor:
            return F.linear(s * angles.unit(x), angles.unit(weight))

        return torch.vmap(plain, in_dims)(x, weight, s), 0


def _along_the_sphere(vectors: Tensor, change: Tensor) -> Tensor:
    """How the directions of vectors change with them; this linear map is its own transpose."""
    inverse = angles.inverse_norm(vectors)
    directions = vectors * inverse
    radial = torch.linalg.vecdot(directions, change)[:, None] * directions
    return inverse * (change - radial)


def class_blocks(weight: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Where each block of classes lies, and its weights."""
    size = CACHED_CLASSES if weight.device.type == "cpu" else max(1, len(weight))
    for start in range(0, len(weight), size):
        part = slice(start, start + size)
        yield part, weight[part]


def remove_radial(grad: Tensor, vectors: Tensor, inverse: Tensor) -> None:
    """Takes v̂·(v̂·g) from each g, in place; `inverse` is 1/‖v‖."""
    size = CACHED_VECTORS if grad.device.type == "cpu" else MANY_VECTORS
    parts = (grad.split(size), vectors.split(size), (inverse**2).split(size))
    for g, v, square in zip(*parts, strict=True):
        g.addcmul_(v, torch.linalg.vecdot(v, g)[:, None] * square, value=-1)
