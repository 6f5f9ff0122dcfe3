"""What a fair comparison says: the report's own sentence, table and limits, of what was published."""

import itertools

import pandas as pd

from arcmargin.metrics.table import metric_names
from arcmargin.report import study_text
from arcmargin.report.frame import configurations
from arcmargin.report.labels import labels
from arcmargin.report.margin_axes import contexts
from arcmargin.report.study import Judged, judge
from arcmargin.report.verdict import headline
from publishing.rows import read_results, read_spaces


def verdict(runs: pd.DataFrame, searched: pd.DataFrame | None) -> str:
    """All of it, of each data set that was compared."""
    tuned = read_spaces(searched) if searched is not None else []
    parts = (study_text.contest_markdown(one, tuned) for one in _judged(runs))
    return "\n\n".join(itertools.chain(*parts))


def sentence(runs: pd.DataFrame) -> str:
    """To be quoted; one for each data set."""
    return "\n>\n".join(f"> {study_text.sentence(one)}" for one in _judged(runs))


def _judged(runs: pd.DataFrame) -> list[Judged]:
    results = read_results(runs)
    found = configurations(results)
    names = metric_names(run.metrics for run in results)
    return judge(found, labels(found), contexts(found), names, headline(found))
