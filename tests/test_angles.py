"""The functions on angles, against plain loops and their stated properties."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from arcmargin import angles

m1s = st.floats(1.0, 6.0)
m2s = st.floats(0.0, 3.0)
m3s = st.floats(0.0, 2.0)


def theta_grid(n: int = 2001) -> torch.Tensor:
    return torch.linspace(0, math.pi, n, dtype=torch.float64)


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_psi_is_spherefaces_piecewise_definition(m: int) -> None:
    """Eq. 7 of the paper: (−1)^k cos(mθ) − 2k on [kπ/m, (k+1)π/m]."""
    for theta in theta_grid(101)[:-1].tolist():
        k = next(k for k in range(m) if k * math.pi / m <= theta < (k + 1) * math.pi / m)
        expected = (-1) ** k * math.cos(m * theta) - 2 * k
        got = angles.psi(torch.tensor(m * theta, dtype=torch.float64)).item()
        assert got == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=50)
@given(m1s, m2s, m3s)
def test_target_never_rises_with_the_angle_and_has_no_jump(m1: float, m2: float, m3: float) -> None:
    theta = theta_grid()
    target = angles.target_cosine(theta.cos(), m1, m2, m3)
    step = target.diff()
    assert step.max() <= 1e-7
    # |dψ/dθ| <= m1; arccos of a rounded cosine is off by up to 2e-8 near 0 and π.
    assert step.abs().max() <= m1 * (math.pi / 2000 + 1e-7)


@settings(deadline=None, max_examples=50)
@given(m1s, m2s, m3s)
def test_a_margin_only_ever_lowers_the_target(m1: float, m2: float, m3: float) -> None:
    cosine = theta_grid().cos()
    assert (angles.target_cosine(cosine, m1, m2, m3) <= cosine + 1e-7).all()


@settings(deadline=None, max_examples=50)
@given(m2s, m3s)
def test_below_pi_the_target_is_the_plain_formula(m2: float, m3: float) -> None:
    theta = theta_grid()
    inside = 1.5 * theta + m2 < math.pi
    target = angles.target_cosine(theta.cos(), 1.5, m2, m3)
    torch.testing.assert_close(
        target[inside], (torch.cos(1.5 * theta + m2) - m3)[inside], atol=1e-7, rtol=0
    )


def test_no_margin_changes_nothing() -> None:
    cosine = theta_grid().cos().float()
    assert torch.equal(angles.target_cosine(cosine, 1.0, 0.0, 0.0), cosine)


def test_margins_may_differ_from_sample_to_sample() -> None:
    cosine = torch.tensor([0.9, 0.1, -0.8])
    m1, m2, m3 = (
        torch.tensor([1.0, 2.0, 3.0]),
        torch.tensor([0.5, 0.0, 0.2]),
        torch.tensor([0.1] * 3),
    )
    together = angles.target_cosine(cosine, m1, m2, m3)
    for i in range(3):
        alone = angles.target_cosine(cosine[i : i + 1], m1[i].item(), m2[i].item(), m3[i].item())
        torch.testing.assert_close(together[i : i + 1], alone)


def test_a_negative_margin_stops_at_the_centre() -> None:
    cosine = torch.tensor([1.0, math.cos(0.1), math.cos(1.0)])
    target = angles.target_cosine(cosine, 1.0, -0.4, 0.0)
    torch.testing.assert_close(target, torch.tensor([1.0, 1.0, math.cos(0.6)]))


@pytest.mark.parametrize("value", [1.0, -1.0, 1.0 + 1e-6, -1.0 - 1e-6])
def test_a_cosine_at_or_by_rounding_past_one_has_a_finite_slope(value: float) -> None:
    cosine = torch.tensor([value], requires_grad=True)
    angles.target_cosine(cosine, 2.0, 0.3, 0.0).backward()
    assert cosine.grad is not None and cosine.grad.isfinite().all()


def test_unit() -> None:
    vectors = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-15, 0.0], [1e18, 1e18]], requires_grad=True)
    directions = angles.unit(vectors)
    expected = torch.tensor([[0.6, 0.8], [0.0, 0.0], [1.0, 0.0], [0.5**0.5, 0.5**0.5]])
    torch.testing.assert_close(directions, expected)
    directions[:2].sum().backward()
    assert vectors.grad is not None
    assert torch.equal(vectors.grad[1], torch.zeros(2))
    # d/dx of x/‖x‖ · (1, 1) at (3, 4): (1, 1)/5 − (3, 4)·7/125
    torch.testing.assert_close(vectors.grad[0], torch.tensor([0.2 - 21 / 125, 0.2 - 28 / 125]))


def smallest_angle_deg(points: torch.Tensor) -> float:
    cosines = (points.double() @ points.double().T).fill_diagonal_(-1)
    return math.degrees(math.acos(cosines.max().item()))


@pytest.mark.parametrize(
    ("c", "d", "angle_deg"),
    [
        (10, 2, 36.0),
        (3, 2, 120.0),
        (2, 2, 180.0),
        (4, 3, 109.4712),
        (10, 9, 96.3794),
        (10, 64, 96.3794),
    ],
)
def test_even_directions_are_as_far_apart_as_can_be(c: int, d: int, angle_deg: float) -> None:
    points = angles.even_directions(c, d)
    torch.testing.assert_close(points.norm(dim=1), torch.ones(c))
    assert smallest_angle_deg(points) == pytest.approx(angle_deg, abs=0.01)


@pytest.mark.parametrize(
    ("c", "d", "best_deg"), [(6, 3, 90.0), (12, 3, 63.43), (10, 4, 80.4), (40, 16, 90.0)]
)
def test_even_directions_in_between_come_close_to_the_best_known(
    c: int, d: int, best_deg: float
) -> None:
    torch.manual_seed(0)
    assert smallest_angle_deg(angles.even_directions(c, d)) > 0.8 * best_deg


def test_one_class_has_a_direction() -> None:
    assert angles.even_directions(1, 5).norm().item() == pytest.approx(1)


def test_so_many_even_directions_take_no_square_of_them() -> None:
    """100,000 × 100,000 would be 40 GB."""
    points = angles.even_directions(100_000, 8)
    assert points.shape == (100_000, 8)
    assert torch.allclose(points.norm(dim=1), torch.ones(100_000), atol=1e-5)
