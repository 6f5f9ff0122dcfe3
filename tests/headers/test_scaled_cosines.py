"""The scaled cosines and all their derivatives against normalise and multiply."""

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import functional_call, grad, hessian, jacfwd, jvp, vmap
from torch.nn import functional as F

from arcmargin.headers import MarginHeader, scaled_cosines, softmax
from arcmargin.headers.scaled_cosines import scaled_cosines as fused


def plain(x: Tensor, weight: Tensor, s: float) -> Tensor:
    return s * F.normalize(x) @ F.normalize(weight).T


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """So that a handful of classes have more than one block, and vectors too."""
    monkeypatch.setattr(scaled_cosines, "CACHED_CLASSES", 3)
    monkeypatch.setattr(scaled_cosines, "CACHED_VECTORS", 2)
    yield


def vectors(*sizes: tuple[int, int], seed: int = 0) -> list[Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return [
        (torch.randn(*size, generator=rng) * (0.1 + 5 * torch.rand(size[0], 1, generator=rng)))
        .double()
        .requires_grad_()
        for size in sizes
    ]


# The blocks' sizes are set once for all examples.
@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 7), st.integers(1, 6), st.integers(1, 20), st.floats(0.1, 99), st.integers(0, 99)
)
def test_values_and_gradients_for_any_size(n: int, d: int, c: int, s: float, seed: int) -> None:
    x, weight = vectors((n, d), (c, d), seed=seed)
    got, expected = fused(x, weight, s), plain(x, weight, s)
    torch.testing.assert_close(got, expected)
    pull = torch.randn(n, c, generator=torch.Generator().manual_seed(seed)).double()
    torch.testing.assert_close(
        torch.autograd.grad(got, (x, weight), pull),
        torch.autograd.grad(expected, (x, weight), pull),
        rtol=1e-9,
        atol=1e-9,
    )


def test_derivatives_of_all_kinds_against_finite_differences() -> None:
    x, weight = vectors((4, 3), (7, 3))
    assert torch.autograd.gradcheck(
        lambda *inputs: fused(*inputs, 2.0),
        (x, weight),
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
    )
    assert torch.autograd.gradgradcheck(lambda *inputs: fused(*inputs, 2.0), (x, weight))


def test_vectors_without_a_length_have_neither_direction_nor_gradient() -> None:
    x, weight = (
        torch.cat([v.detach(), torch.zeros(1, 3).double()]) for v in vectors((3, 3), (4, 3))
    )
    x, weight = x.requires_grad_(), weight.requires_grad_()
    cosines = fused(x, weight, 30.0)
    assert (cosines[-1] == 0).all() and (cosines[:, -1] == 0).all()
    cosines.sum().backward()
    assert x.grad is not None and (x.grad[-1] == 0).all() and x.grad.isfinite().all()
    assert weight.grad is not None and (weight.grad[-1] == 0).all() and weight.grad.isfinite().all()


@pytest.mark.parametrize("many", [True, False])
@pytest.mark.parametrize("gradient", ["detached", "autograd"])
def test_a_head_under_the_transforms_of_torch_func(
    gradient: str, many: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of its loss and of its logits, against a head that normalises and multiplies."""
    monkeypatch.setattr(softmax, "MANY_CLASSES", 0 if many else 100)

    class Plain(MarginHeader):
        def scaled_cosines(self, embeddings: Tensor) -> Tensor:
            return plain(embeddings, self.weight, self.s)

    (x, w), labels = vectors((6, 3), (5, 3)), torch.tensor([0, 1, 4, -1, 2, 2])
    tangents = tuple(v.detach() for v in vectors((6, 3), (5, 3), seed=1))

    def outcomes(head: MarginHeader) -> list[object]:
        def loss(x: Tensor, w: Tensor) -> Tensor:
            return functional_call(_Loss(head), {"head.weight": w}, (x, labels))

        def logits(w: Tensor, x: Tensor, y: Tensor) -> Tensor:
            return functional_call(head, {"weight": w}, (x[None], y[None]))[0]

        several = torch.stack([w.detach(), tangents[1]])
        return [
            grad(loss, (0, 1))(x.detach(), w.detach()),
            hessian(loss, (0, 1))(x.detach(), w.detach()),
            jacfwd(loss, 1)(x.detach(), w.detach()),
            jvp(loss, (x.detach(), w.detach()), tangents),
            vmap(loss, (None, 0))(x.detach(), several),
            vmap(grad(loss, 1), (None, 0))(x.detach(), several),
            vmap(lambda x, y: grad(lambda w: logits(w, x, y).logsumexp(0))(w.detach()))(
                x.detach()[labels >= 0], labels[labels >= 0]
            ),
        ]

    options = {"m1": 1.2, "m2": 0.3, "m3": 0.1, "gradient": gradient}
    heads = (kind(3, 5, **options).double().eval() for kind in (MarginHeader, Plain))
    got, expected = (outcomes(head) for head in heads)
    torch.testing.assert_close(got, expected, rtol=1e-8, atol=1e-8)


def test_nothing_as_large_as_the_weight_is_kept_for_the_backward_pass() -> None:
    header = MarginHeader(16, 500, m2=0.5)
    x, labels = torch.randn(8, 16, requires_grad=True), torch.arange(8)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        header(x, labels)
    large = [t for t in kept if t.numel() >= header.weight.numel()]
    assert large and all(t.data_ptr() == header.weight.data_ptr() for t in large)


class _Loss(torch.nn.Module):
    def __init__(self, head: MarginHeader) -> None:
        super().__init__()
        self.head = head

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return self.head.loss(embeddings, labels)
