"""What a run is called and shows, and what a failure of W&B costs: a W&B run in its place."""

import errno
import logging
from pathlib import Path

import numpy as np
import pytest
from synthetic_records import make_result

from arcmargin.record import Embeddings
from arcmargin.tracking.tracker import Tracker, run_config, run_name, run_tags
from arcmargin.training.snapshots import Moment

NOTHING = {"pictures": 0, "table_rows": 0, "checkpoint": False}


def settings(**given):
    return make_result("arcface", m2=0.5, class_names=["a", "b"], num_classes=2, **given).settings


class WandbRun:
    """What W&B's run is told."""

    offline, id, url, project = True, "abc", None, "arcmargin"
    sync_dir, dir = "x/wandb/offline-run", "x/wandb/offline-run/files"

    def __init__(self):
        self.rows, self.defined, self.calls = [], {}, []

    def define_metric(self, name, **given):
        self.defined[name] = given

    def log(self, row):
        self.calls.append("log")
        self.rows.append(row)

    def finish(self, exit_code):
        self.calls.append(f"finish {exit_code}")


class FullDisk(WandbRun):
    def log(self, row):
        super().log(row)
        raise OSError(errno.ENOSPC, "No space left on device")

    def finish(self, exit_code):
        super().finish(exit_code)
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_said_once(caplog):
    run = FullDisk()
    tracker = Tracker(run, settings(), **NOTHING)
    with caplog.at_level(logging.WARNING):
        for epoch in range(3):
            tracker.log_metrics({"epoch": epoch, "train_loss": 1.0})
        tracker.close(0)
    assert run.calls == ["log", "finish 0"]
    assert len(caplog.records) == 1 and "No space left" in caplog.text


def test_metrics_fall_into_sections_and_the_summary_keeps_the_best():
    run = WandbRun()
    tracker = Tracker(run, settings(), **NOTHING)
    given = {"epoch": 1, "train_loss": 2.0, "val_accuracy": 0.5, "val_gap_predicted_deg": 28.0}
    tracker.log_metrics({**given, "val_gap_min_deg": None, "extra": 1.0})
    tracker.log_metrics({"epoch": 2, "val_accuracy": 0.6})
    assert run.rows[0] == {
        **{"epoch": 1, "train/loss": 2.0, "val/accuracy": 0.5, "val/gap_predicted_deg": 28.0},
        "extra": 1.0,
    }
    summaries = {name: given["summary"] for name, given in run.defined.items()}
    assert summaries == {"train/loss": "last,min", "val/accuracy": "last,max"}


@pytest.mark.parametrize(("pictures", "epochs"), [(4, [0, 5, 10, 15, 20]), (0, []), (1, [0, 20])])
def test_the_media_slider_has_a_bounded_number_of_places(pictures, epochs):
    run = WandbRun()
    tracker = Tracker(run, settings(epochs=20), **(NOTHING | {"pictures": pictures}))
    points = np.random.default_rng(0).normal(size=(20, 2)).astype(np.float32)
    data = Embeddings(points, np.arange(20) % 2, np.eye(2, dtype=np.float32))
    for epoch in range(21):
        tracker.show_moment(Moment(epoch, data, {"accuracy": 0.5}))
    assert [row["epoch"] for row in run.rows] == epochs
    assert all("test/embedding" in row for row in run.rows)


def test_a_run_is_named_by_what_varies():
    overrides = ["header=arcface", "m2=0.5", "seed=1", "optimizer.lr=0.2", "threads=1", "sweep=a"]
    given = settings(overrides=overrides)
    assert run_name(given) == "arcface m2=0.5 seed=1 lr=0.2"
    assert run_name(given, ["header", "seed"]) == "arcface m2=0.5 seed=1"


def test_a_run_is_tagged_with_what_one_filters_by():
    assert run_tags(settings(), []) == ["arcface", "digits", "2-D"]
    given = settings(overrides=["+experiment=digits_circle", "seed=0"], embedding_dim=128)
    tags = ["arcface", "digits", "128-D", "digits_circle", "mine"]
    assert run_tags(given, ["mine", "digits"]) == tags


def test_the_config_is_plain_and_has_the_margins_that_act_on_top():
    config = {"header": {"s": 30.0}, "dataset": {}, "m2": 0.7, "wandb": {"mode": "auto"}}
    plain = run_config(settings(), config, Path("out"))
    assert (plain["m1"], plain["m2"], plain["m3"], plain["s"]) == (1.0, 0.5, 0.0, 30.0)
    assert plain["header"] == {"name": "arcface", "s": 30.0}
    assert plain["optimizer"] == {"name": "sgd"}
    assert plain["folder"] == "out" and "wandb" not in plain
