"""What settings and configurations are called in titles, labels and tables."""

from collections.abc import Sequence
from typing import Any

from arcmargin.metrics.table import number
from arcmargin.record import NO_MARGIN
from arcmargin.report.configurations import MARGINS_AND_GAP, Configuration, tuned

NOTHING = "–"
UNITS = {"m2": "rad", "gap_deg": "°"}
TITLES = {
    "gap_deg": "wanted gap",
    "m1": "m1, multiplicative angular margin",
    "m2": "m2, additive angular margin",
    "m3": "m3, additive cosine margin",
    "s": "scale s",
}


def varying(found: Sequence[Configuration]) -> list[str]:
    """header, and the settings that vary where they are set at all."""
    keys = [key for key in found[0].settings if key != "header"]
    values = {key: {text(one.settings[key]) for one in found} - {NOTHING} for key in keys}
    return ["header", *(key for key in keys if len(values[key]) > 1)]


def labels(found: Sequence[Configuration]) -> list[str]:
    """`arcface, m2 = 0.3, 16-D`: what distinguishes each configuration from the others."""
    keys = varying(found)
    # The gap shows in the margin, mostly; what each head chose for itself is no name for it.
    for left_out in ({"gap_deg", *tuned(found[0])}, {"gap_deg"}):
        short = [_label(one, [key for key in keys if key not in left_out]) for one in found]
        if len(set(short)) == len(found):
            return short
    return [_label(one, keys) for one in found]


def _label(one: Configuration, keys: Sequence[str]) -> str:
    parts = [one.settings["header"]]
    for key in keys[1:]:
        value = one.settings[key]
        if value != NO_MARGIN.get(key) and (value is not None or key not in MARGINS_AND_GAP):
            parts.append(words(key, value))
    return ", ".join(parts)


def words(key: str, value: Any) -> str:
    if key == "embedding_dim":
        return f"{value}-D"
    if value is None:
        return f"no {key}"
    if key in ("header", "dataset", "backbone", "optimizer", "sweep"):
        return str(value)
    return f"{key} = {value:.3g}" if isinstance(value, float) else f"{key} = {value}"


def text(value: Any) -> str:
    """A setting in a table's cell."""
    as_number = number(value)
    return f"{as_number:.4g}" if as_number is not None else str(value or NOTHING)
