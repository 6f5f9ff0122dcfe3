"""A search in pictures, Optuna's own: how its best score rose, and which setting mattered."""

import html
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import optuna
import plotly.graph_objects as go
from optuna import visualization
from optuna.trial import TrialState
from plotly.offline import get_plotlyjs

from arcmargin.metrics.table import metric
from arcmargin.record import write_atomically
from arcmargin.report import journal

PAGE = "search.html"
_PLOTS: dict[str, Callable[..., go.Figure]] = {
    "history": visualization.plot_optimization_history,
    "importance": visualization.plot_param_importances,
    "each setting": visualization.plot_slice,
    "epochs": visualization.plot_intermediate_values,
}
_LEAST = 2  # trials that ended with a score; fewer show nothing


def write_search(sweep: Path, out: Path, score: str) -> Path | None:
    """out/search.html, which opens without a network; None where there is nothing to show yet."""
    figures = [
        (study, name, figure)
        for study in journal.load(sweep / journal.JOURNAL)
        for name, figure in search_figures(study, score)
    ]
    if not figures:
        return None
    parts = [
        f"<h2>{html.escape(study.study_name)}: {name}</h2>\n"
        + figure.to_html(full_html=False, include_plotlyjs=False, default_height="26em")
        for study, name, figure in figures
    ]
    page = "\n".join(
        [
            '<!doctype html><html lang="en"><meta charset="utf-8">',
            f"<title>Search: {html.escape(sweep.name)}</title>",
            "<style>body { font-family: sans-serif; margin: 2em auto; max-width: 60em }</style>",
            f"<script>{get_plotlyjs()}</script>",
            *parts,
        ]
    )
    return write_atomically(out / PAGE, lambda file: file.write(page.encode()))


def search_figures(study: optuna.Study, score: str) -> Iterator[tuple[str, go.Figure]]:
    """What each figure shows, and the figure. `score` is what the search went by."""
    ended = study.get_trials(states=(TrialState.COMPLETE,))
    if len(ended) < _LEAST:
        return
    title = f"validation {metric(score.removeprefix('val_')).title}"
    varied = [
        name
        for name in ended[0].params
        if len({str(trial.params.get(name)) for trial in ended}) > 1
    ]
    for name, plot in _PLOTS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            if name == "importance" and len(varied) < 2:
                continue  # all of it is the one setting's
            figure = plot(study) if name == "epochs" else plot(study, target_name=title)
        figure.update_layout(title=None, template="plotly_white")
        yield name, figure
