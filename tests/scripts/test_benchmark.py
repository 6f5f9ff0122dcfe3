"""The benchmark compares like with like, and its table says what was measured. Nothing is timed."""

import importlib

import benchmark
import numpy as np
import pytest
import torch
from benchmarks import epoch, head, mnist_like, report, sweep
from benchmarks.rows import in_turns, ratios, row, skipped

SETTINGS = [
    *epoch.MNIST,
    *("logger=none", "epochs=2", "batch_size=32", "header_lr=0.3", "threads=1"),
    "trainer.accelerator=cpu",
]


def test_the_hand_written_loop_computes_what_a_run_computes():
    """Same order, shifts, clipping, rates and ramp: the same weights to the last bit."""
    cfg = epoch.configuration(SETTINGS)
    data = mnist_like.tensors(28, 200, 40)
    kept_ours, kept_loop = [], []
    epoch.ours(cfg, data, keep=kept_ours)
    epoch.loop(cfg, data, keep=kept_loop)
    (module,), (backbone, header) = kept_ours, kept_loop
    for ours, theirs in ((module.backbone, backbone), (module.header, header)):
        for name, value in theirs.state_dict().items():
            assert torch.equal(value, ours.state_dict()[name]), name


def test_the_usual_pipeline_sees_as_many_images(tmp_path):
    data = mnist_like.tensors(28, 200, 40)
    train, val = mnist_like.loaders(str(tmp_path), data, 32)
    for loader, split in ((train, data.train), (val, data.val)):
        batches = list(loader)
        assert sum(len(labels) for _, labels in batches) == len(split)
        assert batches[0][0].shape[1:] == split.images.shape[1:]
        assert batches[0][0].dtype == torch.float32, "it normalises image by image"


def test_a_row_holds_the_median_and_the_range():
    seconds = {"ours": iter([3.0, 2.0, 8.0]), "loop": iter([1.0, 1.0, 2.0])}
    turns = in_turns(3, "x", *(lambda it=it: next(it) for it in seconds.values()))
    made = row("epoch", "x", "time", "loop", ratios(*turns))
    assert (made["ratio"], made["ratio_low"], made["ratio_high"]) == (3.0, 2.0, 4.0)


class Stub:
    """A part that measured two things and not a third."""

    @staticmethod
    def measure(quick):
        return [
            row("start", "fast", "time", "a snail", [0.2, 0.1, 0.4]),
            row("start", "slow", "throughput", "a hare", [0.1]),
            skipped("start", "odd", "time", "a unicorn", "not installed"),
        ]


def test_the_script_writes_the_page_that_it_prints(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "measured", lambda part, quick: Stub.measure(quick))
    out = tmp_path / "deep" / "out.md"
    assert benchmark.main(["--quick", "--only", "start", "--out", str(out)]) == 0
    said, progress = capsys.readouterr()
    page = out.read_text()
    assert page in said and "start …" in progress
    assert "| start | fast | time | a snail | 0.20 | 0.10–0.40 |" in page
    assert "| start | slow | throughput | a hare | 0.10 | 0.10–0.10 |" in page
    assert "| start | odd | time | a unicorn | – | not installed |" in page
    assert f"torch {torch.__version__}" in page and page.endswith(", --quick.\n")


def test_an_unknown_part_is_named(capsys):
    with pytest.raises(SystemExit, match="2"):
        benchmark.main(["--only", "epoch,lunch"])
    assert "lunch" in capsys.readouterr().err


@pytest.mark.long
def test_a_sweep_knows_how_much_of_it_was_training():
    jobs_outside, outside = [], []
    few = ["seed=0,1", "+debug=fast", "logger=none", "threads=1"]
    seconds = sweep.timed_sweep(few, jobs_outside, outside)
    assert 0 < jobs_outside[0] < 1 and 0 < outside[0] < 1 and seconds > 0


def test_the_losses_that_are_timed_against_each_other_agree():
    """Where a package or a version lacks one, the table says so."""
    batch = head.make_batch(16, 40)
    floor = head.floor(16, 40)
    others, absent = head.other_ways(floor.weight, batch)
    assert {*others, *absent} == {head.LINEAR, head.CUT} and all(absent.values())
    for name, step in others.items():
        torch.testing.assert_close(step.loss(*batch), floor.loss(*batch), msg=name)
        assert head.gradient_error(step, floor, batch) < 5e-4, name
    own, imported = head.head(16, 40, m2=0.5), head.imported(16, 40, m2=0.5)
    imported.weight.data = own.weight.data
    torch.testing.assert_close(imported.loss(*batch), own.loss(*batch))
    assert head.gradient_error(imported, own, batch) < 1e-5


@pytest.mark.parametrize("num_classes", [1_000, 5_000])
def test_logits_for_another_loss_take_hardly_more_memory_than_a_linear_layer(num_classes):
    batch = head.make_batch(head.D, num_classes)
    ours = head.peak_bytes(head.imported(head.D, num_classes, m2=0.5), batch)
    assert ours < 1.1 * head.peak_bytes(head.floor(head.D, num_classes), batch)


@pytest.mark.parametrize("part", benchmark.PARTS)
def test_every_part_can_be_measured(part):
    assert callable(importlib.import_module(f"benchmarks.{part}").measure)


@pytest.mark.long
def test_the_memory_of_a_report_is_its_own():
    held = np.ones(150_000_000)  # a process counts what the one that started it held
    (memory,) = (
        row for row in benchmark.measured("report", quick=True) if row["measure"] == "peak memory"
    )
    assert 0.05 < memory["ratio"] < 1 < held.nbytes / report.BYTES
