"""Another project's table beside our runs of the same settings: does each of its single runs lie where a
further run of ours would?"""

from typing import Any

import pandas as pd

from arcmargin.metrics.table import metric
from arcmargin.report.statistics import half_width
from publishing.tables import NOTHING, configurations, markdown, setting

SETTINGS = ("header", "s", "m2", "m3")
ACCURACY = metric("accuracy")


def comparison(runs: pd.DataFrame, source: pd.DataFrame) -> str:
    """A row a configuration of ours. `source` has one a row of theirs: its name, `SETTINGS` where they
    apply, and the accuracy in percent."""
    reported = {_settings(row): row for row in source.to_dict("records")}
    rows, counts, within = [], set(), []
    for settings, members in configurations(runs):
        accuracy, theirs = members["accuracy"], reported.get(_settings(settings))
        low, high = prediction(accuracy)
        counts.add(len(accuracy))
        cells = [NOTHING, NOTHING, NOTHING]
        if theirs is not None:
            value = theirs["accuracy"] / 100
            within.append(low <= value <= high)
            cells = [theirs["row"], ACCURACY.shown(value), "yes" if within[-1] else "no"]
        name, shown, answer = cells
        ours = f"{ACCURACY.shown(accuracy.mean())} ± {ACCURACY.shown(accuracy.std())}"
        where = f"{ACCURACY.shown(low)} to {ACCURACY.shown(high)}"
        found = [setting(settings[key]) for key in SETTINGS]
        rows.append([name, *found, shown, ours, where, answer])
    heads = ["their row", *SETTINGS, "reported %", "ours %", "a run of ours lies in", "within"]
    table = markdown(heads, rows, right=4)
    seeds = " or ".join(map(str, sorted(counts)))
    return (
        f"{table}\n\nAccuracy on the test split. Reported: single runs. Ours: mean ± standard deviation "
        f"over {seeds} seeds; beside it the 95 % prediction interval of a single run (t distribution). "
        f"{sum(within)} of {len(within)} reported rows lie in it."
    )


def prediction(values: "pd.Series[float]") -> tuple[float, float]:
    """Where one more value lies in 95 of 100 cases, if they are normal: mean ± t·sd·√(1 + 1/n).
    No accuracy is above 1."""
    count = len(values)
    half = half_width(count) * values.std() * (count + 1) ** 0.5
    return values.mean() - half, min(values.mean() + half, 1.0)


def _settings(row: dict[Any, Any]) -> tuple[Any, ...]:
    """What acts: plain softmax has neither scale nor margins."""
    values = [row[key] for key in SETTINGS]
    return tuple(None if pd.isna(value) else value for value in values)
