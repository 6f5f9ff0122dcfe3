"""The fused, the class-chunked and the sampled loss against the simple one, through the logits."""

import copy
import functools
import math
from collections.abc import Iterator

import pytest
import torch
from header_presets import PRESETS, C, D, build
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from arcmargin.errors import UserError
from arcmargin.headers import Header, MarginHeader, scaled_cosines, softmax
from arcmargin.headers.adacos import AdaCosHeader
from arcmargin.headers.sampling import sample_classes
from arcmargin.headers.target_margin import TargetMarginHeader

N = 32

PLAIN = [
    *("normface", "cosface", "arcface", "sphereface", "combined", "adaface", "magface"),
    *("elastic_arcface", "elastic_cosface", "per_class", "kappaface", "x2_softmax"),
]
MIXED = ["sphereface_r"]  # version 1 is plain
OTHERS = [
    *("linear", "sphereface_original", "subcenter_arcface", "curricularface", "mv_softmax"),
    *("sphereface2", "uniface", "sface", "inter_topk", "gb_cosface"),
]

Gradients = dict[str, torch.Tensor]


def batch(n: int = N, d: int = D, c: int = C) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    embeddings = torch.randn(n, d, generator=rng) * (0.2 + 3 * torch.rand(n, 1, generator=rng))
    labels = torch.randint(0, c, (n,), generator=rng)
    labels[-1] = -1
    embeddings[0] = 0.0  # no direction
    return embeddings.double(), labels


def outcome(
    header: Header, embeddings: torch.Tensor, labels: torch.Tensor, *, simple: bool = False
) -> Gradients:
    """The loss, its gradients and what the head remembers of the step."""
    header = copy.deepcopy(header)
    x = embeddings.clone().requires_grad_()
    torch.manual_seed(3)  # ElasticFace draws
    loss = Header.loss(header, x, labels) if simple else header.loss(x, labels)
    loss.backward()
    assert x.grad is not None
    parameters = {k: p.grad for k, p in header.named_parameters() if p.grad is not None}
    return {"loss": loss.detach(), "x": x.grad, **parameters, **dict(header.named_buffers())}


@pytest.fixture(autouse=True)
def past_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with very many classes."""
    monkeypatch.setattr(softmax, "MANY_CLASSES", 0)


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """So that seven classes have more than one block, and vectors too."""
    monkeypatch.setattr(scaled_cosines, "CACHED_CLASSES", 3)
    monkeypatch.setattr(scaled_cosines, "CACHED_VECTORS", 2)
    yield


def test_every_head_is_on_one_list() -> None:
    assert set(PRESETS) == {*PLAIN, *MIXED, *OTHERS, "adacos"}
    for preset in PRESETS:
        header = build(preset)
        if isinstance(header, TargetMarginHeader):
            assert header.plain_others == (preset in PLAIN), preset


@pytest.mark.parametrize("class_chunk", [None, 1, 3, 100])
@pytest.mark.parametrize("gradient", ["detached", "autograd"])
@pytest.mark.parametrize("preset", PLAIN)
def test_fast_is_simple(
    preset: str, gradient: str, class_chunk: int | None, small_blocks: None
) -> None:
    header = build(preset, gradient=gradient, class_chunk=class_chunk, ramp=0.5).double()
    header.weight.data[2] = 0.0
    header.set_progress(0.4)
    for training in (True, False):
        header.train(training)
        simple = outcome(header, *batch(), simple=True)
        if preset == "magface":  # the regulariser is its own
            a = header.magnitude(batch()[0])[:-1]
            simple["loss"] += header.lambda_g * (1 / a + a / header.u_a**2).mean()
            simple.pop("x")
        fast = outcome(header, *batch())
        torch.testing.assert_close({k: fast[k] for k in simple}, simple, rtol=1e-6, atol=1e-9)


def test_magface_gradients(small_blocks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    header = build("magface", gradient="autograd").double()
    fast = outcome(header, *batch())
    monkeypatch.setattr(TargetMarginHeader, "loss", Header.loss)
    torch.testing.assert_close(fast, outcome(header, *batch()), rtol=1e-6, atol=1e-9)


def test_sphereface_r_version_1(small_blocks: None) -> None:
    from arcmargin.headers.sphereface_r import SphereFaceRHeader

    for gradient in ("detached", "autograd"):
        header = SphereFaceRHeader(D, C, m1=1.9, version=1, gradient=gradient, class_chunk=2)
        header = header.double()
        simple = outcome(header, *batch(), simple=True)
        torch.testing.assert_close(outcome(header, *batch()), simple, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("training", [True, False])
def test_adacos_by_chunks(training: bool) -> None:
    whole = AdaCosHeader(D, C).double().train(training)
    chunked = AdaCosHeader(D, C, class_chunk=3).double().train(training)
    chunked.load_state_dict(whole.state_dict())
    fast, simple = outcome(chunked, *batch()), outcome(whole, *batch())
    torch.testing.assert_close(fast, simple, rtol=1e-6, atol=1e-9)
    assert (fast["s"] != whole.s) == training


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(1, 9),
    d=st.integers(1, 6),
    c=st.integers(1, 40),
    chunk=st.none() | st.integers(1, 50),
    s=st.floats(0.1, 200),
    seed=st.integers(0, 99),
)
def test_fast_is_simple_for_any_size(
    n: int, d: int, c: int, chunk: int | None, s: float, seed: int
) -> None:
    torch.manual_seed(seed)
    header = MarginHeader(d, c, s=s, m1=1.2, m2=0.3, m3=0.1, class_chunk=chunk).double()
    header.weight.data *= torch.rand(c, 1).double() * 10
    embeddings, labels = torch.randn(n, d).double(), torch.randint(-1, c, (n,))
    labels[0] = c - 1
    simple = outcome(header, embeddings, labels, simple=True)
    fast = outcome(header, embeddings, labels)
    torch.testing.assert_close(fast, simple, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("class_chunk", [None, 700])
def test_float32_over_thousands_of_classes(class_chunk: int | None) -> None:
    torch.manual_seed(0)
    header = MarginHeader(16, 2500, s=64.0, m2=0.5, class_chunk=class_chunk)
    embeddings = torch.randn(40, 16)
    labels = torch.tensor([0, 699, 700, 1023, 1024, 2047, 2048, 2499] * 5)
    exact = outcome(header.double(), embeddings.double(), labels, simple=True)
    fast = outcome(header.float(), embeddings, labels)
    for name in ("loss", "x", "weight"):
        error = (fast[name].double() - exact[name]).abs().max() / exact[name].abs().max()
        assert error < 1e-5, name


def test_derivatives_of_the_dense_loss_of_all_kinds_against_finite_differences(
    small_blocks: None,
) -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(4, 3), torch.randn(C, 3), torch.randn(4)]
    inputs = [tensor.double().requires_grad_() for tensor in inputs]
    labels = torch.tensor([0, -1, 3, 2])

    def losses(x: torch.Tensor, weight: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        return softmax.dense_losses(x, weight, labels, shift, s=2.0)

    assert torch.autograd.gradcheck(
        losses,
        inputs,
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
    )
    assert torch.autograd.gradgradcheck(losses, inputs)


@pytest.mark.parametrize("class_chunk", [None, 2])
@pytest.mark.parametrize("rows", [None, [0, 2, 3, 6]])
def test_gradients_against_finite_differences(
    class_chunk: int | None, rows: list[int] | None
) -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(4, 3), torch.randn(C, 3), torch.randn(4)]
    x, weight, shift = (tensor.double().requires_grad_() for tensor in inputs)

    def losses(x: torch.Tensor, weight: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        taken = None if rows is None else torch.tensor(rows)
        labels = torch.tensor([0, -1, 3, 2])
        return softmax.softmax_losses(
            x, weight, labels, shift, s=2.0, rows=taken, class_chunk=class_chunk
        )

    assert torch.autograd.gradcheck(losses, (x, weight, shift))


@pytest.mark.parametrize("class_chunk", [None, 300])
@pytest.mark.parametrize("chunked", [False, True])
def test_without_a_margin_it_is_the_linear_cross_entropy_of_torch(
    class_chunk: int | None, chunked: bool
) -> None:
    torch.manual_seed(0)
    header = MarginHeader(32, 1000, s=16.0, class_chunk=class_chunk)
    embeddings, labels = batch(64, 32, 1000)
    embeddings[0] = 1.0  # F.normalize divides a vector without a length by 1e-12
    ours = outcome(header, embeddings.float(), labels)
    x, weight = embeddings.float().requires_grad_(), header.weight
    options = torch.nn.LinearCrossEntropyOptions() if chunked else None
    loss = F.linear_cross_entropy(
        16 * F.normalize(x), F.normalize(weight), labels, ignore_index=-1, options=options
    )
    of_x, of_weight = torch.autograd.grad(loss, (x, weight))
    theirs = {"loss": (loss.detach(), 1e-5), "x": (of_x, 5e-4), "weight": (of_weight, 5e-4)}
    for name, (expected, bound) in theirs.items():
        error = (ours[name] - expected).abs().max() / expected.abs().max()
        assert error < bound, name


def test_a_certain_sample_has_no_loss() -> None:
    header = MarginHeader(D, C, s=200.0)
    x = header.directions.clone().requires_grad_()
    loss = header.loss(x, torch.arange(C))
    loss.backward()
    assert 0 <= loss.item() < 1e-6 and x.grad is not None and x.grad.abs().max() < 1e-4


@pytest.mark.parametrize("class_chunk", [None, 3])
def test_a_second_backward_pass_finds_the_same(class_chunk: int | None, small_blocks: None) -> None:
    header = MarginHeader(D, C, m2=0.5, class_chunk=class_chunk).double()
    x, labels = batch()
    x.requires_grad_()
    loss = header.loss(x, labels)
    inputs = (x, header.weight)
    first = torch.autograd.grad(loss, inputs, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(loss, inputs), first)


@pytest.mark.parametrize("class_chunk", [None, 3])
def test_autocast_reaches_neither_the_loss_nor_its_gradient(class_chunk: int | None) -> None:
    header = MarginHeader(D, C, m2=0.5, class_chunk=class_chunk)
    embeddings, labels = batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = outcome(header, embeddings.float(), labels)
    torch.testing.assert_close(inside, outcome(header, embeddings.float(), labels))


def test_a_frozen_weight_or_backbone() -> None:
    header = MarginHeader(D, C, m2=0.5).double()
    x, labels = batch()
    full = outcome(header, x, labels)
    leaf = x.clone().requires_grad_()
    header.weight.requires_grad_(False)
    header.loss(leaf, labels).backward()
    torch.testing.assert_close(leaf.grad, full["x"])
    header.weight.requires_grad_(True)
    header.loss(x, labels).backward()
    torch.testing.assert_close(header.weight.grad, full["weight"])
    with torch.no_grad():
        torch.testing.assert_close(header.loss(x, labels), full["loss"])


def test_hooks_and_subclasses_still_go_through_forward() -> None:
    class Twice(MarginHeader):
        def forward(self, embeddings, labels):
            return 2 * super().forward(embeddings, labels)

    embeddings, labels = batch()
    header = Twice(D, C).double()
    expected = F.cross_entropy(header(embeddings, labels), labels, ignore_index=-1)
    torch.testing.assert_close(header.loss(embeddings, labels), expected)
    seen = []
    plain = MarginHeader(D, C).double()
    plain.register_forward_hook(lambda *_: seen.append(1))
    plain.loss(embeddings, labels)
    assert seen == [1]
    before = MarginHeader(D, C).double()
    before.register_forward_pre_hook(lambda *_: seen.append(2))
    before.loss(embeddings, labels)
    assert seen == [1, 2]
    with pytest.raises(UserError, match="Twice takes no class_chunk"):
        Twice(D, C, class_chunk=2)


def test_torch_func_takes_its_gradient() -> None:
    header = MarginHeader(D, C, m2=0.5).double()
    embeddings, labels = batch()

    def loss(weight: torch.Tensor) -> torch.Tensor:
        call = torch.func.functional_call
        return call(_Loss(header), {"header.weight": weight}, (embeddings, labels))

    got = torch.func.grad(loss)(header.weight.detach())
    torch.testing.assert_close(got, outcome(header, embeddings, labels)["weight"])


@pytest.mark.long
def test_a_compiled_training_step_leaves_the_chunks_as_they_are() -> None:
    header = MarginHeader(D, C, m2=0.5, class_chunk=3).double()
    x, labels = batch()
    expected = outcome(header, x, labels)
    x.requires_grad_()
    torch.compiler.reset()
    torch.compile(header.loss, backend="eager")(x, labels).backward()
    torch.testing.assert_close(x.grad, expected["x"])


class _Loss(torch.nn.Module):
    def __init__(self, header: Header) -> None:
        super().__init__()
        self.header = header

    def forward(self, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self.header.loss(embeddings, labels)


class Largest(TorchDispatchMode):
    """The size of the largest tensor that any operation returned."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return result


@pytest.mark.parametrize("header", ["MarginHeader", "AdaCosHeader"])
def test_chunks_never_hold_the_matrix(header: str) -> None:
    n, d, c, chunk = 64, 4, 1000, 50
    make = {"MarginHeader": MarginHeader, "AdaCosHeader": AdaCosHeader}[header]
    largest = {}
    for size in (chunk, None):
        head = make(d, c, class_chunk=size)
        embeddings, labels = batch(n, d, c)
        with Largest() as mode:
            loss = head.loss if size else functools.partial(Header.loss, head)
            loss(embeddings.float().requires_grad_(), labels).backward()
        largest[size] = mode.numel
    assert largest[None] == n * c
    assert largest[chunk] == max(n * chunk, d * c)  # a block, or the gradient of the weight


# --- Partial FC -----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.integers(-1, 29), min_size=1, max_size=12),
    st.floats(0.01, 1.0),
    st.integers(0, 99),
)
def test_a_sample_holds_the_labels_and_others(labels: list[int], rate: float, seed: int) -> None:
    torch.manual_seed(seed)
    rows, positions = sample_classes(torch.tensor(labels), 30, rate)
    own = {label for label in labels if label >= 0}
    assert len(rows) == max(1, round(rate * 30), len(own))
    assert rows.tolist() == sorted(set(rows.tolist())) and own <= set(rows.tolist())
    found = [int(rows[p]) if p >= 0 else -1 for p in positions.tolist()]
    assert found == labels


def test_the_others_are_drawn_uniformly() -> None:
    torch.manual_seed(0)
    labels, draws = torch.tensor([3, 3, 7, -1]), 4000
    count = torch.zeros(20)
    for _ in range(draws):
        count[sample_classes(labels, 20, 0.4)[0]] += 1
    assert count[3] == count[7] == draws
    share = 6 / 18  # 8 classes, 2 of them the labels'
    others = torch.cat([count[:3], count[4:7], count[8:]]) / draws
    assert (others - share).abs().max() < 5 * math.sqrt(share * (1 - share) / draws)


def test_sampled_softmax_is_the_softmax_over_the_sample() -> None:
    c = 200
    header = MarginHeader(D, c, m2=0.5, sample_rate=0.25).double()
    embeddings, labels = batch(c=c)
    torch.manual_seed(3)  # as outcome does
    rows, positions = sample_classes(labels, c, 0.25)
    small = MarginHeader(D, len(rows), m2=0.5).double()
    small.weight.data = header.weight.data[rows]
    expected, got = (
        outcome(small, embeddings, positions, simple=True),
        outcome(header, embeddings, labels),
    )
    torch.testing.assert_close(got["loss"], expected["loss"])
    torch.testing.assert_close(got["x"], expected["x"])
    torch.testing.assert_close(got["weight"][rows], expected["weight"])
    unsampled = torch.ones(c, dtype=torch.bool).index_fill(0, rows, False)
    assert len(rows) == 50 and (got["weight"][unsampled] == 0).all()


def test_rate_one_and_evaluation_are_the_dense_softmax() -> None:
    dense, whole, tenth = (
        MarginHeader(D, C, m2=0.5, **rate).double()
        for rate in ({}, {"sample_rate": 1.0}, {"sample_rate": 0.1})
    )
    for header in (whole, tenth):
        header.load_state_dict(dense.state_dict())
    expected = outcome(dense, *batch())
    torch.testing.assert_close(outcome(whole, *batch()), expected, rtol=0, atol=0)
    torch.testing.assert_close(outcome(tenth.eval(), *batch()), expected, rtol=0, atol=0)


def test_sampling_misses_no_more_than_chance_would() -> None:
    """The sampled negatives' exponentials, scaled up, are those of all in the mean."""
    torch.manual_seed(0)
    c, rate, draws = 60, 0.3, 1000
    header = MarginHeader(8, c, s=4.0).double()
    x, label = torch.randn(1, 8).double(), torch.tensor([5])
    e = header.logits(x)[0].exp().detach()
    negatives = e.sum() - e[5]
    scale = (c - 1) / (round(rate * c) - 1)
    header.sample_rate = rate
    losses = torch.stack([header.loss(x, label).detach() for _ in range(draws)])
    estimates = scale * (losses.exp() - 1) * e[5]  # loss = log(1 + Σ negatives / target)
    assert abs(estimates.mean() - negatives) < 5 * estimates.std() / math.sqrt(draws)
    header.sample_rate = 1.0
    assert losses.max() < header.loss(x, label)


def test_chunks_of_a_sample() -> None:
    header = MarginHeader(D, 50, m3=0.2, sample_rate=0.5).double()
    chunked = MarginHeader(D, 50, m3=0.2, sample_rate=0.5, class_chunk=4).double()
    chunked.load_state_dict(header.state_dict())
    torch.testing.assert_close(outcome(chunked, *batch()), outcome(header, *batch()))


# --- What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["class_chunk", "sample_rate"])
@pytest.mark.parametrize("preset", [*MIXED, *OTHERS])
def test_other_heads_refuse(preset: str, key: str) -> None:
    header = type(build(preset))
    if not issubclass(header, TargetMarginHeader):
        return  # takes no such argument; the entry point says so
    with pytest.raises(UserError, match=f"{header.__name__} takes no {key}: only a head"):
        header(D, C, **{key: {"class_chunk": 5, "sample_rate": 0.5}[key]})


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"class_chunk": 0}, "class_chunk must be at least 1 class, or null, got 0"),
        ({"sample_rate": 0.0}, r"sample_rate must be in \(0, 1\], got 0.0"),
        ({"sample_rate": 1.5}, r"sample_rate must be in \(0, 1\], got 1.5"),
        ({"sample_rate": math.nan}, r"sample_rate must be in \(0, 1\], got nan"),
    ],
)
def test_nonsense_is_refused(keys: dict, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        MarginHeader(D, C, **keys)
