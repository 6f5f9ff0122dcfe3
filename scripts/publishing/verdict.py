"""What a fair comparison says: the report's own sentence, table and limits, of what was published."""

import pandas as pd

from arcmargin.metrics.table import metric_names
from arcmargin.report.frame import configurations
from arcmargin.report.labels import labels
from arcmargin.report.margin_axes import contexts
from arcmargin.report.study import judge
from arcmargin.report.study_text import contest_markdown
from arcmargin.report.verdict import headline
from publishing.rows import read_results


def verdict(runs: pd.DataFrame) -> str:
    """Of each data set that was compared."""
    results = read_results(runs)
    found = configurations(results)
    names = metric_names(run.metrics for run in results)
    judged = judge(found, labels(found), contexts(found), names, headline(found))
    return "\n\n".join(part for one in judged for part in contest_markdown(one))
