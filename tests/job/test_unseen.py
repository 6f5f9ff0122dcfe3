"""Classes held out of training: chosen, kept apart, evaluated, recorded, reported."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from command_line import arcmargin
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.optim import SGD

from arcmargin import backbones
from arcmargin.data import digits, torchvision_images
from arcmargin.data.image_data import Normalise, RawImages, build, thumbnails
from arcmargin.errors import UserError
from arcmargin.headers import MarginHeader
from arcmargin.metrics.open_set import evaluate
from arcmargin.metrics.pairs import Pairs, sampled
from arcmargin.metrics.table import OF_VALIDATION_CLASSES, metric
from arcmargin.record import OpenSet, Result, Settings, Unseen, find_results
from arcmargin.report import heatmap, roc
from arcmargin.report.frame import configurations
from arcmargin.report.tables import run_table
from arcmargin.tracking import media
from arcmargin.training import schedules
from arcmargin.training.module import MarginModule
from arcmargin.training.train import train

DIGITS = {"classes": None, "split_seed": 0, "val_fraction": 0.1, "test_fraction": 0.2}
SPLITS = ("train", "val", "test")
SPLIT = {"split_seed": 0, "val_fraction": 0.2, "test_fraction": 0.25}


def images(counts, first=0):
    """Images of 2×2 pixels whose pixels number them, and their labels."""
    labels = np.repeat(np.arange(len(counts)), counts)
    numbers = first + np.arange(len(labels), dtype=np.uint8)
    return RawImages(numbers[:, None, None, None] * np.ones((1, 1, 2, 2), np.uint8), labels)


def built(counts=(6, 6, 6, 6), test=None, classes=None, **more):
    names = [f"c{i}" for i in range(len(counts))]
    given = {"split_seed": 0, "val_fraction": 0.2, "test_fraction": 0.0 if test else 0.25}
    return build("toy", names, images(counts), test, classes=classes, **given | more)


def numbers(data, split):
    return set(np.unique(thumbnails(getattr(data, split).images)).tolist())


# --- which classes, which images ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unseen", "classes", "names"),
    [
        (2, None, ["c2", "c3"]),
        (0.5, None, ["c2", "c3"]),
        ([3, 0], None, ["c3", "c0"]),
        (["c1", 2], None, ["c1", "c2"]),
        (2, [4, 0, 3, 1], ["c3", "c1"]),  # of those kept, in their order
        ([4, 0], [4, 0, 3, 1], ["c4", "c0"]),  # the data set's own numbers
    ],
)
def test_a_number_a_fraction_and_a_list_name_the_unseen(unseen, classes, names):
    data = built((6,) * (5 if classes else 4), unseen=unseen, classes=classes)
    assert list(data.unseen_names) == names
    assert not set(names) & set(data.class_names)
    for label, name in enumerate(names):
        row = int(np.flatnonzero(data.unseen.labels == label)[0])
        number = thumbnails(data.unseen.images[row : row + 1]).flat[0]
        assert number // 6 == int(name[1])


@given(st.lists(st.integers(2, 9), min_size=4, max_size=8), st.data())
@settings(max_examples=30, deadline=None)
def test_no_image_of_an_unseen_class_is_in_any_other_split(counts, draw):
    chosen = draw.draw(
        st.lists(
            st.sampled_from(range(len(counts))), min_size=2, max_size=len(counts) - 2, unique=True
        )
    )
    data = built(counts, unseen=chosen)
    parts = [numbers(data, split) for split in (*SPLITS, "unseen")]
    assert set.union(*parts) == set(range(sum(counts)))
    assert sum(map(len, parts)) == sum(counts)
    assert len(data.unseen) == sum(counts[c] for c in chosen)
    seen = images(counts).labels[sorted(set.union(*parts[:3]))]
    assert not set(seen.tolist()) & set(chosen)


def test_with_an_official_test_split_the_unseen_images_are_its():
    data = built((6, 6, 6, 6), test=images((3, 3, 3, 3), first=100), unseen=[2, 3])
    assert numbers(data, "unseen") == set(range(106, 112))
    assert numbers(data, "test") == set(range(100, 106))
    assert numbers(data, "train") | numbers(data, "val") == set(range(12))


def test_the_statistics_are_of_the_seen_training_images():
    """Other images in the unseen classes change nothing for training."""
    dark, bright = images((6, 6, 6, 6)), images((6, 6, 6, 6))
    bright.pixels[12:] = 255
    both = [
        build("toy", list("abcd"), raw, classes=None, unseen=2, **SPLIT) for raw in (dark, bright)
    ]
    assert (both[0].mean == both[1].mean).all() and (both[0].std == both[1].std).all()


@pytest.mark.parametrize(
    ("unseen", "match"),
    [
        ([7], r"asks for class 7, but the classes are 0 \(c0\), 1 \(c1\), 2 \(c2\), 3 \(c3\)"),
        (["dog", "c1"], "asks for class dog"),
        (3, r"leaves 1 class\(es\) for training; a margin needs at least two"),
        ([0, 1, 2, 3], r"leaves 0 class\(es\) for training"),
        (9, r"leaves 0 class\(es\) for training"),
        (1, r"leaves 1 class\(es\) to be unseen; impostor pairs need at least two"),
        ([1, 1], r"leaves 1 class\(es\) to be unseen"),
        (0, r"leaves 0 class\(es\) to be unseen"),
        (-2, "must be a number of classes, a fraction between 0 and 1 or a list"),
        (1.5, "must be a number of classes, a fraction"),
        (True, "must be a number of classes"),
        ("c1", "must be a number of classes"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(unseen, match):
    with pytest.raises(UserError, match=match):
        built(unseen=unseen)


def test_classes_without_test_images_or_without_a_pair_are_refused():
    with pytest.raises(UserError, match="the class 'c3' has no test images"):
        built(test=images((3, 3, 3)), unseen=[2, 3])
    with pytest.raises(UserError, match="no unseen class has two images"):
        built((6, 6, 1, 1), unseen=[2, 3])


def test_digits_and_mnist_hold_them_out(mnist_dir):
    data = digits(**DIGITS, unseen=[7, 8, 9])
    assert len(data.unseen) == 533 and data.class_names == tuple("0123456")
    mnist = torchvision_images(
        **{key: value for key, value in DIGITS.items() if key != "test_fraction"},
        name="MNIST",
        data_dir=mnist_dir,
        unseen=0.3,
    )
    assert len(mnist.unseen) == 1028 + 974 + 1009  # of the official test split
    assert mnist.unseen_names == ("7", "8", "9")


# --- end to end -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Two scales by two margins, trained on the digits 0 to 6."""
    cwd = tmp_path_factory.mktemp("open")
    done = arcmargin(
        *("--multirun", "header=cosface", "embedding_dim=16d", "epochs=2", "seed=0,1", "s=8,32"),
        *("dataset.unseen=[7,8,9]", "dataset.unseen_val=0", "m3=0,0.3"),
        *("sweep=try", "threads=1", "logger=none", "hydra/launcher=basic"),
        cwd=cwd,
    )
    assert done.returncode == 0, done.stderr
    return done, cwd / "outputs" / "sweeps" / "try"


def test_a_run_leaves_the_open_set_figures(sweep):
    done, folder = sweep
    results = find_results(folder).results
    assert len(results) == 8
    result = results[0]
    assert result.settings.class_names == list("0123456") and result.settings.num_classes == 7
    told = (result.folder / "run.log").read_text()
    for name in (
        *("verification_auc", "verification_eer", "verification_accuracy"),
        *("verification_tar_at_far_1e-01", "verification_tar_at_far_1e-04"),
        *("retrieval_recall_at_1", "retrieval_r_precision", "retrieval_map_at_r"),
        *("identification_rank_1", "identification_fnir_at_fpir_1e-02"),
    ):
        low, high = result.intervals[name]
        assert 0 <= low <= result.metrics[name] <= high <= 1, name
        assert metric(name).title in told
    assert "FAR 0.0001 rests on 9 of 94,686 impostor pairs" in done.stderr
    about = result.open_set
    assert (about.images, about.classes, about.genuine_pairs) == (533, 3, 47_092)
    assert about.how == "all pairs; images drawn again"
    assert set(about.thresholds) == {"best", *(f"far_1e-0{i}" for i in (1, 2, 3, 4))}


def test_the_figures_follow_from_the_stored_embeddings(sweep):
    _, folder = sweep
    result = find_results(folder).results[0]
    unseen = Unseen.load(result.folder)
    assert unseen.class_names.tolist() == ["7", "8", "9"] and unseen.embeddings.shape == (533, 16)
    again = evaluate(unseen.embeddings, unseen.labels)
    for name, value in again.metrics.items():
        assert result.metrics[name] == pytest.approx(value, abs=1e-9), name
    assert result.intervals == {k: tuple(v) for k, v in again.intervals.items()}


def test_the_report_draws_curves_and_the_heat_map(sweep):
    done, folder = sweep
    for name in ("roc.png", "heatmap.png"):
        assert (folder / "report" / name).stat().st_size > 10_000
        assert name in done.stdout
    found = configurations(find_results(folder).results)
    (ax,) = roc.figure(found).axes
    assert ax.get_xscale() == "log" and len(ax.get_lines()) == 4
    record = found[0].results
    mean = np.mean([run.open_set.tar[-5] for run in record])
    drawn = {round(float(line.get_ydata()[-5]), 6) for line in ax.get_lines()}
    assert round(100 * mean, 6) in drawn
    (page,) = heatmap.figures(found)
    _, tar, *_ = page.axes
    assert [t.get_text() for t in tar.get_xticklabels()] == ["8", "32"]
    assert [t.get_text() for t in tar.get_yticklabels()] == ["0", "0.3"]
    cell = next(one for one in found if (one.settings["s"], one.settings["m3"]) == (32, 0.3))
    mean = 100 * np.mean([run.metrics["verification_tar_at_far_1e-02"] for run in cell.results])
    assert tar.images[0].get_array()[1, 1] == pytest.approx(mean)
    assert any(text.get_text().startswith(f"{mean:.1f}\n±") for text in tar.texts)
    assert {"verification_eer", "accuracy"} <= set(run_table(find_results(folder).results, folder))


def test_the_mirror_gets_the_figures_and_the_curve(sweep):
    _, folder = sweep
    result = find_results(folder).results[0]
    assert {"test/embedding", "test/roc"} <= set(media.pictures(result))
    result.open_set = None
    assert "test/roc" not in media.pictures(result)


def test_without_unseen_classes_there_is_nothing_to_draw():
    settings = Settings(header="a", dataset="b", embedding_dim=2)
    found = configurations([Result(settings=settings)])
    assert roc.figure(found) is None and heatmap.figures(found) == []


def test_so_few_pairs_that_only_one_rate_is_known_make_no_curve():
    settings = Settings(header="linear", dataset="digits", embedding_dim=2)
    curve = OpenSet(images=4, classes=2, how="3 pairs", far=[0.1, 1.0], tar=[None, 1.0])
    result = Result(settings=settings, open_set=curve)
    assert roc.picture(result) is None
    curve.tar[0] = 0.5
    (ax,) = roc.picture(result).axes
    assert ax.get_xlim() == (0.1, 1)


def module_of(data, state=None):
    pl.seed_everything(0, verbose=False)
    module = MarginModule(
        backbones.convnet(image_shape=data.image_shape, embedding_dim=8, width=4, hidden=16),
        MarginHeader(8, data.num_classes, m2=0.3),
        optimizer=lambda groups: SGD(groups, lr=0.1),
        schedule=schedules.one_cycle,
        normalise=Normalise(data.mean, data.std),
    )
    if state is not None:
        module.load_state_dict(state["state_dict"])
    return module


def fit(data, folder, **more):
    module = module_of(data)

    def trainer(**given):
        return pl.Trainer(accelerator="cpu", devices=1, **given)

    settings = Settings(header="arcface", dataset="digits", embedding_dim=8)
    given = {"epochs": 1, "batch_size": 64, "seed": 0, "folder": folder}
    return train(module, data, trainer, settings, **(given | more))


def test_validation_classes_are_measured_each_epoch_and_at_the_end(tmp_path):
    data = digits(**DIGITS, unseen=2, unseen_val=2)
    names = [f"val_unseen_{name}" for name in OF_VALIDATION_CLASSES]
    result = fit(data, tmp_path / "last", epochs=3)
    assert [len(result.curves[name]) for name in names] == [3] * len(names)
    assert set(names) < set(result.validation) and not set(names) & set(result.metrics)
    assert result.validation["val_accuracy"] == result.curves["val_accuracy"][-1]
    state = torch.load(tmp_path / "last" / "checkpoints" / "last.ckpt", weights_only=True)
    again = MarginModule.embed(module_of(data, state), data.unseen_val.images).numpy()
    for name, value in evaluate(again, data.unseen_val.labels.numpy()).metrics.items():
        if f"val_unseen_{name}" in names:
            found = result.validation[f"val_unseen_{name}"]
            assert found == pytest.approx(value, abs=1e-3), name
    read = Result.read(result.write(tmp_path / "last").parent)
    assert read.validation == result.validation
    without = fit(replace(data, unseen_val=None), tmp_path / "none", epochs=3)
    assert without.metrics == result.metrics, "to be measured changes nothing"
    assert not any(name.startswith("val_unseen") for name in without.validation)


def test_a_score_of_validation_classes_chooses_the_epoch(tmp_path):
    data = digits(**DIGITS, unseen=2, unseen_val=2)
    score = "val_unseen_verification_eer"
    result = fit(data, tmp_path, epochs=6, evaluate="best", score=score)
    state = torch.load(tmp_path / "checkpoints" / "best.ckpt", weights_only=True)
    assert state["epoch"] == int(np.argmin(np.float32(result.curves[score])))
    assert result.validation["val_accuracy"] == result.curves["val_accuracy"][state["epoch"]]
    assert result.arrays.unseen.class_names.tolist() == ["8", "9"]
    with pytest.raises(UserError, match="needs validation classes, and the data set has none"):
        fit(replace(data, unseen_val=None), tmp_path / "none", score=score)


def test_random_and_given_pairs_instead_of_all(tmp_path):
    data = digits(**DIGITS, unseen=[0, 1, 9])
    result = fit(data, tmp_path / "random", verification_pairs=4000)
    assert result.open_set.genuine_pairs == result.open_set.impostor_pairs == 2000
    assert result.arrays.unseen.class_names.tolist() == ["0", "1", "9"]
    labels = data.unseen.labels.numpy()
    pairs = sampled(labels, 1000)
    listed = replace(data, pairs=pairs)
    result = fit(listed, tmp_path / "given")
    assert result.open_set.how == "the given pairs; pairs drawn again"
    assert result.open_set.impostor_pairs == 500
    assert result.metrics["retrieval_recall_at_1"] > 0.2  # the labels are known as well
    for source, match in ((data, "at least 100, got 50"), (listed, "lists its own pairs")):
        with pytest.raises(UserError, match=match):
            fit(source, tmp_path / "x", verification_pairs=50 if source is data else 500)
    with pytest.raises(UserError, match="the data set has no unseen classes"):
        fit(digits(**DIGITS), tmp_path / "x", verification_pairs=500)


def test_a_mistake_on_the_command_line_is_one_sentence(tmp_path):
    done = arcmargin("dataset.unseen=[7,12]", "logger=none", cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "dataset.unseen asks for class 12, but the classes are 0, 1, 2" in done.stderr


# --- given pairs ----------------------------------------------------------------------------------


def test_given_pairs_with_their_folds_are_what_is_verified():
    """As LFW's protocol lists them: no labels needed."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=(400, 16))
    unit = np.concatenate([base, base + rng.normal(size=base.shape)]).astype(np.float32)
    first = np.arange(400)
    same = first % 2 == 0
    second = np.where(same, first + 400, (first + 5) % 400 + 400)
    found = evaluate(unit, np.full(800, -1), Pairs(first, second, same, first // 40))
    norms = unit / np.linalg.norm(unit, axis=1, keepdims=True)
    scores = (norms[first] * norms[second]).sum(axis=1)
    folds = []
    for fold in range(10):  # equally many of both kinds: plain accuracy
        train, test = first // 40 != fold, first // 40 == fold
        right = [np.mean((scores[train] >= t) == same[train]) for t in scores]
        best = [t for t, share in zip(scores, right, strict=True) if share == max(right)]
        folds.append([np.mean((scores[test] >= t) == same[test]) for t in (min(best), max(best))])
    low, high = np.sort(folds, axis=1).mean(axis=0)
    assert low - 1e-9 <= found.metrics["verification_accuracy"] <= high + 1e-9
    assert found.about["folds"] == 10 and found.about["how"] == "the given pairs; pairs drawn again"


def test_unseen_arrays_survive_the_disk(tmp_path):
    stored = Unseen(np.ones((3, 2), np.float32), np.array([0, 1, -1]), np.array(["ä", "β 1"]))
    stored.save(tmp_path)
    again = Unseen.load(tmp_path)
    assert again.class_names.tolist() == ["ä", "β 1"] and again.labels.tolist() == [0, 1, -1]
    assert Unseen.load(Path(tmp_path) / "elsewhere") is None
