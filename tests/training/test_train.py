import math
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.optim import SGD

from arcmargin import backbones
from arcmargin import data as sources
from arcmargin.data.image_data import Batches, Normalise
from arcmargin.errors import Interrupted, UserError
from arcmargin.headers import MarginHeader
from arcmargin.metrics import geometry
from arcmargin.record import Settings
from arcmargin.training import checkpoints, schedules
from arcmargin.training.module import Description, MarginModule, TrainingDiverged
from arcmargin.training.train import train

SETTINGS = Settings(header="arcface", dataset="digits", embedding_dim=2)


@pytest.fixture(scope="module")
def data():
    return sources.digits(classes=4, split_seed=0, val_fraction=0.1, test_fraction=0.2)


def trainer(**kwargs):
    return pl.Trainer(
        accelerator="cpu",
        devices=1,
        gradient_clip_val=1.0,
        logger=False,
        **{key: value for key, value in kwargs.items() if key != "logger"},
    )


def description(data, mean=0.5):
    return Description({"_target_": "x"}, 2, data.image_shape, [mean], [1.0])


def module(data, seed=0, lr=0.1, optimizer=None, how=None, **header):
    pl.seed_everything(seed, verbose=False)
    return MarginModule(
        backbones.convnet(image_shape=data.image_shape, embedding_dim=2, width=8, hidden=32),
        MarginHeader(2, data.num_classes, **{"m2": 0.3, "ramp": 0.5, "init": "even", **header}),
        optimizer=optimizer or (lambda groups: SGD(groups, lr=lr, momentum=0.9)),
        schedule=schedules.one_cycle,
        normalise=Normalise(data.mean, data.std),
        header_lr=0.1,
        description=how or description(data),
    )


def fit(data, folder, epochs=4, **kwargs):
    model = kwargs.pop("model", None) or module(data)
    limited = partial(trainer, **kwargs.pop("limits", {}))
    given = {"epochs": epochs, "batch_size": 64, "seed": 0, "folder": folder}
    return train(model, data, limited, SETTINGS, **given | kwargs)


def test_the_same_run_twice_gives_the_same_numbers_to_the_last_digit(data, tmp_path):
    one, two = fit(data, tmp_path / "a"), fit(data, tmp_path / "b")
    assert one.metrics == two.metrics
    assert one.curves == two.curves
    assert np.array_equal(one.arrays.embeddings.embeddings, two.arrays.embeddings.embeddings)


def test_it_learns_and_reports_what_it_learned(data, tmp_path):
    outcome = fit(data, tmp_path, epochs=12)
    assert outcome.metrics["accuracy"] > 0.95
    embeddings, labels, centres, _ = outcome.arrays.embeddings
    # Accuracy a second way: the class direction at the smallest angle.
    predicted = (embeddings @ centres.T).argmax(1)
    assert outcome.metrics["accuracy"] == pytest.approx((predicted == labels).mean())
    assert np.allclose(np.linalg.norm(centres, axis=1), 1, atol=1e-5)
    assert outcome.curves["epoch"] == list(range(1, 13))
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}


def test_the_curves_hold_the_geometry_of_the_validation_split(data, tmp_path):
    model = module(data)
    outcome = fit(data, tmp_path, epochs=3, model=model)
    embedded = model.embed(data.val.images).numpy()
    last = geometry.measure(embedded, data.val.labels.numpy())
    for name, value in last.items():
        assert len(outcome.curves[f"val_{name}"]) == 3
        assert outcome.curves[f"val_{name}"][-1] == pytest.approx(value, abs=1e-3)


def test_who_watches_sees_what_the_snapshots_keep(data, tmp_path):
    seen = []
    result = fit(data, tmp_path, epochs=2, on_moment=seen.append)
    arrays, snapshots = result.arrays, result.arrays.snapshots
    assert [moment.epoch for moment in seen] == snapshots.epochs.tolist()
    for place, moment in enumerate(seen):
        assert np.array_equal(moment.embeddings.embeddings, snapshots.embeddings[place])
        for name in ("accuracy", "gap_mean_deg"):
            assert snapshots.metric(name)[place] == pytest.approx(moment.metrics[name])
    assert np.isnan(snapshots.metric("unheard_of")).all()
    assert seen[-1].metrics == pytest.approx(
        {name: result.metrics[name] for name in seen[-1].metrics}, abs=1e-3
    )
    assert (arrays.embeddings.predicted == arrays.embeddings.labels).mean() == result.metrics[
        "accuracy"
    ]
    assert np.array_equal(arrays.embeddings.labels[snapshots.rows], snapshots.labels)


def test_who_is_told_of_each_epoch_may_end_the_run_with_its_checkpoint_written(data, tmp_path):
    told = []

    def on_epoch(*epoch):
        told.append(epoch)
        if epoch[0] == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        fit(data, tmp_path, on_epoch=on_epoch)
    assert [one[:2] for one in told] == [(1, 4), (2, 4)]
    last = tmp_path / "checkpoints" / "last.ckpt"
    assert torch.load(last, weights_only=True)["epoch"] == 1
    whole, resumed = fit(data, tmp_path / "whole"), fit(data, tmp_path, resume=last)
    assert resumed.metrics == whole.metrics and resumed.curves == whole.curves
    for done, (*_, curves) in enumerate(told, 1):
        assert curves["val_accuracy"] == whole.curves["val_accuracy"][:done]
        assert curves.keys() >= {name for name in whole.curves if name.startswith("val_")}


def test_a_checkpoint_appears_only_when_whole(data, tmp_path, monkeypatch):
    """It is written beside its place and renamed: what a kill leaves is no checkpoint."""
    seen = []
    replace = os.replace

    def watch(source, target):
        if Path(target).suffix == ".ckpt":
            assert Path(source).parent == Path(target).parent, "another file system would copy"
            seen.append((Path(target).name, torch.load(source, weights_only=True)["epoch"]))
        replace(source, target)

    monkeypatch.setattr(os, "replace", watch)
    fit(data, tmp_path, epochs=3)
    assert [epoch for name, epoch in seen if name == "last.ckpt"] == [0, 1, 2]


def test_a_run_cut_off_and_resumed_ends_like_an_undisturbed_one(data, tmp_path):
    def noisy():  # draws random numbers in every step
        model = module(data)
        model.augment = torch.nn.Dropout(0.2)
        return model

    whole = fit(data, tmp_path / "whole", model=noisy())

    def cut_off(epoch, *_):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(data, tmp_path / "cut", model=noisy(), on_epoch=cut_off, epochs=4)
    last = tmp_path / "cut" / "checkpoints" / "last.ckpt"
    resumed = fit(data, tmp_path / "cut", model=noisy(), resume=last)
    assert resumed.metrics == whole.metrics
    assert resumed.curves == whole.curves
    assert resumed.arrays.snapshots.epochs.tolist() == whole.arrays.snapshots.epochs.tolist()
    assert np.array_equal(resumed.arrays.snapshots.embeddings, whole.arrays.snapshots.embeddings)


def test_a_checkpoint_that_does_not_fit_is_not_gone_on_from(data, tmp_path):
    def described(mean, **more):
        return module(data, how=description(data, mean), **more)

    fit(data, tmp_path, epochs=2, model=described(0.5))
    last = tmp_path / "checkpoints" / "last.ckpt"
    other = described(0.5)
    other.header = MarginHeader(3, data.num_classes)
    larger = described(0.5)
    larger.header.register_buffer("more", torch.zeros(1))
    smaller = described(0.5)
    smaller.header = torch.nn.Module()
    adam = described(0.5, optimizer=torch.optim.Adam)
    torch.save({"state_dict": {}}, tmp_path / "not_ours.ckpt")
    for path, model, epochs, match in (
        (
            last,
            other,
            3,
            r"resume: header.weight is \(\d+, 2\) in '.*last.ckpt' but \(\d+, 3\) here",
        ),
        (last, larger, 3, r"has no header.more \(1,\), which is needed here"),
        (last, smaller, 3, "has header.weight, which is of another network"),
        (last, described(0.4), 3, "was trained on other images; go on with the settings"),
        (last, adam, 3, "was trained by another optimizer, one without amsgrad; go on with"),
        (last, described(0.5), 1, "has 2 epochs behind it, more than epochs=1"),
        (tmp_path / "not_ours.ckpt", module(data), 3, "is not one of our checkpoints"),
    ):
        with pytest.raises(UserError, match=match):
            fit(data, tmp_path / "on", epochs=epochs, model=model, resume=path)
    assert not (tmp_path / "on").exists()


DAMAGE = {
    "no curves": lambda content: content.pop("curves"),
    "no progress": lambda content: content.pop("loops"),
    "no schedule": lambda content: content.pop("lr_schedulers"),
    "a curve of tensors": lambda content: content["curves"].update(epoch=torch.zeros(2)),
    "no random state": lambda content: content["callbacks"]["ResumableRandomness"].update(
        cpu=torch.zeros(2)
    ),
    "fewer snapshots": lambda content: content["callbacks"]["SnapshotTaker"]["epochs"].pop(),
    "odd snapshots": lambda content: content["callbacks"]["SnapshotTaker"].update(centres=[0, 0]),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_checkpoint_of_which_a_part_is_wrong_is_damaged(data, tmp_path, damage):
    def described():
        return module(data, how=description(data))

    fit(data, tmp_path, epochs=1, model=described())
    last = tmp_path / "checkpoints" / "last.ckpt"
    content = torch.load(last, weights_only=True)
    DAMAGE[damage](content)
    torch.save(content, last)
    with pytest.raises(UserError, match=r"last\.ckpt'? is damaged"):
        fit(data, tmp_path, epochs=2, resume=last, model=described())


def test_what_fails_in_a_resumed_training_is_not_laid_to_the_checkpoint(data, tmp_path):
    def fails(*_):
        raise KeyError("ours")

    how, last = description(data), tmp_path / "checkpoints" / "last.ckpt"
    fit(data, tmp_path, epochs=1, model=module(data, how=how))
    with pytest.raises(KeyError, match="ours"):
        fit(data, tmp_path, epochs=2, resume=last, model=module(data, how=how), on_epoch=fails)


def test_an_archive_with_a_name_that_is_no_text_is_damaged(tmp_path):
    place = tmp_path / "x.ckpt"
    torch.save({}, place)
    content = bytearray(place.read_bytes())
    content[content.rindex(b"data.pkl")] = 0xDA  # in the list of its parts
    place.write_bytes(content)
    with pytest.raises(UserError, match="is damaged: no training can go on from it"):
        checkpoints.find(str(place), tmp_path)


def test_snapshots_begin_before_training_and_end_with_the_result(data, tmp_path):
    outcome = fit(data, tmp_path, epochs=3)
    snapshots = outcome.arrays.snapshots
    assert snapshots.epochs.tolist() == [0, 1, 2, 3]
    assert np.allclose(snapshots.embeddings[-1], outcome.arrays.embeddings.embeddings, atol=1e-5)
    assert snapshots.thumbnails.shape == (len(data.test), 8, 8)


def test_the_best_epoch_can_be_tested_instead_of_the_last(data, tmp_path):
    model = module(data)
    outcome = fit(data, tmp_path, epochs=5, evaluate="best", model=model)
    state = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    scores = outcome.curves["val_accuracy"]
    assert state["epoch"] == scores.index(max(scores))
    assert torch.equal(state["state_dict"]["header.weight"], model.header.weight)


def test_a_compiled_backbone_trains_alike_and_its_checkpoint_fits_any_other(data, tmp_path):
    plain, compiled = module(data), module(data)
    compiled.backbone.compile(backend="eager")  # all but the generated code
    one = fit(data, tmp_path / "plain", epochs=2, model=plain)
    two = fit(data, tmp_path / "compiled", epochs=2, model=compiled)
    assert np.allclose(
        one.arrays.embeddings.embeddings, two.arrays.embeddings.embeddings, rtol=1e-3, atol=1e-3
    )
    state = torch.load(tmp_path / "compiled" / "checkpoints" / "last.ckpt")["state_dict"]
    assert list(state) == list(plain.state_dict())
    plain.load_state_dict(state)


def test_the_ramp_reaches_the_header(data, tmp_path):
    model = module(data, ramp=1.0)
    fractions = []
    model.header.set_progress = fractions.append
    fit(data, tmp_path, epochs=2, model=model)
    assert fractions[0] == 0.0
    steps = len(fractions)
    assert fractions == pytest.approx([k / steps for k in range(steps)])


def test_a_loss_that_is_no_number_stops_the_run_and_says_what_to_try(data, tmp_path):
    model = module(data)
    model.header.loss = lambda embeddings, labels: embeddings.sum() * math.nan
    with pytest.raises(TrainingDiverged, match=r"optimizer\.lr"):
        fit(data, tmp_path, model=model)


@pytest.mark.parametrize("change", [{"epochs": 0}, {"evaluate": "first"}])
def test_settings_that_make_no_sense_are_refused(data, tmp_path, change):
    with pytest.raises(UserError):
        fit(data, tmp_path, **change)


def test_header_parameters_have_their_own_rate_and_no_decay(data, tmp_path):
    seen = []

    def optimizer(groups):
        seen.append(SGD(groups, lr=0.1, weight_decay=0.01))
        return seen[0]

    fit(data, tmp_path, epochs=1, model=module(data, optimizer=optimizer))
    backbone, header = seen[0].param_groups
    assert header["initial_lr"] == pytest.approx(0.1 * backbone["initial_lr"])
    assert (backbone["weight_decay"], header["weight_decay"]) == (0.01, 0.0)


@pytest.mark.parametrize("schedule", [schedules.constant, schedules.cosine, schedules.one_cycle])
def test_schedules_never_exceed_the_rate_and_peak_at_it(schedule):
    optimizer = SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    scheduler = schedule(optimizer, 100)
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert max(rates) == pytest.approx(0.5)
    if schedule is not schedules.constant:
        assert rates[-1] < 0.001
    if schedule is schedules.one_cycle:
        assert rates.index(max(rates)) == 25
        assert rates[0] == pytest.approx(0.5 / 25)


@pytest.mark.parametrize("backbone", [backbones.convnet, backbones.lenet])
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 33)])
@pytest.mark.parametrize("norm", [False, True])
def test_backbones_take_any_image_and_leave_the_embedding_free(backbone, shape, norm):
    torch.manual_seed(0)
    net = backbone(image_shape=shape, embedding_dim=5, embedding_norm=norm)
    out = net(torch.randn(16, *shape))
    assert out.shape == (16, 5)
    assert (out < 0).any(), "an embedding reaches all of space only without a ReLU"
    if norm:
        assert torch.allclose(out.mean(0), torch.zeros(5), atol=1e-5)


def test_the_last_checkpoint_is_of_the_last_epoch_even_when_an_earlier_one_was_best(data, tmp_path):
    outcome = fit(data, tmp_path, epochs=8)
    scores = outcome.curves["val_accuracy"]
    assert scores.index(max(scores)) < 7, "else this run cannot tell the two apart"
    saved = [torch.load(tmp_path / "checkpoints" / f"{n}.ckpt") for n in ("best", "last")]
    assert [state["epoch"] for state in saved] == [scores.index(max(scores)), 7]
    embedded = module(data)
    embedded.load_state_dict(saved[1]["state_dict"])
    assert np.allclose(
        embedded.embed(data.test.images), outcome.arrays.embeddings.embeddings, atol=1e-5
    )


def test_a_run_stopped_before_its_last_epoch_leaves_its_last_weights(data, tmp_path):
    model = module(data)
    two_epochs = 2 * len(Batches(data.train, 64, seed=0))
    fit(data, tmp_path, model=model, limits={"max_steps": two_epochs})
    state = torch.load(tmp_path / "checkpoints" / "last.ckpt")
    assert state["global_step"] == two_epochs
    assert torch.equal(state["state_dict"]["header.weight"], model.header.weight)


@pytest.mark.parametrize(
    "settings", [{"limit_val_batches": 0}, {"check_val_every_n_epoch": 2}, {"max_steps": 1}]
)
def test_an_epoch_without_a_validation_is_refused(data, tmp_path, settings):
    with pytest.raises(UserError, match=f"trainer.{next(iter(settings))}="):
        fit(data, tmp_path, epochs=2, limits=settings)
