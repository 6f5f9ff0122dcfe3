"""Projections and neighbours, against rotations that are known and loops that are slow."""

import numpy as np
import pytest
from scipy.stats import ortho_group

from arcmargin.record import Embeddings
from arcmargin.report.projection import class_means, nearest, plane, tsne, turn, umap


def clusters(dim: int, classes: int = 6, size: int = 240, seed: int = 0) -> Embeddings:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(classes, dim))
    labels = rng.integers(0, classes, size)
    points = 2 * centres[labels] + 0.3 * rng.normal(size=(size, dim))
    return Embeddings(points.astype(np.float32), labels, centres.astype(np.float32))


def unit(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)


@pytest.mark.parametrize("dim", [1, 2, 16])
def test_the_principal_plane_is_that_of_a_singular_value_decomposition(dim: int) -> None:
    data = clusters(dim)
    x = unit(data.embeddings)
    singular = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
    shown = plane(data)
    assert shown.share == pytest.approx((singular[:2] ** 2).sum() / (singular**2).sum())
    assert np.linalg.norm(x @ shown.axes, axis=1).max() < 1 + 1e-9
    assert ((shown.means[0] @ shown.axes) >= -1e-12).all()


@pytest.mark.parametrize("wider", [0, 5])
def test_a_turned_run_looks_like_the_one_it_stands_beside(wider: int) -> None:
    """Turned, mirrored and embedded in more dimensions: no difference that a reader should see."""
    one = clusters(8)
    turned = np.pad(one.embeddings, ((0, 0), (0, wider)))
    turned = turned @ ortho_group.rvs(8 + wider, random_state=1)
    other = one._replace(
        embeddings=turned.astype(np.float32), centres=np.zeros((6, 8 + wider), np.float32)
    )
    first = plane(one)
    beside = plane(other, first)
    np.testing.assert_allclose(
        unit(turned) @ beside.axes, unit(one.embeddings) @ first.axes, atol=1e-5
    )
    assert beside.share == pytest.approx(first.share, abs=1e-5)


def test_a_class_that_one_of_two_lacks_has_no_say_in_how_they_are_turned() -> None:
    rng = np.random.default_rng(0)
    wanted, rotation = rng.normal(size=(5, 3)), ortho_group.rvs(3, random_state=2)
    means = wanted @ rotation.T
    wanted[4] = 0
    np.testing.assert_allclose(turn(means, wanted), rotation, atol=1e-9)


def test_class_means_are_those_of_a_loop() -> None:
    data = clusters(4)
    found = class_means(data.embeddings.astype(float), data.labels, 7)
    for label in range(6):
        mean = data.embeddings[data.labels == label].mean(axis=0)
        np.testing.assert_allclose(found[label], mean, rtol=1e-5)
    assert not found[6].any()


@pytest.mark.parametrize("dim", [2, 3, 40])
def test_neighbours_are_the_nearest_by_angle(dim: int) -> None:
    x = unit(clusters(dim, size=120).embeddings)
    x[7] = 0  # without a direction
    rows, degrees = nearest(x)
    assert rows.shape == (120, 10) and (rows[7] == -1).all() and not (rows == 7).any()
    angles = np.degrees(2 * np.arcsin(np.linalg.norm(x[:, None] - x[None], axis=2) / 2))
    angles[:, 7] = np.inf
    np.fill_diagonal(angles, np.inf)
    for row in set(range(120)) - {7}:
        np.testing.assert_allclose(degrees[row], np.sort(angles[row])[:10], atol=1e-6)
        np.testing.assert_allclose(angles[row, rows[row]], degrees[row], atol=1e-6)


def test_two_images_have_one_neighbour_and_one_has_none() -> None:
    assert nearest(np.eye(2))[0].tolist() == [[1], [0]]
    assert nearest(np.eye(1))[0].shape == (1, 0)


# UMAP compiles itself first.
@pytest.mark.parametrize("kind", ["tsne", pytest.param("umap", marks=pytest.mark.long)])
def test_a_map_keeps_classes_together_within_the_circle(kind: str) -> None:
    if kind == "umap":
        pytest.importorskip("umap")
    data = clusters(12)
    x = unit(data.embeddings)
    places = (umap if kind == "umap" else tsne)(x, x @ plane(data).axes)
    assert np.linalg.norm(places, axis=1).max() == pytest.approx(1)
    closest = np.linalg.norm(places[:, None] - places[None], axis=2) + 9 * np.eye(len(places))
    assert (data.labels[closest.argmin(axis=1)] == data.labels).mean() > 0.95
