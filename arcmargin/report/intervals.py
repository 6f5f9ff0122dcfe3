"""verdict.png: each head's runs of a fair comparison, their mean and its 95 % interval."""

from matplotlib.figure import Figure

from arcmargin.report.contest import Contest
from arcmargin.report.style import FAINT, INK, header_colour


def figure(contest: Contest, title: str = "") -> Figure:
    """A line a head, the best on top; dashed: the mean of the better baseline."""
    shown, rows = contest.metric, contest.heads
    picture = Figure(figsize=(8, 1.1 + 0.3 * len(rows)), layout="constrained")
    axes = picture.subplots()
    for row, head in enumerate(rows):
        colour = header_colour(head.label)
        values = [shown.factor * value for value in head.values.values()]
        axes.plot(values, [row] * len(values), "o", color=colour, alpha=0.35, ms=4, mew=0)
        spread = head.spread
        half = shown.factor * (spread.half or 0.0) if spread else 0.0
        mean = shown.factor * head.mean
        axes.errorbar(mean, row, xerr=half, fmt="|", color=colour, ms=12, mew=2, lw=2, capsize=4)
    if contest.best_baseline is not None:
        axes.axvline(
            shown.factor * contest.best_baseline.mean, color=INK, ls="--", lw=0.8, zorder=0
        )
    names = [
        f"{head.label} (baseline)" if head.label in contest.baselines else head.label
        for head in rows
    ]
    axes.set_yticks(range(len(rows)), names)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="y", color=FAINT, lw=0.4, zorder=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"{shown.heading}: a dot a seed, the mean and its 95 % interval")
    if title:
        axes.set_title(title, fontsize=10, loc="left")
    return picture
