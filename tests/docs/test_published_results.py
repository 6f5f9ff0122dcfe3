"""The tables that the README and docs/results.md show are those of the records beside them."""

from pathlib import Path

import pytest

from arcmargin.metrics.table import UNSEEN_IN_TABLES
from arcmargin.record import find_records
from arcmargin.report.configurations import configurations
from arcmargin.report.labels import labels
from arcmargin.report.statistics import against_baseline
from arcmargin.report.tables import summary_rows
from arcmargin.report.text_tables import markdown, noise_markdown

ROOT = Path(__file__).resolve().parents[2]
PUBLISHED = sorted(path for path in (ROOT / "docs" / "results").iterdir() if path.is_dir())


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_the_published_table_agrees_with_its_records(folder):
    found = find_records(folder)
    assert found.records and not found.damaged
    table = markdown(summary_rows(configurations(found.records)))
    pages = ("README.md", "docs/results.md", "docs/unseen.md")
    texts = [(ROOT / page).read_text() for page in pages]
    assert any(table in text for text in texts), f"{folder.name}: the table reads\n{table}"


@pytest.mark.parametrize(
    "folder", [one for one in PUBLISHED if "_open" in one.name], ids=lambda folder: folder.name
)
def test_what_exceeds_the_noise_is_what_the_tests_say(folder):
    found = configurations(find_records(folder).records)
    metrics = ["accuracy", *UNSEEN_IN_TABLES, "verification_accuracy"]
    table = noise_markdown(against_baseline(found, metrics), labels(found))
    assert table in (ROOT / "docs" / "unseen.md").read_text(), f"it reads\n{table}"


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_a_comparison_has_its_baseline(folder):
    records = find_records(folder).records
    headers = {record.header for record in records}
    swept = any((record.m1, record.m2, record.m3) == (1, 0, 0) for record in records)
    assert {"linear", "normface"} <= headers or swept or "seeds" in folder.name


def test_none_of_ten_seeds_is_stuck():
    records = find_records(ROOT / "docs" / "results" / "mnist_circle_ten_seeds").records
    assert {(r.header, r.seed) for r in records} == {
        (header, seed) for header in ("arcface", "cosface", "sphereface") for seed in range(10)
    }
    assert min(record.metrics["accuracy"] for record in records) > 0.98
    assert max(record.metrics["centre_gap_max_deg"] for record in records) < 45


def test_a_changed_record_is_noticed(tmp_path):
    """The check above can fail: one metric of one record decides the table."""
    records = find_records(PUBLISHED[0]).records
    before = markdown(summary_rows(configurations(records)))
    records[0].metrics["accuracy"] -= 0.01
    assert markdown(summary_rows(configurations(records))) != before
