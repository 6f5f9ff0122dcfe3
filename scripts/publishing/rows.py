"""Records as tables: what each run was and measured, where unseen classes were verified its ROC curve,
and of a search what was searched and chosen."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from arcmargin.errors import UserError
from arcmargin.metrics.score import DEFAULT
from arcmargin.record import Result, Settings, Study, find_results
from arcmargin.report.configurations import NOT_SETTINGS
from arcmargin.report.tuning import Tuned

HEADERS = ("linear", "normface", "arcface", "cosface", "sphereface")  # then the others by name
SETTINGS = (
    "header", "m1", "m2", "m3", "s", "in_formula", "gap_deg", "dataset", "embedding_dim",
    "num_classes", "backbone", "optimizer", "epochs", "batch_size", "threads", "seed",
)  # fmt: skip
REAL = ("m1", "m2", "m3", "s", "gap_deg")
STUDY = ("stage", "score", "trials", "epochs", "tuned")  # of a fair comparison
# Two runs are of one configuration when they differ in none of these.
CONFIGURATION = (
    "dataset", "embedding_dim", "backbone", "optimizer", "epochs", "batch_size",
    "header", "m1", "m2", "m3", "s", "overrides",
)  # fmt: skip


def results(sweep: Path) -> list[Result]:
    """The runs of a sweep, of a fair comparison the trials too, failed ones as well: that is an answer.
    Raises UserError, naming the runs, unless all others finished and come from one commit without
    local changes."""
    found = find_results(sweep)
    broken = found.damaged + [f"{folder} has no record" for folder in found.unfinished]
    broken += [
        f"{_name(run, sweep)} failed"
        for run in found.results
        if not (run.finished or run.settings.is_trial)
    ]
    if broken:
        raise UserError(f"{sweep} is not whole: {_list(broken)}; run the sweep's command again")
    if not found.results:
        raise UserError(f"no runs in {sweep}: expected a sweep's folder, outputs/sweeps/NAME")
    commits = defaultdict(list)
    for run in found.results:
        commits[run.git_commit].append(_name(run, sweep))
    for commit, names in commits.items():
        if commit is None or commit.endswith("-dirty"):
            what = "no known commit" if commit is None else f"{commit}: with local changes"
            raise UserError(
                f"{sweep} has runs of {what} ({_list(names)}); what is published can be made again: "
                "commit, and run them from the source tree"
            )
    if len(commits) > 1:
        named = (f"{commit} ({_list(names)})" for commit, names in commits.items())
        raise UserError(
            f"{sweep} has runs of {len(commits)} commits: {'; '.join(named)}; a table compares "
            "runs of one: run the sweep anew under another name"
        )
    return found.results


def runs(results: Sequence[Result], sweep: Path, *, tested: bool = True) -> pd.DataFrame:
    """One row a run, sorted by its settings: settings, score, metrics with the ends of their 95 %
    intervals (_low, _high), commit and versions. A column that is empty throughout is left out.
    `tested=False` leaves out all metrics of the test."""
    names = dict.fromkeys(name for run in results for name in run.metrics if tested)
    rows = []
    for run in results:
        row: dict[str, Any] = {"run": _name(run, sweep)}
        row |= {key: getattr(run.settings, key) for key in SETTINGS}
        if (study := run.settings.study) is not None:
            row |= {f"study_{name}": getattr(study, name) for name in STUDY}
            row["study_tuned"] = " ".join(study.tuned) or None
        row["overrides"] = (
            " ".join(_kept(run.settings.overrides, study.tuned if study else ())) or None
        )
        row["score_name"], row["score"] = run.score_name, run.score
        for name in names:
            row[name] = run.metrics.get(name)
            row[f"{name}_low"], row[f"{name}_high"] = run.intervals.get(name, (None, None))
        row["commit"] = run.git_commit
        row["versions"] = " ".join(f"{name}={version}" for name, version in run.versions.items())
        rows.append(row)
    frame = pd.DataFrame(rows).dropna(axis="columns", how="all").convert_dtypes()
    order = [key for key in (*CONFIGURATION, "seed", "run") if key in frame]
    return frame.sort_values(order, key=_rank, na_position="first", ignore_index=True)


def read_results(runs: pd.DataFrame) -> list[Result]:
    """The rows of `runs` as the report takes them: settings, score and metrics."""
    known = runs.astype(object).where(runs.notna(), None).to_dict("records")
    return [_result({str(key): value for key, value in row.items()}) for row in known]


def _result(row: dict[str, Any]) -> Result:
    settings = {key: row[key] for key in SETTINGS if row.get(key) is not None}
    settings |= {key: float(settings[key]) for key in REAL if key in settings}  # 4 is s = 4.0
    overrides = (row.get("overrides") or "").split()
    study = {name: row[f"study_{name}"] for name in STUDY if row.get(f"study_{name}") is not None}
    if study:
        study["tuned"] = study.get("tuned", "").split()
    apart = {"run", *SETTINGS, "overrides", "score_name", "score", "commit", "versions"}
    metrics = {
        name: value
        for name, value in row.items()
        if name not in apart
        and not name.endswith(("_low", "_high"))
        and not name.startswith("study_")
    }
    return Result(
        settings=Settings(**settings, overrides=overrides, study=Study(**study) if study else None),
        score_name=(score := row.get("score_name") or DEFAULT),
        validation={score: row.get("score")},
        metrics=metrics,
        intervals={
            name: (row[f"{name}_low"], row[f"{name}_high"])
            for name in metrics
            if row.get(f"{name}_low") is not None
        },
    )


def curves(results: Sequence[Result], sweep: Path) -> pd.DataFrame | None:
    """One row a run: its true accept rate at each false accept rate; None when no run has a curve."""
    rows = {
        _name(run, sweep): dict(zip(run.open_set.far, run.open_set.tar, strict=True))
        for run in results
        if run.open_set and run.open_set.far
    }
    if not rows:
        return None
    frame = pd.DataFrame.from_dict(rows, orient="index").sort_index(axis="columns").round(5)
    return frame.rename_axis("run").sort_index().reset_index()


def spaces(tuned: Sequence[Tuned]) -> pd.DataFrame | None:
    """One row a setting that was searched: its range, and what was chosen by which score; None where
    nothing was searched."""
    rows = [
        {
            "searched": one.label,
            "setting": name,
            "low": low,
            "high": high,
            "logarithmic": log,
            "chosen": one.chosen[name],
            "score_name": one.score,
            "score": one.scores[one.pick],
        }
        for one in tuned
        for name, (low, high, log) in one.ranges.items()
    ]
    return pd.DataFrame(rows) if rows else None


def read_spaces(frame: pd.DataFrame) -> list[Tuned]:
    """As the report takes them, of all trials the one that was chosen."""
    found: dict[str, Tuned] = {}
    for row in frame.to_dict("records"):
        empty = Tuned(row["searched"], row["score_name"], [row["score"]], [{}], {})
        one = found.setdefault(row["searched"], empty)
        one.chosen[row["setting"]] = row["chosen"]
        one.ranges[row["setting"]] = (row["low"], row["high"], row["logarithmic"])
    return [*found.values()]


def _kept(overrides: Sequence[str], tuned: Sequence[str]) -> list[str]:
    """What no column says, and what was tuned."""
    keys = {text: text.lstrip("+~").partition("=")[0] for text in overrides}
    shown = {*SETTINGS, "embedding_dim.size"}
    return sorted(
        text
        for text, key in keys.items()
        if key in tuned
        or (key not in shown and key.partition("/")[0].partition(".")[0] not in NOT_SETTINGS)
    )


def _rank(column: "pd.Series[Any]") -> "pd.Series[Any]":
    if column.name != "header":
        return column
    return column.map(
        lambda name: f"{HEADERS.index(name) if name in HEADERS else len(HEADERS)} {name}"
    )


def _name(run: Result, sweep: Path) -> str:
    return run.folder.relative_to(sweep).as_posix() if run.folder else ""


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more
