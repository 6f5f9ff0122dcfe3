"""From a finished run to its files and to the table that a person reads."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arcmargin.job.provenance import git_commit, versions
from arcmargin.margins import predicted_gap_deg
from arcmargin.record import Record

if TYPE_CHECKING:  # torch is not needed to write down that a run failed
    from arcmargin.training.train import Outcome

# What a header that does not take the key stands for.
NEUTRAL: dict[str, Any] = {"s": None, "m1": 1.0, "m2": 0.0, "m3": 0.0}


def new_record(
    config: Mapping[str, Any],
    choices: Mapping[str, str],
    overrides: Sequence[str],
    class_names: Sequence[str] = (),
) -> Record:
    """The record of a run that has not happened yet. A header's block names the margins it takes."""
    taken = [key for key in NEUTRAL if key in config["header"]]
    values = {key: config[key] if key in taken else NEUTRAL[key] for key in NEUTRAL}
    shown = [f"{k}={values[k]:.4g}" for k in ("m1", "m2", "m3") if values[k] != NEUTRAL[k]]
    return Record(
        name=" ".join([choices["header"], *shown]),
        header=choices["header"],
        dataset=choices["dataset"],
        embedding_dim=config["embedding_dim"]["size"],
        backbone=choices["backbone"],
        optimizer=choices["optimizer"],
        epochs=config["epochs"],
        seed=config["seed"],
        s=values["s"],
        m1=values["m1"],
        m2=values["m2"],
        m3=values["m3"],
        num_classes=len(class_names) or None,
        class_names=list(class_names),
        overrides=list(overrides),
        versions=versions(),
        git_commit=git_commit(),
        extra={"takes": taken, "matched": config.get("matched")},
    )


def in_formula(record: Record) -> bool:
    """Whether the head takes s and all three margins: what is predicted holds for no other."""
    return all(record.takes(key) for key in NEUTRAL)


def predicted_gap(record: Record) -> float | None:
    """Degrees, on the circle."""
    if record.embedding_dim != 2 or not in_formula(record):
        return None
    return predicted_gap_deg(record.m1, record.m2, record.m3, len(record.class_names))


def write(record: Record, outcome: "Outcome", folder: Path) -> list[Path]:
    """The arrays and the pictures; returns the pictures. The record itself is written last of all."""
    from arcmargin.report import figures, interactive

    outcome.embeddings.save(folder)
    outcome.snapshots.save(folder)
    if outcome.unseen is not None:
        outcome.unseen.save(folder)
    picture = figures.panel(record, outcome.embeddings)
    pictures = [figures.save(picture, folder / "embedding.png")]
    if record.embedding_dim in (2, 3):  # something to turn or to replay
        page = interactive.embedding_page(record, *outcome.embeddings, outcome.snapshots)
        pictures.append(interactive.write_page(folder / "embedding.html", page))
    return pictures


def note_unseen(record: Record, outcome: "Outcome") -> list[str]:
    """Into the record what belongs to the metrics of unseen classes; what has to be said of them."""
    if outcome.openset is None:
        return []
    found = outcome.openset
    record.extra["intervals"] = found.intervals
    record.extra["roc"] = found.roc
    record.extra["unseen"] = {**found.about, "thresholds": found.thresholds, "notes": found.notes}
    return found.notes


def table(record: Record) -> str:
    """The result in a few lines."""
    settings = f"{record.dataset}, {record.embedding_dim}-D, seed {record.seed}"
    settings += "" if record.s is None else f", s={record.s:g}"
    lines = [f"{record.name} on {settings}: test split"]
    intervals = record.extra.get("intervals", {})
    for name, value in record.metrics.items():
        if value is not None and name not in intervals:
            shown = f"{100 * value:.2f} %" if name == "accuracy" else f"{value:.2f}"
            lines.append(f"  {name:<22}{shown:>10}")
    return "\n".join([*lines, *_unseen_table(record, intervals)])


def _unseen_table(record: Record, intervals: Mapping[str, Sequence[float]]) -> list[str]:
    about = record.extra.get("unseen")
    if about is None:
        return []
    lines = [f"unseen classes, {about['images']:,} images, 95 % intervals ({about['how']}):"]
    for name, (low, high) in intervals.items():
        shown = [f"{100 * part:.2f}" for part in (record.metrics[name], low, high)]
        lines.append(f"  {name:<34}{shown[0]:>6} %   {shown[1]:>6} to {shown[2]:>6}")
    return lines


def short(path: Path) -> str:
    """Relative to where the user is, when it lies below."""
    path, here = path.resolve(), Path.cwd().resolve()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
