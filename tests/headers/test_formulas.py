"""Every head against its paper's formula written as plain loops, and against other libraries."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_metric_learning import losses as peer
from torch.nn import functional as F

from arcmargin import angles
from arcmargin.errors import UserError
from arcmargin.headers import Header, MarginHeader
from arcmargin.headers.adacos import AdaCosHeader
from arcmargin.headers.adaface import AdaFaceHeader
from arcmargin.headers.curricular import CurricularHeader
from arcmargin.headers.elastic import ElasticHeader
from arcmargin.headers.gb_cosface import GBCosFaceHeader
from arcmargin.headers.inter_topk import InterTopKHeader
from arcmargin.headers.kappaface import KappaFaceHeader
from arcmargin.headers.linear import LinearHeader
from arcmargin.headers.magface import MagFaceHeader
from arcmargin.headers.mv_softmax import MVSoftmaxHeader
from arcmargin.headers.per_class import PerClassHeader
from arcmargin.headers.sface import SFaceHeader
from arcmargin.headers.sphereface2 import SphereFace2Header
from arcmargin.headers.sphereface_original import SphereFaceOriginalHeader
from arcmargin.headers.sphereface_r import SphereFaceRHeader
from arcmargin.headers.subcenter import SubcenterHeader
from arcmargin.headers.uniface import UniFaceHeader
from arcmargin.headers.x2_softmax import X2SoftmaxHeader

D, C, N = 4, 6, 40


def batch(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    embeddings = torch.randn(N, D, generator=rng) * (0.3 + 2 * torch.rand(N, 1, generator=rng))
    return embeddings, torch.randint(0, C, (N,), generator=rng)


def dot(a: np.ndarray, b: np.ndarray) -> float:
    return sum(float(p) * float(q) for p, q in zip(a, b, strict=True))


def norm(a: np.ndarray) -> float:
    return math.sqrt(dot(a, a))


def angle(a: np.ndarray, b: np.ndarray) -> float:
    return math.acos(max(-1.0, min(1.0, dot(a, b) / norm(a) / norm(b))))


def psi(phi: float) -> float:
    k = int(phi // math.pi)
    return (-1) ** k * math.cos(phi) - 2 * k


Formula = Callable[[np.ndarray, int, np.ndarray], list[float]]


def margin_row(
    x: np.ndarray, y: int, w: np.ndarray, s: float, m1: float, m2: float, m3: float
) -> list[float]:
    row = [s * math.cos(angle(x, w[j])) for j in range(C)]
    row[y] = s * (psi(max(0.0, m1 * angle(x, w[y]) + m2)) - m3)
    return row


def by_loop(
    header: Header, formula: Formula, embeddings: torch.Tensor, labels: torch.Tensor
) -> np.ndarray:
    x, w = embeddings.double().numpy(), header.weight.detach().double().numpy()
    return np.array([formula(x[i], int(labels[i]), w) for i in range(len(x))])


def assert_same(header: Header, formula: Formula) -> None:
    embeddings, labels = batch()
    got = header(embeddings, labels).detach().double().numpy()
    np.testing.assert_allclose(got, by_loop(header, formula, embeddings, labels), atol=2e-3)


def softplus(z: float) -> float:
    return max(z, 0) + math.log1p(math.exp(-abs(z)))


# --- The unified head -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("m1", "m2", "m3"),
    [
        (1.0, 0.0, 0.0),
        (1.0, 0.5, 0.0),
        (1.0, 0.0, 0.35),
        (1.5, 0.0, 0.0),
        (4.0, 0.0, 0.0),
        (1.0, 0.3, 0.2),
        (2.5, 0.7, 0.1),
    ],
)
@pytest.mark.parametrize("gradient", ["detached", "autograd"])
def test_margin(m1: float, m2: float, m3: float, gradient: str) -> None:
    header = MarginHeader(D, C, s=20.0, m1=m1, m2=m2, m3=m3, gradient=gradient)
    assert_same(header, lambda x, y, w: margin_row(x, y, w, 20, m1, m2, m3))


@settings(deadline=None, max_examples=30)
@given(st.floats(1, 5), st.floats(0, 2), st.floats(0, 1), st.floats(0.5, 64), st.integers(0, 1000))
def test_margin_over_random_settings(m1: float, m2: float, m3: float, s: float, seed: int) -> None:
    header = MarginHeader(D, C, s=s, m1=m1, m2=m2, m3=m3).double()
    embeddings, labels = batch(seed)
    got = header(embeddings.double(), labels)
    expected = by_loop(
        header, lambda x, y, w: margin_row(x, y, w, s, m1, m2, m3), embeddings, labels
    )
    np.testing.assert_allclose(got.detach().numpy(), expected, atol=1e-5)
    assert torch.equal(header.logits(embeddings.double()).scatter(1, labels[:, None], 0),
                       got.scatter(1, labels[:, None], 0))  # fmt: skip


def test_no_margin_is_normface() -> None:
    embeddings, labels = batch()
    header = MarginHeader(D, C, s=16.0)
    assert torch.equal(header(embeddings, labels), header.logits(embeddings))
    expected = 16 * F.normalize(embeddings) @ F.normalize(header.weight).T
    torch.testing.assert_close(header.logits(embeddings), expected)


@pytest.mark.parametrize(
    ("m1", "m2", "m3"), [(1.0, 0.5, 0.0), (1.0, 0.0, 0.35), (3.0, 0.0, 0.0), (2.0, 0.3, 0.2)]
)
def test_detached_gradient_is_that_of_the_softmax_applied_to_the_cosines(
    m1: float, m2: float, m3: float
) -> None:
    header = MarginHeader(D, C, s=20.0, m1=m1, m2=m2, m3=m3).double()
    embeddings, labels = batch()
    embeddings = embeddings.double().requires_grad_()
    header.loss(embeddings, labels).backward()
    by_head = embeddings.grad, header.weight.grad
    x, w = (
        embeddings.detach().clone().requires_grad_(),
        header.weight.detach().clone().requires_grad_(),
    )
    cosines = F.normalize(x) @ F.normalize(w).T
    probabilities = header(embeddings, labels).softmax(dim=1).detach()
    cosines.backward(20 * (probabilities - F.one_hot(labels, C)) / N)
    torch.testing.assert_close(by_head, (x.grad, w.grad))


@pytest.mark.parametrize(
    ("m1", "m2", "m3"), [(1.0, 0.5, 0.0), (1.0, 0.0, 0.35), (3.0, 0.0, 0.0), (2.0, 0.3, 0.2)]
)
def test_autograd_gradient_against_finite_differences(m1: float, m2: float, m3: float) -> None:
    header = MarginHeader(D, C, s=3.0, m1=m1, m2=m2, m3=m3, gradient="autograd").double()
    embeddings, labels = batch()
    theta = torch.acos(header.logits(embeddings.double()).gather(1, labels[:, None])[:, 0] / 3)
    phi = m1 * theta + m2
    smooth = ((phi / math.pi) - (phi / math.pi).round()).abs() > 0.01
    x = embeddings[smooth].double().requires_grad_()

    def loss(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        logits = torch.func.functional_call(header, {"weight": w}, (x, labels[smooth]))
        return F.cross_entropy(logits, labels[smooth])

    assert torch.autograd.gradcheck(loss, (x, header.weight.detach().requires_grad_()))


def test_ramp() -> None:
    embeddings, labels = batch()
    header = MarginHeader(D, C, m1=2.0, m2=0.4, m3=0.2, ramp=0.5)
    full = MarginHeader(D, C, m1=2.0, m2=0.4, m3=0.2)
    half = MarginHeader(D, C, m1=1.5, m2=0.2, m3=0.1)
    for other in (full, half):
        other.load_state_dict(header.state_dict())
    torch.testing.assert_close(header(embeddings, labels), full(embeddings, labels))
    for fraction, same in ((0.25, half), (0.5, full), (0.9, full)):
        header.set_progress(fraction)
        torch.testing.assert_close(header(embeddings, labels), same(embeddings, labels))
    header.set_progress(0.0)
    torch.testing.assert_close(header(embeddings, labels), header.logits(embeddings))


@pytest.mark.long
def test_compiled_by_inductor() -> None:
    import jaxtyping

    jaxtyping.config.update("jaxtyping_disable", True)
    embeddings, labels = batch()
    embeddings.requires_grad_()
    header = MarginHeader(D, C, m1=1.5, m2=0.2, m3=0.1)
    header.loss(embeddings, labels).backward()
    expected, embeddings.grad = embeddings.grad, None
    torch.compile(header.loss, fullgraph=True)(embeddings, labels).backward()
    jaxtyping.config.update("jaxtyping_disable", False)
    torch.testing.assert_close(embeddings.grad, expected, atol=1e-5, rtol=1e-4)


# --- Peers ----------------------------------------------------------------------------------------


def assert_same_loss(
    header: Header, other: torch.nn.Module, embeddings: torch.Tensor, labels: torch.Tensor
) -> None:
    other.W.data = header.weight.detach().T.clone()
    torch.testing.assert_close(
        header.loss(embeddings, labels), other(embeddings, labels), rtol=1e-4, atol=1e-4
    )


def test_cosface_as_in_pytorch_metric_learning() -> None:
    header = MarginHeader(D, C, s=24.0, m3=0.35)
    assert_same_loss(header, peer.CosFaceLoss(C, D, margin=0.35, scale=24), *batch())


def test_arcface_as_in_pytorch_metric_learning_while_below_pi() -> None:
    header = MarginHeader(D, C, s=24.0, m2=0.5)
    embeddings, labels = batch()
    theta = torch.acos(header.logits(embeddings).gather(1, labels[:, None])[:, 0] / 24)
    below = theta + 0.5 < math.pi
    other = peer.ArcFaceLoss(C, D, margin=math.degrees(0.5), scale=24)
    assert_same_loss(header, other, embeddings[below], labels[below])


@pytest.mark.parametrize("m1", [2, 3, 4])
def test_sphereface_as_in_pytorch_metric_learning_on_unit_embeddings(m1: int) -> None:
    header = MarginHeader(D, C, s=24.0, m1=float(m1))
    embeddings, labels = batch()
    other = peer.SphereFaceLoss(C, D, margin=m1, scale=24)
    assert_same_loss(header, other, F.normalize(embeddings), labels)


def test_original_sphereface_as_in_pytorch_metric_learning_without_annealing() -> None:
    header = SphereFaceOriginalHeader(D, C, m1=4.0)
    header.lam.fill_(0.0)
    assert_same_loss(header, peer.SphereFaceLoss(C, D, margin=4, scale=1), *batch())


def test_subcenter_as_in_pytorch_metric_learning() -> None:
    header = SubcenterHeader(D, C, k=3, m2=0.3, s=24.0)
    embeddings, labels = batch()
    theta = torch.acos(header.logits(embeddings).gather(1, labels[:, None])[:, 0] / 24)
    below = theta + 0.3 < math.pi
    other = peer.SubCenterArcFaceLoss(
        num_classes=C, embedding_size=D, margin=math.degrees(0.3), scale=24, sub_centers=3
    )
    assert_same_loss(header, other, embeddings[below], labels[below])


# Figures from other libraries' documentation, where nothing passes π: beyond it they leave ψ.


def test_the_example_of_oneflow() -> None:
    """oneflow.nn.CombinedMarginLoss(0.3, 0.5, 0.4), in the documentation of its version 0.8.1."""
    cosines = torch.tensor(
        [[-0.7027179, 0.0230609], [-0.02721931, -0.16056311], [-0.4565852, -0.64471215]]
    )
    labels = torch.tensor([0, 1, 1])
    own = torch.arange(3), labels
    cosines[own] = angles.target_cosine(cosines[own], 0.3, 0.5, 0.4)
    expected = [[-0.0423, 0.0231], [-0.0272, 0.1237], [-0.4566, -0.0204]]
    torch.testing.assert_close(cosines, torch.tensor(expected), atol=5e-5, rtol=0)


@pytest.mark.parametrize(
    ("cosines", "labels", "losses", "softmax"),
    [
        (
            [[0.85204151, -0.55557678, 0.04994566, 0.71986042],
             [-0.20198586, -0.35270476, -0.55182702, 0.09749021]],
            [2, 3],
            [82.37059586, 12.13448420],
            [[0.99978819, 0.0, 0.0, 0.00021181], [0.99992995, 0.00006468, 0.0, 0.00000537]],
        ),
        (
            [[-0.59561850, 0.32797505, 0.80279214, 0.00144975],
             [-0.16265212, 0.84155098, 0.62008629, 0.79126072]],
            [1, 0],
            [61.94391901, 93.30853839],
            [[0.0, 0.0, 1.0, 0.0], [0.0, 0.96152676, 0.00000067, 0.03847257]],
        ),
    ],
)  # fmt: skip
def test_the_examples_of_paddle(
    cosines: list[list[float]],
    labels: list[int],
    losses: list[float],
    softmax: list[list[float]],
) -> None:
    """paddle.nn.functional.margin_cross_entropy(margin2=0.5, scale=64): of 2.2, and since 2.6."""
    rows = torch.tensor(cosines, dtype=torch.float64)
    got = 64 * rows
    own = torch.arange(2), torch.tensor(labels)
    got[own] = 64 * angles.target_cosine(rows[own], 1.0, 0.5, 0.0)
    expected = torch.tensor(losses, dtype=torch.float64)
    loss = F.cross_entropy(got, torch.tensor(labels), reduction="none")
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=0)
    probabilities = torch.tensor(softmax, dtype=torch.float64)
    torch.testing.assert_close(got.softmax(dim=1), probabilities, atol=1e-7, rtol=0)


# --- The heads outside the formula ----------------------------------------------------------------


def test_linear() -> None:
    assert_same(LinearHeader(D, C), lambda x, y, w: [dot(x, w[j]) for j in range(C)])


def test_subcenter() -> None:
    def formula(x: np.ndarray, y: int, w: np.ndarray) -> list[float]:
        nearest = [min(range(3), key=lambda k: angle(x, w[3 * j + k])) for j in range(C)]
        return margin_row(x, y, np.array([w[3 * j + nearest[j]] for j in range(C)]), 30, 1, 0.5, 0)

    header = SubcenterHeader(D, C, k=3)
    assert_same(header, formula)
    embeddings, labels = batch()
    x, w = embeddings.numpy(), header.weight.detach().numpy()
    hits = np.zeros((C, 3))
    for i in range(N):
        y = int(labels[i])
        hits[y, min(range(3), key=lambda k: angle(x[i], w[3 * y + k]))] += 1
    np.testing.assert_array_equal(header.hits.numpy(), hits)
    for j in range(C):
        dominant = w[3 * j + int(hits[j].argmax())]
        np.testing.assert_allclose(
            header.directions[j].numpy(), dominant / norm(dominant), atol=1e-6
        )


def test_subcenter_with_one_center_is_arcface() -> None:
    one, arcface = SubcenterHeader(D, C, k=1), MarginHeader(D, C, m2=0.5)
    arcface.load_state_dict({"weight": one.weight.detach()})
    torch.testing.assert_close(one(*batch()), arcface(*batch()))


def test_adacos() -> None:
    header = AdaCosHeader(D, C)
    s = math.sqrt(2) * math.log(C - 1)
    assert header.s.item() == pytest.approx(s)
    embeddings, labels = batch()
    x, w = embeddings.numpy(), header.weight.detach().numpy()
    total, thetas = 0.0, []
    for i in range(N):
        total += sum(math.exp(s * math.cos(angle(x[i], w[j]))) for j in range(C) if j != labels[i])
        thetas.append(angle(x[i], w[int(labels[i])]))
    median = sorted(thetas)[(N - 1) // 2]  # the lower one, as torch takes it
    adapted = math.log(total / N) / math.cos(min(math.pi / 4, median))
    assert_same(header, lambda x, y, w: [adapted * math.cos(angle(x, w[j])) for j in range(C)])
    assert header.s.item() == pytest.approx(adapted, rel=1e-5)


def test_adacos_ignores_unlabelled_samples_and_survives_a_batch_of_them() -> None:
    header, other = AdaCosHeader(D, C), AdaCosHeader(D, C)
    other.load_state_dict(header.state_dict())
    embeddings, labels = batch()
    header(embeddings, labels)
    other(torch.cat([embeddings, embeddings]), torch.cat([labels, torch.full_like(labels, -1)]))
    torch.testing.assert_close(header.s, other.s)
    other(embeddings, torch.full_like(labels, -1))
    torch.testing.assert_close(header.s, other.s)


def test_curricularface() -> None:
    header = CurricularHeader(D, C, m2=0.5, alpha=0.9)
    embeddings, labels = batch()
    x, w = embeddings.numpy(), header.weight.detach().numpy()
    mean = sum(math.cos(angle(x[i], w[int(labels[i])])) for i in range(N)) / N
    t = 0.1 * mean  # from 0

    def formula(x: np.ndarray, y: int, w: np.ndarray) -> list[float]:
        row = margin_row(x, y, w, 30, 1, 0.5, 0)
        for j in range(C):
            if j != y and row[j] > row[y]:
                row[j] *= t + row[j] / 30
        return row

    assert_same(header, formula)
    assert header.t.item() == pytest.approx(t, abs=1e-6)


@pytest.mark.parametrize("adaptive", [True, False])
@pytest.mark.parametrize(("m2", "m3"), [(0.5, 0.0), (0.0, 0.35)])
def test_mv_softmax(adaptive: bool, m2: float, m3: float) -> None:
    def formula(x: np.ndarray, y: int, w: np.ndarray) -> list[float]:
        row = margin_row(x, y, w, 30, 1, m2, m3)
        for j in range(C):
            if j != y and row[j] > row[y]:
                row[j] += 30 * 0.2 * ((row[j] / 30 + 1) if adaptive else 1)
        return row

    assert_same(MVSoftmaxHeader(D, C, m2=m2, m3=m3, t=0.2, adaptive=adaptive), formula)


def test_adaface() -> None:
    header = AdaFaceHeader(D, C, m=0.4, h=0.333, alpha=0.99)
    first, second = batch(5)[0], batch()[0]
    mean, std = (float(f(first.norm(dim=1).numpy())) for f in (np.mean, np.std))
    header(first, batch(5)[1])
    assert (header.norm_mean.item(), header.norm_std.item()) == pytest.approx((mean, std), rel=1e-5)
    mean = 0.99 * mean + 0.01 * float(second.norm(dim=1).mean())
    std = 0.99 * std + 0.01 * float(np.std(second.norm(dim=1).numpy()))

    def formula(x: np.ndarray, y: int, w: np.ndarray) -> list[float]:
        z = max(-1.0, min(1.0, (norm(x) - mean) / ((std + 1e-3) / 0.333)))
        return margin_row(x, y, w, 30, 1, -0.4 * z, 0.4 * z + 0.4)

    assert_same(header, formula)


def magface_margin(a: float) -> float:
    return 0.45 + (0.8 - 0.45) * (a - 10) / (110 - 10)


def test_magface() -> None:
    header = MagFaceHeader(D, C)
    embeddings, labels = batch()

    def magnitude(x: np.ndarray) -> float:
        return max(10.0, min(110.0, norm(x) * math.sqrt(512 / D)))

    def formula(x: np.ndarray, y: int, w: np.ndarray) -> list[float]:
        return margin_row(x, y, w, 30, 1, magface_margin(magnitude(x)), 0)

    assert_same(header, formula)
    a = [magnitude(x) for x in embeddings.numpy()]
    assert min(a) < 15 < 50 < max(a)
    regulariser = sum(1 / v + v / 110**2 for v in a) / N
    expected = F.cross_entropy(header(embeddings, labels), labels) + 35 * regulariser
    torch.testing.assert_close(header.loss(embeddings, labels), expected)


def test_magface_in_512_dimensions_has_the_published_magnitude() -> None:
    embeddings = torch.randn(3, 512, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(MagFaceHeader(512, C).magnitude(embeddings), embeddings.norm(dim=1))


def test_magface_lengthens_easy_embeddings_and_shortens_hard_ones() -> None:
    """The paper's property: the best magnitude is larger for a sample nearer to its centre."""
    header = MagFaceHeader(D, C)
    w = header.weight.detach()
    centre, away = w[0], torch.linalg.svd(w[:1])[2][-1]
    growth = []
    for theta in (0.1, 1.5):
        x = (2.0 * (math.cos(theta) * centre + math.sin(theta) * away))[None].requires_grad_()
        header.loss(x, torch.tensor([0])).backward()
        assert x.grad is not None
        growth.append(-(x.grad * x.detach()).sum().item())
    assert growth[0] > 0 > growth[1]


@pytest.mark.parametrize("name", ["m2", "m3"])
def test_elasticface(name: str) -> None:
    header = ElasticHeader(D, C, **{name: 0.5, f"std_{name}": 0.05})
    embeddings, labels = batch()
    m1, m2, m3 = header.margins(embeddings.repeat(500, 1), labels.repeat(500))
    drawn, fixed = (m2, m3) if name == "m2" else (m3, m2)
    assert drawn.mean().item() == pytest.approx(0.5, abs=2e-3)
    assert drawn.std().item() == pytest.approx(0.05, rel=0.05)
    assert m1 == 1.0 and (fixed == 0).all()
    torch.manual_seed(4)
    margins = header.margins(embeddings, labels)
    torch.manual_seed(4)
    rows = [
        margin_row(embeddings[i].numpy(), int(labels[i]), header.weight.detach().numpy(), 30, 1,
                   float(margins.m2[i]), float(margins.m3[i]))
        for i in range(N)
    ]  # fmt: skip
    np.testing.assert_allclose(header(embeddings, labels).detach().numpy(), rows, atol=2e-3)
    plain = MarginHeader(D, C, **{name: 0.5})
    plain.load_state_dict(header.state_dict())
    torch.testing.assert_close(header.eval()(embeddings, labels), plain(embeddings, labels))


def test_per_class_margins_given_one_by_one() -> None:
    m2, m3 = [0.1 * c for c in range(C)], [0.05 * c for c in range(C)]
    header = PerClassHeader(D, C, m2=m2, m3=m3)
    assert_same(header, lambda x, y, w: margin_row(x, y, w, 30, 1, m2[y], m3[y]))


def test_per_class_margins_from_counts() -> None:
    counts = [10, 20, 40, 80, 160, 320]
    header = PerClassHeader(D, C, m3=0.5, class_counts=counts)
    ldam = [0.5 * (10 / n) ** 0.25 for n in counts]
    assert_same(header, lambda x, y, w: margin_row(x, y, w, 30, 1, 0, ldam[y]))


def test_per_class_margins_from_what_was_seen() -> None:
    counting, told = PerClassHeader(D, C), PerClassHeader(D, C, class_counts=[1, 2, 3, 4, 5, 6])
    told.weight.data = counting.weight.data
    labels = torch.cat([torch.full((c + 1,), c) for c in range(C)] + [torch.tensor([-1, -1])])
    counting(torch.randn(len(labels), D), labels)
    counting.eval(), told.eval()
    torch.testing.assert_close(counting(*batch()), told(*batch()))


def test_original_sphereface() -> None:
    header = SphereFaceOriginalHeader(D, C, m1=4.0)
    for fraction, lam in ((0.0, 1000.0), (100 / 28_000, 1000 / 13), (0.05, 1000 / 169), (1.0, 5.0)):
        header.set_progress(fraction)
        assert header.lam.item() == pytest.approx(lam, rel=1e-5)

        def formula(x: np.ndarray, y: int, w: np.ndarray, lam: float = lam) -> list[float]:
            row = [norm(x) * math.cos(angle(x, w[j])) for j in range(C)]
            row[y] = (lam * row[y] + norm(x) * psi(4 * angle(x, w[y]))) / (1 + lam)
            return row

        assert_same(header, formula)


@pytest.mark.parametrize("gradient", ["detached", "autograd"])
def test_sphereface_r(gradient: str) -> None:
    def version_1(x: np.ndarray, y: int, w: np.ndarray) -> list[float]:
        row = margin_row(x, y, w, 30, 1, 0, 0)
        row[y] = 30 * math.cos(min(1.9 * angle(x, w[y]), math.pi))
        return row

    def version_2(x: np.ndarray, y: int, w: np.ndarray) -> list[float]:
        row = [30 * math.cos(angle(x, w[j]) / 1.9) for j in range(C)]
        row[y] = 30 * math.cos(angle(x, w[y]))
        return row

    for version, formula in ((1, version_1), (2, version_2)):
        assert_same(SphereFaceRHeader(D, C, m1=1.9, version=version, gradient=gradient), formula)


@pytest.mark.parametrize("gradient", ["detached", "autograd"])
def test_sphereface2(gradient: str) -> None:
    header = SphereFace2Header(
        D, C, s=20.0, m3=0.3, lam=0.6, t=2.5, loss_weight=7.0, gradient=gradient
    )
    b = header.bias.item()

    def formula(x: np.ndarray, y: int, w: np.ndarray) -> list[float]:
        g = [2 * ((math.cos(angle(x, w[j])) + 1) / 2) ** 2.5 - 1 for j in range(C)]
        return [20 * (g[j] + (-0.3 if j == y else 0.3)) + b for j in range(C)]

    assert_same(header, formula)
    embeddings, labels = batch()
    total = 0.0
    for i, row in enumerate(by_loop(header, formula, embeddings, labels)):
        for j in range(C):
            total += 0.6 * softplus(-row[j]) if j == labels[i] else 0.4 * softplus(row[j])
    expected = 7 * total / 20 / N
    assert header.loss(embeddings, labels).item() == pytest.approx(expected, rel=1e-4)


def test_sphereface2_starts_where_the_paper_does_in_many_dimensions() -> None:
    """The paper balances at cos θ = 0, where all cosines gather as D grows."""
    header = SphereFace2Header(1_000_000, 100, s=30.0, m3=0.4)
    b, g = header.bias.item(), 2 * 0.5**3 - 1
    attraction = 0.7 / (1 + math.exp(30 * (g - 0.4) + b))
    repulsion = 0.3 * 99 / (1 + math.exp(-30 * (g + 0.4) - b))
    assert attraction == pytest.approx(repulsion, rel=0.01)


def test_uniface() -> None:
    header = UniFaceHeader(D, C, s=20.0, m3=0.3, negative_weight=0.5)
    b = header.bias.item()

    def formula(x: np.ndarray, y: int, w: np.ndarray) -> list[float]:
        return [20 * (math.cos(angle(x, w[j])) - (0.3 if j == y else 0)) - b for j in range(C)]

    assert_same(header, formula)
    embeddings, labels = batch()
    total = 0.0
    for i, row in enumerate(by_loop(header, formula, embeddings, labels)):
        for j in range(C):
            total += softplus(-row[j]) if j == labels[i] else 0.5 * softplus(row[j])
    assert header.loss(embeddings, labels).item() == pytest.approx(total / N, rel=1e-4)


@pytest.mark.parametrize("make", [UniFaceHeader, SphereFace2Header])
@pytest.mark.parametrize("d", [2, 16])
def test_binary_heads_start_in_balance(make: Callable[..., Header], d: int) -> None:
    """Over embeddings that point anywhere, the pull on the bias cancels."""
    header = make(d, 10)
    embeddings = torch.randn(40_000, d, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(40_000) % 10
    (pull,) = torch.autograd.grad(header.loss(embeddings, labels), header.bias)
    (typical,) = torch.autograd.grad(
        header.loss(header.directions.repeat(4000, 1), labels), header.bias
    )
    assert abs(pull) < 0.05 * max(1.0, abs(typical))


def test_sface() -> None:
    header = SFaceHeader(D, C, s=20.0, k=12.0, a=0.8, b=1.3).double()
    embeddings, labels = batch()
    x = embeddings.double().requires_grad_()
    w = header.weight.detach().numpy()

    def sigmoid(z: float) -> float:
        return 1 / (1 + math.exp(-z))

    forces, total = np.zeros((N, C)), 0.0
    for i in range(N):
        for j in range(C):
            theta = angle(x[i].detach().numpy(), w[j])
            own = j == int(labels[i])
            forces[i, j] = -sigmoid(12 * (theta - 0.8)) if own else sigmoid(12 * (1.3 - theta))
            total += forces[i, j] * 20 * math.cos(theta)
    loss = header.loss(x, labels)
    assert loss.item() == pytest.approx(total / N, abs=1e-6)
    # The forces are held constant: the gradient is that of their product with the cosines alone.
    cosines = 20 * F.normalize(x) @ F.normalize(header.weight).T
    inputs = (x, header.weight)
    expected = torch.autograd.grad((torch.from_numpy(forces) * cosines).sum() / N, inputs)
    torch.testing.assert_close(torch.autograd.grad(loss, inputs), expected)


@pytest.mark.parametrize("gradient", ["detached", "autograd"])
def test_inter_topk(gradient: str) -> None:
    header = InterTopKHeader(
        D, C, k=2, m2=0.3, hardest=2, penalty=0.2, gradient=gradient, s=20.0
    ).double()

    def formula(x: np.ndarray, y: int, w: np.ndarray) -> list[float]:
        theta = [min(angle(x, w[2 * j]), angle(x, w[2 * j + 1])) for j in range(C)]
        row = [20 * math.cos(theta[j]) for j in range(C)]
        for j in sorted(set(range(C)) - {y}, key=lambda j: theta[j])[:2]:
            row[j] = 20 * math.cos(max(0.0, theta[j] - 0.2))
        row[y] = 20 * psi(theta[y] + 0.3)
        return row

    embeddings, labels = batch()
    got = header(embeddings.double(), labels).detach().numpy()
    np.testing.assert_allclose(got, by_loop(header, formula, embeddings, labels), atol=1e-6)


def test_inter_topk_without_a_penalty_is_sub_center_arcface() -> None:
    plain, penalised = SubcenterHeader(D, C, m2=0.3), InterTopKHeader(D, C, m2=0.3, penalty=0.0)
    penalised.load_state_dict(plain.state_dict())
    torch.testing.assert_close(penalised(*batch()), plain(*batch()))


def test_kappaface() -> None:
    """With momentum = 1 the mean directions are those of all samples so far, as in one epoch."""
    header = KappaFaceHeader(D, C, m0=0.7, temperature=0.6, gamma=0.6, momentum=1.0).double()
    seen = [batch(seed) for seed in (5, 6)]
    for embeddings, labels in seen:
        header(embeddings.double(), labels)
    x = np.concatenate([part[0].double().numpy() for part in seen])
    y = np.concatenate([part[1].numpy() for part in seen])
    counts = [int((y == c).sum()) for c in range(C)]
    kappa = []
    for c in range(C):
        r = norm(sum(v / norm(v) for v in x[y == c])) / counts[c]
        kappa.append(r * (D - r**2) / (1 - r**2))
    margin = []
    for c in range(C):
        z = (kappa[c] - np.mean(kappa)) / np.std(kappa, ddof=1)
        spread = 1 - 1 / (1 + math.exp(-0.6 * z))
        rarity = (math.cos(math.pi * counts[c] / (1.05 * max(counts))) + 1) / 2
        margin.append(0.7 * (0.6 * spread + 0.4 * rarity))
    assert max(margin) - min(margin) > 0.05
    embeddings, labels = batch()
    expected = by_loop(
        header,
        lambda x, y, w: margin_row(x, y, w, 30, 1, margin[y], 0),
        embeddings,
        labels,
    )
    got = header.eval()(embeddings.double(), labels).detach().numpy()
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_kappaface_forgets() -> None:
    """Each sample counts momentum times as much as the next one of its class."""
    header = KappaFaceHeader(D, C, momentum=0.9, class_counts=[10] * C).double()
    directions = F.normalize(torch.randn(12, D, generator=torch.Generator().manual_seed(1)))
    for one in directions.double():
        header(3 * one[None], torch.tensor([2]))
    weights = 0.9 ** torch.arange(11, -1, -1).double()
    r = (weights[:, None] * directions).sum(dim=0).norm() / weights.sum()
    kappa = header.concentrations()
    torch.testing.assert_close(kappa[2], r * (D - r**2) / (1 - r**2))
    assert kappa[[0, 1, 3, 4, 5]].isnan().all(), "no sample of these was seen"


def test_kappaface_gives_wide_and_rare_classes_more() -> None:
    header = KappaFaceHeader(D, 3, class_counts=[90, 90, 10])
    rng = torch.Generator().manual_seed(0)
    centres, spread = torch.eye(D)[:3], torch.tensor([0.1, 0.5, 0.1])
    labels = torch.arange(3).repeat(60)
    noise = spread[labels, None] * torch.randn(180, D, generator=rng)
    header(centres[labels] + noise, labels)
    tight, wide, rare = header.margins(torch.zeros(3, D), torch.arange(3)).m2.tolist()
    assert tight < wide and tight < rare


@pytest.mark.parametrize("gradient", ["detached", "autograd"])
def test_x2_softmax(gradient: str) -> None:
    header = X2SoftmaxHeader(D, C, a=-0.8, h=-0.1, k=0.7, s=20.0, gradient=gradient).double()

    def formula(x: np.ndarray, y: int, w: np.ndarray) -> list[float]:
        row = [20 * math.cos(angle(x, w[j])) for j in range(C)]
        row[y] = 20 * (-0.8 * (angle(x, w[y]) + 0.1) ** 2 + 0.7)
        return row

    embeddings, labels = batch()
    got = header(embeddings.double(), labels).detach().numpy()
    np.testing.assert_allclose(got, by_loop(header, formula, embeddings, labels), atol=1e-6)


def test_x2_softmax_has_a_margin_that_grows_with_the_angle() -> None:
    header = X2SoftmaxHeader(2, 2)
    theta = torch.linspace(0.0, math.pi, 200)
    target = header.target_shift(theta.cos(), header.margins(torch.zeros(200, 2), theta.long()))
    assert (target < 0).all() and (target.diff() < 1e-6).all()


def gb_cosface_loss(x: np.ndarray, y: int, w: np.ndarray, boundary: float) -> tuple[float, float]:
    """The loss of a sample, and the point between its positive and its negative similarity."""
    s, m, alpha = 20.0, 0.1, 0.3
    p = math.cos(angle(x, w[y]))
    n = math.log(sum(math.exp(s * math.cos(angle(x, w[j]))) for j in range(C) if j != y)) / s
    between = (p + n) / 2
    v = (1 - alpha) * between + alpha * boundary
    loss = softplus(2 * s * (v - (p - m))) / 2 + softplus(2 * s * (n - (v - m))) / 2
    return loss, between


def test_gb_cosface() -> None:
    """Two steps: the first batch starts the boundary, and moves it for the second."""
    bounds = (0.05, 0.6)
    header = GBCosFaceHeader(D, C, s=20.0, m3=0.1, alpha=0.3, bounds=bounds, rate=0.25).double()
    w, boundary = header.weight.detach().numpy(), None
    for seed in (0, 1):
        embeddings, labels = batch(seed)
        between = np.mean(
            [
                gb_cosface_loss(x, int(y), w, 0.0)[1]
                for x, y in zip(embeddings.double().numpy(), labels, strict=True)
            ]
        )
        boundary = between if boundary is None else boundary
        boundary = min(max(boundary, bounds[0]), bounds[1])
        losses = [
            gb_cosface_loss(x, int(y), w, boundary)[0]
            for x, y in zip(embeddings.double().numpy(), labels, strict=True)
        ]
        loss = header.loss(embeddings.double(), labels)
        assert loss.item() == pytest.approx(np.mean(losses), abs=1e-6)
        boundary = 0.75 * boundary + 0.25 * between
    assert header.boundary.item() == pytest.approx(boundary, abs=1e-6)


def test_gb_cosface_without_the_shared_boundary_is_cosface_with_twice_the_margin() -> None:
    header = GBCosFaceHeader(D, C, m3=0.16, alpha=0.0)
    cosface = MarginHeader(D, C, m3=0.32)
    cosface.load_state_dict({"weight": header.weight.detach()})
    embeddings, labels = batch()
    torch.testing.assert_close(header(embeddings, labels), cosface(embeddings, labels))
    got, expected = (head.loss(embeddings, labels) for head in (header, cosface))
    torch.testing.assert_close(got, expected)
    gradients = (
        torch.autograd.grad(loss, head.weight)[0]
        for loss, head in ((got, header), (expected, cosface))
    )
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "keys", "sentence"),
    [
        (SFaceHeader, {"k": 0.0}, "k must be > 0, got 0.0"),
        (InterTopKHeader, {"hardest": -1}, "hardest, a number of classes, must be at least 0"),
        (InterTopKHeader, {"penalty": -0.1}, "penalty must be >= 0, got -0.1"),
        (KappaFaceHeader, {"gamma": 1.5}, r"gamma must be in \[0, 1\], got 1.5"),
        (KappaFaceHeader, {"m0": math.nan}, "m0 must be a finite number >= 0, got nan"),
        (KappaFaceHeader, {"class_counts": [1, 0]}, "class_counts must be 6 numbers >= 1"),
        (X2SoftmaxHeader, {"a": 0.9}, "a must be <= -0.5, got 0.9: else the target would rise"),
        (X2SoftmaxHeader, {"k": 1.5}, "k must be <= 1, got 1.5"),
        (GBCosFaceHeader, {"bounds": (0.7, 0.5)}, "bounds must be two cosines, the lower one"),
        (GBCosFaceHeader, {"alpha": 2.0}, r"alpha must be in \[0, 1\], got 2.0"),
    ],
)
def test_constants_out_of_range(make: Callable[..., Header], keys: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        make(D, C, **keys)


def test_gb_cosface_needs_another_class() -> None:
    with pytest.raises(UserError, match="GB-CosFace needs num_classes at least 2, got 1"):
        GBCosFaceHeader(D, 1)
