"""The angles behind every margin head.

    target logit   s · (cos(m1·θ + m2) − m3)        other logits   s · cos θ_j

θ is the angle between an embedding and its class direction, θ_j that to class j's, s the scale.

    m1   multiplicative angular margin   SphereFace   Liu et al. 2017     arXiv 1704.08063, eq. 6
    m2   additive angular margin, rad    ArcFace      Deng et al. 2019    arXiv 1801.07698, eq. 3
    m3   additive cosine margin          CosFace      Wang et al. 2018    arXiv 1801.09414, eq. 4
    all  combined margin                              Deng et al. 2019    arXiv 1801.07698, eq. 4
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

EVENED = 1000  # classes; the repulsion takes time and memory with their square


def psi(phi: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """cos φ continued beyond φ = π so that it never rises: (−1)^k cos φ − 2k with k = ⌊φ/π⌋.

    The raw cosine rises again past π, and a head that used it would reward the total collapse of an
    embedding onto the far side of the sphere. φ = m1·θ is SphereFace's own ψ (eq. 7).
    """
    k = torch.floor(phi.detach() / math.pi)
    return (1 - 2 * torch.remainder(k, 2)) * torch.cos(phi) - 2 * k


def target_cosine(
    cosine: Float[Tensor, "*shape"],
    m1: Float[Tensor, "*#shape"] | float,
    m2: Float[Tensor, "*#shape"] | float,
    m3: Float[Tensor, "*#shape"] | float,
) -> Float[Tensor, "*shape"]:
    """ψ(m1·θ + m2) − m3 where cosine = cos θ: what takes the place of the target's cosine.

    An adaptive margin may be negative; it does not turn a sample beyond its centre.
    """
    if isinstance(m1, float) and isinstance(m2, float) and m1 == 1.0 and m2 == 0.0:
        return cosine - m3  # exact, where arccos and cos would round
    # Rounding can push a cosine of unit vectors past 1, and arccos has no slope at ±1 itself.
    eps = torch.finfo(cosine.dtype).eps if cosine.requires_grad else 0.0
    theta = torch.acos(cosine.clamp(-1 + eps, 1 - eps))
    return psi((m1 * theta + m2).clamp_min(0)) - m3


def unit(vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
    """The directions of vectors; a zero vector has none and stays zero, as does its gradient."""
    return vectors * inverse_norm(vectors)


def inverse_norm(vectors: Float[Tensor, "n d"]) -> Float[Tensor, "n 1"]:
    """1/‖v‖, and 0 for a zero vector."""
    norm = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    tiny = torch.finfo(vectors.dtype).tiny ** 0.5  # below it the squares vanish
    return F.threshold(norm, tiny, math.inf).reciprocal()


def even_directions(num_classes: int, embedding_dim: int) -> Float[Tensor, "c d"]:
    """Unit vectors spread as evenly as the space allows.

    On a circle the regular polygon in class order; with D >= C − 1 the regular simplex, turned at
    random; in between, random points after a fixed number of steps of mutual repulsion. Random points
    alone where there are more than EVENED of them: among so many, the others are hardly nearer.
    """
    c, d = num_classes, embedding_dim
    if d == 2:
        turn = torch.arange(c) * (2 * math.pi / c)
        return torch.stack((turn.cos(), turn.sin()), dim=1)
    if d >= c - 1:
        corners = torch.eye(c) - 1 / c  # of rank C − 1: the first C − 1 axes of its SVD hold it all
        simplex = torch.linalg.svd(corners)[0][:, : c - 1]
        rotation = torch.linalg.qr(torch.randn(d, d))[0]
        return unit(simplex @ rotation[: c - 1]) if c > 1 else rotation[:1]
    points = unit(torch.randn(c, d))
    if c > EVENED:
        return points
    for step in torch.linspace(1.0, 0.0, 200).tolist():
        # Each point flees the softmax-weighted mean of the others, most of all its nearest.
        closeness = (points @ points.T).fill_diagonal_(-math.inf)
        points = unit(points - step * torch.softmax(10 * closeness, dim=1) @ points)
    return points
