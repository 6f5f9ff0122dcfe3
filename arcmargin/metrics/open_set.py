"""All open-set metrics of one set of embeddings, with their intervals and with notes on their limits."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from arcmargin.metrics import bootstrap, few_shot, score_counts, verification
from arcmargin.metrics.bootstrap import Interval, Resampling
from arcmargin.metrics.identification import (
    DRAWS,
    FPIRS,
    Identification,
    Searches,
    identify,
    mean_over_images,
)
from arcmargin.metrics.pair_counts import counts_by_fold, image_replicates
from arcmargin.metrics.pairs import Pairs, folds, sampled
from arcmargin.metrics.retrieval import retrieve, standard_errors
from arcmargin.metrics.score_counts import ScoreCounts
from arcmargin.metrics.similarity import unit_rows

# Errors that a rate should rest on: Doddington et al. 2000, Speech Communication 31.
RULE_OF_30 = 30


class Evaluation(NamedTuple):
    metrics: dict[str, float | None]  # None: not measurable on these images
    intervals: dict[str, Interval]  # 95 %, by the bootstrap
    roc: dict[str, list[float | None]]  # far and tar, on the same grid for every run
    thresholds: dict[str, float]  # cosines: of the best accuracy, and of each FAR
    about: dict[str, Any]  # numbers of images, classes, pairs; `how` they were paired and resampled
    notes: list[str]  # what a reader must know: what could not be measured, what rests on few pairs


def evaluate(
    embeddings: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, "n"],
    pairs: Pairs | int | None = None,
) -> Evaluation:
    """Verification, and where labels are known retrieval, identification and one-shot episodes.

    `pairs`: the pairs to verify, or how many random ones; None takes all. A negative label means that
    the class is unknown.
    """
    unit = unit_rows(embeddings)
    known = np.flatnonzero(labels >= 0)
    unit_known, labels_known = unit[known], labels[known]
    result = Evaluation({}, {}, {}, {}, {"images": len(labels)}, [])
    if isinstance(pairs, Pairs):
        _verify_pairs(result, unit, pairs)
    elif not len(known):
        result.notes.append("no class is known and no pairs are given: nothing to verify")
    else:
        resampling = Resampling(labels_known)
        if pairs is None:
            _verify_all(result, unit_known, labels_known, resampling)
        else:
            _verify_sampled(result, unit_known, labels_known, pairs, resampling)
    sizes = np.unique(labels_known, return_counts=True)[1]
    if len(sizes) < 2 or sizes.max() < 2:
        return result
    result.about["classes"] = len(sizes)
    if (sizes == 1).any():
        result.notes.append(
            f"{np.count_nonzero(sizes == 1)} of {len(sizes)} classes have one image: no genuine "
            "pair, never a query, and no probe once enrolled"
        )
    resampling = Resampling(labels_known)
    _retrieval(result, unit_known, labels_known, resampling)
    _identification(result, identify(unit_known, labels_known), resampling)
    for ways, found in few_shot.one_shot(unit_known, labels_known).items():
        result.metrics[f"one_shot_{ways}_way"] = found.accuracy
        result.intervals[f"one_shot_{ways}_way"] = found.interval
    return result


def _retrieval(
    result: Evaluation,
    unit: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, "n"],
    resampling: Resampling,
) -> None:
    """Resampling the queries alone, with the same images to be found, gives intervals half as wide as
    they should be where classes are few: there, random halves of the images give the standard error."""
    halved = not resampling.by_class and np.unique(labels, return_counts=True)[1].min() >= 4
    errors = standard_errors(unit, labels) if halved else {}
    for name, values in retrieve(unit, labels).items():
        mean = float(np.nanmean(values))
        result.metrics[f"retrieval_{name}"] = mean
        result.intervals[f"retrieval_{name}"] = (
            bootstrap.normal_interval(mean, errors[name]) if halved else resampling.mean(values)
        )


def _verify_all(
    result: Evaluation,
    unit: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, "n"],
    resampling: Resampling,
) -> None:
    counts = score_counts.of_embeddings(unit, labels)
    fold = folds(labels)
    parts = [
        score_counts.of_embeddings(unit[fold == one], labels[fold == one])
        for one in range(fold.max() + 1)
    ]
    replicates = partial(bootstrap.pair_replicates, unit, labels, resampling=resampling)
    _verification(result, counts, parts, replicates, f"all pairs; {resampling.what} drawn again")


def _verify_sampled(
    result: Evaluation,
    unit: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, "n"],
    count: int,
    resampling: Resampling,
) -> None:
    pairs = sampled(labels, count)
    counts, parts = counts_by_fold(unit, pairs)
    replicates = partial(image_replicates, counts, unit, pairs, resampling=resampling)
    how = f"{len(pairs.same):,} random pairs; {resampling.what} drawn again"
    _verification(result, counts, parts, replicates, how)


def _verify_pairs(result: Evaluation, unit: Float[np.ndarray, "n d"], pairs: Pairs) -> None:
    """A protocol's pairs are a sample of their own: they are what is resampled."""
    if pairs.same.all() or not pairs.same.any():
        result.notes.append("the pairs are all of one kind: nothing to verify")
        return
    counts, parts = counts_by_fold(unit, pairs)
    replicates = partial(bootstrap.independent_replicates, counts)
    _verification(result, counts, parts, replicates, "the given pairs; pairs drawn again")


def _verification(
    result: Evaluation,
    counts: ScoreCounts,
    parts: list[ScoreCounts],
    replicates: Callable[..., Iterator[tuple[np.ndarray, np.ndarray]]],
    how: str,
) -> None:
    genuine, impostor = int(counts.genuine.sum()), int(counts.impostor.sum())
    result.about.update({"genuine_pairs": genuine, "impostor_pairs": impostor, "how": how})
    if not genuine or not impostor:
        kind = "genuine" if not genuine else "impostor"
        result.notes.append(f"there is no {kind} pair: nothing to verify")
        return
    measures: dict[str, Callable[[ScoreCounts], float]] = {
        "auc": verification.auc,
        "eer": verification.eer,
        **_at_rates("tar_at_far", verification.FARS, impostor, "impostor pairs", result),
    }
    result.thresholds["best"] = verification.best_threshold(counts).value
    for far in verification.FARS:
        result.thresholds[f"far_{far:.0e}"] = verification.threshold_at_far(counts, far)
    points = verification.roc_points(counts)
    intervals = bootstrap.intervals_of_measures(measures, counts, replicates(points=points), points)
    for name, measure in measures.items():
        result.metrics[f"verification_{name}"] = measure(counts)
        result.intervals[f"verification_{name}"] = intervals[name]
    usable = [part for part in parts if part.genuine.any() and part.impostor.any()]
    if len(usable) > 1:
        accuracies = verification.cross_validated_accuracy(usable)
        result.about["folds"] = len(usable)
        result.metrics["verification_accuracy"] = float(accuracies.mean())
        result.intervals["verification_accuracy"] = bootstrap.fold_interval(accuracies)
    grid = verification.ROC_FARS
    tar = verification.tar_at_far(counts, grid)
    known = grid * impostor >= 1
    result.roc["far"] = [float(f"{far:.4g}") for far in grid]
    result.roc["tar"] = [round(float(t), 6) if k else None for t, k in zip(tar, known, strict=True)]


def _at_rates(
    name: str, rates: tuple[float, ...], impostors: int, what: str, result: Evaluation
) -> dict[str, Callable[[ScoreCounts], float]]:
    """A measure of TAR for each rate of false accepts that so many impostors can show. A note says
    which cannot be shown, and which rest on fewer than 30 errors."""
    measures: dict[str, Callable[[ScoreCounts], float]] = {}
    prefix = "verification" if what == "impostor pairs" else "identification"
    label = "FAR" if prefix == "verification" else "FPIR"
    for rate in rates:
        expected = rate * impostors
        if expected < 1:
            result.metrics[f"{prefix}_{name}_{rate:.0e}"] = None
            result.notes.append(
                f"{label} {rate:g} cannot be measured with {impostors:,} {what}: at least "
                f"{round(1 / rate):,} are needed, {round(RULE_OF_30 / rate):,} for a steady figure"
            )
            continue
        if expected < RULE_OF_30:
            result.notes.append(
                f"{label} {rate:g} rests on {expected:.0f} of {impostors:,} {what}; "
                f"{round(RULE_OF_30 / rate):,} would make it steady"
            )
        measures[f"{name}_{rate:.0e}"] = partial(_tar, rate=rate)
    return measures


def _tar(counts: ScoreCounts, rate: float) -> float:
    return float(verification.tar_at_far(counts, rate))


def _identification(result: Evaluation, found: Identification, resampling: Resampling) -> None:
    for k, hits in found.hits.items():
        result.metrics[f"identification_rank_{k}"] = mean_over_images(hits, found.probed)
        result.intervals[f"identification_rank_{k}"] = resampling.mean_of_trials(
            hits.astype(float), found.probed
        )
    searches = found.searches
    counts = score_counts.of_scores(searches.score, searches.mated)
    impostors = int(np.unique(searches.image[~searches.mated]).size)
    if not impostors or not searches.mated.any():
        return
    measures = _at_rates("fnir_at_fpir", FPIRS, impostors, "images that are not enrolled", result)
    points = verification.roc_points(counts)
    replicates = _search_replicates(counts, searches, points, resampling)
    intervals = bootstrap.intervals_of_measures(measures, counts, replicates, points)
    for name, measure in measures.items():
        low, high = intervals[name]
        result.metrics[f"identification_{name}"] = 1 - measure(counts)
        result.intervals[f"identification_{name}"] = (1 - high, 1 - low)


def _search_replicates(
    counts: ScoreCounts, searches: Searches, points: Int[np.ndarray, "c"], resampling: Resampling
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(mated, non-mated) searches up to each point when probes and galleries are resampled."""
    cell = np.searchsorted(points, np.searchsorted(-counts.scores, -searches.score))
    code = searches.mated * len(points) + cell
    unit = resampling.unit[searches.image]
    for weights, times in resampling.draws_with_trials(DRAWS):
        for image, draw in zip(weights, times, strict=True):
            found = np.bincount(code, image[unit] * draw[searches.draw], 2 * len(points))
            impostor, genuine = np.cumsum(found.reshape(2, -1), axis=1)
            yield genuine, impostor
