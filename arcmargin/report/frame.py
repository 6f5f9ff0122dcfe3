"""All runs as one table, a row a run, and their configurations, which are groups of its rows."""

from collections.abc import Iterable, Sequence

import pandas as pd

from arcmargin.metrics.table import metric_names
from arcmargin.record import Result
from arcmargin.report.configurations import (
    SETTINGS,
    Configuration,
    further_settings,
    last_line,
    rank,
    setting,
)


def run_frame(results: Iterable[Result], extra: Sequence[str] = ()) -> pd.DataFrame:
    """One row a run: what it was and what came of it. The settings' columns hold what acted, None for
    what a head does not take; `extra` names further ones. `result` is the run itself."""
    results = list(results)
    keys = dict.fromkeys(
        ["sweep", *SETTINGS, *further_settings(results), *extra, "seed", "threads"]
    )
    rows = [
        {
            "name": result.settings.name,
            "status": result.status,
            **{key: setting(result, key) for key in keys},
            **{name: result.metrics.get(name) for name in names},
            "score": result.score,
            "total_s": result.durations.get("total_s"),
            "error": last_line(result.error),
            "result": result,
        }
        for names in [metric_names(result.metrics for result in results)]
        for result in results
    ]
    return pd.DataFrame(rows, dtype=object)


def configurations(results: Iterable[Result], extra: Sequence[str] = ()) -> list[Configuration]:
    """Runs grouped by every setting; `extra` names further keys to keep apart, such as seed. Of
    repeats with one seed only the last finished counts: they would pass for independent runs. But
    where two sweeps hold the same run, the sweep is a setting like any other."""
    results = list(results)
    runs = run_frame(results, extra)
    keys = list(dict.fromkeys([*SETTINGS, *further_settings(results), *extra]))
    if (
        "sweep" not in keys
        and runs.groupby([*keys, "seed"], dropna=False)["sweep"].nunique().gt(1).any()
    ):
        keys.append("sweep")
    unseeded = [str(result.folder) if result.settings.seed is None else "" for result in results]
    counted = (
        runs.assign(unseeded=unseeded, finished=runs["status"] == "finished")
        .sort_values("finished", kind="stable")
        .drop_duplicates([*keys, "seed", "unseeded"], keep="last")
    )
    found = []
    for _, members in counted.groupby(keys, dropna=False, sort=False):
        of_one = sorted(members["result"], key=lambda run: rank("seed", run.settings.seed))
        found.append(Configuration({key: setting(of_one[0], key) for key in keys}, of_one))
    return sorted(found, key=lambda one: [rank(key, one.settings[key]) for key in keys])
