import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arcmargin.errors import UserError
from arcmargin.metrics import geometry


def at(*degrees: float, radius: float = 1.0) -> np.ndarray:
    angle = np.radians(degrees)
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def blobs(
    seed: int, classes: int = 5, dim: int = 2, size: int = 200
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(classes, dim))
    labels = rng.integers(0, classes, size)
    points = directions[labels] + 0.4 * rng.normal(size=(size, dim))
    return points * rng.uniform(0.1, 9, (size, 1)), labels


def angle(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.degrees(np.arccos(np.clip(a @ b, -1, 1))))


def by_loops(embeddings: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """The definitions, one sample and one pair at a time."""
    unit = [x / np.linalg.norm(x) for x in embeddings]
    mean = {}
    for c in sorted(set(labels)):
        total = sum(x for x, y in zip(unit, labels, strict=True) if y == c)
        mean[c] = total / np.linalg.norm(total)
    own = [angle(x, mean[y]) for x, y in zip(unit, labels, strict=True)]
    other = [
        min(angle(x, mean[c]) for c in mean if c != y) for x, y in zip(unit, labels, strict=True)
    ]
    return {
        "intra_angle_deg": sum(own) / len(own),
        "intra_angle_p50_deg": sorted(own)[len(own) // 2],
        "centre_angle_min_deg": min(angle(mean[a], mean[b]) for a in mean for b in mean if a < b),
        "margin_p05_deg": float(np.percentile(np.array(other) - np.array(own), 5)),
    }


@pytest.mark.parametrize("dim", [2, 3, 16])
def test_agrees_with_the_definitions_by_loops(dim: int) -> None:
    embeddings, labels = blobs(seed=dim, dim=dim, size=201)
    measured = geometry.measure(embeddings, labels)
    for name, value in by_loops(embeddings, labels).items():
        assert measured[name] == pytest.approx(value, abs=1e-9), name


def test_rows_in_pieces_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings, labels = blobs(seed=0, dim=3)
    whole = geometry.measure(embeddings, labels)
    monkeypatch.setattr(geometry, "ROWS_AT_A_TIME", 7)
    assert geometry.measure(embeddings, labels) == pytest.approx(whole, nan_ok=True)


def test_the_circle_by_hand() -> None:
    # Arcs 355..15 about 5, 100..120 about 110, 230..250 about 240; percentiles of three points at
    # -10, 0, 10 degrees are -9 and 9.
    embeddings = at(355, 5, 15, 100, 110, 120, 230, 240, 250)
    labels = np.array([7, 7, 7, 2, 2, 2, 5, 5, 5])
    around = geometry.arcs(embeddings, labels)
    assert around.classes.tolist() == [7, 2, 5]
    np.testing.assert_allclose(around.centre, [5, 110, 240], atol=1e-9)
    np.testing.assert_allclose(around.low, [-9, -9, -9], atol=1e-9)
    np.testing.assert_allclose(around.high, [9, 9, 9], atol=1e-9)
    np.testing.assert_allclose(around.centre_gap, [105, 130, 125], atol=1e-9)
    np.testing.assert_allclose(around.gap, [87, 112, 107], atol=1e-9)
    measured = geometry.measure(embeddings, labels)
    assert measured["gap_min_deg"] == pytest.approx(87)
    assert measured["gap_mean_deg"] == pytest.approx(102)
    assert measured["centre_gap_max_deg"] == pytest.approx(130)
    assert measured["centre_angle_min_deg"] == pytest.approx(105)
    assert measured["intra_angle_deg"] == pytest.approx(20 / 3)


def test_overlapping_arcs_have_a_negative_gap() -> None:
    embeddings = at(-20, 0, 20, -5, 15, 35)
    labels = np.array([0, 0, 0, 1, 1, 1])
    assert geometry.arcs(embeddings, labels).gap[0] == pytest.approx(15 - 18 - 18)
    assert geometry.measure(embeddings, labels)["gap_min_deg"] == pytest.approx(-21)


def test_perfect_coverage() -> None:
    embeddings, labels = at(*range(0, 360, 36)), np.arange(10)
    measured = geometry.measure(embeddings, labels)
    for name in ("gap_min_deg", "gap_mean_deg", "centre_gap_max_deg", "centre_angle_min_deg"):
        assert measured[name] == pytest.approx(36), name
    assert measured["intra_angle_deg"] == pytest.approx(0, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), turn=st.floats(0, 360), mirror=st.booleans())
def test_rotation_reflection_norms_and_order_do_not_matter(
    seed: int, turn: float, mirror: bool
) -> None:
    embeddings, labels = blobs(seed)
    rotation = np.stack([at(turn)[0], at(turn + 90)[0]])
    order = np.random.default_rng(seed).permutation(len(labels))
    moved = (embeddings @ rotation * [1, -1 if mirror else 1])[order]
    moved *= np.random.default_rng(seed).uniform(0.01, 100, (len(labels), 1))
    before = geometry.measure(embeddings, labels)
    after = geometry.measure(moved, labels[order])
    assert after == pytest.approx(before, abs=1e-6)
    gaps = geometry.arcs(moved, labels[order]).centre_gap
    assert gaps.sum() == pytest.approx(360)
    assert (gaps >= 0).all()


def test_float32_embeddings_are_measured_in_float64() -> None:
    embeddings, labels = blobs(seed=3)
    single = geometry.measure(embeddings.astype(np.float32), labels)
    assert single == pytest.approx(geometry.measure(embeddings, labels), abs=1e-4)


def test_embeddings_without_direction_are_left_out_and_counted() -> None:
    embeddings, labels = blobs(seed=1)
    bad = np.array([[0.0, 0.0], [np.nan, 1.0], [np.inf, 0.0]])
    with pytest.warns(UserWarning, match="3 of 203 embeddings have no direction"):
        measured = geometry.measure(np.r_[bad, embeddings], np.r_[0, 0, 1, labels])
    assert measured == geometry.measure(embeddings, labels)


def test_a_class_without_samples_is_left_out_and_counted() -> None:
    embeddings, labels = at(0, 120, 240), np.array([0, 1, 3])
    with pytest.warns(UserWarning, match="1 of 4 classes"):
        measured = geometry.measure(embeddings, labels, num_classes=4)
    assert measured["centre_gap_max_deg"] == pytest.approx(120)


def test_a_class_whose_embeddings_cancel_out_is_left_out() -> None:
    embeddings = np.r_[at(30, 210), at(0, 120)]
    with pytest.warns(UserWarning, match="1 of 3 classes"):
        measured = geometry.measure(embeddings, np.array([0, 0, 1, 2]), num_classes=3)
    assert measured["centre_angle_min_deg"] == pytest.approx(120)


@pytest.mark.parametrize("count", [0, 1])
def test_what_is_not_defined_is_none(count: int) -> None:
    measured = geometry.measure(np.ones((count, 2)), np.zeros(count, dtype=int))
    assert measured["gap_min_deg"] is None
    assert measured["centre_angle_min_deg"] is None
    assert measured["margin_p05_deg"] is None
    assert measured["intra_angle_deg"] == (pytest.approx(0, abs=1e-5) if count else None)


def test_gaps_are_for_the_circle_only() -> None:
    measured = geometry.measure(*blobs(seed=0, dim=3))
    assert measured["gap_mean_deg"] is None
    assert measured["centre_angle_min_deg"] is not None
    with pytest.raises(UserError, match=r"arcs need 2-D embeddings.*\(200, 3\)"):
        geometry.arcs(*blobs(seed=0, dim=3))


def test_labels_must_match(unchecked_shapes: None) -> None:
    with pytest.raises(UserError, match=r"\(5, 2\).*\(4,\)"):
        geometry.measure(np.ones((5, 2)), np.zeros(4, dtype=int))
