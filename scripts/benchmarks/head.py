"""One training step of a head: its loss and the gradients, without a backbone.

    python scripts/benchmark.py --only head

N = 256 embeddings of D = 512 coordinates, float32. The floor is plain F.linear and F.cross_entropy.
A head is measured through its own `loss`, and as other libraries' users write it: the logits of
`forward` in F.cross_entropy. Other ways to the floor's loss, which save the N×C logits, are PyTorch's
linear_cross_entropy (since 2.14) and Apple's cut-cross-entropy (Wijmans et al. 2025, arXiv
2411.09009; `pip install cut-cross-entropy`).

Peak memory is what a step holds at most above what it began with, embeddings, labels and weight: all
that torch's allocator hands out counts, the gradients too, and the scratch space of the matrix
library does not.
"""

import gc
import importlib.util
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from hydra import compose, initialize_config_dir
from torch import Tensor
from torch.nn import functional as F

from arcmargin.headers import MarginHeader
from arcmargin.job import schema
from benchmarks.rows import in_turns, ratios, row, skipped

N, D = 256, 512
SIZES = (1_000, 10_000, 100_000)
HEADS = ("normface", "cosface", "arcface", "sphereface", "combined")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PEER = "pytorch-metric-learning ArcFaceLoss"
TEXTBOOK = "textbook ArcFace"
FLOOR = "F.linear + F.cross_entropy"
LINEAR = "F.linear_cross_entropy in chunks"
CUT = "cut-cross-entropy, torch_compile"
IMPORTED = "arcface, F.cross_entropy(header(x, y), y)"

Loss = Callable[[Tensor, Tensor], Tensor]


class Step(NamedTuple):
    """A loss of embeddings and labels, and the weight it has a gradient for."""

    loss: Loss
    weight: Tensor


def measure(quick: bool) -> list[dict[str, Any]]:
    rows = []
    for num_classes in SIZES[:2] if quick else SIZES:
        rows += _dense(num_classes, repeats=5 if quick else 11)
    rows += _chunked(100_000 if quick else 1_000_000, repeats=3 if quick else 5)
    return rows + _sampled(100_000, repeats=3 if quick else 7)


def _dense(num_classes: int, repeats: int) -> list[dict[str, Any]]:
    batch = make_batch(D, num_classes)
    steps = {FLOOR: floor(D, num_classes), PEER: peer(num_classes), TEXTBOOK: textbook(num_classes)}
    for name in HEADS:
        steps[name] = head(D, num_classes, **_margins(name))
    steps[IMPORTED] = imported(D, num_classes, **_margins("arcface"))
    others, absent = other_ways(steps[FLOOR].weight, batch)
    steps |= others
    classes = f"C = {num_classes:,}"
    in_a_row = max(1, 20_000 // num_classes)  # short steps are measured several at a time
    seconds = _seconds(f"head, {classes} (s)", steps, batch, repeats, in_a_row)
    rows = [_time(f"{name}, {classes}", name, FLOOR, seconds) for name in (*HEADS, IMPORTED)]
    slowest = max(HEADS, key=lambda name: sum(seconds[name]))
    for other in (PEER, TEXTBOOK, *others):
        rows.append(_time(f"{slowest} (the slowest), {classes}", slowest, other, seconds))
    peak = {name: peak_bytes(steps[name], batch) for name in (FLOOR, *HEADS, IMPORTED, *others)}
    largest = max(HEADS, key=lambda name: peak[name])
    rows.append(_memory(f"{IMPORTED}, {classes}", IMPORTED, FLOOR, peak))
    for other in (FLOOR, *others):
        rows.append(_memory(f"{largest} (the largest), {classes}", largest, other, peak))
    return rows + [
        skipped("head", f"all heads, {classes}", "time, peak memory", other, reason)
        for other, reason in absent.items()
    ]


def _chunked(num_classes: int, repeats: int, *, d: int = 128) -> list[dict[str, Any]]:
    """Class by class, where the N×C matrix is what does not fit; D = 128."""
    batch = make_batch(d, num_classes)
    classes = f"C = {num_classes:,}, D = {d}"
    whole, case = "the same head, not chunked", f"arcface class_chunk=4096, {classes}"
    steps = {
        FLOOR: floor(d, num_classes),
        IMPORTED: imported(d, num_classes, m2=0.5),
        whole: head(d, num_classes, m2=0.5),
        case: head(d, num_classes, m2=0.5, class_chunk=4096),
    }
    for step in steps.values():
        step.weight.data = steps[case].weight.data  # one copy of so large a thing
    others, absent = other_ways(steps[FLOOR].weight, batch)
    steps |= others
    timed = {name: step for name, step in steps.items() if name != whole}
    seconds = _seconds("class_chunk (s)", timed, batch, repeats)
    error = gradient_error(steps[case], steps[whole], batch)
    if error > 1e-5:
        raise RuntimeError(f"the chunked gradient is off by {error:.1e}")
    peak = {name: peak_bytes(step, batch) for name, step in steps.items()}
    gradients = 4 * d * (num_classes + N)
    beyond = {name: size - gradients for name, size in peak.items()}
    return [
        _time(f"{IMPORTED}, {classes}", IMPORTED, FLOOR, seconds),
        _memory(f"{IMPORTED}, {classes}", IMPORTED, FLOOR, peak),
        *(_time(case, case, other, seconds) for other in (FLOOR, *others)),
        *(_memory(case, case, other, peak) for other in others),
        _memory(f"{case}, beyond the gradients", case, whole, beyond),
        _memory(f"{case}, gradients included", case, whole, peak),
        *(skipped("head", case, "time, peak memory", *pair) for pair in absent.items()),
    ]


def _sampled(num_classes: int, repeats: int) -> list[dict[str, Any]]:
    batch = make_batch(D, num_classes)
    case, all_of_them = f"arcface sample_rate=0.1, C = {num_classes:,}", "sample_rate=1"
    steps = {
        all_of_them: head(D, num_classes, m2=0.5),
        case: head(D, num_classes, m2=0.5, sample_rate=0.1),
    }
    return [_time(case, case, all_of_them, _seconds("sample_rate (s)", steps, batch, repeats))]


def _time(case: str, ours: str, other: str, seconds: dict[str, list[float]]) -> dict[str, Any]:
    absolute = {"ours_s": min(seconds[ours]), "baseline_s": min(seconds[other])}
    over = ratios(seconds[ours], seconds[other])
    return row("head", case, "time", other, over, absolute=absolute)


def _memory(case: str, ours: str, other: str, peak: dict[str, int]) -> dict[str, Any]:
    absolute = {"ours_bytes": peak[ours], "baseline_bytes": peak[other]}
    return row("head", case, "peak memory", other, [peak[ours] / peak[other]], absolute=absolute)


def head(d: int, num_classes: int, **options: Any) -> Step:
    header = MarginHeader(d, num_classes, **options).to(DEVICE)
    return Step(header.loss, header.weight)


def imported(d: int, num_classes: int, **options: Any) -> Step:
    """The header in a training loop that knows nothing of arcmargin."""
    header = MarginHeader(d, num_classes, **options).to(DEVICE)
    return Step(lambda x, labels: F.cross_entropy(header(x, labels), labels), header.weight)


def _margins(preset: str) -> dict[str, float]:
    schema.store()
    with initialize_config_dir(str(schema.CONF), version_base="1.3"):
        cfg = compose("config", [f"header={preset}"])
    return {key: cfg[key] for key in ("s", "m1", "m2", "m3")}


def floor(d: int, num_classes: int) -> Step:
    weight = _linear_weight(d, num_classes)
    return Step(lambda x, labels: F.cross_entropy(F.linear(x, weight), labels), weight)


def other_ways(
    weight: Tensor, batch: tuple[Tensor, Tensor]
) -> tuple[dict[str, Step], dict[str, str]]:
    """Losses that are the floor's by other ways; and why one that is not here is not."""
    steps, absent = {}, {}
    for name, make in ((LINEAR, _linear_cross_entropy), (CUT, _cut_cross_entropy)):
        made = make(weight)
        if isinstance(made, str):
            absent[name] = made
            continue
        try:  # what compiles does so in its first step
            _run(made, batch)
        except (ImportError, RuntimeError) as error:
            absent[name] = f"does not run here ({type(error).__name__})"
        else:
            steps[name] = made
        _clear(made, batch)
    return steps, absent


def _linear_cross_entropy(weight: Tensor) -> Step | str:
    if not hasattr(F, "linear_cross_entropy"):
        return f"torch {torch.__version__} has none"
    options = torch.nn.LinearCrossEntropyOptions()
    return Step(
        lambda x, labels: F.linear_cross_entropy(x, weight, labels, options=options), weight
    )


def _cut_cross_entropy(weight: Tensor) -> Step | str:
    if importlib.util.find_spec("cut_cross_entropy") is None:
        return "not installed"
    cut = importlib.import_module("cut_cross_entropy").linear_cross_entropy
    return Step(lambda x, labels: cut(x, weight, labels, impl="torch_compile"), weight)


def _linear_weight(d: int, num_classes: int) -> Tensor:
    """As a linear layer begins. Larger weights make probabilities so small that they are subnormal
    numbers, and those are twenty times slower on some processors."""
    return torch.nn.Linear(d, num_classes, bias=False, device=DEVICE).weight


def peer(num_classes: int) -> Step:
    from pytorch_metric_learning.losses import ArcFaceLoss

    loss = ArcFaceLoss(num_classes, D, margin=28.6, scale=30).to(DEVICE)
    return Step(loss, loss.W)


def textbook(num_classes: int) -> Step:
    """Normalise, take the arc cosine of the whole matrix, blend by a one-hot matrix."""
    weight = torch.randn(num_classes, D, device=DEVICE, requires_grad=True)

    def loss(x: Tensor, labels: Tensor) -> Tensor:
        cosine = F.linear(F.normalize(x), F.normalize(weight)).clamp(-1 + 1e-7, 1 - 1e-7)
        with_margin = torch.cos(torch.acos(cosine) + 0.5)
        one_hot = F.one_hot(labels, num_classes).to(cosine.dtype)
        return F.cross_entropy(30 * (one_hot * with_margin + (1 - one_hot) * cosine), labels)

    return Step(loss, weight)


def make_batch(d: int, num_classes: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    embeddings = torch.randn(N, d, device=DEVICE, requires_grad=True)
    return embeddings, torch.randint(num_classes, (N,), device=DEVICE)


def _run(step: Step, batch: tuple[Tensor, Tensor]) -> None:
    step.loss(*batch).backward()


def _clear(step: Step, batch: tuple[Tensor, Tensor]) -> None:
    step.weight.grad = batch[0].grad = None


def _seconds(
    what: str,
    steps: dict[str, Step],
    batch: tuple[Tensor, Tensor],
    repeats: int,
    in_a_row: int = 1,
) -> dict[str, list[float]]:
    def timed(step: Step) -> float:
        _synchronize()
        start = time.perf_counter()
        for _ in range(in_a_row):
            _run(step, batch)
            _clear(step, batch)
        _synchronize()
        return (time.perf_counter() - start) / in_a_row

    for step in steps.values():  # the first time is slower
        timed(step)
    tasks = [lambda step=step: timed(step) for step in steps.values()]
    return dict(zip(steps, in_turns(repeats, what, *tasks), strict=True))


def _synchronize() -> None:
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def gradient_error(ours: Step, other: Step, batch: tuple[Tensor, Tensor]) -> float:
    """The largest difference between gradients, relative to the largest entry."""
    gradients = []
    for step in (ours, other):
        _run(step, batch)
        gradients.append((batch[0].grad, step.weight.grad))
        _clear(step, batch)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(*gradients, strict=True))


def peak_bytes(step: Step, batch: tuple[Tensor, Tensor]) -> int:
    """The most that a step holds above what was there before it."""
    _run(step, batch)
    _clear(step, batch)
    gc.collect()
    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        _run(step, batch)
        peak = torch.cuda.max_memory_allocated() - before
    else:
        peak = _peak_of_allocations(lambda: _run(step, batch))
    _clear(step, batch)
    return peak


def _peak_of_allocations(work: Callable[[], None]) -> int:
    """Every allocation and release in order of time, as torch's profiler records them."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        work()
    assert profile.profiler is not None
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak
