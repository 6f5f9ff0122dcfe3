"""What a fair comparison says: the report's own sentence, table and limits, of what was published."""

import pandas as pd

from arcmargin.metrics.table import metric_names
from arcmargin.report import study_text
from arcmargin.report.frame import configurations
from arcmargin.report.labels import labels
from arcmargin.report.margin_axes import contexts
from arcmargin.report.study import Judged, judge
from arcmargin.report.verdict import headline
from publishing.rows import read_results


def verdict(runs: pd.DataFrame) -> str:
    """All of it, of each data set that was compared."""
    return "\n\n".join(part for one in _judged(runs) for part in study_text.contest_markdown(one))


def sentence(runs: pd.DataFrame) -> str:
    """To be quoted; one for each data set."""
    return "\n>\n".join(f"> {study_text.sentence(one)}" for one in _judged(runs))


def _judged(runs: pd.DataFrame) -> list[Judged]:
    results = read_results(runs)
    found = configurations(results)
    names = metric_names(run.metrics for run in results)
    return judge(found, labels(found), contexts(found), names, headline(found))
