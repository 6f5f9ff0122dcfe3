"""verdict.html: the verdict of a fair comparison, with its pictures. It opens without a network."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import plotly.graph_objects as go
from markupsafe import Markup, escape

from arcmargin.metrics.score import best
from arcmargin.metrics.table import metric
from arcmargin.report import study_text
from arcmargin.report.contest import Contest
from arcmargin.report.study import Judged
from arcmargin.report.style import header_colour
from arcmargin.report.templates import PLOTLY_FILE, figure_json, prose_page
from arcmargin.report.tuning import Tuned, expected_best


def page(judged: Sequence[Judged], tuned: Sequence[Tuned], out: Path, *, ranks: bool) -> str:
    """`ranks`: whether ranks.png lies beside the page."""
    return prose_page(
        "verdict.html",
        PLOTLY_FILE,
        contests=[_words(one, tuned, out) for one in judged],
        tuning=[
            {"title": title, "about": about, "figure": figure_json(figure)}
            for title, about, figure in tuning_figures(tuned)
        ],
        ranks=ranks,
    )


def _words(one: Judged, tuned: Sequence[Tuned], out: Path) -> dict[str, object]:
    table = study_text.table(one)
    return {
        "title": one.title,
        "sentence": study_text.sentence(one),
        "heads": table.heads,
        "rows": [[bold(cell) for cell in row] for row in table.rows],
        "caption": table.caption,
        "figure": figure_json(differences(one.contest)) if one.contest.comparisons else "",
        "more": study_text.by_other_metrics(one),
        "limits": study_text.limits(one, tuned),
        "advice": study_text.advice(one, out),
    }


def differences(contest: Contest) -> go.Figure:
    """Each head less each baseline, with its interval; the best on top."""
    shown, figure = contest.metric, go.Figure()
    rows = [head for head in contest.heads if head.less]
    symbols = ("circle", "diamond-open", "square-open", "x")
    for place, baseline in enumerate(contest.baselines):
        shift = 0.3 * (place - (len(contest.baselines) - 1) / 2)
        for row, head in enumerate(rows):
            if (one := head.less.get(baseline)) is None:
                continue
            colour = header_colour(head.label)
            figure.add_scatter(
                x=[shown.factor * one.mean],
                y=[row + shift],
                error_x={"array": [shown.factor * (one.half or 0.0)], "color": colour, "width": 3},
                mode="markers",
                marker={"symbol": symbols[place % len(symbols)], "size": 9, "color": colour},
                name=f"less {baseline}",
                legendgroup=baseline,
                showlegend=row == 0,
            )
    figure.add_vline(x=0, line={"color": "#8a8f98", "width": 1})
    figure.update_yaxes(
        range=[len(rows) - 0.4, -0.6],
        tickvals=list(range(len(rows))),
        ticktext=[head.label for head in rows],
        automargin=True,
    )
    unit = "points" if shown.unit == "%" else shown.unit
    figure.update_xaxes(title=f"{shown.title} less the baseline's{f' ({unit})' if unit else ''}")
    return figure.update_layout(height=150 + 34 * len(rows))


def tuning_figures(tuned: Sequence[Tuned]) -> Iterator[tuple[str, str, go.Figure]]:
    """Title, what it shows, figure."""
    if not tuned:
        return
    score = metric(tuned[0].score)
    figure, most = go.Figure(), max(len(one.scores) for one in tuned)
    for one in tuned:
        values = score.factor * expected_best(one.scores, best(one.score))
        line = {"color": header_colour(one.header)}
        trials = list(range(1, len(values) + 1))
        figure.add_scatter(
            x=trials, y=values.tolist(), mode="lines+markers", name=_name(one), line=line
        )
    figure.update_xaxes(title="trials", tickformat="d", dtick=max(1, most // 10)).update_yaxes(
        title=_axis(tuned[0])
    )
    yield (
        "How hard each head is to tune",
        "The best validation score that so many trials give on average (Dodge et al. 2019; here each "
        "trial counts once). That later trials know of earlier ones is left aside.",
        figure,
    )
    names = dict.fromkeys(name for one in tuned for name in one.ranges)
    for name in names:
        figure, log = go.Figure(), False
        for one in tuned:
            if name in one.ranges:
                log = log or one.ranges[name][2]
                figure.add_scatter(
                    x=[settings[name] for settings in one.settings],
                    y=[score.factor * value for value in one.scores],
                    mode="markers",
                    name=_name(one),
                    marker={"color": header_colour(one.header), "size": 7},
                )
        figure.update_xaxes(title=name, type="log" if log else "linear")
        figure.update_yaxes(title=_axis(one))
        yield f"The score against {name}", "One dot a trial.", figure


def _name(one: Tuned) -> str:
    return " ".join(text.removeprefix("header=") for text in one.label.split())


def _axis(one: Tuned) -> str:
    return metric(one.score).heading


def bold(cell: str) -> Markup:
    """Markdown's **bold** of a table's cell."""
    inner = cell.removeprefix("**").removesuffix("**")
    return Markup("<b>{}</b>").format(inner) if inner != cell else escape(cell)
