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
    classes, centres, unit, labels = _unit_means(unit, labels)
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
        around = _arcs(classes, centres, unit, labels)
        metrics["gap_min_deg"] = around.gap.min()
        metrics["gap_mean_deg"] = around.gap.mean()
        metrics["centre_gap_max_deg"] = around.centre_gap.max()
    return {name: float(value) if np.isfinite(value) else None for name, value in metrics.items()}


def arcs(embeddings: Float[np.ndarray, "n d"], labels: Int[np.ndarray, "n"]) -> Arcs:
    """The classes around the circle: an arc runs from the 5th to the 95th percentile of its
    samples' signed angle about the centre."""
    if embeddings.ndim != 2 or embeddings.shape[1] != 2:
        raise UserError(f"arcs need 2-D embeddings of shape (N, 2), got {embeddings.shape}")
    unit, labels = _with_direction(embeddings, labels)
    return _arcs(*_unit_means(unit, labels))


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


def _unit_means(
    unit: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """classes (C,), mu (C, D), and the samples of these classes. A class whose embeddings cancel
    out has no mean direction; it is left out as if it had no samples."""
    classes = np.unique(labels)
    sums = np.array([unit[labels == c].sum(axis=0) for c in classes]).reshape(-1, unit.shape[1])
    norms = np.linalg.norm(sums, axis=1)
    has_mean = norms > 1e-9
    kept = np.isin(labels, classes[has_mean])
    return classes[has_mean], sums[has_mean] / norms[has_mean, None], unit[kept], labels[kept]


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


def _arcs(classes: np.ndarray, centres: np.ndarray, unit: np.ndarray, labels: np.ndarray) -> Arcs:
    centre = np.degrees(np.arctan2(centres[:, 1], centres[:, 0])) % 360
    order = np.argsort(centre, kind="stable")
    classes, centre = classes[order], centre[order]
    around = np.degrees(np.arctan2(unit[:, 1], unit[:, 0]))
    spans = [
        np.percentile((around[labels == c] - angle + 180) % 360 - 180, ARC_PERCENTILES)
        for c, angle in zip(classes, centre, strict=True)
    ]
    low, high = np.array(spans).reshape(-1, 2).T
    centre_gap = np.diff(centre, append=centre[:1] + 360)
    gap = centre_gap - high + np.roll(low, -1)
    return Arcs(classes, centre, low, high, centre_gap, gap)
