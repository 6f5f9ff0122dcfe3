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

from arcmargin.headers import Header, MarginHeader
from arcmargin.headers.adacos import AdaCosHeader
from arcmargin.headers.adaface import AdaFaceHeader
from arcmargin.headers.curricular import CurricularHeader
from arcmargin.headers.elastic import ElasticHeader
from arcmargin.headers.linear import LinearHeader
from arcmargin.headers.magface import MagFaceHeader
from arcmargin.headers.mv_softmax import MVSoftmaxHeader
from arcmargin.headers.per_class import PerClassHeader
from arcmargin.headers.sphereface2 import SphereFace2Header
from arcmargin.headers.sphereface_original import SphereFaceOriginalHeader
from arcmargin.headers.sphereface_r import SphereFaceRHeader
from arcmargin.headers.subcenter import SubcenterHeader
from arcmargin.headers.uniface import UniFaceHeader

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
