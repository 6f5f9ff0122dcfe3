"""How well the embeddings of a test split are separated, as angles in degrees.

A class's centre here is mu, the unit mean of its unit embeddings, measured on the data: the
header's own class directions play no part.
"""

import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from arcmargin.errors import UserError
from arcmargin.metrics.directions import directions

ARC_PERCENTILES = (5.0, 95.0)
ROWS_AT_A_TIME = 8192  # bounds memory at ROWS_AT_A_TIME x C cosines


class ClassMeans(NamedTuple):
    """The centres mu of the classes that have one, and the unit embeddings of these classes."""

    classes: Int[np.ndarray, "c"]
    centres: Float[np.ndarray, "c d"]
    unit: Float[np.ndarray, "n d"]
    labels: Int[np.ndarray, "n"]


class Arcs(NamedTuple):
    """2-D: where every class lies on the circle, in degrees, sorted by the angle of its centre."""

    classes: Int[np.ndarray, "c"]
    centre: Float[np.ndarray, "c"]  # angle of mu in [0, 360)
    low: Float[np.ndarray, "c"]  # 5th percentile of the signed angle about mu, usually negative
    high: Float[np.ndarray, "c"]  # 95th percentile
    centre_gap: Float[np.ndarray, "c"]  # from this centre to the next; they sum to 360
    gap: Float[np.ndarray, "c"]  # from this arc's end to the next arc's start; negative: overlap


def measure(
    embeddings: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, "n"],
    num_classes: int | None = None,
) -> dict[str, float | None]:
    """Every geometry metric; None where it is not defined (the gaps outside 2-D, angles between
    classes when there is only one).

    Embeddings that have no direction (zero, NaN, infinite) and classes without samples are left
    out, with a warning that counts them. `num_classes` only serves that warning.
    """
    unit, labels = _with_direction(embeddings, labels)
    means = class_means(unit, labels)
    classes, centres, unit, labels = means
    missing = (num_classes or len(classes)) - len(classes)
    if missing > 0:
        warnings.warn(
            f"{missing} of {num_classes} classes have no embeddings to measure and are left out",
            stacklevel=2,
        )
    own, nearest_other = _own_and_nearest_other(unit, np.searchsorted(classes, labels), centres)
    between = _angle(centres @ centres.T)[~np.eye(len(classes), dtype=bool)]
    metrics = {
        "intra_angle_deg": own.mean() if own.size else np.nan,
        "intra_angle_p50_deg": np.median(own) if own.size else np.nan,
        "centre_angle_min_deg": between.min() if between.size else np.nan,
        "margin_p05_deg": np.percentile(nearest_other - own, 5) if between.size else np.nan,
        "gap_min_deg": np.nan,
        "gap_mean_deg": np.nan,
        "centre_gap_max_deg": np.nan,
    }
    if unit.shape[1] == 2 and len(classes) > 1:
        around = arcs_around(means)
        metrics["gap_min_deg"] = around.gap.min()
        metrics["gap_mean_deg"] = around.gap.mean()
        metrics["centre_gap_max_deg"] = around.centre_gap.max()
    return {name: float(value) if np.isfinite(value) else None for name, value in metrics.items()}


def pairs_measured(
    embeddings: Float[np.ndarray, "n d"], labels: Int[np.ndarray, "n"]
) -> dict[str, tuple[int, int]]:
    """Between which two classes the metrics of `measure` that are a least or a greatest one were found;
    without those that are not defined."""
    unit, usable = directions(embeddings)
    means = class_means(unit[usable], labels[usable])
    if len(means.classes) < 2:
        return {}
    cosines = means.centres @ means.centres.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = np.unravel_index(cosines.argmax(), cosines.shape)
    found = {"centre_angle_min_deg": means.classes[list(nearest)]}
    if unit.shape[1] == 2:
        around = arcs_around(means)
        following = np.roll(around.classes, -1)
        for name, place in (
            ("gap_min_deg", around.gap.argmin()),
            ("centre_gap_max_deg", around.centre_gap.argmax()),
        ):
            found[name] = np.array([around.classes[place], following[place]])
    return {name: (int(pair.min()), int(pair.max())) for name, pair in found.items()}


def arcs(embeddings: Float[np.ndarray, "n d"], labels: Int[np.ndarray, "n"]) -> Arcs:
    """The classes around the circle: an arc runs from the 5th to the 95th percentile of its
    samples' signed angle about the centre."""
    if embeddings.ndim != 2 or embeddings.shape[1] != 2:
        raise UserError(f"arcs need 2-D embeddings of shape (N, 2), got {embeddings.shape}")
    unit, labels = _with_direction(embeddings, labels)
    return arcs_around(class_means(unit, labels))


def _with_direction(embeddings: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit embeddings in float64, less those that have no direction."""
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1]:
        raise UserError(
            "embeddings must be (N, D) with N labels, got embeddings of shape "
            f"{embeddings.shape} and labels of shape {labels.shape}"
        )
    unit, usable = directions(embeddings)
    if not usable.all():
        warnings.warn(
            f"{np.count_nonzero(~usable)} of {len(usable)} embeddings have no direction (zero or "
            "not finite) and are left out of the geometry metrics",
            stacklevel=3,
        )
    return unit[usable], labels[usable]


def class_means(unit: Float[np.ndarray, "n d"], labels: Int[np.ndarray, "n"]) -> ClassMeans:
    """The centres of unit embeddings. A class whose embeddings cancel out has no mean direction; it
    is left out as if it had no samples."""
    order, classes, starts = _by_class(labels)
    sums = np.add.reduceat(unit[order], starts) if len(starts) else np.empty((0, unit.shape[1]))
    norms = np.linalg.norm(sums, axis=1)
    has_mean = norms > 1e-9
    kept = np.isin(labels, classes[has_mean])
    centres = sums[has_mean] / norms[has_mean, None]
    return ClassMeans(classes[has_mean], centres, unit[kept], labels[kept])


def _own_and_nearest_other(
    unit: np.ndarray, own_index: np.ndarray, centres: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Degrees from each sample to its own class's centre, and to the nearest of the others."""
    own, nearest = np.empty(len(unit)), np.empty(len(unit))
    for start in range(0, len(unit), ROWS_AT_A_TIME):
        rows = slice(start, start + ROWS_AT_A_TIME)
        cosines = unit[rows] @ centres.T
        mine = (np.arange(len(cosines)), own_index[rows])
        own[rows] = _angle(cosines[mine])
        cosines[mine] = -np.inf
        nearest[rows] = _angle(cosines.max(axis=1))
    return own, nearest


def _angle(cosine: np.ndarray) -> np.ndarray:
    return np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0)))


def arcs_around(means: ClassMeans) -> Arcs:
    """The same as `arcs`, of centres that are known already."""
    classes, centres, unit, labels = means
    centre = np.degrees(np.arctan2(centres[:, 1], centres[:, 0])) % 360
    order = np.argsort(centre, kind="stable")
    around = np.degrees(np.arctan2(unit[:, 1], unit[:, 0]))
    of_label = np.empty(labels.max(initial=-1) + 1)
    of_label[classes] = centre
    low, high = _percentiles((around - of_label[labels] + 180) % 360 - 180, labels)[:, order]
    classes, centre = classes[order], centre[order]
    centre_gap = np.diff(centre, append=centre[:1] + 360)
    gap = centre_gap - high + np.roll(low, -1)
    return Arcs(classes, centre, low, high, centre_gap, gap)


def _by_class(
    labels: Int[np.ndarray, "n"],
) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "c"], Int[np.ndarray, "c"]]:
    """An order in which the samples of a class stand together, the classes, and where each begins."""
    order = np.argsort(labels, kind="stable")
    classes, starts = np.unique(labels[order], return_index=True)
    return order, classes, starts


def _percentiles(
    values: Float[np.ndarray, "n"], labels: Int[np.ndarray, "n"]
) -> Float[np.ndarray, "2 c"]:
    """ARC_PERCENTILES of each class's values, between two of them on a line as numpy has it; a call of
    np.percentile for each of a thousand classes would take a tenth of a second."""
    ordered = values[np.lexsort((values, labels))]
    counts = np.unique(labels, return_counts=True)[1]
    starts = np.cumsum(counts) - counts
    place = np.array(ARC_PERCENTILES)[:, None] / 100 * (counts - 1)
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, counts - 1)
    low, high = ordered[starts + below], ordered[starts + above]
    return low + (high - low) * (place - below)
