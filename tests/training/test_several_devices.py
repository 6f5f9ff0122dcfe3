"""Training in two and in three processes against one that has the whole batch."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.optim import SGD

from arcmargin import backbones
from arcmargin.data.image_data import ImageData, Split
from arcmargin.errors import Interrupted
from arcmargin.headers import MarginHeader
from arcmargin.headers.adaface import AdaFaceHeader
from arcmargin.headers.elastic import ElasticHeader
from arcmargin.record import Settings
from arcmargin.training import schedules
from arcmargin.training.module import Description, MarginModule
from arcmargin.training.processes import JoinedProcesses
from arcmargin.training.train import fit, train

pytestmark = pytest.mark.long

CLASSES, TRAIN, BATCH = 5, 102, 20  # the last batch has two images: none for a third process
SHARED = {"epochs": 3, "batch_size": BATCH, "seed": 0}


def plain():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.PReLU(), nn.Linear(16, 2))


def with_batch_norm():
    return backbones.convnet(
        image_shape=(1, 8, 8), embedding_dim=2, width=4, hidden=8, embedding_norm=True
    )


# What a case trains, and how: a backbone, a head, options of the trainer.
CASES = {
    "plain": (plain, partial(MarginHeader, m2=0.3, ramp=0.5), {}),
    "float32": (plain, partial(MarginHeader, m2=0.3), {"precision": "32-true"}),
    "batch_norm": (with_batch_norm, partial(MarginHeader, m2=0.3), {}),
    "statistics_of_a_batch": (plain, AdaFaceHeader, {}),
    "random_margins": (plain, partial(ElasticHeader, m2=0.3, std_m2=0.1), {}),
    "sampled_classes": (plain, partial(MarginHeader, m2=0.3, sample_rate=0.6), {}),
    "spread": (with_batch_norm, partial(MarginHeader, m2=0.3, ramp=0.5, shard=True), {}),
    "spread_sample": (plain, partial(MarginHeader, m2=0.3, sample_rate=0.6, shard=True), {}),
    "accumulated": (with_batch_norm, MarginHeader, {"accumulate_grad_batches": 2}),
}

RESUMED = ("batch_norm", "spread")


def images(count):
    labels = torch.arange(count) % CLASSES
    centres = torch.randn(CLASSES, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(count, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    return Split((centres[labels] + noise).double(), labels)


def data(case):
    splits = [images(count) for count in (TRAIN, 31, 30, 27)]
    if case == "float32":
        splits = [Split(split.images.float(), split.labels) for split in splits]
    names = tuple("abcde")
    no_pixels = {"mean": torch.zeros(1), "std": torch.ones(1), "pictures": False}
    *seen, unseen_val = splits
    return ImageData("made", names, *seen, **no_pixels, unseen_val=unseen_val)


def module(case):
    pl.seed_everything(0, verbose=False)
    backbone, header, _ = CASES[case]
    model = MarginModule(
        backbone(),
        header(2, CLASSES),
        optimizer=lambda groups: SGD(groups, lr=0.1, momentum=0.9),
        schedule=schedules.one_cycle,
        header_lr=0.1,
        description=Description({"_target_": "x"}, 2, (1, 8, 8), [0.0], [1.0]),
    )
    return model if case == "float32" else model.double()


def trained(case, folder, environment=None, resume=None, on_epoch=None):
    """The state at the end, and of rank 0 the result."""
    options = {"precision": "64-true", "gradient_clip_val": 1.0, **CASES[case][2]}
    devices = {"devices": environment.world_size(), "strategy": "ddp"} if environment else {}
    trainer = partial(pl.Trainer, accelerator="cpu", **{"devices": 1, **devices, **options})
    model = module(case)
    given = {**SHARED, "folder": folder, "resume": resume, "environment": environment}
    result = None
    if environment and environment.global_rank():
        fit(model, data(case), trainer, **given)
    else:
        settings = Settings(header="arcface", dataset="made", embedding_dim=2)
        result = train(model, data(case), trainer, settings, on_epoch=on_epoch, **given)
    return {name: value.detach().clone() for name, value in model.state_dict().items()}, result


def stop_after_one(done, total, curves):
    raise Interrupted


def in_a_process(rank, count, folder, cases):
    torch.set_num_threads(1)
    folder = Path(folder)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=count
    )
    together = JoinedProcesses()
    found = {case: trained(case, folder / case, together) for case in cases}
    if count == 2:
        for case in RESUMED:
            last = folder / f"{case}_stopped_alone" / "checkpoints" / "last.ckpt"
            where = folder / f"{case}_resumed"
            found[f"{case}_resumed"] = trained(case, where, together, resume=last)
            try:
                trained(case, folder / f"{case}_stopped", together, on_epoch=stop_after_one)
            except Interrupted:
                assert rank == 0
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()


def in_processes(count, folder, cases):
    mp.spawn(in_a_process, (count, str(folder), cases), nprocs=count)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(count)]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    for case in RESUMED:
        with pytest.raises(Interrupted):
            trained(case, folder / f"{case}_stopped_alone", on_epoch=stop_after_one)
    return folder, in_processes(2, folder, list(CASES))


def assert_equal(states, alone, **tolerance):
    for state in states:
        for name, value in alone.items():
            torch.testing.assert_close(
                state[name], value, msg=lambda m, n=name: f"{n}: {m}", **tolerance
            )


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_as_one_does(two, tmp_path, case):
    _, found = two
    alone, result = trained(case, tmp_path)
    exact = {"rtol": 1e-4, "atol": 1e-5} if case == "float32" else {"rtol": 0, "atol": 1e-9}
    assert_equal([state for state, _ in (one[case] for one in found)], alone, **exact)
    together = found[0][case][1]
    assert set(together.curves) == set(result.curves)
    for name, values in result.curves.items():
        assert together.curves[name] == pytest.approx(values, rel=1e-3, abs=1e-3), name
    assert "val_unseen_retrieval_map_at_r" in result.curves
    assert together.metrics == pytest.approx(result.metrics, rel=1e-3, abs=1e-3)
    for name, value in result.validation.items():
        expected = value if value is None else pytest.approx(value, rel=1e-3, abs=1e-3)
        assert together.validation[name] == expected, name


def test_three_processes_one_of_which_has_no_image_in_the_last_batch(tmp_path):
    cases = ["batch_norm", "spread"]
    found = in_processes(3, tmp_path, cases)
    for case in cases:
        alone, _ = trained(case, tmp_path / "alone" / case)
        assert_equal([one[case][0] for one in found], alone, rtol=0, atol=1e-9)


@pytest.mark.parametrize("case", RESUMED)
def test_two_go_on_from_the_checkpoint_of_one_and_one_from_that_of_two(two, tmp_path, case):
    folder, found = two
    alone, result = trained(case, tmp_path / "alone")
    assert_equal([one[f"{case}_resumed"][0] for one in found], alone, rtol=0, atol=1e-9)
    last = folder / f"{case}_stopped" / "checkpoints" / "last.ckpt"
    resumed, after = trained(case, folder / f"{case}_stopped", resume=last)
    assert_equal([resumed], alone, rtol=0, atol=1e-9)
    assert after.curves["train_loss"] == pytest.approx(result.curves["train_loss"], rel=1e-9)
    assert np.array_equal(after.arrays.snapshots.epochs, result.arrays.snapshots.epochs)
