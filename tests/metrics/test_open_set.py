"""Open-set figures: known answers, plain loops, scikit-learn and pytorch-metric-learning."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from arcmargin.metrics import bootstrap, score_counts, similarity, verification
from arcmargin.metrics.bootstrap import Resampling
from arcmargin.metrics.identification import DRAWS, identify, mean_over_images
from arcmargin.metrics.open_set import evaluate
from arcmargin.metrics.pairs import Pairs, folds, sampled
from arcmargin.metrics.retrieval import retrieve
from arcmargin.metrics.score_counts import ScoreCounts


def clusters(n: int, classes: int, dim: int = 8, noise: float = 1.0, seed: int = 0):
    """Unit embeddings around class centres, and labels in no order."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % classes)
    points = rng.normal(size=(classes, dim))[labels] + noise * rng.normal(size=(n, dim))
    return similarity.unit_rows(points), labels


def all_pairs(unit: np.ndarray, labels: np.ndarray):
    """(scores, same) by a plain loop."""
    pairs = [(i, j) for i in range(len(unit)) for j in range(i)]
    scores = np.array([float(unit[i] @ unit[j]) for i, j in pairs])
    return scores, np.array([labels[i] == labels[j] for i, j in pairs])


# --- verification ---------------------------------------------------------------------------------

# Four impostor pairs and four genuine ones. By hand: of 16 comparisons 13 are won and one is tied.
SCORES = np.array([0.9, 0.8, 0.7, 0.3, 0.7, 0.5, 0.2, 0.1])
SAME = np.array([True, True, True, True, False, False, False, False])


def test_known_answers():
    counts = score_counts.of_scores(SCORES, SAME)
    assert counts.scores.tolist() == [0.9, 0.8, 0.7, 0.5, 0.3, 0.2, 0.1]
    assert counts.genuine.tolist() == [1, 1, 1, 0, 1, 0, 0]
    assert counts.impostor.tolist() == [0, 0, 1, 1, 0, 1, 1]
    assert verification.auc(counts) == (13 + 0.5) / 16
    assert verification.tar_at_far(counts, np.array([0.0, 0.25, 0.5])).tolist() == [0.5, 0.75, 1.0]
    assert float(verification.tar_at_far(counts, 0.125)) == 0.625  # halfway up the tie
    assert verification.eer(counts) == 0.25  # at 0.7: one of four wrong on either side
    assert verification.threshold_at_far(counts, 0.25) == 0.7
    assert verification.threshold_at_far(counts, 0.0) == 0.8
    assert verification.best_threshold(counts) == (0.7, 0.75) or verification.best_threshold(
        counts
    ) in [(0.8, 0.75), (0.3, 0.75)]


@pytest.mark.parametrize(
    ("genuine", "impostor", "auc", "eer"),
    [([1, 0], [0, 1], 1.0, 0.0), ([0, 1], [1, 0], 0.0, 1.0), ([1, 1], [1, 1], 0.5, 0.5)],
)
def test_perfect_reversed_and_blind(genuine, impostor, auc, eer):
    counts = ScoreCounts(np.array([0.9, 0.1]), np.array(genuine), np.array(impostor))
    assert verification.auc(counts) == auc
    assert verification.eer(counts) == pytest.approx(eer)


def test_no_threshold_below_the_best_impostor_accepts_none():
    counts = score_counts.of_scores(np.array([0.9, 0.1]), np.array([False, True]))
    threshold = verification.threshold_at_far(counts, 0.1)
    assert threshold > 0.9
    assert verification.best_threshold(counts).accuracy == 0.5


@given(st.integers(0, 2**32 - 1), st.integers(2, 80), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_the_roc_is_scikit_learns(seed, n, levels):
    rng = np.random.default_rng(seed)
    scores = rng.integers(levels, size=n) / levels  # many ties
    same = rng.random(n) < 0.4
    same[:2] = True, False
    counts = score_counts.of_scores(scores, same)
    far, tar, thresholds = roc_curve(same, scores, drop_intermediate=False)
    mine = verification.rates(counts.genuine, counts.impostor)
    np.testing.assert_allclose(mine, (far, tar))
    np.testing.assert_array_equal(counts.scores, thresholds[1:])
    assert verification.auc(counts) == pytest.approx(roc_auc_score(same, scores))
    at = np.array([0.05, 0.3, 0.77])
    wanted = [np.interp(f, far, tar) for f in at]
    np.testing.assert_allclose(verification.tar_at_far(counts, at), wanted)
    eer = verification.eer(counts)  # on the curve, where both errors are equal
    on_the_curve = np.interp(1 - eer, tar, far), np.interp(eer, far, tar)
    assert min(abs(on_the_curve[0] - eer), abs(on_the_curve[1] - (1 - eer))) < 1e-9


def test_all_pairs_of_embeddings_are_counted_once(monkeypatch):
    unit, labels = clusters(151, 6)
    monkeypatch.setattr(similarity, "BLOCK", 151 * 20)  # several chunks, the last one shorter
    counts = score_counts.of_embeddings(unit, labels)
    scores, same = all_pairs(unit, labels)
    exact = score_counts.of_scores(scores, same)
    assert counts.genuine.sum() == same.sum() and counts.impostor.sum() == (~same).sum()
    assert verification.auc(counts) == pytest.approx(verification.auc(exact), abs=1e-5)
    assert verification.eer(counts) == pytest.approx(verification.eer(exact), abs=1e-3)
    for far in (1e-1, 1e-2, 1e-3):
        wanted = float(verification.tar_at_far(exact, far))
        assert float(verification.tar_at_far(counts, far)) == pytest.approx(wanted, abs=2e-3)
    assert np.abs(similarity.cosine_of(similarity.steps(scores)) - scores).max() < 1.1e-6


def test_cross_validation_is_a_loop_over_folds():
    rng = np.random.default_rng(3)
    scores, same = rng.normal(size=600), rng.random(600) < 0.5
    scores += same
    fold = np.arange(600) % 10
    whole = score_counts.of_scores(scores, same)
    parts = []
    for one in range(10):
        inside = fold == one
        counted = [
            np.array([np.sum(scores[inside & kind] == s) for s in whole.scores])
            for kind in (same, ~same)
        ]
        parts.append(ScoreCounts(whole.scores, *counted))
    wanted = []
    for one in range(10):
        train, test = fold != one, fold == one

        def accuracy(threshold, rows):
            accepted = scores >= threshold
            return (np.mean(accepted[rows & same]) + np.mean(~accepted[rows & ~same])) / 2

        candidates = np.array([accuracy(t, train) for t in whole.scores])
        best = np.flatnonzero(np.isclose(candidates, candidates.max(), atol=1e-12))
        wanted.append(accuracy(whole.scores[best[len(best) // 2]], test))
    np.testing.assert_allclose(verification.cross_validated_accuracy(parts), wanted)


@pytest.mark.parametrize(("n", "classes"), [(300, 3), (400, 40)])
def test_folds_share_no_image_and_with_many_classes_no_class(n, classes):
    labels = np.arange(n) % classes
    fold = folds(labels)
    assert sorted(np.unique(fold)) == list(range(10))
    for one in range(10):
        inside = labels[fold == one]
        assert len(np.unique(inside)) >= 2 and len(inside) > len(np.unique(inside))
    if classes >= 20:
        assert all(len(np.unique(fold[labels == c])) == 1 for c in range(classes))


def test_sampled_pairs_are_what_they_say():
    _, labels = clusters(500, 30)
    pairs = sampled(labels, 2000)
    assert len(pairs.same) == 2000 and pairs.same.sum() == 1000
    assert (pairs.first != pairs.second).all()
    np.testing.assert_array_equal(labels[pairs.first] == labels[pairs.second], pairs.same)
    assert len(np.unique(pairs.folds)) == 10
    again = sampled(labels, 2000)
    np.testing.assert_array_equal(pairs.first, again.first)


# --- retrieval ------------------------------------------------------------------------------------


def test_retrieval_by_hand():
    """On a circle at 0°, 10°, 25° (class a) and 12°, 180° (class b)."""
    angles = np.radians([0, 10, 25, 12, 180])
    unit = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = retrieve(unit, np.array([0, 0, 0, 1, 1]))
    # Query 0: 10 a, 12 b, ...; R = 2: one of two, precision 1 at the first.
    assert found["r_precision"].tolist() == [0.5, 0.5, 0.0 + 0.5, 0.0, 0.0]
    np.testing.assert_allclose(found["map_at_r"], [0.5, 0.25, 0.25, 0.0, 0.0])
    assert found["recall_at_1"].tolist() == [1, 0, 0, 0, 0]
    assert found["recall_at_5"].tolist() == [1, 1, 1, 1, 1]


@pytest.mark.parametrize(("n", "classes", "noise"), [(200, 4, 1.0), (180, 45, 0.7), (90, 2, 2.0)])
def test_retrieval_agrees_with_pytorch_metric_learning(n, classes, noise, monkeypatch):
    torch = pytest.importorskip("torch")
    calculator = pytest.importorskip("pytorch_metric_learning.utils.accuracy_calculator")
    inference = pytest.importorskip("pytorch_metric_learning.utils.inference")
    distances = pytest.importorskip("pytorch_metric_learning.distances")
    unit, labels = clusters(n, classes, noise=noise, seed=n)
    monkeypatch.setattr(similarity, "BLOCK", 7 * n)
    mine = retrieve(unit, labels)
    names = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
    theirs = calculator.AccuracyCalculator(
        include=names, k="max_bin_count", knn_func=inference.CustomKNN(distances.CosineSimilarity())
    ).get_accuracy(torch.from_numpy(unit), torch.from_numpy(labels))
    for name, own in zip(names, ("recall_at_1", "r_precision", "map_at_r"), strict=True):
        assert np.nanmean(mine[own]) == pytest.approx(theirs[name], abs=2e-5)  # near-ties


def test_retrieval_is_a_loop():
    unit, labels = clusters(80, 9)
    labels[labels == 8] = np.arange(8, 8 + (labels == 8).sum())  # classes of one image
    found = retrieve(unit, labels)
    for query in range(80):
        order = np.argsort(-(unit @ unit[query]), kind="stable")
        right = labels[order[order != query]] == labels[query]
        wanted = right.sum()
        if not wanted:
            assert all(np.isnan(values[query]) for values in found.values())
            continue
        precision = [right[: i + 1].mean() * right[i] for i in range(wanted)]
        assert found["map_at_r"][query] == pytest.approx(np.mean(precision))
        assert found["r_precision"][query] == pytest.approx(right[:wanted].mean())
        for k in (1, 5, 10):
            assert found[f"recall_at_{k}"][query] == right[:k].any()


def test_collapsed_embeddings_find_nothing():
    """All alike: whatever the order of the rows, every other class comes first."""
    labels = np.repeat(np.arange(4), 12)
    found = retrieve(np.ones((48, 3), dtype=np.float32) / np.sqrt(3).astype(np.float32), labels)
    assert np.mean(found["recall_at_10"]) == 0 and np.mean(found["map_at_r"]) == 0


# --- identification -------------------------------------------------------------------------------


def test_identification_is_a_loop():
    unit, labels = clusters(120, 12, noise=0.8)
    found = identify(unit, labels, seed=5)
    rng = np.random.default_rng(5)
    hits = {1: [], 5: [], 10: []}
    mated, alien = [], []
    for _ in range(DRAWS):
        shuffled = rng.permutation(120)
        gallery = [next(i for i in shuffled if labels[i] == c) for c in range(12)]
        enrolled = rng.permutation(12)[::2]
        for probe in sorted(set(range(120)) - set(gallery)):
            scores = similarity.cosine_of(similarity.steps(unit[gallery] @ unit[probe]))
            own = labels[probe]
            rank = np.sum(scores >= scores[own])
            for k, values in hits.items():
                values.append(rank <= k)
            best = max(scores[c] for c in enrolled if c != own)
            if own in enrolled:
                mated.append(scores[own] if scores[own] > best else -2.0)
            else:
                alien.append(best)
    for k, values in hits.items():  # every image is a probe about equally often, not quite
        rate = mean_over_images(found.hits[k], found.probed)
        assert rate == pytest.approx(np.mean(values), abs=0.02)
        assert found.hits[k][found.probed].tolist() == values
    np.testing.assert_allclose(
        np.sort(found.searches.score[found.searches.mated]), np.sort(mated), atol=2e-6
    )
    np.testing.assert_allclose(
        np.sort(found.searches.score[~found.searches.mated]), np.sort(alien), atol=2e-6
    )


def test_perfect_and_hopeless_identification():
    labels = np.repeat(np.arange(6), 20)
    perfect = evaluate(np.eye(6, dtype=np.float32)[labels], labels).metrics
    assert perfect["identification_rank_1"] == 1 and perfect["identification_rank_5"] == 1
    assert perfect["identification_fnir_at_fpir_1e-01"] == 0
    assert perfect["verification_eer"] == 0 and perfect["retrieval_map_at_r"] == 1
    assert perfect["verification_accuracy"] == 1 and perfect["verification_tar_at_far_1e-03"] == 1
    collapsed = evaluate(np.ones((120, 6), dtype=np.float32), labels).metrics
    assert collapsed["identification_rank_1"] == 0
    assert collapsed["identification_fnir_at_fpir_1e-01"] == 1
    assert collapsed["verification_auc"] == 0.5 and collapsed["verification_accuracy"] == 0.5


# --- the bootstrap --------------------------------------------------------------------------------


def test_units_are_images_of_few_classes_and_classes_of_many():
    few, many = Resampling(np.arange(90) % 3), Resampling(np.arange(90) % 30)
    assert (few.what, few.units, many.what, many.units) == ("images", 90, "classes", 30)
    weights = np.concatenate(list(few.draws(30)))
    assert weights.shape == (30, 90)
    for label in range(3):  # as many of each class as there are
        assert (weights[:, np.arange(90) % 3 == label].sum(axis=1) == 30).all()
    assert (np.concatenate(list(many.draws(30))).sum(axis=1) == 30).all()


@pytest.mark.parametrize("classes", [4, 25])
def test_weighted_counts_are_a_loop_over_pairs(classes):
    """w_i + w_j - 1 for every pair; within a drawn class its weight."""
    unit, labels = clusters(60, classes)
    resampling = Resampling(labels)
    counts = score_counts.of_embeddings(unit, labels)
    places = verification.cuts(counts)
    replicates = bootstrap.pair_replicates(unit, labels, places, resampling)
    genuine, impostor = next(replicates)
    weight = next(resampling.draws())[0][resampling.unit]
    cells = np.searchsorted(places, similarity.steps(unit @ unit.T))
    wanted = np.zeros((2, len(places)))
    for i, j in itertools.permutations(range(60), 2):  # each pair from both ends
        same = labels[i] == labels[j]
        together = same and resampling.by_class
        wanted[int(same), cells[i, j]] += weight[i] / 2 if together else weight[i] - 0.5
    np.testing.assert_allclose(genuine, np.cumsum(wanted[1]), atol=1e-6)
    np.testing.assert_allclose(impostor, np.cumsum(wanted[0]), atol=1e-6)


@pytest.mark.parametrize("classes", [3, 40])
def test_intervals_are_about_as_wide_as_the_spread_over_fresh_samples(classes):
    """The truth the bootstrap stands for: the same classes (few) or new ones (many), new images."""

    def sample(seed):
        rng = np.random.default_rng(seed)
        labels = np.arange(240) % classes
        fixed = np.random.default_rng(0) if classes < 20 else rng
        centres = fixed.normal(size=(classes, 8))
        return (centres[labels] + rng.normal(size=(240, 8))).astype(np.float32), labels

    names = (
        *("verification_auc", "verification_accuracy", "retrieval_r_precision"),
        *("retrieval_map_at_r", "identification_rank_1", "identification_fnir_at_fpir_1e-01"),
    )
    found = [evaluate(*sample(seed)) for seed in range(60)]
    spread = np.std([[one.metrics[name] for name in names] for one in found], axis=0)
    width = np.mean([[np.ptp(one.intervals[name]) for name in names] for one in found], axis=0)
    ratio = dict(zip(names, width / (2 * 1.96 * spread), strict=True))
    assert all(0.75 < value < 1.4 for value in ratio.values()), ratio


def test_the_interval_of_independent_pairs_is_the_binomial_one():
    rng = np.random.default_rng(0)
    unit = similarity.unit_rows(rng.normal(size=(4000, 8)))
    same = np.arange(2000) % 2 == 0
    pairs = Pairs(np.arange(2000), np.arange(2000, 4000), same)
    found = evaluate(unit, np.full(4000, -1), pairs)
    low, high = found.intervals["verification_tar_at_far_1e-01"]
    tar = found.metrics["verification_tar_at_far_1e-01"]
    # Binomial in the genuine pairs and, through the threshold, in the impostor pairs.
    assert high - low == pytest.approx(4 * np.sqrt(2 * tar * (1 - tar) / 1000), rel=0.35)
    assert set(found.metrics) == {name for name in found.metrics if name.startswith("verification")}


# --- everything at once ---------------------------------------------------------------------------


def test_what_is_too_few_is_said():
    unit, labels = clusters(60, 3)
    found = evaluate(unit, labels)
    assert found.metrics["verification_tar_at_far_1e-04"] is None
    assert any("FAR 0.0001 cannot be measured with 1,200 impostor pairs" in n for n in found.notes)
    assert any("FAR 0.01 rests on 12 of 1,200" in note for note in found.notes)
    labels = labels.copy()
    labels[0] = 9
    assert any("1 of 4 classes have one image" in n for n in evaluate(unit, labels).notes)


def test_sampled_pairs_agree_with_all_pairs():
    unit, labels = clusters(400, 25, noise=1.2)
    everything, some = evaluate(unit, labels), evaluate(unit, labels, 6000)
    for name in ("verification_auc", "verification_eer", "verification_accuracy"):
        assert some.metrics[name] == pytest.approx(everything.metrics[name], abs=0.06)
        assert np.ptp(some.intervals[name]) > 0
    assert "6,000 random pairs" in some.about["how"]


def test_every_value_lies_in_its_interval_and_the_roc_rises():
    unit, labels = clusters(300, 3, noise=1.5)
    found = evaluate(unit, labels)
    for name, (low, high) in found.intervals.items():
        assert low <= found.metrics[name] <= high, name
    tar = [value for value in found.roc["tar"] if value is not None]
    assert tar == sorted(tar) and tar[-1] == 1 and len(found.roc["far"]) == len(found.roc["tar"])


def test_an_embedding_without_direction_counts_against():
    unit, labels = clusters(120, 3, noise=0.1)
    broken = unit.copy()
    broken[:10] = 0
    broken[10] = np.nan
    with pytest.warns(UserWarning, match="11 of 120 embeddings have no direction"):
        found = evaluate(broken, labels)
    assert (
        found.metrics["retrieval_recall_at_1"]
        < evaluate(unit, labels).metrics["retrieval_recall_at_1"]
    )
    assert all(np.isfinite(v) for v in found.metrics.values() if v is not None)


def test_pairs_of_one_kind_are_said():
    unit, _ = clusters(20, 2)
    pairs = Pairs(np.arange(10), np.arange(10, 20), np.ones(10, dtype=bool))
    unknown = np.full(20, -1)
    assert "all of one kind" in evaluate(unit, unknown, pairs).notes[0]
    assert "nothing to verify" in evaluate(unit, unknown).notes[0]
    assert "no impostor pair" in evaluate(unit, np.zeros(20, dtype=int)).notes[0]
