"""Which configurations differ from their baseline by more than the noise of the seeds: paired t-tests
over the seeds, corrected by Holm (1979) for the number of comparisons of a metric."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit
from scipy.stats import ttest_1samp

from arcmargin.metrics.table import metric
from publishing.tables import UNSEEN, configurations, markdown, varying

ALPHA = 0.05
ROUNDING = 1e-9  # a spread below this share of the values is rounding, not noise
NO_MARGIN = {"m1": 1, "m2": 0, "m3": 0}
THE_HEAD = {"header", "s", *NO_MARGIN}  # everything else is equal in a fair comparison


def differences(runs: pd.DataFrame) -> str:
    """A row a metric, and below it what the tests can show."""
    found = configurations(runs)
    settings = [one for one, _ in found]
    neutral = [
        bool(members["in_formula"].all())
        and all(one[key] == value for key, value in NO_MARGIN.items())
        for one, members in found
    ]
    pairs = [(place, _baseline(place, settings, neutral)) for place in range(len(found))]
    compared = [(one, other) for one, other in pairs if other is not None and other != one]
    names = _labels(settings)
    rows = []
    for name in ("accuracy", *UNSEEN, "verification_accuracy"):
        values = [members[name].astype(float) for _, members in found]
        less = [(values[one] - values[other]).dropna() for one, other in compared]
        size = [max(values[one].abs().max(), values[other].abs().max()) for one, other in compared]
        corrected = holm([_p(*each) for each in zip(less, size, strict=True)])
        shown, digits = metric(name), metric(name).digits or 2
        clear = [
            f"{names[one]} {shown.factor * difference.mean():+.{digits}f}"
            for (one, _), difference, p in zip(compared, less, corrected, strict=True)
            if p < ALPHA
        ]
        rows.append([shown.heading, f"{len(clear)} of {len(compared)}", "; ".join(clear)])
    table = markdown(["metric", "larger than the noise", "which, less its baseline"], rows)
    return f"{table}\n\n{_caption(len(compared), max(len(one) for one in less))}"


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction; a comparison without a test (NaN) counts as p = 1."""
    p = np.nan_to_num(np.asarray(p_values, dtype=float), nan=1.0)
    order = np.argsort(p)
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    corrected = np.empty_like(p)
    corrected[order] = steps
    return corrected.tolist()


def _p(difference: "pd.Series[float]", size: float) -> float:
    if len(difference) < 2 or difference.std() <= ROUNDING * size:
        return float("nan")
    return float(ttest_1samp(difference, 0).pvalue)


def _baseline(
    place: int, settings: Sequence[dict[str, Any]], neutral: Sequence[bool]
) -> int | None:
    """No margin, everything else equal, at the same scale; or else plain softmax."""
    this = settings[place]
    alike = [
        index
        for index, other in enumerate(settings)
        if all(other[key] == this[key] for key in this if key not in THE_HEAD)
    ]
    without = [i for i in alike if neutral[i] and this["s"] in (None, settings[i]["s"])]
    plain = [i for i in alike if settings[i]["header"] == "linear"]
    return next(iter([*without, *plain]), None)


def _labels(settings: Sequence[dict[str, Any]]) -> list[str]:
    """`arcface, 16-D, m2 = 0.5`"""
    keys = varying(settings)[1:]
    words = {"embedding_dim": "{:g}-D", "dataset": "{}", "backbone": "{}", "optimizer": "{}"}
    return [
        ", ".join(
            [
                one["header"],
                *(
                    words.get(key, f"{key} = {{:.3g}}").format(one[key])
                    for key in keys
                    if one[key] is not None and one[key] != NO_MARGIN.get(key)
                ),
            ]
        )
        for one in settings
    ]


def _caption(comparisons: int, seeds: int) -> str:
    def least(count: int) -> str:
        return f"{stdtrit(count - 1, 1 - ALPHA / 2 / comparisons) / count**0.5:.1f}"

    ten = f" (with 10 seeds: {least(10)})" if seeds < 10 else ""
    return (
        f"{comparisons} comparisons, each paired over {seeds} seeds, corrected together by Holm. With "
        f"{seeds} seeds the clearest difference counts only from {least(seeds)} standard deviations "
        f"of its differences by seed on{ten}: read “not shown” as “not known”, never as “equal”. A "
        "difference that is the same in every seed cannot be tested and does not count. Seeds vary "
        "the initial weights and the order of the batches on one fixed split of the data: nothing "
        "here speaks for other data."
    )
