"""Embeddings of any dimension on a plane: principal axes, or a map by t-SNE or UMAP; of several aligned.

Principal axes turn with every run. So a run that stands beside others is first turned in its own space
until its images lie as close as they can to those of the first (Procrustes), then shown in the first
one's plane: what differs between two pictures differs between the runs.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import orthogonal_procrustes

from arcmargin.metrics.directions import directions
from arcmargin.record import Embeddings

KINDS = ("pca", "tsne", "umap")
MAPS = {"tsne": "t-SNE", "umap": "UMAP"}


class Plane(NamedTuple):
    """Unit embeddings `x @ axes` are x and y in the unit circle."""

    axes: Float[np.ndarray, "d 2"]
    share: float  # of the variance of the unit embeddings
    unit: Float[np.ndarray, "n d"]  # zero for an embedding without a direction
    labels: Int[np.ndarray, "n"]
    means: Float[np.ndarray, "c d"]  # of each class; zero for a class without images


def plane(data: Embeddings, like: Plane | None = None) -> Plane:
    """The principal plane; with `like` the one in which the same images, or else the classes, look most
    as they do there."""
    unit, usable = directions(data.embeddings)
    means = class_means(unit[usable], data.labels[usable], len(data.centres))
    off = unit[usable] - (unit[usable].mean(axis=0) if usable.any() else 0.0)
    covariance = off.T @ off
    if like is None or len(like.means) != len(means):
        axes = np.linalg.eigh(covariance)[1][:, ::-1][:, :2]
        axes = np.pad(axes, ((0, 0), (0, 2 - axes.shape[1])))  # one dimension has one axis
        present = means[np.abs(means).sum(axis=1) > 0][:1]  # an axis has no sign of its own
        axes = axes * np.where((present @ axes).sum(axis=0) < 0, -1.0, 1.0)
    else:
        same = np.array_equal(like.labels, data.labels)
        axes = (turn(unit, like.unit) if same else turn(means, like.means)) @ like.axes
    total = max(float(np.trace(covariance)), 1e-12)
    share = float(np.trace(axes.T @ covariance @ axes)) / total
    return Plane(axes, share, unit, data.labels, means)


def turn(
    points: Float[np.ndarray, "n d"], wanted: Float[np.ndarray, "n e"]
) -> Float[np.ndarray, "d e"]:
    """The rotation, mirrored or not, that brings `points` closest to `wanted`. A row that is zero in
    either has no say."""
    both = (np.abs(points).sum(axis=1) > 0) & (np.abs(wanted).sum(axis=1) > 0)
    d, e = points.shape[1], wanted.shape[1]
    wide = max(d, e)
    padded = [np.pad(part[both], ((0, 0), (0, wide - part.shape[1]))) for part in (points, wanted)]
    return orthogonal_procrustes(*padded)[0][:d, :e]


def class_means(
    points: Float[np.ndarray, "n d"], labels: Int[np.ndarray, "n"], classes: int
) -> Float[np.ndarray, "c d"]:
    """The mean of each class's points; zero for a class without any."""
    sums = np.zeros((classes, points.shape[1]))
    np.add.at(sums, labels, points)
    return sums / np.maximum(np.bincount(labels, minlength=classes), 1)[:, None]


def tsne(
    unit: Float[np.ndarray, "n d"], start: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, "n 2"]:
    """A map in the unit circle that keeps neighbours by angle together (scikit-learn's t-SNE); distances
    between far clusters mean nothing. It begins at `start`, so that maps of several runs look alike."""
    from sklearn.manifold import TSNE  # takes a second to import

    if len(unit) < 4:
        return start
    begin = 1e-4 * start / max(float(start[:, 0].std()), 1e-12)
    perplexity = min(30.0, (len(unit) - 1) / 3)
    return _in_circle(TSNE(init=begin, perplexity=perplexity, random_state=0).fit_transform(unit))


def umap(
    unit: Float[np.ndarray, "n d"], start: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, "n 2"]:
    """As `tsne`, by UMAP (McInnes et al. 2018, arXiv 1802.03426; the package umap-learn)."""
    from umap import UMAP  # compiles itself: a quarter of a minute

    if len(unit) < 4:
        return start
    begin = 10 * start / max(float(np.abs(start).max()), 1e-12)  # as wide as its own beginnings
    near = min(15, len(unit) - 1)
    return _in_circle(
        UMAP(n_neighbors=near, init=begin, random_state=0, n_jobs=1).fit_transform(unit)
    )


def _in_circle(found: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    found = found - (found.max(axis=0) + found.min(axis=0)) / 2
    return found / max(float(np.linalg.norm(found, axis=1).max()), 1e-12)


def nearest(
    unit: Float[np.ndarray, "n d"], most: int = 10
) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
    """The nearest others of each by angle, exact, nearest first, and the angles in degrees. Rows that
    are zero have none (-1) and are nobody's."""
    from sklearn.neighbors import NearestNeighbors

    usable = np.flatnonzero(np.abs(unit).sum(axis=1) > 0)
    count = max(min(most, len(usable) - 1), 0)
    rows, angles = np.full((len(unit), count), -1), np.zeros((len(unit), count))
    if count:
        chords, found = NearestNeighbors(n_neighbors=count).fit(unit[usable]).kneighbors()
        rows[usable] = usable[found]
        angles[usable] = np.degrees(2 * np.arcsin((chords / 2).clip(0, 1)))
    return rows, angles
