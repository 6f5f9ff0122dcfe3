"""Classes over two processes against one process with all of them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel

from arcmargin.errors import UserError
from arcmargin.headers import Header, MarginHeader, PartialFC
from arcmargin.headers.adaface import AdaFaceHeader
from arcmargin.headers.sampling import sample_classes

pytestmark = pytest.mark.long

D, C, N = 6, 31, 20  # N samples in each process
OPTIONS: dict[str, Any] = {"s": 20.0, "m1": 1.1, "m2": 0.4, "m3": 0.1}
CASES: list[dict[str, Any]] = [
    {},
    {"gradient": "autograd"},
    {"class_chunk": 4},
    {"sample_rate": 0.7},
    {"sample_rate": 0.7, "class_chunk": 4},
]


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    labels = torch.randint(0, C, (2 * N,), generator=rng)
    labels[[3, -1]] = -1
    return torch.randn(2 * N, D, generator=rng).double(), labels


def in_a_process(rank: int, folder: str, work: Callable[[int], Any]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save(work(rank), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def in_two_processes(work: Callable[[int], Any], folder: Path) -> list[Any]:
    mp.spawn(in_a_process, (str(folder), work), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


def shards(rank: int) -> Any:
    """Loss, gradients and weight of every case, and those of a training with a backbone."""
    embeddings, labels = (t[N * rank : N * (rank + 1)] for t in batch())
    results = []
    for case in CASES:
        header = PartialFC(full_header(**case), averaged=False)
        x = embeddings.clone().requires_grad_()
        torch.manual_seed(5)
        loss = header.loss(x, labels)
        loss.backward()
        weight = header.header.weight
        results.append((loss.detach(), x.grad, weight.grad, header.full_weight()))
    predicted = PartialFC(full_header()).predict(batch()[0])
    with pytest.raises(UserError, match="needs a class for each process, got 1 classes for 2"):
        PartialFC(MarginHeader(D, 1))
    back = PartialFC(full_header()).whole()
    assert torch.equal(back.weight, full_header().weight) and back.num_classes == C
    return results, train(rank, embeddings, labels), predicted


def full_header(**options: Any) -> MarginHeader:
    """The same in every process."""
    torch.manual_seed(3)
    return MarginHeader(D, C, **OPTIONS, **options).double()


def train(rank: int, x: torch.Tensor, labels: torch.Tensor) -> Any:
    backbone = DistributedDataParallel(backbone_of(0))
    header = PartialFC(full_header(ramp=0.5))
    start = header.full_weight()
    optimizer = torch.optim.SGD([*backbone.parameters(), *header.parameters()], 0.1, momentum=0.9)
    for step in range(3):
        header.set_progress(step / 4)
        optimizer.zero_grad()
        header(backbone(x), labels).backward()
        optimizer.step()
    return start, header.full_weight(), backbone.module.weight.detach()


def backbone_of(seed: int) -> torch.nn.Linear:
    torch.manual_seed(seed)
    return torch.nn.Linear(D, D).double()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return in_two_processes(shards, tmp_path_factory.mktemp("two"))


@pytest.mark.parametrize("index", range(len(CASES)))
def test_two_processes_are_one(two: Any, index: int) -> None:
    (loss, *_, full), (loss_1, *_, full_1) = (results[index] for results, *_ in two)
    assert loss == loss_1 and torch.equal(full, full_1) and torch.equal(full, full_header().weight)
    case = dict(CASES[index])
    rate, rows = case.pop("sample_rate", 1.0), torch.arange(C)
    embeddings, labels = batch()
    if rate < 1:
        torch.manual_seed(5)
        rows = sample_classes(labels, C, rate)[0]
    header = MarginHeader(D, len(rows), **OPTIONS, **case).double()
    header.weight.data = full[rows]
    x = embeddings.requires_grad_()
    positions = torch.tensor([rows.tolist().index(y) if y >= 0 else -1 for y in labels.tolist()])
    expected = Header.loss(header, x, positions)
    expected.backward()
    torch.testing.assert_close(loss, expected.detach())
    grad_x, grad_w = (torch.cat([results[index][k] for results, *_ in two]) for k in (1, 2))
    torch.testing.assert_close(grad_x, x.grad)
    assert header.weight.grad is not None
    whole = torch.zeros(C, D).double().index_copy(0, rows, header.weight.grad)
    torch.testing.assert_close(grad_w, whole)


def test_the_processes_predict_what_one_does(two: Any) -> None:
    for _, _, predicted in two:
        assert torch.equal(predicted, full_header().predict(batch()[0]))


def test_training_beside_distributed_data_parallel_is_training_alone(two: Any) -> None:
    start, weight, backbone_weight = two[0][1]
    backbone, header = backbone_of(0), MarginHeader(D, C, ramp=0.5, **OPTIONS).double()
    header.weight.data = start.clone()
    optimizer = torch.optim.SGD([*backbone.parameters(), *header.parameters()], 0.1, momentum=0.9)
    x, labels = batch()
    for step in range(3):
        header.set_progress(step / 4)
        optimizer.zero_grad()
        header.loss(backbone(x), labels).backward()
        optimizer.step()
    assert (weight - start).abs().max() > 1e-3
    torch.testing.assert_close(weight, header.weight.detach())
    torch.testing.assert_close(backbone_weight, backbone.weight.detach())


def test_needs_processes() -> None:
    with pytest.raises(UserError, match=r"call torch\.distributed\.init_process_group first"):
        PartialFC(MarginHeader(D, C))


def test_says_what_is_wrong(tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        header = PartialFC(MarginHeader(D, C)).double()
        embeddings, labels = batch()
        with pytest.raises(UserError, match="label 31 is out of range for 31 classes"):
            header.loss(embeddings, labels.where(labels != 3, 31))
        with pytest.raises(
            UserError, match="of a MarginHeader over processes, got a AdaFaceHeader"
        ):
            PartialFC(AdaFaceHeader(D, C))
        expected = MarginHeader(D, C).double()
        expected.load_state_dict(header.header.state_dict())
        torch.testing.assert_close(
            header.loss(embeddings, labels), expected.loss(embeddings, labels)
        )
    finally:
        dist.destroy_process_group()
