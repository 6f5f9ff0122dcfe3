"""The critical-difference diagram (Demšar 2006, JMLR 7): mean ranks of the heads over several data sets,
a bar over those that differ by no more than chance."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import friedmanchisquare

from arcmargin.report.contest import Contest
from arcmargin.report.style import header_colour

LEAST = 3  # data sets


def mean_table(contests: Sequence[Contest]) -> pd.DataFrame:
    """A row a contest, a column a head that all have: its mean, turned so that more is better."""
    rows = [
        {head.label: (one.metric.better or 1) * head.mean for head in one.heads} for one in contests
    ]
    return pd.DataFrame(rows).dropna(axis="columns")


def figure(contests: Sequence[Contest]) -> Figure | None:
    """None for fewer than three data sets or heads, and without the library, an extra."""
    means = mean_table(contests)
    if len(means) < LEAST or len(means.columns) < LEAST:
        return None
    try:
        from scikit_posthocs import critical_difference_diagram, posthoc_nemenyi_friedman
    except ImportError:
        return None
    ranks = means.rank(axis="columns", ascending=False).mean()
    p_values = posthoc_nemenyi_friedman(means.to_numpy())
    p_values.index = p_values.columns = means.columns
    picture = Figure(figsize=(8, 1.2 + 0.22 * len(ranks)), layout="constrained")
    axes = picture.subplots()
    palette = {label: header_colour(label) for label in ranks.index}
    critical_difference_diagram(ranks, p_values, ax=axes, color_palette=palette)
    axes.set_title(
        f"Mean rank over {len(means)} comparisons (1: best); a bar joins what a Nemenyi test at 5 % "
        "does not tell apart",
        fontsize=9,
    )
    return picture


def sentence(contests: Sequence[Contest]) -> str | None:
    """Friedman's test over the data sets; None where there are too few."""
    means = mean_table(contests)
    if len(means) < LEAST or len(means.columns) < LEAST:
        return None
    p = float(friedmanchisquare(*means.to_numpy().T).pvalue)
    ranks = means.rank(axis="columns", ascending=False).mean().sort_values()
    order = ", ".join(f"{label} {rank:.1f}" for label, rank in ranks.items())
    verb = "differ" if p < 0.05 else "do not differ by more than chance"
    tested = f"(Friedman, p = {p:.3f})"
    return f"Over {len(means)} comparisons the ranks of the heads {verb} {tested}: {order}."
