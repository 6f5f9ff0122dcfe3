"""Feasibility and predicted gaps, against known packings and brute force."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from arcmargin import angles, margins
from arcmargin.errors import UserError

quick = settings(deadline=None, max_examples=50)


@pytest.mark.parametrize(
    ("c", "d", "angle_deg"),
    [
        (10, 2, 36.0),
        (2, 2, 180.0),
        (2, 1, 180.0),
        (3, 1, 0.0),
        (4, 3, 109.4712),  # tetrahedron
        (6, 3, 90.0),  # octahedron
        (10, 9, 96.3794),  # simplex
        (10, 512, 96.3794),
        (16, 8, 90.0),  # cross-polytope
        (162, 21, math.degrees(math.acos(1 / 7))),  # McLaughlin's, meets Levenshtein's bound
        (100, 22, math.degrees(math.acos(1 / 11))),  # Higman and Sims', meets it too
    ],
)
def test_neighbour_angle_of_optimal_packings(c: int, d: int, angle_deg: float) -> None:
    assert math.degrees(margins.neighbour_angle(c, d)) == pytest.approx(angle_deg, abs=1e-3)


@pytest.mark.parametrize(("c", "d", "best_deg"), [(12, 3, 63.4349), (24, 4, 60.0), (240, 8, 60.0)])
def test_neighbour_angle_bounds_the_best_known_packings(c: int, d: int, best_deg: float) -> None:
    assert best_deg <= math.degrees(margins.neighbour_angle(c, d)) <= 1.25 * best_deg


@quick
@given(st.integers(2, 2000), st.integers(2, 64))
def test_more_classes_are_closer_and_more_dimensions_hold_them_apart(c: int, d: int) -> None:
    here = margins.neighbour_angle(c, d)
    assert margins.neighbour_angle(c + 1, d) <= here + 1e-9
    assert margins.neighbour_angle(c, d + 1) >= here - 1e-9


def gap_by_brute_force(m1: float, m2: float, m3: float, delta: float) -> float | None:
    theta = np.linspace(0, delta / 2, 200_001)
    phi = m1 * theta + m2
    k = np.floor(phi / np.pi)
    kept = (1 - 2 * (k % 2)) * np.cos(phi) - 2 * k - m3 >= np.cos(delta - theta) - 1e-12
    return delta - 2 * theta[kept].max() if kept[0] else None


@quick
@given(
    st.floats(1, 6), st.floats(0, 1.5), st.floats(0, 1.5), st.floats(0.05, math.pi),
    st.sampled_from([(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 1, 1)]),
)  # fmt: skip
def test_predicted_gap_is_where_the_margin_stops_holding(
    m1: float, m2: float, m3: float, delta: float, used: tuple[int, int, int]
) -> None:
    m1, m2, m3 = 1 + used[0] * (m1 - 1), used[1] * m2, used[2] * m3
    slack = margins.psi(m2) - m3 - math.cos(delta)
    assume(abs(slack) > 1e-6)
    gap, expected = margins.predicted_gap(m1, m2, m3, delta), gap_by_brute_force(m1, m2, m3, delta)
    assert (gap is None) == (expected is None) == (slack < 0)
    if gap is not None and expected is not None:
        assert gap == pytest.approx(expected, abs=2e-3)


def random_feasible_settings(count: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    chosen: list[tuple[float, ...]] = []
    while len(chosen) < count:
        used = rng.integers(0, 2, size=3)
        m1, m2, m3 = (used * rng.uniform(0, (4, 1, 0.6)) + (1, 0, 0)).tolist()
        classes = int(rng.integers(3, 13))
        gap = margins.predicted_gap(m1, m2, m3, 2 * math.pi / classes)
        if used.any() and gap is not None:
            chosen.append((m1, m2, m3, classes))
    return np.array(chosen)


SETTINGS = random_feasible_settings(20)


@pytest.fixture(scope="module")
def free_gaps_deg() -> list[float]:
    """The mean gap left on each setting's circle after samples and centres moved freely.

    Samples start anywhere between the class boundaries; the scale is so large that the loss of a
    sample ends sharply where its margin begins to hold, and lets it stop there.
    """
    s, size, samples = 1e4, 12, 8
    m1, m2, m3 = (torch.tensor(m, dtype=torch.float64).view(-1, 1, 1) for m in SETTINGS[:, :3].T)
    classes = torch.tensor(SETTINGS[:, 3], dtype=torch.float64).view(-1, 1, 1)
    real = torch.arange(size) < classes  # the circles have different numbers of classes
    delta = 2 * math.pi / classes
    start = torch.arange(size) * delta
    offset = torch.rand(20, samples, size, generator=torch.Generator().manual_seed(0)) - 0.5
    offset[:, 0], offset[:, 1] = 0.5, -0.5
    centre = start.clone().requires_grad_()
    sample = (start + offset * delta).requires_grad_()
    optimizer = torch.optim.SGD([{"params": [sample]}, {"params": [centre], "lr": 1e-9}], lr=2e-7)
    for step in range(1500):
        optimizer.param_groups[0]["lr"] = 2e-7 * (1 - step / 1500)
        cosines = torch.cos(sample[..., None] - centre[:, :, None])
        cosines = cosines.masked_fill(~real[:, :, None], -9.0)
        own = cosines.diagonal(dim1=2, dim2=3)
        shift = angles.target_cosine(own.detach(), m1, m2, m3) - own.detach()
        logits = s * (cosines + torch.diag_embed(shift))
        loss = logits.logsumexp(dim=3) - logits.diagonal(dim1=2, dim2=3)
        optimizer.zero_grad()
        loss[real.expand_as(loss)].sum().backward()
        optimizer.step()
    off = (sample - centre).detach()
    arcs = torch.where(real, off.amax(1, keepdim=True) - off.amin(1, keepdim=True), 0.0)
    return torch.rad2deg((2 * math.pi - arcs.sum(dim=2)) / classes[:, 0]).flatten().tolist()


@pytest.mark.parametrize("index", range(20))
def test_predicted_gap_against_free_angles(index: int, free_gaps_deg: list[float]) -> None:
    m1, m2, m3, classes = SETTINGS[index].tolist()
    predicted = margins.predicted_gap_deg(m1, m2, m3, int(classes))
    assert free_gaps_deg[index] == pytest.approx(predicted, abs=0.5)


def test_matched_margins_of_the_design() -> None:
    matched = margins.matched_margins(22.5, num_classes=8, embedding_dim=2)
    assert matched == pytest.approx({"m1": 3.0, "m2": 0.3927, "m3": 0.1493}, abs=1e-4)


@quick
@given(st.integers(2, 50), st.integers(2, 20), st.floats(0, 0.99))
def test_matched_margins_give_the_wanted_gap(c: int, d: int, share: float) -> None:
    gap_deg = share * math.degrees(margins.neighbour_angle(c, d))
    matched = margins.matched_margins(gap_deg, c, d)
    for name, value in matched.items():
        single = {"m1": 1.0, "m2": 0.0, "m3": 0.0, name: value}
        assert margins.predicted_gap_deg(**single, num_classes=c, embedding_dim=d) == pytest.approx(
            gap_deg, abs=1e-6
        )


def test_infeasible_margin_message() -> None:
    message = margins.infeasible_margin_message
    assert message(1.0, 0.0, 0.35, 10, 2) == (
        "m3=0.35 is infeasible for 10 classes in 2 dimensions: the largest feasible m3 is 0.191"
    )
    assert message(3.0, 0.7, 0.0, 10, 2) == (
        "m2=0.7 is infeasible for 10 classes in 2 dimensions: "
        "the largest feasible m2 is 0.628 rad (36.0°)"
    )
    assert "beside m2=0.3 is infeasible" in str(message(1.0, 0.3, 0.2, 10, 2))
    assert "largest feasible m2" in str(message(1.0, 0.7, 0.2, 10, 2))
    assert message(1.0, 0.3, 0.2, 10, 16) is None
    assert message(4.0, 0.0, 0.0, 1000, 2) is None


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"m1": 0.5}, "m1 must be >= 1, got 0.5"),
        ({"m2": -0.1}, "m2 must be >= 0, got -0.1"),
        ({"m3": -1.0}, "m3 must be >= 0, got -1.0"),
        ({"m1": math.inf}, "m1 must be a finite number, got inf"),
        ({"m2": math.nan}, "m2 must be a finite number, got nan"),
    ],
)
def test_margins_out_of_range(values: dict[str, float], sentence: str) -> None:
    with pytest.raises(UserError) as error:
        margins.check_margins(**values)
    assert str(error.value) == sentence


def test_other_requests_that_cannot_be_met() -> None:
    with pytest.raises(UserError, match="s must be a finite number > 0, got 0"):
        margins.check_scale(0.0)
    with pytest.raises(UserError, match="below the 36° between the centres of 10 classes in 2"):
        margins.matched_margins(40.0, 10, 2)
    with pytest.raises(UserError, match="num_classes >= 2"):
        margins.neighbour_angle(1, 2)


def test_margins_import_no_torch() -> None:
    code = "import arcmargin.margins, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
