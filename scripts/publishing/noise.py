"""Which configurations differ from their baseline by more than the noise of the seeds: the report's own
tests, of what was published."""

import pandas as pd

from arcmargin.metrics.table import metric
from arcmargin.report.frame import configurations
from arcmargin.report.labels import labels
from arcmargin.report.statistics import against_baseline
from arcmargin.report.text_tables import larger_than_noise
from publishing.rows import read_results
from publishing.tables import UNSEEN


def differences(runs: pd.DataFrame) -> str:
    """A line a metric that shows any, and one that names the others."""
    found = configurations(read_results(runs))
    tests = against_baseline(found, ("accuracy", *UNSEEN, "verification_accuracy"))
    clear = larger_than_noise(tests, labels(found))
    count, seeds = len(tests) // len(clear), max(one.seeds for one in tests)
    begin = (
        f"Larger than the noise of {seeds} seeds, of {count} comparisons a metric (paired, Holm)"
    )
    shown = [f"- {metric(name).heading}: {'; '.join(one)}" for name, one in clear.items() if one]
    without = ", ".join(metric(name).title for name, one in clear.items() if not one)
    if not shown:
        return f"{begin}: nothing, by {without}."
    end = f"\n\nNothing by {without}." if without else ""
    return "\n".join([f"{begin}:", "", *shown]) + end
