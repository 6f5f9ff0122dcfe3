"""search.html: a search in Optuna's own pictures, how its best score rose and which setting mattered."""

import html
from collections.abc import Iterator, Sequence
from pathlib import Path

import optuna
import plotly.graph_objects as go
from optuna import visualization
from optuna.trial import TrialState

from arcmargin.metrics.table import metric
from arcmargin.record import JOURNAL_FILE
from arcmargin.report import journal
from arcmargin.report.templates import asset, figure_div, plotly_tag

_LEAST = 2  # trials that ended with a score; fewer show nothing


def search_page(folders: Sequence[Path], plotly: str | None = None) -> str | None:
    """One page that opens without a network; None where no search has anything to show yet. `plotly` is
    the address of plotly.js, which the page holds otherwise."""
    sections = [
        f"<h2>{html.escape(study.study_name)}</h2>\n<p>{html.escape(_best(study))}</p>\n"
        + "\n".join(
            f"<h3>{title}</h3>\n{figure_div(figure.update_layout(title=None), '24em')}"
            for title, figure in figures(study)
        )
        for folder in folders
        for study in journal.load(folder / JOURNAL_FILE)
        if len(study.get_trials(states=(TrialState.COMPLETE,))) >= _LEAST
    ]
    if not sections:
        return None
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Search</title>'
    script = f"<style>{asset('prose.css')}</style>{plotly_tag(plotly)}"
    return "\n".join([head, script, "<h1>Search</h1>", *sections])


def figures(study: optuna.Study) -> Iterator[tuple[str, go.Figure]]:
    """What each shows, and the figure."""
    ended = study.get_trials(states=(TrialState.COMPLETE,))
    title = metric(study.user_attrs["score"]).title
    values = {name: {trial.params[name] for trial in ended} for name in ended[0].params}
    history = visualization.plot_optimization_history(study, target_name=title)
    yield f"The best {title} after so many trials", history.update_xaxes(tickformat="d")
    varied = [name for name, different in values.items() if len(different) > 1]
    # Of one setting alone it would all be that one's; of equal scores there is nothing to explain.
    if len(varied) > 1 and len({trial.value for trial in ended}) > 1:
        importance = visualization.plot_param_importances(study, params=varied, target_name=title)
        yield f"How much of the {title} each setting explains", importance
    if varied:
        slices = visualization.plot_slice(study, params=varied, target_name=title)
        yield f"The {title} at each value that was tried", slices
    epochs = visualization.plot_intermediate_values(study).update_yaxes(title=title)
    yield f"The {title} after each epoch, first seed", epochs.update_xaxes(title="epoch")


def _best(study: optuna.Study) -> str:
    trial, score = study.best_trial, metric(study.user_attrs["score"])
    settings = ", ".join(f"{name} = {value}" for name, value in trial.params.items())
    stopped = len(study.get_trials(states=(TrialState.PRUNED,)))
    rest = f", {stopped} of them stopped early or failed" * bool(stopped)
    return (
        f"Best of {len(study.trials)} trials{rest}: {settings}, with a {score.title} of "
        f"{score.with_unit(study.best_value)} (trial {trial.number})."
    )
