"""The tables that pages show of published runs: mean ± standard deviation over the seeds."""

from collections.abc import Sequence
from typing import Any

import pandas as pd

from arcmargin.metrics.table import PREDICTED, metric
from arcmargin.report.statistics import half_width
from publishing.rows import CONFIGURATION

NOTHING = "–"
GEOMETRY = (
    "gap_min_deg", "gap_mean_deg", PREDICTED, "centre_gap_max_deg",
    "centre_angle_min_deg", "margin_p05_deg", "intra_angle_p50_deg",
)  # fmt: skip
# What a margin is for: with unseen classes a table shows these instead of the angles of seen ones.
UNSEEN = (
    "verification_auc", "verification_eer", "verification_tar_at_far_1e-02",
    "verification_tar_at_far_1e-03", "retrieval_recall_at_1", "retrieval_map_at_r",
    "identification_rank_1", "identification_fnir_at_fpir_1e-01",
)  # fmt: skip


def configurations(runs: pd.DataFrame) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """The settings, None where one does not apply, and the runs of each, in the order of the rows."""
    keys = [key for key in CONFIGURATION if key in runs]
    found = []
    for _, members in runs.groupby(keys, dropna=False, sort=False):
        settings = members[keys].astype(object).iloc[0]
        settings = settings.where(settings.notna(), None)
        found.append(({str(k): v for k, v in settings.items()}, members.set_index("seed")))
    return found


def summary(runs: pd.DataFrame) -> str:
    """A row a configuration, and below it what its numbers are."""
    found = configurations(runs)
    settings, metrics = varying([one for one, _ in found]), shown_metrics(runs)
    rows = [
        [setting(one[key]) for key in settings] + [_mean(members, name) for name in metrics]
        for one, members in found
    ]
    heads = [*settings, *(metric(name).heading for name in metrics)]
    seeds = {len(members) for _, members in found}
    return f"{markdown(heads, rows, right=len(metrics))}\n\n{_caption(runs, seeds)}"


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]], right: int = 0) -> str:
    """The last `right` columns hold numbers."""
    rule = ["---"] * (len(heads) - right) + ["---:"] * right
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [list(heads), rule, *map(list, rows)])


def varying(settings: Sequence[dict[str, Any]]) -> list[str]:
    """header, and what differs between those that have it."""
    values = {key: {one[key] for one in settings} - {None} for key in settings[0]}
    return ["header", *(key for key in values if key != "header" and len(values[key]) > 1)]


def setting(value: Any) -> str:
    if value is None:
        return NOTHING
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


def shown_metrics(runs: pd.DataFrame) -> list[str]:
    if UNSEEN[0] in runs:
        return [name for name in ("accuracy", *UNSEEN) if name in runs]
    left_out = {"centre_angle_min_deg", "margin_p05_deg"} if "gap_mean_deg" in runs else set()
    return [name for name in ("accuracy", *GEOMETRY) if name in runs and name not in left_out]


def _mean(members: pd.DataFrame, name: str) -> str:
    values = members[name].dropna()
    if values.empty:
        return NOTHING
    mean = metric(name).shown(values.mean())
    if len(values) == 1 or name == PREDICTED:
        return mean
    return f"{mean} ± {metric(name).shown(values.std())}"


def _caption(runs: pd.DataFrame, seeds: set[int]) -> str:
    many = max(seeds)
    over = f"{many} seeds" if len(seeds) == 1 else f"{min(seeds)} to {many} seeds"
    what = f"mean ± standard deviation over {over}" if many > 1 else "one run each"
    if len(seeds) == 1 and many > 1:
        what += f" (95 % interval of a mean: ± {half_width(many):.2f} standard deviations)"
    of = "Accuracy: test split; the rest: images of unseen classes; "
    return (of if UNSEEN[0] in runs else "Test split; angles in degrees; ") + f"{what}."
