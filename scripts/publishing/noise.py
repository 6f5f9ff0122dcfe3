"""Which configurations differ from their baseline by more than the noise of the seeds: the report's own
tests and table, of what was published."""

import pandas as pd

from arcmargin.report.frame import configurations
from arcmargin.report.labels import labels
from arcmargin.report.statistics import against_baseline
from arcmargin.report.text_tables import noise_markdown
from publishing.rows import read_results
from publishing.tables import UNSEEN


def differences(runs: pd.DataFrame) -> str:
    """A row a metric, and below it what the tests can show."""
    found = configurations(read_results(runs))
    tests = against_baseline(found, ("accuracy", *UNSEEN, "verification_accuracy"))
    return noise_markdown(tests, labels(found)).rstrip()
