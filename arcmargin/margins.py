"""Which margins make sense: their range, what is feasible, the gap they promise. No torch here.

δ is the angle between neighbouring class centres. A sample at the angle θ from its own centre,
towards a neighbour, is classified with the margin when

    ψ(m1·θ + m2) − m3 >= cos(δ − θ)

The class's arc ends where equality holds, and two neighbours' arcs leave the gap δ − 2θ between
them. A margin is feasible when the centre itself, θ = 0, satisfies it. Angles here are in radians
unless a name ends in _deg.
"""

import math
from collections.abc import Callable

from arcmargin.errors import UserError


def check_margins(m1: float = 1.0, m2: float = 0.0, m3: float = 0.0) -> None:
    """Raise UserError unless the margins are finite, m1 >= 1, m2 >= 0 (radians) and m3 >= 0."""
    for name, value, least in (("m1", m1, 1.0), ("m2", m2, 0.0), ("m3", m3, 0.0)):
        if not math.isfinite(value):
            raise UserError(f"{name} must be a finite number, got {value}")
        if value < least:
            raise UserError(f"{name} must be >= {least:g}, got {value}")


def check_scale(s: float) -> None:
    """Raise UserError unless the scale is finite and positive."""
    if not (math.isfinite(s) and s > 0):
        raise UserError(f"s must be a finite number > 0, got {s}")


def psi(phi: float) -> float:
    """cos φ continued beyond φ = π so that it never rises (Liu et al. 2017, arXiv 1704.08063)."""
    k = math.floor(phi / math.pi)
    return (-1) ** k * math.cos(phi) - 2 * k


def neighbour_angle(num_classes: int, embedding_dim: int) -> float:
    """The largest possible angle δ between the two closest of C directions in D dimensions.

    Exact on the circle (2π/C), for C <= D + 1 (the simplex, cos δ = −1/(C − 1)) and for C <= 2D
    (90°, Rankin 1955). Beyond that nobody knows it in general, and this is an upper bound: the
    smallest of 90°, Levenshtein's degree-3 bound and the bound from the area of spherical caps. A
    margin that is feasible by it may still be infeasible, never the other way round.
    """
    c, d = num_classes, embedding_dim
    if c < 2 or d < 1:
        raise UserError(
            "neighbouring classes need num_classes >= 2 and embedding_dim >= 1, "
            f"got num_classes={c} and embedding_dim={d}"
        )
    if c <= d + 1:
        return math.acos(-1 / (c - 1))
    if d == 1:
        return 0.0  # a line has two directions
    if d == 2:
        return 2 * math.pi / c
    if c <= 2 * d:
        return math.pi / 2
    return min(math.acos(_levenshtein_cosine(c, d)), _cap_angle(c, d))


def _levenshtein_cosine(c: int, d: int) -> float:
    """The least cosine x of the closest two that L3 = D(1−x)(2+(D+1)x)/(1−Dx²) >= C allows.

    Levenshtein 1979; valid up to x = (√(D+3) − 1)/(D+2), which bounds all larger C.
    """

    def classes_short_of(x: float) -> float:
        return d * (1 - x) * (2 + (d + 1) * x) / (1 - d * x * x) - c

    last = (math.sqrt(d + 3) - 1) / (d + 2)
    return last if classes_short_of(last) < 0 else _root(classes_short_of, 0.0, last)


def _cap_angle(c: int, d: int) -> float:
    """δ for which C caps of angular radius δ/2 <= 90° cover as much as the whole sphere."""
    from scipy.special import betainc

    def covered(delta: float) -> float:
        return c * float(betainc((d - 1) / 2, 0.5, math.sin(delta / 2) ** 2)) / 2 - 1

    return _root(covered, 0.0, math.pi)


def is_feasible(m1: float, m2: float, m3: float, delta: float) -> bool:
    """Whether a sample on its centre, δ from the next one, keeps the margin; m1 never hurts."""
    check_margins(m1, m2, m3)
    return psi(m2) - m3 >= math.cos(delta) - 1e-9


def largest_feasible(num_classes: int, embedding_dim: int) -> dict[str, float]:
    """m2 and m3, each without the other; m1 knows no bound."""
    delta = neighbour_angle(num_classes, embedding_dim)
    return {"m2": delta, "m3": 1 - math.cos(delta)}


def predicted_gap(m1: float, m2: float, m3: float, delta: float) -> float | None:
    """The gap between neighbouring classes' arcs, or None where the margins are infeasible.

    Closed forms for a single margin, δ(m1−1)/(m1+1), m2 and 2·asin(m3 / (2 sin(δ/2))); a combined
    margin is solved numerically.
    """
    if not is_feasible(m1, m2, m3, delta):
        return None
    if m2 == m3 == 0.0:
        return delta * (m1 - 1) / (m1 + 1)
    if m1 == 1.0 and m3 == 0.0:
        return m2
    if m1 == 1.0 and m2 == 0.0:
        return 2 * math.asin(min(1.0, m3 / (2 * math.sin(delta / 2))))

    def slack(theta: float) -> float:  # falls from >= 0 on the centre to <= 0 halfway
        return psi(m1 * theta + m2) - m3 - math.cos(delta - theta)

    half_arc = 0.0 if slack(0.0) <= 0 else _root(slack, 0.0, delta / 2)
    return delta - 2 * half_arc


def predicted_gap_deg(
    m1: float, m2: float, m3: float, num_classes: int, embedding_dim: int = 2
) -> float | None:
    """The predicted gap in degrees with the centres spread evenly, or None where infeasible."""
    gap = predicted_gap(m1, m2, m3, neighbour_angle(num_classes, embedding_dim))
    return None if gap is None else math.degrees(gap)


def matched_margins(gap_deg: float, num_classes: int, embedding_dim: int) -> dict[str, float]:
    """The m1, the m2 and the m3 that each alone give the wanted gap: the fair comparison."""
    delta = neighbour_angle(num_classes, embedding_dim)
    gap = math.radians(gap_deg)
    if not 0.0 <= gap < delta:
        raise UserError(
            f"the gap must be >= 0 and below the {math.degrees(delta):.4g}° between the centres of "
            f"{num_classes} classes in {embedding_dim} dimensions, got {gap_deg:g}°"
        )
    return {
        "m1": (delta + gap) / (delta - gap),
        "m2": gap,
        "m3": 2 * math.sin(delta / 2) * math.sin(gap / 2),
    }


def infeasible_margin_message(
    m1: float, m2: float, m3: float, num_classes: int, embedding_dim: int
) -> str | None:
    """One line that names the bound, or None where the margins are feasible."""
    delta = neighbour_angle(num_classes, embedding_dim)
    if is_feasible(m1, m2, m3, delta):
        return None
    largest_m2 = f"the largest feasible m2 is {delta:.3f} rad ({math.degrees(delta):.1f}°)"
    room = psi(m2) - math.cos(delta)
    if m2 == 0.0:
        margin, bound = f"m3={m3:g}", f"the largest feasible m3 is {room:.3f}"
    elif m3 == 0.0:
        margin, bound = f"m2={m2:g}", largest_m2
    elif room > 0:
        margin, bound = f"m3={m3:g} beside m2={m2:g}", f"the largest feasible m3 is {room:.3f}"
    else:
        margin, bound = f"m2={m2:g}", largest_m2
    return (
        f"{margin} is infeasible for {num_classes} classes in {embedding_dim} dimensions: {bound}"
    )


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where the function changes its sign. SciPy loads only here: --help should not wait for it."""
    from scipy.optimize import brentq

    return float(brentq(function, low, high))
