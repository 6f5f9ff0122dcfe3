"""Do two images show the same class? From the counts of genuine and impostor pairs at each score.

FAR: the share of impostor pairs accepted. TAR: the share of genuine pairs accepted. The ROC curve
runs straight between neighbouring scores, as tied pairs have no order.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from arcmargin.metrics.score_counts import ScoreCounts, rates

FARS = (1e-1, 1e-2, 1e-3, 1e-4)
ROC_FARS = np.logspace(-5, 0, 51)  # where curves are kept, 10 points a decade


class Threshold(NamedTuple):
    value: float  # accept a pair from this score on
    accuracy: float  # the mean of TAR and 1 - FAR there


def auc(counts: ScoreCounts) -> float:
    """The probability that a genuine pair scores above an impostor pair; ties count half."""
    far, tar = rates(counts.genuine, counts.impostor)
    return float(np.sum(np.diff(far) * (tar[1:] + tar[:-1])) / 2)


def eer(counts: ScoreCounts) -> float:
    """The error rate at which FAR equals 1 - TAR, interpolated."""
    far, tar = rates(counts.genuine, counts.impostor)
    excess = far - (1 - tar)  # rises from -1 to 1
    after = int(np.argmax(excess >= 0))
    share = -excess[after - 1] / (excess[after] - excess[after - 1])
    return float(far[after - 1] + share * (far[after] - far[after - 1]))


def tar_at_far(counts: ScoreCounts, at: float | Float[np.ndarray, "f"]) -> Float[np.ndarray, "*f"]:
    """The best TAR at these FARs, interpolated; a FAR of less than one impostor pair gives the TAR
    without any."""
    far, tar = rates(counts.genuine, counts.impostor)
    return np.asarray(np.interp(at, far, tar))


def threshold_at_far(counts: ScoreCounts, far: float) -> float:
    """The lowest threshold that accepts at most this share of the impostor pairs."""
    accepted, _ = rates(counts.genuine, counts.impostor)
    within = int(np.searchsorted(accepted[1:], far, side="right"))
    return float(counts.scores[within - 1]) if within else float(np.nextafter(counts.scores[0], 2))


def best_threshold(counts: ScoreCounts) -> Threshold:
    """Where the mean of TAR and 1 - FAR is highest: plain accuracy when both kinds of pairs are
    equally many, as in LFW's lists. In the middle of all thresholds that are equally good."""
    far, tar = rates(counts.genuine, counts.impostor)
    accuracy = (tar[1:] + 1 - far[1:]) / 2
    best = np.flatnonzero(accuracy == accuracy.max())
    middle = int(best[len(best) // 2])
    return Threshold(float(counts.scores[middle]), float(accuracy[middle]))


def cross_validated_accuracy(folds: Sequence[ScoreCounts]) -> Float[np.ndarray, "f"]:
    """LFW's protocol: each fold's accuracy at the threshold that is best on the other folds.

    Huang et al. 2007, Labeled Faces in the Wild (UMass TR 07-49), view 2. The folds share scores.
    """
    genuine = sum(fold.genuine for fold in folds)
    impostor = sum(fold.impostor for fold in folds)
    accuracies = []
    for fold in folds:
        others = ScoreCounts(fold.scores, genuine - fold.genuine, impostor - fold.impostor)
        threshold = best_threshold(others).value
        accepted = fold.scores >= threshold
        tar = fold.genuine[accepted].sum() / fold.genuine.sum()
        far = fold.impostor[accepted].sum() / fold.impostor.sum()
        accuracies.append((tar + 1 - far) / 2)
    return np.array(accuracies)


def roc_points(counts: ScoreCounts, per_decade: int = 16) -> Int[np.ndarray, "c"]:
    """Indices of some hundred scores that trace the whole ROC curve: spaced evenly in the logarithms of
    FAR and of 1 - TAR, and the last score."""
    far, tar = rates(counts.genuine, counts.impostor)
    levels = np.logspace(-6, 0, 6 * per_decade + 1)
    points = [np.searchsorted(far[1:], levels), np.searchsorted(tar[1:], 1 - levels)]
    last = len(counts.scores) - 1
    return np.unique(np.concatenate([*points, [last]]).clip(max=last))
