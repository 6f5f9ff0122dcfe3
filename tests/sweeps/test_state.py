"""What the jobs of a sweep say of themselves, in files."""

import json

from arcmargin.record import Result, Settings
from arcmargin.sweeps.state import FOLDER, Reader, Reporter, forget, read_job, stop, stopped

RESULT = Result(
    settings=Settings(header="arcface", dataset="digits", embedding_dim=2, m2=0.5),
    validation={"val_accuracy": 0.5},
)


def states(jobs):
    return {job.key: job.state for job in jobs}


def test_the_folder_tells_how_the_jobs_are(tmp_path):
    reporters = [Reporter(tmp_path / name, name=name, overrides=[f"seed={name}"]) for name in "abc"]
    for reporter in reporters:
        reporter.begin()
    reader = Reader(tmp_path)
    assert states(reader.changed()) == {"a": "running", "b": "running", "c": "running"}
    assert reader.changed() == [], "what has not changed is not read again"
    reporters[0].end("finished", RESULT)
    reporters[1].end("failed", error="why")
    assert states(reader.changed()) == {"a": "finished", "b": "failed"}


def test_a_job_that_ended_and_goes_on_is_seen_to(tmp_path):
    """A scheduler stops it and starts it again on another machine."""
    reader = Reader(tmp_path)
    first = Reporter(tmp_path / "a", name="a")
    first.begin()
    first.end("interrupted")
    assert states(reader.changed()) == {"a": "interrupted"}
    again = Reporter(tmp_path / "a", name="a")
    again.begin()
    assert states(reader.changed()) == {"a": "running"}
    again.end("finished", RESULT)
    assert states(reader.changed()) == {"a": "finished"}


def test_those_that_ended_come_first(tmp_path):
    Reporter(tmp_path / "a", name="a").begin()
    Reporter(tmp_path / "b", name="b").end("finished", RESULT)
    assert [job.key for job in Reader(tmp_path).changed()] == ["b", "a"]


def test_a_job_that_was_finished_before(tmp_path):
    Reporter(tmp_path / "a", name="a").skip(RESULT)
    assert read_job(tmp_path, "a").state == "skipped"
    Reporter(tmp_path / "a", name="a").skip(RESULT)
    assert states(Reader(tmp_path).changed()) == {"a": "skipped"}


def test_a_job_whose_process_died_between_its_record_and_its_last_word(tmp_path):
    Reporter(tmp_path / "a", name="a").begin()
    Reporter(tmp_path / "a", name="a").skip(RESULT)
    assert read_job(tmp_path, "a").state == "finished"


def test_two_jobs_that_compute_the_same(tmp_path):
    first = Reporter(tmp_path / "a", name="a", number=0)
    first.begin()
    first.end("finished", RESULT)
    Reporter(tmp_path / "a", name="a", number=7).skip(RESULT)
    found = {job.key: job for job in Reader(tmp_path).changed()}
    assert states(found.values()) == {"a": "finished", "a~7": "repeated"}
    assert {job.folder for job in found.values()} == {str(tmp_path / "a")}


def test_what_is_no_state_is_left_aside(tmp_path):
    Reporter(tmp_path / "a", name="a").begin()
    for name, text in (("d.json", json.dumps({"key": "d"})), ("e.json", "{"), ("f.txt", "{}")):
        (tmp_path / FOLDER / name).write_text(text)
    assert states(Reader(tmp_path).changed()) == {"a": "running"}
    assert read_job(tmp_path, "y") is None


def test_the_epochs_of_a_job_that_goes_on(tmp_path):
    reporter = Reporter(tmp_path / "a", name="a")
    reporter.begin()
    for epoch in (5, 6, 7, 8):
        reporter.epoch(epoch, 8)
    job = read_job(tmp_path, "a")
    assert (job.first_epoch, job.epoch, job.epochs) == (4, 8, 8)


def test_what_an_earlier_attempt_left_is_forgotten(tmp_path):
    Reporter(tmp_path / "a", name="a").begin()
    stop(tmp_path)
    assert stopped(tmp_path)
    forget(tmp_path)
    assert not stopped(tmp_path) and not list(tmp_path.iterdir())


def test_what_cannot_be_written_does_not_stop_a_job(tmp_path):
    (tmp_path / FOLDER).write_text("a file where the folder should be")
    reporter = Reporter(tmp_path / "a", name="a")
    reporter.begin()
    reporter.end("finished", RESULT)
    assert Reader(tmp_path).changed() == []
