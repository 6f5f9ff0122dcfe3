"""search.html: a search in Optuna's own pictures, how its best score rose and which setting mattered."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import optuna
import plotly.graph_objects as go
from optuna import visualization
from optuna.trial import TrialState

from arcmargin.metrics.table import metric
from arcmargin.record import JOURNAL_FILE
from arcmargin.report import journal
from arcmargin.report.style import FAINT, HEADER_COLOURS
from arcmargin.report.templates import figure_json, prose_page

_EARLY_TO_LATE = ((0, FAINT), (1, HEADER_COLOURS["arcface"]))
_LEAST = 2  # trials that ended with a score; fewer show nothing


def search_page(folders: Sequence[Path], plotly: str | None = None) -> str | None:
    """One page that opens without a network; None where no search has anything to show yet. `plotly` is
    the address of plotly.js, which the page holds otherwise."""
    studies = [
        {
            "title": study.study_name,
            "best": _best(study),
            "figures": [(title, list(map(figure_json, ones))) for title, ones in figures(study)],
        }
        for folder in folders
        for study in journal.load(folder / JOURNAL_FILE)
        if len(study.get_trials(states=(TrialState.COMPLETE,))) >= _LEAST
    ]
    if not studies:
        return None
    return prose_page("search.html", plotly, studies=studies)


def figures(study: optuna.Study) -> Iterator[tuple[str, list[go.Figure]]]:
    """What they show, and the figures."""
    ended = study.get_trials(states=(TrialState.COMPLETE,))
    score = metric(study.user_attrs["score"])
    values = {name: {trial.params[name] for trial in ended} for name in ended[0].params}
    title, axis = score.title, {"tickformat": ".3~%" if score.unit == "%" else ""}
    history = visualization.plot_optimization_history(study, target_name=title)
    history.update_traces(name="best so far", selector={"name": "Best Value"})
    history.update_traces(name="a trial", selector={"mode": "markers"})
    history.update_xaxes(title="trial", dtick=max(1, len(study.trials) // 10)).update_yaxes(axis)
    yield f"The best {title} after so many trials", [history]
    varied = [name for name, different in values.items() if len(different) > 1]
    # Of one setting alone it would all be that one's; of equal scores there is nothing to explain.
    if len(varied) > 1 and len({trial.value for trial in ended}) > 1:
        importance = visualization.plot_param_importances(study, params=varied, target_name=title)
        importance.update_layout(height=60 + 40 * len(varied)).update_yaxes(title=None)
        importance.update_xaxes(title=None, tickformat=".0%", range=[0, 1])
        yield f"How much of the {title} each setting explains", [importance]
    slices = [
        visualization.plot_slice(study, params=[name], target_name=title).update_yaxes(axis)
        for name in varied
    ]
    for one in slices:
        one.update_traces(marker={"colorscale": _EARLY_TO_LATE, "size": 8, "line": {"width": 0}})
        one.update_traces(marker={"showscale": False})
    if slices:
        yield f"The {title} at each value that was tried; the bluer, the later", slices
    epochs = visualization.plot_intermediate_values(study).update_yaxes(axis, title=title)
    most = max(max(trial.intermediate_values, default=1) for trial in study.trials)
    epochs.update_xaxes(title="epoch", dtick=max(1, most // 10)).update_layout(showlegend=False)
    yield f"The {title} after each epoch, first seed", [epochs]


def _best(study: optuna.Study) -> str:
    trial, score = study.best_trial, metric(study.user_attrs["score"])
    settings = ", ".join(f"{name} = {value}" for name, value in trial.params.items())
    stopped = len(study.get_trials(states=(TrialState.PRUNED,)))
    rest = f", {stopped} of them stopped early or failed" * bool(stopped)
    return (
        f"Best of {len(study.trials)} trials{rest}: {settings}, with a {score.title} of "
        f"{score.with_unit(study.best_value)} (trial {trial.number})."
    )
